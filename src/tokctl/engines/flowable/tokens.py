"""Makes tokens of an instance's rows: their states, parents, flow histories, and what live ones wait for.

Flowable tells neither states nor parents. A visit that has ended was completed if a sequence flow left it; otherwise it
was cancelled, which is marked as derived (``cancellation_derived``) unless the history of user tasks tells it. A token
FAILED if its job is a dead letter. Activities that run asynchronously have no visit before they run: their token is
``ELEMENT:JOB``. An armed boundary event is no token.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Raw

from tokctl.bpmn.reconstruction import UNKNOWN_SCOPE, EngineVisit, reconstruct_entries
from tokctl.engines.flowable.documents import (
    SEQUENCE_FLOW,
    FlowableExecution,
    FlowableJob,
    FlowableRows,
    FlowableSubscription,
    FlowableTask,
    JobQueue,
    encode_variables,
)
from tokctl.engines.flowable.visits import SAME_CANCELLATION, FlowableModel, FlowableVisit, TakenFlow, VisitHistory
from tokctl.model.element_types import CONTAINER_TYPES
from tokctl.model.instances import Instance
from tokctl.model.states import ACTIVE, CANCELLED, COMPLETED, FAILED, SUSPENDED, WAITING
from tokctl.model.times import EPOCH, format_time, to_utc
from tokctl.model.tokens import NULL, Token

_TIMER = "trigger-timer"
_JOB_ORDER = (JobQueue.DEAD_LETTERS, JobQueue.EXTERNAL, JobQueue.JOBS, JobQueue.SUSPENDED, JobQueue.TIMERS)
"""Of several jobs of one token, that of the first list counts."""
_ENDS = ("endEvent", "intermediateThrowEvent", "startEvent")
"""Elements that take no time."""
_SUBSCRIPTIONS = ("message", "signal")


def build_tokens(instance: Instance, rows: FlowableRows, model: FlowableModel) -> list[Token]:
    """Return the tokens of an instance, in order of creation."""
    return FlowableTokenBuilder(instance, rows, model).build()


def has_untold_user_tasks(rows: FlowableRows, model: FlowableModel) -> bool:
    """Tell whether the history of user tasks would tell of a visit whether it was completed or cancelled."""
    known = {task.id for task in rows.task_history}
    left_at: dict[str | None, datetime] = {}  # when each path of execution took its last flow
    for row in rows.activities:
        if row.activity_type == SEQUENCE_FLOW:
            left_at[row.execution_id] = max(row.start_time, left_at.get(row.execution_id, row.start_time))
    return any(
        row.task_id not in known
        and (left_at.get(row.execution_id, EPOCH) < row.end_time or row.activity_id in model.multi_instance)
        for row in rows.activities
        if row.task_id is not None and row.end_time is not None
    )


@dataclass(eq=False, slots=True)
class _TokenDraft:
    """A token that is being made. ``visit`` is None if there is only a job."""

    token_id: str
    element_id: str
    element_type: str | None
    name: str | None
    state: str
    created_at: datetime | None
    visit: FlowableVisit | None = None
    entered: TakenFlow | None = None
    ended_at: datetime | None = None
    job: FlowableJob | None = None
    parent: str | None = None
    context: dict[str, Any] = field(default_factory=dict)
    children: list[str] = field(default_factory=list)
    variables: Raw = field(default_factory=lambda: NULL)

    @property
    def execution_id(self) -> str | None:
        """The path of execution."""
        if self.visit is not None:
            return self.visit.row.execution_id
        return None if self.job is None else self.job.execution_id


class FlowableTokenBuilder:
    """The tokens of one instance."""

    def __init__(self, instance: Instance, rows: FlowableRows, model: FlowableModel) -> None:
        self.instance = instance
        self.rows = rows
        self.model = model
        self.history = VisitHistory(rows.activities, model)
        self.executions: dict[str, FlowableExecution] = {row.id: row for row in rows.executions}
        self.is_suspended = instance.status == SUSPENDED or any(row.suspended for row in rows.executions)
        moved = (job.create_time for job in rows.jobs if job.queue is JobQueue.SUSPENDED)
        self.suspended_at = max((at for time in moved if (at := to_utc(time)) is not None), default=None)
        self.jobs = _group_jobs(rows.jobs)
        self.tasks = {task.id: task for task in (*rows.task_history, *rows.tasks)}
        self.open_elements = {visit.element_id for visit in self.history.visits if visit.row.end_time is None}
        self.drafts: dict[str, _TokenDraft] = {}

    def build(self) -> list[Token]:
        """Return the tokens."""
        for visit in self.history.visits:
            draft = self._draft_visit(visit)
            if draft is not None:
                self.drafts[draft.token_id] = draft
        for draft in list(self._draft_jobs()):
            self.drafts[draft.token_id] = draft
        self._set_parents()
        self._link_children()
        self._set_variables()
        drafts = sorted(self.drafts.values(), key=lambda one: (one.created_at is not None, one.created_at or 0))
        return [self._to_token(draft) for draft in drafts]

    # --- tokens of visits ---

    def _draft_visit(self, visit: FlowableVisit) -> _TokenDraft | None:
        row = visit.row
        job = self._find_job(visit)
        created, ended = row.start_time, row.end_time
        if visit.element_type == "boundaryEvent":
            if visit.fired_at is not None:
                created = ended = visit.fired_at
                job = None
            elif job is None or job.queue is not JobQueue.DEAD_LETTERS:
                return None  # armed
            else:
                ended = None
        draft = _TokenDraft(
            token_id=row.id,
            element_id=visit.element_id,
            element_type=visit.element_type,
            name=(visit.element.name if visit.element else None) or row.activity_name,
            state=COMPLETED,
            created_at=created,
            visit=visit,
            entered=visit.entered,
            ended_at=ended,
        )
        if ended is None or (visit.element_type != "boundaryEvent" and self._stays(visit, job)):
            draft.ended_at = None
            draft.job = job
            draft.state = self._live_state(row.execution_id, job, visit.element_type)
            self._describe_wait(draft, visit)
        else:
            self._set_end(draft, visit)
        if row.called_process_instance_id:
            draft.context["called_instance_id"] = row.called_process_instance_id
        if row.assignee:
            draft.context["assignee"] = row.assignee
        return draft

    def _stays(self, visit: FlowableVisit, job: FlowableJob | None) -> bool:
        """Tell whether the token of a visit with an end is still there.

        The visit of a join ends when a token arrives, which then waits. A visit that is left asynchronously has a job.
        """
        execution = self.executions.get(visit.row.execution_id or "")
        if visit.left_by or execution is None or execution.activity_id != visit.element_id:
            return False
        if self.model.is_join(visit):
            return self.history.find_firing(visit) is None  # executions were requested at another moment
        return job is not None and self.history.by_element[visit.element_id][-1] is visit

    def _set_end(self, draft: _TokenDraft, visit: FlowableVisit) -> None:
        """Set whether a visit that has ended was completed or cancelled, and when."""
        task = self.tasks.get(visit.row.task_id or "")
        if task is not None and task.end_time is not None:  # recorded
            draft.state = COMPLETED if task.delete_reason is None else CANCELLED
        elif self._ended_with_instance(visit) or not self.history.was_completed(
            visit, is_open=visit.element_id in self.open_elements
        ):
            draft.state = CANCELLED
            draft.context["cancellation_derived"] = True
        if draft.state == COMPLETED and self.model.is_join(visit):
            firing = self.history.find_firing(visit)
            if firing is not None and firing.fired_at is not None:
                draft.ended_at = firing.fired_at
        elif visit.row.duration_in_millis is not None and visit.element_type != "boundaryEvent":
            draft.context["duration_ms"] = visit.row.duration_in_millis

    def _ended_with_instance(self, visit: FlowableVisit) -> bool:
        """Tell whether a visit that no flow can leave, as an event sub-process, ended as its instance was cancelled."""
        cancelled, ended = to_utc(self.instance.cancelled_at), to_utc(visit.row.end_time)
        if cancelled is None or ended is None or visit.left_by or visit.element_type in _ENDS:
            return False
        return cancelled - ended <= SAME_CANCELLATION

    def _find_job(self, visit: FlowableVisit) -> FlowableJob | None:
        jobs = self.jobs.get(visit.row.execution_id or "", ())
        return next((job for job in jobs if job.element_id in {visit.element_id, None}), None)

    # --- tokens of jobs ---

    def _draft_jobs(self) -> Iterator[_TokenDraft]:
        """Yield the tokens of activities that run asynchronously and have no visit before they run.

        A timer that waits belongs to a token that is there, or to an event sub-process, which has none before it
        starts; a dead letter is an incident in any case.
        """
        shown = {one.job.id for one in self.drafts.values() if one.job is not None}
        for job in (one for several in self.jobs.values() for one in several[:1]):
            if job.id in shown or job.element_id is None:
                continue
            if job.queue is not JobQueue.DEAD_LETTERS and (job.handler_type == _TIMER or self._is_visited(job)):
                continue
            element = self.model.element(job.element_id)
            entered = self.history.take_pending(job.element_id, job.execution_id)
            draft = _TokenDraft(
                token_id=f"{job.element_id}:{job.id}",
                element_id=job.element_id,
                element_type=element.type if element else None,
                name=(element.name if element else None) or job.element_name,
                state=self._live_state(job.execution_id, job, element.type if element else None),
                created_at=entered.at if entered else to_utc(job.create_time),
                entered=entered,
                job=job,
            )
            self._describe_wait(draft, None)
            yield draft

    def _is_visited(self, job: FlowableJob) -> bool:
        """Tell whether the activity of a job has a visit that has not ended."""
        return any(
            visit.row.execution_id == job.execution_id and visit.row.end_time is None
            for visit in self.history.by_element.get(job.element_id or "", ())
        )

    # --- live tokens ---

    def _live_state(self, execution_id: str | None, job: FlowableJob | None, element_type: str | None) -> str:
        if job is not None and job.queue is JobQueue.DEAD_LETTERS:
            return FAILED
        execution = self.executions.get(execution_id or "")
        suspended = execution.suspended if execution is not None else self.is_suspended
        if suspended or (job is not None and job.queue is JobQueue.SUSPENDED):
            return SUSPENDED
        if job is None:
            return ACTIVE if element_type in CONTAINER_TYPES else WAITING
        is_free = job.queue is JobQueue.EXTERNAL and job.lock_owner is None
        return WAITING if is_free or job.handler_type == _TIMER or job.queue is JobQueue.TIMERS else ACTIVE

    def _describe_wait(self, draft: _TokenDraft, visit: FlowableVisit | None) -> None:
        """Set what a live token waits for, its job, its worker, its error and its task."""
        job, context = draft.job, draft.context
        if job is not None:
            self._describe_job(draft, job)
        if visit is None:
            return
        row = visit.row
        task = self.tasks.get(row.task_id or "")
        if row.called_process_instance_id:
            context["waiting_for"] = f"call_activity:{row.called_process_instance_id}"
        elif task is not None:
            context["waiting_for"] = f"user_task:{task.id}"
            context |= _known(owner=task.owner, due_at=format_time(task.due_date))
        subscription = self._find_subscription(visit)
        if subscription is not None:
            context["waiting_for"] = f"{subscription.event_type}:{subscription.event_name or ''}".rstrip(":")

    def _describe_job(self, draft: _TokenDraft, job: FlowableJob) -> None:
        is_external = job.queue is JobQueue.EXTERNAL or (job.handler_type or "").startswith("external-worker")
        topic = self.model.topics.get(draft.element_id)
        dead = job.queue is JobQueue.DEAD_LETTERS
        context = draft.context
        context |= _known(
            job_key=job.id,
            job_type=topic if is_external else job.handler_type,
            worker_id=job.lock_owner,
            retries_left=job.retries,
            error_message=job.exception_message,
            incident_id=job.id if dead else None,
        )
        if job.handler_type == _TIMER:
            context |= _known(waiting_for=None if dead else f"timer:{job.id}", due_at=format_time(job.due_date))
        elif not dead:
            waiting = f"external_task:{topic}" if is_external and topic else f"job:{job.id}"
            context["waiting_for"] = waiting
            if job.lock_owner is not None:
                context |= _known(timeout_at=format_time(job.lock_expiration_time))
            elif job.exception_message is not None:  # the failed attempt of an external worker, or of the engine
                context |= _known(retry_at=format_time(job.lock_expiration_time or job.due_date))

    def _find_subscription(self, visit: FlowableVisit) -> FlowableSubscription | None:
        found = (
            one
            for one in self.rows.subscriptions
            if one.execution_id == visit.row.execution_id
            and one.activity_id == visit.element_id
            and one.event_type in _SUBSCRIPTIONS
        )
        return next(found, None)

    # --- parents ---

    def _set_parents(self) -> None:
        """Set the parent of each token: the visit that its recorded flow left.

        How an element was entered without a recorded flow follows from the model.
        """
        for draft in self.drafts.values():
            if draft.entered is not None and draft.entered.source is not None:
                draft.parent = draft.entered.source.row.id
        flowless = [draft for draft in self.drafts.values() if draft.entered is None]
        if not flowless or self.model.definition is None:
            return
        entries = reconstruct_entries(self._engine_visits(), self.model.graph)
        for draft in flowless:
            entry = entries.get(draft.token_id)
            if entry is not None:
                draft.context["entered_by"] = entry.entered_by.value
                draft.parent = entry.parent

    def _engine_visits(self) -> list[EngineVisit]:
        """Return the tokens as the reconstruction needs them, in the order in which they started."""
        shared: set[str] = set()  # flows that led to a multi-instance activity
        visits = []
        for draft in sorted(
            (one for one in self.drafts.values() if one.created_at is not None), key=lambda one: one.created_at or 0
        ):
            flow = draft.entered.row if draft.entered else None
            is_first = flow is not None and flow.id not in shared
            shared |= {flow.id} if flow is not None else set()
            visits.append(
                EngineVisit(
                    visit_id=draft.token_id,
                    element_id=draft.element_id,
                    scope_id=self._find_scope(draft),
                    started_at=draft.created_at or EPOCH,
                    ended_at=draft.ended_at,
                    cancelled=draft.state == CANCELLED,
                    entered_flows=(flow.activity_id or "",) if flow is not None and is_first else (),
                )
            )
        return visits

    def _find_scope(self, draft: _TokenDraft) -> str | None:
        """Return the sub-process that a token is in: the model has it, and live ones tell which visit of it."""
        element = self.model.element(draft.element_id)
        if element is None or element.parent is None:
            return None
        visits = self.history.by_element.get(element.parent, ())
        execution = self.executions.get(draft.execution_id or "")
        while execution is not None:
            for visit in visits:
                if visit.row.execution_id == execution.parent_id:
                    return visit.row.id
            execution = self.executions.get(execution.parent_id or "")
        return UNKNOWN_SCOPE

    def _link_children(self) -> None:
        """List the children of each token. Of a join, those of the last arrival belong to all arrivals."""
        for draft in self.drafts.values():
            if draft.parent in self.drafts:
                self.drafts[draft.parent].children.append(draft.token_id)
            else:
                draft.parent = None  # an armed boundary event
        for draft in self.drafts.values():
            if draft.visit is not None and draft.state == COMPLETED and self.model.is_join(draft.visit):
                firing = self.history.find_firing(draft.visit)
                if firing is not None and firing is not draft.visit:
                    draft.children = list(self.drafts[firing.row.id].children)

    def _set_variables(self) -> None:
        """Give local variables to the token of their path of execution, if it is the only one of that path.

        Without any variable of the instance it is unknown whether they were recorded.
        """
        local: dict[str | None, list[Any]] = defaultdict(list)
        for row in self.rows.variables:
            if row.task_id is None:
                local[row.execution_id].append(row.variable)
        owners: dict[str | None, list[_TokenDraft]] = defaultdict(list)
        for draft in self.drafts.values() if local else ():
            owners[draft.execution_id].append(draft)
        for execution_id, drafts in owners.items():
            variables = local.get(execution_id, []) if execution_id != self.instance.instance_id else []
            for draft in drafts if len(drafts) == 1 or not variables else ():
                draft.variables = encode_variables(variables)

    # --- the result ---

    def _to_token(self, draft: _TokenDraft) -> Token:
        ended = None if draft.ended_at is None else to_utc(draft.ended_at)
        return Token(
            token_id=draft.token_id,
            element_id=draft.element_id,
            state=draft.state,
            instance_id=self.instance.instance_id,
            process_id=self.instance.process_id,
            element_type=draft.element_type,
            element_name=draft.name,
            created_at=to_utc(draft.created_at),
            updated_at=max(filter(None, self._times(draft)), default=None),
            completed_at=ended if draft.state == COMPLETED else None,
            cancelled_at=ended if draft.state == CANCELLED else None,
            parent_token_id=draft.parent,
            child_tokens=tuple(draft.children),
            flow_history=_encode_hops(draft.entered),
            variables=draft.variables,
            execution_context=Raw(msgspec.json.encode(draft.context)) if draft.context else NULL,
        )

    def _times(self, draft: _TokenDraft) -> Iterator[datetime | None]:
        """Yield the known times of a token: its last change is the latest of them.

        When a token was suspended is known only from jobs, which were moved to another list then.
        """
        if draft.state == SUSPENDED:
            yield self.suspended_at
            return
        yield from (to_utc(draft.created_at), to_utc(draft.ended_at))
        if draft.job is not None:
            yield to_utc(draft.job.create_time)  # when it was put into its list
        task: FlowableTask | None = self.tasks.get((draft.visit.row.task_id if draft.visit else None) or "")
        if task is not None:
            yield from (to_utc(task.create_time), to_utc(task.claim_time))


def _group_jobs(jobs: Sequence[FlowableJob]) -> Mapping[str, Sequence[FlowableJob]]:
    """Return the jobs of each path of execution, in the order in which they count."""
    groups: dict[str, list[FlowableJob]] = defaultdict(list)
    for job in sorted(jobs, key=lambda job: _JOB_ORDER.index(job.queue)):
        if job.execution_id is not None:
            groups[job.execution_id].append(job)
    return groups


def _encode_hops(entered: TakenFlow | None) -> Raw:
    """Return a flow history: the recorded flow, and the element that it left, from the model or the last visit."""
    if entered is None:
        return Raw(b"[]")
    source = entered.flow.source if entered.flow else entered.source.element_id if entered.source else None
    hop = {"from_element": source, "via_flow": entered.row.activity_id, "timestamp": format_time(entered.at)}
    return Raw(msgspec.json.encode([hop]))


def _known(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
