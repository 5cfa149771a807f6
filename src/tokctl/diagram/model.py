"""A model that can be drawn: its elements, and the diagrams of them, laid out if the model has none."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from tokctl.bpmn.parser import read_root
from tokctl.diagram.elements import (
    CHOREOGRAPHY_ACTIVITIES,
    CONVERSATION_NODES,
    EDGE_KINDS,
    SHAPE_KINDS,
    DiagramElement,
    convert_definition,
    read_elements,
)
from tokctl.diagram.interchange import Plane, read_interchange
from tokctl.diagram.layout import lay_out
from tokctl.errors import InputError
from tokctl.model.definitions import Definition
from tokctl.text import count

LAID_OUT = "The model has no diagram: the elements are laid out automatically."


class DrawableModel(Struct, frozen=True):
    """Elements by id, the diagrams to draw, and notes in sentences about what differs from the model's own diagram."""

    elements: Mapping[str, DiagramElement]
    planes: tuple[Plane, ...]
    notes: tuple[str, ...]


def read_model(xml: str | bytes, source: str, process: str | None = None) -> DrawableModel:
    """Read the model in a BPMN document: all of its diagrams, or those that show elements of one process.

    ``source`` is the name of the document in messages.

    Raises:
        InputError: it is not a BPMN document, or there is nothing to draw.
    """
    root = read_root(xml, source)
    elements = read_elements(root)
    nodes = {key for key, element in elements.items() if element.kind in SHAPE_KINDS}
    flows = {key for key, element in elements.items() if element.kind in EDGE_KINDS}
    planes, notes = read_interchange(root, nodes, flows)
    if process is not None:
        planes = tuple(plane for plane in planes if _shows(plane, elements, process))
    if planes:
        return DrawableModel(elements, planes, notes)
    return _lay_out(elements, process, source)


def convert_model(definition: Definition) -> DrawableModel:
    """Return the model of a definition, from its XML if that is known. Raises InputError: there is nothing to draw."""
    source = f"the model of {definition.process_id}"
    if definition.xml:
        return read_model(definition.xml, source, definition.process_id)
    return _lay_out(convert_definition(definition), definition.process_id, source)


def _lay_out(elements: Mapping[str, DiagramElement], process: str | None, source: str) -> DrawableModel:
    plane = lay_out(elements, process)
    if not plane.shapes:
        hint = ""
        if any(one.kind in CHOREOGRAPHY_ACTIVITIES | CONVERSATION_NODES for one in elements.values()):
            hint = "Choreographies and conversations need BPMN diagram interchange: draw them in a modeler."
        raise InputError(f"{source}: there is no element to draw.", hint)
    shown = {shape.element for shape in plane.shapes}
    groups = [
        one
        for one in elements.values()
        if one.kind == "group" and one.id not in shown and (process is None or one.parent in shown | {process})
    ]
    why = "its elements are not known, or there are others between them"
    note = f"{count(len(groups), 'group')} left out: {why}."
    return DrawableModel(elements, (plane,), (LAID_OUT, *([note] if groups else [])))


def _shows(plane: Plane, elements: Mapping[str, DiagramElement], process: str) -> bool:
    """Tell whether a diagram has an element of a process, at any level."""
    for shape in plane.shapes:
        around = elements[shape.element].parent
        for _ in range(len(elements)):
            if around is None or around == process:
                break
            around = elements[around].parent if around in elements else None
        if around == process:
            return True
    return False
