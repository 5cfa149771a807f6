"""What tests of ``watch`` and ``wait`` share: a store that is written step by step, and a clock that waits."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from support.builders import at, instance, token
from support.commandline import NOW, clean_environment
from tokctl.model.tokens import Token
from tokctl.services import polling
from tokctl.store import open_store


def put(path: Path, *tokens: Token, instance_id: str = "i1", **about) -> None:
    fields = {"process_id": "order", "status": "ACTIVE", "started_at": at(0)} | about
    with open_store(str(path), write=True, create=True) as store, store.write() as batch:
        batch.put(instance(instance_id, **fields), tokens)


def live(token_id: str, instance_id: str = "i1", **fields) -> Token:
    return token(token_id, instance_id, **{"state": "ACTIVE", "created_at": at(0), "updated_at": at(0)} | fields)


class Clock:
    """A clock that moves only when something waits, and does then what the test has planned for that moment."""

    def __init__(self) -> None:
        self.now = NOW
        self.plan: list[tuple[float, Callable[[], object]]] = []
        self.waits: list[float] = []

    def __call__(self) -> datetime:
        return self.now

    def at(self, seconds: float, do: Callable[[], object]) -> None:
        self.plan.append((seconds, do))

    def wait(self, seconds: float, _stream: object = None, _signal: object = None) -> None:
        self.waits.append(seconds)
        assert len(self.waits) < 500, "it does not end"
        self.now += timedelta(seconds=seconds)
        for when, do in [one for one in self.plan if NOW + timedelta(seconds=one[0]) <= self.now]:
            self.plan.remove((when, do))
            do()

    def moment(self, seconds: float) -> str:
        return (NOW + timedelta(seconds=seconds)).isoformat()


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(polling, "pause", made.wait)
    for name in ("TOKCTL_STORE", "TOKCTL_OUTPUT", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return made


WRITER = """
import json, sys
from tokctl.documents.base import decode_object
from tokctl.documents.instances import decode_instance
from tokctl.documents.tokens import decode_token
from tokctl.store import open_store
for line in sys.stdin:
    about, *tokens = json.loads(line)
    with open_store(sys.argv[1], write=True, create=True) as store, store.write() as batch:
        batch.put(decode_instance(decode_object(json.dumps(about))),
                  [decode_token(json.dumps(one), about["instance_id"]) for one in tokens])
    print("done", flush=True)
"""


class Writer:
    """Another process that writes into a store, step by step."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=clean_environment(),
        )

    def put(self, *tokens: dict, status: str = "ACTIVE") -> None:
        about = {"instance_id": "i1", "process_id": "order", "status": status, "started_at": "2025-01-11T10:00:00Z"}
        self.process.stdin.write(json.dumps([about, *tokens]) + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"


@pytest.fixture
def writer(store_path) -> Iterator[Writer]:
    made = Writer(store_path)
    yield made
    made.process.stdin.close()
    made.process.wait()


def task(token_id: str, state: str = "ACTIVE", **fields) -> dict:
    created = "2025-01-11T10:30:00Z"
    return {
        "token_id": token_id,
        "element_id": "pick",
        "element_name": "Pick goods",
        "state": state,
        "created_at": created,
    } | fields
