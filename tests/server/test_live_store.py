"""A server on PostgreSQL: requests share what they ask, and none waits for another one or for an outage."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import perf_counter

import psycopg
import pytest

from support.builders import instance, tokens
from support.running_server import make_secret, serving
from tokctl.errors import UnreachableStoreError
from tokctl.server import live_store
from tokctl.server.live_store import DatabaseLiveStore
from tokctl.server.settings import Limits
from tokctl.server.stores import ReaderPool
from tokctl.store import open_store

PATH = "/api/v1/processes/i1/tokens"


@pytest.fixture
def place(postgresql) -> str:
    url = postgresql.new_schema()
    with open_store(url, write=True, create=True) as store, store.write() as batch:
        batch.put(instance("i1", process_id="p"), tokens(9))
    return url


def make_live_store(url: str) -> DatabaseLiveStore:
    return DatabaseLiveStore(url, ReaderPool(url, Limits()), lambda *_, **__: None)


def test_an_unreachable_store_is_not_tried_for_each_request(monkeypatch):
    monkeypatch.setattr(live_store, "RETRY_SECONDS", 0.2)
    tried: list[float] = []

    def hang_up(listening: socket.socket) -> None:
        with suppress(OSError):  # it is closed in the end
            while True:
                connection, _ = listening.accept()
                tried.append(time.monotonic())
                connection.close()

    async def ask(live: DatabaseLiveStore) -> None:
        for _ in range(5):
            with pytest.raises(UnreachableStoreError):
                await live.refresh(perf_counter())

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=hang_up, args=[listening], daemon=True).start()
        live = make_live_store(f"postgresql://127.0.0.1:{listening.getsockname()[1]}/x?sslmode=disable")
        asyncio.run(ask(live))
        once = len(tried)
        time.sleep(0.25)
        asyncio.run(ask(live))
    assert (once, len(tried)) == (1, 2)


def test_requests_share_questions(place):
    """Each sees a state that is not older than itself, and there are fewer questions than requests."""
    asked: list[float] = []

    async def ask(live: DatabaseLiveStore) -> None:
        read = live._read_current_state

        def count_and_read() -> object:
            asked.append(perf_counter())
            return read()

        live._read_current_state = count_and_read

        async def request() -> None:
            for _ in range(50):
                arrived = perf_counter()
                await live.refresh(arrived)
                assert any(at >= arrived for at in asked)
                await asyncio.sleep(0)

        async with asyncio.timeout(30):
            await asyncio.gather(*(request() for _ in range(20)))
        live.close()

    asyncio.run(ask(make_live_store(place)))
    assert 50 <= len(asked) < 1000


def test_no_request_waits_for_another_one(place):
    """While one is held by a lock in the database, others are answered."""
    secret, _ = make_secret(place, "manager", "*", type_="full-access")
    other, _ = make_secret(place, "other", "*", type_="full-access")
    with serving(place) as served, ThreadPoolExecutor(7) as threads, psycopg.connect(place) as locking:
        assert served.get(PATH, secret).status_code == 200  # and stays in the cache
        locking.execute("LOCK TABLE instance")
        held = [threads.submit(served.get, f"{PATH}?limit={n}", secret) for n in range(1, 8)]
        wait_until_locked(place, 7)
        for path in ("/health", PATH, "/api/api-tokens", "/api/api-tokens/audit"):
            for each in (secret, other):
                assert served.get(path, each).status_code == 200
        assert not any(one.done() for one in held)
        locking.rollback()
        assert [one.result().status_code for one in held] == [200] * 7


def test_connections_are_limited(place, tmp_path):
    """Others get a connection while one API token has as many requests as it may have."""
    (tmp_path / "config.yaml").write_text("serve: {limits: {store_connections: 3}}")
    secret, _ = make_secret(place, "manager", "*")
    other, _ = make_secret(place, "other", "*")
    with (
        serving(place, env={"TOKCTL_CONFIG": str(tmp_path / "config.yaml")}) as served,
        ThreadPoolExecutor(8) as threads,
        psycopg.connect(place) as locking,
    ):
        locking.execute("LOCK TABLE instance")
        held = [threads.submit(served.get, f"{PATH}?limit={n}", secret) for n in range(1, 6)]
        wait_until_locked(place, 2)
        held.append(threads.submit(served.get, PATH, other))
        wait_until_locked(place, 3)
        assert served.get("/api/api-tokens", other).status_code == 200
        wait_until_locked(place, 3)
        locking.rollback()
        assert [one.result().status_code for one in held] == [200] * 6


def test_a_held_question_is_given_up(place):
    """The answer is 503 while nothing can be known about API tokens, and the connection is used again later."""
    secret, _ = make_secret(place, "held", "*", type_="full-access")
    with serving(place) as served, psycopg.connect(place) as locking:
        assert served.get(PATH, secret).status_code == 200
        locking.execute("LOCK TABLE revision")
        answer = served.get(PATH, secret)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert served.get("/openapi.json").status_code == 200
        locking.rollback()
        deadline = time.monotonic() + 20
        while served.get(PATH, secret).status_code != 200:
            assert time.monotonic() < deadline, served.lines
            time.sleep(0.05)


def wait_until_locked(place: str, count: int) -> None:
    deadline = time.monotonic() + 20
    with psycopg.connect(place, autocommit=True) as connection:
        query = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = to_regclass('instance')"
        while connection.execute(query).fetchone() != (count,):
            assert time.monotonic() < deadline
            time.sleep(0.02)
