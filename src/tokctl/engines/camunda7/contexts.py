"""Execution contexts of tokens: jobs, external tasks, user tasks, events, incidents, and attempts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from tokctl.engines.camunda7.documents import to_time
from tokctl.engines.camunda7.work import InstanceRows, TokenWork
from tokctl.model.states import FAILED
from tokctl.model.times import format_time


class ContextBuilder:
    """Builds the execution contexts of the tokens of one instance."""

    def __init__(self, rows: InstanceRows) -> None:
        self._rows = rows
        self.logged = _latest_log_times(rows)
        """When the log last tells of each job and external task."""
        self.failures = Counter(one.job_id for one in rows.job_log or () if one.failure_log)
        """The number of failed attempts by job, external task and activity instance."""
        self.failures += Counter(
            key
            for one in rows.external_task_log or ()
            if one.failure_log
            for key in (one.external_task_id, one.activity_instance_id)
        )

    def build(self, work: TokenWork, state: str) -> dict[str, Any]:
        """Return the members of a token's execution context, in Python; None for unknown ones."""
        context: dict[str, Any] = {}
        if work.job is not None:
            context |= self._job_context(work)
        if work.external_task is not None:
            context |= self._external_task_context(work, state)
        if work.user_task is not None:
            task = work.user_task
            context |= {"waiting_for": f"user_task:{task.id}", "assignee": task.assignee}
            context["due_at"] = format_time(to_time(task.due))
        context |= _event_context(work)
        if work.incident is not None:
            incident = work.incident
            context |= {"incident_id": incident.id, "incident_type": incident.incident_type}
            context["error_message"] = incident.incident_message or context.get("error_message")
            context["annotation"] = incident.annotation
            if incident.is_repeated:
                context["root_cause_incident_id"] = incident.root_cause_incident_id
            if incident.failed_activity_id != incident.activity_id:
                context["failed_element_id"] = incident.failed_activity_id
            since = format_time(to_time(incident.incident_timestamp))
            context["state_history"] = [{"state": FAILED, "at": since}] if since else None
        return context

    def _job_context(self, work: TokenWork) -> dict[str, Any]:
        job = work.job
        assert job is not None  # noqa: S101 - the caller has checked it
        due = format_time(to_time(job.due_date))
        waits = f"timer:{job.id}" if work.is_timer else f"job:{job.id}"
        failed = job.exception_message is not None
        is_retry = failed and not work.is_timer
        return {
            "job_key": job.id,
            "retries_left": job.retries,
            **self._attempts(job.id, failed=failed, log=self._rows.job_log),
            "error_message": job.exception_message,
            "waiting_for": waits,
            "retry_at": due if is_retry and job.retries else None,  # without retries it keeps its last due date
            "due_at": None if is_retry else due,
        }

    def _external_task_context(self, work: TokenWork, state: str) -> dict[str, Any]:
        task = work.external_task
        assert task is not None  # noqa: S101 - the caller has checked it
        until = format_time(to_time(task.lock_expiration_time))
        failed = task.error_message is not None
        return {
            "job_key": task.id,
            "job_type": task.topic_name,
            "worker_id": task.worker_id,
            "retries_left": task.retries,
            **self._attempts(task.id, failed=failed, log=self._rows.external_task_log),
            "error_message": task.error_message,
            "waiting_for": f"external_task:{task.topic_name}",
            "timeout_at": None if failed else until,
            "retry_at": until if failed and state != FAILED else None,
        }

    def _attempts(self, subject: str, *, failed: bool, log: Sequence[Any] | None) -> dict[str, int | None]:
        """Return the number of failed attempts; None if that is unknown: below level full the log is empty.

        The engine counts the first attempt among the retries: three retries are three attempts.
        """
        failures = self.failures.get(subject, 0)
        known = failures if failures or (log is not None and not failed) else None
        return {"retries_used": known, "failed_attempts": known or None}


def _event_context(work: TokenWork) -> dict[str, Any]:
    """Return the events that a token waits for; ``waits_for`` has all of them, if there are several."""
    events = [f"{one.event_type}:{one.event_name or one.activity_id}" for one in work.subscriptions]
    if not events:
        return {}
    if work.job is not None and work.is_timer:
        events.append(f"timer:{work.job.id}")
    return {"waiting_for": events[0]} if len(events) == 1 else {"waiting_for": None, "waits_for": events}


def _latest_log_times(rows: InstanceRows) -> dict[str | None, datetime]:
    """Return when the log last tells of each job and external task."""
    latest: dict[str | None, datetime] = {}
    for subject, text in _iter_log_entries(rows):
        time = to_time(text)
        if time is not None and (subject not in latest or time > latest[subject]):
            latest[subject] = time
    return latest


def _iter_log_entries(rows: InstanceRows) -> Iterator[tuple[str | None, str | None]]:
    yield from ((one.job_id, one.timestamp) for one in rows.job_log or ())
    yield from ((one.external_task_id, one.timestamp) for one in rows.external_task_log or ())
