"""One simulated instance: its jobs, timers and messages, and the queue of what falls due."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from functools import partial
from hashlib import blake2b
from random import Random
from threading import Event
from typing import Any
from uuid import UUID

from tokctl.errors import InputError, TokctlError
from tokctl.process.model import Definition
from tokctl.recorder import tap
from tokctl.recorder.base import Sink
from tokctl.recorder.names import instance_name, job_name, token_name
from tokctl.recorder.scenario import Case, Scenario
from tokctl.recorder.scenario import Task as Plan
from tokctl.recorder.spiff import SpiffRecorder  # first: it says what to install
from tokctl.recorder.spiffmodel import Model
from tokctl.recorder.timers import CycleTimer, timers_of
from tokctl.recorder.virtual import VirtualEngine, VirtualWorkflow, parse_specs

# isort: split
from SpiffWorkflow.bpmn.specs.event_definitions.item_aware_event import (
    ErrorEventDefinition,
    SignalEventDefinition,
)
from SpiffWorkflow.bpmn.specs.event_definitions.message import MessageEventDefinition
from SpiffWorkflow.bpmn.specs.event_definitions.multiple import MultipleEventDefinition
from SpiffWorkflow.bpmn.specs.mixins.events.event_types import CatchingEvent
from SpiffWorkflow.bpmn.specs.mixins.events.intermediate_event import BoundaryEvent
from SpiffWorkflow.bpmn.util.event import BpmnEvent
from SpiffWorkflow.exceptions import SpiffWorkflowException
from SpiffWorkflow.specs.base import TaskSpec
from SpiffWorkflow.task import Task
from SpiffWorkflow.util.task import TaskState

_ROUNDS = 500
_EVENTS_WITHOUT_END = 100_000
_SECOND = timedelta(seconds=1)
_PENDING = (MessageEventDefinition, SignalEventDefinition)


class Simulation:
    """A model, parsed once, and the scenario that its instances are put through."""

    def __init__(
        self,
        texts: Sequence[tuple[str, str]],
        definitions: Sequence[Definition],
        scenario: Scenario,
        sink: Sink,
        stopping: Event,
    ) -> None:
        self.spec, self.specs = parse_specs(texts, scenario.process)
        used = {self.spec.name, *self.specs}
        self.definitions = [one for one in definitions if one.process_id in used]
        self.source = texts[0][0]
        self.key = _key(scenario, self.spec.name, self.definitions)
        self.unused = _unused(scenario, self.definitions)
        self.model = Model(self.definitions)
        self.engine = VirtualEngine(self.describe)
        self.scenario = scenario
        self.sink = sink
        self.stopping = stopping
        self._plans: dict[str, Plan] = {}
        for definition in self.definitions:
            sink.put_definition(definition)

    def run(self, number: int, start: datetime, stop: datetime | None) -> Run:
        """Run an instance until it ends, has nothing left that falls due, or the clock stops."""
        run = Run(self, number, start)
        run.until(stop)
        return run

    def plan(self, case: Case | None, element_id: str) -> Plan:
        """Return what becomes of an element's jobs in this case."""
        plan = self._plans.get(element_id)
        if plan is None:
            plan = self._plans[element_id] = self.scenario.task(element_id)
        return plan if case is None else case.task(element_id).over(plan)

    def describe(self, task: Task, expression: str, error: Exception) -> str:
        """Say in which element, and on which flow, an expression failed."""
        element = self.model.element(task.task_spec)
        flow = self.model.flow_with(task.task_spec, expression)
        place = f", flow '{flow.id}'" if flow else ""
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, (NameError, SyntaxError)):
            reason = error.msg if isinstance(error, SyntaxError) else str(error)
        what = expression if expression == "the script" else f"'{flow.condition if flow else expression}'"
        return f"{self.source}: {element.type} '{element.id}'{place}: {what} cannot be evaluated: {reason}."


@dataclass(slots=True, eq=False)
class _Job:
    """A task's job: its plan, and how it has gone so far."""

    task: Task
    plan: Plan
    key: str
    failures: int = 0

    @property
    def retries(self) -> int:
        return 0 if self.plan.retries is None else self.plan.retries.max


