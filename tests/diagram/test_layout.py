"""Diagrams of models that have none."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.diagrams import document
from support.paths import MODELS
from tokctl.bpmn.parser import read_root
from tokctl.diagram.elements import FLOW_NODES, DiagramElement, read_elements
from tokctl.diagram.layers import MAX_SPAN
from tokctl.diagram.layout import MAX_DEPTH, lay_out
from tokctl.simulation.demo import load_demo


def overlap(one, other):
    return one.x < other.right and other.x < one.right and one.y < other.bottom and other.y < one.bottom


def check(elements):
    """Check that all flow nodes have a place of their own, and flows are lines with right angles between them."""
    plane = lay_out(elements)
    places = {shape.element: shape.bounds for shape in plane.shapes}
    nodes = [one for one in elements.values() if one.kind in FLOW_NODES]
    assert places.keys() == {one.id for one in nodes}
    for one, other in combinations(nodes, 2):
        if one.parent == other.parent and "boundaryEvent" not in {one.kind, other.kind}:
            assert not overlap(places[one.id], places[other.id]), (one, other)
    for one in nodes:
        if one.parent in places and one.attached_to is None:
            inner, outer = places[one.id], places[one.parent]
            assert outer.x < inner.x < inner.right < outer.right
            assert outer.y < inner.y < inner.bottom < outer.bottom
        if one.attached_to in places:
            assert places[one.id].middle.y == places[one.attached_to].bottom
    for edge in plane.edges:
        flow = elements[edge.element]
        assert all(a.x == b.x or a.y == b.y for a, b in pairwise(edge.points))
        start, end = places[flow.source], places[flow.target]
        assert start.x <= edge.points[0].x <= start.right
        assert start.y <= edge.points[0].y <= start.bottom
        assert edge.points[-1] == (end.x, end.middle.y)
    assert {edge.element for edge in plane.edges} == {one.id for one in elements.values() if one.kind == "sequenceFlow"}
    return places


@pytest.mark.parametrize("path", [None, *sorted(MODELS.glob("*.bpmn"))], ids=lambda path: path.name if path else "demo")
def test_models_are_laid_out(path):
    xml = load_demo()[0][0][1] if path is None else path.read_bytes()
    check(read_elements(read_root(xml)))


@given(st.data())
def test_arbitrary_models_are_laid_out(data):
    """Loops, several flows between the same elements, unconnected parts, nesting and boundary events."""
    names = [f"n{n}" for n in range(data.draw(st.integers(1, 9)))]
    kinds = st.sampled_from(["task", "exclusiveGateway", "startEvent", "subProcess"])
    elements = {"p": DiagramElement(id="p", kind="process")}
    for n, name in enumerate(names):
        parents = ["p", *(one for one in names[:n] if elements[one].kind == "subProcess")]
        elements[name] = DiagramElement(
            id=name, kind=data.draw(kinds), name=name * 9, parent=data.draw(st.sampled_from(parents))
        )
    for name in names:
        if elements[name].kind == "task" and data.draw(st.booleans()):
            event = DiagramElement(id=f"{name}-e", kind="boundaryEvent", parent=elements[name].parent, attached_to=name)
            elements[event.id] = event
    nodes = [one for one in elements.values() if one.kind != "process"]
    for n, (source, target) in enumerate(data.draw(st.lists(st.tuples(*[st.sampled_from(nodes)] * 2), max_size=12))):
        if source.parent == target.parent and target.kind != "boundaryEvent":
            flow = DiagramElement(
                id=f"f{n}", kind="sequenceFlow", parent=source.parent, source=source.id, target=target.id
            )
            elements[flow.id] = flow
    check(elements)


def test_only_the_flow_that_closes_a_loop_leads_back():
    steps = [("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")]
    flows = "".join(f'<sequenceFlow id="{one}{other}" sourceRef="{one}" targetRef="{other}"/>' for one, other in steps)
    places = check(read_elements(read_root(document("".join(f'<task id="{key}"/>' for key in "abcd") + flows))))
    assert places["a"].right < places["b"].x < places["b"].right < places["c"].x < places["c"].right < places["d"].x


def test_a_handler_is_beside_the_activity_that_it_compensates():
    xml = (
        '<task id="a"/><task id="x"/><boundaryEvent id="e" attachedToRef="a"/>'
        '<association id="l" sourceRef="e" targetRef="x"/>'
    )
    plane = lay_out(read_elements(read_root(document(xml))))
    places = {shape.element: shape.bounds for shape in plane.shapes}
    assert places["a"].right < places["x"].x
    assert [edge.element for edge in plane.edges] == ["l"]


def test_lines_of_boundary_events_are_apart():
    xml = "".join(
        f'<boundaryEvent id="e{n}" attachedToRef="a"/><task id="t{n}"/>'
        f'<sequenceFlow id="f{n}" sourceRef="e{n}" targetRef="t{n}"/>'
        for n in range(4)
    )
    plane = lay_out(read_elements(read_root(document(f'<task id="a"/>{xml}'))))
    assert len({edge.points[1].y for edge in plane.edges}) == 4


def test_pools_are_stacked_and_joined_by_message_flows():
    around = (
        '<collaboration id="c"><participant id="one" processRef="p"/><participant id="two" processRef="q"/>'
        '<messageFlow id="m" sourceRef="a" targetRef="b"/></collaboration><process id="q"><task id="b"/></process>'
    )
    plane = lay_out(read_elements(read_root(document('<task id="a"/>', around=around))))
    places = {shape.element: shape.bounds for shape in plane.shapes}
    assert not overlap(places["one"], places["two"])
    assert places["one"].contains(places["a"])
    assert places["two"].contains(places["b"])
    assert [edge.element for edge in plane.edges] == ["m"]


def test_deep_nesting_ends_in_a_collapsed_sub_process():
    depth = 10 * MAX_DEPTH
    xml = document("".join(f'<subProcess id="s{n}">' for n in range(depth)) + "</subProcess>" * depth)
    plane = lay_out(read_elements(read_root(xml)))
    assert len(plane.shapes) == MAX_DEPTH + 1
    assert not plane.shapes[-1].expanded


def test_long_flows_pass_below_all_elements():
    """In each layer they would take a place, which are too many."""
    tasks = [f"t{n}" for n in range(3 * MAX_SPAN)]
    steps = [*pairwise(tasks), *((tasks[0], task) for task in tasks[MAX_SPAN + 1 :])]
    flows = "".join(f'<sequenceFlow id="{a}-{b}" sourceRef="{a}" targetRef="{b}"/>' for a, b in steps)
    plane = lay_out(read_elements(read_root(document("".join(f'<task id="{task}"/>' for task in tasks) + flows))))
    bottom = max(shape.bounds.bottom for shape in plane.shapes)
    lowest = {edge.element: max(point.y for point in edge.points) for edge in plane.edges}
    assert all((lowest[f"{a}-{b}"] > bottom) == (a == "t0" and b != "t1") for a, b in steps)
