"""FAILED_TOKENS."""

from __future__ import annotations

from collections.abc import Iterator

from tokctl.process.model import FAILED
from tokctl.process.rules.base import HIGH, Case, Hit, Rule
from tokctl.process.rules.words import ago


class Failed(Rule):
    """A token is FAILED: an incident that no retry will mend."""

    name = "FAILED_TOKENS"
    severity = HIGH
    meaning = "Tokens are FAILED: nothing will try them again by itself."
    reads_all = True
    stuck = True

    def find(self, case: Case) -> Iterator[Hit]:
        """Look at every token."""
        for visit in case.visits if FAILED in case.states else ():
            if visit.state == FAILED:
                since = visit.finished_at or visit.created_at
                lasted = case.now - since if since is not None else None
                says = f"FAILED{ago(lasted)}"
                if retries := visit.context.retries_used:
                    says += f" after {retries:,} {'retry' if retries == 1 else 'retries'}"
                yield Hit(visit, says, since, lasted.total_seconds() if lasted is not None else 0.0,
                          {"retries": retries} if retries else {})  # fmt: skip
