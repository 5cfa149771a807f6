"""Task specs of SpiffWorkflow for elements that it runs differently from BPMN 2.0, or not at all.

Nothing here evaluates text of the model: specs ask the interpreter of the workflow (``Interpreter``) for every
decision, count and time. ``spec_builder`` connects the specs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import Enum
from typing import Any, Protocol
from uuid import UUID

from SpiffWorkflow.bpmn.specs.bpmn_process_spec import BpmnProcessSpec
from SpiffWorkflow.bpmn.specs.control import BoundaryEventJoin, SimpleBpmnTask
from SpiffWorkflow.bpmn.specs.data_spec import TaskDataReference
from SpiffWorkflow.bpmn.specs.defaults import (
    BoundaryEvent,
    ExclusiveGateway,
    InclusiveGateway,
    NoneTask,
    ParallelGateway,
    ParallelMultiInstanceTask,
    SendTask,
    SequentialMultiInstanceTask,
    StandardLoopTask,
)
from SpiffWorkflow.bpmn.specs.event_definitions.conditional import ConditionalEventDefinition
from SpiffWorkflow.bpmn.specs.mixins.multiinstance_task import LoopTask
from SpiffWorkflow.bpmn.specs.mixins.unstructured_join import UnstructuredJoin
from SpiffWorkflow.operators import Operator
from SpiffWorkflow.specs.base import TaskSpec
from SpiffWorkflow.specs.MultiChoice import MultiChoice
from SpiffWorkflow.task import Task
from SpiffWorkflow.util.deep_merge import DeepMerge
from SpiffWorkflow.util.task import TaskState

from tokctl.bpmn.execution_details import Expression, LoopDetails
from tokctl.model.definitions import SequenceFlow


class IncidentError(Exception):
    """An element cannot go on, as when an engine raises an incident; the message says why."""


class Interpreter(Protocol):
    """Makes the decisions that depend on variables or on the scenario; ``task`` is at the element in question."""

    def chosen_flows(self, task: Task) -> Collection[str]:
        """Return the ids of the sequence flows that leave the element; the same ones for the same visit.

        Raises IncidentError: none can be taken.
        """

    def next_to_compensate(self, task: Task, activity_ids: Collection[str]) -> str | None:
        """Return which of some activities is compensated next: the last that was completed, and not compensated yet.

        None if there is no other; the answer is the same for the same visit.
        """

    def loop_items(self, task: Task, loop: LoopDetails) -> list[Any]:
        """Return an item for each instance of a multi-instance activity."""

    def loop_is_complete(self, task: Task, loop: LoopDetails, iterations: int) -> bool:
        """Tell whether a standard loop has ended after this many iterations."""

    def instances_suffice(self, task: Task, loop: LoopDetails) -> bool:
        """Tell whether a multi-instance activity ends although not all of its instances have ended."""

    def event_condition_is_met(self, task: Task, condition: Expression) -> bool:
        """Tell whether the condition that an event waits for is met."""


def interpreter_of(task: Task) -> Interpreter:
    """Return the interpreter of the workflow that a task belongs to."""
    return task.workflow.top_workflow.interpreter  # type: ignore[no-any-return]


# --- jobs -------------------------------------------------------------------------------------------


class _ManualTaskMixin:
    """A task that the driver completes: SpiffWorkflow leaves it READY."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.manual = True


class TaskJob(_ManualTaskMixin, NoneTask):  # type: ignore[misc]
    """A task done outside: by a person, a service, a rule engine, a process that is not at hand."""


class SendJob(_ManualTaskMixin, SendTask):  # type: ignore[misc]
    """A send task, which sends when its job is done."""


# --- events -----------------------------------------------------------------------------------------


class DefiniteBoundaryEvent(BoundaryEvent):  # type: ignore[misc]
    """A boundary event that any element may follow.

    SpiffWorkflow's own class leaves the next task predicted, so that a multi-instance activity cannot start there.
    """

    def _run_hook(self, my_task: Task) -> Any:
        _make_definite(my_task)
        return super()._run_hook(my_task)


class BoundaryJoin(BoundaryEventJoin):  # type: ignore[misc]
    """Withdraws the boundary events of an activity that has ended, or the activity that one of them interrupts.

    SpiffWorkflow's own class searches all tasks since the activity began, and those before it.
    """

    def _find_tasks(self, my_task: Task) -> list[Task]:
        split = my_task.find_ancestor(self.split_task)
        return [task for branch in split.children for task in branch.children if task.task_spec is self]


