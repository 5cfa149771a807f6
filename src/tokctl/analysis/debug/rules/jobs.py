"""Rules on jobs: RETRIES_EXHAUSTED, HIGH_RETRY_TOKENS and TIMED_OUT_TOKENS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tokctl.analysis.debug.rules.base import HIGH, MEDIUM, Rule, RuleContext, RuleMatch, integer_threshold
from tokctl.model.durations import format_timedelta
from tokctl.model.times import format_time
from tokctl.model.visits import Visit


class RetriesExhausted(Rule):
    """A live token has failed before and has no retry left.

    The first attempt of a job that has no retries is not a problem.
    """

    name = "RETRIES_EXHAUSTED"
    severity = HIGH
    meaning = "Live tokens that failed before and have no retries left."
    finds_stuck = True

    def find(self, context: RuleContext) -> Iterator[RuleMatch]:
        """Check the tokens that can move: those that have failed for good are incidents already."""
        for visit in context.moving:
            left = visit.context.retries_left
            if left is not None and left <= 0 and (used := visit.context.retries_used) is not None and used > 0:
                since = visit.updated_at or visit.created_at
                details = {"retries": used, "retries_left": left}
                yield RuleMatch(visit, _describe_exhausted, since, used, details)


def _describe_exhausted(visit: Visit) -> str:
    return f"no retry left after {visit.context.retries_used:,}"


class HighRetry(Rule):
    """A token was retried more often than the threshold (documented)."""

    name = "HIGH_RETRY_TOKENS"
    severity = MEDIUM
    meaning = "Tokens with too many retries."
    next = "tokctl tokens show {instance} {token}"
    thresholds = (integer_threshold("retries", 2, "retried more often than this"),)
    needs_finished = True

    def find(self, context: RuleContext) -> Iterator[RuleMatch]:
        """Check all tokens, finished ones included: their retries show a problem, too."""
        limit: int = self.limits["retries"]
        for visit in context.visits:
            retries = visit.context.retries_used
            if retries is not None and retries > limit:
                yield RuleMatch(visit, _describe_retries, visit.created_at, retries + visit.live / 2, _get_retries)


def _describe_retries(visit: Visit) -> str:
    return f"retried {visit.context.retries_used:,} times" + ("" if visit.live else ", ended")


def _get_retries(visit: Visit) -> dict[str, Any]:
    return {"retries": visit.context.retries_used}


class TimedOut(Rule):
    """The timeout of a live token has passed: the check of the documented monitor."""

    name = "TIMED_OUT_TOKENS"
    severity = HIGH
    meaning = "Tokens past their timeout."
    finds_stuck = True

    def find(self, context: RuleContext) -> Iterator[RuleMatch]:
        """Check the live tokens with a timeout."""
        now = context.now

        def describe(visit: Visit) -> str:
            return f"timed out {format_timedelta(now - (visit.context.timeout_at or now))} ago"

        def get_timeout(visit: Visit) -> dict[str, Any]:
            due = visit.context.timeout_at or now
            return {"timeout_at": format_time(due), "overdue_ms": (now - due).total_seconds() * 1000}

        for visit in context.moving:
            due = visit.context.timeout_at
            if due is not None and due < now:
                yield RuleMatch(visit, describe, due, details=get_timeout)
