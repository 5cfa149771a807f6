"""A token's way from successive looks: nothing is made up, nothing doubled, and what was seen is there."""

from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from support.builders import at, token
from support.waiting import model, timer
from tokctl.analysis.as_of import AsOfContext, reconstruct_token
from tokctl.analysis.history import build_history
from tokctl.bpmn.flow_reconstruction import merge_observation
from tokctl.bpmn.graph import ProcessGraph
from tokctl.model.definitions import Definition, Element, SequenceFlow
from tokctl.model.times import format_time
from tokctl.model.tokens import NULL, FlowHop


def look(element, seconds, state="WAITING", **fields):
    """A token as an engine shows it that sends no flow history."""
    return token("t", element_id=element, state=state, created_at=at(0), updated_at=at(seconds), **fields)


def looks(definition, *several):
    """What successive looks make of a token."""
    ways, known = ProcessGraph(definition), None
    for seen in several:
        known = merge_observation(known, seen, ways)
    return known


def hops(one):
    return [(hop.from_element, hop.via_flow, (hop.timestamp - at(0)).total_seconds()) for hop in one.hops]


SEQUENCE = model("start>a a>b b>end")
CHOICE = model("start>a a>xor xor>b xor>c b>xor2 c>xor2 xor2>d d>end")


def test_the_first_look_knows_no_way():
    assert looks(SEQUENCE, look("a", 1)).flow_history == NULL
    assert looks(SEQUENCE, look("a", 1), look("a", 2)).flow_history == NULL


def test_a_move_is_seen_at_the_next_look():
    assert hops(looks(SEQUENCE, look("a", 1), look("b", 5))) == [("a", "a-b", 5)]
    assert hops(looks(SEQUENCE, look("a", 1), look("b", 5), look("b", 7), look("end", 9, "COMPLETED"))) == [
        ("a", "a-b", 5),
        ("b", "b-end", 9),
    ]


def test_the_only_way_is_told_with_all_that_lies_on_it():
    assert hops(looks(CHOICE, look("a", 1), look("b", 5))) == [("a", "a-xor", 5), ("xor", "xor-b", 5)]
    assert hops(looks(SEQUENCE, look("start", 0), look("end", 3))) == [
        ("start", "start-a", 3),
        ("a", "a-b", 3),
        ("b", "b-end", 3),
    ]


def test_of_several_ways_only_what_they_share_is_told():
    assert hops(looks(CHOICE, look("a", 1), look("d", 5))) == [("a", "a-xor", 5), ("xor2", "xor2-d", 5)]
    assert hops(looks(CHOICE, look("xor", 1), look("d", 5))) == [("xor", None, 5), ("xor2", "xor2-d", 5)]
    both = model("a>b a>c c>b b>end")  # a token that is at b now may have been at c
    assert hops(looks(both, look("a", 1), look("b", 5))) == [("a", None, 5)]


def test_a_boundary_event_is_a_way_out():
    definition = model("start>work work>end late>end", timer("late", "work", "PT5M"))
    assert hops(looks(definition, look("work", 1), look("end", 5))) == [("work", None, 5)]
    assert hops(looks(definition, look("work", 1), look("late", 3), look("end", 5))) == [
        ("work", None, 3),
        ("late", "late-end", 5),
    ]


def test_a_loop_tells_what_it_cannot_do_without():
    loop = model("start>a a>xor xor>a xor>end")
    assert hops(looks(loop, look("a", 1), look("xor", 2), look("a", 3))) == [("a", "a-xor", 2), ("xor", "xor-a", 3)]


def test_two_flows_between_two_elements_are_told_apart_by_nobody():
    definition = Definition(
        process_id="p",
        elements={name: Element(name, "task") for name in "ab"},
        flows={name: SequenceFlow(name, "a", "b") for name in ("f", "g")},
    )
    assert hops(looks(definition, look("a", 1), look("b", 5))) == [("a", None, 5)]


def test_without_a_model_the_elements_are_known():
    assert hops(looks(None, look("a", 1), look("b", 5), look("c", 7))) == [("a", None, 5), ("b", None, 7)]


def test_into_a_subprocess_and_out_of_it():
    inside = (
        '<subProcess id="sub"><startEvent id="in"/><userTask id="do"/><endEvent id="out"/>'
        '<sequenceFlow id="in-do" sourceRef="in" targetRef="do"/>'
        '<sequenceFlow id="do-out" sourceRef="do" targetRef="out"/></subProcess>'
    )
    definition = model("start>sub sub>end", inside)
    assert hops(looks(definition, look("start", 1), look("do", 2), look("end", 3))) == [
        ("start", "start-sub", 2),
        ("in", "in-do", 2),
        ("do", None, 3),
        ("sub", "sub-end", 3),
    ]


def test_what_the_engine_sends_itself_stays():
    sent = [{"from_element": "start", "via_flow": "start-a", "timestamp": "2025-01-11T12:00:00Z"}]
    seen = look("b", 5, flow_history=sent, execution_context={"state_history": []})
    assert looks(SEQUENCE, look("a", 1, "ACTIVE"), seen) == seen
    assert looks(SEQUENCE, look("a", 1), look("b", 5, flow_history=[])).hops == []


def test_a_look_into_the_past_is_no_news():
    known = looks(SEQUENCE, look("a", 1), look("b", 5))
    assert merge_observation(known, look("a", 1), ProcessGraph(SEQUENCE)) is known


def test_what_was_imported_is_continued_with_every_word_of_it():
    known = look("a", 1, flow_history=[{"from_element": "start", "via_flow": "start-a", "note": "by hand"}])
    grew = merge_observation(known, look("b", 5), ProcessGraph(SEQUENCE))
    assert json.loads(bytes(grew.flow_history)) == [
        {"from_element": "start", "via_flow": "start-a", "note": "by hand"},
        {"from_element": "a", "via_flow": "a-b", "timestamp": format_time(at(5)), "certainty": "reconstructed"},
    ]


