"""Servers of each kind with few and with many instances, for tests of how many requests a command sends.

The first two instances have failed, the others wait for a job: more instances mean more healthy ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from support.builders import instance, token
from support.fake_atomd import SECRET, FakeAtomd, Made
from support.fake_camunda import FakeCamunda
from support.fake_flowable import CASES, FakeFlowable
from support.paths import RECORDINGS
from support.serving import Served, grant
from support.waiting import bpmn
from tokctl.bpmn.parser import read_definitions
from tokctl.store import open_store

BEGIN = datetime(2025, 1, 11, 10, tzinfo=UTC)
MODEL = bpmn("start>work work>end")


class BudgetServer(NamedTuple):
    """A server: its address, the credential, an instance that has failed, and the requests so far."""

    url: str
    secret: str
    instance_id: str
    asked: Callable[[], list[str]]


USER = "demo:demo"
FAILED = 2
"""The number of instances that have failed."""


def fails(number: int) -> bool:
    return number < FAILED


@contextmanager
def serve_rest(folder: Path, count: int) -> Iterator[BudgetServer]:
    path = folder / f"rest-{count}.db"
    secret = grant(path)
    with open_store(str(path), write=True) as store, store.write() as batch:
        for number in range(count):
            at = BEGIN + timedelta(seconds=number)
            name = f"i{number:04}"
            last = {"state": "FAILED", "execution_context": {"error_message": "no"}} if fails(number) else {}
            tokens = [
                token(f"{name}-a", name, element_id="start", element_type="startEvent", created_at=at, completed_at=at),
                token(f"{name}-b", name, element_id="work", created_at=at, **{"state": "WAITING", **last}),
            ]
            batch.put(instance(name, process_id="p", status="ACTIVE", started_at=at), tokens)
        for definition in read_definitions(MODEL):
            batch.put_definition(definition)
    server = Served(path, secret=secret)
    try:
        yield BudgetServer(server.url, secret, "i0000", lambda: [target for target, _ in server.asked])
    finally:
        server.close()


@contextmanager
def serve_atomd(_: Path, count: int) -> Iterator[BudgetServer]:
    made = Made(page=1000, xml=MODEL)
    for number in range(count):
        at = BEGIN + timedelta(seconds=number)
        name, key = f"srv1-i{number:017}", f"srv1-t{number:017}"
        state = "FAILED" if fails(number) else "WAITING"
        times = {"created_at": at.isoformat(), "updated_at": at.isoformat()}
        made.instances.append(_atomd_instance(name, at))
        made.tokens[name] = [
            {
                "token_id": key,
                "process_instance_id": name,
                "process_key": "k1",
                "current_element_id": "work",
                "status": state,
                "waiting_for": f"job:j{number}",
                "is_active": False,
                **times,
            }
        ]
        made.jobs.append(
            {
                "key": f"j{number}",
                "type": "work",
                "worker": "",
                "retries": 0 if fails(number) else 3,
                "state": "FAILED" if fails(number) else "PENDING",
                "process_instance_id": name,
                "element_id": "work",
                "created_at": int(at.timestamp()),
                "variables": {"_tokenID": key},
                "error_message": "no" if fails(number) else "",
            }
        )
    server = FakeAtomd(made)
    try:
        yield BudgetServer(server.url, SECRET, made.instances[0]["instance_id"], lambda: server.asked)
    finally:
        server.close()


def _atomd_instance(name: str, at: datetime) -> dict[str, Any]:
    return {
        "instance_id": name,
        "process_definition_id": "p",
        "process_key": "k1",
        "version": 1,
        "status": "ACTIVE",
        "started_at": at.isoformat(),
        "updated_at": at.isoformat(),
        "variables": {},
    }


@contextmanager
def serve_camunda7(_: Path, count: int) -> Iterator[BudgetServer]:
    with FakeCamunda(RECORDINGS / "operaton", user=USER) as server:
        server.keep("order4", "order6", "order20")  # the first two have failed
        server.copy_instance("order20", count - 3)
        url = f"{server.url}/engine-rest"
        yield BudgetServer(url, USER, server.cases["order4"], lambda: [one.text for one in server.requests])


@contextmanager
def serve_flowable(_: Path, count: int) -> Iterator[BudgetServer]:
    cases = ("order4", "order6", "order20")  # the first two have failed
    with FakeFlowable(cases=cases, copied=("order20",), copies=count - FAILED, user=USER) as server:
        yield BudgetServer(server.address, USER, CASES["order4"], lambda: [one.text for one in server.requests])


SERVERS = {"rest": serve_rest, "atomd": serve_atomd, "camunda7": serve_camunda7, "flowable": serve_flowable}
"""Kind → a context with a server of some number of instances."""
