"""SLOWER_THAN_USUAL."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tokctl.process.model import SUSPENDED
from tokctl.process.rules.base import MEDIUM, Case, Durations, Hit, Rule, number
from tokctl.process.rules.words import spell_ms
from tokctl.process.visit import Visit


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
        self.live: dict[str | None, list[tuple[Visit, float]]] = defaultdict(list)

    def find(self, case: Case) -> Iterator[Hit]:
        """Keep what is live, to be compared once it is known what is to be looked up."""
        for visit in case.live:
            age = case.age(visit)
            if age is not None and age.total_seconds() > 0 and visit.state != SUSPENDED:  # that has its own rule
                self.live[case.process_id].append((visit, age.total_seconds() * 1000))
        yield from ()

    def conclude(self, found: Mapping[str, Sequence[Hit]], durations: Durations) -> Iterator[Hit]:  # noqa: ARG002
        """Compare every live token with the finished visits to its element."""
        rank, least = self.limits["slow_percentile"] / 100, self.limits["slow_visits"]
        for process_id, live in self.live.items():
            usual = _Usual(durations(process_id, {visit.element_id for visit, _ in live}))
            for visit, age in live:
                others = usual.elsewhere(visit.element_id, visit.instance_id)
                if len(others) < least:
                    continue
                limit = others[math.ceil(rank * len(others)) - 1]
                if age > limit:
                    median = others[math.ceil(0.5 * len(others)) - 1]
                    figures = {"age_ms": age, "usual_ms": limit, "usual_median_ms": median,
                               "compared_visits": len(others), "percentile": round(rank * 100)}  # fmt: skip
                    says = (f"there for {spell_ms(age)}; {rank:.0%} of {len(others):,} visits took at most "
                            f"{spell_ms(limit)}, half {spell_ms(median)}")  # fmt: skip
                    yield Hit(visit, says, visit.created_at, age / limit if limit > 0 else math.inf, figures)
        self.live.clear()


class _Usual:
    """Durations (ms) of finished visits by element, sorted."""

    def __init__(self, durations: Iterator[tuple[str, str, float]]) -> None:
        self.all: dict[str, list[float]] = defaultdict(list)
        self.own: dict[tuple[str, str], list[float]] = defaultdict(list)
        for instance_id, element_id, took in durations:
            self.all[element_id].append(took)
            self.own[element_id, instance_id].append(took)
        for several in self.all.values():
            several.sort()
        self.without: dict[tuple[str, str], list[float]] = {}

    def elsewhere(self, element_id: str, instance_id: str) -> list[float]:
        """Those of an element in other instances than one."""
        key = (element_id, instance_id)
        if key not in self.own:
            return self.all[element_id]
        if key not in self.without:
            others = list(self.all[element_id])
            for took in self.own[key]:
                del others[bisect_left(others, took)]
            self.without[key] = others
        return self.without[key]
