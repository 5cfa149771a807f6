"""Fixtures for tests of the command line: a store with known instances, a fixed clock, and two ways to run tokctl."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from support.builders import DOCUMENTED
from support.paths import FIXTURES

NOW = datetime(2025, 1, 11, 10, 40, tzinfo=UTC)
ENVIRONMENT = (
    "TOKCTL_STORE",
    "TOKCTL_STORE_CREDENTIAL",
    "TOKCTL_SERVER",
    "TOKCTL_CONTEXT",
    "TOKCTL_OUTPUT",
    "TOKCTL_ENGINE_KIND",
    "TOKCTL_REGISTRY_SERVER",
    "TOKCTL_REGISTRY_KIND",
    "TOKCTL_REGISTRY_CREDENTIAL",
    "TOKCTL_CREDENTIAL",
    "TOKCTL_API_KEY",
    "TOKCTL_CA_FILE",
    "TOKCTL_INSECURE",
    "TOKCTL_TIMEOUT",
    "TOKCTL_CONNECT_TIMEOUT",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "TOKCTL_RATE",
    "TOKCTL_PEPPER",
    "TOKCTL_PEPPER_FILE",
    "TOKCTL_STATE_DIR",
    "TOKCTL_CONFIG",
    "TOKCTL_PAGER",
    "PAGER",
    "NO_COLOR",
    "FORCE_COLOR",
    "COLUMNS",
    "LINES",
    "TERM",
    "PYTHONIOENCODING",
)


class Ran(NamedTuple):
    """What a command line did."""

    code: int
    out: str
    err: str


class Stream(io.TextIOWrapper):
    """A stream in memory that may say that it is a terminal."""

    def __init__(self, data: bytes = b"", *, tty: bool = False, encoding: str = "utf-8") -> None:
        super().__init__(
            io.BytesIO(data), encoding=encoding, errors="backslashreplace", newline="\n", write_through=True
        )
        self.tty = tty

    def isatty(self) -> bool:
        return self.tty

    def written(self) -> str:
        return self.buffer.getvalue().decode(self.encoding)


@pytest.fixture
def tokctl(monkeypatch):
    """Run a command line in this process, with captured streams and a clock that stands still."""
    from tokctl.__main__ import run

    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)

    def call(*words, stdin=b"", width=100, tty=False, err_tty=False, encoding="utf-8", now=NOW) -> Ran:
        if isinstance(stdin, str):
            stdin = stdin.encode()
        out, err = Stream(tty=tty, encoding=encoding), Stream(tty=err_tty)
        with monkeypatch.context() as patch:
            patch.setenv("COLUMNS", str(width))
            patch.setattr(sys, "stdin", Stream(stdin))
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            patch.setattr("tokctl.engines.connect._warned", set())  # each warning once in a command
            code = run([str(word) for word in words], clock=lambda: now)
        return Ran(code, out.written(), err.written())

    return call


@pytest.fixture
def shell():
    """Run ``python -m tokctl`` in a process of its own."""

    def call(*words, stdin=b"", env=None, **popen) -> Ran:
        if isinstance(stdin, str):
            stdin = stdin.encode()
        if "stdin" not in popen and not popen.pop("no_stdin", False):
            popen["input"] = stdin
        popen.setdefault("stdout", subprocess.PIPE)
        popen.setdefault("stderr", subprocess.PIPE)
        done = subprocess.run(
            [sys.executable, "-m", "tokctl", *map(str, words)], env=clean_environment(env), check=False, **popen
        )
        return Ran(done.returncode, (done.stdout or b"").decode(), (done.stderr or b"").decode())

    return call


def clean_environment(more: dict[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what tokctl listens to, and without a pager, which would wait for keys."""
    inherited = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
    return inherited | {"TOKCTL_PAGER": ""} | (more or {})


@pytest.fixture(scope="session")
def orders() -> Path:
    """Three instances, as NDJSON of documented answers."""
    return FIXTURES / "orders.ndjson"


@pytest.fixture(scope="session")
def known(tmp_path_factory, orders) -> Path:
    """A store with the orders and the documented example. It is only read from."""
    path = tmp_path_factory.mktemp("store") / "known.db"
    fill(path, orders, DOCUMENTED)
    return path


@pytest.fixture
def own_store(tmp_path, orders) -> Path:
    """A store with the orders that a test may change."""
    path = tmp_path / "own.db"
    fill(path, orders)
    return path


def fill(path: Path, *files: Path) -> None:
    """Import files into a store."""
    from tokctl.input_files import read_chunks
    from tokctl.readers.stream import read_records
    from tokctl.store import open_store
    from tokctl.store.importing import import_records

    opened = open_store(str(path), write=True, create=True)
    for file in files:
        with opened.write() as batch:
            import_records(batch, read_records(read_chunks(str(file)), name=str(file)), _refuse)
    opened.close()


def _refuse(reject) -> None:
    raise AssertionError(reject)
