"""How far a server's clock is from the local one."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from tokctl.server_clock import NOTABLE_DIFFERENCE, ServerClock

NOW = datetime(2025, 1, 11, 22, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def compare(clock, apart, *, took=0.0, **headers):
    """Compare at a response whose server read its clock halfway between request and response."""
    date = NOW - timedelta(seconds=took / 2) + apart
    clock.compare({"date": format_datetime(date, usegmt=True), **headers}, NOW, timedelta(seconds=took))


@pytest.mark.parametrize(
    ("apart", "took", "offset"),
    [
        (timedelta(), 0.0, 0),
        (NOTABLE_DIFFERENCE - timedelta(seconds=1), 0.0, 0),
        (10 * MINUTE, 0.0, 600),
        (-10 * MINUTE, 0.0, -600),
        (10 * MINUTE, 4.0, 600),
        (NOTABLE_DIFFERENCE + timedelta(seconds=1), 6.0, 0),  # the response may have taken that long to come
        (10 * MINUTE, 60.0, 0),
    ],
)
def test_only_a_notable_difference_counts(apart, took, offset):
    told, clock = [], ServerClock()
    clock.on_difference = told.append
    compare(clock, apart, took=took)
    assert abs(clock.offset.total_seconds() - offset) <= 1
    assert told == [clock.offset] * bool(offset)


@pytest.mark.parametrize("date", ["", "yesterday", "Sat, 99 Jan 2025 22:00:00 GMT"])
def test_a_response_without_the_time_tells_nothing(date):
    clock = ServerClock()
    clock.compare({"date": date} if date else {}, NOW, timedelta())
    compare(clock, 10 * MINUTE, age="300")  # from a cache
    assert clock.offset == timedelta()
    compare(clock, 10 * MINUTE)
    assert clock.offset > 9 * MINUTE


def test_the_clocks_are_compared_once():
    told, clock = [], ServerClock()
    clock.on_difference = told.append
    compare(clock, timedelta())
    compare(clock, 10 * MINUTE)
    assert (told, clock.offset) == ([], timedelta())
