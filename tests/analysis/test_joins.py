"""What joins wait for: hand-made models, runs of the real engine, and a token game played to the end."""

from __future__ import annotations

from collections import Counter, deque

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from support.examples import scaled
from support.waiting import bpmn, model, run, timer, visit
from tokctl.analysis.joins import find_waiting_joins
from tokctl.bpmn.graph import ProcessGraph
from tokctl.model.definitions import Definition, Element, SequenceFlow
from tokctl.model.visits import Visit


def waiting_joins(visits, definition):
    return find_waiting_joins(visits, ProcessGraph(definition))


def seen(join):
    """A join in short: what has arrived, and of what is missing where its upstream stands and if it can come."""
    return (
        {arrival.flow for arrival in join.arrived},
        {flow.flow: ([one.element_id for one in flow.upstream], flow.possible) for flow in join.missing},
        join.deadlocked,
    )


FORK = "start>split split>a split>b a>join b>join join>end"

# --- runs of the real engine ------------------------------------------------------------------------------


def test_a_branch_that_hangs_can_still_arrive():
    visits, definition = run(bpmn(FORK), "{until: 1h, tasks: {a: {hangs: true}}}")
    (join,) = waiting_joins(visits, definition)
    assert seen(join) == ({"b-join"}, {"a-join": (["a"], True)}, False)
    assert join.token.element_id == "join"
    assert join.unknown is None


def test_a_join_that_has_fired_does_not_wait():
    visits, definition = run(bpmn(FORK), "{until: 1h}")
    assert waiting_joins(visits, definition) == []


def test_a_branch_that_a_boundary_event_led_away_cannot_arrive():
    late = timer("late", "a", "PT1M")
    xml = bpmn(FORK + " late>end2", late)
    visits, definition = run(xml, "{until: 30s, tasks: {a: {hangs: true}}}")
    (join,) = waiting_joins(visits, definition)
    assert seen(join) == ({"b-join"}, {"a-join": (["a"], True)}, False)
    visits, definition = run(xml, "{until: 1h, tasks: {a: {hangs: true}}}")
    (join,) = waiting_joins(visits, definition)
    assert seen(join) == ({"b-join"}, {"a-join": ([], False)}, True)
    assert join.failed == ()


def test_what_a_boundary_event_leads_to_may_come_to_the_join_after_all():
    late = timer("late", "a", "PT1M")
    ways = "start>split split>a split>b a>end3 b>join late>mend mend>join join>end"
    visits, definition = run(bpmn(ways, late), "{until: 30s, tasks: {a: {hangs: true}}}")
    (join,) = waiting_joins(visits, definition)
    assert seen(join) == ({"b-join"}, {"mend-join": (["a"], True)}, False)


def test_a_branch_that_chose_another_way_cannot_arrive():
    xml = bpmn(
        "start>split split>xor split>b xor>a xor>end2 a>join b>join join>end",
        conditions={"xor-a": "go"},
        defaults={"xor": "xor-end2"},
    )
    visits, definition = run(xml, "{until: 1h, variables: {go: false}}")
    (join,) = waiting_joins(visits, definition)
    assert seen(join) == ({"b-join"}, {"a-join": ([], False)}, True)


def test_a_branch_with_an_incident_cannot_arrive_unless_it_is_tried_again():
    visits, definition = run(bpmn(FORK), "{until: 1h, tasks: {a: {fails: true}}}")
    (join,) = waiting_joins(visits, definition)
    assert seen(join) == ({"b-join"}, {"a-join": ([], False)}, True)
    assert [one.element_id for one in join.failed] == ["a"]


NESTED = "start>split split>split2 split>c split2>a split2>b a>join2 b>join2 join2>join c>join join>end"


def test_nested_joins_wait_for_what_the_inner_one_waits_for():
    visits, definition = run(bpmn(NESTED), "{until: 1h, tasks: {a: {hangs: true}}}")
    outer, inner = sorted(waiting_joins(visits, definition), key=lambda join: join.element.id)
    assert seen(inner) == ({"b-join2"}, {"a-join2": (["a"], True)}, False)
    assert seen(outer) == ({"c-join"}, {"join2-join": (["a", "join2"], True)}, False)


