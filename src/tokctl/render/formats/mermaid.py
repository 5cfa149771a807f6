"""The flow of an instance as a Mermaid flowchart: elements as nodes, token counts at the edges.

Syntax: https://mermaid.js.org/syntax/flowchart.html.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise

from tokctl.analysis.flow.critical_path import FlowAnalysis
from tokctl.bpmn.graph import ProcessGraph
from tokctl.model.definitions import Definition
from tokctl.model.element_types import canonical_type, is_joining_gateway, type_matches
from tokctl.model.states import FAILED
from tokctl.model.tokens import Certainty, FlowHop
from tokctl.model.visits import Visit

Edge = tuple[str, str, str | None]
"""(source element, target element, id of the sequence flow or None if unknown)."""

_SHAPES = (
    (("endEvent",), "(((", ")))"),
    (("subProcess", "callActivity", "transaction", "adHocSubProcess"), "[[", "]]"),
    (("event",), "((", "))"),
    (("gateway",), "{", "}"),
)
_CLASSES = """\
classDef live stroke:#188038,stroke-width:3px
classDef failed stroke:#c5221f,stroke-width:3px
classDef untaken stroke-dasharray:4 4,opacity:0.6
"""

# All characters but letters, digits and the few that have no meaning in Mermaid, Markdown and HTML.
_UNSAFE = re.compile(r"[^\w ,?!/()=%'+.-]|(?<![^\W_])_|_(?![^\W_])")
_LIST_MARKER = re.compile(r"^(?=[-+])|^(\d+)(?=[.)])")


def escape_label(label: str) -> str:
    """Return text as a label between quotes; characters with a meaning in Mermaid become entities."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in label).split())
    escaped = _UNSAFE.sub(lambda match: f"#{ord(match[0])};", line)
    if _LIST_MARKER.match(escaped):  # would start a Markdown list
        sign = re.search(r"[-+.)]", escaped)
        if sign:
            escaped = f"{escaped[: sign.start()]}#{ord(sign[0])};{escaped[sign.end() :]}"
    return escaped or "#8203;"


def write_mermaid(flow: FlowAnalysis, definition: Definition | None) -> Iterator[str]:
    """Yield the lines of the flowchart.

    Thick edges are those of the critical path, dotted edges are flows of the definition that no token took, and
    edges with a round end lead into a sub-process. ``≈`` marks edges that are not recorded but follow from the times
    and the model, ``?`` dotted edges that a token may have taken.
    """
    visits = flow.visits
    graph = ProcessGraph(definition)
    edges, reconstructed = _count_edges(flow, graph)
    uncertain = _find_uncertain_flows(flow, graph)
    critical_steps = {
        (visits[before.node].element_id, visits[after.node].element_id)
        for before, after in pairwise(flow.critical_steps)
    }
    within = {
        (visits[other].element_id, visit.element_id)
        for n, visit in enumerate(visits)
        for other in flow.predecessors(n)
        if other in flow.containers and flow.contains(other, n)
    }
    nodes = _NodeTable(flow, graph, edges)
    yield "flowchart TD\n"
    yield from nodes.lines()
    for (source, target, via), tokens in edges.items():
        arrow = "==>" if (source, target) in critical_steps else "--o" if (source, target) in within else "-->"
        number = f"{'≈' * ((source, target, via) in reconstructed)}×{tokens}"
        label = " ".join(part for part in (via and escape_label(_flow_name(via, graph)), number) if part)
        yield f'{nodes.id(source)} {arrow}|"{label}"| {nodes.id(target)}\n'
    for flow_id, source, target in _find_untaken_flows(graph, edges):
        label = escape_label(_flow_name(flow_id, graph)) + " ?" * (flow_id in uncertain)
        yield f'{nodes.id(source)} -.->|"{label}"| {nodes.id(target)}\n'
    yield _CLASSES
    for name, members in nodes.classes().items():
        if members:
            yield f"class {','.join(members)} {name}\n"


class _NodeTable:
    """The elements, numbered in the order in which tokens reached them, then the elements that no token reached."""

    def __init__(self, flow: FlowAnalysis, graph: ProcessGraph, edges: Iterable[Edge]) -> None:
        self.visits = Counter(visit.element_id for visit in flow.visits)
        self.known: dict[str, Visit] = {}
        for n in flow.by_begin:
            self.known.setdefault(flow.visits[n].element_id, flow.visits[n])
        self.elements = graph.elements
        ids = dict.fromkeys([*self.known, *(end for edge in edges for end in edge[:2]), *self.elements])
        self.numbers = {element_id: number for number, element_id in enumerate(ids)}
        passed = {end for edge in edges for end in edge[:2]}
        self.untaken = [one for one in ids if one not in self.known and one not in passed]
        self.live = dict.fromkeys(flow.visits[n].element_id for n in flow.live)
        self.failed = dict.fromkeys(visit.element_id for visit in flow.visits if visit.state == FAILED)

    def id(self, element_id: str) -> str:
        return f"n{self.numbers[element_id]}"

    def lines(self) -> Iterator[str]:
        for element_id in self.numbers:
            visit, element = self.known.get(element_id), self.elements.get(element_id)
            name = (visit and visit.element_name) or (element and element.name) or element_id
            kind = (visit and visit.element_type) or (element and element.type) or ""
            left, right = _shape(kind)
            many = self.visits[element_id]
            yield f'{self.id(element_id)}{left}"{escape_label(name)}{f" ×{many}" if many > 1 else ""}"{right}\n'

    def classes(self) -> dict[str, list[str]]:
        live = [element_id for element_id in self.live if element_id not in self.failed]
        groups = {"live": live, "failed": [*self.failed], "untaken": self.untaken}
        return {name: [self.id(element_id) for element_id in ids] for name, ids in groups.items()}


def _shape(kind: str) -> tuple[str, str]:
    known = canonical_type(kind)
    return next(
        ((left, right) for kinds, left, right in _SHAPES if any(type_matches(known, one) for one in kinds)), ("[", "]")
    )


def _flow_name(flow_id: str, graph: ProcessGraph) -> str:
    known = graph.flows.get(flow_id)
    return (known and known.name) or flow_id


def _count_edges(flow: FlowAnalysis, graph: ProcessGraph) -> tuple[dict[Edge, int], set[Edge]]:
    """Count the tokens that went from element to element, by flow history or else by parent and child links.

    Also returns the edges that are not recorded for all of their tokens. Ambiguous hops do not count.
    """
    counts: Counter[Edge] = Counter()
    reconstructed: set[Edge] = set()
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


def _find_uncertain_flows(flow: FlowAnalysis, graph: ProcessGraph) -> set[str]:
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


def _find_untaken_flows(graph: ProcessGraph, edges: Iterable[Edge]) -> Iterator[tuple[str, str, str]]:
    taken = {via for _, _, via in edges}
    pairs = {(source, target) for source, target, via in edges if via is None}
    for known in graph.flows.values():
        if known.id not in taken and (known.source, known.target) not in pairs:
            yield known.id, known.source, known.target
