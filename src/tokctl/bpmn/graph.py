"""A process definition as a graph: elements, sequence flows, nesting, boundary events, reachability.

Every part of tokctl that asks how elements are connected uses ``ProcessGraph``: flow reconstruction, the join analysis,
explanations, the Mermaid chart and the recorder. The graph has the model only; ``tokctl.analysis`` deals with tokens.
``tokctl.bpmn.element_details`` reads the details of single elements from the XML (timers, messages, called processes).
"""

from __future__ import annotations

from collections import defaultdict, deque
from functools import cached_property

from msgspec import Struct
from msgspec.structs import replace

from tokctl.bpmn.element_details import LINK, NO_ELEMENT_DETAILS, ElementDetails, read_element_details
from tokctl.model.definitions import Definition, Element, SequenceFlow
from tokctl.model.element_types import JOIN_TYPES, SUB_PROCESS_TYPES, canonical_type

_EXIT = "\0exit"  # appended to the id of a sub-process: the place where a token leaves it; no id contains NUL


class _Step(Struct, frozen=True, eq=False):
    """One step of a path: over a sequence flow, or without one (into a sub-process, to a boundary event)."""

    target: str
    flow: SequenceFlow | None = None


class ProcessGraph:
    """The graph of one definition; without a definition it is empty.

    ``elements`` and ``flows`` are by id. Flows that refer to unknown elements are left out, element types are in their
    BPMN spelling, and the ``incoming`` and ``outgoing`` of each element are those of ``flows``, even if the definition
    lists others. Answers are computed on first use and kept, so that one graph can serve many instances.
    """

    def __init__(self, definition: Definition | None) -> None:
        self.process_id = None if definition is None else definition.process_id
        self._definition = definition
        known = {} if definition is None else definition.elements
        flows = [] if definition is None else definition.flows.values()
        self.flows = {flow.id: flow for flow in flows if flow.source in known and flow.target in known}
        incoming: dict[str, list[str]] = defaultdict(list)
        outgoing: dict[str, list[str]] = defaultdict(list)
        for flow in self.flows.values():
            outgoing[flow.source].append(flow.id)
            incoming[flow.target].append(flow.id)
        self.elements = {
            one.id: replace(
                one, type=canonical_type(one.type), incoming=tuple(incoming[one.id]), outgoing=tuple(outgoing[one.id])
            )
            for one in known.values()
        }
        self.joins = {one.id: one for one in self.elements.values() if one.type in JOIN_TYPES and len(one.incoming) > 1}
        """The gateways that may wait for several incoming flows, by id."""
        self.call_activities = frozenset(one.id for one in self.elements.values() if one.type == "callActivity")
        self._certain_flows: dict[tuple[str, str], tuple[SequenceFlow, ...]] = {}
        self._upstream_elements: dict[tuple[str, str], frozenset[str]] = {}
        self._reachable_flows: dict[tuple[str | None, frozenset[str], frozenset[str]], frozenset[str]] = {}

    # --- neighbours ---

    def outgoing_flows(self, element_id: str) -> list[SequenceFlow]:
        """Return the sequence flows that leave an element, in the order of the model."""
        element = self.elements.get(element_id)
        return [] if element is None else [self.flows[flow_id] for flow_id in element.outgoing]

    def flows_between(self, source: str, target: str) -> list[SequenceFlow]:
        """Return the sequence flows from one element straight to another, in the order of the model."""
        return [flow for flow in self.outgoing_flows(source) if flow.target == target]

    def flow_targets(self, element_id: str) -> list[Element]:
        """Return the elements that the outgoing flows of an element lead to."""
        return [self.elements[flow.target] for flow in self.outgoing_flows(element_id)]

    def boundary_events(self, element_id: str) -> list[Element]:
        """Return the boundary events attached to an activity."""
        return [self.elements[other] for other in self._boundary_events.get(element_id, ())]

    def successors(self, element_id: str) -> list[str]:
        """Return the ids that a token can go to next: over flows, to boundary events, and over links."""
        targets = [flow.target for flow in self.outgoing_flows(element_id)]
        return [*targets, *self._flowless_targets.get(element_id, ())]

    def predecessors(self, element_id: str) -> list[str]:
        """Return the ids that a token can come from; the opposite of ``successors``."""
        return self._predecessors.get(element_id, [])

    def details(self, element_id: str) -> ElementDetails:
        """Return the details of an element that only the XML has; those of a plain element if there is no XML."""
        return self._details.get(element_id, NO_ELEMENT_DETAILS)

    @cached_property
    def has_details(self) -> bool:
        """Whether the XML of the definition is known."""
        return bool(self._details)

    @cached_property
    def _details(self) -> dict[str, ElementDetails]:
        return read_element_details(self._definition)

    def link_targets(self, element_id: str) -> list[str]:
        """Return the catching link events that a throwing link event leads to: those of the same name, if known."""
        if element_id not in self.elements or self.elements[element_id].type != "intermediateThrowEvent":
            return []
        name = self._link_name(element_id)
        targets = self._flowless_targets.get(element_id, ())
        return [target for target in targets if self._link_name(target) == name]

    @cached_property
    def linked_elements(self) -> frozenset[str]:
        """The catching link events that a throwing link event leads to."""
        return frozenset(target for element_id in self.elements for target in self.link_targets(element_id))

    def _link_name(self, element_id: str) -> str | None:
        return next((event.name for event in self.details(element_id).events if event.kind == LINK), None)

    @cached_property
    def containers(self) -> frozenset[str]:
        """The sub-processes, and all other elements that are the parent of an element."""
        typed = {one.id for one in self.elements.values() if one.type in SUB_PROCESS_TYPES}
        return frozenset(typed | {one.parent for one in self.elements.values() if one.parent in self.elements})

    @cached_property
    def _boundary_events(self) -> dict[str, list[str]]:
        events: dict[str, list[str]] = defaultdict(list)
        for element in self.elements.values():
            if element.attached_to is not None:
                events[element.attached_to].append(element.id)
        return events

    @cached_property
    def _entry_elements(self) -> dict[str, list[str]]:
        """The elements of each sub-process that no flow leads to: where a token can enter it."""
        entries: dict[str, list[str]] = defaultdict(list)
        for element in self.elements.values():
            if element.parent in self.elements and not element.incoming and element.attached_to is None:
                entries[element.parent].append(element.id)
        return entries

    @cached_property
    def _flowless_targets(self) -> dict[str, list[str]]:
        """The elements that a token can go to without a sequence flow: boundary events, and the targets of links.

        Link events connect within one level of the process only. Their names are not compared, so a throwing link
        leads to every catching link of its level.
        """
        targets = {element_id: [*events] for element_id, events in self._boundary_events.items()}
        catching: dict[str | None, list[str]] = defaultdict(list)
        for element in self.elements.values():
            if element.type == "intermediateCatchEvent" and not element.incoming and element.attached_to is None:
                catching[element.parent].append(element.id)
        for element in self.elements.values():
            if element.type == "intermediateThrowEvent" and not element.outgoing:
                targets.setdefault(element.id, []).extend(catching[element.parent])
        return targets

    @cached_property
    def _predecessors(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for element_id in self.elements:
            for target in self.successors(element_id):
                found[target].append(element_id)
        return found

    # --- reachability within one level ---

    def upstream_elements(self, join: str, flow: str) -> frozenset[str]:
        """Return the elements from which a token can reach a join over one of its flows without passing the join."""
        key = join, flow
        if key not in self._upstream_elements:
            pending = [self.flows[flow].source]
            seen = {join}
            for element in pending:  # grows while it is read
                if element not in seen:
                    seen.add(element)
                    pending += self.predecessors(element)
            self._upstream_elements[key] = frozenset(seen - {join})
        return self._upstream_elements[key]

    def find_reachable_flows(self, level: str | None, live: frozenset[str], arrived: frozenset[str]) -> frozenset[str]:
        """Return the flows that a token can still take, in one run of a sub-process or of the process.

        A parallel join is passed only once tokens have arrived, or can arrive, on all of its incoming flows.

        Args:
            level: the sub-process; None for the process itself.
            live: the elements with live tokens, except for tokens that wait at a parallel join.
            arrived: the flows on which tokens have arrived at a parallel join that waits.
        """
        key = level, live, arrived
        if key not in self._reachable_flows:
            self._reachable_flows[key] = self._compute_reachable_flows(level, live, arrived)
        return self._reachable_flows[key]

    def _compute_reachable_flows(
        self, level: str | None, live: frozenset[str], arrived: frozenset[str]
    ) -> frozenset[str]:
        present = set(arrived)  # flows on which a token has arrived or can arrive
        reached: set[str] = set()
        pending = [*live, *(self.flows[flow].target for flow in arrived)]
        container = self.elements.get(level or "")
        if container is not None and container.type == "adHocSubProcess":
            pending += self._entry_elements.get(container.id, ())  # these can start at any time
        for element_id in pending:  # grows while it is read
            if element_id in reached:
                continue
            element = self.elements[element_id]
            waits = element_id in self.joins and element.type == "parallelGateway" and element_id not in live
            if waits and not present.issuperset(element.incoming):
                continue  # checked again whenever another of its flows turns out to be reachable
            reached.add(element_id)
            present.update(element.outgoing)
            pending += self.successors(element_id)
        return frozenset(flow for element_id in reached for flow in self.elements[element_id].outgoing)

    # --- paths through all levels ---

    def has_path(self, source: str, target: str) -> bool:
        """Tell whether a token can get from one element to another, in at least one step."""
        return self._find_shortest_path(source, target) is not None

    def find_certain_flows(self, source: str, target: str) -> tuple[SequenceFlow, ...]:
        """Return the flows that every path from one element to another takes, in order; empty without a path.

        These are the bridges of the graph between the two: each step of one shortest path is removed in turn, and
        is certain if no path is left.
        """
        key = source, target
        if key not in self._certain_flows:
            path = self._find_shortest_path(source, target) or []
            self._certain_flows[key] = tuple(
                step.flow
                for step in path
                if step.flow is not None and self._find_shortest_path(source, target, without=step) is None
            )
        return self._certain_flows[key]

    def _find_shortest_path(self, source: str, target: str, without: _Step | None = None) -> list[_Step] | None:
        """Return the steps of a shortest path of at least one step; None if there is no path."""
        reached_by: dict[str, tuple[str, _Step]] = {}
        pending = deque([source])
        while pending:
            here = pending.popleft()
            for step in self._steps.get(here, ()):
                if step is without or step.target in reached_by:
                    continue
                reached_by[step.target] = here, step
                if step.target == target:
                    return _backtrack(reached_by, source, target)
                pending.append(step.target)
        return None

    @cached_property
    def _steps(self) -> dict[str, list[_Step]]:
        """All steps by where they start.

        A sub-process is two places, its id and its exit, joined by a step. Its elements are entered from the exit,
        because the activity can be a loop.
        """
        steps: dict[str, list[_Step]] = defaultdict(list)

        def leave(element_id: str) -> str:
            return element_id + _EXIT if element_id in self.containers else element_id

        for flow in self.flows.values():
            steps[leave(flow.source)].append(_Step(flow.target, flow))
        for container in self.containers:
            steps[container].append(_Step(container + _EXIT))
            for entry in self._entry_elements.get(container, ()):
                steps[leave(container)].append(_Step(entry))
        event_sub_processes = [one for one in self.elements.values() if one.type == "subProcess" and not one.incoming]
        for element in self.elements.values():
            here = leave(element.id)
            steps[here] += [_Step(target) for target in self._flowless_targets.get(element.id, ())]
            # An event sub-process can start whatever else its level is doing.
            same_level = (sub for sub in event_sub_processes if sub.parent == element.parent and sub is not element)
            steps[here] += [_Step(sub.id) for sub in same_level]
            if element.parent in self.elements:
                steps[here].append(_Step(element.parent + _EXIT))
        return steps


def _backtrack(reached_by: dict[str, tuple[str, _Step]], source: str, target: str) -> list[_Step]:
    steps: list[_Step] = []
    here = target
    while not steps or here != source:
        here, step = reached_by[here]
        steps.append(step)
    return steps[::-1]
