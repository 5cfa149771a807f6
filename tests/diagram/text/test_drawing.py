"""Whole drawings: every element has a box, and every flow a line from its source to its target."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from support.drawn_text import check
from support.paths import MODELS
from tokctl.bpmn.parser import read_root
from tokctl.diagram.elements import FLOW_NODES, DiagramElement, read_elements
from tokctl.diagram.text.boxes import Pen
from tokctl.diagram.text.drawing import draw_text
from tokctl.simulation.demo import load_demo

WIDTHS = (40, 80, 200)


def check_all(elements, width):
    drawing = draw_text(elements, Pen(), width)
    check(drawing, elements)
    boxes = {key: place for key, place in drawing.places.items() if place.height > 1}
    for (one, a), (other, b) in combinations(boxes.items(), 2):
        if elements[one].parent == elements[other].parent:
            apart = a.x + a.width <= b.x or b.x + b.width <= a.x or a.y + a.height <= b.y or b.y + b.height <= a.y
            assert apart, (one, other)
    return drawing


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("path", [None, *sorted(MODELS.glob("*.bpmn"))], ids=lambda path: path.name if path else "demo")
def test_models_are_drawn(path, width):
    elements = read_elements(read_root(load_demo()[0][0][1] if path is None else path.read_bytes()))
    drawing = check_all(elements, width)
    if width >= 80:
        assert drawing.places.keys() == {one.id for one in elements.values() if one.kind in FLOW_NODES}
        assert drawing.omitted == []
    assert max(cell_len("".join(span.text for span in line)) for line in drawing.lines) <= width


@given(st.data())
def test_arbitrary_models_are_drawn(data):
    """Loops, several flows between the same elements, unconnected parts, nesting and boundary events."""
    names = [f"n{n}" for n in range(data.draw(st.integers(1, 12)))]
    kinds = st.sampled_from(["task", "exclusiveGateway", "startEvent", "subProcess"])
    elements = {"p": DiagramElement(id="p", kind="process")}
    for n, name in enumerate(names):
        parents = ["p", *(one for one in names[:n] if elements[one].kind == "subProcess")]
        parent, text = data.draw(st.sampled_from(parents)), name * data.draw(st.integers(0, 9))
        elements[name] = DiagramElement(id=name, kind=data.draw(kinds), name=text, parent=parent)
    for name in names:
        for n in range(data.draw(st.integers(0, 2)) if elements[name].kind == "task" else 0):
            key = f"{name}-e{n}"
            parent = elements[name].parent
            elements[key] = DiagramElement(id=key, kind="boundaryEvent", parent=parent, attached_to=name)
    nodes = [one for one in elements.values() if one.kind != "process"]
    for n, (source, target) in enumerate(data.draw(st.lists(st.tuples(*[st.sampled_from(nodes)] * 2), max_size=25))):
        if source.parent == target.parent and target.kind != "boundaryEvent":
            label = data.draw(st.sampled_from(["", "yes", "a long name of a flow"]))
            elements[f"f{n}"] = DiagramElement(
                id=f"f{n}", kind="sequenceFlow", name=label, parent=source.parent, source=source.id, target=target.id
            )
    check_all(elements, data.draw(st.sampled_from(WIDTHS)))
