"""The way taken as a Mermaid flowchart: elements as nodes, with how many tokens went over which flow."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise

from tokctl.process.flow import Flow
from tokctl.process.model import FAILED, Definition, FlowHop, SequenceFlow, canonical_type, type_matches
from tokctl.process.tree import waits_for_several
from tokctl.process.visit import Visit

Edge = tuple[str, str, str | None]
"""From which element to which, over which flow."""

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

# Letters and digits of any script, and the few signs that mean nothing to Mermaid, to Markdown or to HTML.
_UNSAFE = re.compile(r"[^\w ,?!/()=%'+.-]|(?<![^\W_])_|_(?![^\W_])")
_LIST = re.compile(r"^(?=[-+])|^(\d+)(?=[.)])")


def text(label: str) -> str:
    """Text from data as a label between quotes: whatever could mean something is written as an entity."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in label).split())
    escaped = _UNSAFE.sub(lambda match: f"#{ord(match[0])};", line)
    if _LIST.match(escaped):  # what looks like a list would be taken for Markdown
        sign = re.search(r"[-+.)]", escaped)
        if sign:
            escaped = f"{escaped[: sign.start()]}#{ord(sign[0])};{escaped[sign.end() :]}"
    return escaped or "#8203;"


def mermaid(flow: Flow, definition: Definition | None) -> Iterator[str]:
    """Write the flowchart, line by line.

    Thick edges are those of the critical path, dotted ones lead over flows of the definition that no token took.
    A round end leads into a sub-process.
    """
    visits = flow.visits
    edges = _edges(flow, definition)
    critical = {
        (visits[before.node].element_id, visits[after.node].element_id) for before, after in pairwise(flow.critical)
    }
    within = {
        (visits[other].element_id, visit.element_id)
        for n, visit in enumerate(visits)
        for other in flow.predecessors(n)
        if other in flow.containers and flow.contains(other, n)
    }
    nodes = _Nodes(flow, definition, edges)
    yield "flowchart TD\n"
    yield from nodes.lines()
    for (source, target, via), tokens in edges.items():
        arrow = "==>" if (source, target) in critical else "--o" if (source, target) in within else "-->"
        label = " ".join(part for part in (via and text(_flow_name(via, definition)), f"×{tokens}") if part)
        yield f'{nodes.id(source)} {arrow}|"{label}"| {nodes.id(target)}\n'
    for flow_id, source, target in _untaken(definition, edges):
        yield f'{nodes.id(source)} -.->|"{text(_flow_name(flow_id, definition))}"| {nodes.id(target)}\n'
    yield _CLASSES
    for name, members in nodes.classes().items():
        if members:
            yield f"class {','.join(members)} {name}\n"


class _Nodes:
    """The elements, numbered in the order in which tokens came to them; then those that none came to."""

    def __init__(self, flow: Flow, definition: Definition | None, edges: Iterable[Edge]) -> None:
        self.visits = Counter(visit.element_id for visit in flow.visits)
        self.known: dict[str, Visit] = {}
        for n in flow.by_begin:
            self.known.setdefault(flow.visits[n].element_id, flow.visits[n])
        self.definition = definition.elements if definition else {}
        ids = dict.fromkeys([*self.known, *(end for edge in edges for end in edge[:2]), *self.definition])
        self.numbers = {element_id: number for number, element_id in enumerate(ids)}
        passed = {end for edge in edges for end in edge[:2]}
        self.untaken = [one for one in ids if one not in self.known and one not in passed]
        self.live = dict.fromkeys(flow.visits[n].element_id for n in flow.live)
        self.failed = dict.fromkeys(visit.element_id for visit in flow.visits if visit.state == FAILED)

    def id(self, element_id: str) -> str:
        return f"n{self.numbers[element_id]}"

    def lines(self) -> Iterator[str]:
        for element_id in self.numbers:
            visit, element = self.known.get(element_id), self.definition.get(element_id)
            name = (visit and visit.element_name) or (element and element.name) or element_id
            kind = (visit and visit.element_type) or (element and element.type) or ""
            left, right = _shape(kind)
            many = self.visits[element_id]
            yield f'{self.id(element_id)}{left}"{text(name)}{f" ×{many}" if many > 1 else ""}"{right}\n'

    def classes(self) -> dict[str, list[str]]:
        live = [element_id for element_id in self.live if element_id not in self.failed]
        groups = {"live": live, "failed": [*self.failed], "untaken": self.untaken}
        return {name: [self.id(element_id) for element_id in ids] for name, ids in groups.items()}


def _shape(kind: str) -> tuple[str, str]:
    known = canonical_type(kind)
    return next(
        ((left, right) for kinds, left, right in _SHAPES if any(type_matches(known, one) for one in kinds)), ("[", "]")
    )


def _flow_name(flow_id: str, definition: Definition | None) -> str:
    known = definition.flows.get(flow_id) if definition else None
    return (known and known.name) or flow_id


def _edges(flow: Flow, definition: Definition | None) -> dict[Edge, int]:
    """Count the tokens that went from element to element: by their flow histories, else by their links."""
    counts: Counter[Edge] = Counter()
    flows = definition.flows if definition else {}
    for n in flow.by_begin:
        visit = flow.visits[n]
        hops = visit.hops
        targets = [visit.element_id] * len(hops)
        if len(hops) > 1 and not waits_for_several(visit.element_type):  # it may have moved from one to the next
            standing = {flow.visits[other].element_id for other in flow.predecessors(n)}
            if any(hop.from_element not in standing for hop in hops[1:]):
                targets = [hop.from_element or visit.element_id for hop in hops[1:]] + [visit.element_id]
        for hop, target in zip(hops, targets, strict=True):
            if hop.from_element is not None:
                counts[hop.from_element, _target(hop, target, flows), hop.via_flow] += 1
        if not any(hop.from_element is not None for hop in hops):
            for other in flow.predecessors(n):
                counts[flow.visits[other].element_id, visit.element_id, None] += 1
    return counts


def _target(hop: FlowHop, target: str, flows: dict[str, SequenceFlow]) -> str:
    known = flows.get(hop.via_flow or "")
    return known.target if known is not None and known.source == hop.from_element else target


def _untaken(definition: Definition | None, edges: Iterable[Edge]) -> Iterator[tuple[str, str, str]]:
    taken = {via for _, _, via in edges}
    pairs = {(source, target) for source, target, via in edges if via is None}
    for known in definition.flows.values() if definition else ():
        if known.id not in taken and (known.source, known.target) not in pairs:
            yield known.id, known.source, known.target
