"""What an instance waits for that has not ended when its simulation is over."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from SpiffWorkflow.bpmn.specs.event_definitions.item_aware_event import SignalEventDefinition
from SpiffWorkflow.bpmn.specs.event_definitions.message import MessageEventDefinition
from SpiffWorkflow.bpmn.specs.event_definitions.timer import TimerEventDefinition
from SpiffWorkflow.bpmn.specs.mixins.events.event_types import CatchingEvent
from SpiffWorkflow.bpmn.specs.mixins.unstructured_join import UnstructuredJoin
from SpiffWorkflow.task import Task
from SpiffWorkflow.util.task import TaskState

from tokctl.model.times import format_time
from tokctl.simulation.engine_specs import ConditionEvent
from tokctl.simulation.timers import find_events

if TYPE_CHECKING:
    from tokctl.simulation.instance_run import InstanceRun


def find_reasons(run: InstanceRun) -> set[tuple[str, str, str]]:
    """Return what an instance waits for: the id and type of the element, and the reason; empty if it has ended."""
    if run.workflow.completed:
        return set()
    found = set()
    for workflow in (run.workflow, *run.workflow.subprocesses.values()):
        for task in workflow.live.values():
            element = getattr(task.task_spec, "element", None)
            if element is not None and (reason := _reason(run, task)):
                found.add((element.id, element.type, reason))
    return found


def _reason(run: InstanceRun, task: Task) -> str | None:
    spec = task.task_spec
    if task.state == TaskState.ERROR:
        token = run.recorder.find_token(task)
        message = "" if token is None else token.context.get("error_message")
        return f"failed: {message or 'no condition of its outgoing flows is met'}"
    if run.recorder.suspended:
        return "the instance is suspended"
    if isinstance(spec, CatchingEvent):
        return " or ".join(_awaited(run, task)) or None
    if isinstance(spec, UnstructuredJoin):
        return "waits for tokens over its other incoming flows"
    if task.state == TaskState.READY and spec.manual:
        if task.id not in run.due_jobs:
            return "its job never ends, as the scenario says"
        what, due = run.due_jobs[task.id]
        return f"{what} {_later(run, due)}"
    return None


def _awaited(run: InstanceRun, task: Task) -> list[str]:
    timers = [one.due(task) for one in find_events(task, TimerEventDefinition)]
    parts = [f"its timer is due {_later(run, due)}" for due in sorted(timers)[:1]]
    for kind, name in ((MessageEventDefinition, "message"), (SignalEventDefinition, "signal")):
        parts.extend(f"waits for {name} '{one.name}'" for one in find_events(task, kind))
    if find_events(task, ConditionEvent):
        parts.append("waits for its condition")
    return parts


def _later(run: InstanceRun, due: datetime) -> str:
    end = "limit of steps" if run.conversation.steps_exhausted else "end of the simulation"
    return f"at {format_time(due)}, after the {end}"
