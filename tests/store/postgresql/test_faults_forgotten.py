"""A firewall that forgets connections, and drops their packets without a word: everything connects again."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import count

import psycopg
import pytest
from psycopg import capabilities

from support.builders import at, instance, tokens
from support.commandline import clean_environment
from support.database_faults import (
    PEPPER,
    RECOVERY_SECONDS,
    Scene,
    asked_server,
    socket_of,
    steps_of,
    wait_until_well,
)
from support.tcp_proxy import TcpProxy, proxied
from tokctl.errors import UnreachableStoreError
from tokctl.store import open_store
from tokctl.store.postgresql import liveness

SOON = "keepalives_idle=1&keepalives_interval=1&keepalives_count=1&tcp_user_timeout=1000"
NEVER = "keepalives=0&tcp_user_timeout=0"


@pytest.fixture
def proxy(postgresql) -> Iterator[TcpProxy]:
    with proxied(socket_of(postgresql)) as running:
        yield running


@pytest.fixture
def scene(postgresql, proxy, tokctl, tmp_path, monkeypatch) -> Scene:
    monkeypatch.setenv("TOKCTL_PEPPER", PEPPER)
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path / "state"))

    def new_place() -> str:
        return postgresql.url(postgresql.new_database())

    return Scene(tmp_path, tokctl, new_place, lambda place: f"{proxy.url(place)}?{SOON}")


def test_tcp_notices_it_within_a_minute(scene):
    options = socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT
    with (
        open_store(scene.url.removesuffix(SOON)) as store,
        socket.socket(fileno=os.dup(store.database.connection.fileno())) as connection,
    ):
        idle, interval, probes, unanswered = (connection.getsockopt(socket.IPPROTO_TCP, option) for option in options)
        assert 0 < idle + interval * probes <= 60
        assert 0 < unanswered <= 20_000


@pytest.mark.parametrize("command", ["read", "import", "create"])
def test_during_a_command(scene, proxy, command):
    step = steps_of(proxy, lambda: scene.run(*scene.cases()[command]().words)) // 2
    case, numbers = scene.cases()[command](), count()
    with proxy.ruled(lambda _: proxy.forget_connections() if next(numbers) == step else None):
        ran = scene.run(*case.words)
    assert (ran.code, "was lost" in ran.err) == (5, True), ran
    end_sessions(scene)
    assert case.is_done() in {False, None}
    assert scene.run(*case.words).code == 0


SESSIONS = "FROM pg_stat_activity WHERE application_name = 'tokctl' AND datname = current_database()"


def end_sessions(scene: Scene) -> None:
    """End what the database does for clients that are gone: it does not know that yet."""
    with psycopg.connect(scene.place) as connection:
        connection.execute(f"SELECT pg_terminate_backend(pid, 10000) {SESSIONS}")


def test_while_a_command_waits(scene, proxy):
    command = ["tokens", "wait", "i1", "--for", "state=COMPLETED", *scene.where]
    waiting = subprocess.Popen(
        [sys.executable, "-m", "tokctl", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )
    with psycopg.connect(scene.place, autocommit=True) as connection:
        while connection.execute(f"SELECT count(*) {SESSIONS} AND query = 'COMMIT'").fetchone() == (0,):
            assert waiting.poll() is None
    proxy.forget_connections()
    with open_store(scene.place, write=True) as store, store.write() as batch:
        done = {"state": "COMPLETED", "updated_at": at(99)}
        batch.put(instance("i1", status="COMPLETED", updated_at=at(99)), tokens(3, **done))
    out, err = waiting.communicate(timeout=RECOVERY_SECONDS)
    assert (waiting.returncode, "Condition met" in out) == (0, True), err


def test_the_server(scene, proxy):
    with asked_server(scene) as ask:
        proxy.forget_connections()
        wait_until_well(ask)


@pytest.mark.skipif(not capabilities.has_cancel_safe(), reason="libpq before 17 waits for the server")
def test_a_query_that_does_not_end_when_it_is_cancelled(scene, proxy, monkeypatch):
    """Its connection is given up also if TCP sees nothing wrong with it, as behind a proxy."""
    monkeypatch.setattr(liveness, "ANSWER_SECONDS", 0.3)
    found = []

    def read() -> None:
        with pytest.raises(UnreachableStoreError) as caught:
            store.info()
        found.append(caught.value)

    with open_store(scene.url.replace(SOON, NEVER)) as store:
        proxy.forget_connections()
        reading = threading.Thread(target=read, daemon=True)
        reading.start()
        while store.database.connection.waiting_since is None:
            pass
        store.interrupt()
        reading.join(RECOVERY_SECONDS)
    assert len(found) == 1
