"""Commands over process engines, compared with curl and jq that send the same requests.

The engines are those of ``tests/live``: Operaton and Flowable, with the options that JVMs have unless told. Of atomd
there is only the one of the tests, a Python program that answers as atomd does: its figures say what tokctl takes, and
nothing about atomd. Which requests a command sends is recorded through a proxy before anything is measured.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlsplit

from measure import TOKCTL, Line, Side, header
from measure import measure as measure_line

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS))

INSTANCES = 2000
FEW = 500
TROUBLED = 50
CONNECTIONS = 8
"""As many requests does tokctl send at once."""
WARM_UP = 10
"""Runs before anything is measured: a JVM begins slowly."""
WORKER = "bench"
CURL = [shutil.which("curl") or "curl", "--silent", "--fail"]
SHELL = "/bin/sh"
ROWS = Path(__file__).parent / "engines.jq"


class Engine(NamedTuple):
    """A running engine: its address, the credential, and how it gets more healthy instances."""

    kind: str
    url: str
    secret: str | None
    add_instances: Callable[[int], None]


class Exchange(NamedTuple):
    """A request that tokctl sends: its target, and the number of bytes of the answer's body."""

    target: str
    received: int


# --- the engines -----------------------------------------------------------------------------------


@contextmanager
def run_jvm_engine(name: str, here: Path) -> Iterator[Engine]:
    """Run Operaton or Flowable with TROUBLED instances of which a worker has given up the job."""
    from live import engine_programs
    from live.driving import DRIVERS, MODELS

    engine_programs.JVM_OPTIONS = ("-Xmx1g", "-Xshare:auto")  # the tests' own make a JVM start early, and stay slow
    read, write = os.pipe()
    process, url = engine_programs.start(name, read, here)
    try:
        driver = DRIVERS[name](url)
        driver.deploy("worker.bpmn", (MODELS / "worker.bpmn").read_text(encoding="utf-8"))

        def start(number: int) -> None:
            driver.start("worker", f"order-{number}")

        def add(count: int) -> None:
            with ThreadPoolExecutor(CONNECTIONS) as pool:
                list(pool.map(start, range(count)))

        add(TROUBLED)
        fail_jobs(name, driver)
        yield Engine({"operaton": "camunda7"}.get(name, name), url, None, add)
    finally:
        os.close(write)
        os.close(read)
        process.wait(60)


def fail_jobs(name: str, driver: Any) -> None:
    """Let a worker take the jobs that there are, and give them up."""
    failure = {"workerId": WORKER, "errorMessage": "The account is empty", "retries": 0}
    if name == "operaton":
        topics = [{"topicName": "pay", "lockDuration": 60_000}]
        body = {"workerId": WORKER, "maxTasks": TROUBLED, "topics": topics}
        for task in driver.ask("POST", "/external-task/fetchAndLock", json=body):
            driver.ask("POST", f"/external-task/{task['id']}/failure", json=failure)
        return
    acquire = {"topic": "pay", "lockDuration": "PT1M", "numberOfTasks": TROUBLED, "workerId": WORKER}
    failed = 0
    while failed < TROUBLED:
        for job in driver.ask("POST", f"{driver.external}/acquire/jobs", json=acquire):
            driver.ask("POST", f"{driver.external}/acquire/jobs/{job['id']}/fail", json=failure)
            failed += 1


