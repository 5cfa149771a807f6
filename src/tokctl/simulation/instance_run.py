"""One simulated instance: its jobs, timers and messages, and the queue of scheduled events."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from functools import partial
from hashlib import blake2b
from random import Random
from threading import Event
from typing import Any
from uuid import UUID

from tokctl.errors import InputError, TokctlError
from tokctl.model.definitions import Definition
from tokctl.recorder import task_events as tap
from tokctl.recorder.ids import make_instance_id, make_job_key, make_token_id
from tokctl.recorder.lifecycle import Sink
from tokctl.recorder.spiff import SpiffRecorder  # first: it says what to install
from tokctl.recorder.spiff_model import SpiffModel
from tokctl.simulation.expressions import to_python
from tokctl.simulation.scenario import InstancePlan, Scenario, TaskPlan
from tokctl.simulation.timers import CycleTimer, find_events
from tokctl.simulation.virtual_clock import VirtualEngine, VirtualWorkflow, parse_specs

# isort: split
from SpiffWorkflow.bpmn.specs.event_definitions.item_aware_event import ErrorEventDefinition, SignalEventDefinition
from SpiffWorkflow.bpmn.specs.event_definitions.message import MessageEventDefinition
from SpiffWorkflow.bpmn.specs.event_definitions.timer import TimerEventDefinition
from SpiffWorkflow.bpmn.specs.mixins.events.event_types import CatchingEvent
from SpiffWorkflow.bpmn.specs.mixins.events.intermediate_event import BoundaryEvent
from SpiffWorkflow.bpmn.util.event import BpmnEvent
from SpiffWorkflow.exceptions import SpiffWorkflowException
from SpiffWorkflow.specs.base import TaskSpec
from SpiffWorkflow.task import Task
from SpiffWorkflow.util.task import TaskState

_MAX_ROUNDS = 500
_MAX_EVENTS = 100_000
_SECOND = timedelta(seconds=1)


class Simulation:
    """A model, parsed once, and the scenario of its instances."""

    def __init__(
        self,
        texts: Sequence[tuple[str, str]],
        definitions: Sequence[Definition],
        scenario: Scenario,
        sink: Sink,
        stop_requested: Event,
    ) -> None:
        self.spec, self.specs = parse_specs(texts, scenario.process)
        used = {self.spec.name, *self.specs}
        self.definitions = [one for one in definitions if one.process_id in used]
        self.source = texts[0][0]
        self.key = _simulation_key(scenario, self.spec.name, self.definitions)
        self.unused = _find_unused_tasks(scenario, self.definitions)
        self.model = SpiffModel(self.definitions)
        self.engine = VirtualEngine(self.describe)
        self.scenario = scenario
        self.sink = sink
        self.stop_requested = stop_requested
        self._plans: dict[str, TaskPlan] = {}
        for definition in self.definitions:
            sink.put_definition(definition)

    def run(self, number: int, start: datetime, stop: datetime | None) -> InstanceRun:
        """Run an instance until it ends, has no scheduled event left, or the clock stops."""
        run = InstanceRun(self, number, start)
        run.until(stop)
        return run

    def plan(self, case: InstancePlan | None, element_id: str) -> TaskPlan:
        """Return the plan for the jobs of an element in this case."""
        plan = self._plans.get(element_id)
        if plan is None:
            plan = self._plans[element_id] = self.scenario.task(element_id)
        return plan if case is None else case.task(element_id).with_fallback(plan)

    def describe(self, task: Task, expression: str, error: Exception) -> str:
        """Say in which element, and on which flow, an expression failed."""
        element = self.model.element(task.task_spec)
        flows = self.model.outgoing_flows(task.task_spec)
        flow = next((one for one in flows if one.condition and to_python(one.condition) == expression), None)
        place = f", flow '{flow.id}'" if flow else ""
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, (NameError, SyntaxError)):
            reason = error.msg if isinstance(error, SyntaxError) else str(error)
        what = expression if expression == "the script" else f"'{flow.condition if flow else expression}'"
        return f"{self.source}: {element.type} '{element.id}'{place}: cannot evaluate {what}: {reason}."


class InstanceRun:
    """One instance, from its start until its end or the end of the clock."""

    def __init__(self, simulation: Simulation, number: int, start: datetime) -> None:
        scenario = simulation.scenario
        self.simulation = simulation
        self.number = number
        self.now = start
        self.case = scenario.cases.get(number)
        self.instance_id = make_instance_id(f"{simulation.key}/{number}")
        self.random = Random(f"{scenario.seed}/{number}")  # noqa: S311 - a simulation needs no secrets
        self.stopped = False
        self._scheduled: list[tuple[datetime, int, Callable[[], None]]] = []
        self._ready: deque[Task] = deque()
        self._reached: list[Task] = []
        self._running: Task | None = None
        self._counter = 0
        self._events = 0
        self._loop_checked_at = start
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
        """The number of recorded tokens."""
        return len(self.recorder.lifecycle)

    def until(self, stop: datetime | None) -> None:
        """Run until there is no scheduled event left, or the clock stops."""
        with self.recorder:
            tap.add_listener(self.workflow, self)
            try:
                self._start_instance()
                while self._scheduled and not self.stopped and (stop is None or self._scheduled[0][0] <= stop):
                    self.now, _, action = heapq.heappop(self._scheduled)
                    self.workflow.now = self.now
                    action()
                    self._run_ready_tasks()
                    self._check_end(stop)
            except TokctlError:
                raise
            except Exception as error:  # SpiffWorkflow may raise any exception for an invalid model
                raise InputError(self._describe_error(error)) from error
            finally:
                tap.remove_listener(self.workflow, self)

    # --- callbacks of the workflow ------------------------------------------------------------------

    def task_state_changed(self, task: Task, previous: int) -> None:
        """Handle a task that is ready to run or has started to wait."""
        if task.state == TaskState.WAITING:
            task.workflow.waiting[task.id] = task
        elif previous == TaskState.WAITING:
            task.workflow.waiting.pop(task.id, None)
        if task.state == TaskState.READY:
            if task.task_spec.manual:
                _Job(self, task).start_attempt()
            else:
                self._ready.append(task)
        elif task.state == TaskState.WAITING and isinstance(task.task_spec, CatchingEvent):
            self._reached.append(task)

    def task_removed(self, task: Task) -> None:
        """Forget a dropped task; its scheduled events detect this."""
        task.workflow.waiting.pop(task.id, None)

    # --- driving ------------------------------------------------------------------------------------

    def _start_instance(self) -> None:
        scenario, case = self.simulation.scenario, self.case
        root = self.workflow.task_tree
        draws = {**scenario.variables, **(case.variables if case is not None else {})}
        root.data.update({name: draw(self.random, self.number) for name, draw in draws.items()})
        cancel = scenario.cancel if case is None else case.cancel or scenario.cancel
        suspend = scenario.suspend if case is None else case.suspend or scenario.suspend
        if cancel is not None and self.random.random() < cancel.probability:
            self.schedule(self.now + cancel.after, self._cancel)
        if suspend is not None and self.random.random() < suspend.probability:
            self.schedule(self.now + suspend.after, partial(self._suspend, suspend.lasts))
        self._ready.append(root)
        self._run_ready_tasks()

    def _run_ready_tasks(self) -> None:
        """Run all tasks that take no time."""
        while self._ready and not self.stopped:
            task = self._ready.popleft()
            if not self.has_state(task, TaskState.READY):
                continue
            self._check_endless_loop(task)
            self.run_task(task)
            if not self._ready:
                self._schedule_reached_events()
        self._schedule_reached_events()
        if self.workflow.completed:
            self.stopped = True

    def _check_end(self, stop: datetime | None) -> None:
        self.stopped |= self.simulation.stop_requested.is_set()
        self._events += 1
        if stop is None and self._events > _MAX_EVENTS:
            raise InputError(
                f"{self.simulation.source}: an instance is still running after {_MAX_EVENTS:,} events.",
                "Add 'until' to the scenario.",
            )

    def _check_endless_loop(self, task: Task) -> None:
        """Stop a process that loops while the time does not advance."""
        if self._loop_checked_at != self.now:
            self._loop_checked_at = self.now
            self._visits.clear()
        self._visits[task.task_spec] += 1
        if self._visits[task.task_spec] % _MAX_ROUNDS:
            return
        rounds, above = 0, task.parent
        while above is not None:
            token = self.recorder.find_token(above)
            if token is not None and token.created_at < self.now:
                break
            rounds += above.task_spec is task.task_spec
            above = above.parent
        # Many visits may also be the instances of a multi-instance activity, which are not a loop.
        if rounds >= _MAX_ROUNDS // 2:
            raise InputError(
                f"{self.simulation.source}: '{_element_id(task.task_spec)}' is in an endless loop:"
                f" simulated time did not advance in {rounds} rounds."
            )

    def _schedule_reached_events(self) -> None:
        """Schedule the events that were reached."""
        reached, self._reached = self._reached, []
        for task in reached:
            if task.state == TaskState.WAITING:
                for timer in find_events(task, TimerEventDefinition):
                    self.schedule(max(timer.due(task), self.now), partial(self._fire_timer, task, timer))
                self._schedule_messages(task)

    def _fire_timer(self, task: Task, timer: Any) -> None:
        if not self.has_state(task, TaskState.WAITING):
            return
        task.task_spec._update(task)  # noqa: SLF001 - what the engine itself does with its timers
        if isinstance(timer, CycleTimer) and task.state == TaskState.WAITING:
            self.schedule(max(timer.due(task), self.now), partial(self._fire_timer, task, timer))

    def _schedule_messages(self, task: Task) -> None:
        """Schedule the scenario's messages for a task that waits for them."""
        for one in find_events(task, MessageEventDefinition, SignalEventDefinition):
            message = self.simulation.scenario.messages.get(one.name)
            if self.case is not None:
                message = self.case.messages.get(one.name, message)
            if message is not None and self.random.random() < message.probability:
                sets = {name: draw(self.random, self.number) for name, draw in message.sets.items()}
                event = BpmnEvent(one, payload=sets)
                self.schedule(self.now + message.after(self.random), partial(self._deliver_message, task, event))

    def _deliver_message(self, task: Task, event: BpmnEvent) -> None:
        if self.has_state(task, TaskState.WAITING):
            task.task_spec.catch(task, event)
            task.task_spec._update(task)  # noqa: SLF001 - what the engine itself does with its events

    def has_state(self, task: Task, state: int) -> bool:
        """Tell whether a task is in a state, and still part of the instance.

        SpiffWorkflow drops the instances of a cancelled multi-instance activity without changing their state: they, and
        the sub-processes in them, still look live.
        """
        if task.state != state:
            return False
        while task.id in task.workflow.tasks:
            owner = task.workflow.parent_task_id
            if owner is None:
                return True
            holder = self.recorder.find_task(owner)
            if holder is None or holder.has_state(TaskState.FINISHED_MASK):
                return False
            task = holder
        return False

    def _cancel(self) -> None:
        self.workflow.cancel()
        self.stopped = True

    def _suspend(self, lasts: timedelta | None) -> None:
        """Suspend the instance, forever or for some time; events scheduled for this time happen afterwards."""
        self.recorder.suspend()
        self._scheduled, held = [], sorted(self._scheduled)
        if lasts is not None:
            until = self.now + lasts
            self.schedule(until, self.recorder.resume)
            for time, _, action in held:
                self.schedule(max(time, until), action)

    def next_number(self) -> int:
        """Return a number that this run has not used before, the same in each run of a scenario."""
        self._counter += 1
        return self._counter

    def run_task(self, task: Task) -> None:
        """Run a task, and remember it for the message of an error from SpiffWorkflow."""
        self._running = task
        task.run()

    def schedule(self, time: datetime, action: Callable[[], None]) -> None:
        """Schedule an action; those of the same time happen in the order in which they were scheduled."""
        heapq.heappush(self._scheduled, (time, self.next_number(), action))

    def _new_token_id(self, _task: UUID, _visit: int) -> str:
        return make_token_id(f"{self.instance_id}/{len(self.recorder.lifecycle)}")

    def _describe_error(self, error: Exception) -> str:
        spec = getattr(error, "task_spec", None)
        if spec is None and self._running is not None:
            spec = self._running.task_spec
        where = "" if spec is None else f" at '{_element_id(spec)}'"
        what = str(error).rstrip(". ")
        if not isinstance(error, SpiffWorkflowException):
            what = f"{type(error).__name__}: {what}"
        return f"{self.simulation.source}: SpiffWorkflow stopped{where}: {what}."


