"""Replaces straight sequences in which there is nothing to see by one element each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import replace

from tokctl.diagram.activity_marks import MarkedModel
from tokctl.diagram.elements import FLOW_NODES, DiagramElement
from tokctl.diagram.levels import LevelElements, group_by_parent

MIN_LENGTH = 3
"""Elements of a sequence that is replaced."""


def fold_sequences(
    elements: Mapping[str, DiagramElement], marked: MarkedModel | None
) -> tuple[dict[str, DiagramElement], dict[str, Sequence[DiagramElement]]]:
    """Return the elements with the first one of each sequence instead of all of them, and the sequences by its id.

    The elements of a sequence have one flow to them and one from them, neither live tokens nor boundary events, and
    have been visited equally often, over flows without a name that are not in doubt.
    """
    children = group_by_parent(elements)
    folded: dict[str, Sequence[DiagramElement]] = {}
    kept = dict(elements)
    for container in [key for key, members in children.items() if any(one.kind in FLOW_NODES for one in members)]:
        for sequence, flows in _find_sequences(LevelElements(container or "", children), marked):
            first, last = sequence[0], sequence[-1]
            folded[first.id] = sequence
            for one in (*sequence[1:], *flows):
                del kept[one.id]
            kept[first.id] = DiagramElement(id=first.id, kind="task", name=first.name, parent=first.parent)
            for flow in [one for one in children[container] if one.source == last.id and one.id in kept]:
                kept[flow.id] = replace(flow, source=first.id)
    return kept, folded


def _find_sequences(
    level: LevelElements, marked: MarkedModel | None
) -> Iterator[tuple[list[DiagramElement], list[DiagramElement]]]:
    """Yield the elements of each sequence, and the flows between them."""
    leaving: dict[str, list[DiagramElement]] = {key: [] for key in (*level.nodes, *level.host)}
    arriving: dict[str, list[DiagramElement]] = {key: [] for key in leaving}
    for flow in level.flows:
        leaving[flow.source or ""].append(flow)
        arriving[flow.target or ""].append(flow)

    def is_plain(key: str) -> bool:
        one = level.nodes.get(key)
        has_one_way = len(leaving[key]) == len(arriving[key]) == 1
        if one is None or one.is_container or level.attached.get(key) or not has_one_way:
            return False
        return marked is None or not marked.of(key).live

    def continues(flow: DiagramElement) -> bool:
        source, target = flow.source or "", flow.target or ""
        if flow.kind != "sequenceFlow" or flow.name or not (is_plain(source) and is_plain(target)):
            return False
        if marked is None:
            return True
        return marked.of(source) == marked.of(target) and not set(marked.flow_count(flow.id)) & set("≈?≥")

    following = {flow.source or "": flow for flow in level.flows if continues(flow)}
    inner = {flow.target for flow in following.values()}
    for key in [key for key in following if key not in inner]:
        flows = []
        here = key
        while here in following:
            flows.append(following[here])
            here = following[here].target or ""
        if len(flows) + 1 >= MIN_LENGTH:
            yield [level.nodes[key], *(level.nodes[flow.target or ""] for flow in flows)], flows
