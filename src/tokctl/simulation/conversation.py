"""Instances that run on one clock: one alone, or those of a collaboration, which send messages to each other."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from threading import Event
from typing import TYPE_CHECKING

from SpiffWorkflow.bpmn.specs.event_definitions.item_aware_event import SignalEventDefinition
from SpiffWorkflow.bpmn.specs.event_definitions.message import MessageEventDefinition
from SpiffWorkflow.bpmn.util.event import BpmnEvent
from SpiffWorkflow.task import Task

from tokctl.bpmn.element_details import MESSAGE
from tokctl.errors import InputError
from tokctl.simulation.instance_run import InstanceRun, RunIdentity
from tokctl.simulation.timers import find_events

if TYPE_CHECKING:
    from tokctl.simulation.simulation import Simulation

_MAX_INSTANCES = 1000


class EventQueue:
    """The virtual time, and the actions that are scheduled."""

    def __init__(self, now: datetime, stop_requested: Event) -> None:
        self.now = now
        self.stop_requested = stop_requested
        self._scheduled: list[tuple[datetime, int, int, InstanceRun, Callable[[], None]]] = []

    def schedule(self, time: datetime, run: InstanceRun, action: Callable[[], None]) -> None:
        """Schedule an action of a run; those of the same time and run happen in the order of this call."""
        heapq.heappush(self._scheduled, (time, run.order, run.next_number(), run, action))

    def take(self, run: InstanceRun) -> list[tuple[datetime, Callable[[], None]]]:
        """Return the scheduled actions of a run in their order, and forget them."""
        taken = sorted(entry for entry in self._scheduled if entry[3] is run)
        self._scheduled = [entry for entry in self._scheduled if entry[3] is not run]
        heapq.heapify(self._scheduled)
        return [(time, action) for time, _, _, _, action in taken]

    def has_next(self, stop: datetime) -> bool:
        """Tell whether there is an action until ``stop``; those of instances that have ended are forgotten."""
        while self._scheduled and self._scheduled[0][3].stopped:
            heapq.heappop(self._scheduled)
        return bool(self._scheduled) and self._scheduled[0][0] <= stop

    def advance(self) -> None:
        """Go to the next action and do it."""
        self.now, _, _, run, action = heapq.heappop(self._scheduled)
        run.act(action)


class Conversation:
    """The instances with one number: of one process, or of each process of a collaboration."""

    def __init__(self, simulation: Simulation, number: int, start: datetime) -> None:
        self.simulation = simulation
        self.number = number
        self.queue = EventQueue(start, simulation.stop_requested)
        self.runs: list[InstanceRun] = []
        self.steps_exhausted = False
        self._to_start: deque[tuple[str, str]] = deque()
        self._messages: Counter[tuple[str, str]] = Counter()  # sent to an element that does not wait for them yet

    @property
    def tokens(self) -> int:
        """The number of recorded tokens."""
        return sum(run.tokens for run in self.runs)

    def until(self, stop: datetime) -> None:
        """Run until all instances have ended, none has a scheduled action left, or the clock stops."""
        self._check_number(len(self.simulation.starts))
        try:
            for process_id, start in self.simulation.starts:
                self.start(process_id, start)
            self._start_waiting()
            steps = 0
            while not self.simulation.stop_requested.is_set() and self.queue.has_next(stop):
                if steps >= self.simulation.limits.steps:
                    self.steps_exhausted = True
                    break
                self.queue.advance()
                self._exchange_events()
                self._start_waiting()
                steps += 1
        finally:
            for run in self.runs:
                run.finish()

    def start(self, process_id: str, start: str | None) -> None:
        """Start an instance of a process."""
        order = len(self.runs)
        self._check_number(order + 1)
        seed = f"{self.simulation.scenario.seed}/{self.number}"
        name = f"{self.simulation.key}/{self.number}"
        suffix = "" if not self.simulation.is_collaboration else f"/{process_id}/{order}"
        identity = RunIdentity(self.number, order, self.simulation.instance_id(name + suffix), seed + suffix)
        run = InstanceRun(self, identity, process_id, self.simulation.builder.build(process_id, start))
        self.runs.append(run)
        run.start()
        self._exchange_events()

    @staticmethod
    def _check_number(instances: int) -> None:
        if instances > _MAX_INSTANCES:
            raise InputError(
                f"One collaboration has more than {_MAX_INSTANCES:,} instances.",
                "Let the processes that start each other by messages end, or choose one with --process.",
            )

    # --- messages between instances ---

    def element_completed(self, run: InstanceRun, element_id: str) -> None:
        """Send the messages of the message flows that leave an element."""
        for flow in self.simulation.message_flows.get((run.process_id, element_id), ()):
            self._send(*flow)

    def event_reached(self, run: InstanceRun, task: Task) -> None:
        """Deliver a message that was sent before an element waited for it."""
        for awaited in find_events(task, MessageEventDefinition):
            key = (run.process_id, awaited.element_id)
            if self._messages[key]:
                self._messages[key] -= 1
                run.events.deliver(task, awaited)
                return

    def _send(self, process_id: str, element_id: str) -> None:
        if (process_id, element_id) in self.simulation.message_starts:
            self._to_start.append((process_id, element_id))
            return
        if not self._deliver(self._running(process_id), lambda awaited: awaited.element_id == element_id):
            self._messages[process_id, element_id] += 1

    @staticmethod
    def _deliver(runs: Iterable[InstanceRun], matches: Callable[[MessageEventDefinition], bool]) -> bool:
        """Deliver a message to the first task that waits for it; return False if none does."""
        for run in runs:
            for task in run.waiting_tasks():
                for awaited in find_events(task, MessageEventDefinition):
                    if matches(awaited):
                        run.events.deliver(task, awaited)
                        return True
        return False

    def _exchange_events(self) -> None:
        """Deliver what one instance has thrown, and nothing in it has caught, to the others."""
        if not self.simulation.is_collaboration:
            return
        for sender in self.runs:
            for event in sender.workflow.get_events():
                definition = event.event_definition
                if isinstance(definition, MessageEventDefinition):
                    self._send_by_name(sender, definition.name)
                elif isinstance(definition, SignalEventDefinition):
                    signal = BpmnEvent(definition, payload=event.payload)
                    for run in self._running():
                        if run is not sender:
                            run.act(partial(run.workflow.catch, signal))

    def _send_by_name(self, sender: InstanceRun, name: str) -> None:
        others = [run for run in self._running() if run is not sender]
        if self._deliver(others, lambda awaited: bool(awaited.name == name)):
            return
        for process_id, element_id in self.simulation.message_starts:
            model = self.simulation.models[process_id]
            names = {event.name for event in model.details(element_id).events if event.kind == MESSAGE}
            if process_id != sender.process_id and name in names:
                self._to_start.append((process_id, element_id))
                return

    def _start_waiting(self) -> None:
        """Start the instances that messages start: after the sender has done what it did."""
        while self._to_start and not self.simulation.stop_requested.is_set():
            self.start(*self._to_start.popleft())

    def _running(self, process_id: str | None = None) -> list[InstanceRun]:
        return [run for run in self.runs if not run.stopped and process_id in {None, run.process_id}]
