"""How many requests ``tokctl serve`` answers, beside a bare Starlette application that answers the same bytes.

Both run on uvicorn with uvloop and httptools, and wrk asks both in turn. wrk takes its share of the cores.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from measure import PYTHON, TOKCTL, Line, Side

from documents import SMALL, token_lines

BIN = Path(sys.executable).parent
CONNECTIONS = 32
SECONDS = 5
SIZES = {"srv1-three": 3, "srv1-thousand": 1000}


class Service:
    """A server process: where it listens, and what asks it."""

    def __init__(self, port: int, secret: str) -> None:
        self.port = port
        self.secret = secret

    @property
    def base(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def url(self, instance: str) -> str:
        """Where the tokens of an instance are; a whole URL stays as it is."""
        return instance if "://" in instance else f"{self.base}/api/v1/processes/{instance}/tokens"

    def get(self, instance: str) -> bytes:
        """The answer."""
        request = urllib.request.Request(self.url(instance), headers={"X-API-Key": self.secret})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read()

    def load(self, instance: str) -> tuple[float, float]:
        """Ask for a while; returns requests a second, and the 99th percentile of the latency in ms."""
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency", "-H", f"X-API-Key: {self.secret}"]
        done = subprocess.run([*command, self.url(instance)], check=True, capture_output=True, text=True).stdout
        if "Non-2xx" in done or re.search(r"(connect|read|write) [1-9]", done):  # what is late shows in the percentile
            raise SystemExit(done)
        rate = re.search(r"Requests/sec:\s+([\d.]+)", done)
        last = re.search(r"99%\s+([\d.]+)(us|ms|s)", done)
        return float(rate[1]), float(last[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[last[2]]


@cache
def prepare(here: Path) -> tuple[Path, str]:
    """Make a store with an instance of each size, and an API token that may look at them."""
    store, lines = here / "serving.db", here / "serving.ndjson"
    token_lines(lines, max(SIZES.values()) + 10 * SMALL)
    several = [json.loads(line) for line in lines.read_text().splitlines()]
    with lines.open("w") as stream:
        for instance, size in SIZES.items():
            stream.writelines(json.dumps(one | {"instance_id": instance}) + "\n" for one in several[:size])
    subprocess.run([*TOKCTL, "store", "import", lines, "--store", store], check=True, capture_output=True)
    made = subprocess.run(
        [*TOKCTL, "api-tokens", "create", "bench", "--show-secret", "--store", store],
        check=True,
        capture_output=True,
        text=True,
    )
    return store, made.stdout.strip()


@contextmanager
def ours(store: Path | str, here: Path, secret: str, workers: int) -> Iterator[Service]:
    """Run ``tokctl serve``; its access log goes to a file, as a service's would."""
    port = free_port()
    command = [*TOKCTL, "serve", "--store", store, "--port", str(port), "--workers", str(workers)]
    with running(command, here / "serving.log", port, secret) as service:
        yield service


@contextmanager
def bare(documents: dict[str, Path], here: Path, workers: int) -> Iterator[Service]:
    """Run the peer, without an access log."""
    port = free_port()
    environ = os.environ | {"DOCUMENTS": json.dumps({name: str(path) for name, path in documents.items()})}
    command = [
        *PYTHON,
        "-m",
        "uvicorn",
        "bare:app",
        "--app-dir",
        Path(__file__).parent,
        "--port",
        str(port),
        "--workers",
        str(workers),
        "--no-access-log",
        "--log-level",
        "error",
    ]
    with running(command, here / "bare.log", port, "nobody asks", environ) as service:
        yield service


@contextmanager
def running(
    command: Sequence[object], log: Path, port: int, secret: str, environ: dict[str, str] | None = None
) -> Iterator[Service]:
    with log.open("wb") as stream:
        process = subprocess.Popen(list(map(str, command)), stdout=stream, stderr=stream, env=environ)
        service = Service(port, secret)
        try:
            for _ in range(200):
                if process.poll() is not None:
                    raise SystemExit(log.read_text())
                try:
                    service.get(next(iter(SIZES)))
                    break
                except OSError:
                    time.sleep(0.1)
            yield service
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def measure(here: Path, rounds: int) -> None:
    """Print requests a second for each size of an instance and number of workers."""
    store, secret = prepare(here)
    documents = {instance: here / f"{instance}.json" for instance in SIZES}
    with ours(store, here, secret, 1) as service:
        for instance, path in documents.items():
            path.write_bytes(service.get(instance))
    print("| instance | workers | requests/s | p99, ms | bare Starlette + msgspec | p99, ms | ratio | aim |")
    print("|--:|--:|--:|--:|--:|--:|--:|--:|")
    for workers in (1, 2):
        for instance, size in SIZES.items():
            rates: tuple[list[float], list[float]] = ([], [])
            lasts: tuple[list[float], list[float]] = ([], [])
            for _ in range(rounds):
                for side, service_of in enumerate((ours(store, here, secret, workers), bare(documents, here, workers))):
                    with service_of as service:
                        if len(service.get(instance)) != documents[instance].stat().st_size:
                            raise SystemExit("the two do not answer the same.")
                        rate, last = service.load(instance)
                        rates[side].append(rate)
                        lasts[side].append(last)
            mine, theirs = map(statistics.median, rates)
            print(
                f"| {size:,} tokens | {workers} | {mine:,.0f} | {statistics.median(lasts[0]):.1f} | {theirs:,.0f} "
                f"| {statistics.median(lasts[1]):.1f} | **{mine / theirs:.2f}** "
                f"| 0.5{', 12,000/s' if size == 3 else ''} |",
                flush=True,
            )
    print()


@contextmanager
def lines(here: Path, rounds: int) -> Iterator[list[Line]]:
    """Yield what ``tokctl tokens list --server`` takes beside httpie that fetches the same."""
    store, secret = prepare(here)
    os.environ["TOKCTL_API_KEY"] = secret
    with ours(store, here, secret, 1) as service:
        peer = [str(BIN / "http"), "--ignore-stdin", "--pretty", "none", f"X-API-Key:{secret}"]
        yield [
            Line(
                f"`tokens list --server{form}`, {size:,} tokens",
                "0.7",
                Side([*TOKCTL, "tokens", "list", instance, "--server", service.base, *form.split()]),
                Side([*peer[:4], service.url(instance), *peer[4:]]),
                "`http`",
                rounds,
            )
            for instance, size in SIZES.items()
            for form in ("", " -o json")
        ]
