"""Flows and associations."""

from __future__ import annotations

import re

import pytest

from support.diagrams import SVG, classes, document, draw_document, edge, groups, shape, written
from tokctl.diagram.connections import crop, find_label_place
from tokctl.diagram.interchange import Bounds, Point

BOX = Bounds(0, 0, 40, 20)


def draw_flow(xml, *, source="task", default=""):
    nodes = f'<{source} id="a" {default}/><task id="b"/>'
    diagram = shape("a", 0, 0, 40, 40) + shape("b", 200, 0, 40, 40) + edge("f", (40, 20), (200, 20))
    return groups(draw_document(document(nodes + xml, diagram)))["f"]


FLOW = '<sequenceFlow id="f" sourceRef="a" targetRef="b"/>'
CONDITIONAL = '<sequenceFlow id="f" sourceRef="a" targetRef="b"><conditionExpression/></sequenceFlow>'


@pytest.mark.parametrize(
    ("xml", "options", "expected"),
    [
        (FLOW, {}, ["line", "solid"]),
        (FLOW, {"default": 'default="f"'}, ["line", "solid", "line"]),
        (CONDITIONAL, {}, ["line", "solid", "hollow"]),
        (CONDITIONAL, {"source": "exclusiveGateway"}, ["line", "solid"]),
        ('<messageFlow id="f" sourceRef="a" targetRef="b"/>', {}, ["line dashed", "hollow", "hollow"]),
        ('<conversationLink id="f" sourceRef="a" targetRef="b"/>', {}, ["line double", "gap"]),
        ('<association id="f" sourceRef="a" targetRef="b"/>', {}, ["line dotted"]),
        ('<association id="f" sourceRef="a" targetRef="b" associationDirection="One"/>', {}, ["line dotted", "line"]),
        (
            '<association id="f" sourceRef="a" targetRef="b" associationDirection="Both"/>',
            {},
            ["line dotted", "line", "line"],
        ),
        ('<dataInputAssociation id="f"><sourceRef>a</sourceRef></dataInputAssociation>', {}, ["line dotted", "line"]),
    ],
)
def test_lines_and_their_ends(xml, options, expected):
    assert classes(draw_flow(xml, **options)) == expected


@pytest.mark.parametrize(("kind", "fill"), [("initiating", "hollow"), ("non_initiating", "shaded")])
@pytest.mark.parametrize(("name", "shown"), [("", "Price list"), ('name="by post"', "by post")])
def test_a_message_flow_shows_its_message(kind, fill, name, shown):
    flow = f'<messageFlow id="f" sourceRef="a" targetRef="b" messageRef="m" {name}/>'
    around = f'<message id="m" name="Price list"/><collaboration id="c">{flow}</collaboration>'
    line = edge("f", (40, 20), (200, 20)).replace("<bpmndi:BPMNEdge", f'<bpmndi:BPMNEdge messageVisibleKind="{kind}"')
    picture = draw_document(document('<task id="a"/><task id="b"/>', shape("a") + shape("b") + line, around=around))
    assert classes(groups(picture)["f"])[3:] == [fill, "line"]
    assert written(picture) == [shown]


@pytest.mark.parametrize("more", ["", 'messageVisibleKind="other"'])
def test_a_message_flow_without_a_visible_message_is_a_line(more):
    flow = '<messageFlow id="f" sourceRef="a" targetRef="b" messageRef="m"/>'
    around = f'<message id="m" name="Price list"/><collaboration id="c">{flow}</collaboration>'
    line = edge("f", (40, 20), (200, 20)).replace("<bpmndi:BPMNEdge", f"<bpmndi:BPMNEdge {more}")
    picture = draw_document(document('<task id="a"/><task id="b"/>', shape("a") + shape("b") + line, around=around))
    assert classes(groups(picture)["f"]) == ["line dashed", "hollow", "hollow"]
    assert written(picture) == []


def test_the_arrow_points_at_the_target():
    arrow = next(path for path in draw_flow(FLOW).iter(f"{SVG}path") if path.get("class") == "solid")
    xs = [float(x) for x in re.findall(r"[ML](-?[\d.]+) ", arrow.get("d"))]
    assert max(xs) == xs[0] == 200
    assert min(xs) == 190


@pytest.mark.parametrize(
    ("kind", "start", "border"),
    [
        ("task", Point(20, 10), Point(40, 10)),
        ("startEvent", Point(20, 10), Point(40, 10)),
        ("task", Point(40, 10), Point(40, 10)),
        ("exclusiveGateway", Point(20, 15), Point(30, 15)),
        ("conversation", Point(20, 15), Point(35, 15)),
    ],
)
def test_lines_end_at_the_border(kind, start, border):
    first, *rest = crop([start, Point(100, start.y)], BOX, kind)
    assert first == pytest.approx(border, abs=0.1)
    assert rest == [Point(100, start.y)]


def test_a_line_inside_a_shape_stays():
    points = [Point(5, 5), Point(10, 10)]
    assert crop(points, BOX, "task") == points


def test_labels_are_at_the_longest_horizontal_part():
    assert find_label_place([Point(0, 0), Point(0, 90), Point(60, 90), Point(60, 0)]) == Point(30, 90)
    assert find_label_place([Point(3, 4), Point(3, 4)]) == Point(3, 4)
