"""Stretches of time: how many run at once, when several do, and what took most of the whole.

An interval is (begin, end) in microseconds, half-open: one that ends as another begins does not run beside
it. One without length (or that ends before it begins, as wrong clocks make it) is open at no time.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

Interval = tuple[int, int]
Key = TypeVar("Key", bound=Hashable)


class Peak(NamedTuple):
    """The greatest number open at once, and the first stretch in which so many are; 0 and no times for none."""

    most: int
    begin: int | None
    end: int | None


class Stretch(NamedTuple):
    """A stretch of time in which two or more are open throughout.

    ``most`` is the greatest number at once, first from ``peak_begin`` to ``peak_end``; ``members`` are the
    intervals, by number, that are open in it.
    """

    begin: int
    end: int
    most: int
    members: array[int]
    peak_begin: int
    peak_end: int


class Bottleneck(NamedTuple, Generic[Key]):
    """What was spent at one place: how often, in all, at most at a time (ms), and its share of the whole (0 to 100)."""

    key: Key
    visits: int
    total_ms: float
    longest_ms: float
    percentage_of_total: float


def max_concurrency(intervals: Iterable[Interval]) -> Peak:
    """Return the greatest number of intervals open at once, and when first. n log n.

    Where all are without length it is 1, at the first of them: they may have followed one another.
    """
    intervals = intervals if isinstance(intervals, Sequence) else list(intervals)
    open_ones = [span for span in intervals if span[0] < span[1]]
    if not open_ones:
        first = min((begin for begin, _ in intervals), default=None)
        return Peak(0 if first is None else 1, first, first)
    begins, ends = sorted([begin for begin, _ in open_ones]), sorted([end for _, end in open_ones])
    most = most_begin = most_end = closed = 0
    for opened, begin in enumerate(begins, 1):
        while ends[closed] <= begin:
            closed += 1
        if opened - closed > most:
            most, most_begin, most_end = opened - closed, begin, ends[closed]
    return Peak(most, most_begin, most_end)


def parallel_stretches(intervals: Sequence[Interval]) -> list[Stretch]:
    """Return the stretches in which two or more are open, in order. n log n; members add up to less than 2 n.

    Where one ends as another begins and a third goes on, the stretch goes on.
    """
    return stretches([begin for begin, _ in intervals], [end for _, end in intervals])


def stretches(begins: Sequence[int], ends: Sequence[int]) -> list[Stretch]:
    """The same, of begins and ends by themselves."""
    by_begin = sorted([n for n, begin in enumerate(begins) if begin < ends[n]], key=begins.__getitem__)
    by_end = sorted(by_begin, key=ends.__getitem__)
    found: list[Stretch] = []
    members = array("q")
    stretch_begin = most = peak_begin = peak_end = 0
    closed = open_sum = 0  # the sum of the numbers of those open: where one is, its number
    end = ends[by_end[0]] if by_end else 0  # the next one
    for opened, number in enumerate(by_begin):
        time = begins[number]
        while end <= time:  # this one, which begins at ``time``, is still to end
            open_sum -= by_end[closed]
            closed += 1
            if most and opened - closed == 1 and end < time:  # at ``time`` itself, another one takes its place
                found.append(Stretch(stretch_begin, end, most, members, peak_begin, peak_end))
                members, most = array("q"), 0
            end = ends[by_end[closed]]
        running = opened - closed
        if running:
            if not most:
                stretch_begin = time
                members.append(open_sum)
            members.append(number)
            if running >= most:
                most, peak_begin, peak_end = running + 1, time, end
        elif most:
            if opened + 1 < len(by_begin) and begins[by_begin[opened + 1]] == time:  # two take the place of two
                members.append(number)
            else:
                found.append(Stretch(stretch_begin, time, most, members, peak_begin, peak_end))
                members, most = array("q"), 0
        open_sum += number
    if most:
        found.append(Stretch(stretch_begin, ends[by_end[-2]], most, members, peak_begin, peak_end))
    return found


def bottlenecks(spent: Iterable[tuple[Key, float]], *, whole_ms: float | None = None) -> list[Bottleneck[Key]]:
    """Add up what was spent (ms) at each key, the most first (ties in order of appearance).

    The share is of ``whole_ms``; where none is given, of all that was spent, so that the shares add up to 100.
    Of nothing each has a share of 0. A negative time, as wrong clocks make it, counts as 0.
    """
    times: defaultdict[Key, list[float]] = defaultdict(list)
    for key, ms in spent:
        times[key].append(ms if ms > 0 else 0.0)
    totals = {key: sum(found) for key, found in times.items()}
    whole = sum(totals.values()) if whole_ms is None else whole_ms
    return [
        Bottleneck(key, len(times[key]), total, max(times[key]), 100 * total / whole if whole > 0 else 0.0)
        for key, total in sorted(totals.items(), key=lambda item: -item[1])
    ]
