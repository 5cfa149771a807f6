"""RETRIES_EXHAUSTED."""

from __future__ import annotations

from collections.abc import Iterator

from tokctl.process.rules.base import HIGH, Case, Hit, Rule


class RetriesExhausted(Rule):
    """A live token has failed before and has no retry left.

    A job that was given no retries at all, and is at its first attempt, is not in trouble.
    """

    name = "RETRIES_EXHAUSTED"
    severity = HIGH
    meaning = "Live tokens have failed before and have no retry left."
    stuck = True

    def find(self, case: Case) -> Iterator[Hit]:
        """Look at what is live."""
        for visit in case.live:
            left, used = visit.context.retries_left, visit.context.retries_used
            if left is not None and left <= 0 and used is not None and used > 0:
                yield Hit(visit, f"no retry left after {used:,}", visit.updated_at or visit.created_at, used,
                          {"retries": used, "retries_left": left})  # fmt: skip
