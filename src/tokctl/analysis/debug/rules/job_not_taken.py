"""The rule JOB_NOT_TAKEN: jobs that no worker takes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from tokctl.analysis.debug.rules.base import HIGH, Rule, RuleContext, RuleMatch, duration_threshold
from tokctl.model.durations import format_timedelta
from tokctl.model.visits import Visit, waits_for_job


class JobNotTaken(Rule):
    """A token waits for a job, and no worker has taken it for longer than the threshold."""

    name = "JOB_NOT_TAKEN"
    severity = HIGH
    meaning = "Tokens whose job no worker has taken."
    thresholds = (duration_threshold("job_not_taken", timedelta(minutes=5), "without a worker for longer than this"),)
    finds_stuck = True

    def find(self, context: RuleContext) -> Iterator[RuleMatch]:
        """Check the tokens that wait for a job; one that waits for its next attempt has been taken before."""
        now, latest = context.now, context.before(self.limits["job_not_taken"])

        def describe(visit: Visit) -> str:
            named = f"of type {visit.context.job_type} " if visit.context.job_type else ""
            return f"job {named}not taken for {format_timedelta(now - (visit.created_at or now))}"

        def get_minutes(visit: Visit) -> dict[str, Any]:
            return {"waitingTime": round((now - (visit.created_at or now)).total_seconds() / 60)}

        for visit in context.moving:
            job = visit.context
            if job.worker_id is not None or not waits_for_job(visit, without_retries=True):
                continue
            if (job.retry_at is None or job.retry_at <= now) and visit.created_at and visit.created_at < latest:
                yield RuleMatch(visit, describe, visit.created_at, details=get_minutes)