def test_nested_joins_are_stuck_together():
    visits, definition = run(bpmn(NESTED), "{until: 1h, tasks: {a: {fails: true}}}")
    outer, inner = sorted(waiting_joins(visits, definition), key=lambda join: join.element.id)
    assert inner.deadlocked
    assert seen(outer) == ({"c-join"}, {"join2-join": (["join2"], False)}, True)


def test_a_loop_before_a_join():
    ways = "start>split split>a split>b a>xor xor>a xor>join b>join join>end"
    xml = bpmn(ways, conditions={"xor-a": "again"}, defaults={"xor": "xor-join"})
    visits, definition = run(xml, "{until: 10s, variables: {again: true}}")
    (join,) = waiting_joins(visits, definition)
    assert seen(join) == ({"b-join"}, {"xor-join": (["a"], True)}, False)


def test_a_loop_around_a_join():
    ways = "start>xor0 xor0>split split>a split>b a>join b>join join>xor xor>xor0 xor>end"
    xml = bpmn(ways, conditions={"xor-xor0": "True"}, defaults={"xor": "xor-end"})
    visits, definition = run(xml, "{until: 10s, tasks: {a: {takes: 3s}, b: {takes: 2s}}}")
    assert sum(one.element_id == "join" and one.state == "COMPLETED" for one in visits) == 6
    assert waiting_joins(visits, definition) == []  # 9 s: both branches of the fourth round have just begun
    visits, definition = run(xml, "{until: 11s, tasks: {a: {takes: 3s}, b: {takes: 2s}}}")
    (join,) = waiting_joins(visits, definition)
    assert seen(join) == ({"b-join"}, {"a-join": (["a"], True)}, False)


def test_an_inclusive_join_waits_only_for_the_branches_that_were_taken():
    xml = bpmn(
        "start>or or>a or>b or>c a>or2 b>or2 c>or2 or2>end",
        conditions={"or-a": "True", "or-b": "True", "or-c": "more"},
    )
    visits, definition = run(xml, "{until: 1h, variables: {more: false}, tasks: {a: {hangs: true}}}")
    (join,) = waiting_joins(visits, definition)
    assert seen(join) == ({"b-or2"}, {"a-or2": (["a"], True), "c-or2": ([], False)}, False)
    assert [flow.flow for flow in join.needed] == ["a-or2"]


MULTI = (
    '<subProcess id="each"><multiInstanceLoopCharacteristics><loopCardinality>2</loopCardinality>'
    '</multiInstanceLoopCharacteristics><startEvent id="s"/><parallelGateway id="f"/><parallelGateway id="j"/>'
    '<serviceTask id="a"/><serviceTask id="b"/><endEvent id="e"/>'
    + "".join(
        f'<sequenceFlow id="{x}-{y}" sourceRef="{x}" targetRef="{y}"/>' for x, y in ("sf", "fa", "fb", "aj", "bj", "je")
    )
    + "</subProcess>"
)


def test_tokens_of_another_run_of_a_sub_process_do_not_count():
    xml = bpmn("start>each each>end", MULTI)
    visits, definition = run(xml, "{until: 1h, tasks: {a: {hangs: true}}}")
    joins = waiting_joins(visits, definition)
    assert [seen(join) for join in joins] == [({"b-j"}, {"a-j": (["a"], True)}, False)] * 2
    (one, other) = (join.missing[0].upstream[0].token_id for join in joins)
    assert one != other
    without = [v for v in visits if v.token_id != other]  # as if the recording had lost it
    assert [join.deadlocked for join in waiting_joins(without, definition)] == [False, True]
    lost = {v.token_id for v in visits if v.element_id == "each"}  # and now nobody knows which run they belong to
    joins = waiting_joins([v for v in without if v.token_id not in lost], definition)
    assert not any(join.deadlocked for join in joins)
    assert {flow.possible for join in joins for flow in join.missing} == {True}


def test_what_lies_in_a_sub_process_comes_out_of_it():
    sub = (
        '<subProcess id="sub"><startEvent id="s"/><serviceTask id="w"/><endEvent id="e"/>'
        '<sequenceFlow id="s-w" sourceRef="s" targetRef="w"/><sequenceFlow id="w-e" sourceRef="w" targetRef="e"/>'
        "</subProcess>"
    )
    ways = "start>split split>sub split>b sub>join b>join join>end"
    visits, definition = run(bpmn(ways, sub), "{until: 1h, tasks: {w: {hangs: true}}}")
    (join,) = waiting_joins(visits, definition)
    assert seen(join) == ({"b-join"}, {"sub-join": (["sub"], True)}, False)
    # An engine that has no token for the sub-process itself.
    (join,) = waiting_joins([v for v in visits if v.element_id != "sub"], definition)
    assert seen(join) == ({"b-join"}, {"sub-join": (["w"], True)}, False)


