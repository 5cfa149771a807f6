"""The limit of the rate of requests, and the count of what was sent and received."""

from __future__ import annotations

import gzip
import threading
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import faulty_server
from tokctl.client.rate_limit import RateLimiter, rate_limiter
from tokctl.errors import TokctlError, UsageError
from tokctl.model.rates import RequestRate, parse_rate
from tokctl.verbose_log import TRAFFIC, Traffic, set_listener


class FakeTime:
    """A clock that sleeping moves on."""

    def __init__(self) -> None:
        self.now = 100.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


@given(
    st.integers(1, 40),
    st.sampled_from([1.0, 60.0, 3600.0]),
    st.lists(st.one_of(st.just(0.0), st.floats(0, 90)), min_size=1, max_size=120),
)
def test_no_period_has_more_requests_than_allowed(requests, seconds, pauses):
    time_ = FakeTime()
    limiter = RateLimiter(RequestRate(requests, seconds), clock=time_.clock, sleep=time_.sleep)
    sent = []
    for pause in pauses:
        time_.now += pause
        limiter.wait()
        sent.append(time_.now)
    for number, begin in enumerate(sent):
        within = [one for one in sent[number:] if one < begin + seconds * (1 - 1e-9)]
        assert len(within) <= requests


def test_a_burst_then_an_even_pace():
    time_ = FakeTime()
    limiter = RateLimiter(RequestRate(60, 60.0), clock=time_.clock, sleep=time_.sleep)
    sent = []
    for _ in range(12):
        limiter.wait()
        sent.append(time_.now - 100)
    assert sent[:6] == pytest.approx([0] * 6)
    steps = [b - a for a, b in pairwise(sent[5:])]
    assert steps == pytest.approx([60 / 55] * 6)


def test_threads_share_the_limit():
    limiter = RateLimiter(RequestRate(20, 1.0))  # a burst of 2, then one each 1/19 s
    begun = time.monotonic()
    threads = [threading.Thread(target=limiter.wait) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - begun >= 6 / 19


def test_clients_of_a_server_share_the_limit():
    rate = RequestRate(7, 1.0)
    assert rate_limiter("http://a", rate) is rate_limiter("http://a", rate)
    assert rate_limiter("http://a", rate) is not rate_limiter("http://b", rate)


def test_requests_wait_and_the_log_says_so(calls):
    seen = []
    TRAFFIC.reset()
    set_listener(seen.append)
    try:
        with faulty_server.serving(faulty_server.good()) as server:
            for _ in range(2):  # two clients, as after an outage
                calls(server.url, rate=RequestRate(5, 1.0)).get(("x",))
    finally:
        set_listener(None)
    assert [line for line in seen if line.startswith("waiting") and line.endswith("5/s")]
    assert TRAFFIC.requests == 2
    assert TRAFFIC.waited > 0
    assert TRAFFIC.summary().endswith("ms waiting for the rate limit")


def test_bytes_are_counted_as_received(calls):
    body = gzip.compress(b'{"text": "' + b"x" * 100_000 + b'"}')
    TRAFFIC.reset()
    with faulty_server.serving(faulty_server.good(body, Content_Encoding="gzip")) as server:
        calls(server.url).get(("x",))
    assert (TRAFFIC.requests, TRAFFIC.received) == (1, len(body))
    assert TRAFFIC.elapsed > 0


def test_attempts_that_fail_are_counted(calls):
    TRAFFIC.reset()
    with faulty_server.serving(faulty_server.good(b"busy", 503)) as server, pytest.raises(TokctlError):
        calls(server.url, retries=2).get(("x",))
    assert (TRAFFIC.requests, TRAFFIC.received) == (3, 12)


@pytest.mark.parametrize(
    ("requests", "received", "seconds", "summary"),
    [
        (0, 0, 0, ""),
        (1, 0, 0.0004, "1 request, 0 B, 0 ms"),
        (7, 34_111, 0.12, "7 requests, 34.1 kB, 120 ms"),
        (1234, 2_000_000, 12.34, "1,234 requests, 2 MB, 12.3 s"),
        (2, 345_678, 150, "2 requests, 346 kB, 150 s"),
    ],
)
def test_the_summary(requests, received, seconds, summary):
    traffic = Traffic()
    for _ in range(requests):
        traffic.count_request(5.0)
    traffic.count_bytes(received, 5.0 + seconds)
    assert traffic.summary() == summary


@pytest.mark.parametrize(
    ("text", "rate"),
    [("60/min", (60, 60.0)), (" 5 / s ", (5, 1.0)), ("1000/h", (1000, 3600.0))],
)
def test_rates(text, rate):
    assert parse_rate(text) == RequestRate(*rate)
    assert parse_rate(str(parse_rate(text))) == parse_rate(text)


@pytest.mark.parametrize("text", ["", "60", "0/s", "-1/s", "1.5/s", "60/day", "60/m", "1/s/s", "9999999/s", "٣/s"])
def test_invalid_rates(text):
    with pytest.raises(UsageError, match="invalid rate"):
        parse_rate(text)
