"""What decided the end, and how much later everything else could have ended."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.builders import NOON, at, token
from support.paths import MODELS
from support.strategies import token_sets
from tokctl.analysis.flow.critical_path import FlowAnalysis
from tokctl.analysis.flow.intervals import find_peak_concurrency
from tokctl.model.times import to_micros
from tokctl.model.visits import Visit
from tokctl.simulation.scenario import parse_scenario
from tokctl.simulation.simulate import read_models, simulate

NOW = at(3600)
SECOND = 1_000_000


def flow(tokens, now=NOW):
    return FlowAnalysis([Visit.from_token(one, flows=True) for one in tokens], now)


def task(name, begin, end, *, parent=None, **fields):
    """A token at an element of its own name; without an end it is live."""
    times = {"created_at": None if begin is None else at(begin)}
    if end is not None:
        times["completed_at"] = times["updated_at"] = at(end)
    return token(
        name,
        **{"element_id": name, "element_type": "serviceTask", "state": "ACTIVE" if end is None else "COMPLETED"}
        | {"parent_token_id": parent}
        | times
        | fields,
    )


def path(found):
    """The critical path as (element, seconds waited before it, seconds it took)."""
    steps = (
        (found.visits[s.node].element_id, s.wait_us / SECOND, s.duration_us / SECOND) for s in found.critical_steps
    )
    return [(element, wait, took) for element, wait, took in steps]


def slacks(found):
    """Slack in seconds by token."""
    micros = {visit.token_id: found.slack_us(n) for n, visit in enumerate(found.visits)}
    return {name: None if slack is None else slack / SECOND for name, slack in micros.items()}


# --- against a second opinion -----------------------------------------------------------------------------

LENGTHS = st.integers(0, 4)


@st.composite
def plans(draw):
    """Pieces of work: what each waits for, how long after that it begins, how long it takes."""
    size = draw(st.integers(1, 7))
    return [
        (
            sorted(draw(st.sets(st.integers(0, n - 1), max_size=3))) if n else [],
            draw(LENGTHS),
            draw(LENGTHS),
            draw(st.sampled_from(["serviceTask", "parallelGateway", None])),
        )
        for n in range(size)
    ]


def carry_out(plan, later=None, by=0):
    """When each piece begins and ends, if one ends so much later."""
    begins, ends = [], []
    for n, (before, lag, takes, _) in enumerate(plan):
        begins.append(max((ends[other] for other in before), default=0) + lag)
        ends.append(begins[n] + takes + (by if n == later else 0))
    return begins, ends


def recorded(plan, chance=None):
    """The same as tokens. A link is told by the parent, by the child, or by the flow history."""
    begins, ends = carry_out(plan)
    children = {n: [] for n in range(len(plan))}
    found = []
    for n, (before, _, _, kind) in enumerate(plan):
        told = list(before)
        parent = f"t{told.pop(0)}" if told and (chance is None or chance.random() < 0.7) else None
        hops = []
        if kind == "parallelGateway" and chance is not None and chance.random() < 0.5:
            hops = [{"from_element": f"t{other}", "via_flow": "f"} for other in before]
        for other in told:
            if not hops or chance.random() < 0.5:
                children[other].append(f"t{n}")
        found.append((n, parent, hops, kind))
    return [
        task(
            f"t{n}",
            begins[n],
            ends[n],
            parent=parent,
            element_type=kind,
            flow_history=hops,
            child_tokens=tuple(children[n]),
        )
        for n, parent, hops, kind in found
    ]


def ways(plan):
    """Every way through a plan, from a piece that waits for nothing to one that nothing waits for."""
    awaited = {other for before, *_ in plan for other in before}

    def back(n):
        before = plan[n][0]
        if not before:
            yield [n]
        for other in before:
            for way in back(other):
                yield [*way, n]

    return [way for n in range(len(plan)) if n not in awaited for way in back(n)]


@given(plans(), st.randoms())
def test_slack_is_exactly_what_can_be_lost(plan, chance):
    found = slacks(flow(recorded(plan, chance)))
    end = max(carry_out(plan)[1])
    for n in range(len(plan)):
        slack = round(found[f"t{n}"])
        assert slack == found[f"t{n}"] >= 0
        assert max(carry_out(plan, n, slack)[1]) == end
        assert max(carry_out(plan, n, slack + 1)[1]) == end + 1


@given(plans(), st.randoms())
def test_the_critical_path_is_the_longest(plan, chance):
    found = flow(recorded(plan, chance))
    nodes = [step.node for step in found.critical_steps]
    lengths = {tuple(way): sum(plan[n][1] + plan[n][2] for n in way) for way in ways(plan)}
    whole = sum(step.wait_us + step.duration_us for step in found.critical_steps) / SECOND
    assert plan[nodes[0]][1] + whole == max(lengths.values()) == lengths[tuple(nodes)]
    assert {found.slack_us(n) for n in nodes} == {0}


@given(plans(), st.randoms())
def test_the_order_of_the_input_means_nothing(plan, chance):
    tokens = recorded(plan)
    mixed = chance.sample(tokens, len(tokens))
    one, other = flow(tokens), flow(mixed)
    assert slacks(one) == slacks(other)
    assert path(one) == path(other)
    assert one.peak == other.peak
    assert [s[:3] for s in one.parallel_periods] == [s[:3] for s in other.parallel_periods]
    assert set(one.bottlenecks) == set(other.bottlenecks)
    assert [one.ends[n] for n in one.completed] == [other.ends[n] for n in other.completed]


@given(token_sets(), st.sampled_from([NOW, at(-10_000_000)]))
def test_whatever_the_data_say_the_figures_hold_together(tokens, now):
    found = flow(tokens, now)
    nodes = [step.node for step in found.critical_steps]
    assert len(set(nodes)) == len(nodes)
    assert all(step.wait_us >= 0 and step.duration_us >= 0 for step in found.critical_steps)
    assert all((slack := found.slack_us(n)) is None or slack >= 0 for n in range(len(tokens)))
    assert bool(nodes) == (len(found.untimed) < len(tokens))
    if nodes:
        assert (
            sum(s.wait_us + s.duration_us for s in found.critical_steps)
            == found.ends[nodes[-1]] - found.begins[nodes[0]]
        )
        assert found.peak == find_peak_concurrency(
            [(found.begins[n], found.ends[n]) for n in range(len(tokens)) if n not in found.untimed | found.containers]
        )
    assert sorted(found.order) == list(range(len(tokens)))
    assert found.path_break is None or found.path_break.reason


# --- one by one -------------------------------------------------------------------------------------------


def test_the_last_to_arrive_decides():
    found = flow(
        [
            task("split", 0, 0, element_type="parallelGateway"),
            task("pay", 0, 3, parent="split"),
            task("pack", 1, 8, parent="split"),
            task(
                "join",
                8,
                8,
                parent="pay",
                element_type="parallelGateway",
                flow_history=[{"from_element": "pay"}, {"from_element": "pack"}],
            ),
            task("ship", 10, 12, parent="join"),
        ]
    )
    assert path(found) == [("split", 0, 0), ("pack", 1, 7), ("join", 0, 0), ("ship", 2, 2)]
    assert slacks(found) == {"split": 0, "pay": 5, "pack": 0, "join": 0, "ship": 0}
    assert found.path_break is None


def test_one_that_waits_at_a_join_has_arrived():
    join = {"element_id": "join", "element_type": "parallelGateway"}
    tokens = [
        task("pay", 0, 3),
        task("pack", 0, 8),
        task("early", 3, 8, parent="pay", child_tokens=("ship",), **join),
        task("late", 8, 8, parent="pack", child_tokens=("ship",), **join),
        task("ship", 8, 9, parent="late"),
    ]
    found = flow(tokens)
    assert [element for element, *_ in path(found)] == ["pack", "join", "ship"]
    assert slacks(found) == {"pay": 5, "pack": 0, "early": 5, "late": 0, "ship": 0}
    assert {b.key: b.total_ms for b in found.bottlenecks} == {"pack": 8000, "pay": 3000, "ship": 1000}
    waiting = flow(
        [tokens[0], task("pack", 0, None), task("early", 3, None, parent="pay", state="WAITING", **join)], at(8)
    )
    assert path(waiting) == [("pack", 0, 8)]
    assert slacks(waiting) == {"pay": 5, "pack": None, "early": 5}
    stopped = flow(
        [tokens[0], task("pack", 0, 8, state="CANCELLED"), task("early", 3, 8, parent="pay", state="CANCELLED", **join)]
    )
    assert path(stopped) == [("pack", 0, 8)]
    assert slacks(stopped) == {"pay": 5, "pack": 0, "early": 5}
    assert {b.key: b.total_ms for b in stopped.bottlenecks} == {"pack": 8000, "pay": 3000}


def test_what_follows_a_sub_process_was_released_by_what_happened_within():
    found = flow(
        [
            task("start", 0, 1),
            task("outer", 1, 10, parent="start", element_type="subProcess"),
            task("quick", 1, 2, parent="outer"),
            task("slow", 2, 10, parent="outer"),
            task("after", 10, 11, parent="outer"),
        ]
    )
    assert path(found) == [("start", 0, 1), ("outer", 0, 1), ("slow", 0, 8), ("after", 0, 1)]
    assert slacks(found) == {"start": 0, "outer": 0, "quick": 8, "slow": 0, "after": 0}
    assert found.peak.max_concurrent == 1
    assert "outer" not in {b.key for b in found.bottlenecks}


def test_a_sub_process_that_stands_for_itself():
    outlasts = [task("outer", 0, 10, element_type="subProcess"), task("inner", 0, 4, parent="outer")]
    assert path(flow(outlasts)) == [("outer", 0, 10)]
    assert slacks(flow(outlasts)) == {"outer": 0, "inner": 6}
    hangs = [
        task("outer", 0, None, element_type="subProcess"),
        task("inner", 0, 4, parent="outer"),
        task("new", 1, None),
    ]
    assert path(flow(hangs, at(9))) == [("outer", 0, 9)]


def test_of_two_that_ended_last_it_is_the_one_that_led_nowhere():
    assert path(flow([task("z", 5, 5), task("b", 5, 5, parent="z")])) == [("z", 0, 0), ("b", 0, 0)]


def test_a_task_with_a_reminder_is_no_sub_process():
    found = flow(
        [
            task("review", 0, 100),
            task("remind", 50, 51, parent="review", element_type="boundaryEvent"),
            task("after", 100, 101, parent="review"),
        ]
    )
    assert path(found) == [("review", 0, 100), ("after", 0, 1)]
    assert slacks(found) == {"review": 0, "remind": 50, "after": 0}
    late = [
        task("start", 0, 1),
        task("review", 1, 9, parent="start"),
        task("remind", 5, 6, parent="review"),
        task("act", 6, 20, parent="remind"),
    ]
    assert slacks(flow(late)) == {"start": 0, "review": 11, "remind": 0, "act": 0}  # a later start is a later reminder


def test_of_a_live_instance_the_path_ends_now():
    found = flow([task("done", 0, 5), task("old", 5, None, parent="done"), task("new", 6, None, parent="done")], at(10))
    assert path(found) == [("done", 0, 5), ("old", 0, 5)]
    assert slacks(found) == {"done": 0, "old": None, "new": None}


def test_a_failed_token_holds_up_the_instance_until_now():
    tokens = [
        task("start", 0, 1),
        task("bad", 1, 2, parent="start", state="FAILED"),
        task("other", 1, 3, parent="start"),
    ]
    found = flow(tokens, at(9))
    assert path(found) == [("start", 0, 1), ("bad", 0, 8)]
    assert slacks(found) == {"start": 0, "bad": None, "other": 6}
    assert found.took(1).ms == 8000
    spent = {one.key: (one.total_ms, one.so_far_ms, one.longest_is_open) for one in found.bottlenecks}
    assert spent == {"bad": (8000, 8000, True), "other": (2000, 0, False), "start": (1000, 0, False)}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"parent_token_id": "nobody"}, "its parent nobody is unknown"),
        ({"parent_token_id": "b"}, "it names itself as its parent"),
        ({"parent_token_id": "later"}, "its parent later started later, has no times, or is its descendant"),
        ({"flow_history": [{"from_element": "x"}]}, "it came from x, where no earlier token is recorded"),
        ({}, "its origin is unknown"),
    ],
)
def test_it_is_said_where_the_path_breaks_off(fields, reason):
    tokens = [task("a", 0, 1), task("b", 2, 9, **fields), task("later", 3, 4)]
    found = flow(tokens)
    assert path(found) == [("b", 0, 7)]
    assert (found.path_break.token_id, found.path_break.reason) == ("b", reason)


def test_a_circle_is_cut():
    found = flow([task("a", 0, 0, parent="c"), task("b", 0, 0, parent="a"), task("c", 0, 0, parent="b")])
    assert found.impossible_links == 1
    assert len(found.critical_steps) == 3


def test_unknown_times():
    tokens = [
        task("first", None, 4, execution_context={"duration_ms": 3000}),
        task("arrived", None, 9, parent="first", flow_history=[{"timestamp": "2025-01-11T12:00:05Z"}]),
        task("unended", 9, None, parent="arrived", state="COMPLETED"),
        task("never", None, None, state="COMPLETED"),
        task("ahead", 90, None, parent="unended"),
        task("back", 9, 2, parent="arrived"),
    ]
    found = flow(tokens, at(20))
    assert [(b - to_micros(NOON)) / SECOND for b in found.begins if b] == [1, 5, 9, 90, 9]
    assert (found.unknown_begin, found.unknown_end, found.untimed) == ({0, 1, 3}, {2, 3}, {3})
    assert found.ends_before_begin == 1
    assert path(found) == [("first", 0, 3), ("arrived", 1, 4), ("unended", 0, 0), ("ahead", 81, 0)]
    assert found.slack_us(3) is None


@pytest.mark.slow
def test_a_chain_of_any_length():
    size = 200_000
    visits = [
        Visit(
            token_id=f"t{n}",
            element_id="e",
            state="COMPLETED",
            parent_token_id=f"t{n - 1}" if n else None,
            created_at=NOON + timedelta(seconds=n),
            completed_at=NOON + timedelta(seconds=n + 1),
        )
        for n in range(size)
    ]
    found = FlowAnalysis(visits[::-1], NOW)
    assert len(found.critical_steps) == size
    assert found.peak.max_concurrent == 1


def test_nothing_and_one():
    assert (flow([]).critical_steps, flow([]).completed, flow([]).peak.max_concurrent, flow([]).path_break) == (
        [],
        [],
        0,
        None,
    )
    assert path(flow([task("only", 0, 5)])) == [("only", 0, 5)]


# --- simulated --------------------------------------------------------------------------------------------


class Kept:
    """A sink that keeps the tokens as they were last."""

    def __init__(self):
        self.tokens = {}

    def put_definition(self, definition):
        pass

    def put(self, instance, tokens):  # noqa: ARG002 - a sink has it
        self.tokens |= {one.token_id: one for one in tokens}


def run(model, scenario):
    """The tokens of a simulation from noon on."""
    sink = Kept()
    simulate(read_models([MODELS / f"{model}.bpmn"]), parse_scenario(scenario), sink, start=NOON)
    return list(sink.tokens.values())


def test_a_simulated_split():
    found = flow(run("parallel", "tasks: {a: {takes: 4s}, b: {takes: 9s}, c: {takes: 1s}}"))
    assert path(found) == [
        ("start", 0, 0),
        ("split", 0, 0),
        ("b", 0, 9),
        ("join", 0, 0),
        ("after", 0, 1),
        ("end", 0, 0),
    ]
    by_element = {found.visits[n].element_id: found.slack_us(n) / SECOND for n in range(len(found.visits))}
    assert (by_element["a"], by_element["c"]) == (5, 8)
    assert found.peak.max_concurrent == 3
    assert found.path_break is None


def test_a_simulated_sub_process_is_walked_through():
    found = flow(run("subprocess", "tasks: {work: {takes: 7s}}"))
    assert [(element, took) for element, _, took in path(found) if took] == [("work", 7), ("after", 1)]
    assert {element for element, *_ in path(found)} == {visit.element_id for visit in found.visits}
    assert found.peak.max_concurrent == 1


def test_a_simulated_loop_is_walked_through():
    found = flow(run("loop", "variables: {n: 0, rounds: 0}"))
    passes = [element for element, *_ in path(found)].count("try")
    assert passes == sum(visit.element_id == "try" for visit in found.visits) > 1
    assert {found.slack_us(n) for n in range(len(found.visits))} == {0}


def test_a_simulated_branch_that_hangs():
    found = flow(run("parallel", "{until: 1h, tasks: {b: {hangs: true}}}"))
    assert path(found)[-1][0] == "b"
    arrived = [n for n, visit in enumerate(found.visits) if visit.element_id == "join"]
    assert len(arrived) == 2
    assert {found.slack_us(n) for n in arrived} == {3599 * SECOND}
