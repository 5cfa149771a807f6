"""Records the tokens of any SpiffWorkflow ``BpmnWorkflow`` as it runs.

::

    with SpiffRecorder(workflow, sink, instance_id="order-17") as recorder:
        workflow.do_engine_steps()
        recorder.flush()

The workflow may be of any program: its parser, its script engine and the way it drives its tasks
are its own. What is a token, and how tokens hang together:

- A token is one visit of one element by one SpiffWorkflow task. Predicted tasks and tasks that
  stand on no diagram are none. A task that is reset begins a new visit: a new token, with one more
  ``retries_used`` if the visit before it had failed.
- READY and STARTED are ACTIVE; what waits for an event, a time or other branches is WAITING; ERROR
  is FAILED. A boundary event becomes a token when it fires, as a child of its activity.
- The parent is the token that the sequence flow came from, whose element the hop in the flow
  history names. Inside a sub-process or a call activity, the first element's parent is the
  activity's token; so is that of each instance of a multi-instance or loop activity, which itself
  has one token for all of them. A called process records into the same instance.
- Each arrival at a join is a token. Those that arrive early wait, and are COMPLETED when the last
  one fires; what follows has the last one as its parent, and stands among the children of all.

This module needs the ``spiff`` extra; nothing imports it until it is used.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from tokctl.errors import UsageError

try:
    from SpiffWorkflow.bpmn.specs.mixins.events.intermediate_event import BoundaryEvent
    from SpiffWorkflow.bpmn.specs.mixins.multiinstance_task import LoopTask
    from SpiffWorkflow.bpmn.specs.mixins.unstructured_join import UnstructuredJoin
    from SpiffWorkflow.bpmn.workflow import BpmnWorkflow
    from SpiffWorkflow.task import Task
    from SpiffWorkflow.util.task import TaskState
except ImportError as error:
    raise UsageError(
        "This needs SpiffWorkflow, which is not installed.", "Install it: pip install 'tokctl[spiff]'."
    ) from error

from tokctl.process.model import (
    ACTIVE,
    CANCELLED,
    COMPLETED,
    FAILED,
    FINAL_STATES,
    SUSPENDED,
    TRANSITIONS,
    WAITING,
    Definition,
    FlowHop,
    Instance,
)
from tokctl.recorder import tap
from tokctl.recorder.base import Sink
from tokctl.recorder.lifecycle import Clock, Lifecycle, RecordedToken
from tokctl.recorder.names import instance_name, json_object, token_name
from tokctl.recorder.spiffmodel import Model
from tokctl.recorder.spifftasks import STATES, changed_at, is_merged, is_root, reached, unvisited


def utc_now() -> datetime:
    """Return the present time: the clock of a recorder that is given none."""
    return datetime.now(UTC)


class SpiffRecorder:
    """Writes the tokens of one running workflow to a sink.

    ``instance_id`` defaults to an id derived from the workflow's own, so that a workflow restored
    from its serialization is recorded as the same instance, with the same token ids.
    ``definitions`` are the processes that the workflow runs (``process.bpmn`` reads them); without
    them the files that its specs name are read where they are to be found. Flow ids and conditions
    come from there, and are unknown otherwise. ``clock`` tells the time of each change, and
    ``new_token_id`` gives the id of a task's visit (counted from 0).
    """

    def __init__(
        self,
        workflow: BpmnWorkflow,
        sink: Sink,
        *,
        instance_id: str | None = None,
        definitions: Iterable[Definition] | Model | None = None,
        clock: Clock = utc_now,
        new_token_id: Callable[[UUID, int], str] | None = None,
    ) -> None:
        self.workflow = workflow
        self.sink = sink
        self.instance_id = instance_id or instance_name(workflow.task_tree.id.hex)
        self.model = definitions if isinstance(definitions, Model) else Model.of_workflow(workflow, definitions)
        self.lifecycle = Lifecycle(self.instance_id, clock)
        self.suspended = False
        self._before: dict[str, str] = {}
        self._new_token_id = new_token_id or self._derived_token_id
        self._tokens: dict[UUID, RecordedToken] = {}
        self._visits: dict[UUID, int] = {}
        self._failures: dict[UUID, int] = {}
        self._merging: dict[tuple[int, str], list[RecordedToken]] = {}
        self._merged: dict[str, list[RecordedToken]] = {}
        self._started_at: datetime | None = None
        self._definitions_written = isinstance(definitions, Model)

    # --- attaching ------------------------------------------------------------------------------

    def attach(self) -> Self:
        """Begin to record: first what the workflow has already reached, then each change."""
        self._started_at = self.lifecycle.clock()
        self._record_present()
        tap.listen(self.workflow, self)
        return self

    def detach(self) -> None:
        """Stop recording and leave the workflow, and SpiffWorkflow, as they were."""
        tap.leave(self.workflow, self)

    def __enter__(self) -> Self:
        return self.attach()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Detach and flush, also when the workflow ended in an error."""
        self.detach()
        self.flush()

    def flush(self) -> None:
        """Hand the instance to the sink, with the tokens that are new or changed since last time."""
        for task_id, token in self._tokens.items():
            if token.live and (task := self.find(task_id)) is not None:
                self.lifecycle.set_variables(token, self._variables(task), timed=True)
        if not self._definitions_written:
            for definition in self.model.definitions:
                self.sink.put_definition(definition)
            self._definitions_written = True
        self.sink.put(self._instance(), self.lifecycle.drain())

    # --- what the recorder's user may add ---------------------------------------------------------

    def token_of(self, task: Task) -> RecordedToken | None:
        """Return the token of a task's present visit, or None where it has none."""
        return self._tokens.get(task.id)

    def find(self, task_id: UUID) -> Task | None:
        """Return a task of the workflow, of its sub-processes or of what it calls."""
        task = self.workflow.tasks.get(task_id)
        if task is None:
            for inner in self.workflow.subprocesses.values():
                if task_id in inner.tasks:
                    return inner.tasks[task_id]
        return task

    def annotate(self, task: Task, **fields: Any) -> None:
        """Write fields (job_key, worker_id, retries_left …) into a task's execution context."""
        token = self._tokens.get(task.id)
        if token is not None:
            self.lifecycle.annotate(token, fields)

    def suspend(self) -> None:
        """Move every live token to SUSPENDED, as when an operator suspends the instance."""
        self.suspended = True
        for token in self.lifecycle:
            if token.live and token.state != SUSPENDED:
                self._before[token.token_id] = token.state
                self.lifecycle.move(token, SUSPENDED)

    def resume(self) -> None:
        """Move every suspended token back to the state that it was in."""
        self.suspended = False
        for token in self.lifecycle:
            if token.state == SUSPENDED:
                self.lifecycle.move(token, self._before.pop(token.token_id, ACTIVE))

    # --- what the workflow tells ------------------------------------------------------------------

    def task_moved(self, task: Task, _previous: int) -> None:
        """Follow a task's change of state."""
        if getattr(task.task_spec, "bpmn_id", None) is None:
            return
        state = STATES.get(task.state)
        token = self._tokens.get(task.id)
        if state is None:  # predicted, or reset to be visited again
            self._end_visit(task)
            return
        if token is not None and not token.live:
            self._end_visit(task)
            token = None
        if token is None and not unvisited(task):
            token = self._begin_visit(task)
        if token is not None:
            self._follow(task, token, state)

    def task_removed(self, task: Task) -> None:
        """Cancel the visit of a task that is dropped, and what it had begun."""
        if task.id in self._tokens:
            self._end_visit(task)

    # --- visits -----------------------------------------------------------------------------------

    def _begin_visit(self, task: Task, at: datetime | None = None) -> RecordedToken:
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
            via=None if parent is None else self._hop(task, parent),
            variables=self._variables(task),
            at=at,
        )
        self._tokens[task.id] = token
        if parent is not None:
            for early in self._merged.get(parent.token_id, ()):
                self.lifecycle.link(early, token)
        if isinstance(spec, LoopTask):
            token.context["multi_instance"] = self.model.loop_kind(spec)
        if task.id in self._failures:
            token.context["retries_used"] = self._failures[task.id]
        return token

    def _end_visit(self, task: Task) -> None:
        """Let go of a task's token; if it is live, it and all live ones that came of it are cancelled."""
        token = self._tokens.pop(task.id, None)
        if token is None:
            return
        self._visits[task.id] = self._visits.get(task.id, 0) + 1
        left = [token]
        while left:
            one = left.pop()
            left.extend(one.children)
            if one.live:
                self.lifecycle.move(one, CANCELLED)

    def _follow(self, task: Task, token: RecordedToken, state: str, at: datetime | None = None) -> None:
        joins = isinstance(task.task_spec, UnstructuredJoin)
        if joins:
            place = (id(task.workflow), task.task_spec.name)
            if state == CANCELLED and is_merged(task):
                self._merging.setdefault(place, []).append(token)
                return
            if state in {ACTIVE, COMPLETED, CANCELLED}:
                self._settle(place, token, state, at)
        if state == token.state:
            return
        if state in FINAL_STATES:
            self.lifecycle.set_variables(token, self._variables(task))
            self._describe_end(task, token, state, past=at is not None)
        self._move(token, state, at)

    def _move(self, token: RecordedToken, state: str, at: datetime | None = None) -> None:
        """Move a token, through ACTIVE where the lifecycle has no shorter way."""
        if state not in TRANSITIONS[token.state]:
            self.lifecycle.move(token, ACTIVE, at=at)
        self.lifecycle.move(token, state, at=at)

    def _settle(self, place: tuple[int, str], token: RecordedToken, state: str, at: datetime | None = None) -> None:
        """End the tokens that arrived early at a join, now that it fires or is cancelled."""
        early = self._merging.pop(place, ())
        for other in early:
            self._move(other, CANCELLED if state == CANCELLED else COMPLETED, at)
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
        """Return the token that this task's flow came from, or the activity that it lies in."""
        if isinstance(task.task_spec, BoundaryEvent) and task.parent is not None:
            for sibling in task.parent.children:
                if not isinstance(sibling.task_spec, BoundaryEvent) and sibling.id in self._tokens:
                    return self._tokens[sibling.id]
        current = task
        while True:
            above = current.parent
            if above is None:
                owner = current.workflow.parent_task_id
                above = None if owner is None else self.find(owner)
            if above is None:
                return None
            token = self._tokens.get(above.id)
            if token is None and getattr(above.task_spec, "bpmn_id", None) is not None:
                # What lies in an activity is reached before the activity itself says that it has
                # started; and a cycle timer goes on waiting while what it has set off begins.
                token = self._begin_visit(above)
                if above.state == TaskState.WAITING:
                    self.lifecycle.move(token, WAITING)
            if token is not None:
                return token
            current = above

    def _hop(self, task: Task, parent: RecordedToken) -> FlowHop | None:
        """Return the way from the parent here; None where no flow leads, into an activity's inside."""
        spec = task.task_spec
        if isinstance(spec, BoundaryEvent):
            return FlowHop(from_element=parent.element_id)
        if is_root(task.parent) or (
            isinstance(task.parent.task_spec, LoopTask) and task.parent.task_spec.task_spec == spec.name
        ):
            return None
        return FlowHop(from_element=parent.element_id, via_flow=self.model.flow(task, parent.element_id))

    # --- the rest -----------------------------------------------------------------------------------

    def _record_present(self) -> None:
        """Record what a workflow has reached before: visits with the times that it kept of them."""
        given_way: list[Task] = []
        for task in self.workflow.get_tasks():
            state = STATES.get(task.state)
            if state is None or getattr(task.task_spec, "bpmn_id", None) is None:
                continue
            if task.state == TaskState.CANCELLED and isinstance(task.task_spec, UnstructuredJoin):
                given_way.append(task)
            elif not unvisited(task):
                self._record_visit(task, state)
        for task in given_way:
            self._record_early_arrival(task)

    def _record_visit(self, task: Task, state: str) -> RecordedToken:
        left = changed_at(task)
        reached = left if task.parent is None else min(left, changed_at(task.parent))
        token = self._tokens.get(task.id) or self._begin_visit(task, at=reached)
        self._follow(task, token, state, at=left)
        return token

    def _record_early_arrival(self, task: Task) -> None:
        """Record a join's cancelled arrival: merged, if a later one of the same join was not cancelled."""
        later = [
            other
            for other in task.workflow.tasks.values()
            if other.task_spec is task.task_spec
            and other.state != TaskState.CANCELLED
            and other.id in self._tokens
            and other.last_state_change >= task.last_state_change
        ]
        if not reached(task):
            return
        if not later:
            self._record_visit(task, CANCELLED)
            return
        last = min(later, key=lambda other: other.last_state_change)
        early, into = self._record_visit(task, WAITING), self._tokens[last.id]
        place = (id(task.workflow), task.task_spec.name)
        self._merging.setdefault(place, []).append(early)
        if last.state != TaskState.WAITING:
            self._settle(place, into, into.state, at=changed_at(last))
            for child in into.children:
                self.lifecycle.link(early, child)

    def _instance(self) -> Instance:
        workflow, now = self.workflow, self.lifecycle.clock()
        tokens = list(self.lifecycle)
        updated = max((token.updated_at for token in tokens), default=now)
        started = min((token.created_at for token in tokens), default=self._started_at)
        status = ACTIVE
        if workflow.completed or self._at_rest():
            status = COMPLETED if workflow.success else CANCELLED
        elif self.suspended:
            status = SUSPENDED
        last = workflow.last_task
        return Instance(
            instance_id=self.instance_id,
            process_id=workflow.spec.name,
            version=1,
            status=status,
            started_at=started,
            updated_at=updated,
            completed_at=updated if status == COMPLETED else None,
            cancelled_at=updated if status == CANCELLED else None,
            variables=json_object(workflow.data if last is None else last.data),
        )

    def _at_rest(self) -> bool:
        """Tell whether all has ended, as in a process without an end event; an incident is no end."""
        ended = TaskState.COMPLETED | TaskState.CANCELLED
        return all(task.has_state(ended) for task in self.workflow.tasks.values())

    def _variables(self, task: Task) -> bytes:
        data = task.data
        if not data and task.parent is not None:  # a join takes over its data only when it fires
            data = task.parent.data
        return bytes(json_object(data))

    def _derived_token_id(self, task_id: UUID, visit: int) -> str:
        return token_name(f"{self.instance_id}/{task_id.hex}/{visit}")
