"""DEADLOCKED_JOIN."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tokctl.process.joins import JoinModel, waiting_joins
from tokctl.process.rules.base import HIGH, Case, Hit, Rule
from tokctl.process.rules.words import spell
from tokctl.process.tree import waits_for_several


class DeadlockedJoin(Rule):
    """A token waits at a join for a branch on which no live token can arrive any more.

    Where the model is unknown, or does not fit the tokens, nothing is said.
    """

    name = "DEADLOCKED_JOIN"
    severity = HIGH
    meaning = "Tokens wait at a join for a branch on which nothing can arrive any more."
    reads_all = True
    reads_flows = True
    stuck = True

    def __init__(self, limits: Mapping[str, Any]) -> None:
        super().__init__(limits)
        self.models: dict[tuple[str, int], JoinModel] = {}

    def find(self, case: Case) -> Iterator[Hit]:
        """Look at the joins that wait."""
        types = {visit.element_type for visit in case.live}
        if not any(kind is None or waits_for_several(kind) for kind in types) or case.definition is None:
            return
        version = case.definition.process_id, case.definition.version
        model = self.models.get(version)
        if model is None:
            model = self.models[version] = JoinModel(case.definition)
        for join in waiting_joins(case.visits, model):
            if not join.deadlocked:
                continue
            missing = [flow for flow in join.needed if flow.possible is False]
            age = case.age(join.token)
            says = f"has waited{f' {spell(age)}' if age is not None else ''} for {', '.join(f.flow for f in missing)}"
            if join.failed:  # the same trouble as FAILED_TOKENS tell
                says += f", behind {' and '.join(token.name for token in join.failed)}, which FAILED"
            figures = {
                "missing_flows": [flow.flow for flow in missing],
                "failed_tokens": [token.token_id for token in join.failed],
            }
            yield Hit(join.token, says, join.token.created_at, age.total_seconds() if age else 0.0, figures)
