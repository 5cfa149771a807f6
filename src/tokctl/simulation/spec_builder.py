"""Builds SpiffWorkflow's specs of the processes of BPMN models, which run as BPMN 2.0 (ISO 19510) says.

SpiffWorkflow has a parser of its own, which refuses much that other engines run, and confuses ids of elements with
names that it uses itself. Here every spec gets a name that no model has; ``bpmn_id`` is the id in the model. What has
no counterpart is made of what there is:

- An event sub-process becomes a sub-process at a boundary event, attached to the rest of its scope.
- A throwing link event leads straight to the catching one; a throwing compensation event leads to the handlers, one
  after the other, of the activities that were completed.
- Where no start event says where a process begins, it begins at every element that nothing leads to.

What remains different from the model is in ``BuiltModel.approximations``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from SpiffWorkflow.bpmn.specs.bpmn_process_spec import BpmnProcessSpec
from SpiffWorkflow.bpmn.specs.control import BoundaryEventSplit
from SpiffWorkflow.bpmn.specs.defaults import (
    ExclusiveGateway,
    SubWorkflowTask,
)
from SpiffWorkflow.specs.base import TaskSpec
from SpiffWorkflow.specs.MultiChoice import MultiChoice

from tokctl.bpmn.element_details import CANCEL, COMPENSATION, LINK
from tokctl.bpmn.graph import ProcessGraph
from tokctl.errors import InputError
from tokctl.model.definitions import Element, SequenceFlow
from tokctl.model.element_types import is_activity
from tokctl.simulation import engine_specs as own
from tokctl.simulation.compensation import connect_compensation
from tokctl.simulation.element_specs import ElementSpecs
from tokctl.simulation.event_definitions import make_event_definition
from tokctl.simulation.flow_choice import FlowChoice
from tokctl.simulation.process_model import ProcessModel

JOB_TYPES = frozenset({"task", "userTask", "manualTask", "serviceTask", "businessRuleTask", "scriptTask", "sendTask"})
_MAX_FLOWS = 1000


@dataclass(slots=True)
class BuiltModel:
    """The specs of the processes, by the name of the spec; and where the parts of a spec come from.

    ``graphs`` has the process of each spec, by its name; ``approximations`` what runs differently from the model, by
    process and element. ``process_names`` has the name of the spec of a process that begins at a start event.
    """

    specs: dict[str, BpmnProcessSpec] = field(default_factory=dict)
    graphs: dict[str, ProcessGraph] = field(default_factory=dict)
    approximations: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    process_names: dict[tuple[str, str | None], str] = field(default_factory=dict)


class SpecBuilder:
    """Builds the specs of processes, and of those that they call."""

    def __init__(self, models: dict[str, ProcessModel]) -> None:
        self.models = models
        self.built = BuiltModel()
        self._names = 0

    def build(self, process_id: str, start: str | None = None) -> BpmnProcessSpec:
        """Return the spec of a process that starts at this start event, or at the one that needs no trigger.

        It is built once; so are the specs of the processes that it calls.
        """
        key = (process_id, start)
        if key in self.built.process_names:
            return self.built.specs[self.built.process_names[key]]
        name = self.built.process_names[key] = self.new_name()
        model = self.models[process_id]
        spec = self.new_spec(name, model)
        _Scope(self, model, None, spec, start).fill()
        return spec

    def new_name(self) -> str:
        """Return a name that no spec has."""
        self._names += 1
        return f"spec-{self._names}"

    def new_spec(self, name: str, model: ProcessModel) -> BpmnProcessSpec:
        """Create the spec of a process or sub-process."""
        spec = own.ProcessSpec(name=name, description=model.definition.process_id, filename=model.source)
        self.built.specs[name] = spec
        self.built.graphs[name] = model.graph
        return spec

    def approximate(self, model: ProcessModel, element_id: str, what: str) -> None:
        """Note that an element runs differently from the model."""
        known = self.built.approximations[model.definition.process_id, element_id]
        if what not in known:
            known.append(what)


@dataclass(slots=True)
class _ElementEnds:
    """The specs of an element: where flows enter, and where they leave."""

    entry: TaskSpec
    exit: TaskSpec


class _Scope:
    """Builds what is in one process or sub-process."""

    def __init__(
        self,
        builder: SpecBuilder,
        model: ProcessModel,
        parent: str | None,
        spec: BpmnProcessSpec,
        start: str | None = None,
    ) -> None:
        self.builder = builder
        self.model = model
        self.graph = model.graph
        self.parent = parent
        self.spec = spec
        self.start = start
        self.specs = ElementSpecs(builder, model, spec, self._build_inside)
        self.nodes: dict[str, _ElementEnds] = {}
        self.looping_flows: frozenset[str] = frozenset()

    def fill(self) -> None:
        """Build all elements of the scope; with event sub-processes, the others go into a sub-process of their own."""
        members = [one for one in self.graph.elements.values() if one.parent == self.parent]
        handlers = [one for one in members if self.model.details(one.id).event_sub_process]
        for handler in [one for one in handlers if self._is_compensation_handler(one)]:
            handlers.remove(handler)
            members.remove(handler)
            if self.parent is not None:
                what = f"is compensated by what is in it, without its event sub-process '{handler.id}'"
                self._approximate(self.graph.elements[self.parent], what)
        if not handlers:
            self.fill_with(members)
            return
        body = self._new_inner_scope(self.parent, self.start)
        body.fill_with([one for one in members if one not in handlers])
        task = SubWorkflowTask(self.spec, self.builder.new_name(), subworkflow_spec=body.spec.name)
        task.bpmn_id = None  # it is not in the diagram
        events = [(self._event_of(handler), handler) for handler in handlers]
        entry = self._attach(task, [event for event, _ in events])
        for event, handler in events:
            inner = self._add(handler)
            event.connect(inner.entry)
            inner.exit.connect(self.spec.end)
        self.spec.start.connect(entry)
        task.connect(self.spec.end)

    def _is_compensation_handler(self, handler: Element) -> bool:
        inside = [one for one in self.graph.elements.values() if one.parent == handler.id]
        starts = [one.id for one in inside if one.type == "startEvent"]
        return any(event.kind == COMPENSATION for one in starts for event in self.model.details(one).events)

    def _new_inner_scope(self, parent: str | None, start: str | None = None) -> _Scope:
        spec = self.builder.new_spec(self.builder.new_name(), self.model)
        return _Scope(self.builder, self.model, parent, spec, start)

    def _build_inside(self, element: Element) -> BpmnProcessSpec:
        inner = self._new_inner_scope(element.id)
        inner.fill()
        return inner.spec

    def _event_of(self, handler: Element) -> TaskSpec:
        """Return a boundary event that is not in the diagram, for the start event of an event sub-process."""
        starts = [one for one in self.graph.elements.values() if one.parent == handler.id and one.type == "startEvent"]
        name = self.builder.new_name()
        trigger = max(starts, key=lambda one: len(self.model.details(one.id).events), default=handler)
        definition = make_event_definition(self.model, trigger, waits=True)
        interrupting = self.model.details(trigger.id).interrupting
        event = own.DefiniteBoundaryEvent(self.spec, name, event_definition=definition, cancel_activity=interrupting)
        self.specs.label(event, trigger, is_in_diagram=False)
        return event

    # --- elements ---

    def fill_with(self, members: list[Element]) -> None:
        """Build these elements of the scope."""
        attached = [one for one in members if one.attached_to is not None]
        activities = {one.id for one in members if is_activity(one.type)}
        for event in attached:
            if event.attached_to not in activities:
                host = self.graph.elements[str(event.attached_to)]
                self._approximate(host, f"its boundary event '{event.id}' never fires: it needs an activity beside it")
        attached = [one for one in attached if one.attached_to in activities]
        for element in members:
            if element.attached_to is None:
                self._add(element, [one for one in attached if one.attached_to == element.id])
        starts = self._choose_starts(members)
        self.looping_flows = _find_looping_flows(self.graph, [one.id for one in members])
        for element in members:
            if element.id in self.nodes:
                self._connect(element)
        for element in starts:
            self.spec.start.connect(self.nodes[element.id].entry)
        if not starts:
            self.spec.start.connect(self.spec.end)

    def _add(self, element: Element, boundary_events: Sequence[Element] = ()) -> _ElementEnds:
        spec = self.specs.create(element)
        details = self.model.execution_details(element.id)
        if details.uses_data:
            self._approximate(element, "its data associations are ignored")
        for name in details.undefined_references:
            self._approximate(element, f"it refers to '{name}', which the model does not define")
        if details.loop is not None and is_activity(element.type):
            spec = self.specs.repeat(element, spec, details.loop)
        events: list[TaskSpec] = []
        cancel_is_caught = False
        for one in boundary_events:
            kinds = {event.kind for event in self.model.details(one.id).events}
            if COMPENSATION in kinds:
                continue
            if not kinds:
                self._approximate(element, f"its boundary event '{one.id}' has no trigger, and never fires")
            if CANCEL in kinds and cancel_is_caught:
                self._approximate(element, f"its boundary event '{one.id}' never fires, as another catches the same")
                continue
            cancel_is_caught |= CANCEL in kinds
            event = self.specs.create(one)
            events.append(event)
            self.nodes[one.id] = _ElementEnds(event, event)
        entry = self._attach(spec, events) if events else spec
        node = self.nodes[element.id] = _ElementEnds(entry, spec)
        return node

    def _attach(self, spec: TaskSpec, events: list[TaskSpec]) -> TaskSpec:
        """Attach boundary events to an activity, and return the spec that starts them together."""
        split = BoundaryEventSplit(self.spec, self.builder.new_name())
        join = own.BoundaryJoin(self.spec, self.builder.new_name(), split_task=split.name, cancel=True)
        split.connect(spec)
        spec.connect(join)
        for event in events:
            split.connect(event)
            event.connect(join)
        return split

    def _approximate(self, element: Element, what: str) -> None:
        self.builder.approximate(self.model, element.id, what)

    # --- where it starts ---

    def _choose_starts(self, members: list[Element]) -> list[Element]:
        events = [one for one in members if one.type == "startEvent"]
        if self.start is not None:
            return [one for one in events if one.id == self.start]
        if events:
            events.sort(key=lambda one: len(self.model.details(one.id).events))
            if self.parent is None:
                return events[:1]
            if self._is_in_event_sub_process():
                return events[-1:]
            return [one for one in events if not self.model.details(one.id).events] or events[:1]
        return [one for one in members if self._is_entry(one)]

    def _is_entry(self, element: Element) -> bool:
        """Tell whether a process or sub-process without a start event begins here."""
        details = self.model.details(element.id)
        catches_link = element.type == "intermediateCatchEvent" and any(one.kind == LINK for one in details.events)
        return not (element.incoming or element.attached_to or details.compensation_handler or catches_link)

    # --- flows ---

    def _connect(self, element: Element) -> None:
        exit_spec = connect_compensation(self.specs, element, self.parent, self.nodes[element.id].exit)
        flows = self.graph.outgoing_flows(element.id)
        if max(len(flows), len(element.incoming)) > _MAX_FLOWS:
            raise InputError(
                f"{self.model.source}: '{element.id}' has more than {_MAX_FLOWS:,} incoming or outgoing sequence flows."
            )
        if outside := [flow for flow in flows if not self._is_target(flow.target)]:
            raise InputError(
                f"{self.model.source}: sequence flow '{outside[0].id}' leads to '{outside[0].target}', which no flow"
                " from there can start."
            )
        if not flows:
            exit_spec.connect(self._link_target(element) or self.spec.end)
            return
        conditions = self.model.execution.conditions
        has_conditions = any(flow.id in conditions and flow.id != element.default_flow for flow in flows)
        if has_conditions and not element.type.endswith("Gateway"):
            split = own.FlowSplit(self.spec, self.builder.new_name())
            self.specs.label(split, element, is_in_diagram=False)
            exit_spec.connect(split)
            exit_spec = split
        if isinstance(exit_spec, MultiChoice):
            exit_spec.flow_choice = FlowChoice(
                element,
                tuple(flows),
                {flow.id: conditions[flow.id] for flow in flows if flow.id in conditions},
                exclusive=isinstance(exit_spec, ExclusiveGateway),
            )
        flows_to = Counter(flow.target for flow in flows)
        for flow in flows:
            target = self._target(element, flow, is_only_one=flows_to[flow.target] == 1)
            if isinstance(exit_spec, MultiChoice):
                exit_spec.connect_if(own.FlowCondition(flow), target)
            else:
                exit_spec.connect(target)

    def _is_target(self, element_id: str) -> bool:
        return element_id in self.nodes and self.graph.elements[element_id].type != "boundaryEvent"

    def _link_target(self, element: Element) -> TaskSpec | None:
        """Return where a throwing link event leads to; a link that leads nowhere, or to several places, is noted."""
        if not any(event.kind == LINK for event in self.model.details(element.id).events):
            return None
        targets = [one for one in self.graph.link_targets(element.id) if one in self.nodes]
        if element.type == "intermediateThrowEvent" and len(targets) != 1:
            self._approximate(
                element, "its link leads to the first of several targets" if targets else "its link leads nowhere"
            )
        if not targets:
            return None
        step = own.LoopingStep(self.spec, self.builder.new_name())
        step.connect(self.nodes[targets[0]].entry)
        return step

    def _target(self, element: Element, flow: SequenceFlow, *, is_only_one: bool) -> TaskSpec:
        node = self.nodes[flow.target]
        if element.type == "eventBasedGateway":
            if not hasattr(node.exit, "event_definition"):
                raise InputError(
                    f"{self.model.source}: eventBasedGateway '{element.id}' leads to '{flow.target}', which waits for"
                    " no event."
                )
            return node.exit
        if is_only_one and flow.id not in self.looping_flows:
            return node.entry
        make = own.LoopingStep if flow.id in self.looping_flows else own.HiddenStep
        step = make(self.spec, self.builder.new_name(), flow.id)
        step.connect(node.entry)
        return step

    def _is_in_event_sub_process(self) -> bool:
        return self.parent is not None and self.model.details(self.parent).event_sub_process


def _find_looping_flows(graph: ProcessGraph, members: list[str]) -> frozenset[str]:
    """Return the sequence flows that lead back to an element on the way to them (depth-first search)."""
    found: set[str] = set()
    done: set[str] = set()
    for first in members:
        way: list[tuple[str, Iterator[SequenceFlow]]] = [(first, iter(graph.outgoing_flows(first)))]
        on_way = {first}
        while way:
            element, flows = way[-1]
            for flow in flows:
                if flow.target in on_way:
                    found.add(flow.id)
                elif flow.target not in done:
                    way.append((flow.target, iter(graph.outgoing_flows(flow.target))))
                    on_way.add(flow.target)
                    break
            else:
                way.pop()
                on_way.discard(element)
                done.add(element)
    return frozenset(found)
