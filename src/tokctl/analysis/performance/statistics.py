"""Statistics of durations, the kinds of time, and counts over time.

The kinds of time, by the type of the element that it is spent at:

- **processing**: automatic work: service, script, send, business rule and plain tasks;
- **waiting**: for a person, a message, a timer or another branch: user, manual and receive tasks, catch and boundary
  events, event-based gateways, and the gateways that may join (parallel, inclusive, complex). The time *between*
  tokens, from the end of a parent to the begin of its child, counts as waiting, too;
- **overhead**: steps of the engine itself: exclusive gateways and the evaluation of their conditions, start, end and
  throw events;
- **unknown**: the type of the element is unknown.

The time of sub-processes and call activities (**scope**) is that of the tokens inside. It is reported, but is not part
of the breakdown, because it would count twice.
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, NamedTuple

from msgspec import Struct

from tokctl.model.element_types import CONTAINER_TYPES, JOIN_TYPES
from tokctl.model.times import EPOCH


class DurationStatistics(Struct, frozen=True, kw_only=True):
    """Statistics of a set of durations, in their unit (ms everywhere in tokctl).

    Percentiles are exact; see ``percentile``. The total is the exact sum, rounded once, so it does not depend on the
    order of the durations. Without durations everything but ``count`` and ``total`` is None.
    """

    count: int = 0
    total: float = 0.0
    mean: float | None = None
    p50: float | None = None
    p90: float | None = None
    p99: float | None = None
    min: float | None = None
    max: float | None = None


NO_STATISTICS = DurationStatistics()


def percentile(sorted_values: Sequence[float], p: int) -> float:
    """Return the p-th percentile of sorted values by nearest rank.

    That is the smallest value such that at least p % of the values are not greater: definition 1 of Hyndman and Fan,
    "Sample Quantiles in Statistical Packages", The American Statistician 50 (1996), the inverse of the empirical
    distribution function. It is one of the values; nothing is interpolated. p is an integer, so that rounding cannot
    change the rank.

    Raises:
        ValueError: there are no values, or p is not between 0 and 100.
    """
    if not sorted_values or not 0 <= p <= 100:
        raise ValueError(f"no percentile {p} of {len(sorted_values)} values")
    rank = -(-p * len(sorted_values) // 100)
    return sorted_values[max(rank, 1) - 1]


def compute_statistics(durations: Iterable[float]) -> DurationStatistics:
    """Return the statistics of durations in any order; all of them must be finite."""
    ranked = sorted(durations)
    if not ranked:
        return NO_STATISTICS
    total = exact_sum(ranked)
    return DurationStatistics(
        count=len(ranked),
        total=total,
        mean=min(max(total / len(ranked), ranked[0]), ranked[-1]),  # rounding must not exceed them
        p50=percentile(ranked, 50),
        p90=percentile(ranked, 90),
        p99=percentile(ranked, 99),
        min=ranked[0],
        max=ranked[-1],
    )


def exact_sum(values: Collection[float]) -> float:
    """Return the sum, rounded once; on overflow, the greatest or least float."""
    try:
        return math.fsum(values)
    except OverflowError:  # sources may send anything, such as 1e308 ms twice
        return math.copysign(sys.float_info.max, math.fsum(value / len(values) for value in values))


# --- kinds of time ---

PROCESSING = "processing"
WAITING = "waiting"
OVERHEAD = "overhead"
UNKNOWN = "unknown"
SCOPE = "scope"

_WAITING_TYPES = JOIN_TYPES | {
    "userTask",
    "manualTask",
    "receiveTask",
    "intermediateCatchEvent",
    "boundaryEvent",
    "eventBasedGateway",
}
_KINDS = dict.fromkeys(CONTAINER_TYPES, SCOPE) | dict.fromkeys(_WAITING_TYPES, WAITING)
_FAMILY_KINDS = {"task": PROCESSING, "gateway": OVERHEAD, "event": OVERHEAD}


def classify_time(element_type: str | None) -> str:
    """Return the kind of the time at an element of a type: PROCESSING, WAITING, OVERHEAD, SCOPE or UNKNOWN.

    A type that only one engine has counts by its family, the end of its name.
    """
    if element_type is None:
        return UNKNOWN
    if known := _KINDS.get(element_type):
        return known
    return next((kind for name, kind in _FAMILY_KINDS.items() if element_type.endswith((name, name.title()))), UNKNOWN)


# --- counts over time ---

Moment = Any
"""A datetime, or microseconds since 1970; within one analysis all moments are of one kind."""


class TimeBase(NamedTuple):
    """1970-01-01 UTC and a microsecond, as datetime and timedelta or as integers, like the moments of an analysis.

    Stores deliver integers, other engines datetimes; converting millions of these costs more than the analysis.
    """

    zero: Any
    microsecond: Any

    def to_microseconds(self, moment: Moment) -> int:
        """Return a moment in microseconds since 1970."""
        micros: int = (moment - self.zero) // self.microsecond
        return micros


INTEGER_BASE = TimeBase(0, 1)
_DATETIME_BASE = TimeBase(EPOCH, timedelta(microseconds=1))


def find_time_base(*columns: Sequence[Moment | None]) -> TimeBase | None:
    """Return the time base of the moments in some columns; None without any moment."""
    for moment in chain(*columns):
        if moment is not None:
            return _DATETIME_BASE if isinstance(moment, datetime) else INTEGER_BASE
    return None


class Throughput:
    """Counts how many visits ended, in periods of equal width.

    The periods begin at multiples of their width since 1970, and are as short as possible while there are at most
    MAX_BUCKETS of them. So they depend on the first and the last end only. When they become too many, each is merged
    into the period of the next width that contains it.
    """

    MAX_BUCKETS = 48

    def __init__(self) -> None:
        self._step = 0
        self._counts: Counter[int] = Counter()

    def add(self, ends: list[Moment]) -> None:
        """Count ends. The list is sorted in place."""
        if not ends:
            return
        ends.sort()
        base = find_time_base(ends) or INTEGER_BASE
        first, last = base.to_microseconds(ends[0]), base.to_microseconds(ends[-1])
        low, high = first, last
        if self._counts:
            low = min(low, min(self._counts) * self.width)
            high = max(high, max(self._counts) * self.width)
        before = self.width
        while high // self.width - low // self.width >= self.MAX_BUCKETS:
            self._step += 1
        if before != self.width:
            finer, factor = self._counts, self.width // before
            self._counts = Counter()
            for bucket, count in finer.items():
                self._counts[bucket // factor] += count
        place, bucket = 0, first // self.width
        while bucket < last // self.width:
            behind = bisect_left(ends, base.zero + (bucket + 1) * self.width * base.microsecond, place)
            self._counts[bucket] += behind - place
            place, bucket = behind, bucket + 1
        self._counts[bucket] += len(ends) - place

    @property
    def width(self) -> int:
        """The width of a period in microseconds."""
        return _WIDTHS[self._step]

    def buckets(self) -> list[tuple[int, int]]:
        """Return (begin in microseconds since 1970, count) of each period, in order and without gaps."""
        if not self._counts:
            return []
        return [(n * self.width, self._counts[n]) for n in range(min(self._counts), max(self._counts) + 1)]


_DAY = 86_400_000_000
_WIDTHS: tuple[int, ...] = (
    *(n * 1000 for n in (1, 5, 10, 50, 100, 500)),
    *(n * 1_000_000 for n in (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 21_600, 43_200)),
    *(n * 10**power * _DAY for power in range(6) for n in ((1, 2) if not power else (1, 5))),
)
"""Each width divides the next one, so that counts can be merged."""
