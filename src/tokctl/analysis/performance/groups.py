"""Groups of visits, by element, type, worker or process, and where the time went.

An open visit, one that has not ended, counts with its time so far. It will take at least that long, so its duration is
right-censored: a lower bound. Lower bounds are never mixed with the durations of COMPLETED visits: ``VisitGroup.stats``
has those alone, ``VisitGroup.at_least`` has the lower bounds that open visits prove.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any

from msgspec import Struct

from tokctl.analysis.performance.statistics import (
    NO_STATISTICS,
    SCOPE,
    DurationStatistics,
    classify_time,
    compute_statistics,
    exact_sum,
)
from tokctl.model.states import FINAL_STATES

DIMENSIONS = ("element", "type", "worker", "process")
"""The dimensions by which visits can be grouped."""
FIELDS = {"element": 2, "type": 3, "worker": 5}
"""The fields of a VisitBatch that hold the values of dimensions."""

UNUSUAL = ("derived", "negative", "unmeasured")
"""The kinds of durations that are counted apart; see ``VisitGroup``."""


class VisitBucket:
    """The visits with one key: the durations of the COMPLETED ones, the times so far of open ones, and counts.

    ``open`` holds those of live visits that have not failed, ``failed`` the times since visits FAILED.
    """

    __slots__ = ("derived", "durations", "failed", "negative", "open", "others", "unmeasured", "waited")

    def __init__(self, no_time: Any) -> None:
        self.durations, self.open, self.failed = array("d"), array("d"), array("d")
        self.derived = self.negative = self.unmeasured = 0
        self.waited = no_time  # a timedelta or microseconds, like the moments
        self.others: Counter[str] = Counter()

    @property
    def completed(self) -> int:
        """The number of COMPLETED visits."""
        return len(self.durations) + self.negative + self.unmeasured


GroupKey = tuple[str | None, ...]
"""The process of a group, and a value for each dimension that visits are grouped by."""
GroupParts = list[tuple[str | None, str | None, VisitBucket]]
"""The element type, the element name and the visits of each part of a group."""


class TimeBreakdown(Struct, frozen=True, kw_only=True):
    """Where the time went, in ms. ``between`` is part of ``waiting``; ``scope`` is not part of the total."""

    processing: float = 0.0
    waiting: float = 0.0
    overhead: float = 0.0
    unknown: float = 0.0
    between: float = 0.0
    scope: float = 0.0

    @property
    def total(self) -> float:
        """The sum of the parts."""
        return self.processing + self.waiting + self.overhead + self.unknown

    def __add__(self, other: TimeBreakdown) -> TimeBreakdown:
        return TimeBreakdown(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})


class GroupComparison(Struct, frozen=True, kw_only=True):
    """The comparison of a group with the same group of the base; see ``comparison.compare``.

    ``verdict`` is ``slower``, ``faster``, ``same``, ``few`` (too few visits on one side to tell), or ``new`` (the base
    has no such group). ``change`` is that of the median in ms; ``effect`` is Cliff's delta, positive for slower.
    """

    verdict: str
    base: DurationStatistics = NO_STATISTICS
    change: float | None = None
    effect: float | None = None
    p_value: float | None = None


class VisitGroup(Struct, frozen=True, kw_only=True):
    """A group of visits and its statistics.

    Those of ``process_id``, ``element_id`` and so on are set that visits were grouped by. ``kind`` is the kind of time
    if all visits have the same. ``share`` is the part of the total of all durations, without those of sub-processes and
    call activities. ``derived`` is the number of durations computed from timestamps. ``negative`` durations and
    ``unmeasured`` ones, without times, are not part of ``stats``. ``waited`` is the time in ms between the end of a
    parent and the begin of a visit. ``states`` counts the visits that are not COMPLETED.

    ``so_far`` is the time so far of ``open`` visits, if their times are known, and is part of ``spent``, as is the
    total of all durations; ``spent_share`` is the part of what all groups spent. ``at_least`` are the statistics of all
    these visits, each open one with its time so far: lower bounds of what they will be. It has no visits if none is
    open.
    """

    key: GroupKey
    process_id: str | None = None
    element_id: str | None = None
    element_type: str | None = None
    element_name: str | None = None
    worker_id: str | None = None
    kind: str | None = None
    visits: int = 0
    completed: int = 0
    live: int = 0
    states: dict[str, int] = {}
    stats: DurationStatistics = NO_STATISTICS
    share: float | None = None
    derived: int = 0
    negative: int = 0
    unmeasured: int = 0
    waited: float = 0.0
    open: int = 0
    so_far: float = 0.0
    spent: float = 0.0
    spent_share: float | None = None
    at_least: DurationStatistics = NO_STATISTICS
    comparison: GroupComparison | None = None

    def bound(self, name: str) -> float | None:
        """Return a lower bound of a statistic if open visits prove that it will exceed that of the COMPLETED ones."""
        known, at_least = getattr(self.stats, name), getattr(self.at_least, name)
        return at_least if at_least is not None and (known is None or at_least > known) else None


def build_group(by: Sequence[str], microsecond: Any, key: GroupKey, parts: GroupParts) -> VisitGroup:
    """Return the group of the buckets with one key; ``microsecond`` is one of those that its waits are counted in."""
    values = dict(zip((one for one in by if one in FIELDS), key[1:], strict=True))
    states: Counter[str] = Counter()
    kinds: Counter[str | None] = Counter()
    for kind, _, bucket in parts:
        states.update(bucket.others)
        kinds[kind] += bucket.completed + bucket.others.total()
    completed = sum(bucket.completed for *_, bucket in parts)
    often = max(kinds, key=lambda kind: (kind is not None, kinds[kind], kind or ""))
    times = {classify_time(kind) for kind in kinds}
    durations = [bucket.durations for *_, bucket in parts]
    open_ones = [so_far for *_, bucket in parts for so_far in (bucket.open, bucket.failed)]
    number = sum(map(len, open_ones))
    stats = compute_statistics(chain.from_iterable(durations))
    at_least = compute_statistics(chain.from_iterable([*durations, *open_ones])) if number else NO_STATISTICS
    return VisitGroup(
        key=key,
        process_id=key[0],
        element_id=values.get("element"),
        element_type=values.get("type", often if "element" in values else None),
        element_name=min((name for _, name, _ in parts if name), default=None),
        worker_id=values.get("worker"),
        kind=times.pop() if len(times) == 1 else None,
        visits=completed + states.total(),
        completed=completed,
        live=sum(n for state, n in states.items() if state not in FINAL_STATES),
        states=dict(sorted(states.items())),
        stats=stats,
        open=number,
        so_far=exact_sum(sorted(chain.from_iterable(open_ones))),
        spent=at_least.total if number else stats.total,
        at_least=at_least,
        **{name: sum(getattr(bucket, name) for *_, bucket in parts) for name in UNUSUAL},
        waited=sum(bucket.waited // microsecond for *_, bucket in parts) / 1000,
    )


def without_scopes(group: VisitGroup, parts: GroupParts, *, with_open: bool) -> float:
    """Return the total of a group without the time in sub-processes and call activities, open visits if wanted."""
    if group.kind is not None:
        return 0.0 if group.kind == SCOPE else group.spent if with_open else group.stats.total
    times: list[array[float]] = []
    for kind, _, bucket in parts:
        if classify_time(kind) != SCOPE:
            times += [bucket.durations, bucket.open, bucket.failed] if with_open else [bucket.durations]
    return exact_sum(sorted(chain.from_iterable(times)))
