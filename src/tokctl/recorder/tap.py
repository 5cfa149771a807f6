"""Listens to the tasks of a running SpiffWorkflow workflow.

SpiffWorkflow offers two ways to hear of a task's changes, and neither tells all of them. Its log
(``spiff.task`` at INFO) is silent whenever the program turns logging down or configures it anew,
and turning it up would disturb the program's own. A spec's events belong to every workflow that
shares the spec, and say nothing of a task that begins to wait, of one that is merged into a join
or of one that is dropped with its parent.

All changes go through three methods of ``Task`` and ``Workflow``. While anyone listens, those are
wrapped, and a change is told to those who listen to that very workflow; the last one to leave puts
the methods back.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any, Protocol
from uuid import UUID

from SpiffWorkflow.task import Task
from SpiffWorkflow.util.task import TaskState
from SpiffWorkflow.workflow import Workflow


class Listener(Protocol):
    """Hears of the tasks of one workflow, its sub-processes and call activities included."""

    def task_moved(self, task: Task, previous: int) -> None:
        """Hear that a task has changed its state (``TaskState``) from ``previous``."""

    def task_removed(self, task: Task) -> None:
        """Hear that a task is about to be dropped from its workflow."""


_lock = Lock()
_listeners: dict[int, tuple[Listener, ...]] = {}
_originals: dict[tuple[type, str], Callable[..., Any]] = {}


def listen(workflow: Workflow, listener: Listener) -> None:
    """Tell the listener of all changes from now on; it and the workflow are kept until ``leave``."""
    with _lock:
        if not _listeners:
            _wrap(Task, "_set_state", _set_state)
            _wrap(Task, "_child_added_notify", _child_added_notify)
            _wrap(Workflow, "_remove_task", _remove_task)
        _listeners[id(workflow)] = (*_listeners.get(id(workflow), ()), listener)


def leave(workflow: Workflow, listener: Listener) -> None:
    """Tell the listener no more. Does nothing for one that does not listen."""
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


def _heard(workflow: Workflow) -> tuple[Listener, ...]:
    return _listeners.get(id(getattr(workflow, "top_workflow", workflow)), ())


def _set_state(task: Task, value: int) -> None:
    previous = task.state
    _originals[Task, "_set_state"](task, value)
    if value != previous:
        for listener in _heard(task.workflow):
            listener.task_moved(task, previous)


def _child_added_notify(task: Task, child: Task) -> None:
    _originals[Task, "_child_added_notify"](task, child)
    # The instances of a multi-instance activity are born waiting: no change of state tells of it.
    if child.state >= TaskState.WAITING:
        for listener in _heard(task.workflow):
            listener.task_moved(child, TaskState.FUTURE)


def _remove_task(workflow: Workflow, task_id: UUID) -> None:
    for listener in _heard(workflow):
        listener.task_removed(workflow.tasks[task_id])
    _originals[Workflow, "_remove_task"](workflow, task_id)
