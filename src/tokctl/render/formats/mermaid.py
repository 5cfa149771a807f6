"""The flow of an instance as a Mermaid flowchart: elements as nodes, token counts at the edges.

Syntax: https://mermaid.js.org/syntax/flowchart.html.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise

from tokctl.analysis.flow.critical_path import FlowAnalysis
from tokctl.analysis.flow.taken_flows import TakenFlow, count_taken_flows, find_uncertain_flows
from tokctl.bpmn.graph import ProcessGraph
from tokctl.model.definitions import Definition
from tokctl.model.element_types import canonical_type, type_matches
from tokctl.model.states import FAILED
from tokctl.model.visits import Visit

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
    edges, reconstructed = count_taken_flows(flow, graph)
    uncertain = find_uncertain_flows(flow, graph)
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

    def __init__(self, flow: FlowAnalysis, graph: ProcessGraph, edges: Iterable[TakenFlow]) -> None:
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


def _find_untaken_flows(graph: ProcessGraph, edges: Iterable[TakenFlow]) -> Iterator[tuple[str, str, str]]:
    taken = {via for _, _, via in edges}
    pairs = {(source, target) for source, target, via in edges if via is None}
    for known in graph.flows.values():
        if known.id not in taken and (known.source, known.target) not in pairs:
            yield known.id, known.source, known.target
