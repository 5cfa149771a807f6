"""Records the tokens of any SpiffWorkflow ``BpmnWorkflow`` as it runs.

::

    with SpiffRecorder(workflow, sink, instance_id="order-17") as recorder:
        workflow.do_engine_steps()
        recorder.flush()

The workflow may belong to any program, with its own parser, script engine and driver. Rules:

- A token is one visit of one element by one SpiffWorkflow task. Predicted tasks and tasks that are not in the diagram
are not tokens. A task that is reset starts a new visit: a new token. Exception: a failed task is retried with the same
token, and ``retries_used`` increases.
- READY and STARTED are ACTIVE; a task that waits for an event, a time or other branches is WAITING; ERROR
  is FAILED. A boundary event becomes a token when it fires, as a child of its activity.
- The parent is the token that the sequence flow came from, whose element the hop in the flow
  history names. Inside a sub-process or a call activity, the first element's parent is the
  activity's token; so is that of each instance of a multi-instance or loop activity, which itself
  has one token for all of them. A called process records into the same instance.
- Each arrival at a join is a token. Those that arrive early wait, and are COMPLETED when the last
  one fires; the next token has the last one as its parent, and is a child of all.

This module requires the ``spiff`` extra; it is imported on first use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Self
from uuid import UUID

from tokctl.errors import UsageError

try:
    from SpiffWorkflow.bpmn.workflow import BpmnWorkflow
    from SpiffWorkflow.task import Task
    from SpiffWorkflow.util.task import TaskState
except ImportError as error:
    raise UsageError(
        "This command requires SpiffWorkflow, which is not installed.", "Install it: pip install 'tokctl[spiff]'."
    ) from error

from tokctl.model.definitions import Definition
from tokctl.model.instances import Instance
from tokctl.model.states import ACTIVE, CANCELLED, COMPLETED, FAILED, SUSPENDED, TRANSITIONS
from tokctl.recorder import task_events as tap
from tokctl.recorder.ids import encode_variables, make_instance_id
from tokctl.recorder.lifecycle import Clock, Lifecycle, RecordedToken, Sink
from tokctl.recorder.spiff_model import SpiffModel
from tokctl.recorder.spiff_visits import TOKEN_STATES, VisitRecorder, is_unvisited


def utc_now() -> datetime:
    """Return the current time: the default clock of a recorder."""
    return datetime.now(UTC)


class SpiffRecorder:
    """Writes the tokens of one running workflow to a sink.

    ``instance_id`` defaults to an id derived from the workflow's own, so that a workflow restored from its
    serialization is recorded as the same instance, with the same token ids. ``definitions`` are the processes that the
    workflow runs (``bpmn.parser`` reads them); without them, the files that its specs name are read if they exist. Flow
    ids and conditions come from there, and are unknown otherwise. ``clock`` tells the time of each change, and
    ``new_token_id`` gives the id of a task's visit (counted from 0).
    """

    def __init__(
        self,
        workflow: BpmnWorkflow,
        sink: Sink,
        *,
        instance_id: str | None = None,
        definitions: Iterable[Definition] | SpiffModel | None = None,
        clock: Clock = utc_now,
        new_token_id: Callable[[UUID, int], str] | None = None,
    ) -> None:
        self.workflow = workflow
        self.sink = sink
        self.instance_id = instance_id or make_instance_id(workflow.task_tree.id.hex)
        self.model = (
            definitions if isinstance(definitions, SpiffModel) else SpiffModel.from_workflow(workflow, definitions)
        )
        self.lifecycle = Lifecycle(self.instance_id, clock)
        self.suspended = False
        self._states_before_suspension: dict[str, str] = {}
        self._visits = VisitRecorder(workflow, self.model, self.lifecycle, new_token_id)
        self._started_at: datetime | None = None
        self._definitions_written = isinstance(definitions, SpiffModel)

    # --- attaching ------------------------------------------------------------------------------

    def attach(self) -> Self:
        """Start recording: first the elements already reached, then each change."""
        self._started_at = self.lifecycle.clock()
        self._visits.record_existing_tasks()
        tap.add_listener(self.workflow, self)
        return self

    def detach(self) -> None:
        """Stop recording and restore the workflow and SpiffWorkflow."""
        tap.remove_listener(self.workflow, self)

    def __enter__(self) -> Self:
        return self.attach()

    def __exit__(self, *exception: object) -> None:
        """Detach and flush, even if the workflow ended with an error."""
        self.detach()
        self.flush()

    def flush(self) -> None:
        """Write the instance to the sink, with the tokens that are new or changed since the last call."""
        if self.workflow.completed and not self.workflow.success:  # a cancelled instance leaves no incident
            for token in self.lifecycle:
                if token.state == FAILED:
                    self.lifecycle.change_state(token, CANCELLED)
        for workflow in (self.workflow, *self.workflow.subprocesses.values()):
            for task_id, task in workflow.tasks.items():
                if (live := self._visits.tokens.get(task_id)) is not None and live.live:
                    self.lifecycle.set_variables(live, self._visits.read_variables(task), updates_time=True)
        if not self._definitions_written:
            for definition in self.model.definitions:
                self.sink.put_definition(definition)
            self._definitions_written = True
        self.sink.put(self._instance(), self.lifecycle.drain())

    # --- for users of the recorder ---------------------------------------------------------

    def find_token(self, task: Task) -> RecordedToken | None:
        """Return the token of a task's current visit; None if it has none."""
        return self._visits.tokens.get(task.id)

    def find_task(self, task_id: UUID) -> Task | None:
        """Return a task of the workflow, of its sub-processes or of called processes."""
        return self._visits.find_task(task_id)

    def annotate(self, task: Task, **fields: Any) -> None:
        """Write fields (job_key, worker_id, retries_left …) into a task's execution context."""
        token = self._visits.tokens.get(task.id)
        if token is not None:
            self.lifecycle.annotate(token, fields)

    def suspend(self) -> None:
        """Set every active or waiting token to SUSPENDED, as when an operator suspends the instance."""
        self.suspended = True
        for token in self.lifecycle:
            if SUSPENDED in TRANSITIONS[token.state]:
                self._states_before_suspension[token.token_id] = token.state
                self.lifecycle.change_state(token, SUSPENDED)

    def resume(self) -> None:
        """Set every suspended token back to its state before."""
        self.suspended = False
        for token in self.lifecycle:
            if token.state == SUSPENDED:
                self.lifecycle.change_state(token, self._states_before_suspension.pop(token.token_id, ACTIVE))

    # --- callbacks of the workflow ------------------------------------------------------------------

    def task_state_changed(self, task: Task, _previous: int) -> None:
        """Record a task's change of state."""
        if getattr(task.task_spec, "bpmn_id", None) is None:
            return
        state = TOKEN_STATES.get(task.state)
        token = self._visits.tokens.get(task.id)
        if state is None:  # predicted, or reset to be visited again
            if token is None or token.state != FAILED:  # which is retried with the same token
                self._visits.end(task)
            return
        if state == CANCELLED and (token is None or not token.live) and self._visits.has_ended(task):
            return  # what dropped the task has ended its visit
        if token is not None and not token.live:
            self._visits.end(task)
            token = None
        if token is None and not is_unvisited(task):
            token = self._visits.begin(task)
        if token is not None:
            self._visits.apply_task_state(task, token, state)

    def task_removed(self, task: Task) -> None:
        """Cancel the visit of a dropped task, and the visits that it started."""
        if task.id in self._visits.tokens:
            self._visits.end(task)

    def _instance(self) -> Instance:
        workflow, now = self.workflow, self.lifecycle.clock()
        tokens = list(self.lifecycle)
        updated = max((token.updated_at for token in tokens), default=now)
        started = min((token.created_at for token in tokens), default=self._started_at)
        status = ACTIVE
        if workflow.completed or self._has_ended():
            status = COMPLETED if workflow.success else CANCELLED
        elif self.suspended:
            status = SUSPENDED
        last = workflow.last_task
        return Instance(
            instance_id=self.instance_id,
            process_id=self.model.process_id(workflow.spec),
            version=1,
            status=status,
            started_at=started,
            updated_at=updated,
            completed_at=updated if status == COMPLETED else None,
            cancelled_at=updated if status == CANCELLED else None,
            variables=encode_variables(workflow.data if last is None else last.data),
        )

    def _has_ended(self) -> bool:
        """Tell whether all tokens have ended, as in a process without an end event; an incident is not an end."""
        ended = TaskState.COMPLETED | TaskState.CANCELLED
        return all(task.has_state(ended) for task in self.workflow.tasks.values())