class Run:
    """One instance, from its start until its end or the end of the clock."""

    def __init__(self, simulation: Simulation, number: int, start: datetime) -> None:
        scenario = simulation.scenario
        self.simulation = simulation
        self.number = number
        self.now = start
        self.case = scenario.cases.get(number)
        self.instance_id = instance_name(f"{simulation.key}/{number}")
        self.random = Random(f"{scenario.seed}/{number}")  # noqa: S311 - a simulation needs no secrets
        self.stopped = False
        self._due: list[tuple[datetime, int, Callable[[], None]]] = []
        self._ready: deque[Task] = deque()
        self._reached: list[Task] = []
        self._running: Task | None = None
        self._counter = 0
        self._events = 0
        self._moment = start
        self._visits: Counter[TaskSpec] = Counter()
        self.workflow = VirtualWorkflow(simulation.spec, simulation.specs, simulation.engine, start)
        self.recorder = SpiffRecorder(
            self.workflow,
            simulation.sink,
            instance_id=self.instance_id,
            definitions=simulation.model,
            clock=lambda: self.now,
            new_token_id=self._new_token_id,
        )

    @property
    def tokens(self) -> int:
        """How many tokens it has recorded."""
        return len(self.recorder.lifecycle)

    def until(self, stop: datetime | None) -> None:
        """Run on until nothing is left that falls due, or until the clock stops."""
        with self.recorder:
            tap.listen(self.workflow, self)
            try:
                self._begin()
                while self._due and not self.stopped and (stop is None or self._due[0][0] <= stop):
                    self.now, _, action = heapq.heappop(self._due)
                    self.workflow.now = self.now
                    action()
                    self._settle()
                    self._check_end(stop)
            except TokctlError:
                raise
            except Exception as error:  # SpiffWorkflow raises whatever a model makes it stumble over
                raise InputError(self._describe(error)) from error
            finally:
                tap.leave(self.workflow, self)

    # --- what the workflow tells ------------------------------------------------------------------

    def task_moved(self, task: Task, previous: int) -> None:
        """Take up a task that is ready to run, and one that has begun to wait."""
        if task.state == TaskState.WAITING:
            task.workflow.waiting[task.id] = task
        elif previous == TaskState.WAITING:
            task.workflow.waiting.pop(task.id, None)
        if task.state == TaskState.READY:
            if task.task_spec.manual:
                self._begin_job(task)
            else:
                self._ready.append(task)
        elif task.state == TaskState.WAITING and isinstance(task.task_spec, CatchingEvent):
            self._reached.append(task)

    def task_removed(self, task: Task) -> None:
        """Leave a task alone that is gone: what falls due for it finds that out."""
        task.workflow.waiting.pop(task.id, None)

    # --- driving ------------------------------------------------------------------------------------

    def _begin(self) -> None:
        scenario, case = self.simulation.scenario, self.case
        root = self.workflow.task_tree
        draws = {**scenario.variables, **(case.variables if case is not None else {})}
        root.data.update({name: draw(self.random, self.number) for name, draw in draws.items()})
        cancel = scenario.cancel if case is None else case.cancel or scenario.cancel
        suspend = scenario.suspend if case is None else case.suspend or scenario.suspend
        if cancel is not None and self.random.random() < cancel.probability:
            self._at(self.now + cancel.after, self._cancel)
        if suspend is not None and self.random.random() < suspend.probability:
            self._at(self.now + suspend.after, partial(self._suspend, suspend.lasts))
        self._ready.append(root)
        self._settle()

    def _settle(self) -> None:
        """Run everything that takes no time."""
        while self._ready and not self.stopped:
            task = self._ready.popleft()
            if not self._is(task, TaskState.READY):
                continue
            self._guard(task)
            self._running = task
            task.run()
            if not self._ready:
                self._watch()
        self._watch()
        if self.workflow.completed:
            self.stopped = True

    def _check_end(self, stop: datetime | None) -> None:
        self.stopped |= self.simulation.stopping.is_set()
        self._events += 1
        if stop is None and self._events > _EVENTS_WITHOUT_END:
            raise InputError(
                f"{self.simulation.source}: an instance is still going after {_EVENTS_WITHOUT_END:,} events.",
                "Give the scenario an 'until'.",
            )

    def _guard(self, task: Task) -> None:
        """Stop a process that goes round and round in no time."""
        if self._moment != self.now:
            self._moment = self.now
            self._visits.clear()
        self._visits[task.task_spec] += 1
        if self._visits[task.task_spec] % _ROUNDS:
            return
        rounds, above = 0, task.parent
        while above is not None:
            token = self.recorder.token_of(above)
            if token is not None and token.created_at < self.now:
                break
            rounds += above.task_spec is task.task_spec
            above = above.parent
        # Many visits may also be the instances of an activity: those do not come of each other.
        if rounds >= _ROUNDS // 2:
            raise InputError(
                f"{self.simulation.source}: '{_name(task.task_spec)}' lies in a loop in which no time passes:"
                f" after {rounds} rounds there is no end in sight."
            )

    def _watch(self) -> None:
        """Note when the events that were reached fall due."""
        reached, self._reached = self._reached, []
        for task in reached:
            if task.state == TaskState.WAITING:
                for timer in timers_of(task):
                    self._at(max(timer.due(task), self.now), partial(self._ring, task, timer))
                self._expect(task)

    def _ring(self, task: Task, timer: Any) -> None:
        if not self._is(task, TaskState.WAITING):
            return
        task.task_spec._update(task)  # noqa: SLF001 - what the engine itself does with its timers
        if isinstance(timer, CycleTimer) and task.state == TaskState.WAITING:
            self._at(max(timer.due(task), self.now), partial(self._ring, task, timer))

    def _expect(self, task: Task) -> None:
        """Have the scenario's messages sent to what waits for them."""
        definition = task.task_spec.event_definition
        several = isinstance(definition, MultipleEventDefinition)
        for one in definition.event_definitions if several else [definition]:
            if not isinstance(one, _PENDING):
                continue
            message = self.simulation.scenario.messages.get(one.name)
            if self.case is not None:
                message = self.case.messages.get(one.name, message)
            if message is not None and self.random.random() < message.probability:
                sets = {name: draw(self.random, self.number) for name, draw in message.sets.items()}
                event = BpmnEvent(one, payload=sets)
                self._at(self.now + message.after(self.random), partial(self._deliver, task, event))

    def _deliver(self, task: Task, event: BpmnEvent) -> None:
        if self._is(task, TaskState.WAITING):
            task.task_spec.catch(task, event)
            task.task_spec._update(task)  # noqa: SLF001 - what the engine itself does with its events

    def _is(self, task: Task, state: int) -> bool:
        """Tell whether a task is in a state, and still part of the instance.

        SpiffWorkflow drops the instances of a cancelled multi-instance activity as they are: they, and
        the sub-processes in them, go on looking alive.
        """
        if task.state != state:
            return False
        while task.id in task.workflow.tasks:
            owner = task.workflow.parent_task_id
            if owner is None:
                return True
            holder = self.recorder.find(owner)
            if holder is None or holder.has_state(TaskState.FINISHED_MASK):
                return False
            task = holder
        return False

    def _cancel(self) -> None:
        self.workflow.cancel()
        self.stopped = True

    def _suspend(self, lasts: timedelta | None) -> None:
        """Let nothing happen, for good or for a while; what falls due meanwhile happens after it."""
        self.recorder.suspend()
        self._due, held = [], sorted(self._due)
        if lasts is not None:
            until = self.now + lasts
            self._at(until, self.recorder.resume)
            for time, _, action in held:
                self._at(max(time, until), action)

    def _at(self, time: datetime, action: Callable[[], None]) -> None:
        self._counter += 1
        heapq.heappush(self._due, (time, self._counter, action))

    # --- jobs -----------------------------------------------------------------------------------------

    def _begin_job(self, task: Task) -> None:
        plan = self.simulation.plan(self.case, task.task_spec.bpmn_id)
        self._counter += 1
        job = _Job(task, plan, job_name(f"{self.instance_id}/job/{self._counter}"))
        self.recorder.annotate(task, job_key=job.key)
        if plan.workers:
            self.recorder.annotate(task, worker_id=self.random.choice(plan.workers))
        self._attempt(job)

    def _attempt(self, job: _Job) -> None:
        plan = job.plan
        if not self._is(job.task, TaskState.READY):
            return
        timeout = None if plan.timeout is None else self.now + plan.timeout
        self.recorder.annotate(job.task, retries_left=job.retries - job.failures, timeout_at=timeout)
        if plan.hangs is not None and self.random.random() < plan.hangs:
            return
        takes = _SECOND if plan.takes is None else plan.takes(self.random)
        self._at(self.now + takes, partial(self._end, job))

    def _end(self, job: _Job) -> None:
        task, plan = job.task, job.plan
        if not self._is(task, TaskState.READY):
            return
        if plan.error is not None and self.random.random() < (plan.error_probability or 0.0):
            self.recorder.annotate(task, retries_used=job.failures)
            if self._throw(task, plan.error):
                return
        if self._fails(job):
            self._fail(job)
            return
        if plan.sets:
            task.data.update({name: draw(self.random, self.number) for name, draw in plan.sets.items()})
        self.recorder.annotate(task, retries_used=job.failures)
        self._running = task
        task.run()

    def _fails(self, job: _Job) -> bool:
        if job.plan.fails_times is not None:
            return job.failures < job.plan.fails_times
        return job.plan.fails is not None and self.random.random() < job.plan.fails

    def _fail(self, job: _Job) -> None:
        retries = job.plan.retries
        if retries is None or job.failures >= retries.max:
            self.recorder.annotate(job.task, retries_used=job.failures, error_message="no retries left")
            job.task.error()
            return
        job.failures += 1
        self.recorder.annotate(job.task, retries_left=retries.max - job.failures, retries_used=job.failures)
        self._at(self.now + retries.backoff(self.random), partial(self._attempt, job))

    def _throw(self, task: Task, code: str) -> bool:
        """Throw a BPMN error from a task; False if no boundary event of it catches that."""
        event = BpmnEvent(ErrorEventDefinition(code, code), payload={})
        for sibling in task.parent.children:
            spec = sibling.task_spec
            if isinstance(spec, BoundaryEvent) and spec.catches(sibling, event):
                spec.catch(sibling, event)
                spec._update(sibling)  # noqa: SLF001 - what the engine itself does with its events
                return True
        return False

    def _new_token_id(self, _task: UUID, _visit: int) -> str:
        return token_name(f"{self.instance_id}/{len(self.recorder.lifecycle)}")

    def _describe(self, error: Exception) -> str:
        spec = getattr(error, "task_spec", None)
        if spec is None and self._running is not None:
            spec = self._running.task_spec
        where = "" if spec is None else f" at '{_name(spec)}'"
        what = str(error).rstrip(". ")
        if not isinstance(error, SpiffWorkflowException):
            what = f"{type(error).__name__}: {what}"
        return f"{self.simulation.source}: SpiffWorkflow stopped{where}: {what}."


def _unused(scenario: Scenario, definitions: Sequence[Definition]) -> tuple[str, ...]:
    """Return the names of tasks in a scenario that fit no element."""
    elements = [element for definition in definitions for element in definition.elements]
    named = dict.fromkeys(name for case in (scenario, *scenario.cases.values()) for name in case.tasks)
    return tuple(
        n for n in named if n != "default" and not any(fnmatchcase(e, n) for e in elements) and n not in elements
    )


def _key(scenario: Scenario, process: str, definitions: Sequence[Definition]) -> str:
    """Return what sets a simulation's instances apart from those of another model, scenario or seed.

    A store that holds both would mix their tokens if the ids were the same.
    """
    digest = blake2b(scenario.fingerprint.encode(), digest_size=16)
    for text in sorted({definition.xml or "" for definition in definitions}):
        digest.update(text.encode())
    return f"{scenario.seed}/{process}/{digest.hexdigest()}"


def _name(spec: TaskSpec) -> str:
    return str(getattr(spec, "bpmn_id", None) or spec.name)
