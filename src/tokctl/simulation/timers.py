"""Timers that use a workflow's virtual ``now`` instead of the system time."""

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
from SpiffWorkflow.task import Task

from tokctl.errors import InputError


class DueTimer(DurationTimerEventDefinition):  # type: ignore[misc]
    """Fires at a date, or when a duration has passed since it was reached."""

    def due(self, task: Task) -> datetime:
        """Return when it fires, computed once for each visit."""
        key = f"due:{self.name}"
        known = task.internal_data.get(key)
        if known is None:
            known = task.internal_data[key] = _evaluate_timer(task, self.expression, _parse_due_time)
        return known  # type: ignore[no-any-return]

    def has_fired(self, task: Task) -> bool:
        """Tell whether it is due."""
        if self.due(task) <= get_virtual_time(task):
            task.internal_data["event_fired"] = True
        return bool(task.internal_data.get("event_fired", False))

    def reset(self, task: Task) -> None:
        """Reset the time for the next visit."""
        task.internal_data.pop(f"due:{self.name}", None)
        super().reset(task)


class CycleTimer(CycleTimerEventDefinition):  # type: ignore[misc]
    """Fires repeatedly: ``R3/PT10M``, or ``R/2025-01-01T00:00:00Z/PT1H`` with its start."""

    def due(self, task: Task) -> datetime:
        """Return when it fires next; now if it has fired for the last time."""
        state = self._state(task)
        return state["next"] if state["cycles"] != 0 else get_virtual_time(task)

    def cycle_complete(self, task: Task) -> bool:
        """Tell whether it is due, and if so advance to the next time."""
        state = self._state(task)
        if state["cycles"] == 0:
            task.internal_data["event_fired"] = True
            return False
        if state["next"] > get_virtual_time(task):
            return False
        state["next"] += state["every"]
        state["cycles"] -= 1
        return True

    def _state(self, task: Task) -> dict[str, Any]:
        state: dict[str, Any] | None = task.internal_data.get("cycle")
        if state is None:
            state = task.internal_data["cycle"] = _evaluate_timer(task, self.expression, _parse_cycle)
        return state


def find_events(task: Task, *kinds: type) -> list[Any]:
    """Return the event definitions of these kinds that a waiting catching event waits for."""
    definition = task.task_spec.event_definition
    inner = definition.event_definitions if isinstance(definition, MultipleEventDefinition) else [definition]
    return [one for one in inner if isinstance(one, kinds)]


def get_virtual_time(task: Task) -> datetime:
    """Return the virtual time of a task's workflow."""
    return task.workflow.top_workflow.now  # type: ignore[no-any-return]


_T = TypeVar("_T")


def _evaluate_timer(task: Task, expression: str, read: Callable[[str, datetime], _T]) -> _T:
    """Evaluate and parse a timer's value; raises ``InputError`` if either fails."""
    engine = task.workflow.script_engine
    value = engine.evaluate(task, expression)
    if isinstance(value, timedelta):
        value = f"PT{value.total_seconds()}S"
    try:
        return read(value.isoformat() if isinstance(value, datetime) else str(value), get_virtual_time(task))
    except Exception as error:  # the parser of durations raises no more specific exception
        raise InputError(engine.describe(task, expression, error)) from error


def _parse_due_time(text: str, now: datetime) -> datetime:
    return now + _parse_duration(text, now) if text[:1] in {"P", "p"} else _parse_time(text)


def _parse_cycle(text: str, now: datetime) -> dict[str, Any]:
    repeats, *parts = text.upper().lstrip("R").split("/")
    every = _parse_duration(parts[-1], now)
    if every <= timedelta(0):
        raise ValueError("a cycle must be longer than 0")
    first = _parse_time(parts[0]) if len(parts) > 1 else now + every
    return {"cycles": int(repeats) if repeats else -1, "next": first, "every": every}


def _parse_duration(text: str, start: datetime) -> timedelta:
    parsed = TimerEventDefinition.parse_iso_duration(text)
    return TimerEventDefinition.get_timedelta_from_start(parsed, start)  # type: ignore[no-any-return]


def _parse_time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
