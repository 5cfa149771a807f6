"""Connections: each request gets one response, in order; endless requests are cut off."""

from __future__ import annotations

import json
import re
import socket
import threading
import time

import pytest

from support.raw_http import Raw, head, parsed
from support.running_server import path_of

BIG = path_of("processes", "big", "tokens")
PATIENCE = 7


def statuses(answers: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", answers)]


# --- endless requests ---

CHUNKED = "Transfer-Encoding: chunked"
ENDLESS = {
    "a body": (["Content-Length: 60000"], b"", b"a"),
    "chunks": ([CHUNKED], b"", b"1\r\na\r\n"),
    "the extension of a chunk": ([CHUNKED], b"1;", b"a"),
    "trailers": ([CHUNKED], b"0\r\n", b"A: b\r\n"),
    "empty lines": (None, b"", b"\r\n"),
}


def test_an_endless_request_is_cut_off(strict, secrets):
    lived = {}

    def drip(name, lines, start, piece):
        began = time.monotonic()
        with Raw(strict) as raw:
            if lines is None:  # after a valid request
                raw.send(head(secrets["process"]))
            else:
                raw.send(head("wrong", *lines, method="POST") + start)
            try:
                while time.monotonic() < began + PATIENCE:
                    raw.send(piece)
                    time.sleep(0.1)
            except OSError:
                pass
        lived[name] = time.monotonic() - began

    threads = [threading.Thread(target=drip, args=(name, *parts)) for name, parts in ENDLESS.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: seconds for name, seconds in lived.items() if seconds >= PATIENCE} == {}


@pytest.mark.parametrize(("start", "piece"), [(b"0\r\n", b"A: " + b"b" * 1000 + b"\r\n"), (b"1;", b"b" * 1000)])
def test_everything_but_the_body_has_a_limit(strict, start, piece):
    before = strict.rss
    with Raw(strict) as raw:
        raw.send(head("wrong", CHUNKED, method="POST") + start)
        try:
            for _ in range(600):
                raw.send(piece * 60)
        except OSError:
            pass
    assert strict.rss - before < 12


def test_data_after_a_body_is_not_a_header(strict, secrets):
    with Raw(strict) as raw:
        raw.send(head(secrets["every"], CHUNKED, "Connection: close", method="POST") + b"0\r\nX-API-Key: a\r\n\r\n")
        assert statuses(raw.rest()) == [411]


def test_a_slow_body_times_out(strict, secrets):
    with Raw(strict) as raw:
        began = time.monotonic()
        lines = ("Content-Type: application/json", "Content-Length: 100")
        raw.send(head(secrets["every"], *lines, target="/api/api-tokens", method="POST") + b'{"n')
        status, document = parsed(raw.rest())
    assert (status, document["error"]["name"]) == (408, "RequestTimeoutError")
    assert time.monotonic() - began < 5


def test_a_slow_head_after_another_request_times_out(strict, secrets):
    with Raw(strict) as raw:
        raw.send(head(secrets["process"]))
        raw.one()
        raw.send(b"GET / HTTP/1.1\r\n")
        status, document = parsed(raw.rest())
    assert (status, document["error"]["code"]) == (408, "TIMEOUT")


def test_an_endless_head_after_another_request_is_limited(strict, secrets):
    with Raw(strict) as raw:
        raw.send(head(secrets["process"]))
        raw.one()
        raw.send(b"GET / HTTP/1.1\r\nX: ")
        time.sleep(0.1)
        for _ in range(5):
            raw.send(b"a" * 4000)
            time.sleep(0.02)
        assert parsed(raw.rest())[0] == 431


def test_an_upgrade_request_closes_the_connection_after_the_response(strict, secrets):
    with Raw(strict) as raw:
        raw.send(head(secrets["process"], "Connection: Upgrade", "Upgrade: h2c"))
        assert b"connection: close" in raw.one().lower()
        assert raw.rest() == b""


# --- one response for each request, in order ---

LAST = "Connection: close"


@pytest.mark.parametrize(
    ("requests", "behind", "expected"),
    [
        ([[]] * 20, b"", [200] * 21),
        ([[], LAST], b"", [200, 200]),
        ([[]], b"\x16garbage\r\n\r\n", [200]),
        ([[]], b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", [200]),
        ([[]], b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", [200, 431]),
        ([["Connection: Upgrade", "Upgrade: h2c"]], b"", [200]),
        ([["Connection: Upgrade", "Upgrade: websocket"]], b"", [200]),
        ([[CHUNKED]], b"x\r\n", [411]),
        ([["Transfer-Encoding: xchunked"]], b"", [411]),
        ([["Content-Length: 5", CHUNKED]], b"0\r\n\r\n", [400]),
        ([["Content-Length: 5", "Content-Length: 6"]], b"hello", [400]),
        ([["Content-Length: 5 "]], b"hello", [200, 200]),
    ],
)
def test_each_request_gets_one_response(strict, secrets, requests, behind, expected):
    """Requests, other data after them, and a last request."""
    said = [head(secrets["every"], *([lines] if isinstance(lines, str) else lines)) for lines in requests]
    with Raw(strict) as raw:
        raw.send(b"".join([*said, behind, head(secrets["every"], LAST)]))
        assert statuses(raw.rest()) == expected


def test_an_incomplete_body_after_the_response_causes_no_second_one(strict, secrets):
    with Raw(strict) as raw:
        raw.send(head(secrets["every"], CHUNKED, method="POST"))
        assert raw.one().startswith(b"HTTP/1.1 411")
        raw.send(b"x\r\n")
        assert raw.rest() == b""


def test_very_many_pipelined_requests(strict, secrets):
    """More than a connection's buffer holds, so that heads are split at any byte."""
    with Raw(strict) as raw:
        raw.send(head(secrets["process"]) * 2500 + head(secrets["process"], LAST))
        assert statuses(raw.rest()) == [200] * 2501


# --- half-closed and old clients ---


def test_a_half_closed_client_gets_its_response(strict, secrets, big):
    for _ in range(20):
        with Raw(strict) as raw:
            raw.send(head(secrets["process"]))
            raw.socket.shutdown(socket.SHUT_WR)
            assert raw.rest().endswith(b"}")
    served, secret = big
    with Raw(served) as raw:
        raw.send(head(secret, "Accept-Encoding: gzip", target=BIG))
        raw.socket.shutdown(socket.SHUT_WR)
        assert raw.rest().endswith(b"0\r\n\r\n")


def test_http_1_0_responses_are_not_chunked(big):
    served, secret = big
    with Raw(served) as raw:
        raw.send(head(secret, target=BIG).replace(b"HTTP/1.1", b"HTTP/1.0"))
        top, _, body = raw.rest().partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in top.lower()
    assert len(json.loads(body)["data"]["tokens"]) == 15_000


def test_a_client_that_disconnects_with_pipelined_requests(big):
    served, secret = big
    with Raw(served, room=4096) as raw:
        raw.send(b"".join(head(secret, f"X-Request-ID: lost-{n}", target=BIG) for n in range(3)))
        raw.socket.recv(100)
    (line,) = served.log("lost-0")
    assert line["reason"] == "the client disconnected"
    assert line["bytes"] < 5e6
    assert not any("lost-1" in line for line in served.lines)
