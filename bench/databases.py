"""How many requests ``tokctl serve`` answers from PostgreSQL, beside the same store in an SQLite file."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measure import TOKCTL

import services

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from support.postgresql_server import PostgreSQLServer, find_programs

AIM = 0.6
WORKERS = 2


@contextmanager
def running_database() -> Iterator[str]:
    """Run a PostgreSQL server with safe settings; yields the URL of an empty database."""
    server = PostgreSQLServer(Path(tempfile.mkdtemp(prefix="tokctl-bench-")))
    try:
        server.create(fsync="on", synchronous_commit="on", full_page_writes="on", autovacuum="on")
        yield server.url()
    finally:
        server.remove()


def measure(here: Path, rounds: int) -> None:
    """Print requests a second from both kinds of store, of responses from the cache and of new ones."""
    if find_programs() is None or shutil.which("wrk") is None:
        print("PostgreSQL or wrk is not installed: nothing to compare.\n")
        return
    file, secret = services.prepare(here)
    with running_database() as url:
        subprocess.run([*TOKCTL, "store", "copy", str(file), url], check=True, capture_output=True, env=os.environ)
        print("| instance | workers | PostgreSQL, requests/s | p99, ms | SQLite | p99, ms | ratio | aim |")
        print("|--:|--:|--:|--:|--:|--:|--:|--:|")
        for instance, size in services.SIZES.items():
            rates: tuple[list[float], list[float]] = ([], [])
            lasts: tuple[list[float], list[float]] = ([], [])
            for _ in range(rounds):
                for side, store in enumerate((url, str(file))):
                    with services.ours(store, here, secret, WORKERS) as service:
                        rate, last = service.load(instance)
                        rates[side].append(rate)
                        lasts[side].append(last)
            mine, theirs = map(statistics.median, rates)
            print(
                f"| {size:,} tokens | {WORKERS} | {mine:,.0f} | {statistics.median(lasts[0]):.1f} | {theirs:,.0f} "
                f"| {statistics.median(lasts[1]):.1f} | **{mine / theirs:.2f}** | {AIM} |",
                flush=True,
            )
    print()
