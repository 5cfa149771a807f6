"""Every command line in the README and the documentation runs, and ends with the exit code that the page promises."""

from __future__ import annotations

import gzip
import importlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import keyring
import pytest

from support import faulty_server
from support.builders import DOCUMENTED
from support.commandline import ENVIRONMENT, Stream
from support.documentation import PAGES, CommandLine, command_lines, fences
from support.fake_cms import PASSWORD
from support.fake_strapi import FakeStrapi
from support.fake_xiver import FakeXiver
from support.keyrings import backends
from support.paths import FIXTURES
from support.serving import Served, grant
from tokctl.__main__ import run
from tokctl.simulation.demo import load_demo
from tokctl.simulation.simulate import simulate
from tokctl.store import open_store
from tokctl.store.sink import StoreSink

DEMO_FILES = Path(sys.modules[load_demo.__module__].__file__).parent
SERVERS = ("https://engine.example:27555", "http://127.0.0.1:27555", "http://localhost:27555")
"""What the pages call a server; the tests have a real one at another address."""
PROGRAMS = {
    "tokctl": f'exec {sys.executable} -m tokctl "$@"',
    "pass": f'if [ "$2" = cms ]; then echo "{PASSWORD}"; else echo "$SECRET"; fi',  # a password manager
    "gh": "cat > /dev/null",  # something that takes a secret on stdin
    "nightly-report": 'test -n "$TOKCTL_API_KEY"',
}

MISSING = {name for name in ("curl", "jq") if not os.environ.get("CI") and not shutil.which(name)}
"""Programs without which some lines cannot run; on a CI server nothing may be left out."""


@pytest.fixture(scope="module")
def demo_store(tmp_path_factory):
    """The store that ``tokctl demo`` makes."""
    path = tmp_path_factory.mktemp("demo") / "demo.db"
    models, scenario = load_demo()
    with open_store(str(path), write=True, create=True) as store, StoreSink(store, batch_size=10_000) as sink:
        simulate(models, scenario, sink, end=datetime.now(UTC))
    return path


@pytest.fixture
def folder(tmp_path, demo_store, monkeypatch):
    """The reader's working directory: a home of its own, the demo's store as the usual one, and files to import."""
    work = tmp_path / "work"
    work.mkdir()
    for name in ("tokctl.db", "orders.db"):
        shutil.copy(demo_store, work / name)
    shutil.copy(DOCUMENTED, work / "answer.json")
    shutil.copy(FIXTURES / "orders.ndjson", work / "dump.ndjson")
    (work / "dump.ndjson.gz").write_bytes(gzip.compress((FIXTURES / "orders.ndjson").read_bytes()))
    shutil.copy(DEMO_FILES / "order.bpmn", work)
    shutil.copy(DEMO_FILES / "order.yaml", work / "busy.yaml")
    (work / "deploy.log").write_text("nothing secret\n")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, script in PROGRAMS.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    shutil.copy(programs / "nightly-report", work)
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("TOKCTL_STORE", str(work / "tokctl.db"))
    for name, value in backends(tmp_path, "own_backends.Kept").items():
        monkeypatch.setenv(name, value, prepend=os.pathsep if name == "PYTHONPATH" else None)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    before = keyring.get_keyring()
    keyring.set_keyring(importlib.import_module("own_backends").Kept())
    monkeypatch.chdir(work)
    yield work
    keyring.set_keyring(before)


@pytest.fixture
def server(folder, demo_store, monkeypatch):
    """A real server over a copy of the demo's store, whose credential the reader has."""
    store = folder.parent / "served.db"
    shutil.copy(demo_store, store)
    served = Served(store, secret=grant(store, "*", type_="full-access"))
    monkeypatch.setenv("TOKCTL_API_KEY", served.secret)
    monkeypatch.setenv("SECRET", served.secret)
    yield served
    served.close()


@pytest.fixture
def cms():
    """What the pages call a CMS or a collector, each with a server that behaves as it does."""
    with FakeXiver() as xiver, FakeStrapi() as strapi, faulty_server.serving(faulty_server.good(b"{}")) as collector:
        yield {
            "https://cms.example": xiver.url,
            "https://strapi.example": strapi.url,
            "http://collector.example:4318": collector.url,
        }


