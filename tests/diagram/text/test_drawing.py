"""Whole drawings: every element has a box, and every flow a line from its source to its target."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from support.builders import at, token
from support.diagrams import document
from support.drawn_text import check, draw, find_activity, text_of
from support.paths import MODELS
from tokctl.bpmn.parser import read_root
from tokctl.diagram.elements import FLOW_NODES, DiagramElement, read_elements
from tokctl.diagram.text.boxes import Pen
from tokctl.diagram.text.drawing import draw_text
from tokctl.simulation.demo import load_demo

WIDTHS = (40, 80, 200)


def check_all(elements, width, **more):
    drawing = draw_text(elements, Pen(), width, **more)
    check(drawing, elements)
    hidden = {one.id for sequence in drawing.sequences.values() for one in sequence[1:]}
    boxes = {key: place for key, place in drawing.places.items() if place.height > 1 and key not in hidden}
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
    drawing = check_all(elements, data.draw(st.sampled_from(WIDTHS)), folded=data.draw(st.booleans()))
    assert all(len(sequence) >= 3 for sequence in drawing.sequences.values())


def chain(n: int) -> str:
    tasks = "".join(f'<task id="t{k}" name="Step {k}"/>' for k in range(n))
    flows = "".join(f'<sequenceFlow id="f{k}" sourceRef="t{k}" targetRef="t{k + 1}"/>' for k in range(n - 1))
    return tasks + flows


def test_a_sequence_is_a_row_until_the_width_is_used_up():
    lines = text_of(draw(document(chain(9)), 80)).splitlines()
    assert lines[1].count("▶") == 5
    assert "▼" in lines[4]


def test_pools_are_below_each_other_and_message_flows_are_listed():
    around = (
        '<collaboration id="c"><participant id="one" name="Buyer" processRef="p"/>'
        '<participant id="two" processRef="q"/><participant id="box" name="Bank"/>'
        '<messageFlow id="m" name="order" sourceRef="a" targetRef="b"/>'
        '<messageFlow id="n" sourceRef="b" targetRef="box"/></collaboration>'
        '<process id="q" name="Selling"><task id="b" name="Sell"/></process>'
    )
    lines = text_of(draw(document('<task id="a" name="Buy"/>', around=around))).splitlines()
    assert [line for line in lines if line.startswith("Pool")] == ["Pool: Selling", "Pool: Buyer"]
    assert lines[-3:] == ["Message flows", "  Buy ▶ Sell: order", "  Sell ▶ Bank"]


def test_lanes_are_named():
    lanes = '<laneSet><lane id="l" name="Sales"><flowNodeRef>a</flowNodeRef></lane></laneSet>'
    assert "task Sales" in text_of(draw(document(f'<task id="a"/>{lanes}')))


@pytest.mark.parametrize(
    "steps",
    [
        [(a, b) for a in range(12) for b in range(12) if a != b],  # more tracks than there can be
        [(a, b) for a in range(20) for b in range(20, 41)],  # more lines at a box than its border has room for
    ],
    ids=["tracks", "ports"],
)
def test_flows_without_room_are_listed(steps):
    flows = "".join(f'<sequenceFlow id="f{a}-{b}" sourceRef="t{a}" targetRef="t{b}"/>' for a, b in steps)
    xml = document("".join(f'<task id="t{n}" name="T{n}"/>' for n in range(41)) + flows)
    drawing = draw(xml, 40)
    check(drawing, read_elements(read_root(xml)))
    assert drawing.omitted
    listed = text_of(drawing).partition("Flows without a line\n")[2].splitlines()
    assert len(listed) == len(drawing.omitted)


def test_flows_that_bpmn_does_not_allow_are_listed():
    inner = '<task id="a" name="A"/><subProcess id="s"><task id="b" name="B"/></subProcess>'
    drawing = draw(document(f'{inner}<sequenceFlow id="f" sourceRef="a" targetRef="b"/>'))
    assert text_of(drawing).endswith("Flows without a line\n  A ▶ B")


def test_deep_sub_processes_are_collapsed():
    depth = 60
    names = [f"s{n}" for n in range(depth)]
    xml = document("".join(f'<subProcess id="{name}" name="{name}">' for name in names) + "</subProcess>" * depth)
    drawing = draw(xml, 80)
    assert 10 < len(drawing.places) < 20
    assert "sub-process +" in text_of(drawing)


def test_tokens_in_a_collapsed_sub_process_are_at_the_sub_process():
    depth = 8
    inner = "".join(f'<subProcess id="s{n}">' for n in range(depth)) + '<task id="a"/>' + "</subProcess>" * depth
    xml = document(inner)
    failed = token("t", element_id="a", state="FAILED", created_at=at(0), process_id="p", instance_id="i")
    for width, place in ((40, "s4"), (80, "a")):
        drawing = draw(xml, width, activity=find_activity(xml, [failed]))
        assert text_of(drawing).count("FAILED:1") == 1
        assert list(drawing.places)[-1] == place


def test_only_one_process_is_drawn():
    xml = document('<task id="a"/>', around='<process id="q"><task id="b"/></process>')
    assert draw(xml, process="q").places.keys() == {"b"}


CHOREOGRAPHY = document(
    "",
    around=(
        '<choreography id="c" name="Purchase"><participant id="A" name="Builder"/><participant id="B" name="Quarry"/>'
        '<messageFlow id="m" sourceRef="A" targetRef="B" messageRef="o"/><startEvent id="s"/>'
        '<choreographyTask id="t" name="Order" initiatingParticipantRef="B"><participantRef>A</participantRef>'
        "<participantRef>B</participantRef></choreographyTask>"
        '<sequenceFlow id="f" sourceRef="s" targetRef="t"/>'
        '<subChoreography id="u" name="Deliver"><callChoreography id="v" name="Load"/></subChoreography></choreography>'
        '<message id="o" name="Price list"/>'
    ),
)


@pytest.mark.parametrize("width", WIDTHS)
def test_choreographies_are_drawn_with_their_participants(width):
    elements = read_elements(read_root(CHOREOGRAPHY))
    drawing = check_all(elements, width)
    text = text_of(drawing)
    assert text.startswith("Choreography: Purchase\n")
    assert ("choreography Quarry ▶ Builder" in text) or width == 40
    assert text.endswith("Message flows\n  Builder ▶ Quarry: Price list")
    assert drawing.places.keys() == {"s", "t", "u", "v"}


def test_conversations_are_listed():
    nodes = '<participant id="A" name="Baker"/><conversation id="v" name="Flour"/>'
    link = '<conversationLink id="l" sourceRef="A" targetRef="v" name="by post"/>'
    drawing = draw(document("", around=f'<collaboration id="c">{nodes}{link}</collaboration>'))
    assert text_of(drawing).strip() == "Conversations\n  Baker - Flour: by post"
