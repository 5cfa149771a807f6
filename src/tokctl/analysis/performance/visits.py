"""The input of the statistics of durations: the visits of an instance in batches, and single visits as samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import compress
from typing import Any, NamedTuple

from msgspec import Struct

from tokctl.analysis.performance.statistics import INTEGER_BASE, Moment, TimeBase
from tokctl.model.states import COMPLETED

BATCH_SIZE = 20_000
"""The number of tokens that an engine puts into one VisitBatch."""
_SAMPLE_COLUMNS = ("token_id", "element_id", "element_type", "element_name", "worker_id", "state", "retries_used")


class VisitBatch(NamedTuple):
    """Some tokens of an instance, in columns.

    ``wanted`` tells which of them match the filter (None: all); the others are included because the end of a parent is
    needed. ``duration_ms`` is the given duration; ``finished`` is None for live tokens.
    """

    token_id: Sequence[str]
    parent: Sequence[str | None]
    element_id: Sequence[str]
    element_type: Sequence[str | None]
    element_name: Sequence[str | None]
    worker_id: Sequence[str | None]
    state: Sequence[str]
    created: Sequence[Moment | None]
    finished: Sequence[Moment | None]
    duration_ms: Sequence[float | None]
    retries_used: Sequence[int | None]
    wanted: Sequence[Any] | None = None

    def select_wanted(self) -> VisitBatch:
        """Return the wanted tokens only."""
        wanted = self.wanted
        return self if wanted is None else VisitBatch._make([*(list(compress(c, wanted)) for c in self[:-1]), None])


class VisitSample(Struct, frozen=True):
    """A single visit, such as the fastest or the slowest. ``created`` and ``finished`` are in µs since 1970.

    ``derived``: the duration was computed from times. That of an open visit is its time so far.
    """

    instance_id: str
    process_id: str | None
    token_id: str
    element_id: str
    element_type: str | None
    element_name: str | None
    worker_id: str | None
    state: str
    created: int | None
    finished: int | None
    retries_used: int | None
    duration_ms: float
    derived: bool


def choose_sample(
    best: VisitSample | None,
    time: float,
    first: int | None,
    build: Callable[[float], VisitSample],
    better: Callable[[float, float], bool],
) -> VisitSample:
    """Return the best visit so far, or one that took ``time``; of equal ones, that which began first.

    ``first`` is when the first of the new visits began, so that few samples are built.
    """
    if best is None or better(time, best.duration_ms):
        return build(time)
    if time != best.duration_ms or (best.created is not None and (first is None or first > best.created)):
        return best
    never = 1 << 63  # later than any time
    return min(best, build(time), key=lambda s: (never if s.created is None else s.created, s.instance_id, s.token_id))


def build_sample(
    took: Sequence[float],
    places: Sequence[int],
    visits: VisitBatch,
    base: TimeBase | None,
    instance_id: str,
    process_id: str | None,
    time: float,
) -> VisitSample:
    """Return the visit that began first, of those that took a given time."""
    same = [place for place, other in zip(places, took, strict=True) if other == time]
    begun = min(without_none([visits.created[place] for place in same]), default=None)
    place = min((place for place in same if visits.created[place] == begun), key=visits.token_id.__getitem__)
    given, to_microseconds = visits.duration_ms[place], (base or INTEGER_BASE).to_microseconds
    finished = visits.finished[place]
    return VisitSample(
        instance_id=instance_id,
        process_id=process_id,
        **{name: getattr(visits, name)[place] for name in _SAMPLE_COLUMNS},
        created=None if begun is None else to_microseconds(begun),
        finished=None if finished is None else to_microseconds(finished),
        duration_ms=time,
        derived=visits.state[place] != COMPLETED or given is None or not math.isfinite(given),
    )


def without_none(moments: Sequence[Moment | None]) -> list[Moment]:
    """Return the moments that are known."""
    return [moment for moment in moments if moment is not None] if None in moments else list(moments)
