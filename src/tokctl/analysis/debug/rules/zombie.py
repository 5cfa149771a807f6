"""The rule ZOMBIE_TOKENS."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from tokctl.analysis.debug.child_lists import MISSING_PARENT, NO_PARENT
from tokctl.analysis.debug.rules.base import HIGH, Rule, RuleContext, RuleMatch
from tokctl.model.states import CANCELLED, is_final

_Cancellation = tuple[datetime, str]


class Zombie(Rule):
    """A live token of an instance that has ended, or below a token that was cancelled after the live one was created.

    A token that was created after the cancellation is not a zombie: it continues from there, like the path after an
    interrupting boundary event.
    """

    name = "ZOMBIE_TOKENS"
    severity = HIGH
    meaning = "Live tokens of an instance that has ended, or below a cancelled token."
    next = "tokctl tokens tree {instance}"
    needs_finished = True

    def find(self, context: RuleContext) -> Iterator[RuleMatch]:
        """Check the live tokens and their ancestors."""
        status = context.status
        if not context.moving:
            return
        if status.status is not None and is_final(status.status) and not status.status_derived:
            for visit in context.moving:
                yield RuleMatch(
                    visit,
                    f"live, but its instance is {status.status}",
                    status.ended_at,
                    details={"under": status.instance.instance_id},
                )
            return
        if CANCELLED not in context.states:
            return
        above = _CancelledAncestors(context)
        for visit in context.moving:
            ended = above.last_above(context.positions[visit.token_id])
            if ended is None:
                continue
            when, token_id = ended
            if visit.created_at is not None and visit.created_at < when:
                yield RuleMatch(visit, f"live below {token_id}, which was cancelled", when, details={"under": token_id})


class _CancelledAncestors:
    """The last cancellation among the ancestors of each token; each answer is computed once.

    The path after a boundary event is not below the activity that the event is attached to: that may be cancelled by
    another event while the path continues.
    """

    def __init__(self, context: RuleContext) -> None:
        self.context = context
        # For the children of each token: the last cancellation with its own included, and without its own.
        self.below: dict[int, tuple[_Cancellation | None, _Cancellation | None]] = {
            NO_PARENT: (None, None),
            MISSING_PARENT: (None, None),
        }

    def last_above(self, position: int) -> _Cancellation | None:
        """Return the time and the token id of the last cancellation among the ancestors."""
        parents, visits, below = self.context.parents, self.context.visits, self.below
        above = parents[position]
        path: list[int] = []
        while above not in below:
            below[above] = (None, None)  # ends a cycle
            path.append(above)
            above = parents[above]
        for member in reversed(path):
            visit = visits[member]
            own = around = below[parents[member]][visit.element_type == "boundaryEvent"]
            when = visit.finished_at
            if visit.state == CANCELLED and when is not None and (around is None or when > around[0]):
                own = (when, visit.token_id)
            below[member] = own, around
        return below[parents[position]][0]
