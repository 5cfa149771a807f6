"""Limits: requests that are too large, too slow or not HTTP, and clients that do not read the response."""

from __future__ import annotations

import sqlite3
import time
from contextlib import suppress

import pytest

from support.builders import instance
from support.raw_http import TARGET, Raw, head, parsed
from support.running_server import LARGE, path_of
from tokctl.store import open_store


@pytest.mark.parametrize(
    ("lines", "target", "status", "code"),
    [
        (["X-Long: " + "a" * 20_000], TARGET, 431, "HEADERS_TOO_LARGE"),
        ([f"X-{n}: {'a' * 200}" for n in range(100)], TARGET, 431, "HEADERS_TOO_LARGE"),
        ([], TARGET + "?element=" + "a" * 9000, 414, "URI_TOO_LONG"),
        ([], path_of("processes", "x" * 100_000), 414, "URI_TOO_LONG"),
        (["Content-Length: 70000"], TARGET, 413, "PAYLOAD_TOO_LARGE"),
        (["Content-Length: 99999999999999999999"], TARGET, 400, "BAD_REQUEST"),
    ],
)
def test_requests_that_are_too_large(strict, secrets, lines, target, status, code):
    with Raw(strict) as raw:
        raw.send(head(secrets["process"], *lines, target=target))
        found, document = parsed(raw.rest())
    assert (found, document["error"]["code"]) == (status, code)
    assert document["success"] is False


def count_refused_heads(served) -> int:
    """Return the number of logged requests without a path, whose heads were never complete."""
    return sum('"status":431' in line and '"path"' not in line for line in served.lines)


def test_an_endless_head_is_cut_off(strict):
    time.sleep(0.3)  # lines are written in batches
    before, began = strict.rss, time.monotonic()
    told = count_refused_heads(strict)
    with Raw(strict) as raw:
        raw.send(b"GET / HTTP/1.1\r\nX-Long: ")
        with suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() < began + 10:
                raw.send(b"a" * 65536)
    assert time.monotonic() < began + 9
    time.sleep(0.3)
    assert count_refused_heads(strict) == told + 1
    assert strict.rss - before < 15


def test_a_body_without_a_length_is_cut_off(strict, secrets):
    with Raw(strict) as raw:
        raw.send(head(secrets["every"], "Transfer-Encoding: chunked", method="POST"))
        try:
            for _ in range(200):
                raw.send(b"1000\r\n" + b"a" * 4096 + b"\r\n")
                time.sleep(0.001)
        except (BrokenPipeError, ConnectionResetError):
            return
        answer = raw.rest()
    assert b"411" in answer


def test_an_unread_body_does_no_harm(strict, secrets):
    with Raw(strict) as raw:
        raw.send(
            head(secrets["process"], "Content-Length: 5") + b"hello" + head(secrets["process"], "Connection: close")
        )
        answer = raw.rest()
    assert answer.count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nA b: c\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_data_that_is_not_http(strict, data):
    with Raw(strict) as raw:
        raw.send(data)
        status, document = parsed(raw.rest())
    assert status in {400, 401}
    assert document["success"] is False


@pytest.mark.parametrize(
    ("version", "hosts", "status"),
    [
        ("1.1", [], 400),
        ("1.1", ["a", "b"], 400),
        ("1.1", ["a", "a"], 400),
        ("1.1", ["a b"], 400),
        ("1.1", ["a/b"], 400),
        ("1.1", ["user@a"], 400),
        ("1.0", ["a", "b"], 400),
        ("1.0", [], 200),
        ("1.1", [""], 200),
        ("1.1", ["a:80"], 200),
        ("1.1", ["[::1]:80"], 200),
    ],
)
def test_a_request_has_one_host(strict, secrets, version, hosts, status):
    lines = [f"GET {TARGET} HTTP/{version}", *(f"Host: {host}" for host in hosts), f"X-API-Key: {secrets['process']}"]
    with Raw(strict) as raw:
        raw.send("\r\n".join([*lines, "Connection: close", "", ""]).encode())
        answered, document = parsed(raw.rest())
    assert answered == status
    assert document["success"] is (status == 200)


