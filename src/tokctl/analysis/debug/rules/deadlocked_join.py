"""The rule DEADLOCKED_JOIN."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from tokctl.analysis.debug.rules.base import HIGH, Rule, RuleContext, RuleMatch
from tokctl.model.durations import format_timedelta


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

    def find(self, context: RuleContext) -> Iterator[RuleMatch]:
        """Check the joins that wait."""
        for join in context.waiting_joins:
            if not join.deadlocked:
                continue
            branches = ", ".join(f"{flow.flow} (from '{flow.source_name}')" for flow in join.dead)
            if join.failed:  # the same problem as that of FAILED_TOKENS
                names = dict.fromkeys(token.name for token in join.failed)
                message = f"no token can arrive on {branches}, because {' and '.join(names)} FAILED"
            else:
                message = f"no token can arrive any more on {branches}"
            age = context.age(join.token)
            if age is not None and age > timedelta(0):
                message += f"; has waited {format_timedelta(age)}"
            details = {
                "missing_flows": [flow.flow for flow in join.dead],
                "failed_tokens": [token.token_id for token in join.failed],
            }
            yield RuleMatch(join.token, message, join.token.created_at, age.total_seconds() if age else 0.0, details)
