"""Makes tokens of an instance's rows.

Flowable tells no states. A visit that has ended was completed if a sequence flow left it; otherwise it
was cancelled, which is marked as derived (``cancellation_derived``) unless the history of user tasks tells it. A token
FAILED if its job is a dead letter. Activities that run asynchronously have no visit before they run: their token is
``ELEMENT:JOB``. An armed boundary event is no token.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Raw

from tokctl.bpmn.entries import encode_flow_history
from tokctl.engines.flowable.documents import (
    SEQUENCE_FLOW,
    FlowableJob,
    FlowableRows,
    FlowableTask,
    JobQueue,
    encode_variables,
)
from tokctl.engines.flowable.links import TokenDraft, link_drafts
from tokctl.engines.flowable.visits import SAME_CANCELLATION, FlowableModel, FlowableVisit, VisitHistory
from tokctl.engines.flowable.waits import TIMER, FlowableWork
from tokctl.model.durations import compute_duration
from tokctl.model.instances import Instance
from tokctl.model.states import CANCELLED, COMPLETED, SUSPENDED
from tokctl.model.times import EPOCH, to_utc
from tokctl.model.tokens import NULL, Token

_ENDS = ("endEvent", "intermediateThrowEvent", "startEvent")
"""Elements that take no time."""


def build_tokens(instance: Instance, rows: FlowableRows, model: FlowableModel) -> list[Token]:
    """Return the tokens of an instance, in order of creation.

    Their links are set in ``links``, what live ones wait for in ``waits``.
    """
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


def needs_executions(rows: FlowableRows, model: FlowableModel) -> bool:
    """Tell whether the tokens of an instance may depend on its paths of execution, besides on activities and jobs.

    They tell which visits with an end still have their token (at a join, or left asynchronously), and which visit of a
    sub-process a token is in. An unknown model may have all of that.
    """
    if model.definition is None:
        return True
    elements, joins = model.graph.elements, model.graph.joins
    working = {(job.execution_id, job.element_id) for job in rows.jobs}
    arrived: dict[str, datetime] = {}
    left: dict[str, datetime] = {}
    for row in rows.activities:
        key = row.activity_id or ""
        if row.activity_type == SEQUENCE_FLOW:
            flow = model.graph.flows.get(key)
            if flow is not None and flow.source in joins:
                left[flow.source] = max(row.start_time, left.get(flow.source, row.start_time))
            continue
        left_asynchronously = row.end_time is not None and (row.execution_id, key) in working
        if left_asynchronously or key not in elements or elements[key].parent is not None:
            return True
        if key in joins:
            arrived[key] = max(row.start_time, arrived.get(key, row.start_time))
    return any(key not in left or left[key] <= at for key, at in arrived.items())


class FlowableTokenBuilder:
    """The tokens of one instance."""

    def __init__(self, instance: Instance, rows: FlowableRows, model: FlowableModel) -> None:
        self.instance = instance
        self.rows = rows
        self.model = model
        self.history = VisitHistory(rows.activities, model)
        self.work = FlowableWork(rows, model, is_suspended=instance.status == SUSPENDED)
        self.open_elements = {visit.element_id for visit in self.history.visits if visit.row.end_time is None}
        self.drafts: dict[str, TokenDraft] = {}

    def build(self) -> list[Token]:
        """Return the tokens."""
        for visit in self.history.visits:
            draft = self._draft_visit(visit)
            if draft is not None:
                self.drafts[draft.token_id] = draft
        for draft in list(self._draft_jobs()):
            self.drafts[draft.token_id] = draft
        link_drafts(self.drafts, self.history, self.work.executions)
        self._set_variables()
        drafts = sorted(self.drafts.values(), key=lambda one: (one.created_at is not None, one.created_at or 0))
        return [self._to_token(draft) for draft in drafts]

    def durations(self) -> Iterator[tuple[str, float]]:
        """Yield the element and the duration (ms) of each visit that was completed; nothing else is built."""
        for draft in filter(None, map(self._draft_visit, self.history.visits)):
            took = compute_duration(draft.context.get("duration_ms"), to_utc(draft.created_at), to_utc(draft.ended_at))
            if draft.state == COMPLETED and took is not None:
                yield draft.element_id, took.ms

    # --- tokens of visits ---

    def _draft_visit(self, visit: FlowableVisit) -> TokenDraft | None:
        row = visit.row
        job = self.work.find_job(visit)
        created, ended = row.start_time, row.end_time
        if visit.element_type == "boundaryEvent":
            if visit.fired_at is not None:
                created = ended = visit.fired_at
                job = None
            elif job is None or job.queue is not JobQueue.DEAD_LETTERS:
                return None  # armed
            else:
                ended = None
        draft = TokenDraft(
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
            draft.state = self.work.live_state(row.execution_id, job, visit.element_type)
            self.work.describe(draft, visit)
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
        execution = self.work.executions.get(visit.row.execution_id or "")
        if visit.left_by or execution is None or execution.activity_id != visit.element_id:
            return False
        if self.model.is_join(visit):
            return self.history.find_firing(visit) is None  # executions were requested at another moment
        return job is not None and self.history.by_element[visit.element_id][-1] is visit

    def _set_end(self, draft: TokenDraft, visit: FlowableVisit) -> None:
        """Set whether a visit that has ended was completed or cancelled, and when."""
        task = self.work.tasks.get(visit.row.task_id or "")
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

    # --- tokens of jobs ---

    def _draft_jobs(self) -> Iterator[TokenDraft]:
        """Yield the tokens of activities that run asynchronously and have no visit before they run.

        A timer that waits belongs to a token that is there, or to an event sub-process, which has none before it
        starts; a dead letter is an incident in any case.
        """
        shown = {one.job.id for one in self.drafts.values() if one.job is not None}
        for job in (one for several in self.work.jobs.values() for one in several[:1]):
            if job.id in shown or job.element_id is None:
                continue
            if job.queue is not JobQueue.DEAD_LETTERS and (job.handler_type == TIMER or self._is_visited(job)):
                continue
            element = self.model.element(job.element_id)
            entered = self.history.take_pending(job.element_id, job.execution_id)
            draft = TokenDraft(
                token_id=f"{job.element_id}:{job.id}",
                element_id=job.element_id,
                element_type=element.type if element else None,
                name=(element.name if element else None) or job.element_name,
                state=self.work.live_state(job.execution_id, job, element.type if element else None),
                created_at=entered.at if entered else to_utc(job.create_time),
                entered=entered,
                job=job,
            )
            self.work.describe(draft, None)
            yield draft

    def _is_visited(self, job: FlowableJob) -> bool:
        """Tell whether the activity of a job has a visit that has not ended."""
        return any(
            visit.row.execution_id == job.execution_id and visit.row.end_time is None
            for visit in self.history.by_element.get(job.element_id or "", ())
        )

    def _set_variables(self) -> None:
        """Give local variables to the token of their path of execution, if it is the only one of that path.

        Without any variable of the instance it is unknown whether they were recorded.
        """
        local: dict[str | None, list[Any]] = defaultdict(list)
        for row in self.rows.variables:
            if row.task_id is None:
                local[row.execution_id].append(row.variable)
        owners: dict[str | None, list[TokenDraft]] = defaultdict(list)
        for draft in self.drafts.values() if local else ():
            owners[draft.execution_id].append(draft)
        for execution_id, drafts in owners.items():
            variables = local.get(execution_id, []) if execution_id != self.instance.instance_id else []
            for draft in drafts if len(drafts) == 1 or not variables else ():
                draft.variables = encode_variables(variables)

    # --- the result ---

    def _to_token(self, draft: TokenDraft) -> Token:
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
            flow_history=encode_flow_history(draft.hops),
            variables=draft.variables,
            execution_context=Raw(msgspec.json.encode(draft.context)) if draft.context else NULL,
        )

    def _times(self, draft: TokenDraft) -> Iterator[datetime | None]:
        """Yield the known times of a token: its last change is the latest of them.

        When a token was suspended is known only from jobs, which were moved to another list then.
        """
        if draft.state == SUSPENDED:
            yield self.work.suspended_at
            return
        yield from (to_utc(draft.created_at), to_utc(draft.ended_at))
        if draft.job is not None:
            yield to_utc(draft.job.create_time)  # when it was put into its list
        task: FlowableTask | None = self.work.tasks.get((draft.visit.row.task_id if draft.visit else None) or "")
        if task is not None:
            yield from (to_utc(task.create_time), to_utc(task.claim_time))
