"""HIGH_RETRY_TOKENS, as documented."""

from __future__ import annotations

from collections.abc import Iterator

from tokctl.process.rules.base import MEDIUM, Case, Hit, Rule, number


class HighRetry(Rule):
    """A token's work was retried more often than its threshold."""

    name = "HIGH_RETRY_TOKENS"
    severity = MEDIUM
    meaning = "The work of tokens was retried too often."
    next = "tokctl tokens show {instance} {token}"
    thresholds = (number("retries", 2, "retried more often than this"),)
    reads_all = True

    def find(self, case: Case) -> Iterator[Hit]:
        """Look at every token: a retry tells of trouble after it is over, too."""
        limit: int = self.limits["retries"]
        for visit in case.visits:
            retries = visit.context.retries_used
            if retries is not None and retries > limit:
                says = f"retried {retries:,} times" + ("" if visit.live else ", over now")
                yield Hit(visit, says, visit.created_at, retries + visit.live / 2, {"retries": retries})
