"""The elements of one level of a model: those of a process, or of a sub-process."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from tokctl.diagram.elements import FLOW_NODES, DiagramElement

_LINES = {"sequenceFlow", "association"}  # an association leads from a compensation event to its handler


def group_by_parent(elements: Mapping[str, DiagramElement]) -> Mapping[str | None, list[DiagramElement]]:
    """Return elements by the id of what contains them; an empty list for what contains none."""
    children: dict[str | None, list[DiagramElement]] = defaultdict(list)
    for element in elements.values():
        children[element.parent].append(element)
    return children


class LevelElements:
    """The elements of a level, in the order of the model.

    Attributes:
        members: all flow nodes.
        nodes: those that have a place of their own, by id; the others are boundary events.
        attached: boundary events by the activity that they are attached to.
        host: the activity of each boundary event.
        flows: sequence flows and associations between the members.
    """

    def __init__(self, container: str, children: Mapping[str | None, list[DiagramElement]]) -> None:
        self.members = [one for one in children[container] if one.kind in FLOW_NODES]
        hosts = {one.id for one in self.members if one.kind != "boundaryEvent"}
        self.attached: dict[str, list[DiagramElement]] = defaultdict(list)
        for one in self.members:
            if one.kind == "boundaryEvent" and one.attached_to in hosts:
                self.attached[one.attached_to].append(one)
        self.host = {event.id: key for key, events in self.attached.items() for event in events}
        self.nodes = {one.id: one for one in self.members if one.id not in self.host}
        ends = self.nodes.keys() | self.host.keys()
        self.flows = [one for one in children[container] if one.kind in _LINES and {one.source, one.target} <= ends]
