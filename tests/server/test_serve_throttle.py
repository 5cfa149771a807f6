"""Throttling and client addresses without a server, with a fake clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokctl.errors import UsageError
from tokctl.server.client_address import TrustedProxies
from tokctl.server.throttle import MAX_DELAY_SECONDS, MAX_FREE_FAILURES, REFILL_SECONDS, Throttle, make_address_key


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_delays_double_up_to_the_maximum(clock):
    throttle = Throttle(clock)
    assert [throttle.record_failure("a") for _ in range(MAX_FREE_FAILURES)] == [0] * MAX_FREE_FAILURES
    delays = []
    for _ in range(12):
        while not (delay := throttle.record_failure("a")):
            pass
        delays.append(delay)
        assert throttle.retry_after("a") == delay
        clock.now += delay - 0.5
        assert throttle.record_failure("a") == 1  # not counted, and the wait is not extended
        clock.now += 0.5
        assert throttle.retry_after("a") == 0
    assert delays[:4] == [1, 2, 4, 8]
    assert delays[-1] == MAX_DELAY_SECONDS
    assert throttle.retry_after("b") == 0


def test_an_idle_address_recovers(clock):
    throttle = Throttle(clock)
    for _ in range(MAX_FREE_FAILURES + 1):
        throttle.record_failure("a")
    clock.now += REFILL_SECONDS * (MAX_FREE_FAILURES + 1)
    assert [throttle.record_failure("a") for _ in range(MAX_FREE_FAILURES + 1)] == [0] * MAX_FREE_FAILURES + [1]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 30)), max_size=150))
def test_addresses_are_independent_and_rates_are_limited(steps):
    clock = Clock()
    throttle, counted, began = Throttle(clock), dict.fromkeys("abc", 0), clock.now
    for who, pause in steps:
        clock.now += pause
        before = {other: throttle.retry_after(other) for other in "abc" if other != who}
        counted[who] += throttle.record_failure(who) == 0
        assert {other: throttle.retry_after(other) for other in "abc" if other != who} == before
        assert counted[who] <= MAX_FREE_FAILURES + (clock.now - began) / REFILL_SECONDS + 1


def test_the_number_of_addresses_is_limited(clock):
    throttle = Throttle(clock, capacity=100)
    for n in range(1000):
        throttle.record_failure(f"10.0.{n // 256}.{n % 256}")
    assert len(throttle) == 100


def test_workers_share(clock):
    throttle = Throttle(clock, shares=5)
    assert [throttle.record_failure("a") for _ in range(3)] == [0, 0, 1]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("10.0.0.1", "10.0.0.2", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("fe80::1%eth0", "fe80::2", True),
        ("unix", "unix", True),
    ],
)
def test_an_ipv6_network_counts_as_one_address(one, other, same):
    assert (make_address_key(one) == make_address_key(other)) is same


@pytest.mark.parametrize(
    ("peer", "headers", "expected"),
    [
        ("10.0.0.1", {}, "10.0.0.1"),
        ("10.0.0.1", {"x-forwarded-for": "1.2.3.4"}, "1.2.3.4"),
        ("10.0.0.1", {"x-forwarded-for": "6.6.6.6, 1.2.3.4"}, "1.2.3.4"),
        ("10.0.0.1", {"x-forwarded-for": "6.6.6.6, 1.2.3.4, 10.9.9.9"}, "1.2.3.4"),
        ("10.0.0.1", {"x-forwarded-for": "10.9.9.9, 10.8.8.8"}, "10.9.9.9"),
        ("10.0.0.1", {"x-forwarded-for": "1.2.3.4:5678"}, "1.2.3.4"),
        ("10.0.0.1", {"x-forwarded-for": "[2001:db8::1]:99"}, "2001:db8::1"),
        ("10.0.0.1", {"x-forwarded-for": "1.2.3.4, rubbish, 10.9.9.9"}, "10.9.9.9"),
        ("10.0.0.1", {"x-forwarded-for": ""}, "10.0.0.1"),
        ("1.1.1.1", {"x-forwarded-for": "1.2.3.4"}, "1.1.1.1"),
        ("::ffff:1.1.1.1", {}, "1.1.1.1"),
        ("unix", {"x-forwarded-for": "1.2.3.4"}, "1.2.3.4"),
        ("::ffff:10.0.0.1", {"x-forwarded-for": "1.2.3.4"}, "1.2.3.4"),
        ("10.0.0.1", {"forwarded": 'for=6.6.6.6, for="[2001:db8::7]:47011";proto=https;by=10.0.0.1'}, "2001:db8::7"),
        ("10.0.0.1", {"forwarded": "proto=http;FOR=1.2.3.4"}, "1.2.3.4"),
        ("10.0.0.1", {"forwarded": "for=_hidden"}, "10.0.0.1"),
        ("10.0.0.1", {"forwarded": "for=1.2.3.4:99, , for=10.9.9.9 "}, "1.2.3.4"),
        ("10.0.0.1", {"forwarded": 'for=1.2.3.4;host="a;for=6.6.6.6"'}, "1.2.3.4"),
        ("10.0.0.1", {"forwarded": 'for=1.2.3.4;host="a\\", for=6.6.6.6"'}, "1.2.3.4"),
        ("10.0.0.1", {"forwarded": 'for=6.6.6.6;x=", for=1.2.3.4'}, "unknown"),
        ("10.0.0.1", {"forwarded": 'for=6.6.6.6;x=", for=1.2.3.4;host="a"'}, "unknown"),
        ("10.0.0.1", {"forwarded": "for=6.6.6.6, proto=https"}, "10.0.0.1"),
        ("10.0.0.1", {"forwarded": ""}, "10.0.0.1"),
        ("10.0.0.1", {"forwarded": "for=6.6.6.6", "x-forwarded-for": "1.2.3.4"}, "1.2.3.4"),
    ],
)
def test_the_last_address_that_is_not_a_proxy(peer, headers, expected):
    proxies = TrustedProxies(["10.0.0.0/8", "unix"])
    assert proxies.find_client(peer, {n.encode(): v.encode() for n, v in headers.items()}) == expected
    untrusting = TrustedProxies([]).find_client(peer, {n.encode(): v.encode() for n, v in headers.items()})
    assert untrusting == peer.removeprefix("::ffff:")


def test_invalid_networks():
    with pytest.raises(UsageError, match=r"10\.0\.0\.300"):
        TrustedProxies(["10.0.0.300"])
