"""What the live tokens of a Flowable instance wait for: jobs, workers, timers, messages, people, called instances."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from tokctl.engines.flowable.documents import (
    FlowableExecution,
    FlowableJob,
    FlowableRows,
    FlowableSubscription,
    JobQueue,
)
from tokctl.engines.flowable.links import TokenDraft
from tokctl.engines.flowable.visits import FlowableModel, FlowableVisit
from tokctl.model.element_types import CONTAINER_TYPES
from tokctl.model.states import ACTIVE, FAILED, SUSPENDED, WAITING
from tokctl.model.times import format_time, to_utc

TIMER = "trigger-timer"
"""The handler of jobs that are timers; the others among the timer jobs have failed and will be tried again."""
_JOB_ORDER = (JobQueue.DEAD_LETTERS, JobQueue.EXTERNAL, JobQueue.JOBS, JobQueue.SUSPENDED, JobQueue.TIMERS)
"""Of several jobs of one token, that of the first list counts."""
_SUBSCRIPTIONS = ("message", "signal")


class FlowableWork:
    """The executions, jobs, tasks and event subscriptions of one instance."""

    def __init__(self, rows: FlowableRows, model: FlowableModel, *, is_suspended: bool) -> None:
        self.model = model
        self.executions: dict[str, FlowableExecution] = {row.id: row for row in rows.executions}
        self.is_suspended = is_suspended or any(row.suspended for row in rows.executions)
        moved = (job.create_time for job in rows.jobs if job.queue is JobQueue.SUSPENDED)
        self.suspended_at = max((at for time in moved if (at := to_utc(time)) is not None), default=None)
        self.jobs = _group_jobs(rows.jobs)
        self.tasks = {task.id: task for task in (*rows.task_history, *rows.tasks)}
        self._subscriptions = rows.subscriptions

    def find_job(self, visit: FlowableVisit) -> FlowableJob | None:
        """Return the job of the path of execution of a visit."""
        jobs = self.jobs.get(visit.row.execution_id or "", ())
        return next((job for job in jobs if job.element_id in {visit.element_id, None}), None)

    def live_state(self, execution_id: str | None, job: FlowableJob | None, element_type: str | None) -> str:
        """Return the state of a live token."""
        if job is not None and job.queue is JobQueue.DEAD_LETTERS:
            return FAILED
        execution = self.executions.get(execution_id or "")
        suspended = execution.suspended if execution is not None else self.is_suspended
        if suspended or (job is not None and job.queue is JobQueue.SUSPENDED):
            return SUSPENDED
        if job is None:
            return ACTIVE if element_type in CONTAINER_TYPES else WAITING
        is_free = job.queue is JobQueue.EXTERNAL and job.lock_owner is None
        return WAITING if is_free or job.handler_type == TIMER or job.queue is JobQueue.TIMERS else ACTIVE

    def describe(self, draft: TokenDraft, visit: FlowableVisit | None) -> None:
        """Set what a live token waits for, its job, its worker, its error and its task."""
        job, context = draft.job, draft.context
        if job is not None:
            self._describe_job(draft, job)
        if visit is None:
            return
        row = visit.row
        if draft.element_type in CONTAINER_TYPES and not row.called_process_instance_id:
            context["is_scope"] = True
        task = self.tasks.get(row.task_id or "")
        if row.called_process_instance_id:
            context["waiting_for"] = f"call_activity:{row.called_process_instance_id}"
        elif task is not None:
            context["waiting_for"] = f"user_task:{task.id}"
            context |= known_members(owner=task.owner, due_at=format_time(task.due_date))
        subscription = self._find_subscription(visit)
        if subscription is not None:
            context["waiting_for"] = f"{subscription.event_type}:{subscription.event_name or ''}".rstrip(":")

    def _describe_job(self, draft: TokenDraft, job: FlowableJob) -> None:
        is_external = job.queue is JobQueue.EXTERNAL or (job.handler_type or "").startswith("external-worker")
        topic = self.model.topics.get(draft.element_id)
        dead = job.queue is JobQueue.DEAD_LETTERS
        context = draft.context
        context |= known_members(
            job_key=job.id,
            job_type=topic if is_external else job.handler_type,
            worker_id=job.lock_owner,
            retries_left=job.retries,
            error_message=job.exception_message,
            incident_id=job.id if dead else None,
        )
        if job.handler_type == TIMER:
            context |= known_members(waiting_for=None if dead else f"timer:{job.id}", due_at=format_time(job.due_date))
        elif not dead:
            waiting = f"external_task:{topic}" if is_external and topic else f"job:{job.id}"
            context["waiting_for"] = waiting
            if job.lock_owner is not None:
                context |= known_members(timeout_at=format_time(job.lock_expiration_time))
            elif job.exception_message is not None:  # the failed attempt of an external worker, or of the engine
                context |= known_members(retry_at=format_time(job.lock_expiration_time or job.due_date))

    def _find_subscription(self, visit: FlowableVisit) -> FlowableSubscription | None:
        found = (
            one
            for one in self._subscriptions
            if one.execution_id == visit.row.execution_id
            and one.activity_id == visit.element_id
            and one.event_type in _SUBSCRIPTIONS
        )
        return next(found, None)


def _group_jobs(jobs: Sequence[FlowableJob]) -> Mapping[str, Sequence[FlowableJob]]:
    """Return the jobs of each path of execution, in the order in which they count."""
    groups: dict[str, list[FlowableJob]] = defaultdict(list)
    for job in sorted(jobs, key=lambda job: _JOB_ORDER.index(job.queue)):
        if job.execution_id is not None:
            groups[job.execution_id].append(job)
    return groups


def known_members(**members: Any) -> dict[str, Any]:
    """Return the members that are not None."""
    return {name: value for name, value in members.items() if value is not None}
