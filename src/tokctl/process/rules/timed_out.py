"""TIMED_OUT_TOKENS, the documented monitor's check."""

from __future__ import annotations

from collections.abc import Iterator

from tokctl.process.model import format_time
from tokctl.process.rules.base import HIGH, Case, Hit, Rule
from tokctl.process.rules.words import spell


class TimedOut(Rule):
    """A live token's timeout has passed."""

    name = "TIMED_OUT_TOKENS"
    severity = HIGH
    meaning = "The timeout of live tokens has passed."
    stuck = True

    def find(self, case: Case) -> Iterator[Hit]:
        """Look at what is live and has a timeout."""
        for visit in case.live:
            due = visit.context.timeout_at
            if due is not None and due < case.now:
                late = case.now - due
                figures = {"timeout_at": format_time(due), "overdue_ms": late.total_seconds() * 1000}
                yield Hit(visit, f"timed out {spell(late)} ago", due, late.total_seconds(), figures)
