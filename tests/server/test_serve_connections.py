"""What a connection carries: each request answered once and in its turn, and none that never ends."""

from __future__ import annotations

import json
import re
import socket
import threading
import time

import pytest
from raw_http import Raw, head

from running_server import path_of

BIG = path_of("processes", "big", "tokens")
PATIENCE = 7


def statuses(answers: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", answers)]


# --- requests that never end ---

CHUNKED = "Transfer-Encoding: chunked"
ENDLESS = {
    "a body": (["Content-Length: 60000"], b"", b"a"),
    "chunks": ([CHUNKED], b"", b"1\r\na\r\n"),
    "the extension of a chunk": ([CHUNKED], b"1;", b"a"),
    "trailers": ([CHUNKED], b"0\r\n", b"A: b\r\n"),
    "empty lines": (None, b"", b"\r\n"),
}


def test_a_request_that_never_ends_is_cut_off(strict, secrets):
    lived = {}

    def drip(name, lines, start, piece):
        began = time.monotonic()
        with Raw(strict) as raw:
            if lines is None:  # behind a request that is well
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
def test_what_is_not_limited_by_the_body_is_limited_all_the_same(strict, start, piece):
    before = strict.rss
    with Raw(strict) as raw:
        raw.send(head("wrong", CHUNKED, method="POST") + start)
        try:
            for _ in range(600):
                raw.send(piece * 60)
        except OSError:
            pass
    assert strict.rss - before < 12


def test_what_follows_a_body_is_no_header(strict, secrets):
    with Raw(strict) as raw:
        raw.send(head(secrets["every"], CHUNKED, "Connection: close", method="POST") + b"0\r\nX-API-Key: a\r\n\r\n")
        assert statuses(raw.rest()) == [405]


# --- one answer for each request, in its turn ---

LAST = "Connection: close"


@pytest.mark.parametrize(("requests", "behind", "expected"), [
    ([[]] * 20, b"", [200] * 21),
    ([[], LAST], b"", [200, 200]),
    ([[]], b"\x16garbage\r\n\r\n", [200]),
    ([[]], b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", [200]),
    ([[]], b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", [200]),
    ([["Connection: Upgrade", "Upgrade: h2c"]], b"", [200, 200]),
    ([["Connection: Upgrade", "Upgrade: websocket"]], b"", [200, 200]),
    ([[CHUNKED]], b"x\r\n", [400]),
    ([["Transfer-Encoding: xchunked"]], b"", [400]),
    ([["Content-Length: 5", CHUNKED]], b"0\r\n\r\n", [400]),
    ([["Content-Length: 5", "Content-Length: 6"]], b"hello", [400]),
    ([["Content-Length: 5 "]], b"hello", [200, 200]),
])  # fmt: skip
def test_each_request_is_answered_once(strict, secrets, requests, behind, expected):
    """Requests, something behind them, and a last one."""
    said = [head(secrets["every"], *([lines] if isinstance(lines, str) else lines)) for lines in requests]
    with Raw(strict) as raw:
        raw.send(b"".join([*said, behind, head(secrets["every"], LAST)]))
        assert statuses(raw.rest()) == expected


def test_a_body_that_breaks_off_after_the_answer_brings_no_second_one(strict, secrets):
    with Raw(strict) as raw:
        raw.send(head(secrets["every"], CHUNKED, method="POST"))
        assert raw.one().startswith(b"HTTP/1.1 405")
        raw.send(b"x\r\n")
        assert raw.rest() == b""


def test_very_many_requests_at_once(strict, secrets):
    """More than a connection's buffer holds, so that heads are torn apart anywhere."""
    with Raw(strict) as raw:
        raw.send(head(secrets["process"]) * 2500 + head(secrets["process"], LAST))
        assert statuses(raw.rest()) == [200] * 2501


# --- clients that say no more, and old ones ---


def test_a_client_that_says_no_more_is_answered(strict, secrets, big):
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


def test_a_client_of_http_1_0_gets_no_chunks(big):
    served, secret = big
    with Raw(served) as raw:
        raw.send(head(secret, target=BIG).replace(b"HTTP/1.1", b"HTTP/1.0"))
        top, _, body = raw.rest().partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in top.lower()
    assert len(json.loads(body)["data"]["tokens"]) == 15_000


def test_a_client_that_goes_away_with_requests_to_come(big):
    served, secret = big
    with Raw(served, room=4096) as raw:
        raw.send(b"".join(head(secret, f"X-Request-ID: lost-{n}", target=BIG) for n in range(3)))
        raw.socket.recv(100)
    (line,) = served.log("lost-0")
    assert line["reason"] == "the client has gone"
    assert line["bytes"] < 5e6
    assert not any("lost-1" in line for line in served.lines)
