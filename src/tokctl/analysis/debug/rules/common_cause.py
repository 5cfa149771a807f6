"""The rule COMMON_CAUSE."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tokctl.analysis.debug.rules.base import HIGH, Rule, RuleMatch, integer_threshold
from tokctl.model.element_types import type_matches
from tokctl.model.states import WAITING
from tokctl.model.visits import Visit

_MIN_TRAIT_SHARE = 0.9  # the share of a cause's tokens that must have another trait for it to be named, too
_MAX_CAUSES = 5

_Trait = tuple[str, tuple[str, ...]]  # (name, value); the last item of the value is the displayed text
_MatchWithTraits = tuple[RuleMatch, list[_Trait]]


class CommonCause(Rule):
    """Stuck tokens of many instances share an element, a worker or a job type.

    A greedy search: the trait that most stuck instances share is a cause, together with the other traits that nearly
    all of its tokens have. Then the search is repeated with the tokens that this cause does not explain.
    """

    name = "COMMON_CAUSE"
    severity = HIGH
    uses_stuck_matches = True
    meaning = "Stuck tokens with the same element, worker or job type."
    next = "tokctl perf --element {element}"
    thresholds = (
        integer_threshold("common_instances", 3, "minimum number of instances with stuck tokens", minimum=2),
        integer_threshold("common_share", 20, "minimum percentage of all stuck instances", minimum=1, maximum=100),
    )

    def __init__(self, limits: Mapping[str, Any]) -> None:
        super().__init__(limits)
        self.causes: list[dict[str, Any]] = []

    def finalize(self, found: Mapping[str, Sequence[RuleMatch]]) -> Iterator[RuleMatch]:
        """Yield the stuck tokens that share a cause, one cause after another."""
        least = self.limits["common_instances"]
        if len({hit.visit.instance_id for matches in found.values() for hit in matches}) < least:
            return
        stuck: dict[tuple[str, str], RuleMatch] = {}
        for matches in found.values():
            for hit in matches:
                stuck.setdefault((hit.visit.instance_id, hit.visit.token_id), hit)
        left = [(hit, _traits(hit.visit)) for hit in _exclude_waiting_gateways(list(stuck.values()))]
        instances = {hit.visit.instance_id for hit, _ in left}
        least = max(least, len(instances) * self.limits["common_share"] / 100)
        while len(self.causes) < _MAX_CAUSES:
            widest = _find_widest_trait(left)
            if widest is None:
                return
            members = [one for one in left if widest in one[1]]
            named = {hit.visit.instance_id for hit, _ in members}
            if len(named) < least:
                return
            traits = {widest[0]: widest[1][-1]} | _find_shared_traits(members)
            counts = {"instances": len(named), "tokens": len(members), "stuck_instances": len(instances)}
            self.causes.append({**traits, **counts, "share": round(len(named) / len(instances), 4)})
            details = {"cause": len(self.causes) - 1}
            for hit, _ in members:
                yield RuleMatch(hit.visit, hit.message, hit.since, float(len(named)), details)
            left = [one for one in left if widest not in one[1]]

    def summary(self) -> Iterator[str]:
        """Return each cause with its share."""
        return (f"{describe_cause(cause)}: {describe_share(cause)}" for cause in self.causes)

    def evidence(self) -> dict[str, Any]:
        """Return the causes, each with the share of the stuck instances that it explains."""
        return {"causes": self.causes}


def describe_cause(traits: Mapping[str, Any]) -> str:
    """Return the traits of a cause as a phrase: ``at Pay, with worker w1``."""
    place = traits.get("element_name") or traits.get("element_id")
    phrases = {"at": place, "with worker": traits.get("worker_id"), "with jobs of type": traits.get("job_type")}
    return ", ".join(f"{words} {trait}" for words, trait in phrases.items() if trait is not None)


def describe_share(cause: Mapping[str, Any]) -> str:
    """Return how many stuck instances a cause explains: ``8 of 10 stuck instances (80%)``."""
    number, total = cause["instances"], cause["stuck_instances"]
    share = cause["share"] if number == total else min(cause["share"], 0.99)  # 100% means all
    return f"{number:,} of {total:,} stuck {'instance' if total == 1 else 'instances'} ({share:.0%})"


def _exclude_waiting_gateways(matches: list[RuleMatch]) -> list[RuleMatch]:
    """Exclude tokens that wait at a gateway, in instances where another token is stuck: they wait for that one."""

    def waits(hit: RuleMatch) -> bool:
        return hit.visit.state == WAITING and type_matches(hit.visit.element_type or "", "gateway")

    others = {hit.visit.instance_id for hit in matches if not waits(hit)}
    return [hit for hit in matches if not waits(hit) or hit.visit.instance_id not in others]


def _traits(visit: Visit) -> list[_Trait]:
    context = visit.context
    traits: list[_Trait] = [("element_id", (visit.process_id or "", visit.element_id))]
    traits += [("worker_id", (context.worker_id,))] if context.worker_id else []
    traits += [("job_type", (context.job_type,))] if context.job_type else []
    return traits


def _find_widest_trait(matches: Sequence[_MatchWithTraits]) -> _Trait | None:
    """Return the trait that most instances share; in a tie, elements take precedence."""
    sharing: dict[_Trait, set[str]] = defaultdict(set)
    for hit, traits in matches:
        for trait in traits:
            sharing[trait].add(hit.visit.instance_id)
    return max(sharing, key=lambda trait: (len(sharing[trait]), trait[0] == "element_id", trait), default=None)


def _find_shared_traits(matches: Sequence[_MatchWithTraits]) -> dict[str, str]:
    """Return the traits that nearly all matches have."""
    counts = Counter(trait for _, traits in matches for trait in traits)
    shared = {
        name: value[-1] for (name, value), count in sorted(counts.items()) if count >= _MIN_TRAIT_SHARE * len(matches)
    }
    if "element_id" in shared:
        here = [hit.visit for hit, _ in matches if hit.visit.element_id == shared["element_id"]]
        shared["element_name"] = min((visit.element_name for visit in here if visit.element_name), default=here[0].name)
    return shared