def test_what_a_called_process_does_stands_at_the_call():
    called = (
        '<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL" id="d2" targetNamespace="urn:test">'
        '<process id="sub" isExecutable="true"><startEvent id="start"/><serviceTask id="b"/><endEvent id="end"/>'
        '<sequenceFlow id="x" sourceRef="start" targetRef="b"/><sequenceFlow id="y" sourceRef="b" targetRef="end"/>'
        "</process></definitions>"
    )
    ways = "start>split split>call split>c call>join c>join join>end"
    xml = bpmn(ways, '<callActivity id="call" calledElement="sub"/>')
    scenario = "{process: p, until: 1h, tasks: {b: {hangs: true}}}"
    visits, definition = run(xml, scenario, called)
    (join,) = waiting_joins(visits, definition)
    assert seen(join) == ({"c-join"}, {"call-join": (["call"], True)}, False)
    (join,) = waiting_joins([v for v in visits if v.element_id != "call" or not v.live], definition)
    assert not join.deadlocked  # where its parent is lost, a token may stand anywhere
    assert join.unknown


def test_a_called_process_may_use_the_same_ids():
    called = bpmn(FORK).replace('id="p"', 'id="sub"')
    xml = bpmn(
        "start>split split>call split>a call>join a>join join>end", '<callActivity id="call" calledElement="sub"/>'
    )
    visits, definition = run(xml, "{process: p, until: 1h, tasks: {b: {hangs: true}}}", called)
    assert sum(one.element_id == "join" and one.live for one in visits) == 2
    (join,) = waiting_joins(visits, definition)
    assert seen(join) == ({"a-join"}, {"call-join": (["call"], True)}, False)


# --- hand-made ----------------------------------------------------------------------------------------------


def test_tokens_at_one_join_are_put_together_by_firing():
    definition = model(FORK)
    visits = [
        visit("w1", "join", "b-join", "WAITING", 1),
        visit("w2", "join", "b-join", "WAITING", 2),
        visit("w3", "join", "a-join", "WAITING", 3),
        visit("a", "a", "split-a"),
    ]
    full, short = waiting_joins(visits, definition)
    assert ([one.token_id for one in full.tokens], seen(full)) == (["w1", "w3"], ({"a-join", "b-join"}, {}, False))
    assert ([one.token_id for one in short.tokens], seen(short)) == (
        ["w2"],
        ({"b-join"}, {"a-join": (["a"], True)}, False),
    )


def test_a_token_that_moves_has_arrived_by_its_last_flows():
    definition = model(FORK)
    hops = [{"from_element": "start", "via_flow": "start-split"}, {"from_element": "b", "via_flow": "b-join"}]
    moved = visit("w", "join", state="WAITING", flow_history=hops)
    assert seen(waiting_joins([moved], definition)[0]) == ({"b-join"}, {"a-join": ([], False)}, True)
    several = visit("w", "join", state="WAITING", flow_history=[*hops, {"from_element": "a", "via_flow": "a-join"}])
    assert seen(waiting_joins([several], definition)[0]) == ({"a-join", "b-join"}, {}, False)


def test_without_a_flow_history_the_parent_tells_the_flow():
    definition = model(FORK)
    parent = visit("b", "b", state="COMPLETED")
    for known in (
        [parent, visit("w", "join", state="WAITING", parent_token_id="b")],
        [visit("b", "b", state="COMPLETED", child_tokens=("w",)), visit("w", "join", state="WAITING")],
        [parent, visit("w", "join", state="WAITING", flow_history=[{"from_element": "b"}])],
    ):
        (join,) = waiting_joins(known, definition)
        assert seen(join) == ({"b-join"}, {"a-join": ([], False)}, True)


