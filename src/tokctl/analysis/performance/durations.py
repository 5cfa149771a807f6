"""How long visits took: by element, type, worker or process.

Only COMPLETED visits count as durations. The duration of a cancelled visit is the wait before the cancellation, not the
time that the work takes; these are only counted. A visit that has not ended is open: its time so far, until now, is
kept apart from durations. That of a FAILED visit runs from its failure and is waiting, regardless of its element,
because it waits for a retry. A visit whose begin (or failure) is unknown has no time so far.

The input is in ``visits``, groups of visits are in ``groups``, the kinds of time and counts over time in
``statistics``, comparisons of two periods in ``comparison``.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from itertools import chain, compress
from operator import gt, lt
from typing import Any

from msgspec.structs import replace

from tokctl.analysis.performance.groups import (
    FIELDS,
    GroupKey,
    GroupParts,
    TimeBreakdown,
    VisitBucket,
    VisitGroup,
    build_group,
    without_scopes,
)
from tokctl.analysis.performance.statistics import (
    INTEGER_BASE,
    SCOPE,
    WAITING,
    Moment,
    Throughput,
    TimeBase,
    classify_time,
    exact_sum,
    find_time_base,
)
from tokctl.analysis.performance.visits import VisitBatch, VisitSample, build_sample, choose_sample, without_none
from tokctl.model.states import CANCELLED, COMPLETED, FAILED
from tokctl.model.times import to_micros


class Performance:
    """Collects the visits of instances, and computes their statistics.

    The result does not depend on the order of instances and visits. Memory: 8 bytes per duration and, while an
    instance is being read, the ends of its tokens.
    """

    def __init__(self, by: Sequence[str] = ("element",), now: datetime | None = None) -> None:
        """``now`` is the time until which open visits count; without it they have no time so far."""
        self.by = tuple(by)
        self._now = now
        self._fields = [FIELDS[one] for one in self.by if one in FIELDS]
        if "element" in self.by:
            self._fields.append(VisitBatch._fields.index("element_name"))
        self._is_per_process = "process" in self.by or "element" in self.by
        self._buckets: dict[str | None, dict[tuple[Any, ...], VisitBucket]] = {}
        self._retries: Counter[int | None] = Counter()
        self.finished = Throughput()
        self._time_base: TimeBase | None = None
        self.instances = 0
        self.processes: Counter[str | None] = Counter()
        self.first: int | None = None
        self.last: int | None = None
        self.fastest: VisitSample | None = None
        """The visit with the shortest duration; of several the one that began first."""
        self.slowest: VisitSample | None = None
        """The visit with the longest duration; of several the one that began first."""
        self.longest_open: VisitSample | None = None
        """The open visit with the longest time so far; of several the one that began first."""

    def add(self, instance_id: str, process_id: str | None, visits: Iterable[VisitBatch]) -> None:
        """Add the visits of an instance. Each instance must be added by one call.

        A visit may come before its parent; its wait is added once the end of the parent is known.
        """
        buckets = self._buckets.setdefault(process_id if self._is_per_process else None, {})
        ends: dict[str | None, Moment | None] = {}
        later: list[tuple[str, Moment, VisitBucket]] = []  # tokens before their parents
        found = False
        for chunk in visits:
            ends.update(zip(chunk.token_id, chunk.finished, strict=True))
            some = chunk.select_wanted()
            if not some.token_id:
                continue
            found = True
            if self._time_base is None:
                self._set_time_base(find_time_base(some.created, some.finished))
            keys = list(zip(some.element_type, *(some[field] for field in self._fields), strict=True))
            for key in set(keys) - buckets.keys():
                buckets[key] = VisitBucket(self._microsecond * 0)
            mine = list(map(buckets.__getitem__, keys))
            for bucket, parent, begun, end in zip(
                mine, some.parent, some.created, map(ends.get, some.parent), strict=True
            ):
                if end is None:
                    if parent is not None and begun is not None:
                        later.append((parent, begun, bucket))
                elif begun is not None and begun > end:
                    bucket.waited += begun - end
            self._add_durations(mine, some, instance_id, process_id)
        for parent, begun, bucket in later:
            end = ends.get(parent)
            if end is not None and begun > end:
                bucket.waited += begun - end
        if found:
            self.instances += 1
            self.processes[process_id] += 1

    def _add_durations(
        self, buckets: list[VisitBucket], visits: VisitBatch, instance_id: str, process_id: str | None
    ) -> None:
        """Add durations to their buckets, and count the visits without one."""
        began, ended = without_none(visits.created), without_none(visits.finished)
        first = self._to_microseconds(min(began, default=None))
        self.finished.add(ended)  # sorts them
        last = self._to_microseconds(ended[-1]) if ended else None
        self.first = min((time for time in (self.first, first) if time is not None), default=None)
        self.last = max((time for time in (self.last, last) if time is not None), default=None)

        places: Sequence[int] = range(len(buckets))
        took: Sequence[Any] = visits.duration_ms
        retries: Iterable[int | None] = visits.retries_used
        done = [state == COMPLETED for state in visits.state]
        if not all(done):
            for bucket, state, over in zip(buckets, visits.state, done, strict=True):
                if not over:
                    bucket.others[state] += 1
            self._add_open(buckets, visits, instance_id, process_id, first)
            buckets, took, places, retries = (list(compress(one, done)) for one in (buckets, took, places, retries))
        self._retries.update(retries)
        if None in took or not math.isfinite(sum(took)):
            buckets, took, places = self._derive(buckets, took, places, visits)
        elif took and min(took) < 0:
            buckets, took, places = _drop_invalid(buckets, took, places)
        if not took:
            return
        for bucket, time in zip(buckets, took, strict=True):
            bucket.durations.append(time)
        build = partial(build_sample, took, places, visits, self._time_base, instance_id, process_id)
        self.fastest = choose_sample(self.fastest, min(took), first, build, lt)
        self.slowest = choose_sample(self.slowest, max(took), first, build, gt)

    def _add_open(
        self,
        buckets: Sequence[VisitBucket],
        visits: VisitBatch,
        instance_id: str,
        process_id: str | None,
        first: int | None,
    ) -> None:
        """Add the times so far of open visits to their buckets; one that begins after now has taken no time."""
        if self._now is None or self._time_base is None:
            return
        now = self._time_base.zero + to_micros(self._now) * self._microsecond
        places, took = [], []
        for place, state in enumerate(visits.state):
            if state in {COMPLETED, CANCELLED}:
                continue
            since = (visits.finished if state == FAILED else visits.created)[place]
            if since is None:
                continue
            places.append(place)
            took.append(max((now - since) / (1000 * self._microsecond), 0.0))
            (buckets[place].failed if state == FAILED else buckets[place].open).append(took[-1])
        if took:
            build = partial(build_sample, took, places, visits, self._time_base, instance_id, process_id)
            self.longest_open = choose_sample(self.longest_open, max(took), first, build, gt)

    def _derive(
        self, buckets: list[VisitBucket], took: Sequence[float | None], places: Sequence[int], visits: VisitBatch
    ) -> tuple[list[VisitBucket], list[Any], Sequence[int]]:
        """Compute durations that were not given from timestamps; drop unknown and negative ones."""
        ms = 1000 * self._microsecond
        created, finished = visits.created, visits.finished
        derived: list[float | None] = []
        for bucket, given, place in zip(buckets, took, places, strict=True):
            if given is not None and math.isfinite(given):
                derived.append(given)
                continue
            begun, end = created[place], finished[place]
            if begun is None or end is None:
                derived.append(None)
            else:
                derived.append((end - begun) / ms)
                bucket.derived += end >= begun
        return _drop_invalid(buckets, derived, places)

    def _set_time_base(self, base: TimeBase | None) -> None:
        self._time_base = base
        for _, bucket in self._all_buckets():  # buckets of visits without times exist already
            bucket.waited = self._microsecond * 0

    @property
    def _microsecond(self) -> Any:
        return (self._time_base or INTEGER_BASE).microsecond

    def _to_microseconds(self, moment: Moment | None) -> int | None:
        return None if moment is None or self._time_base is None else self._time_base.to_microseconds(moment)

    # --- results ---

    @property
    def retries(self) -> dict[int, int]:
        """The number of COMPLETED visits by number of retries; unknown counts as 0, as documented."""
        known = Counter({used: count for used, count in self._retries.items() if used})
        none = self._retries[None] + self._retries[0]
        return dict(sorted((known + Counter({0: none})).items()))

    @property
    def unknown_retries(self) -> int:
        """The number of COMPLETED visits with an unknown number of retries."""
        return self._retries[None]

    def counts(self) -> Iterable[tuple[str, str | None, int]]:
        """Yield (state, element type, count) of all visits, for ``model.instances.summarize``."""
        for (kind, *_), bucket in self._all_buckets():
            if bucket.completed:
                yield COMPLETED, kind, bucket.completed
            for state, count in bucket.others.items():
                yield state, kind, count

    def _all_buckets(self) -> Iterable[tuple[tuple[Any, ...], VisitBucket]]:
        return chain.from_iterable(buckets.items() for buckets in self._buckets.values())

    def breakdown(self) -> TimeBreakdown:
        """Return where the time of COMPLETED visits, and between visits, went."""
        between = sum(bucket.waited // self._microsecond for _, bucket in self._all_buckets()) / 1000
        durations = ((classify_time(kind), bucket.durations) for (kind, *_), bucket in self._all_buckets())
        return _add_times(durations) + TimeBreakdown(waiting=between, between=between)

    def breakdown_so_far(self) -> TimeBreakdown:
        """Return where the time so far of open visits went. The time since a failure is waiting."""
        kinds = ((classify_time(kind), bucket) for (kind, *_), bucket in self._all_buckets())
        return _add_times(
            part
            for kind, bucket in kinds
            for part in ((kind, bucket.open), (SCOPE if kind == SCOPE else WAITING, bucket.failed))
        )

    def buckets_by_key(self) -> dict[GroupKey, GroupParts]:
        """Return (element type, name, bucket) of each group, by key: the process and a value for each of ``by``."""
        buckets_by_key: dict[GroupKey, GroupParts] = {}
        for process, buckets in self._buckets.items():
            for (kind, *values), bucket in buckets.items():
                name = values.pop() if "element" in self.by else None
                buckets_by_key.setdefault((process, *values), []).append((kind, name, bucket))
        return buckets_by_key

    def durations(self, key: GroupKey) -> array[float]:
        """Return all durations of a group in ms, unordered."""
        parts = self.buckets_by_key().get(key, ())
        return array("d", chain.from_iterable(bucket.durations for *_, bucket in parts))

    def groups(self) -> list[VisitGroup]:
        """Return the groups, in descending order of the time spent."""
        buckets_by_key = self.buckets_by_key()
        groups = [build_group(self.by, self._microsecond, key, parts) for key, parts in buckets_by_key.items()]
        groups.sort(key=lambda g: (-g.spent, -g.visits, [(k is not None, k or "") for k in g.key]))
        shares = [
            _shares([without_scopes(group, buckets_by_key[group.key], with_open=with_open) for group in groups])
            for with_open in (False, True)
        ]
        return [
            group if group.kind == SCOPE else replace(group, share=share, spent_share=spent)
            for group, share, spent in zip(groups, *shares, strict=True)
        ]

    @property
    def mean(self) -> float | None:
        """The mean of all durations in ms; None without any."""
        total, count = self.total_and_count()
        if self.fastest is None or self.slowest is None:
            return None
        mean = max(total / count, self.fastest.duration_ms)
        return min(mean, self.slowest.duration_ms)  # rounding must not exceed them

    def total_and_count(self) -> tuple[float, int]:
        """Return the total in ms and the number of all durations."""
        durations = [bucket.durations for _, bucket in self._all_buckets()]
        return exact_sum(sorted(map(exact_sum, durations))), sum(map(len, durations))

    def total_and_count_so_far(self) -> tuple[float, int]:
        """Return the time so far in ms and the number of the open visits whose times are known."""
        times = [times for _, bucket in self._all_buckets() for times in (bucket.open, bucket.failed)]
        return exact_sum(sorted(map(exact_sum, times))), sum(map(len, times))

    def total(self, name: str) -> int:
        """Return the number of visits that are ``derived``, ``negative`` or ``unmeasured``; see ``VisitGroup``."""
        return sum(getattr(bucket, name) for _, bucket in self._all_buckets())


def _drop_invalid(
    buckets: list[VisitBucket], took: Sequence[float | None], places: Sequence[int]
) -> tuple[list[VisitBucket], list[Any], Sequence[int]]:
    """Leave out and count the visits without a duration and those with a negative one."""
    good = [time is not None and time >= 0 for time in took]
    for bucket, time in zip(buckets, took, strict=True):
        if time is None:
            bucket.unmeasured += 1
        elif time < 0:
            bucket.negative += 1
    return list(compress(buckets, good)), list(compress(took, good)), list(compress(places, good))


def _shares(totals: list[float]) -> list[float | None]:
    """Return the part of each total in their sum; None for all if that is 0."""
    whole = exact_sum(sorted(totals))
    return [total / whole if whole else None for total in totals]


def _add_times(parts: Iterable[tuple[str, array[float]]]) -> TimeBreakdown:
    """Return the sums of times, by kind of time."""
    spent: dict[str, list[float]] = {}
    for kind, times in parts:
        spent.setdefault(kind, []).append(exact_sum(times))
    return TimeBreakdown(**{kind: exact_sum(sorted(sums)) for kind, sums in spent.items()})
