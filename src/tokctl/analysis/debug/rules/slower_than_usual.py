"""SLOWER_THAN_USUAL."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from tokctl.analysis.debug.rules.base import MEDIUM, Rule, RuleContext, RuleMatch, integer_threshold
from tokctl.model.durations import format_milliseconds
from tokctl.model.states import SUSPENDED
from tokctl.model.visits import Visit


class SlowerThanUsual(Rule):
    """A live token is older than nearly all finished visits of the same element in other instances.

    It is compared with the COMPLETED visits in the most recently stored instances of the process. The percentile is
    the nearest rank, as in ``performance.statistics.percentile``.
    """

    name = "SLOWER_THAN_USUAL"
    severity = MEDIUM
    meaning = "Live tokens that have been at their element for longer than usual."
    thresholds = (
        integer_threshold(
            "slow_percentile", 99, "older than this percentile of finished visits", minimum=1, maximum=100
        ),
        integer_threshold("slow_visits", 20, "minimum number of finished visits in other instances", minimum=1),
    )
    finds_stuck = True

    def __init__(self, limits: Mapping[str, Any]) -> None:
        super().__init__(limits)
        self.usual: dict[str | None, _UsualDurations] = {}

    def find(self, context: RuleContext) -> Iterator[RuleMatch]:
        """Compare the live tokens with the finished visits of their elements."""
        live = [visit for visit in context.moving if visit.state != SUSPENDED and visit.created_at is not None]
        if not live:
            return
        usual = self.usual.get(context.process_id)
        if usual is None:
            durations = context.durations(context.process_id, (visit.element_id for visit in live))
            usual = self.usual[context.process_id] = _UsualDurations(durations)
        rank, least = self.limits["slow_percentile"] / 100, self.limits["slow_visits"]
        compared = {element_id for element_id, times in usual.sorted.items() if len(times) >= least}
        for visit in live if compared else ():
            if visit.element_id not in compared:
                continue
            age = (context.now - (visit.created_at or context.now)).total_seconds() * 1000
            others, own = usual.split_by_instance(visit.element_id, visit.instance_id)
            count = len(others) - len(own)
            if count < least:
                continue
            limit = nth_excluding(others, own, math.ceil(rank * count) - 1)
            if age > limit and age > 0:
                median = nth_excluding(others, own, math.ceil(0.5 * count) - 1)
                details = {
                    "age_ms": age,
                    "usual_ms": limit,
                    "usual_median_ms": median,
                    "compared_visits": count,
                    "percentile": round(rank * 100),
                }
                describe = partial(_describe, details)
                yield RuleMatch(visit, describe, visit.created_at, age / limit if limit > 0 else math.inf, details)


def _describe(details: Mapping[str, Any], _: Visit) -> str:
    usual, median = format_milliseconds(details["usual_ms"]), format_milliseconds(details["usual_median_ms"])
    return (
        f"there for {format_milliseconds(details['age_ms'])}; {details['percentile']}% of "
        f"{details['compared_visits']:,} visits took at most {usual}, half {median}"
    )


class _UsualDurations:
    """Durations (ms) of finished visits by element, with the instances of the visits."""

    def __init__(self, durations: Iterator[tuple[str, str, float]]) -> None:
        self.instances: dict[str, int] = {}
        self.found: dict[str, tuple[array[float], array[int]]] = defaultdict(lambda: (array("d"), array("i")))
        for instance_id, element_id, took in durations:
            times, instances = self.found[element_id]
            times.append(took)
            instances.append(self.instances.setdefault(instance_id, len(self.instances)))
        self.sorted = {element_id: array("d", sorted(times)) for element_id, (times, _) in self.found.items()}

    def split_by_instance(self, element_id: str, instance_id: str) -> tuple[Sequence[float], Sequence[float]]:
        """Return the durations of an element, and those of them that belong to the given instance; both sorted."""
        every, instance = self.sorted.get(element_id, ()), self.instances.get(instance_id)
        if not every or instance is None:
            return every, ()
        return every, sorted(took for took, of in zip(*self.found[element_id], strict=True) if of == instance)


def nth_excluding(values: Sequence[float], left_out: Sequence[float], number: int) -> float:
    """Return the value with a number, from 0, of sorted values without ``left_out``, which are some of them, sorted."""
    for value in left_out:
        number += bisect_left(values, value) <= number
    return values[number]
