"""Slowing down who fails, and whose address it is: the rules alone, with a clock that is set."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokctl.errors import UsageError
from tokctl.server.addresses import Proxies
from tokctl.server.throttle import BURST, LONGEST_DELAY, REFILL_SECONDS, Throttle, key_of


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_delays_double_up_to_the_longest(clock):
    throttle = Throttle(clock)
    assert [throttle.failed("a") for _ in range(BURST)] == [0] * BURST
    delays = []
    for _ in range(12):
        while not (delay := throttle.failed("a")):
            pass
        delays.append(delay)
        assert throttle.wait("a") == delay
        clock.now += delay - 0.5
        assert throttle.failed("a") == 1  # not counted, and the wait not made longer
        clock.now += 0.5
        assert throttle.wait("a") == 0
    assert delays[:4] == [1, 2, 4, 8]
    assert delays[-1] == LONGEST_DELAY
    assert throttle.wait("b") == 0


def test_who_stays_away_is_forgiven(clock):
    throttle = Throttle(clock)
    for _ in range(BURST + 1):
        throttle.failed("a")
    clock.now += REFILL_SECONDS * (BURST + 1)
    assert [throttle.failed("a") for _ in range(BURST + 1)] == [0] * BURST + [1]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 30)), max_size=150))
def test_nobody_waits_for_another_and_the_rate_is_bounded(steps):
    clock = Clock()
    throttle, counted, began = Throttle(clock), dict.fromkeys("abc", 0), clock.now
    for who, pause in steps:
        clock.now += pause
        before = {other: throttle.wait(other) for other in "abc" if other != who}
        counted[who] += throttle.failed(who) == 0
        assert {other: throttle.wait(other) for other in "abc" if other != who} == before
        assert counted[who] <= BURST + (clock.now - began) / REFILL_SECONDS + 1


def test_what_is_remembered_is_bounded(clock):
    throttle = Throttle(clock, room=100)
    for n in range(1000):
        throttle.failed(f"10.0.{n // 256}.{n % 256}")
    assert len(throttle) == 100


def test_workers_share(clock):
    throttle = Throttle(clock, shares=5)
    assert [throttle.failed("a") for _ in range(3)] == [0, 0, 1]


@pytest.mark.parametrize(("one", "other", "same"), [
    ("2001:db8::1", "2001:db8::ffff:2", True), ("2001:db8::1", "2001:db8:0:1::1", False),
    ("10.0.0.1", "10.0.0.2", False), ("::ffff:10.0.0.1", "10.0.0.1", True), ("fe80::1%eth0", "fe80::2", True),
    ("unix", "unix", True),
])  # fmt: skip
def test_neighbours_in_a_network_of_ipv6_are_one(one, other, same):
    assert (key_of(one) == key_of(other)) is same


@pytest.mark.parametrize(("peer", "headers", "expected"), [
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
    ("unix", {"x-forwarded-for": "1.2.3.4"}, "1.2.3.4"),
    ("::ffff:10.0.0.1", {"x-forwarded-for": "1.2.3.4"}, "1.2.3.4"),
    ("10.0.0.1", {"forwarded": 'for=6.6.6.6, for="[2001:db8::7]:47011";proto=https;by=10.0.0.1'}, "2001:db8::7"),
    ("10.0.0.1", {"forwarded": "proto=http;FOR=1.2.3.4"}, "1.2.3.4"),
    ("10.0.0.1", {"forwarded": "for=_hidden"}, "10.0.0.1"),
    ("10.0.0.1", {"forwarded": "for=6.6.6.6", "x-forwarded-for": "1.2.3.4"}, "1.2.3.4"),
])  # fmt: skip
def test_the_last_address_that_is_no_proxy_s(peer, headers, expected):
    proxies = Proxies(["10.0.0.0/8", "unix"])
    assert proxies.client(peer, {n.encode(): v.encode() for n, v in headers.items()}) == expected
    assert Proxies([]).client(peer, {n.encode(): v.encode() for n, v in headers.items()}) == peer


def test_what_is_no_network():
    with pytest.raises(UsageError, match=r"10\.0\.0\.300"):
        Proxies(["10.0.0.300"])
