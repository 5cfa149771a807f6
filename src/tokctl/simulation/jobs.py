"""The job of a task: its attempts, failures, retries and BPMN errors, as the scenario plans them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from SpiffWorkflow.bpmn.util.event import BpmnEvent
from SpiffWorkflow.task import Task
from SpiffWorkflow.util.task import TaskState

from tokctl.recorder.ids import make_job_key
from tokctl.simulation.engine_specs import IncidentError
from tokctl.simulation.scoped_events import ErrorDefinition, throw_from

if TYPE_CHECKING:
    from tokctl.simulation.instance_run import InstanceRun

_SECOND = timedelta(seconds=1)


class SimulatedJob:
    """One job."""

    def __init__(self, run: InstanceRun, task: Task) -> None:
        self.run = run
        self.task = task
        self.plan = run.plan(task.task_spec.bpmn_id)
        self.failures = 0
        self.annotate(job_key=make_job_key(f"{run.instance_id}/job/{run.next_number()}"))
        if self.plan.workers:
            self.annotate(worker_id=run.random.choice(self.plan.workers))

    def annotate(self, **fields: Any) -> None:
        """Write fields into the execution context of the token."""
        self.run.recorder.annotate(self.task, **fields)

    def start_attempt(self) -> None:
        """Start the first attempt or the next one; do nothing if the task is no longer ready."""
        run, plan = self.run, self.plan
        run.due_jobs.pop(self.task.id, None)
        if not run.has_state(self.task, TaskState.READY):
            return
        retries = 0 if plan.retries is None else plan.retries.max
        timeout = None if plan.timeout is None else run.now + plan.timeout
        self.annotate(retries_left=retries - self.failures, timeout_at=timeout)
        if plan.hangs is not None and run.random.random() < plan.hangs:
            return
        takes = _SECOND if plan.takes is None else plan.takes(run.random)
        run.due_jobs[self.task.id] = "its job ends", run.now + takes
        run.schedule(run.now + takes, self._end_attempt)

    def _end_attempt(self) -> None:
        run, task, plan = self.run, self.task, self.plan
        if not run.has_state(task, TaskState.READY):
            return
        if plan.error is not None and run.random.random() < (plan.error_probability or 0.0):
            self.annotate(retries_used=self.failures)
            if self._throw_error(plan.error):
                return
            element, what = run.element(task), f"nothing catches the error '{plan.error}' of the scenario: it continues"
            run.simulation.approximations.add(element.id, element.type, what)
        if self._attempt_fails():
            self._fail("no retries left")
            return
        try:
            run.interpreter.run_script(task)
        except IncidentError as error:
            self._fail(str(error))
            return
        if plan.sets:
            task.data.update({name: draw(run.random, run.number) for name, draw in plan.sets.items()})
        self.annotate(retries_used=self.failures)
        run.run_task(task)

    def _attempt_fails(self) -> bool:
        if self.plan.fails_times is not None:
            return self.failures < self.plan.fails_times
        return self.plan.fails is not None and self.run.random.random() < self.plan.fails

    def _fail(self, message: str) -> None:
        retries = self.plan.retries
        if retries is None or self.failures >= retries.max:
            self.annotate(retries_used=self.failures, error_message=message)
            self.task.error()
            return
        self.failures += 1
        self.annotate(retries_left=retries.max - self.failures, retries_used=self.failures)
        begin = self.run.now + retries.backoff(self.run.random)
        self.run.due_jobs[self.task.id] = "its job is retried", begin
        self.run.schedule(begin, self.start_attempt)

    def _throw_error(self, code: str) -> bool:
        """Throw a BPMN error from the task; False if nothing around it catches that."""
        return throw_from(self.task, BpmnEvent(ErrorDefinition(code, code), payload={}))