def test_states_are_kept_where_they_change():
    one = looks(SEQUENCE, look("a", 1), look("a", 5, "ACTIVE"), look("b", 7, "SUSPENDED"), look("end", 9, "COMPLETED"))
    assert [(change.state, change.at) for change in one.context.state_history] == [
        ("WAITING", at(1)),
        ("ACTIVE", at(5)),
        ("SUSPENDED", at(7)),
    ]
    assert looks(SEQUENCE, look("a", 1, "ACTIVE"), look("a", 5, "COMPLETED")).execution_context == NULL
    one = looks(SEQUENCE, look("a", 1), look("b", 5), look("b", 7, "ACTIVE"))
    assert [(change.state, change.at) for change in one.context.state_history] == [
        ("WAITING", at(1)),
        ("ACTIVE", at(7)),
    ]
    kept = look("a", 5, "ACTIVE", execution_context={"worker_id": "w"})
    assert json.loads(bytes(looks(SEQUENCE, look("a", 1), kept).execution_context))["worker_id"] == "w"


def test_what_was_recorded_shows_the_past():
    """``--at`` and ``tokens history`` read what the looks have made."""
    one = looks(SEQUENCE, look("start", 0, "ACTIVE"), look("a", 1), look("b", 5), look("end", 9, "COMPLETED"))
    as_of_context = AsOfContext(elements={"end"}, definition=SEQUENCE)
    then = reconstruct_token(one, at(6), as_of_context)
    assert (then.element_id, then.state) == ("b", "WAITING")
    assert reconstruct_token(one, at(3), as_of_context).element_id == "a"
    way = [(hop.element_id, hop.passed) for hop in build_history([one], definition=SEQUENCE).hops()]
    assert way == [("a", True), ("b", True), ("end", False)]


# --- any model, any way, any looks ------------------------------------------------------------------------


@st.composite
def models(draw):
    """A model with any flows at all: loops, dead ends, several between two elements, boundary events."""
    names = [f"e{n}" for n in range(draw(st.integers(2, 7)))]
    pairs = draw(st.lists(st.tuples(st.sampled_from(names), st.sampled_from(names)), min_size=1, max_size=12))
    flows = {f"f{n}": SequenceFlow(f"f{n}", *pair) for n, pair in enumerate(pairs)}
    held = {names[n]: names[0] for n in draw(st.sets(st.integers(1, len(names) - 1), max_size=1))}
    elements = {
        name: Element(
            name,
            "boundaryEvent" if name in held else "task",
            incoming=tuple(f for f, one in flows.items() if one.target == name),
            outgoing=tuple(f for f, one in flows.items() if one.source == name),
            attached_to=held.get(name),
        )
        for name in names
    }
    return Definition(process_id="p", elements=elements, flows=flows)


@st.composite
def passages(draw):
    """A model, the true way of a token, and looks at it: (element, seconds) at some of its steps."""
    definition = draw(models())
    here = draw(st.sampled_from(sorted(definition.elements)))
    seconds, truth, stands = 0, [], [(here, 0)]
    for _ in range(draw(st.integers(0, 12))):
        ways = [(flow.target, flow.id) for flow in definition.flows.values() if flow.source == here]
        ways += [(key, None) for key, one in definition.elements.items() if one.attached_to == here]
        if not ways:
            break
        target, flow = draw(st.sampled_from(ways))
        seconds += draw(st.integers(0, 3))
        truth.append(FlowHop(here, flow, at(seconds)))
        here = target
        stands.append((here, seconds))
    polls = sorted(draw(st.lists(st.integers(0, len(stands) - 1), max_size=10)))
    return definition, truth, stands, polls


def follows(found, truth):
    """Whether hops are among the true ones, in their order; a flow that is not named may be any."""
    place = 0
    for hop in found:
        while place < len(truth) and not (
            truth[place].from_element == hop.from_element and hop.via_flow in {None, truth[place].via_flow}
        ):
            place += 1
        if place == len(truth):
            return False
        assert truth[place].timestamp <= hop.timestamp
        place += 1
    return True


@given(passages())
def test_hops_are_never_invented_and_never_doubled(passage):
    definition, truth, stands, polls = passage
    seen = [look(*stands[poll]) for poll in polls]
    one = looks(definition, *seen)
    if one is None:
        return
    assert follows(one.hops, truth[polls[0] : polls[-1]])
    # Whatever a look showed a token to have left is there.
    places = [stands[poll][0] for poll in polls]
    left = [a for a, b in pairwise(places) if a != b]
    assert follows([FlowHop(name, None, at(1000)) for name in left], [*one.hops])
    # Looking once more changes nothing.
    assert looks(definition, *seen, seen[-1]) == one


@given(passages())
def test_looks_at_every_step_miss_nothing(passage):
    definition, truth, stands, _ = passage
    one = looks(definition, *(look(*stand) for stand in stands))
    moved = [hop for hop, a, b in zip(truth, stands, stands[1:], strict=False) if a[0] != b[0]]
    assert [hop.from_element for hop in one.hops] == [hop.from_element for hop in moved]
    assert [hop.timestamp for hop in one.hops] == [hop.timestamp for hop in moved]
    assert all(hop.via_flow in {None, true.via_flow} for hop, true in zip(one.hops, moved, strict=True))


def test_a_long_way_is_told_whole():
    definition = model(" ".join(f"user{n}>user{n + 1}" for n in range(300)))
    assert len(looks(definition, look("user0", 0), look("user300", 1)).hops) == 300
