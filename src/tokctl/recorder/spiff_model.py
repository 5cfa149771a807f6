"""The model of a running SpiffWorkflow workflow, for a recorder.

SpiffWorkflow's specs have element ids and names, but neither the ids of sequence flows nor the text of their
conditions: those come from the definitions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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
from SpiffWorkflow.specs.WorkflowSpec import WorkflowSpec
from SpiffWorkflow.task import Task

from tokctl.bpmn.graph import ProcessGraph
from tokctl.bpmn.parser import read_definitions
from tokctl.errors import InputError
from tokctl.model.definitions import Definition, Element, SequenceFlow
from tokctl.model.element_types import ELEMENT_TYPES

_TYPES = {
    "NoneTask": "task",
    "SubWorkflowTask": "subProcess",
    "EventSubprocess": "subProcess",
    "TransactionSubprocess": "transaction",
    "AdHocSubprocess": "adHocSubProcess",
}
"""Element types by the class of a spec, where they differ in more than the first letter."""


class SpiffModel:
    """The definitions of a workflow's specs, indexed for a recorder.

    It has no data of an instance, so any number of recorders can share it. The specs of a process and of its
    sub-processes have the ids of the model as their names, unless ``graphs`` has the process of each name.
    """

    def __init__(self, definitions: Iterable[Definition], graphs: Mapping[str, ProcessGraph] | None = None) -> None:
        self.definitions = tuple(definitions)
        self._scopes: dict[str, ProcessGraph] = dict(graphs or {})
        self._elements: dict[TaskSpec, Element] = {}
        if graphs is not None:
            return
        by_process = {definition.process_id: ProcessGraph(definition) for definition in self.definitions}
        for graph in by_process.values():
            for element_id in graph.elements:
                self._scopes.setdefault(element_id, graph)
        # A called process may have the same name as an element elsewhere; the process takes precedence.
        self._scopes.update(by_process)

    @classmethod
    def from_workflow(cls, workflow: BpmnWorkflow, definitions: Iterable[Definition] | None) -> Self:
        """Index the given definitions, or those in the files that the workflow's specs name."""
        if definitions is not None:
            return cls(definitions)
        specs = [workflow.spec, *(spec for spec in workflow.subprocess_specs.values() if spec is not None)]
        found: dict[str, Definition] = {}
        for file in dict.fromkeys(spec.file for spec in specs if isinstance(spec.file, str)):
            try:
                found |= {d.process_id: d for d in read_definitions(Path(file).read_bytes(), file)}
            except (OSError, InputError):
                continue  # the program parsed it; without the file only the flow ids are missing
        used = {spec.name for spec in specs}
        return cls(definition for name, definition in found.items() if name in used)

    def process_id(self, spec: WorkflowSpec) -> str:
        """Return the id of the process that a spec of a workflow is for."""
        graph = self._scopes.get(spec.name)
        return spec.name if graph is None or graph.process_id is None else graph.process_id

    def element(self, spec: TaskSpec) -> Element:
        """Return the element of a spec; if no definition has it, one made from the spec."""
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
        taken = _find_taken_flow(branch, self._flows_between(task.task_spec, source))
        return None if taken is None else taken.id

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

    def _scope(self, spec: TaskSpec) -> ProcessGraph | None:
        return self._scopes.get(spec._wf_spec.name)  # noqa: SLF001 - a spec has no other way to its process

    def _chosen(self, child: Task, gateway: TaskSpec) -> SequenceFlow | None:
        return _find_taken_flow(
            child, self._flows_between(next(_visible_specs(child.task_spec), child.task_spec), gateway.bpmn_id)
        )

    def _flows_between(self, spec: TaskSpec, source: str) -> list[SequenceFlow]:
        scope = self._scope(spec)
        if scope is None or spec.bpmn_id is None:
            return []
        return scope.flows_between(source, spec.bpmn_id)


def _visible_specs(spec: TaskSpec) -> Iterator[TaskSpec]:
    """Return the element of a spec that is not in the diagram: the activity of an event split, or what follows."""
    if getattr(spec, "bpmn_id", None) is not None:
        yield spec
    elif isinstance(spec, BoundaryEventSplit):
        yield from (output for output in spec.outputs if not isinstance(output, BoundaryEvent))
    elif getattr(spec, "flow_id", None) is not None:
        yield from (element for output in spec.outputs for element in _visible_specs(output))


def _find_taken_flow(branch: Task, flows: list[SequenceFlow]) -> SequenceFlow | None:
    """Return which flow between the same two elements a branch took: of those chosen, the nth for the nth branch."""
    if len(flows) < 2 or branch.parent is None:
        return flows[0] if flows else None
    spec, name = branch.parent.task_spec, branch.task_spec.name
    if flow_id := getattr(branch.task_spec, "flow_id", None):  # a step between elements that is not in the diagram
        return next((flow for flow in flows if flow.id == flow_id), None)
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
    if isinstance(spec, LoopTask):  # the repeated activity has the type
        spec = spec._wf_spec.task_specs.get(spec.task_spec, spec)  # noqa: SLF001
    names = (base.__name__ for base in type(spec).__mro__)
    types = (_TYPES.get(name, name[0].lower() + name[1:]) for name in names)
    return next((kind for kind in types if kind in ELEMENT_TYPES), "task")
