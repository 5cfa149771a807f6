"""Listens to the tasks of a running SpiffWorkflow workflow.

SpiffWorkflow reports changes of tasks in two ways, and neither reports all of them. Its log (``spiff.task`` at INFO)
depends on the logging configuration of the program, which must not be changed. A spec's events belong to every workflow
that shares the spec, and do not report a task that starts to wait, is merged into a join, or is dropped with its
parent.

All changes go through three methods of ``Task`` and ``Workflow``. While there are listeners, these methods are wrapped,
and each change is reported to the listeners of its workflow; when the last one is removed, the methods are restored.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any, Protocol
from uuid import UUID

from SpiffWorkflow.task import Task
from SpiffWorkflow.util.task import TaskState
from SpiffWorkflow.workflow import Workflow


class TaskListener(Protocol):
    """Receives changes of the tasks of one workflow, including its sub-processes and call activities."""

    def task_state_changed(self, task: Task, previous: int) -> None:
        """Handle a change of a task's state (``TaskState``) from ``previous``."""

    def task_removed(self, task: Task) -> None:
        """Handle a task that is about to be dropped from its workflow."""


_lock = Lock()
_listeners: dict[int, tuple[TaskListener, ...]] = {}
_originals: dict[tuple[type, str], Callable[..., Any]] = {}


def add_listener(workflow: Workflow, listener: TaskListener) -> None:
    """Report all further changes to the listener; it and the workflow are referenced until ``remove_listener``."""
    with _lock:
        if not _listeners:
            _wrap(Task, "_set_state", _set_state)
            _wrap(Task, "_child_added_notify", _child_added_notify)
            _wrap(Workflow, "_remove_task", _remove_task)
        _listeners[id(workflow)] = (*_listeners.get(id(workflow), ()), listener)


def remove_listener(workflow: Workflow, listener: TaskListener) -> None:
    """Stop reporting to a listener. Does nothing if it is not registered."""
    with _lock:
        rest = tuple(other for other in _listeners.pop(id(workflow), ()) if other is not listener)
        if rest:
            _listeners[id(workflow)] = rest
        if not _listeners:
            for (owner, name), original in _originals.items():
                setattr(owner, name, original)


def _wrap(owner: type, name: str, wrapper: Callable[..., Any]) -> None:
    _originals[owner, name] = getattr(owner, name)
    setattr(owner, name, wrapper)


def _get_listeners(workflow: Workflow) -> tuple[TaskListener, ...]:
    return _listeners.get(id(getattr(workflow, "top_workflow", workflow)), ())


def _set_state(task: Task, value: int) -> None:
    previous = task.state
    _originals[Task, "_set_state"](task, value)
    if value != previous:
        for listener in _get_listeners(task.workflow):
            listener.task_state_changed(task, previous)


def _child_added_notify(task: Task, child: Task) -> None:
    _originals[Task, "_child_added_notify"](task, child)
    # The instances of a multi-instance activity are created WAITING, without a change of state.
    if child.state >= TaskState.WAITING:
        for listener in _get_listeners(task.workflow):
            listener.task_state_changed(child, TaskState.FUTURE)


def _remove_task(workflow: Workflow, task_id: UUID) -> None:
    for listener in _get_listeners(workflow):
        listener.task_removed(workflow.tasks[task_id])
    _originals[Workflow, "_remove_task"](workflow, task_id)
