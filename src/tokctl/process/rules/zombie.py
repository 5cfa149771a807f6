"""ZOMBIE_TOKENS."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from tokctl.process.model import CANCELLED, is_final
from tokctl.process.rules.base import HIGH, MISSING, NO_PARENT, Case, Hit, Rule

_Ended = tuple[datetime, str]


class Zombie(Rule):
    """A live token under an instance that has ended, or under a token that was cancelled over its head.

    What was created after the cancellation is no zombie: it goes on from there, as the path behind an
    interrupting boundary event does.
    """

    name = "ZOMBIE_TOKENS"
    severity = HIGH
    meaning = "Live tokens are left of an instance that has ended, or below a cancelled token."
    next = "tokctl tokens tree {instance}"
    reads_all = True

    def find(self, case: Case) -> Iterator[Hit]:
        """Look at what is live, and at what stands above it."""
        status = case.status
        if not case.live:
            return
        if status.status is not None and is_final(status.status) and not status.status_derived:
            for visit in case.live:
                yield Hit(visit, f"live, though its instance is {status.status}", status.ended_at,
                          figures={"under": status.instance.instance_id})  # fmt: skip
            return
        if CANCELLED not in case.states:
            return
        above = _Cancelled(case)
        for visit in case.live:
            ended = above.of(case.positions[visit.token_id])
            if ended is None:
                continue
            when, token_id = ended
            if visit.created_at is not None and visit.created_at < when:
                yield Hit(visit, f"live below {token_id}, which was cancelled", when, figures={"under": token_id})


class _Cancelled:
    """The last cancellation above each token, found once for each.

    What a boundary event leads to is not under the activity that it is attached to: that may be cancelled
    by another event while this goes on.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        # Of what stands below each token: by its own cancellation, too, and without that.
        self.below: dict[int, tuple[_Ended | None, _Ended | None]] = {NO_PARENT: (None, None), MISSING: (None, None)}

    def of(self, position: int) -> _Ended | None:
        """When the token above was cancelled that was cancelled last, and its id."""
        parents, visits, below = self.case.parents, self.case.visits, self.below
        above = parents[position]
        path: list[int] = []
        while above not in below:
            below[above] = (None, None)  # a cycle ends here
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