class ConditionEvent(ConditionalEventDefinition):  # type: ignore[misc]
    """Waits for a condition over the variables; a message of its name stands for the condition."""

    def __init__(self, name: str, condition: Expression) -> None:
        super().__init__(expression=None)
        self.name = name
        self.condition = condition

    def has_fired(self, my_task: Task) -> bool:
        """Tell whether the condition is met, or was met before."""
        if not my_task.internal_data.get("event_fired"):
            my_task.internal_data["event_fired"] = interpreter_of(my_task).event_condition_is_met(
                my_task, self.condition
            )
        return bool(my_task.internal_data["event_fired"])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ConditionEvent) and self.name == other.name

    __hash__ = None  # type: ignore[assignment]


# --- sequence flows that are chosen -----------------------------------------------------------------


class FlowCondition(Operator):  # type: ignore[misc]
    """The condition of a sequence flow: the interpreter chooses the flows of an element all at once."""

    def __init__(self, flow: SequenceFlow) -> None:
        super().__init__(flow.id)
        self.flow = flow

    def _matches(self, task: Task) -> bool:
        return self.flow.id in interpreter_of(task).chosen_flows(task)


class IsCompensatedNext(Operator):  # type: ignore[misc]
    """Whether an activity is the next of some that are compensated one after the other."""

    def __init__(self, activity_id: str, all_ids: Collection[str]) -> None:
        super().__init__(activity_id)
        self.activity_id = activity_id
        self.all_ids = all_ids

    def _matches(self, task: Task) -> bool:
        return interpreter_of(task).next_to_compensate(task, self.all_ids) == self.activity_id


class HiddenStep(SimpleBpmnTask):  # type: ignore[misc]
    """A step between elements that is not in the diagram, such as one of several flows between the same elements."""

    def __init__(self, wf_spec: Any, name: str, flow_id: str | None = None) -> None:
        super().__init__(wf_spec, name)
        self.flow_id = flow_id


class LoopingStep(HiddenStep):
    """A step back to an earlier element where no gateway decides about it.

    SpiffWorkflow predicts all that certainly follows, which never ends in such a loop. Its prediction stops here.
    """

    def _predict_hook(self, my_task: Task) -> None:
        pass

    def _run_hook(self, my_task: Task) -> bool:
        my_task._sync_children(self.outputs, TaskState.FUTURE)  # noqa: SLF001 - as gateways do
        _make_definite(my_task)
        return True


class WithdrawOthers(HiddenStep):
    """Withdraws all other tokens of its process or sub-process."""

    def _run_hook(self, my_task: Task) -> bool:
        for task in list(my_task.workflow.live.values()):
            if task is not my_task:
                task.cancel()
        return True


class ConditionalSteps(ExclusiveGateway):  # type: ignore[misc]
    """A choice between steps that is not in the diagram."""


class FlowSplit(MultiChoice, SimpleBpmnTask):  # type: ignore[misc]
    """The outgoing flows of an activity or event, where some have conditions: those with met conditions are taken.

    It is not in the diagram.
    """


# --- joins ------------------------------------------------------------------------------------------


class _TokenJoin(UnstructuredJoin):  # type: ignore[misc]
    """A gateway that takes at most one token from each incoming flow when it fires; others wait for the next time.

    SpiffWorkflow's own joins lose the second of two tokens that arrive over the same flow.
    """

    def _update_hook(self, my_task: Task) -> bool:
        arrivals = [task for task in my_task.workflow.waiting.values() if task.task_spec is self]
        if my_task not in arrivals:
            arrivals.append(my_task)
        first_by_input: dict[TaskSpec, Task] = {}
        for task in arrivals:
            first_by_input.setdefault(task.parent.task_spec, task)
        used = list(first_by_input.values())
        may_fire = len(used) >= len(self._inputs) or self._may_fire_early(my_task, first_by_input)
        if my_task not in used or not may_fire:
            if my_task.state != TaskState.WAITING:
                my_task._set_state(TaskState.WAITING)  # noqa: SLF001 - as the class does that this replaces
            return False
        others = [task for task in used if task is not my_task]
        my_task.internal_data["joined"] = [task.id for task in others]
        for task in others:
            task.cancel()
        return True

    def _may_fire_early(self, _task: Task, _arrived: dict[TaskSpec, Task]) -> bool:
        """Tell whether it fires although not every incoming flow has a token."""
        return False

    def _predict_hook(self, _task: Task) -> None:
        """Predict nothing: the joins of a chain of forks would double what follows, once for each incoming flow."""

    def _run_hook(self, my_task: Task) -> bool:
        joined: Iterable[UUID] = my_task.internal_data.get("joined", ())
        for task_id in joined:
            DeepMerge.merge(my_task.data, my_task.workflow.tasks[task_id].parent.data)
        my_task._inherit_data()  # noqa: SLF001 - as the class does that this replaces
        my_task._sync_children(self._choose_outputs(my_task), TaskState.FUTURE)  # noqa: SLF001 - as gateways do
        _make_definite(my_task)
        return True

    def _choose_outputs(self, _task: Task) -> list[TaskSpec]:
        return self.outputs  # type: ignore[no-any-return]