def test_a_slow_head_is_cut_off(strict):
    with Raw(strict) as slow, Raw(strict) as silent:
        began = time.monotonic()
        slow.send(b"GET / HTTP/1.1\r\n")
        try:
            for n in range(30):
                slow.send(f"X-{n}: a\r\n".encode())
                time.sleep(0.1)
        except (BrokenPipeError, ConnectionResetError):
            pass
        status, document = parsed(slow.rest())
        assert (status, document["error"]["code"]) == (408, "TIMEOUT")
        assert silent.rest() == b""
        assert time.monotonic() - began < 6


def test_an_idle_connection_is_closed_and_a_busy_one_is_not(strict, secrets):
    with Raw(strict) as raw:
        for _ in range(4):
            raw.send(head(secrets["process"]))
            assert raw.one().startswith(b"HTTP/1.1 200")
            time.sleep(0.6)
        began = time.monotonic()
        assert raw.rest() == b""
        assert time.monotonic() - began < 3


def test_too_many_connections(strict, secrets):
    many_ = [Raw(strict) for _ in range(30)]
    try:
        with Raw(strict) as raw:
            status, document = parsed(raw.rest())
        assert (status, document["error"]["code"]) == (503, "OVERLOADED")
    finally:
        for one in many_:
            one.socket.close()
    time.sleep(0.3)
    assert strict.get(TARGET, secrets["process"]).status_code == 200


# --- responses that the client does not read ---


def is_held(store) -> bool:
    """Return whether a reader still holds a snapshot of the store, so that the write-ahead log cannot restart."""
    connection = sqlite3.connect(store, timeout=0)
    busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    connection.close()
    return bool(busy)


def test_a_client_that_stops_reading_is_cut_off(big):
    served, secret = big
    with open_store(str(served.store), write=True) as writer, Raw(served, room=4096) as raw:
        raw.send(head(secret, "X-Request-ID: stuck", target=path_of("processes", "big", "tokens")))
        assert raw.socket.recv(10).startswith(b"HTTP/1.1 2")
        with writer.write() as batch:
            batch.put(instance("new"))
        assert is_held(served.store)
        deadline = time.monotonic() + 60
        while is_held(served.store):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    (line,) = served.log("stuck")
    assert line["reason"] == "the client stopped reading"


def test_a_client_that_disconnects_leaves_nothing_behind(big):
    served, secret = big
    for n in range(6):
        with Raw(served, room=4096) as raw:
            raw.send(head(secret, f"X-Request-ID: gone-{n}", target=path_of("processes", "big", "tokens")))
            raw.socket.recv(1000)
        (line,) = served.log(f"gone-{n}")
        assert line["reason"] == "the client disconnected"
    assert served.get(path_of("processes", "big", "tokens"), secret).json()["data"]["summary"]["total_tokens"] == 15_000


def test_too_many_long_responses(big):
    served, secret = big
    target = path_of("processes", "big", "tokens")
    with Raw(served, room=4096) as one, Raw(served, room=4096) as two:
        for raw in (one, two):
            raw.send(head(secret, target=target))
            raw.socket.recv(10)
        answer = served.get(target, secret)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "OVERLOADED")
        assert served.get(TARGET, secret).status_code == 200  # short ones still get a response
    assert served.get(target, secret).status_code == 200


def test_head_limits_apply_on_a_kept_connection(strict, secrets):
    with Raw(strict) as raw:
        for _ in range(3):
            raw.send(head(secrets["process"], "X-Long: " + "a" * 9000))
            assert raw.one().startswith(b"HTTP/1.1 200")
        raw.send(head(secrets["process"], "X-Long: " + "a" * 17_000))
        assert parsed(raw.rest())[0] == 431


def test_early_refusals_are_recorded(strict, secrets):
    assert strict.get(TARGET, secrets["process"], headers={"X-Request-ID": "before"}).status_code == 200
    strict.log("before")  # earlier tests are logged by now
    before = len(strict.lines)
    with Raw(strict) as raw:
        raw.send(head(secrets["process"], "X-Long: " + "a" * 20_000))
        assert parsed(raw.rest())[0] == 431
    assert strict.get(TARGET, secrets["process"], headers={"X-Request-ID": "after"}).status_code == 200
    strict.log("after")
    told = [line for line in strict.lines[before:] if '"status":431' in line]
    assert len(told) == 1
    assert "HEADERS_TOO_LARGE" not in told[0]
    assert strict.get(path_of("processes", LARGE, "tokens"), secrets["process"]).status_code == 200
