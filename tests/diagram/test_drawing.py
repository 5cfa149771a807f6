"""Pictures as a whole: valid, as large as what is in them, and safe whatever the names are."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from support.diagrams import SVG, document, draw_document, edge, groups, shape, written
from tokctl.diagram.drawing import draw
from tokctl.diagram.elements import DiagramElement
from tokctl.diagram.interchange import Bounds, Colors, Plane, Shape
from tokctl.diagram.model import read_model

TAGS = {"svg", "title", "style", "rect", "g", "path", "circle", "text", "tspan"}
ATTRIBUTES = {
    *("class", "d", "data-element-id", "transform", "style", "x", "y", "width", "height", "rx", "cx", "cy", "r"),
    *("viewBox", "role"),
}


@given(st.text(max_size=40))
@example('"/><script>alert(1)</script>')
@example("]]></title><image href='x'/>")
@example("\x1b[31m\u202e\ud800\ufffe")
@example("x" * 100_000)
def test_names_and_ids_are_never_markup(name):
    kinds = ("task", "endEvent", "sequenceFlow", "textAnnotation")
    elements = {name + kind: DiagramElement(id=name + kind, kind=kind, name=name) for kind in kinds}
    shapes = tuple(
        Shape(element=key, bounds=Bounds(0, 0, 100, 80)) for key, one in elements.items() if one.kind != "sequenceFlow"
    )
    drawing = draw([Plane(element=name, shapes=shapes)], elements, captions=[name])
    parts = list(ET.fromstring(drawing.svg.encode()).iter())
    assert {part.tag for part in parts} <= {SVG + tag for tag in TAGS}
    assert {key for part in parts for key in part.attrib} <= ATTRIBUTES
    assert len(drawing.svg) < 12_000 + 20 * len(kinds) * min(len(name), 1000)


def test_everything_is_inside_the_picture():
    nodes = '<task id="a"/><endEvent id="b" name="far away"/><sequenceFlow id="f" sourceRef="a" targetRef="b"/>'
    diagram = shape("a", -500.5, -300) + shape("b", 700, 900, 36, 36) + edge("f", (-400, -260), (-900, 40), (700, 918))
    picture = draw_document(document(nodes, diagram))
    assert (float(picture.get("width")), float(picture.get("height"))) == (1690, 1312)
    assert picture.get("viewBox") == "0 0 1690 1312"
    moved = next(picture.iter(f"{SVG}g")).get("transform")
    assert moved == "translate(924.5 334.5)"


def test_several_diagrams_have_the_name_of_what_they_show():
    xml = document('<subProcess id="s" name="Inner"><task id="b"/></subProcess>', shape("s", more='isExpanded="false"'))
    again = re.search("<bpmndi:BPMNDiagram>.*</bpmndi:BPMNDiagram>", xml)[0]
    inner = again.replace('bpmnElement="p"', 'bpmnElement="s"').replace('"s" isExpanded="false"', '"b"')
    named = again.replace("<bpmndi:BPMNDiagram>", '<bpmndi:BPMNDiagram name="Whole">')
    picture = draw_document(xml.replace(again, named + inner))
    assert groups(picture).keys() == {"s", "b"}
    assert [line for line in written(picture) if line] == ["Whole", "Inner", "Inner"]


def test_diagrams_are_below_each_other():
    xml = document('<task id="a"/><task id="b"/>', shape("a"))
    again = re.search("<bpmndi:BPMNDiagram>.*</bpmndi:BPMNDiagram>", xml)[0].replace('"a"', '"b"')
    picture = draw_document(xml.replace("</definitions>", f"{again}</definitions>"))
    assert groups(picture).keys() == {"a", "b"}
    planes = [group.get("transform") for group in picture if group.tag == f"{SVG}g"]
    assert planes == ["translate(24.5 34.5)", "translate(24.5 148.5)"]


@pytest.mark.parametrize(
    ("fill", "text"),
    [("#ffffff", "#000000"), ("#000", "#ffffff"), ("rgb(30, 60, 200)", "#ffffff"), ("#ffd700", "#000000")],
)
def test_text_can_be_read_on_any_fill(fill, text):
    xml = document('<task id="a" name="A"/>', shape("a", more=f'bioc:fill="{fill}" bioc:stroke="#112233"'))
    picture = draw_document(xml)
    assert next(picture.iter(f"{SVG}tspan")).get("style") == f"fill:{text}"
    assert groups(picture)["a"].get("style") == "color:#112233"
    assert groups(picture)["a"].find(f"{SVG}rect").get("style") == f"fill:{fill}"


def test_chosen_text_colours_are_used():
    elements = {"a": DiagramElement(id="a", kind="task", name="A")}
    one = Shape(element="a", bounds=Bounds(0, 0, 100, 80), colors=Colors(None, "#000000", "#123456"))
    assert "fill:#123456" in draw([Plane(element="", shapes=(one,))], elements).svg


def test_dark_colours_can_be_left_out():
    model = read_model(document('<task id="a"/>'), "m")
    with_dark, without = (draw(model.planes, model.elements, dark=dark).svg for dark in (True, False))
    assert with_dark.count("prefers-color-scheme:dark") == 1
    assert "@media" not in without


def test_names_of_flows_are_at_their_label_or_above_the_line():
    nodes = '<task id="a"/><task id="b"/><sequenceFlow id="f" name="yes" sourceRef="a" targetRef="b"/>'
    picture = draw_document(document(nodes, shape("a") + shape("b", 300) + edge("f", (100, 40), (300, 40))))
    (span,) = picture.iter(f"{SVG}tspan")
    assert (span.text, span.get("x")) == ("yes", "200")
    assert 20 < float(span.get("y")) < 40


def test_a_picture_needs_nothing_from_elsewhere():
    name = quoteattr("url(https://example.com/x) @import")
    model = read_model(document(f'<task id="a" name={name}/>'), "m")
    svg = draw(model.planes, model.elements).svg
    style, _, body = svg.partition("</style>")
    assert re.findall(r"url|@import|https?:", style) == ["http:"]  # the namespace
    assert "href" not in body
    assert written(ET.fromstring(svg))
