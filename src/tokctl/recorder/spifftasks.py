"""What a single SpiffWorkflow task tells of the visit that it is."""

from __future__ import annotations

from datetime import UTC, datetime

from SpiffWorkflow.bpmn.specs.mixins.events.intermediate_event import BoundaryEvent
from SpiffWorkflow.task import Task
from SpiffWorkflow.util.task import TaskState

from tokctl.process.model import ACTIVE, CANCELLED, COMPLETED, FAILED, WAITING

STATES = {
    TaskState.WAITING: WAITING,
    TaskState.READY: ACTIVE,
    TaskState.STARTED: ACTIVE,
    TaskState.COMPLETED: COMPLETED,
    TaskState.ERROR: FAILED,
    TaskState.CANCELLED: CANCELLED,
}
FIRED = TaskState.READY | TaskState.STARTED | TaskState.COMPLETED


def reached(task: Task) -> bool:
    """Tell whether a task's predecessor is completed, so that the task itself has been reached."""
    return task.parent is not None and task.parent.state == TaskState.COMPLETED


def unvisited(task: Task) -> bool:
    """Tell a task that was never reached: cancelled before, or a boundary event that has not fired."""
    if isinstance(task.task_spec, BoundaryEvent):
        return not task.has_state(FIRED)
    return task.state == TaskState.CANCELLED and not reached(task)


def changed_at(task: Task) -> datetime:
    """Return when a task last changed its state, by the clock of the machine that ran it."""
    return datetime.fromtimestamp(task.last_state_change, UTC)


def is_root(task: Task | None) -> bool:
    """Tell whether a task stands at the top of a process or sub-process: no element is above it."""
    return task is None or task.parent is None


def is_merged(task: Task) -> bool:
    """Tell whether a cancelled join task gave way to another arrival, rather than being cancelled.

    SpiffWorkflow lets only the last arrival wait and cancels the one before. Then that last one has
    been reached (its predecessor is completed) and is not finished; when a process or sub-process is
    cancelled, there is none such.
    """
    return any(
        other is not task
        and other.task_spec is task.task_spec
        and other.has_state(TaskState.NOT_FINISHED_MASK)
        and reached(other)
        for other in task.workflow.tasks.values()
    )