class _Job:
    """A task's job: attempts, failures, retries, BPMN errors, as the scenario plans them."""

    def __init__(self, run: InstanceRun, task: Task) -> None:
        self.run = run
        self.task = task
        self.plan = run.simulation.plan(run.case, task.task_spec.bpmn_id)
        self.failures = 0
        self.annotate(job_key=make_job_key(f"{run.instance_id}/job/{run.next_number()}"))
        if self.plan.workers:
            self.annotate(worker_id=run.random.choice(self.plan.workers))

    def annotate(self, **fields: Any) -> None:
        self.run.recorder.annotate(self.task, **fields)

    def start_attempt(self) -> None:
        """Start the first attempt or the next one; do nothing if the task is no longer ready."""
        run, plan = self.run, self.plan
        if not run.has_state(self.task, TaskState.READY):
            return
        retries = 0 if plan.retries is None else plan.retries.max
        timeout = None if plan.timeout is None else run.now + plan.timeout
        self.annotate(retries_left=retries - self.failures, timeout_at=timeout)
        if plan.hangs is not None and run.random.random() < plan.hangs:
            return
        takes = _SECOND if plan.takes is None else plan.takes(run.random)
        run.schedule(run.now + takes, self._end_attempt)

    def _end_attempt(self) -> None:
        run, task, plan = self.run, self.task, self.plan
        if not run.has_state(task, TaskState.READY):
            return
        if plan.error is not None and run.random.random() < (plan.error_probability or 0.0):
            self.annotate(retries_used=self.failures)
            if self._throw_error(plan.error):
                return
        if self._attempt_fails():
            self._fail()
            return
        if plan.sets:
            task.data.update({name: draw(run.random, run.number) for name, draw in plan.sets.items()})
        self.annotate(retries_used=self.failures)
        run.run_task(task)

    def _attempt_fails(self) -> bool:
        if self.plan.fails_times is not None:
            return self.failures < self.plan.fails_times
        return self.plan.fails is not None and self.run.random.random() < self.plan.fails

    def _fail(self) -> None:
        retries = self.plan.retries
        if retries is None or self.failures >= retries.max:
            self.annotate(retries_used=self.failures, error_message="no retries left")
            self.task.error()
            return
        self.failures += 1
        self.annotate(retries_left=retries.max - self.failures, retries_used=self.failures)
        self.run.schedule(self.run.now + retries.backoff(self.run.random), self.start_attempt)

    def _throw_error(self, code: str) -> bool:
        """Throw a BPMN error from the task; False if no boundary event of it catches that."""
        event = BpmnEvent(ErrorEventDefinition(code, code), payload={})
        for sibling in self.task.parent.children:
            spec = sibling.task_spec
            if isinstance(spec, BoundaryEvent) and spec.catches(sibling, event):
                spec.catch(sibling, event)
                spec._update(sibling)  # noqa: SLF001 - what the engine itself does with its events
                return True
        return False


def _find_unused_tasks(scenario: Scenario, definitions: Sequence[Definition]) -> tuple[str, ...]:
    """Return the names of tasks in a scenario that match no element."""
    elements = [element for definition in definitions for element in definition.elements]
    named = dict.fromkeys(name for case in (scenario, *scenario.cases.values()) for name in case.tasks)
    return tuple(
        n for n in named if n != "default" and not any(fnmatchcase(e, n) for e in elements) and n not in elements
    )


def _simulation_key(scenario: Scenario, process: str, definitions: Sequence[Definition]) -> str:
    """Return a key that distinguishes a simulation from those of another model, scenario or seed.

    A store that holds both would mix their tokens if the ids were the same.
    """
    digest = blake2b(scenario.fingerprint.encode(), digest_size=16)
    for text in sorted({definition.xml or "" for definition in definitions}):
        digest.update(text.encode())
    return f"{scenario.seed}/{process}/{digest.hexdigest()}"


def _element_id(spec: TaskSpec) -> str:
    return str(getattr(spec, "bpmn_id", None) or spec.name)
