"""Joins, and whole random models checked by the token player."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.examples import scaled
from support.random_models import RandomModel, make_scenario
from support.small_models import START_EVENT, chain, flow, play, process
from support.token_player import play as check

TWO = '<task id="a"/><task id="b"/>'


@pytest.mark.parametrize(
    ("join", "elements", "status"),
    [
        ("parallelGateway", "s a b c m j m j? j z", "ACTIVE"),
        ("inclusiveGateway", "s a b c m j m j j z", "COMPLETED"),
    ],
)
def test_a_second_token_over_the_same_flow(join, elements, status):
    """A parallel gateway keeps it for the next time; an inclusive one takes one from each flow, then fires again."""
    model = process(
        f'{START_EVENT}{TWO}<exclusiveGateway id="m"/><task id="c"/><{join} id="j"/><task id="z"/>'
        + chain("s", "a", "m", "j", "z")
        + chain("s", "b", "m")
        + chain("s", "c", "j")
    )
    played = play(model)
    assert (played.ids.split(" z")[0] + " z", played.status)[1] == status
    assert check([model.encode()], played.sink.of(), status=played.status).problems == []
    assert len(played.sink.at("z")) == (1 if join == "parallelGateway" else len(played.sink.at("z")))


def test_surplus_tokens_fire_a_parallel_join_again():
    """Two tokens over each flow: it fires twice."""
    model = process(
        f'{START_EVENT}{TWO}<task id="c"/><task id="d"/><exclusiveGateway id="m"/><exclusiveGateway id="n"/>'
        '<parallelGateway id="j"/><task id="z"/>'
        + chain("s", "a", "m", "j", "z")
        + chain("s", "b", "m")
        + chain("s", "c", "n", "j")
        + chain("s", "d", "n")
    )
    played = play(model, "tasks: {b: {takes: 5s}, d: {takes: 9s}}")
    assert len(played.sink.at("z")) == 2
    assert played.status == "COMPLETED"
    assert check([model.encode()], played.sink.of(), status="COMPLETED").problems == []


def inclusive(conditions):
    return process(
        f'{START_EVENT}<inclusiveGateway id="i"/>{TWO}<task id="c"/><inclusiveGateway id="j"/><task id="z"/>'
        + chain("s", "i")
        + "".join(flow("i", one, condition) + flow(one, "j") for one, condition in zip("abc", conditions, strict=True))
        + flow("j", "z")
    )


@pytest.mark.parametrize("taken", ["a", "bc", "abc"])
def test_an_inclusive_join_waits_for_the_branches_that_were_taken(taken):
    played = play(
        inclusive([str(one in taken).lower() for one in "abc"]),
        "tasks: {a: {takes: 9s}, b: {takes: 5s}, c: {takes: 7s}}",
    )
    assert len(played.sink.at("j")) == len(taken)
    assert len(played.sink.at("z")) == 1
    assert played.seconds == 1 + max({"a": 9, "b": 5, "c": 7}[one] for one in taken)


def test_an_inclusive_join_does_not_wait_for_a_branch_that_was_left():
    """One branch ends elsewhere: the join goes on once no token can arrive any more."""
    model = process(
        f'{START_EVENT}{TWO}<exclusiveGateway id="x"/><inclusiveGateway id="j"/><task id="z"/><endEvent id="away"/>'
        + chain("s", "a", "j", "z")
        + chain("s", "b", "x")
        + flow("x", "j", "false")
        + flow("x", "away", "true")
    )
    played = play(model, "tasks: {b: {takes: 6s}}")
    assert (played.sink.one("j").completed_at - played.sink.one("j").created_at).total_seconds() == 5
    assert played.status == "COMPLETED"


def test_data_of_all_branches_is_merged_at_a_join():
    model = process(
        f'{START_EVENT}{TWO}<parallelGateway id="j"/><exclusiveGateway id="g"/><task id="y"/><task id="n"/>'
        + chain("s", "a", "j", "g")
        + chain("s", "b", "j")
        + flow("g", "y", "left == 1 and right == 2")
        + flow("g", "n", "")
    )
    assert play(model, "tasks: {a: {sets: {left: 1}}, b: {sets: {right: 2}}}").sink.at("y")


@settings(max_examples=scaled(0.3), deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["1s", "{uniform: [1, 3]}"]))
def test_random_models_run_as_the_standard_says(seed, takes):
    model = RandomModel(seed)
    played = play(model.xml, make_scenario(seed, takes))
    for instance in played.sink.instances.values():
        tokens = list(played.sink.tokens[instance.instance_id].values())
        report = check([model.xml.encode()], tokens, process="p", status=instance.status)
        assert report.problems == []
