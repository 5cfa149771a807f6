"""Clients that create, use and revoke API tokens at several servers, and importers; they note what was answered."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx

from support.builders import ndjson, tokens
from support.commandline import clean_environment
from support.running_server import Served
from tokctl.store import open_store

API_TOKENS = "/api/api-tokens"
PROBED = "/api/v1/processes/i1/tokens"
IMPORTED = 30
WAIT_SECONDS = 90


class Load:
    """Clients of several servers of one store. ``accepted`` are the secrets that must be valid at the end."""

    def __init__(self, servers: list[Served], place: str, secret: str) -> None:
        self.servers = servers
        self.place = place
        self.headers = {"X-API-Key": secret}
        self.accepted: dict[str, str] = {}  # by name
        self.imported: set[str] = set()
        self.revoked = 0
        self.problems: list[str] = []
        self._done = threading.Condition()
        self._counts = {"creations": 0, "imports": 0, "revocations": 0}
        self._numbers = itertools.count()
        self._stop = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run a client for each server, and an importer."""
        threads = [threading.Thread(target=self._run, args=[self._manage, index]) for index in range(len(self.servers))]
        threads.append(threading.Thread(target=self._run, args=[self._import, 0]))
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(WAIT_SECONDS)

    def wait_for(self, more: int) -> None:
        """Wait until so many more of each kind of change have been accepted."""
        with self._done:
            wanted = {kind: number + (1 if kind == "imports" else more) for kind, number in self._counts.items()}
            assert self._done.wait_for(
                lambda: self.problems or all(self._counts[kind] >= number for kind, number in wanted.items()),
                WAIT_SECONDS,
            ), self._counts
        assert self.problems == []

    def check(self) -> None:
        """See that everything that was accepted is there, at each server that still runs."""
        assert self.problems == []
        for served in self._alive():
            for name, secret in self.accepted.items():
                while (valid := self.is_valid(served, secret)) is None:  # over a connection of before the fault
                    time.sleep(0.05)
                assert valid, name
        with open_store(self.place) as store:
            for name in self.imported:
                assert store.instance(name).total_tokens == IMPORTED
            assert list(store.find_problems()) == []
            entries = list(store.audit.entries())
        assert all(after.chain_hash(before.hash) == after.hash for before, after in itertools.pairwise(entries))

    def _alive(self) -> list[Served]:
        return [served for served in self.servers if served.process.poll() is None]

    def _run(self, work: Callable[[int], None], index: int) -> None:
        while not self._stop.is_set():
            try:
                work(index)
            except Exception as error:  # noqa: BLE001 - the test reports it
                self._fail(f"{type(error).__name__}: {error}")
                return

    def _fail(self, problem: str) -> None:
        with self._done:
            self.problems.append(problem)
            self._done.notify_all()

    def _count(self, kind: str) -> None:
        with self._done:
            self._counts[kind] += 1
            self._done.notify_all()

    # --- what clients do ---

    def _manage(self, index: int) -> None:
        """Create two API tokens, and revoke one of them."""
        for is_kept in (True, False):
            name = f"n{next(self._numbers)}"
            made = self._ask(index, "POST", API_TOKENS, 201, name, json={"name": name, "scopes": ["process", "token"]})
            if made is None:
                return
            self._count("creations")
            number, secret = made["id"], made["token"]
            if is_kept:
                self.accepted[name] = secret
                continue
            if self._ask(index, "DELETE", f"{API_TOKENS}/{number}", 200) is not None:
                for served in self._alive():
                    if self.is_valid(served, secret):
                        self._fail(f"API token {number} was used after it was revoked")
                self._count("revocations")

    def _ask(self, index: int, method: str, path: str, status: int, key: str = "", **more: object) -> dict | None:
        """Ask, and repeat at the other servers what was not answered; None if that is not possible any more."""
        headers = self.headers | ({"Idempotency-Key": f"{key:0>20}"} if key else {})
        repeated = False
        for served in itertools.cycle([*self.servers[index:], *self.servers[:index]]):
            if self._stop.is_set():
                return None
            if served.process.poll() is not None:
                continue
            try:
                answer = served.client.request(method, path, headers=headers, **more)
            except httpx.TransportError:
                repeated = True
                continue
            if answer.status_code == 503:
                assert int(answer.headers["retry-after"]) > 0
                repeated = True
                self._stop.wait(0.05)
                continue
            if method == "DELETE" and repeated and answer.status_code == 404:  # it had been revoked
                return {}
            if answer.status_code != status:
                self._fail(f"{method} {path}: {answer.status_code} {answer.text}")
                return None
            return answer.json()
        return None

    def is_valid(self, served: Served, secret: str) -> bool | None:
        """Tell whether a server accepts a secret; None if it does not answer."""
        try:
            status = served.client.get(PROBED, headers={"X-API-Key": secret}, params={"limit": 1}).status_code
        except httpx.TransportError:
            return None
        return None if status == 503 else status == 200

    def _import(self, _index: int) -> None:
        name = f"i-{next(self._numbers)}"
        done = subprocess.run(
            [sys.executable, "-m", "tokctl", "store", "import", "-", "--store", self.place],
            input=ndjson(tokens(IMPORTED, name)),
            capture_output=True,
            check=False,
            env=clean_environment(),
            timeout=WAIT_SECONDS,
        )
        if done.returncode == 0:
            self.imported.add(name)
            self._count("imports")
        elif done.returncode not in {5, 6} or done.stderr.count(b"\n") != 1:
            self._fail(f"import: {done}")
