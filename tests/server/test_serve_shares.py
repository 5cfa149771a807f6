"""What one address or one API token may use, so that there is something left for others."""

from __future__ import annotations

import socket
import sqlite3
import time
from contextlib import ExitStack, closing, suppress

import pytest

from support.raw_http import TARGET, Raw, head, parsed
from support.running_server import make_secret, make_store, multiply, path_of, serving

LIMITS = """
serve:
  limits: {connections: 100, address_connections: 6, long_answers: 3, token_answers: 2, queue_seconds: 0.5,
           read_seconds: 2, head_seconds: 20}
"""
BIG = path_of("processes", "big", "tokens")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A store with an instance of 15,000 tokens, the secrets of two API tokens, and a configuration with few limits."""
    folder = tmp_path_factory.mktemp("shared")
    store = make_store(folder / "own.db")
    multiply(store, "big", 15_000)
    (folder / "config.yaml").write_text(LIMITS, encoding="utf-8")
    secrets = [make_secret(store, name, "*")[0] for name in ("one", "two")]
    return store, secrets, {"TOKCTL_CONFIG": str(folder / "config.yaml")}


@pytest.fixture(scope="module")
def server(shared):
    store, _, env = shared
    with serving(store, env=env) as running:
        yield running


def connect(server, source: str) -> Raw:
    """A connection from another address of this machine."""
    raw = Raw.__new__(Raw)
    raw.socket = socket.create_connection(server.address, timeout=10, source_address=(source, 0))
    return raw


def test_the_connections_of_one_address_leave_room_for_others(server, shared):
    _, (secret, _), _ = shared
    with ExitStack() as stack:
        many = [stack.enter_context(Raw(server)) for _ in range(30)]
        time.sleep(0.3)
        answers = [one.rest() for one in many[6:]]
        refused = [parsed(answer)[0] for answer in answers if answer]
        assert refused in ([503] * 5, [503] * 6)  # the client of the tests may keep a connection, too
        assert answers[len(refused) :] == [b""] * (24 - len(refused))
        with connect(server, "127.0.0.2") as other:
            other.send(head(secret))
            assert other.one().startswith(b"HTTP/1.1 200")
        many[0].send(head(secret))  # those before are served
        assert many[0].one().startswith(b"HTTP/1.1 200")
    time.sleep(0.3)
    assert server.get(TARGET, secret).status_code == 200


def test_a_trusted_proxy_has_as_many_connections_as_it_needs(shared):
    store, (secret, _), env = shared
    with serving(store, "--trusted-proxy", "127.0.0.1", env=env) as server, ExitStack() as stack:
        for one in [stack.enter_context(Raw(server)) for _ in range(20)]:
            one.send(head(secret))
            assert one.one().startswith(b"HTTP/1.1 200")


def test_the_slow_readers_of_one_api_token_leave_room_for_others(server, shared):
    _, (secret, other), _ = shared
    with ExitStack() as stack:
        for _ in range(2):
            slow = stack.enter_context(Raw(server, room=4096))
            slow.send(head(secret, target=BIG))
            assert slow.socket.recv(10).startswith(b"HTTP/1.1 2")
        assert server.get(BIG, secret).json()["error"]["code"] == "OVERLOADED"
        assert len(server.get(BIG, other).json()["data"]["tokens"]) == 15_000
    time.sleep(0.3)
    assert server.get(BIG, secret).status_code == 200


def test_a_slow_reader_does_not_hold_the_store_for_long(server, shared):
    store, (secret, _), _ = shared

    def is_held() -> bool:
        with closing(sqlite3.connect(store, timeout=0)) as connection:
            return bool(connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])

    with closing(sqlite3.connect(store)) as writer, Raw(server, room=4096) as slow:
        slow.send(head(secret, "X-Request-ID: slow", target=BIG))
        end = time.monotonic() + 3
        assert slow.socket.recv(10).startswith(b"HTTP/1.1 2")
        with writer:
            writer.execute("UPDATE api_token SET last_used_at = 1")
        assert is_held()
        with suppress(ConnectionResetError):
            while time.monotonic() < end:
                assert slow.socket.recv(1024)
                time.sleep(0.02)
        assert server.log("slow")[0]["reason"] == "the client read too slowly"
        assert not is_held()
