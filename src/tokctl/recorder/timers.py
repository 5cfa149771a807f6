"""Timers that compare with a workflow's virtual ``now`` instead of asking for the time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from SpiffWorkflow.bpmn.specs.event_definitions.multiple import MultipleEventDefinition
from SpiffWorkflow.bpmn.specs.event_definitions.timer import (
    CycleTimerEventDefinition,
    DurationTimerEventDefinition,
    TimerEventDefinition,
)
from SpiffWorkflow.bpmn.specs.mixins.events.event_types import CatchingEvent
from SpiffWorkflow.task import Task

from tokctl.errors import InputError


class DueTimer(DurationTimerEventDefinition):  # type: ignore[misc]
    """Fires at a date, or when a duration has passed since it was reached."""

    def due(self, task: Task) -> datetime:
        """Return when it fires, worked out once for each visit."""
        key = f"due:{self.name}"
        known = task.internal_data.get(key)
        if known is None:
            known = task.internal_data[key] = _reading(task, self.expression, _due_at)
        return known  # type: ignore[no-any-return]

    def has_fired(self, task: Task) -> bool:
        """Tell whether its time has come."""
        if self.due(task) <= now_of(task):
            task.internal_data["event_fired"] = True
        return bool(task.internal_data.get("event_fired", False))

    def reset(self, task: Task) -> None:
        """Forget the time: the next visit begins anew."""
        task.internal_data.pop(f"due:{self.name}", None)
        super().reset(task)


class CycleTimer(CycleTimerEventDefinition):  # type: ignore[misc]
    """Fires again and again: ``R3/PT10M``, or ``R/2025-01-01T00:00:00Z/PT1H`` with its start."""

    def due(self, task: Task) -> datetime:
        """Return when it fires next; when it has fired for the last time, that is now."""
        state = self._state(task)
        return state["next"] if state["cycles"] != 0 else now_of(task)

    def cycle_complete(self, task: Task) -> bool:
        """Tell whether its time has come, and move on to the next one."""
        state = self._state(task)
        if state["cycles"] == 0:
            task.internal_data["event_fired"] = True
            return False
        if state["next"] > now_of(task):
            return False
        state["next"] += state["every"]
        state["cycles"] -= 1
        return True

    def _state(self, task: Task) -> dict[str, Any]:
        state: dict[str, Any] | None = task.internal_data.get("cycle")
        if state is None:
            state = task.internal_data["cycle"] = _reading(task, self.expression, _cycle)
        return state


def timers_of(task: Task) -> list[DueTimer | CycleTimer]:
    """Return the timers that a waiting task waits for."""
    if not isinstance(task.task_spec, CatchingEvent):
        return []
    definition = task.task_spec.event_definition
    inner = definition.event_definitions if isinstance(definition, MultipleEventDefinition) else [definition]
    return [one for one in inner if isinstance(one, TimerEventDefinition)]


def now_of(task: Task) -> datetime:
    """Return the virtual time of a task's workflow."""
    return task.workflow.top_workflow.now  # type: ignore[no-any-return]


_T = TypeVar("_T")


def _reading(task: Task, expression: str, read: Callable[[str, datetime], _T]) -> _T:
    """Evaluate a timer's value and read it; raises ``InputError`` where either fails."""
    engine = task.workflow.script_engine
    value = engine.evaluate(task, expression)
    if isinstance(value, timedelta):
        value = f"PT{value.total_seconds()}S"
    try:
        return read(value.isoformat() if isinstance(value, datetime) else str(value), now_of(task))
    except Exception as error:  # the parser of durations raises nothing more particular
        raise InputError(engine.describe(task, expression, error)) from error


def _due_at(text: str, now: datetime) -> datetime:
    return now + _duration(text, now) if text[:1] in {"P", "p"} else _moment(text)


def _cycle(text: str, now: datetime) -> dict[str, Any]:
    repeats, *parts = text.upper().lstrip("R").split("/")
    every = _duration(parts[-1], now)
    if every <= timedelta(0):
        raise ValueError("a cycle takes time")
    first = _moment(parts[0]) if len(parts) > 1 else now + every
    return {"cycles": int(repeats) if repeats else -1, "next": first, "every": every}


def _duration(text: str, start: datetime) -> timedelta:
    parsed = TimerEventDefinition.parse_iso_duration(text)
    return TimerEventDefinition.get_timedelta_from_start(parsed, start)  # type: ignore[no-any-return]


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
