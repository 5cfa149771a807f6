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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import heappop, heappush

from tokctl.bpmn.entries import (
    UNKNOWN_HOP,
    UNKNOWN_SCOPE,
    EngineVisit,
    EnteredBy,
    Entry,
    VisitHop,
    encode_flow_history,
)
from tokctl.bpmn.exit_matching import Exit, ExitClaim, assign_exit, find_possible_exits
from tokctl.bpmn.flowless_entries import FlowlessEntries, Scopes
from tokctl.bpmn.graph import ProcessGraph
from tokctl.model.definitions import Element, SequenceFlow
from tokctl.model.tokens import Certainty

__all__ = [
    "UNKNOWN_SCOPE",
    "Certainty",
    "EngineVisit",
    "EnteredBy",
    "Entry",
    "VisitHop",
    "encode_flow_history",
    "reconstruct_entries",
]

_AT_ONCE = timedelta(seconds=1)
"""A flow that is not always taken is certain only if its target starts within this time of the end of its source."""

_NO_GRAPH = ProcessGraph(None)

_Place = tuple[Scopes, str]
"""An element in a scope."""
_FlowClaim = tuple[ExitClaim | None, str | None]
"""The claim of an arrival, None if it has no exit left, and the flow if the engine recorded it."""


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

    claims: list[_FlowClaim]
    open: int = 1
    exits: list[Exit] = field(default_factory=list)

    @property
    def left(self) -> bool:
        """Whether all exits have been used."""
        return not self.open and all(one.used_by is not None for one in self.exits)


