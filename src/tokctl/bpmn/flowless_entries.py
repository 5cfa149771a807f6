"""Explains visits that no sequence flow led to: by the model, or else by an intervention."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from tokctl.bpmn.element_details import COMPENSATION
from tokctl.bpmn.entries import UNKNOWN_SCOPE, EngineVisit, EnteredBy, Entry, VisitHop
from tokctl.bpmn.graph import ProcessGraph
from tokctl.model.definitions import Element
from tokctl.model.tokens import Certainty

Scopes = tuple[str | None, ...]
"""The scopes that a visit can be in; more than one if the engine does not tell scopes."""


def explain_only_start(element: Element, graph: ProcessGraph) -> EnteredBy | None:
    """Return how a visit of an element began that is the only one in its instance that no flow led to.

    None unless the element can only have begun with the process: ``FlowlessEntries`` has to explain the visit.
    """
    details = graph.details(element.id)
    begins = not (element.incoming or element.attached_to or element.id in graph.linked_elements)
    special = details.compensation_handler or details.event_sub_process
    return _started_by(element, graph) if begins and element.parent is None and not special else None


def _started_by(element: Element, graph: ProcessGraph) -> EnteredBy:
    return EnteredBy.EVENT if graph.details(element.id).events else EnteredBy.START


class FlowlessEntries:
    """Explains the visits of one instance, in order of time; knows all visits that started before."""

    def __init__(self, visits: Sequence[EngineVisit]) -> None:
        self._visits = {visit.visit_id: visit for visit in visits}
        self._of_element: dict[str, list[EngineVisit]] = defaultdict(list)  # all visits, later ones too
        for visit in visits:
            self._of_element[visit.element_id].append(visit)
        self._graphs: dict[int, ProcessGraph] = {}  # the models seen so far
        self._started: set[tuple[str | None, str]] = set()  # start events, by scope
        self._started_process = False
        self._hosts: set[str] = set()  # visits that an interrupting boundary event ended

    def explain(
        self,
        visit: EngineVisit,
        element: Element | None,
        graph: ProcessGraph,
        scopes: Scopes,
        *,
        has_flows: bool,
        doubtful: bool,
    ) -> Entry:
        """Return how a visit was entered.

        ``has_flows`` tells whether flows lead to its element, ``doubtful`` whether one may have led to the visit.
        """
        self._graphs[id(graph)] = graph
        scope = self._visits.get(scopes[0] or "") if len(scopes) == 1 else None
        if element is None:
            return Entry(visit.visit_id, (), EnteredBy.UNKNOWN, None)
        if scope is not None and scope.element_id == element.id:
            return Entry(visit.visit_id, (), EnteredBy.SCOPE, scope.visit_id)
        if element.attached_to is not None:
            return self._explain_boundary_event(visit, element.attached_to, graph)
        details = graph.details(element.id)
        if details.compensation_handler:
            return Entry(visit.visit_id, (), EnteredBy.COMPENSATION, self._find_compensation(visit, graph))
        parent = None if scope is None else scope.visit_id
        if details.event_sub_process:
            return Entry(visit.visit_id, (), EnteredBy.EVENT, parent)
        if has_flows:
            return self._explain_intervention(visit, element, graph, doubtful=doubtful)
        reason = self._explain_start(element, graph, scopes)
        return Entry(visit.visit_id, (), reason, parent if reason is EnteredBy.SCOPE else None)

    def _explain_start(self, element: Element, graph: ProcessGraph, scopes: Scopes) -> EnteredBy:
        container = graph.elements.get(element.parent or "")
        if container is None:
            if self._started_process:
                return EnteredBy.MODIFICATION
            self._started_process = True
            return _started_by(element, graph)
        place = scopes[0], element.id
        again = len(scopes) == 1 and place in self._started and container.type != "adHocSubProcess"
        self._started.add(place)
        return EnteredBy.MODIFICATION if again else EnteredBy.SCOPE

    def _explain_boundary_event(self, visit: EngineVisit, attached_to: str, graph: ProcessGraph) -> Entry:
        host = self._find_host(visit, attached_to, interrupting=graph.details(visit.element_id).interrupting)
        hop = VisitHop(host, attached_to, None, visit.started_at, Certainty.RECONSTRUCTED)
        return Entry(visit.visit_id, (hop,), EnteredBy.BOUNDARY_EVENT, host)

    def _find_host(self, event: EngineVisit, attached_to: str, *, interrupting: bool) -> str | None:
        """Return the visit that a boundary event is attached to; None unless only one is possible."""
        same_scope = [
            one
            for one in self._of_element[attached_to]
            if (one.scope_id == event.scope_id or UNKNOWN_SCOPE in {one.scope_id, event.scope_id})
            and one.visit_id not in self._hosts
        ]
        begun = [one for one in same_scope if one.started_at <= event.started_at]
        ended = [
            one for one in begun if one.cancelled and one.ended_at is not None and one.ended_at <= event.started_at
        ]
        if interrupting and ended:
            last = max(one.ended_at for one in ended if one.ended_at is not None)
            hosts = [one for one in ended if one.ended_at == last]
        else:
            hosts = [one for one in begun if one.ended_at is None or one.ended_at >= event.started_at]
            if len(hosts) > 1 and event.ended_at != event.started_at:  # the visit began when the event was armed
                hosts = [one for one in hosts if one.ended_at is None or one.ended_at > event.started_at]
        if len(hosts) != 1:
            return None
        if interrupting:
            self._hosts.add(hosts[0].visit_id)
        return hosts[0].visit_id

    def _find_compensation(self, handler: EngineVisit, graph: ProcessGraph) -> str | None:
        """Return the visit of the event that throws the compensation; None unless only one is possible."""
        throwing = [
            one.visit_id
            for element in graph.elements.values()
            if element.attached_to is None
            and any(event.kind == COMPENSATION for event in graph.details(element.id).events)
            for one in self._of_element[element.id]
            if one.started_at <= handler.started_at and (one.ended_at is None or one.ended_at >= handler.started_at)
        ]
        return throwing[0] if len(throwing) == 1 else None

    def _explain_intervention(
        self, visit: EngineVisit, element: Element, graph: ProcessGraph, *, doubtful: bool
    ) -> Entry:
        """Explain a visit that no flow led to, though flows lead to its element."""
        ended = [
            one
            for one in self._of_element[visit.element_id]
            if one.ended_at is not None and one.ended_at <= visit.started_at
        ]
        if visit.definition is not None:
            replaced = [one for one in ended if one.definition not in {None, visit.definition}]
            if replaced or any(visit.element_id not in other.elements for other in self._graphs.values()):
                return Entry(visit.visit_id, (), EnteredBy.MIGRATION, replaced[-1].visit_id if replaced else None)
        sources = {graph.flows[flow].source for flow in element.incoming}
        empty = any(graph.details(source).loop and not self._of_element[source] for source in sources)
        # A collection without items leaves no visit. Where flows are recorded, a migration begins all visits anew.
        migrated = visit.entered_flows is not None and any(one.cancelled for one in ended)
        known = self._started_process and not (empty or migrated or doubtful)
        return Entry(visit.visit_id, (), EnteredBy.MODIFICATION if known else EnteredBy.UNKNOWN, None)
