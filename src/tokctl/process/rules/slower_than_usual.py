"""SLOWER_THAN_USUAL."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tokctl.process.model import SUSPENDED
from tokctl.process.rules.base import MEDIUM, Case, Hit, Rule, number
from tokctl.process.rules.words import spell_ms


class SlowerThanUsual(Rule):
    """A live token is older than nearly all finished visits to the same element took in other instances.

    Compared with the COMPLETED visits in the instances of the process that came to be known last. The
    percentile is the nearest rank: the least duration that so many percent do not exceed.
    """

    name = "SLOWER_THAN_USUAL"
    severity = MEDIUM
    meaning = "Live tokens have been at their element for longer than is usual there."
    thresholds = (
        number("slow_percentile", 99, "older than this percentile of finished visits", least=1, most=100),
        number("slow_visits", 20, "compared only where other instances have at least so many", least=1),
    )
    stuck = True

    def __init__(self, limits: Mapping[str, Any]) -> None:
        super().__init__(limits)
        self.usual: dict[str | None, _Usual] = {}

    def find(self, case: Case) -> Iterator[Hit]:
        """Compare what is live with the finished visits to its element."""
        live = [(visit, lived.total_seconds() * 1000) for visit in case.live
                if visit.state != SUSPENDED and (lived := case.age(visit)) is not None]  # fmt: skip
        if not live:
            return
        usual = self.usual.get(case.process_id)
        if usual is None:
            elements = {visit.element_id for visit, _ in live}
            usual = self.usual[case.process_id] = _Usual(case.durations(case.process_id, elements))
        rank, least = self.limits["slow_percentile"] / 100, self.limits["slow_visits"]
        for visit, age in live:
            others, own = usual.of(visit.element_id, visit.instance_id)
            count = len(others) - len(own)
            if count < least:
                continue
            limit = _nth(others, own, math.ceil(rank * count) - 1)
            if age > limit and age > 0:
                median = _nth(others, own, math.ceil(0.5 * count) - 1)
                figures = {"age_ms": age, "usual_ms": limit, "usual_median_ms": median,
                           "compared_visits": count, "percentile": round(rank * 100)}  # fmt: skip
                says = (f"there for {spell_ms(age)}; {rank:.0%} of {count:,} visits took at most "
                        f"{spell_ms(limit)}, half {spell_ms(median)}")  # fmt: skip
                yield Hit(visit, says, visit.created_at, age / limit if limit > 0 else math.inf, figures)


class _Usual:
    """Durations (ms) of finished visits by element, and the instances that they are of."""

    def __init__(self, durations: Iterator[tuple[str, str, float]]) -> None:
        self.instances: dict[str, int] = {}
        self.found: dict[str, tuple[array[float], array[int]]] = defaultdict(lambda: (array("d"), array("i")))
        for instance_id, element_id, took in durations:
            times, instances = self.found[element_id]
            times.append(took)
            instances.append(self.instances.setdefault(instance_id, len(self.instances)))
        self.sorted = {element_id: array("d", sorted(times)) for element_id, (times, _) in self.found.items()}

    def of(self, element_id: str, instance_id: str) -> tuple[Sequence[float], Sequence[float]]:
        """Those of an element, and those among them that are an instance's own; both sorted."""
        every, instance = self.sorted.get(element_id, ()), self.instances.get(instance_id)
        if not every or instance is None:
            return every, ()
        return every, sorted(took for took, of in zip(*self.found[element_id], strict=True) if of == instance)


def _nth(values: Sequence[float], left_out: Sequence[float], number: int) -> float:
    """Return the value with a number, counted from 0, among sorted ones of which some, sorted too, are left out."""
    for value in left_out:
        number += bisect_left(values, value) <= number
    return values[number]
