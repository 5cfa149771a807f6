"""Makes the decisions of one simulated instance: by the scenario, by evaluating the model, or by chance.

Nothing of the model is executed: expressions and scripts are evaluated by ``evaluation``, which knows a safe subset
of the usual languages. Only with ``trust_scripts`` does Python of the model run as Python.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from SpiffWorkflow.task import Task

from tokctl.bpmn.element_details import EventDefinition
from tokctl.bpmn.execution_details import Expression, LoopDetails
from tokctl.errors import InputError
from tokctl.simulation.compensation import completed_activities
from tokctl.simulation.engine_specs import IncidentError, LoopingStep, Unknown
from tokctl.simulation.evaluation.language import describe
from tokctl.simulation.flow_choice import NEVER, choose
from tokctl.simulation.safe_evaluation import (
    CannotEvaluate,
    evaluate,
    evaluate_condition,
    evaluate_timer,
    run_script,
)
from tokctl.simulation.timers import TimerSchedule, parse_timer
from tokctl.simulation.trusted_python import TrustedPython

if TYPE_CHECKING:
    from tokctl.simulation.instance_run import InstanceRun

_DEFAULT_DURATION = timedelta(seconds=1)
_MAX_INSTANCES = 10_000


class RunInterpreter:
    """The interpreter of one instance (see ``engine_specs.Interpreter``)."""

    def __init__(self, run: InstanceRun) -> None:
        self.run = run
        self.simulation = run.simulation
        self.trusted = TrustedPython() if self.simulation.trust_scripts else None
        self._instances = 0  # of multi-instance activities

    # --- flows ---

    def chosen_flows(self, task: Task) -> Collection[str]:
        """Return the ids of the flows that leave the element: chosen once for each visit."""
        known: tuple[str, ...] | None = task.internal_data.get("flows")
        if known is not None:
            return known
        options = task.task_spec.flow_choice
        plans = self.run.flow_plans
        chosen = choose(options, plans, lambda condition: self._is_met(task, condition), self.run.random)
        if chosen.reason is not None:
            self._note(options.element.id, options.element.type, f"chance chose its flow: {chosen.reason}")
        if not chosen.flows:
            if NEVER in map(plans.get, (flow.id for flow in options.flows)):
                raise IncidentError("no outgoing flow can be taken: the scenario excludes some ('never')")
            raise IncidentError("no condition of its outgoing flows is met, and it has no default flow")
        task.internal_data["flows"] = chosen.flows
        return chosen.flows

    def next_to_compensate(self, task: Task, activity_ids: Collection[str]) -> str | None:
        """Return which activity is compensated next: the last of those that had been completed when it began."""
        left: list[Task] | None = task.internal_data.get("to_compensate")
        if left is None:
            if isinstance(task.parent.task_spec, LoopingStep):  # back from the handler of the one before
                left = task.parent.parent.parent.internal_data["to_compensate"][:-1]
            else:
                done = completed_activities(task, activity_ids)
                left = [one for one in done if not one.internal_data.get("compensated")]
                left.sort(key=self.run.completed_at)
                for one in left:
                    one.internal_data["compensated"] = True
            task.internal_data["to_compensate"] = left
        return self.run.element(left[-1]).id if left else None

    def event_condition_is_met(self, task: Task, condition: Expression) -> bool:
        """Tell whether the condition that an event waits for is met; False if it cannot be evaluated."""
        try:
            return self._is_met(task, condition)
        except CannotEvaluate as error:
            element = self.run.element(task)
            self._note(element.id, element.type, f"waits, as its condition cannot be evaluated: {error}")
            return False

    # --- loops ---

    def loop_items(self, task: Task, loop: LoopDetails) -> list[Any]:
        """Return an item for each instance: as many as the scenario says, or the model."""
        element = self.run.element(task)
        try:
            items = self._items(task, loop)
        except CannotEvaluate as error:
            self._note(element.id, element.type, f"has one instance: {error}")
            items = [Unknown.ITEM]
        self._instances += len(items)
        return items

    def _items(self, task: Task, loop: LoopDetails) -> list[Any]:
        planned = self._planned_instances(self.run.element(task).id)
        items = self._modelled_items(task, loop) if planned is None else [Unknown.ITEM] * planned
        if self._instances + len(items) > self.simulation.limits.steps:
            raise CannotEvaluate(f"there would be more than {self.simulation.limits.steps:,} in all (--max-steps)")
        return items

    def _modelled_items(self, task: Task, loop: LoopDetails) -> list[Any]:
        if loop.collection is not None:
            return self._collection(task, loop.collection)
        if loop.count is None:
            raise CannotEvaluate("the model does not say how many")
        count = self._number(task, loop.count)
        if not 0 <= count <= _MAX_INSTANCES:
            raise CannotEvaluate(f"the number of instances is not from 0 to {_MAX_INSTANCES:,}")
        return [Unknown.ITEM] * int(count)

    def _number(self, task: Task, expression: Expression) -> float:
        number = self._evaluate(task, expression)
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise CannotEvaluate(f"the number is {describe(number)}")
        return number

    def _planned_instances(self, element_id: str) -> int | None:
        """Return the number of instances that the scenario plans; None if it plans none."""
        draw = self.run.plan(element_id).instances
        if draw is None:
            return None
        count = draw(self.run.random, self.run.number)
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= _MAX_INSTANCES:
            raise InputError(
                f"The scenario plans {count!r} instances of '{element_id}', not a number from 0 to {_MAX_INSTANCES:,}."
            )
        return count

    def _collection(self, task: Task, collection: Expression) -> list[Any]:
        name = collection.text
        items = task.data[name] if name in task.data else self._evaluate(task, collection)
        if isinstance(items, dict):
            items = list(items.values())
        if not isinstance(items, (list, tuple)):
            raise CannotEvaluate(f"'{collection.text}' is not a list")
        return list(items)

    def instances_suffice(self, task: Task, loop: LoopDetails) -> bool:
        """Tell whether the completion condition is met; False if it cannot be evaluated."""
        instances = len(task.internal_data.get("items", ()))
        completed = len(task.internal_data.get("merged", ()))
        counters = {
            "nrOfInstances": instances,
            "nrOfCompletedInstances": completed,
            "nrOfActiveInstances": instances - completed,
            "numberOfInstances": instances,
            "numberOfCompletedInstances": completed,
            "numberOfActiveInstances": instances - completed,
        }
        if loop.condition is None:
            return False
        try:
            return self._is_met(task, loop.condition, counters)
        except CannotEvaluate as error:
            element = self.run.element(task)
            self._note(element.id, element.type, f"runs all instances: its completion condition is unknown: {error}")
            return False

    def loop_is_complete(self, task: Task, loop: LoopDetails, iterations: int) -> bool:
        """Tell whether a standard loop has ended."""
        element = self.run.element(task)
        planned = task.internal_data.get("planned")
        if iterations == 0:
            planned = task.internal_data["planned"] = self._planned_instances(element.id)
        if planned is not None:
            return bool(iterations >= planned)
        try:
            if loop.count is not None and iterations >= self._number(task, loop.count):
                return True
            if loop.condition is not None:
                return not self._is_met(task, loop.condition, {"loopCounter": iterations})
            reason = "the model does not say how often"
            if loop.count is not None:
                return False
        except CannotEvaluate as error:
            reason = str(error)
        self._note(element.id, element.type, f"loops once: {reason}")
        return iterations > 0

    # --- time ---

    def timer_schedule(self, task: Task, event: EventDefinition) -> TimerSchedule:
        """Return when a timer fires; as if it were a task, if the model does not say so."""
        text = event.expression or ""
        try:
            value = evaluate_timer(text, task.data, functions=self._functions())
            return parse_timer(value, self.run.now)
        except (CannotEvaluate, ValueError) as error:
            reason = str(error)
        except OverflowError:
            reason = "it is not within the years 1 to 9999"
        element = self.run.element(task)
        plan = self.run.plan(element.id)
        takes = _DEFAULT_DURATION if plan.takes is None else plan.takes(self.run.random)
        if not text:
            reason = "it has no date, duration or cycle"
        self._note(element.id, element.type, f"its timer fires after the duration of a task: {reason}")
        return TimerSchedule(self.run.now + takes)

    # --- scripts and expressions ---

    def run_script(self, task: Task) -> None:
        """Run the script of a task over its data; one that cannot be evaluated is skipped.

        Raises IncidentError: a trusted script fails.
        """
        script = self.run.execution_details(task).script
        if script is None:
            return
        if self.trusted is not None and self.trusted.knows(script.language):
            self.trusted.execute(script.text, task.data)
            return
        try:
            task.data.update(run_script(script.text, task.data, language=script.language))
        except CannotEvaluate as error:
            element = self.run.element(task)
            what = "is replaced by the variables of the scenario" if self.run.plan(element.id).sets else "is skipped"
            self._note(element.id, element.type, f"its script {what}: {error}")

    def _is_met(self, task: Task, condition: Expression, more: dict[str, Any] | None = None) -> bool:
        return bool(self._evaluate(task, condition, more, evaluate_condition))

    def _evaluate(
        self,
        task: Task,
        expression: Expression,
        more: dict[str, Any] | None = None,
        how: Callable[..., Any] = evaluate,
    ) -> Any:
        variables = {**task.data, **(more or {})}
        try:
            return how(expression.text, variables, language=expression.language, functions=self._functions())
        except CannotEvaluate:
            if self.trusted is not None and self.trusted.knows(expression.language):
                return self.trusted.evaluate(expression.text, variables)
            raise

    def _functions(self) -> dict[str, Any]:
        now: datetime = self.run.now
        return {"now": lambda: now, "today": now.date}

    def _note(self, element_id: str, element_type: str, what: str) -> None:
        self.simulation.approximations.add(element_id, element_type, what)
