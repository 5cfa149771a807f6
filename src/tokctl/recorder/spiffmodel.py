"""What a recorder knows of the model that a SpiffWorkflow workflow runs.

SpiffWorkflow's specs keep element ids and names, but neither the ids of sequence flows nor the
wording of their conditions: those come from the definitions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from SpiffWorkflow.bpmn.specs.control import BoundaryEventSplit
from SpiffWorkflow.bpmn.specs.mixins.events.intermediate_event import BoundaryEvent, EventBasedGateway
from SpiffWorkflow.bpmn.specs.mixins.multiinstance_task import (
    LoopTask,
    ParallelMultiInstanceTask,
    SequentialMultiInstanceTask,
)
from SpiffWorkflow.bpmn.workflow import BpmnWorkflow
from SpiffWorkflow.specs.base import TaskSpec
from SpiffWorkflow.specs.MultiChoice import MultiChoice
from SpiffWorkflow.task import Task

from tokctl.errors import InputError
from tokctl.process.bpmn import read_definitions
from tokctl.process.model import Definition, Element, SequenceFlow
from tokctl.recorder.expressions import to_python

_TYPES = {
    "NoneTask": "task",
    "SubWorkflowTask": "subProcess",
    "EventSubprocess": "subProcess",
    "TransactionSubprocess": "transaction",
    "AdHocSubprocess": "adHocSubProcess",
    "CallActivity": "callActivity",
    "StartEvent": "startEvent",
    "EndEvent": "endEvent",
    "IntermediateCatchEvent": "intermediateCatchEvent",
    "IntermediateThrowEvent": "intermediateThrowEvent",
    "BoundaryEvent": "boundaryEvent",
    "UserTask": "userTask",
    "ManualTask": "manualTask",
    "ScriptTask": "scriptTask",
    "ServiceTask": "serviceTask",
    "SendTask": "sendTask",
    "ReceiveTask": "receiveTask",
    "BusinessRuleTask": "businessRuleTask",
    "ExclusiveGateway": "exclusiveGateway",
    "InclusiveGateway": "inclusiveGateway",
    "ParallelGateway": "parallelGateway",
    "EventBasedGateway": "eventBasedGateway",
}


class Model:
    """The definitions that a workflow's specs were made from, arranged for a recorder's questions.

    It holds nothing of an instance: one serves any number of recorders.
    """

    def __init__(self, definitions: Iterable[Definition]) -> None:
        self.definitions = tuple(definitions)
        self._scopes: dict[str, Definition] = {}
        self._flows: dict[tuple[str, str, str], list[SequenceFlow]] = defaultdict(list)
        self._elements: dict[TaskSpec, Element] = {}
        for definition in self.definitions:
            for element in definition.elements.values():
                self._scopes.setdefault(element.id, definition)
            for flow in definition.flows.values():
                self._flows[definition.process_id, flow.source, flow.target].append(flow)
        # A called process may bear the name of an element elsewhere; its own name goes first.
        self._scopes.update({definition.process_id: definition for definition in self.definitions})

    @classmethod
    def of_workflow(cls, workflow: BpmnWorkflow, definitions: Iterable[Definition] | None) -> Self:
        """Arrange the given definitions, or those in the files that the workflow's specs name."""
        if definitions is not None:
            return cls(definitions)
        specs = [workflow.spec, *(spec for spec in workflow.subprocess_specs.values() if spec is not None)]
        found: dict[str, Definition] = {}
        for file in dict.fromkeys(spec.file for spec in specs if isinstance(spec.file, str)):
            try:
                found |= {d.process_id: d for d in read_definitions(Path(file).read_bytes(), file)}
            except (OSError, InputError):
                continue  # the program parsed it; that it cannot be read again costs only the flow ids
        used = {spec.name for spec in specs}
        return cls(definition for name, definition in found.items() if name in used)

    def element(self, spec: TaskSpec) -> Element:
        """Return the element that a spec stands for; of one in no definition, what the spec tells."""
        known = self._elements.get(spec)
        if known is None:
            scope = self._scope(spec)
            known = scope.elements.get(spec.bpmn_id) if scope is not None else None
            if known is None:
                known = Element(spec.bpmn_id, _type_of(spec), spec.bpmn_name)
            self._elements[spec] = known
        return known

    def flow(self, task: Task, source: str) -> str | None:
        """Return the id of the sequence flow that led from the source element to this task."""
        branch = task
        while branch.parent is not None and getattr(branch.parent.task_spec, "bpmn_id", None) is None:
            branch = branch.parent
        taken = _taken(branch, self._between(task.task_spec, source))
        return None if taken is None else taken.id

    def flow_with(self, gateway: TaskSpec, python: str) -> SequenceFlow | None:
        """Return a gateway's flow whose condition, translated, is this Python."""
        scope = self._scope(gateway)
        flows = [] if scope is None else [f for f in scope.flows.values() if f.source == gateway.bpmn_id]
        return next((flow for flow in flows if flow.condition and to_python(flow.condition) == python), None)

    def decision(self, task: Task) -> dict[str, Any] | None:
        """Describe how a gateway chose among its flows (``gateway_decision``); None if it had no choice.

        ``condition_evaluated`` is the chosen flow's condition, or null for the default flow or an
        event. A gateway that chose several flows lists all of them in ``selected_flows``.
        """
        spec = task.task_spec
        if not isinstance(spec, (MultiChoice, EventBasedGateway)) or len(spec.outputs) < 2:
            return None
        taken = (self._chosen(child, spec) for child in task.children)
        chosen = [flow for flow in taken if flow is not None]
        conditions = [flow.condition for flow in chosen if flow.condition]
        decision: dict[str, Any] = {
            "condition_evaluated": "; ".join(conditions) or None,
            "selected_flow": chosen[0].id if chosen else None,
        }
        if len(chosen) > 1:
            decision["selected_flows"] = [flow.id for flow in chosen]
        return decision

    @staticmethod
    def loop_kind(spec: LoopTask) -> str:
        """Return how an activity is repeated: ``parallel``, ``sequential`` or ``loop``."""
        if isinstance(spec, ParallelMultiInstanceTask):
            return "parallel"
        return "sequential" if isinstance(spec, SequentialMultiInstanceTask) else "loop"

    def _scope(self, spec: TaskSpec) -> Definition | None:
        return self._scopes.get(spec._wf_spec.name)  # noqa: SLF001 - a spec has no other way to its process

    def _chosen(self, child: Task, gateway: TaskSpec) -> SequenceFlow | None:
        return _taken(child, self._between(next(_visible(child.task_spec), child.task_spec), gateway.bpmn_id))

    def _between(self, spec: TaskSpec, source: str) -> list[SequenceFlow]:
        scope = self._scope(spec)
        if scope is None or spec.bpmn_id is None:
            return []
        return self._flows.get((scope.process_id, source, spec.bpmn_id), [])