@pytest.mark.parametrize(
    "strange",
    [
        [visit("w", "join", state="WAITING")],  # nobody knows how it came
        [visit("w", "join", "gone-join", "WAITING")],  # over a flow that the model lacks
        [visit("w", "join", "b-join", "WAITING", element_type="userTask")],
        [visit("w", "join", "b-join", "WAITING"), visit("x", "elsewhere")],  # of another version of the model
        [visit("w", "join", "b-join", "WAITING"), visit("x", "elsewhere", state="COMPLETED")],
    ],
)
def test_what_does_not_fit_the_model_is_unknown(strange):
    (join,) = waiting_joins(strange, model(FORK))
    assert not join.deadlocked
    assert join.unknown
    assert None in {flow.possible for flow in join.missing}


def test_what_an_engine_merged_into_the_waiting_token_has_arrived():
    definition = model(FORK)
    waiting = visit("w", "join", "b-join", "WAITING")
    (join,) = waiting_joins([visit("m", "join", "a-join", "COMPLETED"), waiting], definition)
    assert seen(join) == ({"a-join", "b-join"}, {}, False)
    before = [
        visit("m", "join", "a-join", "COMPLETED"),
        visit("n", "end", "join-end", "COMPLETED", parent_token_id="m"),
    ]
    (join,) = waiting_joins([*before, waiting], definition)  # that one belonged to an earlier firing
    assert seen(join) == ({"b-join"}, {"a-join": ([], False)}, True)


def test_an_incident_that_was_tried_again_is_none():
    failed = visit("f", "a", "split-a", "FAILED", parent_token_id="s")
    again = visit("g", "a", "split-a", "COMPLETED", 5, parent_token_id="s")
    waiting = visit("w", "join", "b-join", "WAITING")
    (join,) = waiting_joins([failed, waiting], model(FORK))
    assert [one.token_id for one in join.failed] == ["f"]
    (join,) = waiting_joins([failed, again, waiting], model(FORK))
    assert join.failed == ()
    at_once = visit("f", "a", "split-a", "FAILED", parent_token_id="s", updated_at=failed.created_at)
    (join,) = waiting_joins([at_once, waiting], model(FORK))
    assert [one.token_id for one in join.failed] == ["f"]


def test_two_joins_that_wait_for_each_other_are_stuck():
    ways = "start>split split>a split>b a>join1 join2>join1 b>join2 join1>join2 join1>end join2>end2"
    waiting = [visit("w1", "join1", "a-join1", "WAITING"), visit("w2", "join2", "b-join2", "WAITING")]
    one, other = waiting_joins(waiting, model(ways))
    assert seen(one) == ({"a-join1"}, {"join2-join1": (["join2"], False)}, True)
    assert seen(other) == ({"b-join2"}, {"join1-join2": (["join1"], False)}, True)


def test_a_token_upstream_of_a_join_that_cannot_fire_does_not_count():
    ways = "start>split split>a split>b split>c a>join2 b>join2 join2>join c>join join>end"
    visits = [visit("w", "join", "c-join", "WAITING"), visit("a", "a", "split-a")]
    (join,) = waiting_joins(visits, model(ways))
    assert seen(join) == ({"c-join"}, {"join2-join": (["a"], False)}, True)


def test_an_inclusive_join_is_stuck_only_with_a_token_that_can_never_come():
    ways = "start>split split>a split>b split>c split>d a>join b>join join>or c>or d>or or>end"
    waiting = [visit("o", "or", "c-or", "WAITING")]
    (join,) = waiting_joins(waiting, model(ways))
    assert (join.deadlocked, join.needed) == (False, ())
    waiting.append(visit("w", "join", "a-join", "WAITING"))
    joins = {join.element.id: join for join in waiting_joins(waiting, model(ways))}
    assert joins["join"].deadlocked
    assert joins["or"].deadlocked
    assert [flow.flow for flow in joins["or"].needed] == ["join-or"]


def test_an_inclusive_join_does_not_wait_for_itself():
    (join,) = waiting_joins([visit("w", "or", "start-or", "WAITING")], model("start>or or>a a>xor xor>or xor>end"))
    assert seen(join) == ({"start-or"}, {"xor-or": ([], False)}, False)


