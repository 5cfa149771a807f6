"""Converts SpiffWorkflow tasks to tokens: start and end of a visit, its parent, and its arrival at a join.

The rules are in ``spiff``, which also attaches to a workflow and writes to a sink.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

from SpiffWorkflow.bpmn.specs.mixins.events.intermediate_event import BoundaryEvent
from SpiffWorkflow.bpmn.specs.mixins.multiinstance_task import LoopTask
from SpiffWorkflow.bpmn.specs.mixins.unstructured_join import UnstructuredJoin
from SpiffWorkflow.bpmn.workflow import BpmnWorkflow
from SpiffWorkflow.exceptions import TaskNotFoundException
from SpiffWorkflow.task import Task
from SpiffWorkflow.util.task import TaskState

from tokctl.model.states import ACTIVE, CANCELLED, COMPLETED, FAILED, FINAL_STATES, TRANSITIONS, WAITING
from tokctl.model.tokens import FlowHop
from tokctl.recorder.ids import encode_variables, make_token_id
from tokctl.recorder.lifecycle import Lifecycle, RecordedToken
from tokctl.recorder.spiff_model import SpiffModel

TOKEN_STATES = {
    TaskState.WAITING: WAITING,
    TaskState.READY: ACTIVE,
    TaskState.STARTED: ACTIVE,
    TaskState.COMPLETED: COMPLETED,
    TaskState.ERROR: FAILED,
    TaskState.CANCELLED: CANCELLED,
}
FIRED_STATES = TaskState.READY | TaskState.STARTED | TaskState.COMPLETED


class VisitRecorder:
    """Has the token of each task's current visit, and moves it through its lifecycle.

    ``new_token_id`` returns the id of a task's visit, counted from 0; None derives it from the
    instance and the task, so that a restored workflow gets the same ids.
    """

    def __init__(
        self,
        workflow: BpmnWorkflow,
        model: SpiffModel,
        lifecycle: Lifecycle,
        new_token_id: Callable[[UUID, int], str] | None,
    ) -> None:
        self.workflow = workflow
        self.model = model
        self.lifecycle = lifecycle
        self.tokens: dict[UUID, RecordedToken] = {}
        self._new_token_id = new_token_id or self._derived_token_id
        self._visits: dict[UUID, int] = {}
        self._failures: dict[UUID, int] = {}
        self._merging: dict[tuple[int, str], list[RecordedToken]] = {}  # early arrivals by join
        self._merged: dict[str, list[RecordedToken]] = {}  # the same by the token that fired

    def find_task(self, task_id: UUID) -> Task | None:
        """Return a task of the workflow, of its sub-processes or of called processes."""
        try:
            return self.workflow.get_task_from_id(task_id)
        except TaskNotFoundException:
            return None

    # --- visits -----------------------------------------------------------------------------------

    def begin(self, task: Task, at: datetime | None = None) -> RecordedToken:
        """Create the token of a visit that begins now or began at ``at``."""
        spec = task.task_spec
        parent = self._parent(task)
        element = self.model.element(spec)
        visit = self._visits.get(task.id, 0)
        token = self.lifecycle.create(
            self._new_token_id(task.id, visit),
            element.id,
            element.type,
            element_name=element.name,
            parent=parent,
            via=None if parent is None else self._build_hop(task, parent),
            variables=self.read_variables(task),
            at=at,
        )
        self.tokens[task.id] = token
        if parent is not None:
            for early in self._merged.get(parent.token_id, ()):
                self.lifecycle.add_join_child(early, token)
        if isinstance(spec, LoopTask):
            token.context["multi_instance"] = self.model.loop_kind(spec)
        if task.id in self._failures:
            token.context["retries_used"] = self._failures[task.id]
        return token

    def has_ended(self, task: Task) -> bool:
        """Tell whether a visit of a task has ended, and no other has begun."""
        token = self.tokens.get(task.id)
        return task.id in self._visits if token is None else not token.live

    def end(self, task: Task) -> None:
        """Drop a task's token; if it is live, cancel it and all live tokens that came from it."""
        token = self.tokens.pop(task.id, None)
        if token is None:
            return
        self._visits[task.id] = self._visits.get(task.id, 0) + 1
        left = [token]
        while left:
            one = left.pop()
            left.extend(one.children)
            if one.live:
                self.lifecycle.change_state(one, CANCELLED)

    def apply_task_state(self, task: Task, token: RecordedToken, state: str, at: datetime | None = None) -> None:
        """Move a token to the state of its task; at a join, end the tokens that arrived early."""
        joins = isinstance(task.task_spec, UnstructuredJoin)
        if joins:
            place = (id(task.workflow), task.task_spec.name)
            if state == CANCELLED and _is_merged(task):
                self._merging.setdefault(place, []).append(token)
                return
            if state in {ACTIVE, COMPLETED, CANCELLED}:
                self._end_early_arrivals(place, token, state, at)
        if state == token.state:
            return
        if token.state == FAILED:
            self.lifecycle.annotate(token, {"retries_used": self._failures.get(task.id), "error_message": None}, at=at)
        if state in {*FINAL_STATES, FAILED}:
            self.lifecycle.set_variables(token, self.read_variables(task))
            self._describe_end(task, token, state, past=at is not None)
        self._change_state(token, state, at)

    def _change_state(self, token: RecordedToken, state: str, at: datetime | None = None) -> None:
        """Move a token, through ACTIVE where the lifecycle has no shorter way."""
        if state not in TRANSITIONS[token.state]:
            self.lifecycle.change_state(token, ACTIVE, at=at)
        self.lifecycle.change_state(token, state, at=at)

    def _end_early_arrivals(
        self, place: tuple[int, str], token: RecordedToken, state: str, at: datetime | None = None
    ) -> None:
        """End the tokens that arrived early at a join, now that it fires or is cancelled."""
        early = self._merging.pop(place, ())
        for other in early:
            self._change_state(other, CANCELLED if state == CANCELLED else COMPLETED, at)
        if early and state != CANCELLED:
            self._merged.setdefault(token.token_id, []).extend(early)

    def _describe_end(self, task: Task, token: RecordedToken, state: str, *, past: bool) -> None:
        if state == COMPLETED:
            decision = self.model.decision(task)
            if decision is not None:
                if not past:
                    took = self.lifecycle.clock() - token.updated_at
                    decision["evaluation_time_ms"] = round(took.total_seconds() * 1000, 3)
                token.context["gateway_decision"] = decision
        elif state == FAILED:
            self._failures[task.id] = self._failures.get(task.id, 0) + 1
            if (error := sys.exc_info()[1]) is not None and not past:
                token.context.setdefault("error_message", str(error))

    # --- relations ----------------------------------------------------------------------------------

    def _parent(self, task: Task) -> RecordedToken | None:
        """Return the token that this task's flow came from, or the activity that contains it.

        A spec with ``is_detour`` is skipped: an element that has no sequence flows, such as a compensation handler.
        """
        if isinstance(task.task_spec, BoundaryEvent) and task.parent is not None:
            for sibling in task.parent.children:
                if not isinstance(sibling.task_spec, BoundaryEvent) and sibling.id in self.tokens:
                    return self.tokens[sibling.id]
        current = task
        while True:
            above = current.parent
            while above is not None and getattr(above.task_spec, "is_detour", False):
                above = above.parent
            if above is None:
                owner = current.workflow.parent_task_id
                above = None if owner is None else self.find_task(owner)
            if above is None:
                return None
            token = self.tokens.get(above.id)
            if token is None and getattr(above.task_spec, "bpmn_id", None) is not None:
                # Elements in an activity are reached before the activity itself has started, and a cycle timer still
                # waits when the elements after it start.
                token = self.begin(above)
                if above.state == TaskState.WAITING:
                    self.lifecycle.change_state(token, WAITING)
            if token is not None:
                return token
            current = above

    def _build_hop(self, task: Task, parent: RecordedToken) -> FlowHop | None:
        """Return the hop from the parent; None if there is no flow, as into an activity."""
        spec = task.task_spec
        if isinstance(spec, BoundaryEvent):
            return FlowHop(from_element=parent.element_id)
        above = task.parent
        if above is None or above.parent is None:  # no parent element: the top of a process or sub-process
            return None
        if isinstance(above.task_spec, BoundaryEvent) and above.task_spec.bpmn_id is None:  # an event sub-process
            return None
        if isinstance(above.task_spec, LoopTask) and above.task_spec.task_spec == spec.name:
            return None
        return FlowHop(from_element=parent.element_id, via_flow=self.model.flow(task, parent.element_id))

    # --- visits before the recorder was attached ----------------------------------------------------------------------

    def record_existing_tasks(self) -> None:
        """Record the visits before the recorder was attached, with the times that the workflow has of them."""
        cancelled_joins: list[Task] = []
        for task in self.workflow.get_tasks():
            state = TOKEN_STATES.get(task.state)
            if state is None or getattr(task.task_spec, "bpmn_id", None) is None:
                continue
            if task.state == TaskState.CANCELLED and isinstance(task.task_spec, UnstructuredJoin):
                cancelled_joins.append(task)
            elif not is_unvisited(task):
                self._record_visit(task, state)
        for task in cancelled_joins:
            self._record_early_arrival(task)

    def _record_visit(self, task: Task, state: str) -> RecordedToken:
        left = _changed_at(task)
        reached = left if task.parent is None else min(left, _changed_at(task.parent))
        token = self.tokens.get(task.id) or self.begin(task, at=reached)
        self.apply_task_state(task, token, state, at=left)
        return token

    def _record_early_arrival(self, task: Task) -> None:
        """Record a join's cancelled arrival: merged, if a later one of the same join was not cancelled."""
        later = [
            other
            for other in task.workflow.tasks.values()
            if other.task_spec is task.task_spec
            and other.state != TaskState.CANCELLED
            and other.id in self.tokens
            and other.last_state_change >= task.last_state_change
        ]
        if not _reached(task):
            return
        if not later:
            self._record_visit(task, CANCELLED)
            return
        last = min(later, key=lambda other: other.last_state_change)
        early, into = self._record_visit(task, WAITING), self.tokens[last.id]
        place = (id(task.workflow), task.task_spec.name)
        self._merging.setdefault(place, []).append(early)
        if last.state != TaskState.WAITING:
            self._end_early_arrivals(place, into, into.state, at=_changed_at(last))
            for child in into.children:
                self.lifecycle.add_join_child(early, child)

    def read_variables(self, task: Task) -> bytes:
        """Return a task's data as JSON."""
        data = task.data
        if not data and task.parent is not None:  # a join takes over its data only when it fires
            data = task.parent.data
        return bytes(encode_variables(data))

    def _derived_token_id(self, task_id: UUID, visit: int) -> str:
        return make_token_id(f"{self.lifecycle.instance_id}/{task_id.hex}/{visit}")


def _reached(task: Task) -> bool:
    """Tell whether a task's predecessor is completed, so that the task itself has been reached."""
    return task.parent is not None and task.parent.state == TaskState.COMPLETED


def is_unvisited(task: Task) -> bool:
    """Tell a task that was never reached: cancelled before, or a boundary event that has not fired."""
    if isinstance(task.task_spec, BoundaryEvent):
        return not task.has_state(FIRED_STATES)
    return task.state == TaskState.CANCELLED and not _reached(task)


def _changed_at(task: Task) -> datetime:
    """Return when a task last changed its state, by the clock of the machine that ran it."""
    return datetime.fromtimestamp(task.last_state_change, UTC)


def _is_merged(task: Task) -> bool:
    """Tell whether a cancelled join task gave way to another arrival, rather than being cancelled.

    SpiffWorkflow lets only the last arrival wait and cancels the one before. Then that last one has
    been reached (its predecessor is completed) and is not finished; when a process or sub-process is
    cancelled, there is none such.
    """
    return any(
        other is not task
        and other.task_spec is task.task_spec
        and other.has_state(TaskState.NOT_FINISHED_MASK)
        and _reached(other)
        for other in reversed(task.workflow.tasks.values())  # it is one of the last
    )
