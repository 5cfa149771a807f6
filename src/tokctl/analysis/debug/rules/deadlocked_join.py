"""The rule DEADLOCKED_JOIN."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tokctl.analysis.debug.rules.base import HIGH, Rule, RuleContext, RuleMatch
from tokctl.analysis.joins import find_waiting_joins
from tokctl.bpmn.graph import ProcessGraph
from tokctl.model.durations import format_timedelta
from tokctl.model.element_types import is_joining_gateway


class DeadlockedJoin(Rule):
    """A token waits at a join for a branch on which no live token can arrive any more.

    Nothing is reported if the model is unknown or does not match the tokens. The analysis is that of
    ``tokctl.analysis.joins``.
    """

    name = "DEADLOCKED_JOIN"
    is_consequence = True
    severity = HIGH
    meaning = "Tokens at a join that waits for a branch on which no token can arrive."
    needs_finished = True
    needs_flow_history = True
    finds_stuck = True

    def __init__(self, limits: Mapping[str, Any]) -> None:
        super().__init__(limits)
        self.graphs: dict[tuple[str, int], ProcessGraph] = {}

    def find(self, context: RuleContext) -> Iterator[RuleMatch]:
        """Check the joins that wait."""
        types = {visit.element_type for visit in context.moving}
        if not any(kind is None or is_joining_gateway(kind) for kind in types) or context.definition is None:
            return
        version = context.definition.process_id, context.definition.version
        graph = self.graphs.get(version)
        if graph is None:
            graph = self.graphs[version] = ProcessGraph(context.definition)
        for join in find_waiting_joins(context.visits, graph):
            if not join.deadlocked:
                continue
            missing = [flow for flow in join.needed if flow.possible is False]
            age = context.age(join.token)
            waited = f" {format_timedelta(age)}" if age is not None else ""
            message = f"has waited{waited} for {', '.join(f.flow for f in missing)}"
            if join.failed:  # the same problem as that of FAILED_TOKENS
                message += f", behind {' and '.join(token.name for token in join.failed)}, which FAILED"
            details = {
                "missing_flows": [flow.flow for flow in missing],
                "failed_tokens": [token.token_id for token in join.failed],
            }
            yield RuleMatch(join.token, message, join.token.created_at, age.total_seconds() if age else 0.0, details)
