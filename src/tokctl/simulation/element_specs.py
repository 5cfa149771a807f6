"""Creates the spec of each kind of element; ``spec_builder`` connects them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from SpiffWorkflow.bpmn.specs.bpmn_process_spec import BpmnProcessSpec
from SpiffWorkflow.bpmn.specs.defaults import (
    CallActivity,
    EndEvent,
    EventBasedGateway,
    ExclusiveGateway,
    IntermediateCatchEvent,
    IntermediateThrowEvent,
    ReceiveTask,
    StartEvent,
    SubWorkflowTask,
    TransactionSubprocess,
)
from SpiffWorkflow.bpmn.specs.event_definitions.multiple import MultipleEventDefinition
from SpiffWorkflow.specs.base import TaskSpec

from tokctl.bpmn.execution_details import LoopDetails
from tokctl.model.definitions import Element
from tokctl.model.element_types import SUB_PROCESS_TYPES
from tokctl.simulation import engine_specs as own
from tokctl.simulation.event_definitions import make_event_definition
from tokctl.simulation.process_model import ProcessModel

if TYPE_CHECKING:
    from tokctl.simulation.spec_builder import SpecBuilder


class ElementSpecs:
    """Creates specs of elements in the spec of a process or sub-process.

    ``build_inside`` returns the spec of what is in a sub-process.
    """

    def __init__(
        self,
        builder: SpecBuilder,
        model: ProcessModel,
        spec: BpmnProcessSpec,
        build_inside: Callable[[Element], BpmnProcessSpec],
    ) -> None:
        self.builder = builder
        self.model = model
        self.spec = spec
        self.build_inside = build_inside

    def create(self, element: Element) -> TaskSpec:
        """Create the spec of an element, without its boundary events and repetitions."""
        make = _MAKERS.get(element.type, ElementSpecs._make_job)
        spec = make(self, element, self.builder.new_name())
        self.label(spec, element)
        return spec

    def label(self, spec: TaskSpec, element: Element, *, is_in_diagram: bool = True) -> None:
        """Note the element of a spec; one that is not in the diagram has no tokens."""
        spec.element, spec.process_model = element, self.model
        spec.bpmn_id, spec.bpmn_name = (element.id, element.name) if is_in_diagram else (None, None)

    def _make_job(self, _element: Element, name: str) -> TaskSpec:
        return own.TaskJob(self.spec, name)

    def _make_event(self, element: Element, name: str) -> TaskSpec:
        made: dict[str, Callable[..., TaskSpec]] = {
            "startEvent": StartEvent,
            "endEvent": EndEvent,
            "intermediateCatchEvent": IntermediateCatchEvent,
            "intermediateThrowEvent": IntermediateThrowEvent,
            "receiveTask": ReceiveTask,
            "sendTask": own.SendJob,
        }
        # What triggers an instance or an event sub-process has happened when its start event is reached.
        waits = element.type in {"intermediateCatchEvent", "receiveTask"}
        definition = make_event_definition(self.model, element, waits=waits)
        return made[element.type](self.spec, name, event_definition=definition)

    def _make_boundary_event(self, element: Element, name: str) -> TaskSpec:
        definition = make_event_definition(self.model, element, waits=True)
        interrupting = self.model.details(element.id).interrupting
        return own.DefiniteBoundaryEvent(self.spec, name, event_definition=definition, cancel_activity=interrupting)

    def _make_sub_process(self, element: Element, name: str) -> TaskSpec:
        inner = self.build_inside(element)
        if element.type == "adHocSubProcess":
            self.builder.approximate(self.model, element.id, "each of its activities that nothing leads to runs once")
        made = TransactionSubprocess if element.type == "transaction" else SubWorkflowTask
        return made(self.spec, name, subworkflow_spec=inner.name)

    def _make_call_activity(self, element: Element, name: str) -> TaskSpec:
        called = self.model.execution_details(element.id).called_process
        process_id = None if called is None else _resolve_process(called, self.builder.models)
        if process_id is None:
            what = (
                f"calls '{called}', which is in none of the files"
                if called
                else "does not name the process that it calls"
            )
            self.builder.approximate(self.model, element.id, f"{what}, and runs as a task")
            return own.TaskJob(self.spec, name)
        return CallActivity(self.spec, name, subworkflow_spec=self.builder.build(process_id).name)

    def _make_event_based_gateway(self, _element: Element, name: str) -> TaskSpec:
        return EventBasedGateway(self.spec, name, event_definition=MultipleEventDefinition())

    def _make_complex_gateway(self, element: Element, name: str) -> TaskSpec:
        self.builder.approximate(self.model, element.id, "runs like an inclusive gateway")
        return own.JoiningInclusiveGateway(self.spec, name)

    def repeat(self, element: Element, spec: TaskSpec, loop: LoopDetails) -> TaskSpec:
        """Create the spec of a multi-instance activity or loop, whose instances have ``spec``."""
        kind = self.model.details(element.id).loop
        name = self.builder.new_name()
        kinds = {"parallel": own.ParallelInstances, "sequential": own.SequentialInstances, "loop": own.Loop}
        repeated = kinds[kind or "loop"](self.spec, name, task_spec=spec.name, loop=loop)
        self.label(repeated, element)
        spec.inputs = [repeated]
        return repeated


def _resolve_process(called: str, models: dict[str, ProcessModel]) -> str | None:
    return next((one for one in (called, called.rpartition(":")[2]) if one in models), None)


_MAKERS: dict[str, Callable[[ElementSpecs, Element, str], Any]] = {
    **dict.fromkeys(
        ("startEvent", "endEvent", "intermediateCatchEvent", "intermediateThrowEvent", "receiveTask", "sendTask"),
        ElementSpecs._make_event,  # noqa: SLF001
    ),
    **dict.fromkeys(SUB_PROCESS_TYPES, ElementSpecs._make_sub_process),  # noqa: SLF001
    "boundaryEvent": ElementSpecs._make_boundary_event,  # noqa: SLF001
    "callActivity": ElementSpecs._make_call_activity,  # noqa: SLF001
    "exclusiveGateway": lambda specs, _element, name: ExclusiveGateway(specs.spec, name),
    "inclusiveGateway": lambda specs, _element, name: own.JoiningInclusiveGateway(specs.spec, name),
    "parallelGateway": lambda specs, _element, name: own.JoiningParallelGateway(specs.spec, name),
    "complexGateway": ElementSpecs._make_complex_gateway,  # noqa: SLF001
    "eventBasedGateway": ElementSpecs._make_event_based_gateway,  # noqa: SLF001
}
