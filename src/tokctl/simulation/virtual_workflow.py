"""SpiffWorkflow on a virtual clock: workflows that neither use the system time nor evaluate text of the model."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from SpiffWorkflow.bpmn.specs.bpmn_process_spec import BpmnProcessSpec
from SpiffWorkflow.bpmn.specs.defaults import CallActivity
from SpiffWorkflow.bpmn.util.subworkflow import BpmnSubWorkflow
from SpiffWorkflow.bpmn.workflow import BpmnWorkflow
from SpiffWorkflow.task import Task
from SpiffWorkflow.util.task import TaskState

from tokctl.errors import InputError
from tokctl.simulation.engine_specs import Interpreter, JoiningInclusiveGateway, ProcessEnd

_SCOPES_IN_A_CALL = 10


class _TaskListsMixin:
    """A workflow that has lists of its waiting and of all its live tasks, so that it does not search all tasks.

    ``waiting_joins`` are the waiting tasks that fire when no other token can reach them.
    """

    def list_waiting(self, task: Task) -> None:
        """Add a task that has begun to wait."""
        self.waiting[task.id] = task
        if isinstance(task.task_spec, (JoiningInclusiveGateway, ProcessEnd)):
            self.waiting_joins[task.id] = task

    def unlist_waiting(self, task: Task) -> None:
        """Remove a task that does not wait any more."""
        self.waiting.pop(task.id, None)
        self.waiting_joins.pop(task.id, None)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.waiting: dict[UUID, Task] = {}
        self.live: dict[UUID, Task] = {}
        self.waiting_joins: dict[UUID, Task] = {}
        super().__init__(*args, **kwargs)

    def update_waiting_tasks(self) -> None:
        """Update the waiting tasks after another task was completed."""
        for task in reversed(list(self.waiting.values())):  # a join goes on with its last token
            if task.state == TaskState.WAITING:
                task.task_spec._update(task)  # noqa: SLF001 - as the method does that this replaces

    def settle_joins(self) -> None:
        """Let joins fire that no other token can reach; no task may be about to run."""
        for task in reversed(list(self.waiting_joins.values())):
            if task.state == TaskState.WAITING:
                task.task_spec.settle(task)
                if task.state != TaskState.WAITING:  # it may have been the last one that another waits for
                    return


class VirtualSubWorkflow(_TaskListsMixin, BpmnSubWorkflow):  # type: ignore[misc]
    """A sub-process or a called process; its clock is that of the workflow that it runs in."""


class VirtualWorkflow(_TaskListsMixin, BpmnWorkflow):  # type: ignore[misc]
    """A workflow with a virtual clock: ``now`` is the current time of its timers.

    ``interpreter`` makes all its decisions. Calls that are nested more than ``max_call_depth`` deep raise InputError.
    """

    def __init__(
        self,
        spec: BpmnProcessSpec,
        specs: dict[str, BpmnProcessSpec],
        interpreter: Interpreter,
        now: datetime,
        max_call_depth: int,
    ) -> None:
        self.now = now
        self.interpreter = interpreter
        self.max_call_depth = max_call_depth
        self._activities: dict[UUID, Task] = {}  # those that contain a workflow
        super().__init__(spec, specs)

    def create_subprocess(self, my_task: Task, spec_name: str) -> VirtualSubWorkflow:
        """Create the workflow that runs inside a task."""
        if isinstance(my_task.task_spec, CallActivity):
            self._check_call_depth(my_task)
        limit = _SCOPES_IN_A_CALL * self.max_call_depth
        if my_task.workflow.depth >= limit:
            raise InputError(
                f"{my_task.workflow.spec.file}: '{my_task.task_spec.bpmn_id}': sub-processes and calls are nested more"
                f" than {limit:,} deep."
            )
        self._activities[my_task.id] = my_task
        inner = VirtualSubWorkflow(self.subprocess_specs[spec_name], parent_task_id=my_task.id, top_workflow=self)
        self.subprocesses[my_task.id] = inner
        return inner

    def get_task_from_id(self, task_id: UUID) -> Task:
        """Return a task of this workflow or one in it; SpiffWorkflow searches all of them for the activities."""
        activity = self._activities.get(task_id)
        if activity is not None and task_id in activity.workflow.tasks:
            return activity
        return super().get_task_from_id(task_id)

    def _check_call_depth(self, call: Task) -> None:
        calls = [call]
        workflow = call.workflow
        while workflow.parent_task_id is not None:
            task = self.get_task_from_id(workflow.parent_task_id)
            if isinstance(task.task_spec, CallActivity):
                calls.append(task)
            workflow = task.workflow
        if len(calls) > self.max_call_depth:
            chain = [part for one in reversed(calls) for part in _describe_call(one)]
            raise InputError(
                f"{call.workflow.spec.file}: calls are nested more than {self.max_call_depth} deep:"
                f" {' → '.join(chain[:6])} → …",
                "Let the recursion end by a condition, or raise the limit with --max-call-depth.",
            )


def _describe_call(call: Task) -> tuple[str, str]:
    return f"process '{call.workflow.spec.description}'", f"call activity '{call.task_spec.bpmn_id}'"
