"""Outages of the database of a server: 503 with Retry-After, and then service again without a restart."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress

import httpx
import psycopg
import pytest

from support.builders import instance, tokens
from support.database_faults import socket_of
from support.postgresql_server import PostgreSQLServer, temporary_server
from support.running_server import Served, make_secret, serving
from support.serving import Served as InProcess
from support.serving import grant
from support.tcp_proxy import TcpProxy, proxied
from tokctl.store import open_store
from tokctl.store.postgresql import connection, liveness, outcome

TOKENS = "/api/v1/processes/i1/tokens"
API_TOKENS = "/api/api-tokens"
SPEC = {"scopes": ["process", "token"]}
RECOVERY_SECONDS = 60


@pytest.fixture(scope="module")
def database() -> Iterator[PostgreSQLServer]:
    with temporary_server(synchronous_commit="on", max_connections="30") as running:
        yield running


@pytest.fixture(scope="module")
def proxy(database) -> Iterator[TcpProxy]:
    with proxied(socket_of(database)) as running:
        yield running


def make_store(database: PostgreSQLServer) -> str:
    """Create a store with an instance."""
    url = database.new_schema()
    with open_store(url, write=True, create=True) as store, store.write() as batch:
        batch.put(instance("i1", status="ACTIVE"), tokens(700))
    return url


@pytest.fixture(scope="module")
def place(database) -> str:
    return make_store(database)


@pytest.fixture(scope="module")
def secret(place) -> str:
    return make_secret(place, "manager", "*", type_="full-access")[0]


@pytest.fixture(scope="module")
def served(place, proxy, secret) -> Iterator[Served]:
    with serving(proxy.url(place)) as running:
        yield running


@pytest.fixture(autouse=True)
def _works_before_and_after(served, secret) -> Iterator[None]:
    wait_until_well(served, secret)
    yield
    wait_until_well(served, secret)


def wait_until_well(served: Served, secret: str) -> None:
    """Wait until a server reads and writes again."""
    deadline = time.monotonic() + RECOVERY_SECONDS
    while not all(answer.is_success for answer in ask(served, secret)):
        assert time.monotonic() < deadline, served.lines[-5:]
        time.sleep(0.05)


def ask(served: Served, secret: str) -> tuple[httpx.Response, httpx.Response]:
    """Read tokens, and create an API token."""
    headers = {"X-API-Key": secret}
    return (
        served.client.get(TOKENS, headers=headers),
        served.client.post(API_TOKENS, headers=headers, json={"name": "made"} | SPEC),
    )


def check_refused(answer: httpx.Response) -> None:
    """See that an answer says when to try again, and nothing about the database."""
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) > 0
    assert "postgres" not in answer.text.lower()
    assert "127.0.0.1" not in answer.text


def admin(database: PostgreSQLServer, *statements: str) -> None:
    """Run statements as the administrator."""
    with psycopg.connect(database.url(options="-cdefault_transaction_read_only=off"), autocommit=True) as opened:
        for statement in statements:
            opened.execute(statement)


def test_connections_are_reset(served, secret, proxy):
    with proxy.refusing():
        for answer in ask(served, secret):
            check_refused(answer)
    proxy.reset_all()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_the_database_restarts(served, secret, database, mode):
    database.stop(mode)
    for answer in ask(served, secret):
        check_refused(answer)
    assert served.client.get("/health").status_code in {200, 503}
    database.start()


def test_the_database_does_not_answer(database, monkeypatch):
    """A change whose commit is not answered may have been saved; a repetition with the same key tells the secret."""
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT_SECONDS", 2)
    monkeypatch.setattr(liveness, "PROBE_SECONDS", 0.3)
    monkeypatch.setattr(liveness, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(outcome, "FIND_OUT_SECONDS", 0.5)
    place = make_store(database)
    headers = {"X-API-Key": grant(place, "*", type_="full-access"), "Idempotency-Key": "0123456789-silent"}
    writes = threading.local()  # each connection has a thread

    def rule(data: bytes) -> str | None:
        writes.begun = getattr(writes, "begun", False) or b"kind = 'access' FOR UPDATE" in data
        return "silence" if writes.begun and b"COMMIT\0" in data else None

    with (
        proxied(socket_of(database)) as proxy,
        closing(InProcess(proxy.url(place))) as served,
        httpx.Client(base_url=served.url, timeout=60) as client,
    ):

        def once_well(send: Callable[[], httpx.Response]) -> httpx.Response:
            deadline = time.monotonic() + RECOVERY_SECONDS
            while (answer := send()).status_code == 503:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            return answer

        def read(headers: dict[str, str] = headers) -> httpx.Response:
            return client.get(TOKENS, headers=headers)

        def create() -> httpx.Response:
            return client.post(API_TOKENS, headers=headers, json={"name": "silent"} | SPEC)

        assert read().status_code == 200
        with proxy.silent():
            check_refused(read())
        assert once_well(read).status_code == 200
        with proxy.ruled(rule):
            answer = create()
            check_refused(answer)
            assert "unknown whether" in answer.text
            check_refused(read())
        proxy.speak()
        made = once_well(create)
        assert made.status_code == 201
        assert read({"X-API-Key": made.json()["token"]}).status_code == 200
    with open_store(place) as store:
        assert len(list(store.api_tokens.named("silent"))) == 1


def test_the_database_is_slow(served, secret, proxy):
    with proxy.slow(0.02):
        assert [answer.status_code for answer in ask(served, secret)] == [200, 201]


def test_the_database_has_no_free_connection(served, secret, database, proxy):
    with ExitStack() as opened:
        proxy.reset_all()
        with suppress(psycopg.OperationalError):
            while True:
                opened.enter_context(psycopg.connect(database.url()))
        for answer in ask(served, secret):
            check_refused(answer)


def test_the_database_is_read_only(served, secret, database, proxy):
    admin(database, "ALTER DATABASE tests SET default_transaction_read_only = on")
    try:
        proxy.reset_all()
        read, made = ask(served, secret)
        assert read.status_code == 200
        check_refused(made)
    finally:
        admin(database, "ALTER DATABASE tests RESET default_transaction_read_only")
        proxy.reset_all()


def test_tables_are_locked(served, secret, database, place):
    schema = place.rpartition("%3D")[2]
    with psycopg.connect(database.url()) as other:
        other.execute(f"LOCK TABLE {schema}.api_token IN ACCESS EXCLUSIVE MODE")
        check_refused(served.get(TOKENS, secret))


@pytest.mark.parametrize("verdict", ["drop", "lose", "half"])
def test_the_answer_to_a_commit_is_lost(served, secret, proxy, place, verdict):
    """The server finds out what became of it: no API token is made of which nobody has the secret."""
    name = f"lost-{verdict}"
    struck = threading.Event()
    writes = threading.local()  # each connection has a thread

    def rule(data: bytes) -> str | None:
        writes.begun = getattr(writes, "begun", False) or b"kind = 'access' FOR UPDATE" in data
        if not writes.begun or b"COMMIT\0" not in data or struck.is_set():
            return None
        struck.set()
        return verdict

    headers = {"X-API-Key": secret}
    with proxy.ruled(rule):
        answer = served.client.post(API_TOKENS, headers=headers, json={"name": name} | SPEC)
    assert struck.is_set()
    with open_store(place) as store:
        made = list(store.api_tokens.named(name))
    if verdict == "drop":
        check_refused(answer)
        assert made == []
        return
    assert (answer.status_code, len(made)) == (201, 1)
    assert served.get(TOKENS, answer.json()["token"]).status_code == 200
    struck.clear()
    with proxy.ruled(rule):
        assert served.client.delete(f"{API_TOKENS}/{made[0].id}", headers=headers).status_code == 200
    assert struck.is_set()
    assert served.get(TOKENS, answer.json()["token"]).status_code == 401