class Reader:
    """Somebody who types the command lines of a page, one after the other."""

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch, cms: dict[str, str]) -> None:
        self.url = url
        self.monkeypatch = monkeypatch
        self.cms = cms
        self.started: list[subprocess.Popen] = []

    def type(self, line: CommandLine) -> tuple[int, str]:
        """Run a command line; returns the exit code and stderr. A server goes on running behind the next lines."""
        for address in SERVERS:
            line = line._replace(text=line.text.replace(address, self.url))
        for address, url in self.cms.items():
            line = line._replace(text=line.text.replace(address, url))
        if any(word in MISSING for word in line.text.split()):
            return line.code, ""
        if literal := re.fullmatch(r"export (\w+)='([^']*)'", line.text):
            self.monkeypatch.setenv(literal[1], literal[2])
            return 0, ""
        if assignment := re.fullmatch(r"(?:export )?(\w+)=(\$\(.*?\))( *#.*)?", line.text):
            code, out, err = run_in_shell(f"printf %s {assignment[2]}")
            self.monkeypatch.setenv(assignment[1], out)
            return code, err
        if line.words is not None and line.words[1] == "serve":
            return self.serve(line.words)
        return run_line(line, self.monkeypatch)

    def serve(self, words: list[str]) -> tuple[int, str]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = [sys.executable, "-m", *words, "--port", str(port), "--access-log", "off"]
        self.started.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        self.url = f"http://127.0.0.1:{port}"
        for _ in range(200):
            if self.started[-1].poll() is not None:
                return self.started[-1].returncode, self.started[-1].stderr.read()
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                return 0, ""
            time.sleep(0.1)
        return 1, "the server did not start"

    def close(self) -> None:
        for process in self.started:
            process.terminate()
            process.communicate(timeout=30)


@pytest.fixture
def reader(server, cms, monkeypatch):
    typing = Reader(server.url, monkeypatch, cms)
    yield typing
    typing.close()


def run_in_shell(text: str) -> tuple[int, str, str]:
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", text], capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


def run_line(line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Run a command line, in this process if it needs no shell; returns the exit code and stderr."""
    words = line.words
    if words is None:
        code, _, err = run_in_shell(line.text)
        return code, err
    stdin, target = b"", None
    words = words[1:]
    while len(words) > 1 and words[-2] in {"<", ">"}:
        *words, sign, name = words
        if sign == "<":
            stdin = Path(name).read_bytes()
        else:
            target = Path(name)
    out, err = Stream(), Stream()
    with monkeypatch.context() as patch:
        for name, stream in (("stdin", Stream(stdin)), ("stdout", out), ("stderr", err)):
            patch.setattr(sys, name, stream)
        code = run(words)
    if target is not None:
        target.write_text(out.written())
    return code, err.written()


OTHER_PAGES = [
    page for page in PAGES if page.name != "operations.md" and command_lines(page)
]  # it has a test of its own


@pytest.mark.parametrize("page", OTHER_PAGES, ids=lambda page: page.name)
def test_command_lines_of_a_page_run(page, reader, folder, monkeypatch):
    if page.name == "cms.md":
        monkeypatch.delenv("TOKCTL_API_KEY")  # it is for the engine
    failed = []
    for fence in fences(page):
        if fence.title == "tokens.yaml":  # a file that the command lines use
            (folder / fence.title).write_text(fence.text, encoding="utf-8")
    for line in command_lines(page):
        code, err = reader.type(line)
        if code != line.code:
            failed.append(f"{line.place}: {line.text}\n    exit code {code}, not {line.code}: {err[:500]}")
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_command_lines_that_can_run_are_marked_to_be_run(page):
    others = [
        f"{page.name}:{fence.line}"
        for fence in fences(page)
        if fence.language != "console" and re.search(r"^(\$ )?tokctl (?!.*\[OPTIONS\])", fence.text, re.MULTILINE)
    ]
    assert others == [], "use a 'console' fence with '$ ' in front"