@contextmanager
def run_fake_atomd(count: int) -> Iterator[Engine]:
    """Run the atomd of the tests in a process of its own, with ``count`` instances."""
    command = [sys.executable, __file__, str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        url, secret = process.stdout.readline().split()
        yield Engine("atomd", url, secret, lambda _: None)
        process.stdin.close()


def serve_fake_atomd(count: int) -> None:
    """Serve as atomd until the standard input ends; prints the address and the key."""
    from support import budget_servers

    budget_servers.FAILED = TROUBLED
    ThreadingHTTPServer.request_queue_size = 128  # a connection that does not fit in the queue is tried again after 1 s
    with budget_servers.serve_atomd(Path(), count) as server:
        print(server.url, server.secret, flush=True)
        sys.stdin.read()


# --- the requests of a command ----------------------------------------------------------------------


def tokctl(engine: Engine, *words: str, url: str = "") -> list[str]:
    """Return a command line over an engine."""
    return [*TOKCTL, *words, "--server", url or engine.url]


def read(command: Sequence[str]) -> str:
    """Return what a command prints; debug ends with 10 if it finds something."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode not in {0, 10}:
        raise SystemExit(f"{shlex.join(command)}: {done.stderr}")
    return done.stdout


def record(engine: Engine, *words: str) -> list[Exchange]:
    """Return the requests of a command over a server that is known already."""
    with run_proxy(engine.url) as (url, exchanges):
        read(tokctl(engine, *words, url=url))
        exchanges.clear()
        read(tokctl(engine, *words, url=url))
        return list(exchanges)


@contextmanager
def run_proxy(url: str) -> Iterator[tuple[str, list[Exchange]]]:
    """Pass requests on to a server and keep them."""
    exchanges: list[Exchange] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            kept = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            try:
                answer = urllib.request.urlopen(urllib.request.Request(url + self.path, headers=kept), timeout=60)
            except HTTPError as error:
                answer = error
            with answer:
                body = answer.read()
            exchanges.append(Exchange(self.path, len(body)))
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers.get("Content-Type", ""))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", exchanges
    finally:
        server.shutdown()
        server.server_close()


def fetch(engine: Engine, exchanges: Sequence[Exchange], *, parallel: bool = False) -> list[str]:
    """Return a command line of curl that sends the same requests; the answers go to its output, or nowhere."""
    headers = ["--header", "Accept: application/json"]
    if engine.secret:
        headers += ["--header", f"Authorization: Bearer {engine.secret}"]
    at_once = ["--parallel", "--parallel-immediate", "--parallel-max", str(CONNECTIONS)] if parallel else []
    urls = [engine.url + exchange.target for exchange in exchanges]
    return [*CURL, *at_once, *headers, *urls]


def fetch_rows(engine: Engine, exchanges: Sequence[Exchange], as_json: bool) -> list[str]:
    """Return a command line of curl and jq that prints the rows of an instance's tokens."""
    names = json.dumps([urlsplit(exchange.target).path.rpartition("/")[2] for exchange in exchanges])
    jq = ["jq", "-n", "--arg", "kind", engine.kind, "--argjson", "names", names, "--argjson", "as_json"]
    rows = [*jq, json.dumps(as_json), "-r", "-f", str(ROWS)]
    return [SHELL, "-c", f"{shlex.join(fetch(engine, exchanges))} | {shlex.join(rows)}"]


# --- what is measured -------------------------------------------------------------------------------


def measure(here: Path, rounds: int, only: str) -> None:
    """Measure over each engine; one that cannot run here is skipped with the reason."""
    if missing := [name for name in ("curl", "jq") if not shutil.which(name)]:
        print(f"Skipped: not installed: {', '.join(missing)}.\n")
        return
    for name in ("operaton", "flowable"):
        if missing := [tool for tool in ("java", "javac", "mvn") if not shutil.which(tool)]:
            print(f"{name}: skipped, not installed: {', '.join(missing)}.\n")
            continue
        (here / name).mkdir()
        with run_jvm_engine(name, here / name) as engine:
            began = time.perf_counter()
            engine.add_instances(FEW - TROUBLED)
            few = record(engine, "debug")
            engine.add_instances(INSTANCES - FEW)
            print(f"{name}: {INSTANCES:,} instances, started in {time.perf_counter() - began:.0f} s.\n")
            print_tables(engine, name, few, rounds, only)
    with run_fake_atomd(FEW) as engine:
        os.environ["TOKCTL_API_KEY"] = engine.secret or ""
        few = record(engine, "debug")
    with run_fake_atomd(INSTANCES) as engine:
        print("atomd: not the real one, which is not to be had, but the Python program of the tests.\n")
        print_tables(engine, "atomd of the tests", few, rounds, only)
    del os.environ["TOKCTL_API_KEY"]


def print_tables(engine: Engine, name: str, few: list[Exchange], rounds: int, only: str) -> None:
    """Print what commands take beside the engine's own answers, and how their requests grow."""
    failed = json.loads(read(tokctl(engine, "debug", "-o", "json", "--limit", "1")))
    instance = failed["issues"][0]["tokens"][0]["instance_id"]
    header()
    for line in compare(engine, name, instance, rounds):
        if only in line.title:
            measure_line(line)
    print("\n| `debug`, instances | requests | MB |\n|--:|--:|--:|")
    for count, exchanges in ((FEW, few), (INSTANCES, record(engine, "debug"))):
        print(f"| {count:,} | {len(exchanges)} | {sum(one.received for one in exchanges) / 1e6:.1f} |")
    print()


def compare(engine: Engine, name: str, instance: str, rounds: int) -> Iterator[Line]:
    """Yield the comparisons; both sides have the same rows."""
    for form in ((), ("-o", "json")):
        words = ("tokens", "list", instance, *form)
        exchanges = record(engine, *words)
        peer = fetch_rows(engine, exchanges, bool(form))
        if form:
            check_same_rows(json.loads(read(tokctl(engine, *words)))["tokens"], json.loads(read(peer)))
        title = f"{name}: `{' '.join(('tokens list', *form))}`"
        beside = f"curl ({len(exchanges)} requests), jq"
        yield Line(title, "1.5", Side(tokctl(engine, *words)), Side(peer), beside, rounds)
    exchanges = record(engine, "debug")
    ours = tokctl(engine, "debug")
    for _ in range(WARM_UP):
        read(ours)
    for parallel, how in ((False, "in sequence"), (True, f"{CONNECTIONS} at once")):
        peer = fetch(engine, exchanges, parallel=parallel)
        yield Line(f"{name}: `debug`", "1.5, 3 s", Side(ours), Side(peer), f"curl, {how}", rounds)


def check_same_rows(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    """End the run if the rows of both sides differ."""
    told = [sorted((row["element_id"], row["state"]) for row in rows) for rows in (ours, theirs)]
    if told[0] != told[1]:
        raise SystemExit(f"the two do not find the same tokens: {told[0]}, {told[1]}")


if __name__ == "__main__":
    serve_fake_atomd(int(sys.argv[1]))
