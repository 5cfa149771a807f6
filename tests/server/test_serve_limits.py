"""What a client may not do: too large, too slow, no HTTP at all, or an answer that it does not take in."""

from __future__ import annotations

import sqlite3
import time
from contextlib import suppress

import pytest
from raw_http import TARGET, Raw, head, parsed

from builders import instance
from running_server import API, LARGE, path_of
from tokctl.store import open_store


@pytest.mark.parametrize(("lines", "target", "status", "code"), [
    (["X-Long: " + "a" * 20_000], TARGET, 431, "HEADERS_TOO_LARGE"),
    ([f"X-{n}: {'a' * 200}" for n in range(100)], TARGET, 431, "HEADERS_TOO_LARGE"),
    ([], TARGET + "?element=" + "a" * 9000, 414, "URI_TOO_LONG"),
    ([], path_of("processes", "x" * 100_000), 414, "URI_TOO_LONG"),
    (["Content-Length: 70000"], TARGET, 413, "PAYLOAD_TOO_LARGE"),
    (["Content-Length: 99999999999999999999"], TARGET, 400, "BAD_REQUEST"),
])  # fmt: skip
def test_what_is_too_large(strict, secrets, lines, target, status, code):
    with Raw(strict) as raw:
        raw.send(head(secrets["process"], *lines, target=target))
        found, document = parsed(raw.rest())
    assert (found, document["error"]["code"]) == (status, code)
    assert document["success"] is False


def test_a_head_without_end_is_cut_off(strict):
    time.sleep(0.3)  # lines are gathered for a moment
    before, began = strict.rss, time.monotonic()
    told = sum('"status":431' in line for line in strict.lines)
    with Raw(strict) as raw:
        raw.send(b"GET / HTTP/1.1\r\nX-Long: ")
        with suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() < began + 10:
                raw.send(b"a" * 65536)
    assert time.monotonic() < began + 9
    time.sleep(0.3)
    assert sum('"status":431' in line for line in strict.lines) == told + 1
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
    assert b"405" in answer or b"413" in answer


def test_a_body_that_nobody_reads_does_no_harm(strict, secrets):
    with Raw(strict) as raw:
        raw.send(
            head(secrets["process"], "Content-Length: 5") + b"hello" + head(secrets["process"], "Connection: close")
        )
        answer = raw.rest()
    assert answer.count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.parametrize("data", [
    b"hello\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
    b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", b"CONNECT a:1 HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nA b: c\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
])  # fmt: skip
def test_what_is_no_http(strict, data):
    with Raw(strict) as raw:
        raw.send(data)
        status, document = parsed(raw.rest())
    assert status in {400, 401}
    assert document["success"] is False


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


# --- answers that are not taken in ---


def is_held(store) -> bool:
    """Tell whether somebody still reads an old moment of the store, so that its log cannot begin anew."""
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
        deadline = time.monotonic() + 15
        while is_held(served.store):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    (line,) = served.log("stuck")
    assert line["reason"] == "the client stopped reading"


def test_a_client_that_goes_away_leaves_nothing_behind(big):
    served, secret = big
    for n in range(6):
        with Raw(served, room=4096) as raw:
            raw.send(head(secret, f"X-Request-ID: gone-{n}", target=path_of("processes", "big", "tokens")))
            raw.socket.recv(1000)
        (line,) = served.log(f"gone-{n}")
        assert line["reason"] == "the client has gone"
    assert served.get(path_of("processes", "big", "tokens"), secret).json()["data"]["summary"]["total_tokens"] == 15_000


def test_too_many_long_answers(big):
    served, secret = big
    target = path_of("processes", "big", "tokens")
    with Raw(served, room=4096) as one, Raw(served, room=4096) as two:
        for raw in (one, two):
            raw.send(head(secret, target=target))
            raw.socket.recv(10)
        answer = served.get(target, secret)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "OVERLOADED")
        assert served.get(TARGET, secret).status_code == 200  # short ones are answered all the same
    assert served.get(target, secret).status_code == 200


def test_the_limits_of_a_head_hold_on_a_connection_that_is_kept(strict, secrets):
    with Raw(strict) as raw:
        for _ in range(3):
            raw.send(head(secrets["process"], "X-Long: " + "a" * 9000))
            assert raw.one().startswith(b"HTTP/1.1 200")
        raw.send(head(secrets["process"], "X-Long: " + "a" * 17_000))
        assert parsed(raw.rest())[0] == 431


def test_what_is_refused_early_is_told_of(strict, secrets):
    text = "\n".join(strict.lines)
    assert "HEADERS_TOO_LARGE" not in text
    assert any('"status":431' in line for line in strict.lines)
    assert API in text
    assert strict.get(path_of("processes", LARGE, "tokens"), secrets["process"]).status_code == 200
