"""LONG_RUNNING_TOKENS, as documented."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from tokctl.process.model import ACTIVE
from tokctl.process.rules.base import HIGH, Case, Hit, Rule, span
from tokctl.process.rules.words import minutes, stays


class LongRunning(Rule):
    """A token has been ACTIVE for longer than its threshold."""

    name = "LONG_RUNNING_TOKENS"
    severity = HIGH
    meaning = "Tokens have been ACTIVE for too long."
    thresholds = (span("long_running", timedelta(minutes=10), "ACTIVE for longer than this"),)
    stuck = True

    def find(self, case: Case) -> Iterator[Hit]:
        """Look at what is ACTIVE."""
        limit: timedelta = self.limits["long_running"]
        for visit in case.live:
            if visit.state == ACTIVE and (age := case.age(visit)) is not None and age > limit:
                yield Hit(visit, stays(visit, age), visit.created_at, age.total_seconds(),
                          {"runningTime": minutes(age)})  # fmt: skip
