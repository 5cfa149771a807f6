"""Outages of PgBouncer in transaction mode, and behind it: one clear line, and each command works again afterwards."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import psycopg
import pytest

from support.builders import tokens
from support.commandline import Ran
from support.database_faults import PEPPER, RECOVERY_SECONDS, Scene, asked_server, steps_of, wait_until_well
from support.pgbouncer import SERVER_CONNECTIONS, Pooler, pooling
from support.postgresql_server import PostgreSQLServer, temporary_server
from support.tcp_proxy import TcpProxy, proxied
from tokctl.store import open_store

MANY = bool(os.environ.get("TOKCTL_TEST_KILLS"))
CLIENTS = 12


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQLServer]:
    with temporary_server(synchronous_commit="on") as running:
        yield running


@pytest.fixture(scope="module")
def pooler(server) -> Iterator[Pooler]:
    with pooling(server, max_client_conn=CLIENTS, query_wait_timeout=1, server_login_retry=1) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(pooler) -> Iterator[TcpProxy]:
    with proxied(lambda: pooler.address) as running:
        yield running


@pytest.fixture
def scene(server, proxy, tokctl, tmp_path, monkeypatch) -> Scene:
    monkeypatch.setenv("TOKCTL_PEPPER", PEPPER)
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path / "state"))
    return Scene(tmp_path, tokctl, lambda: server.url(server.new_database()), proxy.url)


@pytest.fixture
def outages(server, pooler) -> dict[str, Callable[[], None]]:
    """What can happen."""

    def restart_pooler(**how: Any) -> None:
        pooler.stop(**how)
        pooler.start()

    return {
        "pooler": restart_pooler,
        "killed pooler": lambda: restart_pooler(kill=True),
        "database": lambda: server.restart("fast"),
        "crashed database": server.restart,
    }


OUTAGES = ["pooler", "killed pooler", "database", "crashed database"]
CHANGES = ["import", "create", "revoke"]  # each in one transaction


def run_with(scene: Scene, proxy: TcpProxy, words: list[Any], outage: Callable[[], None], at: Callable) -> Ran:
    """Run a command, with an outage before the first message that ``at`` tells."""
    begun, ended = threading.Event(), threading.Event()

    def rule(data: bytes) -> None:
        if at(data) and not begun.is_set():
            begun.set()
            outage()
            ended.set()

    with proxy.ruled(rule):
        ran = scene.run(*words)
        assert ended.wait(RECOVERY_SECONDS)
    return ran


def run_until_well(scene: Scene, words: list[Any]) -> None:
    """Run a command until the pooler has connected to the database again."""
    deadline = time.monotonic() + RECOVERY_SECONDS
    while (ran := scene.run(*words)).code:
        assert ran.code == 5, ran
        assert time.monotonic() < deadline, ran


@pytest.mark.parametrize("outage", OUTAGES)
@pytest.mark.parametrize("command", ["read", *CHANGES] if MANY else ["any"])
def test_an_outage_during_a_command(scene, proxy, outages, command, outage):
    prepare = scene.cases()[random.choice(CHANGES) if command == "any" else command]
    words = prepare().words
    step = random.randrange(steps_of(proxy, lambda: scene.run(*words)) - 1)
    case, passed = prepare(), []

    def is_step(data: bytes) -> bool:
        passed.append(data)
        return len(passed) > step

    ran = run_with(scene, proxy, case.words, outages[outage], is_step)
    assert ran.code in {0, 5}, ran
    run_until_well(scene, ["tokens", "list", "i1", *scene.where])
    assert case.is_done() in {ran.code == 0, None}, ran
    if ran.code:
        run_until_well(scene, case.words)
        assert case.is_done() in {True, None}
    scene.check_api_tokens()


@pytest.mark.parametrize(
    ("outage", "command"),
    [(outage, command) for outage in OUTAGES for command in (*CHANGES, "prune")]
    if MANY
    else list(zip(OUTAGES, (*CHANGES, "prune"), strict=True)),
)
def test_an_outage_at_a_commit(scene, proxy, outages, command, outage):
    case = scene.cases()[command]()
    ran = run_with(scene, proxy, case.words, outages[outage], lambda data: b"COMMIT\0" in data)
    assert (ran.code, "was lost: the change was not saved" in ran.err) == (5, True), ran
    run_until_well(scene, ["tokens", "list", "i1", *scene.where])
    assert case.is_done() is False
    run_until_well(scene, case.words)
    assert case.is_done()


@pytest.mark.parametrize(("verdict", "command"), [("drop", "create"), ("lose", "import"), ("half", "revoke")])
def test_the_answer_to_a_commit_is_lost(scene, proxy, command, verdict):
    case = scene.cases()[command]()
    with proxy.ruled(lambda data: verdict if b"COMMIT\0" in data else None):
        ran = scene.run(*case.words)
    assert (ran.code, case.is_done()) == ((5, False) if verdict == "drop" else (0, True)), ran


def test_a_writer_goes_on_after_the_answer_to_a_commit_was_lost(scene, proxy):
    """The new connection leaves nothing in the sessions of the pooler, either."""
    with ExitStack() as opened:  # so that the pooler has several
        for _ in range(SERVER_CONNECTIONS):
            opened.enter_context(psycopg.connect(scene.url)).execute("SELECT 1")
    with open_store(scene.url, write=True) as store:
        with proxy.ruled(lambda data: "lose" if b"COMMIT\0" in data else None), store.write() as batch:
            batch.put_tokens(tokens(3, "lost"))
        for number in range(8):  # more often than a statement is run until it is prepared
            with store.write() as batch:
                batch.put_tokens(tokens(3, f"then-{number}"))
        assert len(list(store.all_instance_ids())) == 10


@pytest.mark.parametrize("limit", ["clients", "pool"])
def test_no_free_connection(scene, limit):
    case = scene.cases()["create"]()
    with ExitStack() as opened:
        with suppress(psycopg.OperationalError):
            for _ in range(CLIENTS + 1 if limit == "clients" else SERVER_CONNECTIONS):
                connection = opened.enter_context(psycopg.connect(scene.url, autocommit=limit == "clients"))
                connection.execute("SELECT 1")
        for words in (["tokens", "list", "i1", *scene.where], case.words):
            ran = scene.run(*words)
            assert (ran.code, "Try again" in ran.err) == (5, True), ran
    assert case.is_done() is False
    run_until_well(scene, case.words)


@pytest.mark.parametrize("stopped", ["pooler", "server"])
def test_what_is_stopped(scene, server, pooler, stopped):
    words = ["tokens", "list", "i1", *scene.where]
    (pooler if stopped == "pooler" else server).stop()
    try:
        for _ in range(2):
            assert scene.run(*words).code == 5
    finally:
        (pooler if stopped == "pooler" else server).start()
    run_until_well(scene, words)


def test_the_server_recovers(scene, outages):
    with asked_server(scene) as ask:
        for outage in outages.values():
            outage()
            wait_until_well(ask)
