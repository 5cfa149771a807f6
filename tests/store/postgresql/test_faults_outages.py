"""Outages of a database: one clear line and the right exit code, and each command works again afterwards."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import count

import psycopg
import pytest

from support.builders import at, instance, tokens
from support.commandline import clean_environment
from support.database_faults import PEPPER, Scene, socket_of, steps_of, strike_at
from support.postgresql_server import PostgreSQLServer, temporary_server
from support.tcp_proxy import TcpProxy, proxied
from tokctl.errors import UnreachableStoreError
from tokctl.store import open_store
from tokctl.store.postgresql import connection, database, liveness, outcome

CONNECTIONS = 12
WRITES = ["copy", "create", "import", "migrate", "prune", "revoke", "rotate", "upgrade"]
COMMANDS = ["read", *WRITES]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQLServer]:
    """A server that tests may stop; what it has committed survives that."""
    with temporary_server(synchronous_commit="on", max_connections=str(CONNECTIONS)) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(server) -> Iterator[TcpProxy]:
    with proxied(socket_of(server)) as running:
        yield running


@pytest.fixture
def scene(server, proxy, tokctl, tmp_path, monkeypatch) -> Iterator[Scene]:
    monkeypatch.setenv("TOKCTL_PEPPER", PEPPER)
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path / "state"))
    yield Scene(tmp_path, tokctl, server.new_schema, proxy.url)
    proxy.speak()


@pytest.fixture
def impatient(monkeypatch) -> None:
    """Seconds, instead of many, until a server that does not answer is given up."""
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT_SECONDS", 2)
    monkeypatch.setattr(liveness, "PROBE_SECONDS", 0.3)
    monkeypatch.setattr(liveness, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(outcome, "FIND_OUT_SECONDS", 0.5)


def admin(server: PostgreSQLServer, *statements: str) -> None:
    """Run statements as the administrator."""
    with psycopg.connect(server.url(options="-cdefault_transaction_read_only=off"), autocommit=True) as opened:
        for statement in statements:
            opened.execute(statement)


def step_in(scene: Scene, proxy: TcpProxy, command: str, part: float) -> int:
    """Return the step of a command after a part of its messages; how many it sends differs by one or two."""
    return int(part * (steps_of(proxy, lambda: scene.run(*scene.cases()[command]().words)) - 2))


def begin(*words: str) -> subprocess.Popen[str]:
    """Start a command."""
    return subprocess.Popen(
        [sys.executable, "-m", "tokctl", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )


# --- restarts ---


@pytest.mark.parametrize("mode", ["fast", "immediate"])
@pytest.mark.parametrize("command", ["read", "import", "create"])
def test_a_restart_during_a_command(scene, proxy, server, command, mode):
    step = step_in(scene, proxy, command, 0.5)
    case = scene.cases()[command]()
    numbers, is_restarted = count(), threading.Event()

    def rule(_data: bytes) -> None:
        if next(numbers) == step:
            server.restart(mode)
            is_restarted.set()

    with proxy.ruled(rule):
        ran = scene.run(*case.words)
        assert is_restarted.wait(60)
    assert (ran.code, "was lost" in ran.err) == (5, True), ran
    assert case.is_done() in {False, None}
    assert scene.run(*case.words).code == 0
    assert case.is_done() in {True, None}


@pytest.mark.parametrize(
    ("command", "mode"), [("import", "immediate"), ("create", "fast"), ("revoke", "immediate"), ("prune", "fast")]
)
def test_a_restart_before_the_answer_to_a_commit(scene, proxy, server, command, mode):
    case = scene.cases()[command]()
    is_restarted = threading.Event()

    def rule(data: bytes) -> str | None:
        if b"COMMIT\0" not in data:
            return None
        server.restart(mode)
        is_restarted.set()
        return "drop"

    with proxy.ruled(rule):
        ran = scene.run(*case.words)
        assert is_restarted.wait(60)
    assert (ran.code, case.is_done()) == (5, False), ran
    assert "was lost" in ran.err
    assert scene.run(*case.words).code == 0
    assert case.is_done()


@pytest.mark.parametrize("command", ["migrate", "upgrade"])
def test_a_process_of_the_server_is_killed_while_tables_are_made(scene, proxy, server, command):
    """PostgreSQL ends all its processes then, and starts again."""
    step = step_in(scene, proxy, command, random.uniform(0.2, 0.7))
    case, numbers, is_killed = scene.cases()[command](), count(), threading.Event()

    def rule(_data: bytes) -> None:
        if next(numbers) == step:
            with psycopg.connect(server.url(), autocommit=True) as opened:
                named = "SELECT pid FROM pg_stat_activity WHERE application_name = 'tokctl'"
                for (process_id,) in opened.execute(named).fetchall():
                    with suppress(ProcessLookupError):  # the server has ended it because of the first one
                        os.kill(process_id, signal.SIGKILL)
                with suppress(psycopg.OperationalError):
                    while True:
                        opened.execute("SELECT pg_sleep(0.01)")
            is_killed.set()

    with proxy.ruled(rule):
        ran = scene.run(*case.words)
    assert is_killed.wait(60)
    assert ran.code in {0, 5}, ran
    while scene.run("tokens", "list", "i1", *scene.where).code:
        pass
    assert case.is_done() in {True, ran.code == 0}
    assert scene.run(*case.words).code == 0
    assert case.is_done()
    assert scene.run("store", "check", "--store", case.words[-1]).code == 0


def test_a_server_that_is_stopped(scene, server):
    server.stop("fast")
    try:
        for command in COMMANDS:
            words = {"create": ["api-tokens", "create", "a"], "read": ["tokens", "list", "i1"]}.get(command)
            if words is not None:
                ran = scene.run(*words, *scene.where)
                assert (ran.code, "cannot connect to the store" in ran.err) == (5, True), ran
    finally:
        server.start()


def test_waiting_through_a_restart(scene, server):
    """What polls the store keeps trying."""
    waiting = begin("tokens", "wait", "i1", "--for", "state=COMPLETED", *scene.where)
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tokctl' AND query = 'COMMIT'"
    with psycopg.connect(server.url(), autocommit=True) as other:
        while other.execute(sessions).fetchone() == (0,):
            assert waiting.poll() is None
    server.restart()
    with open_store(scene.place, write=True) as store, store.write() as batch:
        done = {"state": "COMPLETED", "updated_at": at(99)}
        batch.put(instance("i1", status="COMPLETED", updated_at=at(99)), tokens(3, **done))
    out, err = waiting.communicate(timeout=60)
    assert (waiting.returncode, "Condition met" in out) == (0, True), err


# --- networks ---


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("command", "part"), [("read", 0), ("read", 1), ("import", 0.6), ("create", 0.7), ("prune", 0.3)]
)
def test_a_server_that_does_not_answer(scene, proxy, command, part):
    step = step_in(scene, proxy, command, part)
    case = scene.cases()[command]()
    with proxy.ruled(strike_at(step, "silence")):
        ran = scene.run(*case.words)
    proxy.speak()
    assert ran.code == 5, ran
    assert case.is_done() in {False, None}
    assert scene.run(*case.words).code == 0


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("command", ["import", "create", "revoke"])
def test_a_commit_that_is_not_answered_is_said_to_be_unknown(scene, proxy, command):
    case = scene.cases()[command]()
    with proxy.ruled(lambda data: "silence" if b"COMMIT\0" in data else None):
        ran = scene.run(*case.words)
    proxy.speak()
    assert (ran.code, "unknown whether" in ran.err) == (5, True), ran
    assert case.is_done() is False
    assert scene.run(*case.words).code == 0
    scene.check_api_tokens()


@pytest.mark.parametrize("part", [0, 0.5])
def test_ctrl_c_ends_waiting_for_a_server_that_does_not_answer(scene, proxy, part):
    step = step_in(scene, proxy, "read", part)
    with proxy.ruled(strike_at(step, "silence")):
        process = begin("tokens", "list", "i1", *scene.where)
        assert proxy.swallowed.wait(30)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=30)
    proxy.speak()
    assert (process.returncode, *said) == (130, "", "tokctl: interrupted.\n")


def test_a_slow_network(scene, proxy):
    with proxy.slow(0.003):
        for prepare in scene.cases().values():
            assert scene.run(*prepare().words).code == 0


# --- a server that refuses ---


@pytest.mark.parametrize("user", ["postgres", "modest"])
def test_a_server_without_a_free_connection(scene, server, proxy, user):
    admin(server, "DROP ROLE IF EXISTS modest", "CREATE ROLE modest LOGIN")
    url = scene.url.replace("postgres@", f"{user}@")
    with ExitStack() as opened:
        with suppress(psycopg.OperationalError):
            while True:
                opened.enter_context(psycopg.connect(server.url(user=user)))
        for words in (["tokens", "list", "i1"], ["api-tokens", "create", "a"]):
            ran = scene.run(*words, "--store", url)
            assert (ran.code, "refuses the connection" in ran.err) == (5, True), ran
            assert "Try again later" in ran.err
    assert scene.run("tokens", "list", "i1", *scene.where).code == 0


def test_a_user_who_is_dropped_or_locked_out(scene, server, proxy):
    admin(server, "DROP ROLE IF EXISTS leaving", "CREATE ROLE leaving LOGIN SUPERUSER")
    words = ["tokens", "list", "i1", "--store", scene.url.replace("postgres@", "leaving@")]
    assert scene.run(*words).code == 0
    step, numbers = step_in(scene, proxy, "read", 0.5), count()

    def rule(_data: bytes) -> None:
        if next(numbers) == step:
            admin(
                server,
                "ALTER ROLE leaving NOLOGIN",
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'leaving'",
            )

    with proxy.ruled(rule):
        ran = scene.run(*words)
    assert (ran.code, "was lost" in ran.err) == (5, True)
    ran = scene.run(*words)
    assert (ran.code, "not permitted to log in" in ran.err) == (6, True)
    admin(server, "DROP ROLE leaving")
    ran = scene.run(*words)
    assert (ran.code, 'role "leaving" does not exist' in ran.err) == (6, True)
    assert "Check user, password and database" in ran.err


def test_a_password_that_is_changed(scene, server, monkeypatch):
    access = server.data / "pg_hba.conf"
    before = access.read_text()
    access.write_text(f"local all guarded scram-sha-256\n{before}")
    admin(server, "SELECT pg_reload_conf()", "CREATE ROLE guarded LOGIN SUPERUSER PASSWORD 'first-word'")
    words = ["tokens", "list", "i1", "--store", scene.url.replace("postgres@", "guarded@")]
    try:
        monkeypatch.setenv("PGPASSWORD", "first-word")
        assert scene.run(*words).code == 0
        admin(server, "ALTER ROLE guarded PASSWORD 'second-word'")
        ran = scene.run(*words)
        assert (ran.code, "password authentication failed" in ran.err) == (6, True)
        assert "Check user, password and database" in ran.err
        assert "-word" not in ran.err
        monkeypatch.setenv("PGPASSWORD", "second-word")
        assert scene.run(*words).code == 0
    finally:
        access.write_text(before)
        admin(server, "DROP ROLE guarded", "SELECT pg_reload_conf()")


@pytest.mark.parametrize("command", ["read", "import", "prune", "create", "revoke"])
def test_a_permission_that_is_revoked(scene, server, command):
    schema = scene.place.rpartition("%3D")[2]
    case = scene.cases()[command]()
    admin(
        server,
        "DROP ROLE IF EXISTS limited",
        "CREATE ROLE limited LOGIN",
        f"GRANT USAGE ON SCHEMA {schema} TO limited",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO limited",
        f"REVOKE SELECT ON {schema}.token FROM limited",
    )
    try:
        words = [str(word).replace("postgres@", "limited@") for word in case.words]
        ran = scene.run(*words)
        assert (ran.code, "does not allow this: permission denied" in ran.err) == (6, True), ran
        assert case.is_done() in {False, None}
    finally:
        admin(server, "DROP OWNED BY limited", "DROP ROLE limited")
    assert scene.run(*case.words).code == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_a_read_only_database(scene, server, command):
    case = scene.cases()[command]()
    admin(server, "ALTER DATABASE tests SET default_transaction_read_only = on")
    try:
        ran = scene.run(*case.words)
    finally:
        admin(server, "ALTER DATABASE tests RESET default_transaction_read_only")
    if command == "read":
        assert ran.code == 0
    else:
        assert (ran.code, "read-only" in ran.err) == (6, True), ran
        assert case.is_done() in {False, None}
    assert scene.run(*case.words).code == 0
    scene.check_api_tokens()


@pytest.mark.parametrize("command", ["read", "import", "prune", "create", "rotate", "revoke"])
def test_a_table_that_is_locked(scene, server, monkeypatch, command):
    case = scene.cases()[command]()
    monkeypatch.setattr(database, "LOCK_TIMEOUT_SECONDS", 0.1)
    schema = scene.place.rpartition("%3D")[2]
    with psycopg.connect(server.url()) as other:
        other.execute(f"LOCK TABLE {schema}.token, {schema}.instance, {schema}.api_token IN ACCESS EXCLUSIVE MODE")
        ran = scene.run(*case.words)
    assert (ran.code, "is locked" in ran.err) == (6, True), ran
    assert case.is_done() in {False, None}
    assert scene.run(*case.words).code == 0


@pytest.mark.parametrize("command", ["import", "create"])
def test_a_deadlock(scene, server, command):
    """PostgreSQL ends one of the transactions: another try succeeds."""
    case = scene.cases()[command]()
    schema = scene.place.rpartition("%3D")[2]
    admin(
        server,
        f"CREATE FUNCTION {schema}.fail() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01'; END $$",
        f"CREATE TRIGGER fail BEFORE UPDATE ON {schema}.revision EXECUTE FUNCTION {schema}.fail()",
    )
    ran = scene.run(*case.words)
    assert (ran.code, "deadlock detected" in ran.err, "Try again" in ran.err) == (6, True, True), ran
    admin(server, f"DROP TRIGGER fail ON {schema}.revision")
    assert case.is_done() is False
    assert scene.run(*case.words).code == 0


def test_a_writer_that_pauses_longer_than_the_server_allows(scene, server):
    def write() -> None:
        with open_store(scene.place, write=True) as store, store.write() as batch:
            batch.put(instance("i2"))
            with psycopg.connect(server.url(), autocommit=True) as other:
                sessions = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
                while other.execute(sessions, [store.database.connection.info.backend_pid]).fetchone() != (0,):
                    other.execute("SELECT pg_sleep(0.01)")
            batch.put(instance("i3"))

    admin(server, "ALTER DATABASE tests SET idle_in_transaction_session_timeout = '50ms'")
    try:
        with pytest.raises(UnreachableStoreError, match=r"was lost"):
            write()
    finally:
        admin(server, "ALTER DATABASE tests RESET idle_in_transaction_session_timeout")
    with open_store(scene.place) as store:
        assert list(store.all_instance_ids()) == ["i1"]
