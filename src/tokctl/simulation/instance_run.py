"""One simulated instance: its jobs, timers and messages."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tokctl.bpmn.execution_details import ExecutionDetails
from tokctl.errors import InputError, TokctlError
from tokctl.model.definitions import Element
from tokctl.recorder import task_events as tap
from tokctl.recorder.ids import make_token_id
from tokctl.recorder.spiff import SpiffRecorder
from tokctl.simulation.awaited_events import AwaitedEvents
from tokctl.simulation.engine_specs import IncidentError
from tokctl.simulation.interpreter import RunInterpreter
from tokctl.simulation.jobs import SimulatedJob
from tokctl.simulation.loop_guard import LoopGuard, element_id
from tokctl.simulation.scenario import TaskPlan
from tokctl.simulation.scoped_events import ErrorDefinition
from tokctl.simulation.virtual_workflow import VirtualWorkflow

# isort: split
from SpiffWorkflow.bpmn.specs.bpmn_process_spec import BpmnProcessSpec
from SpiffWorkflow.bpmn.specs.mixins.events.event_types import CatchingEvent
from SpiffWorkflow.bpmn.specs.mixins.events.intermediate_event import BoundaryEvent
from SpiffWorkflow.exceptions import SpiffWorkflowException
from SpiffWorkflow.task import Task
from SpiffWorkflow.util.task import TaskState

if TYPE_CHECKING:
    from tokctl.simulation.conversation import Conversation

_MAX_ROUNDS = 500
_SECOND = timedelta(seconds=1)
_LIVE = TaskState.READY | TaskState.WAITING | TaskState.STARTED | TaskState.ERROR  # one that failed has not ended


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """Which instance of a simulation it is: its number (from 1), its id, and the seed of its random numbers.

    ``order`` is the number of instances that started before it with the same number.
    """

    number: int
    order: int
    instance_id: str
    seed: str


class InstanceRun:
    """One instance, from its start until its end or the end of the clock."""

    def __init__(
        self, conversation: Conversation, identity: RunIdentity, process_id: str, spec: BpmnProcessSpec
    ) -> None:
        self.conversation = conversation
        self.simulation = simulation = conversation.simulation
        self.queue = conversation.queue
        scenario = simulation.scenario
        self.number = identity.number
        self.order = identity.order
        self.process_id = process_id
        self.case = scenario.cases.get(self.number)
        self.flow_plans = {**scenario.flows, **({} if self.case is None else self.case.flows)}
        self.instance_id: str = identity.instance_id
        self.random: Random = Random(identity.seed)  # noqa: S311 - a simulation needs no secrets
        self.stopped = False
        self.due_jobs: dict[UUID, tuple[str, datetime]] = {}  # what happens next, and when
        self._ready: deque[Task] = deque()
        self.events = AwaitedEvents(self)
        self._unsettled: dict[Any, None] = {}  # workflows whose joins may fire: their live tasks have changed
        self._running: Task | None = None
        self._counter = 0
        self._loop_guard = LoopGuard(self)
        self.interpreter = RunInterpreter(self)
        self.workflow = VirtualWorkflow(
            spec, simulation.builder.built.specs, self.interpreter, self.now, simulation.limits.call_depth
        )
        self.recorder = SpiffRecorder(
            self.workflow,
            simulation.sink,
            instance_id=self.instance_id,
            definitions=simulation.model,
            clock=lambda: self.now,
            new_token_id=self._new_token_id,
        )

    @property
    def now(self) -> datetime:
        """The virtual time."""
        return self.queue.now

    @property
    def tokens(self) -> int:
        """The number of recorded tokens."""
        return len(self.recorder.lifecycle)

    # --- what the model and the scenario say -------------------------------------------------------

    def element(self, task: Task) -> Element:
        """Return the element that a task is at."""
        return task.task_spec.element  # type: ignore[no-any-return]

    def execution_details(self, task: Task) -> ExecutionDetails:
        """Return what running the element requires that a task is at."""
        return task.task_spec.process_model.execution_details(task.task_spec.element.id)  # type: ignore[no-any-return]

    def waiting_tasks(self) -> list[Task]:
        """Return the tasks that wait for an event."""
        workflows = (self.workflow, *self.workflow.subprocesses.values())
        tasks = [task for workflow in workflows for task in workflow.waiting.values()]
        return [one for one in tasks if isinstance(one.task_spec, CatchingEvent) and self.has_state(one, one.state)]

    def plan(self, element_id: str) -> TaskPlan:
        """Return the scenario's plan for an element."""
        return self.simulation.plan(self.case, element_id)

    def completed_at(self, task: Task) -> datetime:
        """Return when a task was completed."""
        token = self.recorder.find_token(task)
        return self.now if token is None or token.completed_at is None else token.completed_at

    # --- running ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start recording, and run until the first element that takes time."""
        self.recorder.attach()
        tap.add_listener(self.workflow, self)
        self.act(self._start_instance)

    def finish(self) -> None:
        """Write the instance to the sink, and forget it."""
        tap.remove_listener(self.workflow, self)
        self.recorder.detach()
        self.recorder.flush()

    def act(self, action: Callable[[], None]) -> None:
        """Do what was scheduled for this time, and all that follows from it without taking time."""
        if self.stopped:
            return
        self.workflow.now = self.now
        try:
            action()
            self._run_ready_tasks()
        except (TokctlError, OverflowError):  # the clock would leave the calendar
            raise
        except Exception as error:  # SpiffWorkflow may raise any exception for an invalid model
            raise InputError(_describe_error(error, self.source, self._running)) from error

    def schedule(self, time: datetime, action: Callable[[], None]) -> None:
        """Schedule an action; those of the same time happen in the order in which they were scheduled."""
        self.queue.schedule(time, self, action)

    def next_number(self) -> int:
        """Return a number that this run has not used before, the same in each run of a scenario."""
        self._counter += 1
        return self._counter

    # --- callbacks of the workflow ------------------------------------------------------------------

    def task_state_changed(self, task: Task, previous: int) -> None:
        """Handle a task that is ready to run, has started to wait, or has ended."""
        workflow = task.workflow
        self._unsettled[workflow] = None
        if task.state == TaskState.WAITING:
            workflow.list_waiting(task)
        elif previous == TaskState.WAITING:
            workflow.unlist_waiting(task)
        if task.state & _LIVE:
            workflow.live[task.id] = task
        else:
            workflow.live.pop(task.id, None)
        if task.state == TaskState.READY:
            if task.task_spec.manual:
                SimulatedJob(self, task).start_attempt()
            elif isinstance(task.task_spec, BoundaryEvent):  # it interrupts before anything else happens
                self._ready.appendleft(task)
            else:
                self._ready.append(task)
        elif task.state == TaskState.WAITING and isinstance(task.task_spec, CatchingEvent):
            self.events.reach(task)
        elif task.state == TaskState.COMPLETED and getattr(task.task_spec, "bpmn_id", None) is not None:
            self.conversation.element_completed(self, task.task_spec.bpmn_id)

    def task_removed(self, task: Task) -> None:
        """Forget a dropped task, and cancel what runs inside it; its scheduled events detect this."""
        task.workflow.unlist_waiting(task)
        task.workflow.live.pop(task.id, None)
        self._unsettled[task.workflow] = None
        self.workflow.event_manager.remove_task(task)
        inner = self.workflow.get_subprocess(task)
        if inner is not None:
            inner.cancel()

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

    def _run_ready_tasks(self) -> None:
        """Run all tasks that take no time."""
        while not self.stopped:
            while self._ready and not self.stopped:
                if self.queue.stop_requested.is_set():
                    self.stopped = True
                    break
                task = self._ready.popleft()
                if not self.has_state(task, TaskState.READY):
                    continue
                self._loop_guard.check(task)
                self.run_task(task)
                if not self._ready:
                    self.events.schedule()
            unsettled, self._unsettled = self._unsettled, {}
            for workflow in unsettled:
                if workflow is self.workflow or workflow.parent_task_id in self.workflow.subprocesses:
                    workflow.settle_joins()
            if not self._ready and not self._unsettled:
                break
        self.events.schedule()
        if self.workflow.completed:
            self.stopped = True

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
        held = self.queue.take(self)
        if lasts is not None:
            until = self.now + lasts
            self.schedule(until, self.recorder.resume)
            for time, action in held:
                self.schedule(max(time, until), action)

    def run_task(self, task: Task) -> None:
        """Run a task, and remember it for the message of an error from SpiffWorkflow."""
        self._running = task
        try:
            task.run()
        except IncidentError as error:  # the task is FAILED
            self.recorder.annotate(task, error_message=str(error))
        self._end_by_uncaught_error(task)

    def _end_by_uncaught_error(self, task: Task) -> None:
        """End the instance if it has thrown an error that nothing catches (ISO 19510, section 10.5.1)."""
        workflow = self.workflow
        if any(isinstance(one.event_definition, ErrorDefinition) for one in workflow.bpmn_events):
            workflow.bpmn_events.clear()
            element = self.element(task)
            what = "its error is not caught, and ends the instance"
            self.simulation.approximations.add(element.id, element.type, what)
            for live in workflow.get_tasks(state=TaskState.NOT_FINISHED_MASK):
                live.cancel()
            workflow.completed = True
            self.stopped = True

    @property
    def source(self) -> str:
        """The name of the document that the process is from."""
        return self.simulation.models[self.process_id].source

    def _new_token_id(self, _task: UUID, _visit: int) -> str:
        return make_token_id(f"{self.instance_id}/{len(self.recorder.lifecycle)}")


def _describe_error(error: Exception, source: str, running: Task | None) -> str:
    """Describe an error of SpiffWorkflow, which may have the spec where it happened; ``running`` is the last task."""
    spec = getattr(error, "task_spec", None)
    if spec is None and running is not None:
        spec = running.task_spec
    where = "" if spec is None else f" at '{element_id(spec)}'"
    what = str(error).rstrip(". ")
    if not isinstance(error, SpiffWorkflowException):
        what = f"{type(error).__name__}: {what}"
    return f"{source}: SpiffWorkflow stopped{where}: {what}."
