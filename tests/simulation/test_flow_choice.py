from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.small_models import START_EVENT, chain, flow, play, process
from tokctl.bpmn.execution_details import Expression
from tokctl.model.definitions import Element, SequenceFlow
from tokctl.simulation.flow_choice import FlowChoice, choose
from tokctl.simulation.safe_evaluation import CannotEvaluate

OUTCOMES = st.sampled_from(["true", "false", "unknown", "none"])  # of the condition of a flow
PLANS = st.sampled_from([None, None, "always", "never", 0.0, 0.3, 1.0])


@st.composite
def choices(draw, *, exclusive):
    outcomes = draw(st.lists(OUTCOMES, min_size=1, max_size=5))
    names = [f"f{number}" for number in range(len(outcomes))]
    default = draw(st.sampled_from([None, *names]))
    plans = {name: plan for name in names if (plan := draw(PLANS)) is not None}
    element = Element("x", "exclusiveGateway" if exclusive else "inclusiveGateway", default_flow=default)
    flows = tuple(SequenceFlow(name, "x", name) for name in names)
    conditions = {n: Expression(text) for n, text in zip(names, outcomes, strict=True) if text != "none"}
    return FlowChoice(element, flows, conditions, exclusive), plans


def is_met(condition):
    if condition.text == "unknown":
        raise CannotEvaluate("is unknown")
    return condition.text == "true"


def outcome(choice, name):
    return choice.conditions[name].text if name in choice.conditions else "none"


@given(choices(exclusive=True), st.integers(0, 999))
def test_an_exclusive_choice(given_choice, seed):
    choice, plans = given_choice
    chosen = choose(choice, plans, is_met, Random(seed))
    names = [one.id for one in choice.flows if plans.get(one.id) != "never"]
    assert set(chosen.flows) <= set(names)
    assert len(chosen.flows) <= 1
    if always := [name for name in names if plans.get(name) == "always"]:
        assert chosen.flows == (always[0],)
    elif any(isinstance(plans.get(name), float) for name in names):
        assert len(chosen.flows) == 1
    else:
        default = choice.element.default_flow
        asked = [name for name in names if name != default and outcome(choice, name) != "none"]
        first = next((name for name in asked if outcome(choice, name) == "true"), None)
        before = asked if first is None else asked[: asked.index(first)]
        maybe = {name for name in before if outcome(choice, name) == "unknown"}
        rest = {name for name in names if name != default and outcome(choice, name) == "none"} or {default} & set(names)
        allowed = maybe | ({first} if first else rest)
        assert set(chosen.flows) <= allowed
        assert bool(chosen.flows) == bool(allowed)
        assert (chosen.reason is not None) == (bool(maybe) or (first is None and len(rest) > 1))


@given(choices(exclusive=False), st.integers(0, 999))
def test_an_inclusive_choice(given_choice, seed):
    choice, plans = given_choice
    chosen = choose(choice, plans, is_met, Random(seed))
    names = [one.id for one in choice.flows if plans.get(one.id) != "never"]
    default = choice.element.default_flow
    asked = [name for name in names if name != default or name in plans]
    sure = {n for n in asked if plans.get(n, outcome(choice, n)) in {"always", "true", "none", 1.0}}
    never = {n for n in asked if plans.get(n, outcome(choice, n)) in {"false", 0.0}}
    assert sure <= set(chosen.flows) <= set(names) - never
    possible = set(asked) - never or ({default} & set(names)) - never
    assert bool(chosen.flows) == bool(possible)
    unknown = any(name not in plans and outcome(choice, name) == "unknown" for name in asked)
    assert (chosen.reason is not None) == unknown


@pytest.mark.parametrize(
    ("plans", "shares"),
    [
        ({"a": 0.7}, (0.7, 0.15, 0.15)),
        ({"a": 0.7, "b": 0.3}, (0.7, 0.3, 0.0)),
        ({"a": 1.0, "b": 1.0}, (0.5, 0.5, 0.0)),
        ({"a": 0.0}, (0.0, 0.5, 0.5)),
        ({"a": 0.5, "b": "never"}, (0.5, 0.0, 0.5)),
        ({}, (1 / 3, 1 / 3, 1 / 3)),
    ],
)
def test_the_shares_of_the_flows(plans, shares):
    choice = FlowChoice(
        Element("x", "exclusiveGateway"), tuple(SequenceFlow(one, "x", one) for one in "abc"), {}, exclusive=True
    )
    random = Random(1)
    chosen = [choose(choice, plans, is_met, random).flows[0] for _ in range(4000)]
    for name, share in zip("abc", shares, strict=True):
        assert chosen.count(name) / 4000 == pytest.approx(share, abs=0.03)
        assert share or name not in chosen


MODEL = process(
    f'{START_EVENT}<exclusiveGateway id="g"/><task id="a"/><task id="b"/>{chain("s", "g")}'
    + flow("g", "a", "amount &gt; 5", "big")
    + flow("g", "b", "", "small")
)


def test_the_scenario_comes_before_the_condition_and_a_case_before_the_scenario():
    assert play(MODEL, "variables: {amount: 9}").ids == "s g a"
    assert play(MODEL, "{variables: {amount: 9}, flows: {big: never}}").ids == "s g b"
    case = play(MODEL, "{flows: {big: never}, cases: {1: {flows: {big: always}}}}")
    assert (case.ids, case.notes) == ("s g a", {})


def test_chance_gives_its_reason_and_the_same_seed_the_same_choice():
    plays = [play(MODEL, f"{{seed: {seed}, instances: 20}}") for seed in (1, 1, 2)]
    assert plays[0].notes == {"g": "chance chose its flow: 'amount' is not defined"}
    ways = [
        [[token.element_id for token in tokens.values()][-1] for tokens in one.sink.tokens.values()] for one in plays
    ]
    assert ways[0] == ways[1] != ways[2]
    assert set(ways[0]) == {"a", "b"}


def test_no_flow_that_can_be_taken_is_an_incident():
    played = play(MODEL, "flows: {big: never, small: never}")
    assert (played.ids, played.status) == ("s g!", "ACTIVE")
    assert "the scenario excludes" in played.waiting["g"]
