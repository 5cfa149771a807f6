"""Time intervals: how many are open at once, when several are, and which keys took most of the time.

An interval is (begin, end) in microseconds and half-open: one that ends when another begins is not open at the same
time. One without length, or that ends before it begins because of wrong clocks, is never open.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

MAX_DURATION_MS = 1e15
"""Given durations from here on (31,000 years) are ignored."""

Interval = tuple[int, int]
Key = TypeVar("Key", bound=Hashable)


class ConcurrencyPeak(NamedTuple):
    """The greatest number of intervals open at once, and the first period with that many; 0 and None without any."""

    max_concurrent: int
    begin: int | None
    end: int | None


class ParallelPeriod(NamedTuple):
    """A period in which two or more intervals are open throughout.

    ``max_concurrent`` is the greatest number at once, for the first time from ``peak_begin`` to ``peak_end``.
    ``members`` are the indexes of the intervals that are open in it.
    """

    begin: int
    end: int
    max_concurrent: int
    members: array[int]
    peak_begin: int
    peak_end: int


class TimeSpent(NamedTuple, Generic[Key]):
    """The time spent under one key: number of visits, total and longest in ms, and the percentage of the whole.

    ``so_far_ms`` is the part of the total that is spent in visits which are still open.
    """

    key: Key
    visits: int
    total_ms: float
    longest_ms: float
    percentage_of_total: float
    so_far_ms: float = 0.0
    longest_is_open: bool = False


def find_peak_concurrency(intervals: Iterable[Interval]) -> ConcurrencyPeak:
    """Return the greatest number of intervals open at once, and when for the first time. Takes O(n log n).

    A sweep over sorted begins and ends. If all intervals are without length the result is 1, at the first of them,
    because they may have followed one another.
    """
    intervals = intervals if isinstance(intervals, Sequence) else list(intervals)
    open_ones = [span for span in intervals if span[0] < span[1]]
    if not open_ones:
        first = min((begin for begin, _ in intervals), default=None)
        return ConcurrencyPeak(0 if first is None else 1, first, first)
    begins, ends = sorted([begin for begin, _ in open_ones]), sorted([end for _, end in open_ones])
    max_concurrent = most_begin = most_end = closed = 0
    for opened, begin in enumerate(begins, 1):
        while ends[closed] <= begin:
            closed += 1
        if opened - closed > max_concurrent:
            max_concurrent, most_begin, most_end = opened - closed, begin, ends[closed]
    return ConcurrencyPeak(max_concurrent, most_begin, most_end)


def find_parallel_periods(begins: Sequence[int], ends: Sequence[int]) -> list[ParallelPeriod]:
    """Return the periods in which two or more intervals are open, in order.

    If one interval ends when another begins, and a third continues, the period continues. Takes O(n log n); the
    members of all periods add up to fewer than 2 n.

    A sweep over sorted begins and ends. To know the single open interval at the start of a period without a set of
    open intervals, the sum of their indexes is kept: with one open interval, the sum is its index.
    """
    by_begin = sorted([n for n, begin in enumerate(begins) if begin < ends[n]], key=begins.__getitem__)
    by_end = sorted(by_begin, key=ends.__getitem__)
    found: list[ParallelPeriod] = []
    members = array("q")
    period_begin = max_concurrent = peak_begin = peak_end = 0
    closed = open_sum = 0
    end = ends[by_end[0]] if by_end else 0  # the next end
    for opened, number in enumerate(by_begin):
        time = begins[number]
        while end <= time:  # ends at the latest with this interval, which begins at ``time``
            open_sum -= by_end[closed]
            closed += 1
            # If it ends at ``time`` itself, this interval takes its place.
            if max_concurrent and opened - closed == 1 and end < time:
                found.append(ParallelPeriod(period_begin, end, max_concurrent, members, peak_begin, peak_end))
                members, max_concurrent = array("q"), 0
            end = ends[by_end[closed]]
        running = opened - closed
        if running:
            if not max_concurrent:
                period_begin = time
                members.append(open_sum)
            members.append(number)
            if running >= max_concurrent:
                max_concurrent, peak_begin, peak_end = running + 1, time, end
        elif max_concurrent:
            if opened + 1 < len(by_begin) and begins[by_begin[opened + 1]] == time:
                members.append(number)  # two intervals take the place of two others
            else:
                found.append(ParallelPeriod(period_begin, time, max_concurrent, members, peak_begin, peak_end))
                members, max_concurrent = array("q"), 0
        open_sum += number
    if max_concurrent:
        found.append(ParallelPeriod(period_begin, ends[by_end[-2]], max_concurrent, members, peak_begin, peak_end))
    return found


def choose_duration(given_ms: float | None, begin: int, end: int) -> float:
    """Return the given duration of a token if there is a plausible one, else that of its interval, in ms."""
    return given_ms if given_ms is not None and 0 <= given_ms < MAX_DURATION_MS else (end - begin) / 1000


def rank_bottlenecks(
    spent: Iterable[tuple[Key, float, bool]], *, whole_ms: float | None = None
) -> list[TimeSpent[Key]]:
    """Add up the times of each key, the greatest total first, ties in order of appearance.

    A time is given as its key, ms, and whether it is still open.
    Percentages are of ``whole_ms``, or of the sum of all times if that is not given; they are 0 if the whole is 0.
    Negative times, caused by wrong clocks, count as 0.
    """
    times: defaultdict[Key, list[float]] = defaultdict(list)
    open_times: defaultdict[Key, list[float]] = defaultdict(list)
    for key, ms, is_open in spent:
        times[key].append(ms if ms > 0 else 0.0)
        if is_open:
            open_times[key].append(times[key][-1])
    totals = {key: sum(found) for key, found in times.items()}
    whole = sum(totals.values()) if whole_ms is None else whole_ms
    return [
        TimeSpent(
            key,
            len(times[key]),
            total,
            max(times[key]),
            100 * total / whole if whole > 0 else 0.0,
            sum(open_times.get(key, ())),
            max(open_times.get(key, ()), default=-1.0) == max(times[key]),
        )
        for key, total in sorted(totals.items(), key=lambda item: -item[1])
    ]