def _visible(spec: TaskSpec) -> Iterator[TaskSpec]:
    """Find the element behind a spec that stands on no diagram: the activity behind its event split."""
    if getattr(spec, "bpmn_id", None) is not None:
        yield spec
    elif isinstance(spec, BoundaryEventSplit):
        yield from (output for output in spec.outputs if not isinstance(output, BoundaryEvent))


def _taken(branch: Task, flows: list[SequenceFlow]) -> SequenceFlow | None:
    """Return which flow between the same two elements a branch took: of those chosen, the nth for the nth branch."""
    if len(flows) < 2 or branch.parent is None:
        return flows[0] if flows else None
    spec, name = branch.parent.task_spec, branch.task_spec.name
    conditions = [condition for condition, target in getattr(spec, "cond_task_specs", ()) if target == name]
    if len(conditions) == len(flows):  # both are in the order of the model
        ways = list(zip(conditions, flows, strict=True))
        met = [flow for condition, flow in ways if condition is not None and _is_met(condition, branch.parent)]
        flows = met or [flow for condition, flow in ways if condition is None] or flows
    same = [sibling for sibling in branch.parent.children if sibling.task_spec is branch.task_spec]
    return flows[min(same.index(branch) if branch in same else 0, len(flows) - 1)]


def _is_met(condition: Any, gateway: Task) -> bool:
    try:
        return bool(condition._matches(gateway))  # noqa: SLF001 - as the gateway itself asks
    except Exception:  # noqa: BLE001 - what was met when the gateway asked may fail by now
        return False


def _type_of(spec: TaskSpec) -> str:
    if isinstance(spec, LoopTask):  # the activity that it repeats says what it is
        spec = spec._wf_spec.task_specs.get(spec.task_spec, spec)  # noqa: SLF001
    for base in type(spec).__mro__:
        if base.__name__ in _TYPES:
            return _TYPES[base.__name__]
    return "task"
