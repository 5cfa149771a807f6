"""SUSPENDED_TOKENS."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from tokctl.process.model import SUSPENDED
from tokctl.process.rules.base import LOW, Case, Hit, Rule, span
from tokctl.process.rules.words import spell


class Suspended(Rule):
    """A token is SUSPENDED, and stays so until someone resumes it."""

    name = "SUSPENDED_TOKENS"
    severity = LOW
    meaning = "Tokens are SUSPENDED: nothing moves until someone resumes them."
    thresholds = (span("suspended", timedelta(0), "SUSPENDED for at least this long"),)

    def find(self, case: Case) -> Iterator[Hit]:
        """Look at what is SUSPENDED."""
        limit: timedelta = self.limits["suspended"]
        for visit in case.live:
            if visit.state != SUSPENDED:
                continue
            # When the token was created says nothing of when it was suspended.
            since = visit.entered_at or visit.updated_at
            lasted = max(case.now - since, timedelta(0)) if since is not None else None  # clocks differ
            if lasted is None or lasted >= limit:
                says = "SUSPENDED" + (f" for {spell(lasted)}" if lasted is not None else "")
                yield Hit(visit, says, since, lasted.total_seconds() if lasted is not None else 0.0)