class JoiningParallelGateway(_TokenJoin, ParallelGateway):  # type: ignore[misc]
    """Fires when there is a token on each incoming flow (ISO 19510, section 13.4.1)."""


class JoiningInclusiveGateway(_TokenJoin, InclusiveGateway):  # type: ignore[misc]
    """Fires when no other token can arrive over a flow that has none yet (ISO 19510, section 13.4.3).

    A token that can also arrive over a flow that has one is not waited for. The gateway fires only when no task is
    about to run (``settle``): until then the other tokens are on their way.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._upstream: dict[str, frozenset[TaskSpec]] = {}

    def settle(self, my_task: Task) -> None:
        """Fire if no other token can arrive."""
        my_task.internal_data["settled"] = True
        self._update(my_task)
        my_task.internal_data.pop("settled", None)

    def _may_fire_early(self, my_task: Task, arrived: dict[TaskSpec, Task]) -> bool:
        if not my_task.internal_data.get("settled"):
            return False
        empty, full = self._upstream_of(other=arrived), self._upstream_of(arrived)
        sources = {task.task_spec for task in my_task.workflow.live.values() if task.task_spec is not self}
        return not any(source in empty and source not in full for source in sources)

    def _upstream_of(
        self, inputs: Iterable[TaskSpec] | None = None, *, other: Iterable[TaskSpec] = ()
    ) -> frozenset[TaskSpec]:
        """Return the specs from which a token can arrive over these inputs, or over all but ``other``."""
        wanted = [spec for spec in self.inputs if spec not in other] if inputs is None else list(inputs)
        found: set[TaskSpec] = set()
        for spec in wanted:
            if spec.name not in self._upstream:
                seen, left = {spec}, [spec]
                while left:
                    left.extend(new := [one for one in left.pop().inputs if one not in seen and one is not self])
                    seen.update(new)
                self._upstream[spec.name] = frozenset(seen)
            found |= self._upstream[spec.name]
        return frozenset(found)

    def _choose_outputs(self, my_task: Task) -> list[TaskSpec]:
        matches, defaults = self._get_matching_outputs(my_task)
        return list(matches or defaults)


class ProcessEnd(UnstructuredJoin, SimpleBpmnTask):  # type: ignore[misc]
    """Where all ways through a process or sub-process end: it fires when nothing else in it is live."""

    def settle(self, my_task: Task) -> None:
        """Fire if nothing else is live."""
        if not any(task.task_spec is not self for task in my_task.workflow.live.values()):
            my_task._ready()  # noqa: SLF001 - as _update does

    def _update_hook(self, my_task: Task) -> bool:
        if my_task.state == TaskState.WAITING:
            return False
        my_task._inherit_data()  # noqa: SLF001 - as the class does that this replaces
        for task in list(my_task.workflow.waiting_joins.values()):
            if task.task_spec is self:  # only the last one waits for all others
                DeepMerge.merge(my_task.data, task.data)
                task.cancel()
        my_task._set_state(TaskState.WAITING)  # noqa: SLF001
        return False

    def _run_hook(self, my_task: Task) -> bool:
        my_task.workflow.data.update(my_task.data)
        return True


class ProcessSpec(BpmnProcessSpec):  # type: ignore[misc]
    """A process or sub-process that ends at a ``ProcessEnd``.

    SpiffWorkflow's own end misses live tasks in some loops.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in [name for name in self.task_specs if name != self.start.name]:
            del self.task_specs[name]
        self.end: TaskSpec = ProcessEnd(self, "EndJoin")
        self.end.connect(SimpleBpmnTask(self, "End"))


