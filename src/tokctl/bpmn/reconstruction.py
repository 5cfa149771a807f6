"""Reconstructs the parents and the sequence flows of visits from their times, their scopes and the model.

Most engines record visits, but not the flows between them. The predecessor of a visit is the last visit, in the same
scope, of a source of one of its incoming flows, that had ended by then; each exit of a visit is used once. What that
rule leaves open is marked: a hop is ``RECONSTRUCTED`` only if all assignments of visits to exits agree on it, and
``AMBIGUOUS`` otherwise. A visit that no flow can have led to is explained by the model (``flowless_entries``): a start,
a boundary event, compensation, and so on, or else by an intervention.

At a join there is one visit for each token that arrives; the token that completes the join leaves it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import heappop, heappush

from tokctl.bpmn.entries import UNKNOWN_HOP, UNKNOWN_SCOPE, EngineVisit, EnteredBy, Entry, Hop
from tokctl.bpmn.exit_matching import Arrival, Exit, assign_exit, find_possible_exits
from tokctl.bpmn.flowless_entries import FlowlessEntries, Scopes
from tokctl.bpmn.graph import ProcessGraph
from tokctl.model.definitions import Element, SequenceFlow
from tokctl.model.tokens import Certainty

__all__ = ["UNKNOWN_SCOPE", "Certainty", "EngineVisit", "EnteredBy", "Entry", "Hop", "reconstruct_entries"]

_AT_ONCE = timedelta(seconds=1)
"""A flow that is not always taken is certain only if its target starts within this time of the end of its source."""

_NO_GRAPH = ProcessGraph(None)

_FlowArrival = tuple[Arrival | None, str | None]
"""An arrival, and the flow if the engine recorded it."""


def reconstruct_entries(
    visits: Sequence[EngineVisit], graphs: ProcessGraph | Mapping[str, ProcessGraph]
) -> dict[str, Entry]:
    """Return how each visit of one instance was entered, by visit id.

    ``visits`` are in the order in which they started; visits that started in the same millisecond are in the order
    that the engine gives. ``graphs`` is the model, or the models by ``EngineVisit.definition``.
    """
    return _Reconstruction(visits, graphs).run()


@dataclass(eq=False, slots=True)
class _Activation:
    """One activation of a multi-instance activity whose instances have no visit in common."""

    arrivals: list[_FlowArrival]
    open: int = 1
    exits: list[Exit] = field(default_factory=list)

    @property
    def left(self) -> bool:
        """Whether all exits have been used."""
        return not self.open and all(one.used_by is not None for one in self.exits)


class _Reconstruction:
    """One pass over the visits of an instance, in order of time."""

    def __init__(self, visits: Sequence[EngineVisit], graphs: ProcessGraph | Mapping[str, ProcessGraph]) -> None:
        self.visits = visits
        self._graphs = graphs
        self._flowless = FlowlessEntries(visits)
        elements = {visit.visit_id: visit.element_id for visit in visits}
        self._instances = {  # visits in the visit of the same multi-instance activity as a whole
            visit.visit_id for visit in visits if elements.get(visit.scope_id or "") == visit.element_id
        }
        self._bodies = {visit.scope_id for visit in visits if visit.visit_id in self._instances}
        self._scopes: list[Scopes] = []
        self._open_visits: dict[str, list[int]] = defaultdict(list)  # by element
        self._ended: list[tuple[datetime, int]] = []  # a heap of visits that have not been left
        self._exits: dict[tuple[str | None, str], list[Exit]] = defaultdict(list)  # by scope and target
        self._arrivals: dict[int, list[_FlowArrival]] = {}
        self._last_arrival: dict[tuple[Scopes, str], Arrival] = {}
        self._joining: dict[tuple[Scopes, str], list[tuple[int, str | None]]] = defaultdict(list)
        self._merged = self._find_merged()  # visits at joins that another token leaves
        self._doubtful: set[int] = set()
        self._activations: dict[tuple[Scopes, str], _Activation] = {}
        self._activation_of: dict[int, _Activation] = {}
        self._entries: dict[int, Entry] = {}

    def run(self) -> dict[str, Entry]:
        for number, visit in enumerate(self.visits):
            self._leave_visits(visit.started_at)
            graph = self._graph(visit)
            self._scopes.append(self._find_scopes(visit, graph))
            self._enter(number, visit, graph)
            self._open_visits[visit.element_id].append(number)
            if visit.ended_at is not None:
                heappush(self._ended, (visit.ended_at, number))
        possible = find_possible_exits(
            arrival for arrivals in self._arrivals.values() for arrival, _ in arrivals if arrival is not None
        )
        for number, arrivals in self._arrivals.items():
            self._entries[number] = self._build_entry(number, arrivals, possible)
        return {visit.visit_id: self._entries[number] for number, visit in enumerate(self.visits)}

    def _graph(self, visit: EngineVisit) -> ProcessGraph:
        if isinstance(self._graphs, ProcessGraph):
            return self._graphs
        return self._graphs.get(visit.definition or "", _NO_GRAPH)

    # --- scopes ---

    def _find_scopes(self, visit: EngineVisit, graph: ProcessGraph) -> Scopes:
        if visit.scope_id != UNKNOWN_SCOPE:
            return (visit.scope_id,)
        element = graph.elements.get(visit.element_id)
        if element is None or element.parent is None:
            return (None,)
        open_visits = [
            number
            for number in self._open_visits[element.parent]
            if (end := self.visits[number].ended_at) is None or end >= visit.started_at
        ]
        self._open_visits[element.parent] = open_visits  # visits come in order of time: the others stay closed
        return tuple(self.visits[number].visit_id for number in open_visits) or (UNKNOWN_SCOPE,)

    # --- leaving ---

    def _find_merged(self) -> set[int]:
        """Return the visits at inclusive and complex joins that ended together with a later one."""
        last: dict[tuple[str, str | None, datetime], int] = {}
        merged = set()
        for number, visit in enumerate(self.visits):
            join = self._graph(visit).joins.get(visit.element_id)
            if join is None or join.type == "parallelGateway" or visit.ended_at is None or visit.cancelled:
                continue
            place = visit.element_id, visit.scope_id, visit.ended_at
            if place in last:
                merged.add(last[place])
            last[place] = number
        return merged

    def _leave_visits(self, until: datetime) -> None:
        """Open the exits of the visits that have ended by a time."""
        while self._ended and self._ended[0][0] <= until:
            _, number = heappop(self._ended)
            visit = self.visits[number]
            element = self._graph(visit).elements.get(visit.element_id)
            activation = self._activation_of.get(number)
            if activation is not None:
                activation.open -= 1
            if element is None or number in self._merged or (activation is not None and activation.open):
                continue
            # An event-based gateway that fired is recorded as cancelled by some engines.
            if not visit.cancelled or element.type == "eventBasedGateway":
                self._open_exits(number, element, activation)

    def _open_exits(self, number: int, element: Element, activation: _Activation | None) -> None:
        graph = self._graph(self.visits[number])
        flows = tuple(graph.flows[flow] for flow in element.outgoing)
        one_only = element.type == "exclusiveGateway" or self.visits[number].cancelled
        choices = [flows] if one_only else [(flow,) for flow in flows]
        doubtful = number in self._doubtful
        for choice in choices:
            targets = {target for flow in choice for target in (flow.target, *graph.link_targets(flow.target))}
            self._offer(Exit(number, choice, doubtful), targets, activation)
        links = graph.link_targets(element.id)
        if links:
            self._offer(Exit(number, (), doubtful), set(links), activation)

    def _offer(self, offered: Exit, targets: set[str], activation: _Activation | None) -> None:
        if activation is not None:
            activation.exits.append(offered)
        for scope in self._scopes[offered.visit]:
            for target in targets:
                self._exits[scope, target].append(offered)

    # --- entering ---

    def _enter(self, number: int, visit: EngineVisit, graph: ProcessGraph) -> None:
        scopes, element = self._scopes[number], graph.elements.get(visit.element_id)
        has_flows = element is not None and (bool(element.incoming) or element.id in graph.linked_elements)
        arrivals: list[_FlowArrival] = []
        if element is not None and has_flows and visit.visit_id not in self._instances:
            if graph.details(element.id).loop is not None and visit.visit_id not in self._bodies:
                arrivals = self._arrive_at_instance(number, visit, (scopes, element.id))
            else:
                arrivals = self._arrive(number, visit)
            if element.type == "parallelGateway" and element.id in graph.joins and not visit.cancelled:
                self._join(number, visit, element, arrivals)
        if arrivals:
            self._arrivals[number] = arrivals
        else:
            self._entries[number] = self._flowless.explain(visit, element, graph, scopes, has_flows=has_flows)

    def _arrive(self, number: int, visit: EngineVisit) -> list[_FlowArrival]:
        """Return the arrivals that begin a visit: one, or one for each recorded flow; none if no exit leads to it."""
        if visit.entered_flows is not None:
            return [(self._assign(number, flow), flow) for flow in visit.entered_flows]
        arrival = self._assign(number, None)
        key = self._scopes[number], visit.element_id
        if arrival is not None:
            self._last_arrival[key] = arrival
            return [(arrival, None)]
        last = self._last_arrival.get(key)
        if last is not None and self._may_wait(last):
            last.doubtful = True  # this visit may be the one that the flow led to
        return []

    def _assign(self, number: int, flow: str | None) -> Arrival | None:
        element_id = self.visits[number].element_id
        exits: dict[int, Exit] = {}
        for scope in self._scopes[number]:
            offered = [one for one in self._exits[scope, element_id] if one.open]
            self._exits[scope, element_id] = offered
            for one in reversed(offered):
                if flow is None or any(flow == candidate.id for candidate in one.flows):
                    exits[id(one)] = one
        arrival = Arrival(number, tuple(exits.values()))
        return arrival if assign_exit(arrival) else None

    def _may_wait(self, arrival: Arrival) -> bool:
        """Tell whether the engine may have waited between the source and the target of an arrival."""
        target = self.visits[arrival.visit]
        if arrival.exit is None or not (graph := self._graph(target)).has_details:
            return True
        source = self.visits[arrival.exit.visit]
        return any(graph.details(element).asynchronous for element in (source.element_id, target.element_id))

    def _arrive_at_instance(self, number: int, visit: EngineVisit, place: tuple[Scopes, str]) -> list[_FlowArrival]:
        """Return the arrivals of a multi-instance activity, for an instance that may be in the present activation."""
        current = self._activations.get(place)
        arrivals = self._arrive(number, visit)
        if arrivals:
            if current is not None and not current.left:  # it may also be a further instance of that one
                for arrival, _ in arrivals:
                    if arrival is not None:
                        arrival.doubtful = True
            self._activations[place] = self._activation_of[number] = _Activation(arrivals)
        elif current is not None:
            current.open += 1
            for one in current.exits:
                one.retract()
            current.exits = []
            self._activation_of[number] = current
            arrivals = current.arrivals
        return arrivals

    def _join(self, number: int, visit: EngineVisit, element: Element, arrivals: list[_FlowArrival]) -> None:
        """Count the tokens that wait at a parallel join; all but the one that completes it are merged."""
        waiting = self._joining[self._scopes[number], element.id]
        if visit.entered_flows == () and waiting:
            self._merged.add(waiting.pop()[0])  # a migration replaced a visit that waits
        used = [arrival.exit for arrival, _ in arrivals if arrival is not None and arrival.exit is not None]
        flows = {flow.id for one in used for flow in one.flows}
        waiting.append((number, next(iter(flows), None) if len(flows) == 1 else None))
        if len(waiting) < len(element.incoming):
            self._merged.add(number)
            return
        known = [flow for _, flow in waiting if flow is not None]
        if len(set(known)) < len(known):  # engines differ: some count tokens, some count flows
            self._doubtful.add(number)
        waiting.clear()

    # --- results ---

    def _build_entry(self, number: int, arrivals: list[_FlowArrival], possible: dict[int, list[Exit]]) -> Entry:
        hops = tuple(
            self._build_hop(number, arrival, flow, [] if arrival is None else possible[id(arrival)])
            for arrival, flow in arrivals
        )
        unknown = any(hop == UNKNOWN_HOP for hop in hops)
        return Entry(
            self.visits[number].visit_id,
            hops,
            EnteredBy.UNKNOWN if unknown else EnteredBy.FLOW,
            hops[-1].from_visit,
        )

    def _build_hop(self, number: int, arrival: Arrival | None, recorded: str | None, exits: list[Exit]) -> Hop:
        visit = self.visits[number]
        graph = self._graph(visit)
        sources = {one.visit for one in exits}
        certain_exit = len(exits) == 1 and not exits[0].doubtful and arrival is not None and not arrival.doubtful
        if recorded is not None:
            flow = graph.flows.get(recorded)
            source = self.visits[exits[0].visit].visit_id if certain_exit else None
            element = None if flow is None else flow.source
            return Hop(source, element, recorded, visit.started_at, Certainty.RECORDED)
        if arrival is None or arrival.doubtful:
            return UNKNOWN_HOP
        flows = {flow.id: flow for one in exits for flow in one.flows if self._leads_to(graph, flow, visit.element_id)}
        elements = {self.visits[source].element_id for source in sources}
        if len(flows) == 1 and self._is_late(visit, exits, next(iter(flows.values()))):
            return UNKNOWN_HOP
        certain = certain_exit and len(flows) <= 1
        return Hop(
            self.visits[exits[0].visit].visit_id if len(sources) == 1 and not exits[0].doubtful else None,
            elements.pop() if len(elements) == 1 else None,
            next(iter(flows)) if len(flows) == 1 and all(one.flows for one in exits) else None,
            visit.started_at,
            Certainty.RECONSTRUCTED if certain else Certainty.AMBIGUOUS,
        )

    def _leads_to(self, graph: ProcessGraph, flow: SequenceFlow, element_id: str) -> bool:
        return flow.target == element_id or element_id in graph.link_targets(flow.target)

    def _is_late(self, visit: EngineVisit, exits: list[Exit], flow: SequenceFlow) -> bool:
        """Tell whether a visit started too late for a flow that its source does not always take."""
        graph = self._graph(self.visits[exits[0].visit])
        if not graph.is_optional(flow):
            return False
        ends = [end for one in exits if (end := self.visits[one.visit].ended_at) is not None]
        return not ends or visit.started_at - max(ends) > _AT_ONCE
