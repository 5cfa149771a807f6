"""The timers, messages and signals that an instance waits for."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from SpiffWorkflow.bpmn.specs.event_definitions.item_aware_event import SignalEventDefinition
from SpiffWorkflow.bpmn.specs.event_definitions.message import MessageEventDefinition
from SpiffWorkflow.bpmn.specs.event_definitions.timer import TimerEventDefinition
from SpiffWorkflow.bpmn.util.event import BpmnEvent
from SpiffWorkflow.task import Task
from SpiffWorkflow.util.task import TaskState

from tokctl.simulation.engine_specs import ConditionEvent
from tokctl.simulation.timers import CycleTimer, find_events, list_events

if TYPE_CHECKING:
    from tokctl.simulation.instance_run import InstanceRun


_SENT_BY_SCENARIO = (MessageEventDefinition, SignalEventDefinition, ConditionEvent)


def awaited_names(spec: Any) -> set[str]:
    """Return the names by which a scenario sends what a catching event waits for; empty if it can send nothing."""
    names = {one.name for one in list_events(spec, *_SENT_BY_SCENARIO)}
    return {spec.element.id, *names} if names else set()


class AwaitedEvents:
    """Schedules what the tasks of an instance wait for, once they are reached."""

    def __init__(self, run: InstanceRun) -> None:
        self.run = run
        self._reached: list[Task] = []

    def reach(self, task: Task) -> None:
        """Note a task that has begun to wait."""
        self._reached.append(task)

    def schedule(self) -> None:
        """Schedule the events that were reached."""
        reached, self._reached = self._reached, []
        for task in reached:
            if task.state == TaskState.WAITING:
                for timer in find_events(task, TimerEventDefinition):
                    self.run.schedule(max(timer.due(task), self.run.now), partial(self._fire_timer, task, timer))
                self._schedule_messages(task)
                self.run.conversation.event_reached(self.run, task)

    def _fire_timer(self, task: Task, timer: Any) -> None:
        if not self.run.has_state(task, TaskState.WAITING):
            return
        task.task_spec._update(task)  # noqa: SLF001 - what the engine itself does with its timers
        if isinstance(timer, CycleTimer) and task.state == TaskState.WAITING:
            self.run.schedule(max(timer.due(task), self.run.now), partial(self._fire_timer, task, timer))

    def _schedule_messages(self, task: Task) -> None:
        """Schedule the scenario's messages for a task that waits for them."""
        case = self.run.case
        plans = {**self.run.simulation.scenario.messages, **({} if case is None else case.messages)}
        for one in find_events(task, *_SENT_BY_SCENARIO):
            message = plans.get(one.name) or plans.get(one.element_id)
            if message is not None and self.run.random.random() < message.probability:
                sets = {name: draw(self.run.random, self.run.number) for name, draw in message.sets.items()}
                event = BpmnEvent(one, payload=sets)
                self.run.schedule(
                    self.run.now + message.after(self.run.random), partial(self._deliver_message, task, event)
                )

    def deliver(self, task: Task, awaited: MessageEventDefinition) -> None:
        """Deliver a message that a task waits for."""
        self.run.schedule(self.run.now, partial(self._deliver_message, task, BpmnEvent(awaited, payload={})))

    def _deliver_message(self, task: Task, event: BpmnEvent) -> None:
        if self.run.has_state(task, TaskState.WAITING):
            task.task_spec.catch(task, event)
            task.task_spec._update(task)  # noqa: SLF001 - what the engine itself does with its events