def test_what_is_unknown_of_one_join_is_unknown_of_those_behind_it():
    ways = "start>split split>a split>b split>c a>join1 b>join1 join1>join2 c>join2 join2>end"
    visits = [visit("w", "join1", state="WAITING"), visit("v", "join2", "c-join2", "WAITING")]
    joins = {join.element.id: join for join in waiting_joins(visits, model(ways))}
    assert joins["join1"].unknown
    assert seen(joins["join2"]) == ({"c-join2"}, {"join1-join2": (["join1"], True)}, False)


SUB = (
    '<subProcess id="sub"><startEvent id="s"/><serviceTask id="u"/><serviceTask id="w"/><parallelGateway id="j"/>'
    + "".join(f'<sequenceFlow id="{x}-{y}" sourceRef="{x}" targetRef="{y}"/>' for x, y in ("su", "sw", "uj", "wj"))
    + "</subProcess>"
)
SUB_WAYS = "start>split split>sub split>b sub>join b>join join>end"


def test_a_live_token_counts_though_its_sub_process_has_ended():
    visits = [
        visit("s", "sub", "split-sub", "COMPLETED", element_type="subProcess"),
        visit("u", "u", parent_token_id="s"),
        visit("w", "join", "b-join", "WAITING"),
    ]
    (join,) = waiting_joins(visits, model(SUB_WAYS, SUB))
    assert seen(join) == ({"b-join"}, {"sub-join": (["u"], True)}, False)


def test_in_a_run_that_is_unknown_nothing_is_called_impossible():
    waiting = [visit("w", "j", "u-j", "WAITING", element_type="parallelGateway")]
    (join,) = waiting_joins(waiting, model(SUB_WAYS, SUB))
    assert seen(join) == ({"u-j"}, {"w-j": ([], None)}, False)
    assert join.unknown
    known = [visit("s", "sub", element_type="subProcess"), *waiting]
    known[1] = visit("w", "j", "u-j", "WAITING", element_type="parallelGateway", parent_token_id="s")
    (join,) = waiting_joins(known, model(SUB_WAYS, SUB))
    assert seen(join) == ({"u-j"}, {"w-j": ([], False)}, True)


def test_what_a_complex_gateway_waits_for_is_unknown():
    (join,) = waiting_joins(
        [visit("w", "complex", "a-complex", "WAITING")], model("start>a start>b a>complex b>complex")
    )
    assert (join.deadlocked, join.missing[0].possible) == (False, None)
    assert join.unknown


def test_a_link_leads_on():
    ways = "start>split split>a split>b a>throw catch>join b>join join>end"
    link = '<intermediateThrowEvent id="throw"><linkEventDefinition name="L"/></intermediateThrowEvent>'
    (join,) = waiting_joins([visit("w", "join", "b-join", "WAITING"), visit("a", "a", "split-a")], model(ways, link))
    assert seen(join) == ({"b-join"}, {"catch-join": (["a"], True)}, False)


