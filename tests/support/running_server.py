"""A real ``tokctl serve`` for tests: its store, its API tokens, and a way to run and to end it."""

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path

import httpx

from support.builders import DOCUMENTED, TESTER, at, instance, token, tokens
from support.commandline import clean_environment, fill
from support.paths import FIXTURES
from support.waiting import bpmn
from tokctl.api_tokens.pepper import load_pepper
from tokctl.api_tokens.secrets import digest, generate, mask
from tokctl.bpmn.parser import read_definitions
from tokctl.model.api_tokens import NewApiToken
from tokctl.store import open_store

PEPPER = "a pepper that is used by tests alone"
ENVIRONMENT = {"TOKCTL_PEPPER": PEPPER}
WILD = ("a/b", "..", ".", "a?b=c&d", "%2F", "%00", "ключ", "a b+c", "#x", "'\"\\", "a;b,c", "\U0001f511")
SMALL = "small"
LARGE = "large"
ENDED = "ended"
API = "/api/v1"


def make_store(path: Path) -> Path:
    """A store with the documented example, orders, ids of all kinds, an instance of 1,500 tokens, and a model."""
    shutil.copy(_model_store(), path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE identity SET value = lower(hex(randomblob(16)))")  # it is no copy, but another store
    return path


@cache
def _model_store() -> Path:
    """The store that the others are copies of: making it takes a while."""
    folder = tempfile.mkdtemp(prefix="tokctl-served-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / "model.db"
    fill(path, FIXTURES / "orders.ndjson", DOCUMENTED)
    with open_store(str(path), write=True) as store, store.write() as batch:
        batch.put(
            instance(SMALL, process_id="p", status="ACTIVE", version=1),
            tokens(3, SMALL, element_id="user", element_type="userTask", variables={"a": 1}),
        )
        batch.put(
            instance(ENDED, process_id="p", status="COMPLETED", started_at=at(0), completed_at=at(9)),
            tokens(5, ENDED, element_type="serviceTask"),
        )
        batch.put(instance(LARGE, process_id="p", tenant_id="t"), many(LARGE, 1500))
        for name in WILD:
            batch.put(instance(name, process_id=name), [token(name, name), token("shared", name)])
        for definition in read_definitions(bpmn("start>user user>end")):
            batch.put_definition(definition)
    return path


def many(instance_id: str, count: int):
    """Tokens that differ in everything that filters and orders look at."""
    states = ("ACTIVE", "WAITING", "COMPLETED", "CANCELLED", "FAILED", "SUSPENDED")
    kinds = ("serviceTask", "userTask", "exclusiveGateway", "startEvent", None)
    for n in range(count):
        yield token(
            f"l{n}",
            instance_id,
            element_id=f"e{n % 7}",
            element_type=kinds[n % 5],
            element_name=f"Name {n % 11}",
            state=states[n % 6],
            created_at=at(n // 3),
            updated_at=at(n // 3 + n % 13),
            completed_at=at(n) if n % 6 == 2 else None,
            execution_context={"worker_id": f"w{n % 4}", "retries_used": n % 5, "duration_ms": n * 7 % 1000},
            variables={"n": n, "text": "x" * (n % 50)},
            parent_token_id=f"l{n // 2}" if n else None,
            flow_history=[{"from_element": "e0", "via_flow": f"f{n % 3}"}],
        )


def multiply(store: Path, instance_id: str, count: int) -> None:
    """Put an instance with the tokens of LARGE, over and over: putting each would take ten times as long."""
    with open_store(str(store), write=True) as opened, opened.write() as batch:
        batch.put(instance(instance_id, process_id="p"))
    connection = sqlite3.connect(store)
    names = [row[1] for row in connection.execute("PRAGMA table_info(token)")]
    columns = ", ".join(name for name in names if name not in {"pk", "instance", "token_id"})
    (of, total), (to, _) = (
        connection.execute("SELECT pk, total_tokens FROM instance WHERE instance_id = ?", [one]).fetchone()
        for one in (LARGE, instance_id)
    )
    copy = (
        f"INSERT INTO token (instance, token_id, {columns})"
        f" SELECT ?, token_id || '-' || ?, {columns} FROM token WHERE instance = ?"
    )
    connection.executemany(copy, [(to, n, of) for n in range(count // total)])
    connection.execute("UPDATE instance SET total_tokens = ? WHERE pk = ?", [count, to])
    connection.commit()
    connection.close()


def make_secret(
    path: Path, name: str, *scopes: str, type_: str = "read-only", lasts: float | None = None
) -> tuple[str, int]:
    """Create an API token; returns its secret and its id."""
    pepper = load_pepper(ENVIRONMENT)
    secret = generate()
    now = datetime.now(UTC)
    with open_store(str(path), write=True) as store:
        made = store.api_tokens.create(
            NewApiToken(
                name=name,
                token=mask(secret),
                type=type_,
                scopes=scopes,
                created_at=now - timedelta(days=2),
                expires_at=None if lasts is None else now + timedelta(seconds=lasts),
            ),
            digest(pepper.key, secret),
            pepper.id,
            by=TESTER,
        )
    return secret, made.id


class Served:
    """A running server, its log so far, and a client for it."""

    def __init__(self, store: Path, *options: str, env: dict[str, str] | None = None, **client) -> None:
        self.store = store
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tokctl", "serve", "--store", str(store), *options],
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env=clean_environment(ENVIRONMENT | (env or {})),
        )
        self.listening = threading.Event()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        assert self.listening.wait(30), self.lines
        found = re.search(r"Listening on (\S+?),? ", self.lines[0])
        assert found, self.lines
        self.url = found[1]
        self.client = httpx.Client(
            base_url=self.url if "unix" not in self.url else "http://unix",
            timeout=30,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # it keeps none: tests share it
            **({"verify": False} | client),
        )  # making an SSL context takes a while

    def _read(self) -> None:
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))
            self.listening.set()
        self.listening.set()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        url = httpx.URL(self.url)
        return url.host, url.port

    def log(self, request_id: str = "") -> list[dict]:
        """The requests that were told of, once the one in question is among them."""
        deadline = time.monotonic() + 5
        while True:
            found = [json.loads(line) for line in list(self.lines)[1:] if line.startswith("{")]
            if not request_id or any(line.get("request_id") == request_id for line in found):
                return [line for line in found if not request_id or line.get("request_id") == request_id]
            assert time.monotonic() < deadline, (request_id, self.lines)
            time.sleep(0.02)

    def get(self, path: str, secret: str | None = None, **options) -> httpx.Response:
        """Ask, with the secret in X-API-Key."""
        headers = dict(options.pop("headers", {}))
        if secret is not None:
            headers["X-API-Key"] = secret
        return self.client.get(path, headers=headers, **options)

    @property
    def rss(self) -> float:
        """Resident memory in MB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024

    def end(self, number: int = signal.SIGTERM) -> int:
        """Tell it to end; returns its exit code."""
        if self.process.poll() is None:
            os.kill(self.process.pid, number)
        code = self.process.wait(timeout=45)
        self.reader.join(timeout=5)
        self.client.close()
        return code


@contextmanager
def serving(store: Path, *options: str, **more):
    """Run a server for a while; whatever becomes of it, it ends."""
    served = Served(store, "--port", "0", *options, **more)
    try:
        yield served
    finally:
        if served.process.poll() is None:
            served.process.kill()
        served.end()


def path_of(*parts: str) -> str:
    """A path with its parts encoded."""
    from urllib.parse import quote

    return API + "".join("/" + quote(part, safe="").replace(".", "%2E") for part in parts)


def refused(store: Path, *options, env: dict[str, str] | None = None, code: int, match: str) -> None:
    """Run a server that cannot begin: one line, and the right exit code."""
    done = subprocess.run(
        [sys.executable, "-m", "tokctl", "serve", "--store", str(store), *map(str, options)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=clean_environment(ENVIRONMENT | (env or {})),
    )
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert match in done.stderr
    assert PEPPER not in done.stderr
