"""STUCK_GATEWAY_TOKENS, as documented."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from tokctl.process.model import WAITING, type_matches
from tokctl.process.rules.base import HIGH, Case, Hit, Rule, span
from tokctl.process.rules.words import minutes, stays


class StuckGateway(Rule):
    """A token has been WAITING at a gateway for longer than its threshold."""

    name = "STUCK_GATEWAY_TOKENS"
    severity = HIGH
    meaning = "Tokens have been WAITING at a gateway for too long."
    thresholds = (span("stuck_gateway", timedelta(minutes=5), "WAITING at a gateway for longer than this"),)
    stuck = True

    def find(self, case: Case) -> Iterator[Hit]:
        """Look at what is WAITING."""
        limit: timedelta = self.limits["stuck_gateway"]
        for visit in case.live:
            if visit.state != WAITING or visit.element_type is None or not type_matches(visit.element_type, "gateway"):
                continue
            if (age := case.age(visit)) is not None and age > limit:
                yield Hit(visit, stays(visit, age), visit.created_at, age.total_seconds(),
                          {"waitingTime": minutes(age)})  # fmt: skip
