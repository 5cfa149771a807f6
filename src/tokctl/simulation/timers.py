"""Timers that use a workflow's virtual ``now`` instead of the system time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import MAXYEAR, UTC, datetime, timedelta
from typing import Any

from SpiffWorkflow.bpmn.specs.control import BoundaryEventJoin
from SpiffWorkflow.bpmn.specs.event_definitions.multiple import MultipleEventDefinition
from SpiffWorkflow.bpmn.specs.event_definitions.timer import (
    CycleTimerEventDefinition,
    DurationTimerEventDefinition,
    TimerEventDefinition,
)
from SpiffWorkflow.task import Task
from SpiffWorkflow.util.task import TaskState

from tokctl.bpmn.element_details import EventDefinition


@dataclass(slots=True)
class TimerSchedule:
    """When a timer fires next, how often it still fires (-1: without end), and the time between."""

    next: datetime
    cycles: int = 1
    every: timedelta = timedelta(0)


class _ScheduledTimerMixin:
    """A timer whose schedule the interpreter of the workflow makes, once for each visit."""

    def __init__(self, name: str, event: EventDefinition) -> None:
        super().__init__(name, expression=None)  # type: ignore[call-arg]
        self.event = event

    def schedule(self, task: Task) -> TimerSchedule:
        """Return the schedule of a visit."""
        key = f"timer:{self.name}"  # type: ignore[attr-defined]
        known = task.internal_data.get(key)
        if known is None:
            known = task.internal_data[key] = task.workflow.top_workflow.interpreter.timer_schedule(task, self.event)
        return known  # type: ignore[no-any-return]

    def reset(self, task: Task) -> None:
        """Reset the schedule for the next visit."""
        task.internal_data.pop(f"timer:{self.name}", None)  # type: ignore[attr-defined]
        super().reset(task)  # type: ignore[misc]


class DueTimer(_ScheduledTimerMixin, DurationTimerEventDefinition):  # type: ignore[misc]
    """Fires once: at a date, when a duration has passed since it was reached, or at the first time of a cycle."""

    def due(self, task: Task) -> datetime:
        """Return when it fires."""
        return self.schedule(task).next

    def has_fired(self, task: Task) -> bool:
        """Tell whether it is due."""
        if self.due(task) <= get_virtual_time(task):
            task.internal_data["event_fired"] = True
        return bool(task.internal_data.get("event_fired", False))


class CycleTimer(_ScheduledTimerMixin, CycleTimerEventDefinition):  # type: ignore[misc]
    """Fires repeatedly: ``R3/PT10M``, or ``R/2025-01-01T00:00:00Z/PT1H`` with its start."""

    def due(self, task: Task) -> datetime:
        """Return when it fires next; now if it has fired for the last time."""
        schedule = self.schedule(task)
        return schedule.next if schedule.cycles != 0 else get_virtual_time(task)

    def cycle_complete(self, task: Task) -> bool:
        """Tell whether it is due, and if so advance to the next time."""
        schedule = self.schedule(task)
        if schedule.cycles == 0:
            task.internal_data["event_fired"] = True
            return False
        if schedule.next > get_virtual_time(task):
            return False
        schedule.next += schedule.every
        schedule.cycles -= 1
        return True

    def update_task(self, task: Task) -> None:
        """Start what follows each time that the timer fires.

        SpiffWorkflow also starts the join of the activity each time, and asks all of these joins again and again.
        """
        if not self.cycle_complete(task):
            return
        for output in task.task_spec.outputs:
            if not isinstance(output, BoundaryEventJoin):
                child = task._add_child(output, TaskState.FUTURE)  # noqa: SLF001 - as the base class does
                child.task_spec._predict(child, mask=TaskState.NOT_FINISHED_MASK)  # noqa: SLF001
                child.task_spec._update(child)  # noqa: SLF001


def find_events(task: Task, *kinds: type) -> list[Any]:
    """Return the event definitions of these kinds that a waiting catching event waits for."""
    return list_events(task.task_spec, *kinds)


def list_events(spec: Any, *kinds: type) -> list[Any]:
    """Return the event definitions of these kinds that the tasks of a catching event wait for."""
    definition = spec.event_definition
    inner = definition.event_definitions if isinstance(definition, MultipleEventDefinition) else [definition]
    return [one for one in inner if isinstance(one, kinds)]


def get_virtual_time(task: Task) -> datetime:
    """Return the virtual time of a task's workflow."""
    return task.workflow.top_workflow.now  # type: ignore[no-any-return]


def parse_timer(value: object, now: datetime) -> TimerSchedule:
    """Read the value of a timer: a date, a duration or a cycle (ISO 8601; BPMN 2.0, section 10.5.5).

    Raises ValueError: it is none of them.
    """
    if isinstance(value, timedelta):
        return TimerSchedule(now + value)
    if isinstance(value, datetime):
        return TimerSchedule(_to_utc(value))
    text = str(value).strip()
    if text[:1] not in {"R", "r"}:
        return TimerSchedule(_parse_time_or_duration(text, now))
    repeats, *parts = text.upper().split("/")
    if not parts or not (repeats == "R" or repeats[1:].isdigit()):
        raise ValueError("a cycle is written R3/PT10M")
    duration = next((part for part in parts if part.startswith("P")), None)
    every = timedelta(0) if duration is None else _parse_duration(duration, now)
    if every <= timedelta(0):
        raise ValueError("a cycle must be longer than 0")
    start = next((part for part in parts if not part.startswith("P")), None)
    first = now + every if start is None or parts[0] == duration else _parse_time_or_duration(start, now)
    return TimerSchedule(first, int(repeats[1:] or -1), every)


def _parse_time_or_duration(text: str, now: datetime) -> datetime:
    if text[:1] in {"P", "p"}:
        return now + _parse_duration(text, now)
    return _to_utc(datetime.fromisoformat(text))


def _parse_duration(text: str, start: datetime) -> timedelta:
    try:
        parsed = TimerEventDefinition.parse_iso_duration(text)
        years = parsed.get("years", 0) + parsed.get("months", 0) / 12
        if years <= MAXYEAR:  # SpiffWorkflow counts the days of each month
            return TimerEventDefinition.get_timedelta_from_start(parsed, start)  # type: ignore[no-any-return]
    except OverflowError:
        raise
    except Exception as error:  # the parser raises no more specific exception
        raise ValueError(f"{text} is not a duration") from error
    raise OverflowError(text)


def _to_utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
