"""Boxes of elements: types in words, names in two lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from support.diagrams import document
from support.drawn_text import draw, text_of
from tokctl.diagram.elements import DiagramElement
from tokctl.diagram.text.boxes import Pen, describe_type, draw_box, make_box, wrap_name
from tokctl.diagram.text.canvas import Canvas, Glyphs


def element(kind, **more):
    return DiagramElement(id="x", kind=kind, **more)


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (element("startEvent"), "start"),
        (element("startEvent", events=("message",)), "message start"),
        (element("startEvent", events=("timer",), interrupting=False), "timer start (non-interrupting)"),
        (element("endEvent", events=("terminate",)), "terminate"),
        (element("endEvent", events=("error",)), "error end"),
        (element("intermediateCatchEvent", events=("timer",)), "timer"),
        (element("intermediateThrowEvent", events=("signal",)), "signal throw"),
        (element("boundaryEvent", events=("timer", "message")), "multiple"),
        (element("boundaryEvent"), "event"),
        (element("userTask"), "user"),
        (element("task"), "task"),
        (element("businessRuleTask", loop="sequential"), "business rule, sequential instances"),
        (element("scriptTask", loop="loop", for_compensation=True), "script, loop, compensation"),
        (element("subProcess", event_sub_process=True), "event sub-process"),
        (element("adHocSubProcess"), "ad-hoc sub-process"),
        (element("callActivity"), "call activity"),
        (element("eventBasedGateway"), "event-based"),
        (element("parallelGateway"), "parallel"),
    ],
)
def test_types_are_in_words(one, words):
    assert describe_type(one) == words


def boxed(one, *attached, unicode=True, **more):
    canvas = Canvas(Glyphs(unicode))
    pen = Pen(canvas.glyphs, name_width=10)
    draw_box(canvas, make_box(one, attached, pen, None, **more), 0, 0)
    return ["".join(span.text for span in line) for line in canvas.lines()]


def test_the_shape_shows_the_family():
    assert boxed(element("task", name="a")) == ["┌─task┐", "│ a   │", "└─────┘"]
    assert boxed(element("endEvent", name="a")) == ["╭─end╮", "│ a  │", "╰────╯"]
    assert boxed(element("exclusiveGateway"))[1:] == ["│ ◇        │", "╲──────────╱"]
    assert boxed(element("exclusiveGateway"), unicode=False)[1] == "| <>       |"


def test_a_lane_is_in_the_border():
    assert boxed(element("task", name="a"), lane="Sales")[0].startswith("┌─task Sales┐")


def test_boundary_events_are_below_their_activity():
    event = DiagramElement(id="e", kind="boundaryEvent", name="late", events=("timer",), interrupting=False)
    assert boxed(element("task", name="a"), event) == [
        "┌─task─────────────────┐",
        "│ a                    │",
        "├──────────────────────┤",
        "│ timer late (non-int… │",
        "└──────────────────────┘",
    ]


def test_elements_without_a_name():
    assert "│ x   │" in boxed(element("task"))
    assert "│ ○    │" in boxed(element("startEvent"))


@given(st.text(st.sampled_from("abcdefgh  -_/漢字"), min_size=1, max_size=40), st.integers(6, 20))
def test_names_are_wrapped(name, width):
    name = " ".join(name.split())
    lines = wrap_name(name, width, Glyphs())
    assert len(lines) <= 2
    assert all(cell_len(line) <= width for line in lines)
    joined = "".join(lines).replace(" ", "")
    assert joined == name.replace(" ", "") or (joined.endswith("…") and name.replace(" ", "").startswith(joined[:-1]))


def test_hostile_names_cannot_control_the_terminal():
    xml = document('<task id="a" name="\u202eevil &#10;&#9;name\u200b"/>')
    assert "evil name" in text_of(draw(xml))
