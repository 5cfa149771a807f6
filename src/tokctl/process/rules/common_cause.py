"""COMMON_CAUSE."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tokctl.process.model import WAITING, type_matches
from tokctl.process.rules.base import HIGH, Hit, Rule, number
from tokctl.process.visit import Visit

_MOST = 0.9  # of a cause's tokens that have a further trait: it is named with the cause
_CAUSES = 5


class CommonCause(Rule):
    """Tokens that do not move on, in many instances, have an element, a worker or a job type in common.

    The trait that most stuck instances share is named first, with the others that nearly all of its tokens
    have; what it does not explain is looked at again.
    """

    name = "COMMON_CAUSE"
    severity = HIGH
    reads_stuck = True
    meaning = "Tokens that do not move on have an element, a worker or a job type in common."
    next = "tokctl perf --element {element}"
    thresholds = (
        number("common_instances", 3, "stuck in at least so many instances", least=2),
        number("common_share", 20, "which are at least so many percent of those that are stuck", least=1, most=100),
    )

    def __init__(self, limits: Mapping[str, Any]) -> None:
        super().__init__(limits)
        self.causes: list[dict[str, Any]] = []

    def conclude(self, found: Mapping[str, Sequence[Hit]]) -> Iterator[Hit]:
        """Look for what the tokens that other rules found have in common."""
        stuck: dict[tuple[str, str], Hit] = {}
        for hits in found.values():
            for hit in hits:
                stuck.setdefault((hit.visit.instance_id, hit.visit.token_id), hit)
        left = _without_those_that_wait_for_others(list(stuck.values()))
        instances = {hit.visit.instance_id for hit in left}
        least = max(self.limits["common_instances"], len(instances) * self.limits["common_share"] / 100)
        while len(self.causes) < _CAUSES:
            trait, members = _widest(left)
            named = {hit.visit.instance_id for hit in members}
            if trait is None or len(named) < least:
                return
            traits = dict([trait]) | _shared(members)
            share = len(named) / len(instances)
            self.causes.append({
                **traits, "instances": len(named), "tokens": len(members), "stuck_instances": len(instances),
                "share": round(share, 4),
            })  # fmt: skip
            for hit in members:
                yield Hit(hit.visit, hit.says, hit.since, float(len(named)), {"cause": len(self.causes) - 1})
            taken = {id(hit) for hit in members}
            left = [hit for hit in left if id(hit) not in taken]

    def sums_up(self) -> Iterator[str]:
        """Name each cause with its share."""
        return (f"{words(cause)}: {share(cause)}" for cause in self.causes)

    def explain(self) -> dict[str, Any]:
        """The causes, each with the share of the stuck instances that it explains."""
        return {"causes": self.causes}


def words(traits: Mapping[str, Any]) -> str:
    """Put a cause into words."""
    parts = []
    if "element_id" in traits:
        parts.append(f"at {traits.get('element_name') or traits['element_id']}")
    if "worker_id" in traits:
        parts.append(f"by worker {traits['worker_id']}")
    if "job_type" in traits:
        parts.append(f"jobs of type {traits['job_type']}")
    return ", ".join(parts)


def share(cause: Mapping[str, Any]) -> str:
    """Put how much a cause explains into words."""
    several = "instance" if cause["stuck_instances"] == 1 else "instances"
    return f"{cause['instances']:,} of {cause['stuck_instances']:,} stuck {several} ({cause['share']:.0%})"


def _without_those_that_wait_for_others(hits: list[Hit]) -> list[Hit]:
    """Leave out tokens that wait at a gateway in an instance where something else is stuck."""
    waiting = [hit.visit.state == WAITING and type_matches(hit.visit.element_type or "", "gateway") for hit in hits]
    others = {hit.visit.instance_id for hit, waits in zip(hits, waiting, strict=True) if not waits}
    return [hit for hit, waits in zip(hits, waiting, strict=True) if not waits or hit.visit.instance_id not in others]


def _traits(visit: Visit) -> dict[str, tuple[str, ...]]:
    traits: dict[str, tuple[str, ...]] = {"element_id": (visit.process_id or "", visit.element_id)}
    if visit.context.worker_id:
        traits["worker_id"] = (visit.context.worker_id,)
    if visit.context.job_type:
        traits["job_type"] = (visit.context.job_type,)
    return traits


def _widest(hits: Sequence[Hit]) -> tuple[tuple[str, str] | None, list[Hit]]:
    """Return the trait that most instances share, and the hits that have it; the element before others."""
    sharing: dict[tuple[str, tuple[str, ...]], set[str]] = defaultdict(set)
    for hit in hits:
        for trait in _traits(hit.visit).items():
            sharing[trait].add(hit.visit.instance_id)
    if not sharing:
        return None, []
    name, value = max(sharing, key=lambda trait: (len(sharing[trait]), trait[0] == "element_id", trait))
    return (name, value[-1]), [hit for hit in hits if _traits(hit.visit).get(name) == value]


def _shared(hits: Sequence[Hit]) -> dict[str, str]:
    """Return the traits that nearly all hits have."""
    counts: dict[tuple[str, tuple[str, ...]], int] = defaultdict(int)
    for hit in hits:
        for trait in _traits(hit.visit).items():
            counts[trait] += 1
    shared = {name: value[-1] for (name, value), count in sorted(counts.items()) if count >= _MOST * len(hits)}
    if "element_id" in shared:
        here = [hit.visit for hit in hits if hit.visit.element_id == shared["element_id"]]
        shared["element_name"] = min((visit.element_name for visit in here if visit.element_name), default=here[0].name)
    return shared