# --- loops ------------------------------------------------------------------------------------------


def is_instance(task: Task) -> bool:
    """Tell whether a task is one instance of an activity that is repeated."""
    above = task.parent.task_spec
    return isinstance(above, LoopTask) and above.task_spec == task.task_spec.name


class Loop(StandardLoopTask):  # type: ignore[misc]
    """A standard loop."""

    def __init__(self, *args: Any, loop: LoopDetails, **kwargs: Any) -> None:
        super().__init__(*args, maximum=None, condition=None, test_before=loop.test_before, **kwargs)
        self.loop = loop

    def loop_complete(self, my_task: Task) -> bool:
        """Tell whether the loop has ended."""
        return interpreter_of(my_task).loop_is_complete(my_task, self.loop, len(self._merged_children(my_task)))


class Unknown(Enum):
    """Stands for the item of an instance where only the number of instances is known."""

    ITEM = "item"


class _Items(TaskDataReference):  # type: ignore[misc]
    """The items that a multi-instance activity has instances for: as the interpreter says, once per visit."""

    def __init__(self, loop: LoopDetails) -> None:
        super().__init__("items")
        self.loop = loop

    def get(self, my_task: Task) -> list[Any]:
        """Return the items."""
        items = my_task.internal_data.get("items")
        if items is None:
            items = my_task.internal_data["items"] = interpreter_of(my_task).loop_items(my_task, self.loop)
        return items  # type: ignore[no-any-return]

    def exists(self, _task: Task) -> bool:
        """Tell whether there are items: always."""
        return True


class _Item(TaskDataReference):  # type: ignore[misc]
    """The variable that has the item of one instance; it may have had another value before."""

    def exists(self, _task: Task) -> bool:
        """Tell whether the variable is in use: never, as an instance may set it."""
        return False

    def set(self, my_task: Task, value: Any) -> None:
        """Set the item of an instance, if it is known."""
        if value is not Unknown.ITEM:
            my_task.data[self.bpmn_id] = value


class _InstancesMixin:
    """A multi-instance activity whose items and end are those of the interpreter."""

    def __init__(self, *args: Any, loop: LoopDetails, **kwargs: Any) -> None:
        item = _Item(loop.item) if loop.item else None
        super().__init__(*args, data_input=_Items(loop), input_item=item, **kwargs)  # type: ignore[call-arg]
        self.loop = loop

    def create_child(self, my_task: Task, item: Any, key_or_index: Any = None) -> None:
        """Start an instance; its item hides a variable of the same name."""
        hidden = {name: my_task.data.pop(name) for name in (self.loop.item,) if name in my_task.data}
        super().create_child(my_task, item, key_or_index)  # type: ignore[misc]
        my_task.data.update(hidden)

    def merge_child(self, workflow: Any, child: Task) -> None:
        if self.loop.item:
            child.data.pop(self.loop.item, None)
        super().merge_child(workflow, child)  # type: ignore[misc]

    def check_completion_condition(self, my_task: Task) -> bool:
        if self.loop.condition is None:
            return False
        return interpreter_of(my_task).instances_suffice(my_task, self.loop)


class ParallelInstances(_InstancesMixin, ParallelMultiInstanceTask):  # type: ignore[misc]
    """A parallel multi-instance activity."""

    def children_complete(self, my_task: Task) -> bool:
        """Tell whether all instances are completed; SpiffWorkflow looks at each of them again each time."""
        return len(my_task.internal_data["merged"]) == len(self.data_input.get(my_task))


class SequentialInstances(_InstancesMixin, SequentialMultiInstanceTask):  # type: ignore[misc]
    """A sequential multi-instance activity."""

    def add_next_child(self, my_task: Task) -> None:
        """Start the next instance; an item may be null."""
        index, item = self.get_next_input_item(my_task)
        if index is not None:
            self.create_child(my_task, item, index)


def _make_definite(my_task: Task) -> None:
    """Make the predicted children of a task the next ones."""
    for child in my_task.children:
        if child.has_state(TaskState.PREDICTED_MASK):
            child._set_state(TaskState.FUTURE)  # noqa: SLF001 - as gateways do for what they choose
        child.task_spec._predict(child, mask=TaskState.FUTURE | TaskState.PREDICTED_MASK)  # noqa: SLF001
