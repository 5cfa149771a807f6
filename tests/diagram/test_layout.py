"""Diagrams of models that have none."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.diagrams import document
from support.paths import MODELS
from tokctl.bpmn.parser import read_root
from tokctl.diagram.elements import EDGE_KINDS, FLOW_NODES, DiagramElement, read_elements
from tokctl.diagram.layers import MAX_SPAN
from tokctl.diagram.layout import MAX_DEPTH, lay_out
from tokctl.diagram.shapes import BAND
from tokctl.simulation.demo import load_demo

ARTIFACTS = {"dataObjectReference", "dataStoreReference", "textAnnotation"}


def contains(one, other):
    return one.x <= other.x < other.right <= one.right and one.y <= other.y < other.bottom <= one.bottom


def overlap(one, other):
    return one.x < other.right and other.x < one.right and one.y < other.bottom and other.y < one.bottom


def runs_through(line, bounds):
    """Tell whether a line with right angles has a part inside a rectangle."""
    return any(
        min(a.x, b.x) < bounds.right
        and max(a.x, b.x) > bounds.x
        and min(a.y, b.y) < bounds.bottom
        and max(a.y, b.y) > bounds.y
        for a, b in pairwise(line)
    )


def check(elements):
    """Check that all elements have a place of their own, and flows are lines with right angles between them."""
    plane = lay_out(elements)
    places = {shape.element: shape.bounds for shape in plane.shapes}
    nodes = [one for one in elements.values() if one.kind in FLOW_NODES]
    artifacts = [one for one in elements.values() if one.kind in ARTIFACTS]
    lanes = [one for one in elements.values() if one.kind == "lane"]
    assert places.keys() == {one.id for one in (*nodes, *artifacts, *lanes)}
    apart = [one for one in nodes if one.kind != "boundaryEvent"]
    for one, other in combinations(apart, 2):
        if one.parent == other.parent:
            assert not overlap(places[one.id], places[other.id]), (one, other)
    for one in artifacts:
        for other in (*nodes, *artifacts):
            around = other.is_container and contains(places[other.id], places[one.id])
            assert other is one or around or not overlap(places[one.id], places[other.id]), (one, other)
    for one in nodes:
        if one.parent in places and one.attached_to is None:
            inner, outer = places[one.id], places[one.parent]
            assert outer.x < inner.x < inner.right < outer.right
            assert outer.y < inner.y < inner.bottom < outer.bottom
        if one.attached_to in places:
            assert places[one.id].middle.y == places[one.attached_to].bottom
    check_lanes(lanes, apart, places)
    check_lines(elements, plane, apart, artifacts, places)
    return places


def check_lanes(lanes, nodes, places):
    """Check that lanes hold the nodes that they name and no others, and are apart, or one in the other."""
    for lane in lanes:
        for node in nodes:
            if node.parent == lane.parent:
                held = {*lane.members, *(key for one in lanes if one.id in lane.lanes for key in one.members)}
                inside = contains(places[lane.id], places[node.id])
                assert inside if node.id in held else not overlap(places[lane.id], places[node.id])
        for other in lanes:
            if other.id in lane.lanes:
                assert contains(places[lane.id], places[other.id])
            elif other.parent == lane.parent and other is not lane and lane.id not in other.lanes:
                assert not overlap(places[lane.id], places[other.id])


def check_lines(elements, plane, nodes, artifacts, places):
    lines = {edge.element: edge.points for edge in plane.edges}
    for key, points in lines.items():
        flow = elements[key]
        if flow.kind == "sequenceFlow":
            assert all(a.x == b.x or a.y == b.y for a, b in pairwise(points))
            start, end = places[flow.source], places[flow.target]
            assert start.x <= points[0].x <= start.right
            assert start.y <= points[0].y <= start.bottom
            assert points[-1] == (end.x, end.middle.y)
            hosts = {flow.source, flow.target, elements[flow.source].attached_to}
            for other in (*nodes, *artifacts):
                if other.parent == flow.parent and other.id not in hosts:
                    assert not runs_through(points, places[other.id]), (flow, other)
    assert lines.keys() == {one.id for one in elements.values() if one.kind in EDGE_KINDS}


@pytest.mark.parametrize("path", [None, *sorted(MODELS.glob("*.bpmn"))], ids=lambda path: path.name if path else "demo")
def test_models_are_laid_out(path):
    xml = load_demo()[0][0][1] if path is None else path.read_bytes()
    check(read_elements(read_root(xml)))


@given(st.data())
def test_arbitrary_models_are_laid_out(data):
    """Loops, several flows between the same elements, unconnected parts, nesting, boundary events, lanes, and data."""
    names = [f"n{n}" for n in range(data.draw(st.integers(1, 9)))]
    kinds = st.sampled_from(["task", "exclusiveGateway", "startEvent", "subProcess"])
    elements = {"p": DiagramElement(id="p", kind="process")}

    def add(key, kind, **more):
        elements[key] = DiagramElement(id=key, kind=kind, **more)

    for n, name in enumerate(names):
        parents = ["p", *(one for one in names[:n] if elements[one].kind == "subProcess")]
        add(name, data.draw(kinds), name=name * 9, parent=data.draw(st.sampled_from(parents)))
    for name in names:
        if elements[name].kind == "task" and data.draw(st.booleans()):
            add(f"{name}-e", "boundaryEvent", parent=elements[name].parent, attached_to=name)
    nodes = [one for one in elements.values() if one.kind != "process"]
    for n, (source, target) in enumerate(data.draw(st.lists(st.tuples(*[st.sampled_from(nodes)] * 2), max_size=12))):
        if source.parent == target.parent and target.kind != "boundaryEvent":
            add(f"f{n}", "sequenceFlow", parent=source.parent, source=source.id, target=target.id)
    for n, kind in enumerate(data.draw(st.lists(st.sampled_from(sorted(ARTIFACTS)), max_size=5))):
        add(f"a{n}", kind, name="name " * n, parent="p")
        for m, other in enumerate(data.draw(st.lists(st.sampled_from(list(elements)[1:]), max_size=3, unique=True))):
            if elements[other].kind not in {"association", "textAnnotation"} and other != f"a{n}":
                add(f"a{n}-{m}", "association", source=f"a{n}", target=other, parent="p")
    lanes = data.draw(st.integers(0, 4))
    homes = [data.draw(st.integers(0, 4)) for _ in names]
    for n in range(lanes):
        members = tuple(
            key for key, home in zip(names, homes, strict=True) if home == n and elements[key].parent == "p"
        )
        inner = tuple(f"l{m}" for m in range(1, lanes) if n == 0 and data.draw(st.booleans()))
        add(f"l{n}", "lane", parent="p", members=members, lanes=inner)
    check(elements)
    assert lay_out(elements) == lay_out(elements)


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


def test_data_and_annotations_are_near_what_they_are_associated_with():
    xml = (
        '<task id="a"><dataOutputAssociation id="w"><targetRef>d</targetRef></dataOutputAssociation></task>'
        '<task id="b"/><task id="c"><dataInputAssociation id="r"><sourceRef>d</sourceRef></dataInputAssociation></task>'
        '<boundaryEvent id="e" attachedToRef="b"/><dataObjectReference id="d" name="Order"/>'
        '<textAnnotation id="n"><text>Why</text></textAnnotation><association id="m" sourceRef="e" targetRef="n"/>'
        '<textAnnotation id="o"/><association id="l" sourceRef="d" targetRef="o"/><dataStoreReference id="z"/>'
        '<sequenceFlow id="f" sourceRef="a" targetRef="b"/><sequenceFlow id="g" sourceRef="b" targetRef="c"/>'
    )
    plane = lay_out(read_elements(read_root(document(xml))))
    places = {shape.element: shape.bounds for shape in plane.shapes}
    lines = {edge.element: edge.points for edge in plane.edges}
    assert places["d"].bottom < places["a"].y
    assert places["o"].right < places["d"].x
    assert places["o"].bottom < places["a"].y
    assert places["n"].y > places["e"].bottom
    assert places["z"].y > max(place.bottom for key, place in places.items() if key != "z")
    assert lines.keys() == {"w", "r", "m", "l", "f", "g"}
    assert (lines["w"][0].y, lines["w"][-1].y) == (places["a"].y, places["d"].bottom)
    assert (lines["r"][0].y, lines["r"][-1].y) == (places["d"].bottom, places["c"].y)
    assert not any(runs_through(lines["r"], place) for place in places.values())


def test_lanes_fill_their_pool():
    lanes = (
        '<laneSet><lane id="x"><childLaneSet><lane id="y"><flowNodeRef>a</flowNodeRef>'
        '<flowNodeRef>c</flowNodeRef></lane><lane id="z"><flowNodeRef>b</flowNodeRef></lane>'
        "</childLaneSet></lane></laneSet>"
        '<task id="a"/><task id="b"/><task id="c"/>'
    )
    around = '<collaboration id="c"><participant id="pool" processRef="p"/></collaboration>'
    plane = lay_out(read_elements(read_root(document(lanes, around=around))))
    places = {shape.element: shape.bounds for shape in plane.shapes}
    pool, outer, upper, lower = (places[key] for key in ("pool", "x", "y", "z"))
    assert (outer.x, outer.right, outer.y, outer.bottom) == (pool.x + BAND, pool.right, pool.y, pool.bottom)
    assert (upper.x, upper.right, upper.y) == (outer.x + BAND, outer.right, outer.y)
    assert (lower.x, lower.right, lower.y, lower.bottom) == (upper.x, outer.right, upper.bottom, outer.bottom)
    assert contains(upper, places["a"])
    assert contains(upper, places["c"])
    assert contains(lower, places["b"])
    assert not overlap(places["a"], places["c"])


def test_message_flows_pass_beside_the_elements_in_between():
    around = (
        '<collaboration id="c"><participant id="one" processRef="p"/><participant id="two" processRef="q"/>'
        '<messageFlow id="m" sourceRef="a" targetRef="x"/><messageFlow id="n" sourceRef="z" targetRef="b"/>'
        '</collaboration><process id="q"><task id="x"/><task id="y"/><task id="z"/></process>'
    )
    plane = lay_out(read_elements(read_root(document('<task id="a"/><task id="b"/>', around=around))))
    places = {shape.element: shape.bounds for shape in plane.shapes}
    for edge in plane.edges:
        assert all(a.x == b.x or a.y == b.y for a, b in pairwise(edge.points))
        assert not any(runs_through(edge.points, places[key]) for key in "abxyz")
    assert [(edge.points[0].y, edge.points[-1].y) for edge in plane.edges] == [
        (places["a"].y, places["x"].bottom),
        (places["z"].bottom, places["b"].y),
    ]


def test_lines_to_data_of_another_process_pass_beside_the_elements_in_between():
    reads = '<task id="a"><dataInputAssociation id="r"><sourceRef>d</sourceRef></dataInputAssociation></task>'
    around = (
        '<process id="q"><task id="x"/><task id="y"/><dataObjectReference id="d"/>'
        '<association id="l" sourceRef="x" targetRef="d"/></process>'
    )
    plane = lay_out(read_elements(read_root(document(f'<task id="b"/>{reads}', around=around))))
    places = {shape.element: shape.bounds for shape in plane.shapes}
    (line,) = (edge.points for edge in plane.edges if edge.element == "r")
    assert places["d"].bottom < places["x"].y
    assert (line[0].y, line[-1].y) == (places["d"].bottom, places["a"].y)
    assert not any(runs_through(line, place) for place in places.values())


@pytest.mark.parametrize(
    ("members", "drawn"), [("ab", True), ("c", True), ("cd", True), ("ac", False), ("ad", False), ("", False)]
)
def test_groups_hold_their_members_and_nothing_else(members, drawn):
    mark = "<categoryValueRef>v</categoryValueRef>"
    tasks = "".join(f'<task id="{key}">{mark if key in members else ""}</task>' for key in "abcd")
    steps = ("ab", "bc", "bd")
    flows = "".join(f'<sequenceFlow id="{one}{other}" sourceRef="{one}" targetRef="{other}"/>' for one, other in steps)
    elements = read_elements(read_root(document(tasks + flows + '<group id="g" categoryValueRef="v"/>')))
    places = {shape.element: shape.bounds for shape in lay_out(elements).shapes}
    assert ("g" in places) == drawn
    assert all(contains(places["g"], places[key]) == (key in members) for key in "abcd" if drawn)


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
