"""Which sequence flows the tokens of an instance took, and how many of them each."""

from __future__ import annotations

from collections import Counter

from tokctl.analysis.flow.critical_path import FlowAnalysis
from tokctl.bpmn.graph import ProcessGraph
from tokctl.model.element_types import is_joining_gateway
from tokctl.model.tokens import Certainty, FlowHop

TakenFlow = tuple[str, str, str | None]
"""(source element, target element, id of the sequence flow or None if unknown)."""


def count_taken_flows(flow: FlowAnalysis, graph: ProcessGraph) -> tuple[dict[TakenFlow, int], set[TakenFlow]]:
    """Count the tokens that went from element to element, by flow history or else by parent and child links.

    Also returns the edges that are not recorded for all of their tokens. Ambiguous hops do not count.
    """
    counts: Counter[TakenFlow] = Counter()
    reconstructed: set[TakenFlow] = set()
    for n in flow.by_begin:
        visit = flow.visits[n]
        hops = visit.hops
        targets = [visit.element_id] * len(hops)
        if len(hops) > 1 and not is_joining_gateway(visit.element_type):  # the token may have moved through elements
            came_from = {flow.visits[other].element_id for other in flow.predecessors(n)}
            if any(hop.from_element not in came_from for hop in hops[1:]):
                targets = [hop.from_element or visit.element_id for hop in hops[1:]] + [visit.element_id]
        for hop, target in zip(hops, targets, strict=True):
            if hop.from_element is not None and hop.certainty is not Certainty.AMBIGUOUS:
                edge = hop.from_element, _find_target(hop, target, graph), hop.via_flow
                counts[edge] += 1
                if hop.certainty is Certainty.RECONSTRUCTED:
                    reconstructed.add(edge)
        if not any(hop.from_element is not None or hop.certainty is Certainty.AMBIGUOUS for hop in hops):
            for other in flow.predecessors(n):
                counts[flow.visits[other].element_id, visit.element_id, None] += 1
    return counts, reconstructed


def find_uncertain_flows(flow: FlowAnalysis, graph: ProcessGraph) -> set[str]:
    """Return the flows that tokens with an ambiguous hop may have taken."""
    return {
        flow_id
        for visit in flow.visits
        for hop in visit.hops
        if hop.certainty is Certainty.AMBIGUOUS and visit.element_id in graph.elements
        for flow_id in graph.elements[visit.element_id].incoming
        if hop.from_element in {None, graph.flows[flow_id].source} and hop.via_flow in {None, flow_id}
    }


def _find_target(hop: FlowHop, target: str, graph: ProcessGraph) -> str:
    """Return the target of a hop: that of its flow if the model has it, else the given element."""
    known = graph.flows.get(hop.via_flow or "")
    return known.target if known is not None and known.source == hop.from_element else target