class _Joins:
    """Tells which tokens that arrive at a join leave it again: the others are ``merged``."""

    def __init__(self, visits: Sequence[EngineVisit], graph_of: Callable[[EngineVisit], ProcessGraph]) -> None:
        self._visits = visits
        self._waiting: dict[_Place, list[tuple[int, str | None]]] = defaultdict(list)  # with the flow, if known
        self.merged: set[int] = set()
        self.doubtful: set[int] = set()  # visits that may not have been the ones to complete the join
        self._merged_elements: dict[str, list[EngineVisit]] = defaultdict(list)  # at inclusive and complex joins
        last: dict[tuple[str, str | None], int] = {}
        for number, visit in enumerate(visits):
            join = graph_of(visit).joins.get(visit.element_id)
            if join is None or join.type == "parallelGateway" or visit.ended_at is None or visit.cancelled:
                continue
            place = visit.element_id, visit.scope_id
            before = last.get(place)
            if before is not None and (end := visits[before].ended_at) is not None and end >= visit.started_at:
                self.merged.add(before)  # it still waited when this one arrived
                self._merged_elements[visit.element_id].append(visits[before])
            last[place] = number

    def arrive(self, number: int, place: _Place, size: int, claims: list[_FlowClaim]) -> None:
        """Count a token that arrives at a parallel join with ``size`` incoming flows."""
        waiting = self._waiting[place]
        if self._visits[number].entered_flows == () and waiting:
            self.merged.add(waiting.pop()[0])  # a migration replaced a visit that waits
        used = [claim.exit for claim, _ in claims if claim is not None and claim.exit is not None]
        flows = {flow.id for one in used for flow in one.flows}
        waiting.append((number, next(iter(flows)) if len(flows) == 1 else None))
        if len(waiting) < size:
            self.merged.add(number)
            return
        known = [flow for _, flow in waiting if flow is not None]
        if len(set(known)) < len(known):  # engines differ: some count tokens, some count flows
            self.doubtful.add(number)
        waiting.clear()

    def may_have_fired(self, places: Sequence[_Place], visit: EngineVisit) -> bool:
        """Tell whether a join ended visits before this one, though tokens seem to be missing there."""
        waiting = [self._visits[number] for place in places for number, _ in self._waiting.get(place, ())]
        waiting += [one for _, element_id in places for one in self._merged_elements[element_id]]
        return visit.entered_flows is None and any(
            one.ended_at is not None and one.ended_at <= visit.started_at for one in waiting
        )


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
        self._claims: dict[int, list[_FlowClaim]] = {}
        self._last_claim: dict[_Place, ExitClaim] = {}
        self._joins = _Joins(visits, self._graph)
        self._activations: dict[_Place, _Activation] = {}
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
            claim for claims in self._claims.values() for claim, _ in claims if claim is not None
        )
        for number, claims in self._claims.items():
            self._entries[number] = self._build_entry(number, claims, possible)
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

    def _leave_visits(self, until: datetime) -> None:
        """Open the exits of the visits that have ended by a time."""
        while self._ended and self._ended[0][0] <= until:
            _, number = heappop(self._ended)
            visit = self.visits[number]
            element = self._graph(visit).elements.get(visit.element_id)
            activation = self._activation_of.get(number)
            if activation is not None:
                activation.open -= 1
            if element is None or number in self._joins.merged or (activation is not None and activation.open):
                continue
            # An event-based gateway that fired is recorded as cancelled by some engines.
            if not visit.cancelled or element.type == "eventBasedGateway":
                self._open_exits(number, element, activation)

    def _open_exits(self, number: int, element: Element, activation: _Activation | None) -> None:
        graph = self._graph(self.visits[number])
        flows = tuple(graph.flows[flow] for flow in element.outgoing)
        one_only = element.type == "exclusiveGateway" or self.visits[number].cancelled
        choices = [flows] if one_only else [(flow,) for flow in flows]
        doubtful = number in self._joins.doubtful
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
        claims: list[_FlowClaim] = []
        if element is not None and has_flows and visit.visit_id not in self._instances:
            if graph.details(element.id).loop is not None and visit.visit_id not in self._bodies:
                claims = self._arrive_at_instance(number, visit, (scopes, element.id))
            else:
                claims = self._arrive(number, visit)
            if element.type == "parallelGateway" and element.id in graph.joins and not visit.cancelled:
                self._joins.arrive(number, (scopes, element.id), len(element.incoming), claims)
        if claims:
            self._claims[number] = claims
        else:
            sources = () if element is None else tuple((scopes, graph.flows[flow].source) for flow in element.incoming)
            doubtful = self._joins.may_have_fired(sources, visit)
            self._entries[number] = self._flowless.explain(
                visit, element, graph, scopes, has_flows=has_flows, doubtful=doubtful
            )

    def _arrive(self, number: int, visit: EngineVisit) -> list[_FlowClaim]:
        """Return the claims that begin a visit: one, or one for each recorded flow; none if no exit leads to it."""
        if visit.entered_flows is not None:
            return [(self._assign(number, flow), flow) for flow in visit.entered_flows]
        claim = self._assign(number, None)
        key = self._scopes[number], visit.element_id
        if claim is not None:
            self._last_claim[key] = claim
            return [(claim, None)]
        last = self._last_claim.get(key)
        if last is not None and self._may_wait(last):
            last.doubtful = True  # this visit may be the one that the flow led to
        return []

    def _assign(self, number: int, flow: str | None) -> ExitClaim | None:
        element_id = self.visits[number].element_id
        exits: dict[int, Exit] = {}
        for scope in self._scopes[number]:
            offered = [one for one in self._exits[scope, element_id] if one.open]
            self._exits[scope, element_id] = offered
            for one in reversed(offered):
                if flow is None or any(flow == candidate.id for candidate in one.flows):
                    exits[id(one)] = one
        claim = ExitClaim(number, tuple(exits.values()))
        return claim if assign_exit(claim) else None

    def _may_wait(self, claim: ExitClaim) -> bool:
        """Tell whether the engine may have waited between the source and the target of a claim."""
        target = self.visits[claim.visit]
        if claim.exit is None or not (graph := self._graph(target)).has_details:
            return True
        source = self.visits[claim.exit.visit]
        return any(graph.details(element).asynchronous for element in (source.element_id, target.element_id))

    def _arrive_at_instance(self, number: int, visit: EngineVisit, place: _Place) -> list[_FlowClaim]:
        """Return the claims of a multi-instance activity, for an instance that may be in the present activation."""
        current = self._activations.get(place)
        claims = self._arrive(number, visit)
        if claims:
            if current is not None and not current.left:  # it may also be a further instance of that one
                for claim, _ in claims:
                    if claim is not None:
                        claim.doubtful = True
            self._activations[place] = self._activation_of[number] = _Activation(claims)
        elif current is not None:
            current.open += 1
            for one in current.exits:
                one.retract()
            current.exits = []
            self._activation_of[number] = current
            claims = current.claims
        return claims

    # --- results ---

    def _build_entry(self, number: int, claims: list[_FlowClaim], possible: dict[int, list[Exit]]) -> Entry:
        hops = tuple(
            self._build_hop(number, claim, flow, [] if claim is None else possible[id(claim)]) for claim, flow in claims
        )
        unknown = any(hop == UNKNOWN_HOP for hop in hops)
        return Entry(
            self.visits[number].visit_id,
            hops,
            EnteredBy.UNKNOWN if unknown else EnteredBy.FLOW,
            hops[-1].from_visit,
        )

    def _build_hop(self, number: int, claim: ExitClaim | None, recorded: str | None, exits: list[Exit]) -> VisitHop:
        visit = self.visits[number]
        graph = self._graph(visit)
        sources = {one.visit for one in exits}
        certain_exit = len(exits) == 1 and not exits[0].doubtful and claim is not None and not claim.doubtful
        if recorded is not None:
            flow = graph.flows.get(recorded)
            source = self.visits[exits[0].visit].visit_id if certain_exit else None
            element = None if flow is None else flow.source
            return VisitHop(source, element, recorded, visit.started_at, Certainty.RECORDED)
        if claim is None or claim.doubtful:
            return UNKNOWN_HOP
        flows = {flow.id: flow for one in exits for flow in one.flows if self._leads_to(graph, flow, visit.element_id)}
        elements = {self.visits[source].element_id for source in sources}
        if len(flows) == 1 and self._is_late(visit, exits, next(iter(flows.values()))):
            return UNKNOWN_HOP
        certain = certain_exit and len(flows) <= 1
        return VisitHop(
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
        if not _is_optional(flow, graph):
            return False
        ends = [end for one in exits if (end := self.visits[one.visit].ended_at) is not None]
        return not ends or visit.started_at - max(ends) > _AT_ONCE


def _is_optional(flow: SequenceFlow, graph: ProcessGraph) -> bool:
    """Tell whether a token that leaves the source may leave it without this flow.

    Exclusive and event-based gateways do not count: a token that leaves one takes one of its flows.
    """
    source = graph.elements[flow.source]
    if source.type in {"inclusiveGateway", "complexGateway"}:
        return len(source.outgoing) > 1
    is_gateway = source.type.endswith("Gateway")
    return not is_gateway and (flow.condition is not None or flow.id == source.default_flow)
