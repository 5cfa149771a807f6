"""A token and an instance as they stood, from what is dated."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from support.builders import at, instance, raw, token
from support.examples import scaled
from support.strategies import make_instances, make_tokens, moments, token_sets
from tokctl.analysis.as_of import AsOfContext, reconstruct_instance, reconstruct_token
from tokctl.model.definitions import Definition, Element, SequenceFlow
from tokctl.model.instance_status import derive_status
from tokctl.model.states import STATE_DERIVED
from tokctl.model.times import format_time
from tokctl.model.tokens import NULL
from tokctl.model.visits import Visit

MOMENTS = moments.filter(bool)


def hop(source, flow, seconds):
    return {"from_element": source, "via_flow": flow, "timestamp": format_time(at(seconds))}


def changes(*entries):
    return {"state_history": [{"state": state, "at": format_time(at(seconds))} for state, seconds in entries]}


def states_of(one, *seconds):
    found = [reconstruct_token(one, at(second)) for second in seconds]
    return [then and ("~" * (STATE_DERIVED in then.extra) + then.state) for then in found]


# --- one token --------------------------------------------------------------------------------------


def test_a_token_that_ended_later_was_live():
    done = token(
        created_at=at(10),
        updated_at=at(20),
        completed_at=at(20),
        variables={"a": 1},
        execution_context={
            "job_key": "j",
            "job_type": "pay",
            "worker_id": "w",
            "retries_used": 2,
            "duration_ms": 10_000,
            "timeout_at": format_time(at(15)),
            "note": 1,
        },
        extra={"note": raw(1)},
    )
    assert states_of(done, 9.999, 10, 19.999, 20, 21) == [None, "~ACTIVE", "~ACTIVE", "COMPLETED", "COMPLETED"]
    assert reconstruct_token(done, at(20)) == done
    then = reconstruct_token(done, at(12))
    assert msgspec.json.decode(then.execution_context) == {"job_key": "j", "job_type": "pay"}
    assert (then.updated_at, then.completed_at, then.variables, then.finished_at) == (None, None, NULL, None)
    assert "note" not in then.extra


@pytest.mark.parametrize(
    ("kind", "state", "expected"),
    [
        ("serviceTask", "COMPLETED", "~ACTIVE"),
        ("userTask", "CANCELLED", "~ACTIVE"),
        ("exclusiveGateway", "COMPLETED", "~ACTIVE"),
        ("parallelGateway", "COMPLETED", "~WAITING"),
        ("INCLUSIVE_GATEWAY", "CANCELLED", "~WAITING"),
        ("eventBasedGateway", "COMPLETED", "~WAITING"),
        ("intermediateCatchEvent", "FAILED", "~WAITING"),
        ("serviceTask", "WAITING", "~WAITING"),  # as it is now
        ("serviceTask", "SUSPENDED", "~ACTIVE"),  # perhaps that is what has changed
        (None, "STUCK", "~ACTIVE"),
    ],
)
def test_the_state_of_a_token_that_nobody_recorded(kind, state, expected):
    one = token(element_type=kind, state=state, created_at=at(0), updated_at=at(9))
    assert states_of(one, 5, 9) == [expected, state]


def test_the_state_of_a_token_that_was_recorded():
    history = changes(("WAITING", 2), ("SUSPENDED", 4), ("ACTIVE", 6))
    one = token(state="FAILED", created_at=at(0), updated_at=at(8), execution_context=history)
    assert states_of(one, 0, 1, 2, 3, 4, 5, 6, 7, 8) == [
        "ACTIVE",
        "ACTIVE",
        "WAITING",
        "WAITING",
        "SUSPENDED",
        "SUSPENDED",
        "ACTIVE",
        "ACTIVE",
        "FAILED",
    ]
    assert reconstruct_token(one, at(5)).context.state_history == one.context.state_history[:2]
    assert reconstruct_token(one, at(1)).execution_context == raw({})
    wild = token(state="FAILED", created_at=at(0), updated_at=at(8), execution_context=changes(("CANCELED", 2)))
    assert states_of(wild, 5) == ["ACTIVE"]  # it cannot have ended before it ended
    odd = token(created_at=at(0), updated_at=at(8), execution_context={"state_history": "?"})
    assert states_of(odd, 5) == ["~ACTIVE"]


def test_when_a_token_began_that_does_not_say_so():
    for known in (
        {"updated_at": at(5)},
        {"completed_at": at(5)},
        {"cancelled_at": at(5)},
        {"updated_at": at(9), "flow_history": [hop("a", "f", 5)]},
    ):
        assert reconstruct_token(token(**known), at(4)) is None
        assert reconstruct_token(token(**known), at(5)) is not None
    assert reconstruct_token(token(flow_history=[{"from_element": "a"}]), at(5)) is None


def test_a_token_of_which_nobody_says_when_it_ended_or_changed():
    assert states_of(token(created_at=at(0)), 5) == ["~COMPLETED"]
    assert states_of(token(created_at=at(0), state="SUSPENDED", variables={}), 5) == ["~ACTIVE"]
    then = reconstruct_token(
        token(created_at=at(0), updated_at=at(9), completed_at=at(5), execution_context={"a": 1}), at(5)
    )
    assert (then.state, then.completed_at, then.updated_at) == ("COMPLETED", at(5), None)
    assert then.execution_context == raw({})


def test_children_and_hops_that_came_later_are_left_out():
    one = token(
        created_at=at(0),
        updated_at=at(9),
        child_tokens=("a", "b", "?"),
        element_type="parallelGateway",
        flow_history=[hop("x", "f1", 0) | {"note": 1}, hop("y", "f2", 5), {"from_element": "z"}],
    )
    then = reconstruct_token(one, at(3), AsOfContext(later={"b", "c"}))
    assert then.child_tokens == ("a", "?")
    assert msgspec.json.decode(then.flow_history) == [hop("x", "f1", 0) | {"note": 1}, {"from_element": "z"}]
    assert then.element_id == "task"
    assert reconstruct_token(one, at(9), AsOfContext(later={"b"})) == replace(one, child_tokens=("a", "?"))
    assert reconstruct_token(token(created_at=at(0)), at(1), AsOfContext(later={"b"})).child_tokens is None


MODEL = Definition(
    process_id="p",
    elements={"a": Element("a", "userTask", "A"), "b": Element("b", "serviceTask", "B")},
    flows={
        "f1": SequenceFlow("f1", "start", "a"),
        "f2": SequenceFlow("f2", "a", "b"),
        "f3": SequenceFlow("f3", "b", "c"),
    },
)


def test_a_token_that_moves_stood_where_its_last_hop_had_brought_it():
    moved = token(
        element_id="c",
        element_type="endEvent",
        element_name="C",
        created_at=at(0),
        updated_at=at(30),
        flow_history=[hop("start", "f1", 10), hop("a", "f2", 20), hop("b", "f3", 30)],
    )

    def places(as_of_context):
        found = [reconstruct_token(moved, at(second), as_of_context) for second in (0, 10, 20, 30)]
        return [(then.element_id, then.element_type, then.element_name, len(then.hops)) for then in found]

    end = ("c", "endEvent", "C", 3)
    assert places(AsOfContext(definition=MODEL)) == [
        ("start", None, None, 0),
        ("a", "userTask", "A", 1),
        ("b", "serviceTask", "B", 2),
        end,
    ]
    plain = [("start", None, None, 0), ("a", None, None, 1), ("b", None, None, 2), end]
    assert places(AsOfContext()) == plain
    # What stood at each of the elements that it came from was a token of its own: it was joined.
    joined = [(*end[:3], hops) for hops in range(4)]
    assert places(AsOfContext(elements={"start", "a", "b", "c"})) == joined
    # The model knows better.
    assert places(AsOfContext(elements={"start", "a", "b", "c"}, definition=MODEL))[1] == ("a", "userTask", "A", 1)
    lost = replace(moved, flow_history=raw([hop("start", "?", 10), hop(None, "?", 20)]))
    assert reconstruct_token(lost, at(15)).element_id == "?"


@given(make_tokens(), MOMENTS, st.sets(st.sampled_from(["a", "ab", "abc", "b"])))
@settings(max_examples=scaled(4))
def test_a_visit_was_what_its_token_was(one, moment, later):
    as_of_context = AsOfContext(later=later)
    then = reconstruct_token(one, moment, as_of_context)
    assert reconstruct_token(Visit.from_token(one, flows=True), moment, as_of_context) == (
        then and Visit.from_token(then, flows=True)
    )
    if then is not None:
        assert all(time is None or time <= moment for time in (then.updated_at, then.completed_at, then.cancelled_at))
        assert later.isdisjoint(then.child_tokens or ())


@given(make_tokens(), MOMENTS)
@settings(max_examples=scaled(4))
def test_a_token_with_no_time_after_the_moment_stood_as_it_stands(one, moment):
    times = (one.created_at, one.updated_at, one.completed_at, one.cancelled_at)
    if max(filter(None, times), default=None) not in {None, one.created_at}:
        assert (reconstruct_token(one, moment) == one) == all(time is None or time <= moment for time in times)


# --- an instance ------------------------------------------------------------------------------------


def standing(about, several, seconds):
    found = reconstruct_instance(derive_status(about, several), several, at(seconds))
    return found and "~" * found.status.status_derived + (found.status.status or "none")


RAN = [
    token("a", created_at=at(0), updated_at=at(10), completed_at=at(10)),
    token("b", created_at=at(12), updated_at=at(20), completed_at=at(20)),
]


@pytest.mark.parametrize(
    ("said", "several", "expected"),
    [
        ({}, RAN, [None, "~ACTIVE", "~ACTIVE", "~ACTIVE", "~COMPLETED"]),
        ({"started_at": at(3)}, RAN, [None, None, "~ACTIVE", "~ACTIVE", "~COMPLETED"]),
        ({"started_at": at(-2)}, [], ["none"] * 5),
        ({"status": "COMPLETED", "completed_at": at(22)}, RAN, [None, "~ACTIVE", "~ACTIVE", "~ACTIVE", "~ACTIVE"]),
        ({"status": "COMPLETED", "completed_at": at(11)}, RAN, [None, "~ACTIVE", "~ACTIVE", "COMPLETED", "COMPLETED"]),
        ({"status": "CANCELLED", "updated_at": at(20)}, RAN, [None, "~ACTIVE", "~ACTIVE", "~ACTIVE", "CANCELLED"]),
        ({"status": "COMPLETED", "updated_at": at(0)}, RAN, [None, "~ACTIVE", "~ACTIVE", "~ACTIVE", "COMPLETED"]),
        ({"status": "COMPLETED"}, RAN, [None, "~ACTIVE", "~ACTIVE", "~ACTIVE", "~COMPLETED"]),
        ({"status": "SUSPENDED", "updated_at": at(11)}, RAN, [None, "~ACTIVE", "~ACTIVE", "SUSPENDED", "SUSPENDED"]),
        ({"status": "ACTIVE"}, RAN, [None, "~ACTIVE", "~ACTIVE", "~ACTIVE", "~ACTIVE"]),
        (
            {"status": "CANCELLED", "cancelled_at": at(20)},
            [
                replace(
                    RAN[0],
                    updated_at=at(20),
                    completed_at=at(20),
                    execution_context=raw(changes(("SUSPENDED", 4), ("ACTIVE", 11))),
                )
            ],
            [None, "~ACTIVE", "~SUSPENDED", "~ACTIVE", "CANCELLED"],
        ),
    ],
)
def test_the_status_of_an_instance(said, several, expected):
    assert [standing(instance(**said), several, second) for second in (-1, 2, 5, 11, 21)] == expected


def test_what_is_known_of_an_instance():
    about = instance(
        process_id="p",
        process_key="p:3",
        version=3,
        started_at=at(0),
        updated_at=at(20),
        completed_at=at(20),
        status="COMPLETED",
        variables=raw({"a": 1}),
        extra={"note": raw(1)},
    )
    then = reconstruct_instance(derive_status(about, RAN), RAN, at(11)).status
    assert then.instance == replace(
        about, status="ACTIVE", updated_at=None, completed_at=None, variables=NULL, extra={}
    )
    assert (then.started_at, then.updated_at, then.ended_at) == (at(0), at(10), None)
    assert (then.total_tokens, then.live_tokens) == (1, 0)
    assert reconstruct_instance(derive_status(about, RAN), RAN, at(20)).status == derive_status(about, RAN)


@given(make_instances(st.just("i1")), token_sets(), MOMENTS)
@settings(max_examples=scaled(3))
def test_nothing_of_the_future_is_told(about, several, moment):
    found = reconstruct_instance(derive_status(about, several), several, moment)
    if found is None:
        return
    times = [found.status.started_at, found.status.updated_at, found.status.ended_at]
    for one in found.tokens:
        times += [one.created_at, one.updated_at, one.completed_at, one.cancelled_at, one.finished_at]
        children = {child.token_id for child in several if child.created_at and child.created_at > moment}
        assert children.isdisjoint(one.child_tokens or ())
    assert all(time is None or time <= moment for time in times)
