"""The way through the model, hop by hop."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.paths import FIXTURES
from tokctl.analysis.history import build_history, read_flow_history
from tokctl.errors import NotFoundError
from tokctl.model.definitions import Definition, Element, SequenceFlow
from tokctl.model.tokens import NULL, Token

FIXTURE = FIXTURES / "documented_tokens.json"
START = datetime(2025, 1, 11, 10, 30, tzinfo=UTC)
UNKNOWN = object()


def at(seconds):
    return None if seconds is None else START + timedelta(seconds=seconds)


def token(token_id, element, created=None, ended=None, hops=UNKNOWN, parent=None, **fields):
    """Make a token; hops are (from element, flow, seconds), or raw JSON."""
    if hops is UNKNOWN:
        raw = NULL
    elif isinstance(hops, bytes):
        raw = msgspec.Raw(hops)
    else:
        raw = msgspec.Raw(
            msgspec.json.encode([{"from_element": h[0], "via_flow": h[1], "timestamp": at(h[2])} for h in hops])
        )
    return Token(
        token_id=token_id,
        instance_id="i",
        element_id=element,
        state="ACTIVE" if ended is None else "COMPLETED",
        created_at=at(created),
        completed_at=at(ended),
        flow_history=raw,
        parent_token_id=parent,
        **fields,
    )


def documented():
    data = msgspec.json.decode(FIXTURE.read_bytes())["data"]
    return [
        msgspec.json.decode(msgspec.json.encode(t | {"instance_id": data["instance_id"]}), type=Token)
        for t in data["tokens"]
    ]


def test_the_documented_example():
    hops = list(build_history(documented()).hops())
    assert [(h.sequence, h.from_element, h.via_flow, h.element_id) for h in hops] == [
        (1, "start_order", "flow_1", "validate-order"),
        (2, "validate-order", "flow_2", "payment-gateway"),
        (3, "payment-gateway", "flow_3_credit", "process-payment"),
    ]
    # the gateway's token began 40.555 s after the validation that it came from had ended
    assert [h.wait_ms for h in hops] == [None, 40555.0, 0.0]
    assert [(h.duration_ms, h.duration_derived) for h in hops] == [
        (29889, False),
        (5111, True),
        (None, False),
    ]
    assert [h.live for h in hops] == [False, False, True]
    assert hops[2].age_ms(datetime(2025, 1, 11, 10, 31, 31, 789000, UTC)) == 1000
    assert hops[1].age_ms(START) is None


def test_one_token_with_all_that_led_to_it():
    tokens = documented()
    assert [h.element_id for h in build_history(tokens, token_id="srv1-token-eF5gH9iJ2kL4").hops()] == [
        "validate-order",
        "payment-gateway",
    ]
    # over the join, too: the gateway lists the payment as its child
    assert len(build_history(tokens, token_id="srv1-token-aB3dEf9hK2mN")) == 3
    with pytest.raises(NotFoundError):
        build_history(tokens, token_id="nobody")


def test_unknown_is_not_empty():
    tokens = [token("a", "start", 0, 1, hops=[]), token("b", "work", 2, 3, parent="a")]
    first, second = build_history(tokens).hops()
    assert (first.recorded, first.from_element, first.timestamp_derived) == (True, None, True)
    assert (second.recorded, second.from_element) == (False, None)
    assert second.wait_ms == 1000  # its parent is known all the same


def test_a_wait_reaches_from_the_sources_end_to_the_tokens_begin():
    tokens = [
        token("a", "work", 0, 10, hops=[]),
        token("other", "work", 0, 14, hops=[]),  # ended last, but is not the parent
        token("b", "check", 15, 16, hops=[("work", "f", 12)], parent="a"),
        token("c", "check", 15, 16, hops=[("work", "f", 12)], parent="gone"),
        token("d", "check", 15, 16, hops=[("unseen", "f", 12)]),
        token("e", "check", 15, 16, hops=[("unseen", "f", 15)]),
    ]
    waits = {h.token_id: h.wait_ms for h in build_history(tokens).hops()}
    assert waits == {"a": None, "other": None, "b": 5000, "c": 1000, "d": 3000, "e": None}


def test_a_source_that_ended_later_is_not_waited_for():
    tokens = [
        token("z", "sub", 0, 1, hops=[]),  # at the same element, but not the parent
        token("a", "sub", 0, 100, hops=[]),
        token("b", "inner", 5, 6, hops=[("sub", "f", 5)], parent="a"),
    ]
    assert [h.wait_ms for h in build_history(tokens).hops()] == [None, None, None]


def test_a_join_has_a_hop_for_each_way_in():
    tokens = [
        token("a", "left", 0, 4, hops=[("split", "f1", 0)], child_tokens=("j",)),
        token("b", "right", 0, 9, hops=[("split", "f2", 0)], child_tokens=("j",)),
        token(
            "j",
            "join",
            4,
            9,
            hops=[("left", "f3", 4), ("right", "f4", 9)],
            parent="a",
            element_type="parallelGateway",
        ),
    ]
    hops = [h for h in build_history(tokens).hops() if h.token_id == "j"]
    assert [(h.from_element, h.element_id, h.passed) for h in hops] == [
        ("left", "join", False),
        ("right", "join", False),
    ]
    assert [h.wait_ms for h in hops] == [0, 0]
    assert [h.duration_ms for h in hops] == [None, 5000]  # once, not for each way in


def test_a_gateway_that_waits_is_joined_even_where_the_sources_have_no_tokens():
    hops = [("left", "f3", 4), ("right", "f4", 9)]
    joined = token("j", "join", 4, 9, hops=hops, element_type="parallelGateway")
    assert [h.element_id for h in build_history([joined]).hops()] == ["join", "join"]


def test_a_token_that_moves_through_elements():
    hops = [("start", "f1", 0), ("check", "f2", 3), ("pay", "f3", 10)]
    other = token("b", "pay", 0, 1, hops=[])  # nothing that "a" waited for
    way = build_history([token("a", "ship", 0, None, hops=hops), other])
    moved = [h for h in way.hops() if h.token_id == "a"]
    assert [h.wait_ms for h in moved] == [None, None, None]
    assert [(h.from_element, h.element_id, h.passed) for h in moved] == [
        ("start", "check", True),
        ("check", "pay", True),
        ("pay", "ship", False),
    ]
    assert [h.duration_ms for h in moved] == [3000, 7000, None]
    assert [h.live for h in moved] == [False, False, True]
    assert moved[2].age_ms(at(12)) == 2000


@pytest.mark.slow
def test_a_token_may_move_very_far():
    size = 50_000
    hops = [(f"e{n}", "f", n) for n in range(size)]
    moved = list(build_history([token("a", "end", 0, size, hops=hops)]).hops())
    assert len(moved) == size
    assert {h.duration_ms for h in moved} == {1000}


def test_tokens_at_every_source_make_it_a_join():
    tokens = [
        token("a", "check", 0, 3, hops=[]),
        token("b", "pay", 0, 4, hops=[]),
        token("c", "ship", 3, 5, hops=[("check", "f1", 3), ("pay", "f2", 4)]),
    ]
    assert [h.element_id for h in build_history(tokens).hops()] == ["check", "pay", "ship", "ship"]


def test_a_definition_settles_it():
    definition = Definition(
        process_id="p",
        elements={"pay": Element("pay", "serviceTask", "Pay")},
        flows={"f1": SequenceFlow("f1", "check", "pay"), "f2": SequenceFlow("f2", "pay", "ship")},
    )
    tokens = [
        token("a", "check", 0, 3, hops=[]),
        token("b", "pay", 0, 4, hops=[]),
        token("c", "ship", 3, 5, hops=[("check", "f1", 3), ("pay", "f2", 4)]),
    ]
    hops = list(build_history(tokens, definition=definition).hops())
    assert [(h.token_id, h.name, h.passed) for h in hops] == [
        ("a", "check", False),
        ("b", "pay", False),
        ("c", "Pay", True),
        ("c", "ship", False),
    ]


def test_unknown_times_come_last_and_ties_have_parents_first():
    tokens = [
        token("never", "x"),
        token("child", "b", 5, 5, parent="parent"),
        token("parent", "a", 5, 5),
        token("first", "s", 1, 2),
    ]
    hops = list(build_history(tokens).hops())
    assert [h.token_id for h in hops] == ["first", "parent", "child", "never"]
    assert hops[-1].timestamp is None
    assert not hops[-1].timestamp_derived


@pytest.mark.parametrize(
    ("raw", "count", "unreadable", "recorded"),
    [
        (b"[]", 0, 0, True),
        (b"null", 0, 0, False),
        (b"7", 0, 1, False),
        (b'{"from_element": "a"}', 0, 1, False),
        (b'[1, "x", null]', 0, 3, False),
        (b'[{"from_element": "a"}, 1]', 1, 1, True),
        (b'[{"from_element": 4, "via_flow": "f", "timestamp": "yesterday"}]', 1, 0, True),
    ],
)
def test_nonsense_is_counted_and_the_rest_kept(raw, count, unreadable, recorded):
    strange = token("a", "x", 1, 2, hops=raw)
    hops, bad = read_flow_history(strange)
    assert (len(hops or ()), bad, hops is not None) == (count, unreadable, recorded)
    way = build_history([strange])
    assert way.unreadable == unreadable
    (hop,) = way.hops()
    assert hop.recorded is recorded
    assert hop.timestamp == at(1)


def test_the_beginning_is_the_first_time_known():
    several = [token("a", "x"), token("b", "y", 7), token("c", "z", 9, hops=[("y", "f", 5)])]
    found = build_history(several)
    assert found.began_at == at(5) == min(hop.timestamp for hop in found.hops() if hop.timestamp)
    assert build_history([token("a", "x")]).began_at is None
    assert build_history([]).began_at is None


def test_a_cycle_of_parents_ends():
    tokens = [token(f"t{n}", f"e{n % 2}", n, n, parent=f"t{(n - 1) % 20_000}") for n in range(20_000)]
    assert len(build_history(tokens, token_id="t777")) == 20_000
    assert build_history(tokens).anomalies.counts == {"CYCLE": 1}


names = st.sampled_from(["t0", "t1", "t2", "t3", "gone"])
seconds = st.none() | st.integers(0, 5)
hop_lists = st.lists(st.tuples(st.sampled_from(["e0", "e1", "no"]), st.just("f"), seconds), max_size=3)


@given(
    st.lists(
        st.builds(
            token,
            names,
            st.sampled_from(["e0", "e1"]),
            seconds,
            seconds,
            st.just(UNKNOWN) | hop_lists | st.sampled_from([b"[1]", b"{}", b'[{"timestamp": 3}]']),
            st.none() | names,
            child_tokens=st.none() | st.lists(names, max_size=3).map(tuple),
            element_type=st.sampled_from([None, "parallelGateway"]),
        ),
        max_size=8,
    ),
    names,
)
def test_any_tokens_at_all(tokens, wanted):
    kept = {}
    for each in tokens:
        kept.setdefault(each.token_id, each)
    way = build_history(tokens)
    hops = list(way.hops())
    assert list(way.hops()) == hops
    assert len(way) == len(hops)
    assert [h.sequence for h in hops] == list(range(1, len(hops) + 1))
    known = [h.timestamp for h in hops if h.timestamp]
    assert known == sorted(known)
    assert all(h.timestamp is None for h in hops[len(known) :])
    for token_id, each in kept.items():
        own = [h for h in hops if h.token_id == token_id]
        assert len(own) == max(1, len(read_flow_history(each)[0] or ()))
        assert sum(h.live for h in own) == each.live
        assert all(h.wait_ms is None or h.wait_ms >= 0 for h in own)
    if wanted in kept:
        part = list(build_history(tokens, token_id=wanted).hops())
        assert wanted in {h.token_id for h in part}
        assert {(h.token_id, h.timestamp) for h in part} <= {(h.token_id, h.timestamp) for h in hops}
