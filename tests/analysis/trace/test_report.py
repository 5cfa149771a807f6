"""The trace of an instance: every event once and in order, every way, and totals that agree with the rest."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from support.builders import DOCUMENTED, NOON, at, instance, raw, token
from support.examples import scaled
from support.paths import FIXTURES
from support.strategies import moments, token_sets
from tokctl.analysis.encoding.trace import encode_event, encode_trace, encode_trace_head, encode_trace_tail
from tokctl.analysis.flow.critical_path import FlowAnalysis
from tokctl.analysis.flow.paths import MAX_PATH_ELEMENTS, MAX_PATHS
from tokctl.analysis.history import build_history, read_flow_history
from tokctl.analysis.performance.durations import Performance
from tokctl.analysis.trace.report import build_trace
from tokctl.analysis.trace.timeline import ACTIONS
from tokctl.analysis.tree.builder import build_forest
from tokctl.analysis.tree.forest import TreeRow
from tokctl.engines.file import FileEngine
from tokctl.input_files import read_chunks
from tokctl.model.definitions import Definition, SequenceFlow
from tokctl.model.durations import compute_token_duration
from tokctl.model.filters import ALL_TOKENS, SortOrder
from tokctl.model.instance_status import derive_status
from tokctl.model.instances import summarize
from tokctl.model.times import format_time, to_micros
from tokctl.model.tokens import NULL
from tokctl.model.visits import Visit
from tokctl.readers.stream import read_records

ENDS = {"COMPLETED": "TOKEN_COMPLETED", "CANCELLED": "TOKEN_CANCELLED", "FAILED": "TOKEN_FAILED"}


def traced(tokens, now=NOON, **options):
    return build_trace(derive_status(instance(), tokens), tokens, now, **options)


def events(made):
    return list(made.timeline.events(made.part))


def document(tokens, **options):
    return msgspec.json.decode(msgspec.json.encode(encode_trace(traced(tokens, **options))))


def told(tokens, **options):
    """What happened: (action, token, seconds after noon) of each event."""
    return [
        (e.action, e.token_id, None if e.timestamp is None else (e.timestamp - NOON).total_seconds())
        for e in events(traced(tokens, **options))
    ]


def engine_of(path: Path) -> FileEngine:
    return FileEngine(read_records(read_chunks(str(path)), name=path.name, instance_id="x"), name=path.name)


few = settings(max_examples=scaled(0.4))

# --- any tokens at all -------------------------------------------------------------------------------


@given(token_sets())
@few
def test_events_are_numbered_in_the_order_of_their_times(tokens):
    made = traced(tokens)
    found = events(made)
    assert [e.sequence for e in found] == list(range(1, len(found) + 1))
    known = [e.timestamp for e in found if e.timestamp is not None]
    assert known == sorted(known)
    assert all(e.timestamp is None for e in found[len(known) :])
    assert Counter(e.action for e in found) == Counter(made.timeline.counts)
    assert made.timeline.began_at == (known[0] if known else None)
    assert not any(e.timestamp_derived for e in found[len(known) :])


@given(token_sets())
@few
def test_at_one_moment_upper_tokens_come_first_and_each_goes_through_its_life(tokens):
    forest = build_forest(map(TreeRow.from_token, tokens))
    depths = dict(zip(forest.ids, forest.depths(), strict=False))
    found = events(traced(tokens))
    ranks = [(depths[e.child_token_id or e.token_id], ACTIONS.index(e.action)) for e in found]
    for before, after, a, b in zip(found, found[1:], ranks, ranks[1:], strict=False):
        if before.timestamp == after.timestamp:
            assert a[0] <= b[0]
            if (before.child_token_id or before.token_id) == (after.child_token_id or after.token_id):
                assert a[1] <= b[1]


@given(token_sets())
@few
def test_each_token_is_created_once_and_ends_once_if_it_has(tokens):
    found = events(traced(tokens))
    created = {e.token_id: e for e in found if e.action == "TOKEN_CREATED"}
    ended = {e.token_id: e for e in found if e.action in ENDS.values()}
    assert len(created) + len(ended) == sum(e.action in {"TOKEN_CREATED", *ENDS.values()} for e in found)
    assert created.keys() == {one.token_id for one in tokens}
    assert ended.keys() == {one.token_id for one in tokens if not one.can_move}
    for one in tokens:
        assert created[one.token_id].timestamp == one.created_at
        if not one.can_move:
            end = ended[one.token_id]
            assert (end.action, end.timestamp) == (ENDS[one.state], one.finished_at)
            given_end = one.completed_at or one.cancelled_at
            assert end.timestamp_derived == (one.finished_at is not None and given_end is None)
            took = compute_token_duration(one)
            assert (end.duration_ms, end.duration_derived) == ((took.ms, took.derived) if took else (None, False))


@given(token_sets())
@few
def test_moves_are_the_flow_history_and_decisions_those_of_the_context(tokens):
    found = events(traced(tokens))
    moves = Counter((e.token_id, e.from_element, e.via_flow) for e in found if e.action == "TOKEN_MOVED")
    assert moves == Counter(
        (one.token_id, hop.from_element, hop.via_flow)
        for one in tokens
        for hop in read_flow_history(one)[0] or ()
        if hop.from_element is not None or hop.via_flow is not None
    )
    decided = {e.token_id: e for e in found if e.action == "GATEWAY_EVALUATED"}
    assert decided.keys() == {one.token_id for one in tokens if one.context.gateway_decision is not None}
    waits: dict = {}
    for hop in build_history(tokens).hops():
        waits.setdefault((hop.token_id, hop.timestamp, hop.from_element, hop.via_flow), []).append(
            (hop.element_id, hop.wait_ms, hop.timestamp_derived)
        )
    for e in found:
        if e.action == "TOKEN_MOVED":
            key = (e.token_id, e.timestamp, e.from_element, e.via_flow)
            assert (e.element_id, e.wait_ms, e.timestamp_derived) in waits[key]


@given(token_sets())
@few
def test_work_began_so_much_before_its_end_where_that_is_after_the_beginning(tokens):
    began = {e.token_id: e for e in events(traced(tokens)) if e.action == "TOKEN_ACTIVATED"}
    for one in tokens:
        took = compute_token_duration(one)
        event = began.get(one.token_id)
        if took is None or took.derived or None in {one.created_at, one.finished_at}:
            assert event is None
            continue
        lived = to_micros(one.finished_at) - to_micros(one.created_at)
        possible = 0 <= took.ms * 1000 <= lived - 1000
        assert (event is not None) == possible
        if event is not None:
            assert event.timestamp_derived
            assert abs((one.finished_at - event.timestamp).total_seconds() * 1000 - took.ms) < 0.001


@given(token_sets())
@few
def test_a_token_splits_where_several_stand_below_it(tokens):
    forest = build_forest(map(TreeRow.from_token, tokens))
    expected = {
        (forest.ids[node], forest.ids[child])
        for node in range(forest.size)
        for child in forest.children.of(node)
        if len(forest.children.of(node)) > 1
    }
    found = [e for e in events(traced(tokens)) if e.action == "TOKEN_SPLIT"]
    assert {(e.token_id, e.child_token_id) for e in found} == expected
    assert len(found) == len(expected)


@given(token_sets(), moments, moments)
@few
def test_a_period_is_a_part_of_the_whole(tokens, since, until):
    whole = events(traced(tokens))
    made = traced(tokens, since=since, until=until)
    assert events(made) == [
        e
        for e in whole
        if since is until is None
        or (
            e.timestamp is not None
            and (since is None or e.timestamp >= since)
            and (until is None or e.timestamp < until)
        )
    ]
    apart = encode_trace(made) | {"execution_timeline": None}
    apart.pop("start_time", None)
    apart.pop("end_time", None)
    same = encode_trace(traced(tokens)) | {"execution_timeline": None}
    assert msgspec.json.encode(apart) == msgspec.json.encode(same)


@given(token_sets())
@few
def test_the_tree_has_every_token_once_below_its_parent(tokens):
    found = document(tokens)["token_relationships"]["token_tree"]
    assert Counter(one["token_id"] for one in found) == Counter(one.token_id for one in tokens)
    depths = {None: -1}
    children: dict = {}
    for one in found:
        assert one["parent_token_id"] in depths  # it came before
        assert one["depth"] == depths[one["parent_token_id"]] + 1
        depths[one["token_id"]] = one["depth"]
        children.setdefault(one["parent_token_id"], []).append(one["token_id"])
    for one in found:
        assert one["children"] == children.get(one["token_id"], [])


@given(token_sets())
@few
def test_paths_are_the_ways_from_roots_to_leaves(tokens):
    way = build_history(tokens)
    elements: dict = {}
    for number, node in enumerate(way.flow_columns.nodes):
        elements.setdefault(node, []).append(way.hop(0, number).element_id)
    for node in range(way.forest.size):
        if node not in way.moved:
            elements[node] = [way.forest.element_id(node)]

    def ways(node, before):
        before = [*before, *elements[node]]
        below = way.forest.children.of(node)
        return [w for child in below for w in ways(child, before)] if below else [(*before, way.forest.state(node))]

    expected = Counter(w for root in way.forest.roots for w in ways(root, []))
    made = traced(tokens)
    assert Counter({(*p.elements, p.status): p.count for p in made.paths.paths}) == expected
    assert (made.paths.distinct_count, made.paths.ways) == (len(expected), expected.total())
    order = [(p.status == "COMPLETED", -p.count) for p in made.paths.paths]
    assert order == sorted(order)
    assert all(p.elements_left_out == 0 for p in made.paths.paths)


@given(token_sets())
@few
def test_totals_agree_with_everybody_elses(tokens):
    made = traced(tokens)
    assert made.summary == summarize((one.state, one.element_type, 1) for one in tokens)
    collected = Performance()
    for about, visit_batches in FileEngine([instance(), *tokens], name="x").visit_batches("i1"):
        collected.add(about.instance_id, None, visit_batches)
    ours, theirs = made.analysis.breakdown, collected.breakdown()
    for name in ("processing", "waiting", "overhead", "unknown", "between", "scope"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), abs=0.001)


@given(token_sets(), st.booleans())
@example([], True)
def test_visits_will_do_and_a_document_may_be_written_in_pieces(tokens, detailed):
    whole = encode_trace(traced(tokens, detailed=detailed))
    visits = [Visit.from_token(one, flows=True) for one in tokens]
    made = traced(visits, detailed=detailed)
    assert msgspec.json.encode(encode_trace(made)) == msgspec.json.encode(whole)
    written = encode_trace_head(made)
    if detailed:
        written["execution_timeline"] = [encode_event(e) for e in made.timeline.events(made.part)]
    assert msgspec.json.encode(written | encode_trace_tail(made), enc_hook=list) == msgspec.json.encode(whole)
    assert ("execution_timeline" in whole, "execution_paths" in whole) == (detailed, detailed)


@given(token_sets())
@few
def test_variables_stand_at_each_event_of_their_token(tokens):
    variables = {one.token_id: one.variables for one in tokens}
    for event in map(encode_event, events(traced(tokens, variables=True))):
        assert (NULL if event.variables is UNSET else event.variables) == variables[event.token_id]
    assert all(encode_event(e).variables is UNSET for e in events(traced(tokens)))


# --- examples ----------------------------------------------------------------------------------------


def test_the_documented_example():
    engine = engine_of(DOCUMENTED)
    (instance_id,) = engine.instance_ids("", 2)
    tokens = list(engine.tokens(instance_id, ALL_TOKENS, SortOrder("created")))
    made = build_trace(engine.instance(instance_id), tokens, tokens[-1].created_at)
    short = [(e.action, e.name, e.duration_ms, e.timestamp_derived, e.duration_derived) for e in events(made)]
    assert short == [
        ("TOKEN_CREATED", "Validate Order", None, False, False),
        ("TOKEN_MOVED", "Validate Order", None, False, False),
        ("TOKEN_COMPLETED", "Validate Order", 29889, False, False),
        ("TOKEN_SPLIT", "Validate Order", None, False, False),
        ("TOKEN_CREATED", "Payment Method?", None, False, False),
        ("TOKEN_MOVED", "Payment Method?", None, False, False),
        ("GATEWAY_EVALUATED", "Payment Method?", 5, True, False),
        ("TOKEN_COMPLETED", "Payment Method?", 5111, False, True),
        ("TOKEN_SPLIT", "Validate Order", None, False, False),
        ("TOKEN_CREATED", "Process Payment", None, False, False),
        ("TOKEN_MOVED", "Process Payment", None, False, False),
    ]
    found = msgspec.json.decode(msgspec.json.encode(encode_trace(made)))
    assert list(found) == [
        "instance_id",
        "process_id",
        "trace_generated_at",
        "execution_timeline",
        "execution_paths",
        "token_relationships",
        "performance_analysis",
        "summary",
    ]
    assert found["execution_timeline"][5] == {
        "sequence": 6,
        "timestamp": "2025-01-11T10:31:25.678Z",
        "action": "TOKEN_MOVED",
        "token_id": "srv1-token-eF5gH9iJ2kL4",
        "element_id": "payment-gateway",
        "element_type": "exclusiveGateway",
        "element_name": "Payment Method?",
        "duration_ms": None,
        "from_element": "validate-order",
        "to_element": "payment-gateway",
        "via_flow": "flow_2",
        "wait_ms": 40555.0,
    }
    evaluated, split = found["execution_timeline"][6], found["execution_timeline"][8]
    assert (evaluated["condition_evaluated"], evaluated["selected_flow"]) == (
        "paymentMethod = 'credit'",
        "flow_3_credit",
    )
    assert (split["parent_token_id"], split["child_token_id"]) == ("srv1-token-cD4eF8gH1jK3", "srv1-token-aB3dEf9hK2mN")
    assert found["performance_analysis"] == {
        "total_execution_time_ms": 75555.0,
        "running": True,
        "time_breakdown": {
            "processing_ms": 29889.0,
            "waiting_ms": 40555.0,
            "overhead_ms": 5111.0,
            "unknown_ms": 0.0,
            "between_tokens_ms": 40555.0,
            "scopes_ms": 0.0,
        },
        "bottlenecks": [
            {
                "element_id": element,
                "element_type": kind,
                "element_name": name,
                "visits": 1,
                "total_duration_ms": ms,
                "longest_duration_ms": ms,
                "percentage_of_total": pytest.approx(ms / 350),
            }
            for element, kind, name, ms in (
                ("validate-order", "serviceTask", "Validate Order", 29889.0),
                ("payment-gateway", "exclusiveGateway", "Payment Method?", 5111.0),
                ("process-payment", "serviceTask", "Process Payment", 0.0),
            )
        ],
        "parallel_execution": {"max_concurrent_tokens": 1, "most_at": "2025-01-11T10:30:15.234Z"},
    }
    assert found["summary"]["total_events"] == 11
    assert [path["elements"] for path in found["execution_paths"]] == [
        ["validate-order", "process-payment"],
        ["validate-order", "payment-gateway"],
    ]


def test_when_work_began_is_told_where_it_follows_and_only_there():
    def took(ms, state="COMPLETED", **times):
        context = {} if ms is None else {"duration_ms": ms}
        known = {"created_at": at(0), "completed_at": at(10)} | times
        return told([token("t", state=state, execution_context=context, **known)])

    assert ("TOKEN_ACTIVATED", "t", 6.0) in took(4000)
    assert ("TOKEN_ACTIVATED", "t", 10.0) in took(0)  # it took no time, and counts
    assert ("TOKEN_ACTIVATED", "t", 0.001) in took(9999)
    assert ("TOKEN_ACTIVATED", "t", 6.0) in took(4000, state="FAILED")
    for nothing in (
        took(10_001),  # it would have begun before it was there
        took(10_000),  # it was at work from the beginning
        took(9999.5),  # for all that a rounded duration says
        took(-1),
        took(None),  # a derived duration says nothing new
        took(4000, state="ACTIVE"),
        took(4000, created_at=None),
        took(4000, completed_at=None),
    ):
        assert "TOKEN_ACTIVATED" not in [action for action, _, _ in nothing]


def test_a_token_that_moves_is_created_where_it_came_in_and_stays_at_each_element():
    flow_history = [
        {"from_element": "start", "via_flow": "f1", "timestamp": format_time(at(0))},
        {"from_element": "check", "via_flow": "f2", "timestamp": format_time(at(4))},
        {"from_element": "pay", "via_flow": "f3", "timestamp": format_time(at(9))},
    ]
    moving = token(
        "t", element_id="end", element_type="endEvent", created_at=at(0), completed_at=at(11), flow_history=flow_history
    )
    found = events(traced([moving]))
    assert [(e.action, e.element_id, e.duration_ms, e.duration_derived) for e in found] == [
        ("TOKEN_CREATED", "check", None, False),
        ("TOKEN_MOVED", "check", 4000, True),
        ("TOKEN_MOVED", "pay", 5000, True),
        ("TOKEN_MOVED", "end", None, False),
        ("TOKEN_COMPLETED", "end", 11_000, True),
    ]
    assert [(e.from_element, e.via_flow) for e in found[1:4]] == [("start", "f1"), ("check", "f2"), ("pay", "f3")]
    assert traced([moving]).paths.paths[0].elements == ("check", "pay", "end")
    assert traced([moving]).paths.paths[0].token_count == 1
    # the model says it better
    model = Definition(process_id="p", flows={"f1": SequenceFlow("f1", "start", "inspect")})
    assert traced([moving], definition=model).timeline.counts["TOKEN_MOVED"] == 3
    assert events(traced([moving], definition=model))[0].element_id == "inspect"


def test_a_split_is_told_when_each_branch_was_created_and_a_sequence_is_none():
    tokens = [
        token("s", created_at=at(0), completed_at=at(1)),
        token("a", created_at=at(1), completed_at=at(5), parent_token_id="s"),
        token("b", created_at=at(2), completed_at=at(3), parent_token_id="s"),
        token("c", created_at=at(5), completed_at=at(6), parent_token_id="a"),
    ]
    found = [(e.token_id, e.child_token_id, e.timestamp) for e in events(traced(tokens)) if e.action == "TOKEN_SPLIT"]
    assert found == [("s", "a", at(1)), ("s", "b", at(2))]


def test_an_end_that_only_the_last_change_tells_is_marked():
    tokens = [
        token("a", created_at=at(0), updated_at=at(4), state="FAILED"),
        token("b", created_at=at(1), updated_at=at(9), cancelled_at=at(5), state="CANCELLED"),
        token("c", state="COMPLETED"),
        token("d", created_at=at(2), updated_at=at(3), state="STUCK"),
    ]
    found = [(e.action, e.token_id, e.timestamp_derived) for e in events(traced(tokens)) if e.action in ENDS.values()]
    assert found == [("TOKEN_FAILED", "a", True), ("TOKEN_CANCELLED", "b", False), ("TOKEN_COMPLETED", "c", False)]


def test_equal_ways_are_one_path_and_the_odd_one_stands_first():
    tokens = [token("root", created_at=at(0), completed_at=at(0))]
    for n in range(250):
        ends = {"state": "FAILED"} if n == 77 else {}
        tokens.append(
            token(
                f"w{n:03}", element_id="work", parent_token_id="root", created_at=at(1), completed_at=at(2 + n), **ends
            )
        )
    failed, done = traced(tokens, now=at(300)).paths.paths
    assert (failed.status, failed.count, failed.last_token_id, failed.longest_ms) == ("FAILED", 1, "w077", 300_000)
    assert (done.count, done.last_token_id, done.shortest_ms, done.longest_ms) == (249, "w000", 2000, 251_000)
    assert done.elements == ("task", "work")


def test_of_many_paths_and_of_long_ones_a_part_is_told_with_the_number():
    many = [token("root", created_at=at(0), completed_at=at(0))]
    many += [token(f"t{n}", element_id=f"e{n}", parent_token_id="root", state="ACTIVE") for n in range(MAX_PATHS + 50)]
    found = document(many)
    assert len(found["execution_paths"]) == MAX_PATHS
    assert (found["summary"]["total_paths"], found["summary"]["total_ways"]) == (MAX_PATHS + 50, MAX_PATHS + 50)
    chain = [
        token(f"t{n}", element_id=f"e{n}", parent_token_id=f"t{n - 1}" if n else None)
        for n in range(MAX_PATH_ELEMENTS + 500)
    ]
    (path,) = traced(chain).paths.paths
    assert (path.elements[0], path.elements[-1]) == ("e500", f"e{MAX_PATH_ELEMENTS + 499}")
    assert (len(path.elements), path.elements_left_out, path.token_count) == (
        MAX_PATH_ELEMENTS,
        500,
        MAX_PATH_ELEMENTS + 500,
    )


def test_a_path_that_goes_on_takes_until_now():
    tokens = [
        token("a", created_at=at(0), completed_at=at(5)),
        token("b", created_at=at(5), state="WAITING", parent_token_id="a"),
        token("c", state="FAILED", created_at=at(5), completed_at=at(6), parent_token_id="a"),
        token("d", state="CANCELLED", created_at=at(5), parent_token_id="a"),
    ]
    found = {path.status: path for path in traced(tokens, now=at(60)).paths.paths}
    assert found["WAITING"].longest_ms == 60_000
    assert found["FAILED"].longest_ms == 60_000  # it stands until somebody retries it
    assert found["CANCELLED"].longest_ms is None
    assert found["CANCELLED"].shortest_ms is None


def test_what_waits_for_others_and_what_holds_others_is_no_bottleneck():
    kinds = {"element_type": "parallelGateway", "element_id": "join"}
    tokens = [
        token("s", element_id="split", element_type="parallelGateway", created_at=at(0), completed_at=at(0)),
        token("a", element_id="quick", created_at=at(0), completed_at=at(1), parent_token_id="s"),
        token("b", element_id="slow", created_at=at(0), completed_at=at(9), parent_token_id="s"),
        token("ja", created_at=at(1), completed_at=at(9), parent_token_id="a", child_tokens=("j",), **kinds),
        token("jb", created_at=at(9), completed_at=at(9), parent_token_id="b", child_tokens=("j",), **kinds),
        token(
            "j",
            element_id="sub",
            element_type="subProcess",
            created_at=at(9),
            completed_at=at(19),
            parent_token_id="ja",
        ),
        token("i", element_id="inner", created_at=at(10), completed_at=at(19), parent_token_id="j"),
        token(
            "k",
            element_id="empty",
            element_type="callActivity",
            created_at=at(19),
            completed_at=at(22),
            parent_token_id="i",
        ),
    ]
    found = traced(tokens).analysis
    assert {one.key: one.total_ms for one in found.bottlenecks} == {
        "slow": 9000,
        "inner": 9000,
        "empty": 3000,
        "quick": 1000,
        "split": 0,
    }
    assert sum(one.percentage_of_total for one in found.bottlenecks) == pytest.approx(100)
    assert (found.max_concurrent, found.most_at) == (2, at(0))


def test_what_was_cancelled_at_a_join_had_waited():
    tokens = [
        token("a", element_id="work", created_at=at(0), completed_at=at(2)),
        token(
            "j",
            element_id="join",
            element_type="parallelGateway",
            state="CANCELLED",
            created_at=at(2),
            cancelled_at=at(60),
            parent_token_id="a",
        ),
    ]
    assert [one.key for one in traced(tokens).analysis.bottlenecks] == ["work"]


@pytest.mark.parametrize("name", ["documented_tokens.json", "orders.ndjson"])
def test_flow_says_the_same_of_bottlenecks_and_concurrency(name):
    engine = engine_of(FIXTURES / name)
    for instance_id in engine.instance_ids("", 10):
        visits = list(engine.visits(instance_id, flows=True))
        now = max(visit.updated_at for visit in visits)
        made, flow = build_trace(engine.instance(instance_id), visits, now).analysis, FlowAnalysis(visits, now)
        assert {b.key: b.total_ms for b in made.bottlenecks} == {b.key: b.total_ms for b in flow.bottlenecks}
        assert made.max_concurrent == flow.peak.max_concurrent


@pytest.mark.slow
def test_long_chains_wide_splits_and_circles_end():
    size = 30_000
    chain = [
        token(
            f"t{n}",
            element_id=f"e{n % 3}",
            created_at=at(n),
            completed_at=at(n + 1),
            parent_token_id=f"t{(n - 1) % size}",
        )
        for n in range(size)
    ]
    made = traced(chain)
    assert len(made.timeline) == 2 * size
    assert (made.paths.ways, made.forest.anomalies.counts) == (1, {"CYCLE": 1})
    assert document(chain)["token_relationships"]["token_tree"][-1]["depth"] == size - 1
    comb = [token(f"t{n}", parent_token_id=f"t{n - n % 2 - 2}" if n > 1 else None) for n in range(size)]
    assert traced(comb).paths.ways == size // 2 + 1


def test_strange_things_are_taken_as_they_are():
    tokens = [
        token("n", created_at=at(9), completed_at=at(5)),  # it ended before it began
        token("f", created_at=at(1e6), state="ACTIVE"),  # it will be created
        token("u", state="Läuft", created_at=at(0), execution_context=[1, 2]),
        token("x", flow_history=7, execution_context={"duration_ms": 1e300, "gateway_decision": "x"}),
        token("h", flow_history=[1, {"from_element": 4, "via_flow": "f"}]),
    ]
    assert told(tokens) == [
        ("TOKEN_CREATED", "u", 0.0),
        ("TOKEN_COMPLETED", "n", 5.0),
        ("TOKEN_CREATED", "n", 9.0),
        ("TOKEN_CREATED", "f", 1e6),
        ("TOKEN_CREATED", "x", None),
        ("TOKEN_COMPLETED", "x", None),
        ("TOKEN_CREATED", "h", None),
        ("TOKEN_MOVED", "h", None),
        ("TOKEN_COMPLETED", "h", None),
    ]
    found = document(tokens)
    assert found["summary"]["unreadable_entries"] == 2
    assert found["summary"]["token_states"]["Läuft"] == 1
    assert found["performance_analysis"]["parallel_execution"]["max_concurrent_tokens"] == 1


def test_nothing_comes_of_no_tokens():
    found = document([])
    assert (found["execution_timeline"], found["execution_paths"]) == ([], [])
    assert found["token_relationships"] == {"token_tree": [], "contradictions": {"total": 0, "counts": {}}}
    assert found["performance_analysis"]["total_execution_time_ms"] is None
    assert found["performance_analysis"]["parallel_execution"] == {"max_concurrent_tokens": 0, "most_at": None}
    assert found["summary"]["total_events"] == 0


def test_a_token_that_comes_twice_counts_once():
    tokens = [
        token("a", created_at=at(0), state="ACTIVE"),
        token("a", created_at=at(5), completed_at=at(6), execution_context={"gateway_decision": {}}),
        token(
            "b", created_at=at(7), completed_at=at(8), execution_context={"gateway_decision": {}}, variables={"b": 1}
        ),
    ]
    made = traced(tokens, variables=True)
    assert [(e.action, e.token_id) for e in events(made)] == [
        ("TOKEN_CREATED", "a"),
        ("TOKEN_CREATED", "b"),
        ("GATEWAY_EVALUATED", "b"),
        ("TOKEN_COMPLETED", "b"),
    ]
    assert [e.variables for e in events(made)] == [NULL, raw({"b": 1}), raw({"b": 1}), raw({"b": 1})]
