"""What API tokens cost: a request that is authorised, a page of very many of them, and creating one."""

from __future__ import annotations

import os
import statistics
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from measure import BIN, PYTHON, TOKCTL, Line, Side

from services import SIZES, Service, free_port, prepare, running
from tokctl.model.times import to_micros
from tokctl.store import open_store

MANY = 100_000
PAGE = 100


def measure(here: Path, rounds: int) -> None:
    """Print requests a second with and without authorisation, and for pages of a long list."""
    store, secret = prepare(here)
    print("| instance | authorised requests/s | p99, ms | without authorisation | p99, ms | ratio | aim |")
    print("|--:|--:|--:|--:|--:|--:|--:|")
    unguarded = [*PYTHON, str(Path(__file__).with_name("unguarded.py"))]
    for instance, size in SIZES.items():
        rates: tuple[list[float], list[float]] = ([], [])
        lasts: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds):
            for side, program in enumerate((TOKCTL, unguarded)):
                with serving(program, store, secret) as service:
                    rate, last = service.load(instance)
                    rates[side].append(rate)
                    lasts[side].append(last)
        ours, theirs = map(statistics.median, rates)
        print(
            f"| {size:,} tokens | {ours:,.0f} | {statistics.median(lasts[0]):.1f} | {theirs:,.0f} "
            f"| {statistics.median(lasts[1]):.1f} | **{ours / theirs:.2f}** | 0.9 |",
            flush=True,
        )
    print()
    _fill(store)
    admin = _admin(store)
    print(f"| page of {PAGE} of {MANY:,} API tokens | requests/s | p99, ms | aim |\n|--|--:|--:|--:|")
    with serving(TOKCTL, store, admin) as service:
        for page, name in ((1, "the first"), (MANY // PAGE // 2, "the middle one"), (MANY // PAGE, "the last")):
            rate, last = service.load(f"{service.base}/api/api-tokens?page={page}&pageSize={PAGE}")
            print(f"| {name} | **{rate:,.0f}** | {last:.1f} | 500 |", flush=True)
    print()


@contextmanager
def lines(here: Path, rounds: int) -> Iterator[list[Line]]:
    """Yield what ``tokctl api-tokens create`` takes beside httpie, which creates one and saves nothing.

    The list has very many API tokens.
    """
    store = here / "serving.db"  # the one that ``measure`` has made
    os.environ["TOKCTL_API_KEY"] = admin = _admin(store)
    kept = here / "kept"
    with serving(TOKCTL, store, admin) as service:
        create = ["api-tokens", "create", "bench", "--allow-duplicate", "--save", f"file:{kept}"]
        peer = [str(BIN / "http"), "--ignore-stdin", "--pretty", "none", "POST", f"{service.base}/api/api-tokens"]
        yield [
            Line(
                f"`api-tokens create --server --save file:`, {MANY:,} API tokens",
                "1.5",
                Side([*TOKCTL, *create, "--server", service.base], cleanup=[kept]),
                Side([*peer, f"X-API-Key:{admin}", "name=bench"]),
                "`http`",
                rounds,
            ),
        ]


@contextmanager
def serving(program: list[str], store: Path, secret: str) -> Iterator[Service]:
    """Run a server, with its access log in a file."""
    port = free_port()
    with running(
        [*program, "serve", "--store", store, "--port", str(port)], store.with_suffix(".log"), port, secret
    ) as service:
        yield service


def _admin(store: Path) -> str:
    command = ["api-tokens", "create", f"admin-{os.urandom(3).hex()}", "--type", "full-access", "--scope", "*"]
    made = subprocess.run(
        [*TOKCTL, *command, "--show-secret", "--store", store], check=True, capture_output=True, text=True
    )
    return made.stdout.strip()


def _fill(store: Path) -> None:
    """Put very many API tokens into a store, at once."""
    now = datetime.now(UTC) - timedelta(days=1)
    with open_store(str(store), write=True) as opened:
        connection = opened.connection
        (pepper,) = opened.api_tokens.peppers()
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO api_token (name, type, scopes, token, digest, pepper, created_at, updated_at)"
            " VALUES (?, 'read-only', '[\"process\"]', 'xvc_abcd...', ?, ?, ?, ?)",
            (
                (f"token {n}", n.to_bytes(32, "big"), pepper, to_micros(now) + n, to_micros(now) + n)
                for n in range(MANY)
            ),
        )
        connection.execute("COMMIT")
