"""Where the elements of a document are drawn."""

from __future__ import annotations

import pytest

from support.diagrams import document, edge, shape
from tokctl.bpmn.parser import read_root
from tokctl.diagram.interchange import Bounds, Colors, Point, read_interchange


def read(diagram, nodes=("a", "b"), flows=("f",)):
    return read_interchange(read_root(document("", diagram)), nodes, flows)


def test_shapes_and_edges_are_read():
    (plane,), notes = read(
        shape("a", 1, -2.5, 30, 40, 'isExpanded="true" isHorizontal="0"') + edge("f", (1, 2), (3, 4))
    )
    (one,), (line,) = plane.shapes, plane.edges
    assert (plane.element, one.element, one.bounds) == ("p", "a", Bounds(1, -2.5, 30, 40))
    assert (one.expanded, one.horizontal, one.marker_visible) == (True, False, None)
    assert line.points == (Point(1, 2), Point(3, 4))
    assert notes == ()


def test_labels_and_colours_are_read():
    label = '<bpmndi:BPMNLabel color:color="#000"><dc:Bounds x="5" y="6" width="7" height="8"/></bpmndi:BPMNLabel>'
    own = 'bioc:stroke="#123456" color:background-color="rgb(1, 2, 3)"'
    text = shape("a", more=own).replace("</bpmndi:BPMNShape>", f"{label}</bpmndi:BPMNShape>")
    ((plane,), _) = read(text)
    assert plane.shapes[0].label == Bounds(5, 6, 7, 8)
    assert plane.shapes[0].colors == Colors("#123456", "rgb(1, 2, 3)", "#000")


def test_a_label_that_was_not_placed_has_no_bounds():
    label = '<bpmndi:BPMNLabel><dc:Bounds x="0.0" y="0.0" width="7" height="8"/></bpmndi:BPMNLabel>'
    ((plane,), _) = read(shape("a").replace("</bpmndi:BPMNShape>", f"{label}</bpmndi:BPMNShape>"))
    assert plane.shapes[0].label is None


@pytest.mark.parametrize(
    ("diagram", "note"),
    [
        (shape("z"), "1 shape left out: the element is unknown, or of a type that is not drawn."),
        (shape("f"), "1 shape left out: the element is unknown, or of a type that is not drawn."),
        (edge("a", (0, 0), (1, 1)), "1 edge left out: the element is unknown, or of a type that is not drawn."),
        (shape("b") * 3, "2 shapes left out: the element is drawn twice."),
        *(
            (shape("b", x=bad), "1 shape left out: the coordinates are missing or invalid.")
            for bad in ("", "x", "nan", "inf", "1e7", "1e400")
        ),
        (shape("b", width=-1), "1 shape left out: the coordinates are missing or invalid."),
        (edge("f", (0, 0)), "1 edge left out: the coordinates are missing or invalid."),
        (edge("f", (0, 0), (0, "x"), (9, 9)), "1 edge left out: the coordinates are missing or invalid."),
        (shape("b", more='bioc:fill="url(#x)"'), "1 colour left out: use #RRGGBB or rgb(R, G, B)."),
        (shape("b", more='bioc:stroke="red;}*{display:none"'), "1 colour left out: use #RRGGBB or rgb(R, G, B)."),
    ],
)
def test_what_cannot_be_drawn_is_left_out_with_a_note(diagram, note):
    ((plane,), notes) = read(shape("a") + diagram)
    assert notes == (note,)
    assert plane.shapes[0].element == "a"
    assert all(one.colors == Colors() for one in plane.shapes)


def test_a_coordinate_that_is_left_out_is_0():
    ((plane,), _) = read(shape("a", x=7).replace('y="0" ', "") + edge("f", (1, 0), (3, 4)).replace(' y="0"', ""))
    assert plane.shapes[0].bounds == Bounds(7, 0, 100, 80)
    assert plane.edges[0].points[0] == Point(1, 0)


def test_references_may_have_a_prefix():
    ((plane,), _) = read(shape("ns:a"))
    assert plane.shapes[0].element == "a"


def test_a_diagram_without_shapes_is_none():
    assert read(shape("z")).planes == ()