@pytest.mark.slow
def test_many_tokens_are_looked_at_once():
    definition = model(FORK)
    many = 100_000
    visits = [visit(f"a{n}", "a", parent_token_id=f"a{n - 1}") for n in range(3)]
    visits += [
        visits[0].__class__(token_id=f"l{n}", element_id="a", state="ACTIVE", parent_token_id=f"l{n - 1}")
        for n in range(many)
    ]
    w = visit("w", "join", "b-join", "WAITING")
    visits += [
        Visit(token_id=f"w{n}", element_id="join", state="WAITING", flow_history=w.flow_history) for n in range(many)
    ]
    joins = waiting_joins(visits, definition)
    assert len(joins) == many
    assert all(join.missing is not None and len(join.missing[0].upstream) == many + 3 for join in joins[:: many // 10])


# --- all small models -----------------------------------------------------------------------------------------


@st.composite
def situations(draw, kinds=("task", "exclusiveGateway", "parallelGateway")):
    """Any small graph with a parallel join at which tokens wait, and live tokens elsewhere."""
    size = draw(st.integers(3, 6))
    names = [f"n{number}" for number in range(size)]
    pairs = draw(
        st.lists(st.tuples(st.sampled_from(names), st.sampled_from(names)), min_size=3, max_size=9, unique=True)
    )
    types = {name: draw(st.sampled_from(kinds)) for name in names} | {"n0": "parallelGateway"}
    flows = {f"{a}-{b}": SequenceFlow(f"{a}-{b}", a, b) for a, b in pairs}
    incoming = [flow for flow, one in flows.items() if one.target == "n0"]
    assume(len(incoming) > 1)
    elements = {name: Element(name, types[name]) for name in names}
    arrived = draw(st.lists(st.sampled_from(incoming), min_size=1, max_size=len(incoming) - 1, unique=True))
    live = draw(st.lists(st.sampled_from(names[1:]), max_size=2, unique=True))
    live = [
        name for name in live if types[name] != "parallelGateway" or sum(f.target == name for f in flows.values()) < 2
    ]
    return Definition(process_id="p", elements=elements, flows=flows), arrived, live


def tokens_of(definition, arrived, live):
    kinds = {name: element.type for name, element in definition.elements.items()}
    waiting = [visit(f"w-{flow}", "n0", flow, "WAITING", element_type="parallelGateway") for flow in arrived]
    return waiting + [visit(f"l-{name}", name, element_type=kinds[name]) for name in live]


def reaches(definition, start, flow, join):
    """Whether a path leads from an element over a flow, not through the join: all simple paths are walked."""

    def walk(element, been):
        if element == join:
            return False
        for one in definition.flows.values():
            if one.source == element:
                if one.id == flow:
                    return True
                if one.target not in been and walk(one.target, been | {one.target}):
                    return True
        return False

    return walk(start, {start})


@given(situations())
def test_upstream_is_what_has_a_path(situation):
    definition, arrived, live = situation
    (join,) = waiting_joins(tokens_of(*situation), definition)
    assert {one.flow for one in join.arrived} == set(arrived)
    for missing in join.missing:
        paths = {name for name in live if reaches(definition, name, missing.flow, "n0")}
        assert {one.element_id for one in missing.upstream} == paths


@given(situations(kinds=("task", "exclusiveGateway")))
def test_without_other_joins_a_flow_can_be_reached_when_it_has_upstream(situation):
    (join,) = waiting_joins(tokens_of(*situation), situation[0])
    assert [flow.possible for flow in join.missing] == [bool(flow.upstream) for flow in join.missing]
    assert join.deadlocked == any(not flow.upstream for flow in join.missing)


MOST_TOKENS, MOST_STATES = 6, 2000


def game(definition, arrived, live):
    """Play the token game every way it can go, within bounds; yields each flow that a token comes over."""
    incoming = {name: [f.id for f in definition.flows.values() if f.target == name] for name in definition.elements}
    outgoing = {name: [f.id for f in definition.flows.values() if f.source == name] for name in definition.elements}

    def leave(name):
        if definition.elements[name].type == "exclusiveGateway":
            return [[flow] for flow in outgoing[name]] or [[]]
        return [outgoing[name]]

    begin = (frozenset(Counter(arrived).items()), frozenset(live))
    left, been = deque([begin]), {begin}
    while left and len(been) < MOST_STATES:
        on_flows, inside = left.popleft()
        marking = Counter(dict(on_flows))
        moves = [(Counter(), inside - {name}, ways) for name in inside for ways in leave(name)]
        for name, element in definition.elements.items():
            joins = element.type == "parallelGateway"
            takes = [incoming[name]] if joins else [[flow] for flow in incoming[name]]
            for taken in takes:
                if taken and all(marking[flow] for flow in taken):
                    moves += [(Counter(taken), inside, ways) for ways in leave(name)]
        for taken, still, ways in moves:
            after = marking - taken + Counter(ways)
            yield from ways
            state = (frozenset(after.items()), still)
            if state not in been and after.total() <= MOST_TOKENS:
                been.add(state)
                left.append(state)


@settings(max_examples=scaled(3))
@given(situations())
@example(
    (
        Definition(
            process_id="p",
            elements={n: Element(n, "parallelGateway" if n == "n0" else "task") for n in ("n0", "n1", "n2")},
            flows={f: SequenceFlow(f, *f.split("-")) for f in ("n1-n0", "n2-n0", "n0-n2")},
        ),
        ["n1-n0"],
        [],
    )
)
def test_what_the_token_game_reaches_is_never_called_impossible(situation):
    definition, arrived, live = situation
    (join,) = waiting_joins(tokens_of(*situation), definition)
    come = set(game(definition, arrived, live))
    assert not [flow.flow for flow in join.missing if flow.flow in come and flow.possible is not True]
