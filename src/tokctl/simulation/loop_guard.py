"""Stops an instance that runs for ever while simulated time does not advance."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from SpiffWorkflow.specs.base import TaskSpec
from SpiffWorkflow.task import Task

from tokctl.errors import InputError
from tokctl.model.definitions import Element

if TYPE_CHECKING:
    from tokctl.simulation.instance_run import InstanceRun

_MAX_ROUNDS = 500


def element_id(spec: TaskSpec) -> str:
    """Return the id of the element of a spec; the name of a spec that is not in the diagram."""
    return str(getattr(spec, "bpmn_id", None) or spec.name)


def last_element_id(task: Task) -> str:
    """Return the id of the element that a task is at, or was at last if its spec is for none."""
    while getattr(task.task_spec, "element", None) is None and task.parent is not None:
        task = task.parent
    element: Element | None = getattr(task.task_spec, "element", None)
    return element_id(task.task_spec) if element is None else element.id


class LoopGuard:
    """Counts how often each element is reached at the same time."""

    def __init__(self, run: InstanceRun) -> None:
        self.run = run
        self._checked_at = run.now
        self._visits: Counter[TaskSpec] = Counter()

    def check(self, task: Task) -> None:
        """Stop a process that loops while the time does not advance."""
        if self._checked_at != self.run.now:
            self._checked_at = self.run.now
            self._visits.clear()
        self._visits[task.task_spec] += 1
        if self._visits[task.task_spec] % _MAX_ROUNDS:
            return
        rounds, above = 0, task.parent
        while above is not None:
            token = self.run.recorder.find_token(above)
            if token is not None and token.created_at < self.run.now:
                break
            rounds += above.task_spec is task.task_spec
            above = above.parent
        # Many visits may also be the instances of a multi-instance activity, which are not a loop.
        if rounds >= _MAX_ROUNDS // 2:
            raise InputError(
                f"{self.run.source}: '{last_element_id(task)}' is in an endless loop:"
                f" simulated time did not advance in {rounds} rounds."
            )
        limit = self.run.simulation.limits.steps + _MAX_ROUNDS
        if self._visits[task.task_spec] > limit:
            raise InputError(
                f"{self.run.source}: '{last_element_id(task)}' was reached more than {limit:,} times while"
                " simulated time did not advance.",
                "Let its tasks take time, or raise the limit with --max-steps.",
            )
