"""Decisions of a simulated instance: counts, timers, scripts."""

from datetime import timedelta

import msgspec
import pytest

from support.recording import START
from support.small_models import END, START_EVENT, around, chain, event, flow, play, process, timer
from tokctl.errors import InputError
from tokctl.simulation.limits import RunLimits

MANY = "multiInstanceLoopCharacteristics"


def instances(count):
    return around(f'<task id="x"><{MANY}><loopCardinality>{count}</loopCardinality></{MANY}></task>')


def wait(value, kind="timeDuration"):
    return around(f'<intermediateCatchEvent id="x">{timer(value, kind)}</intermediateCatchEvent>')


def script(text, language="python"):
    return around(f'<scriptTask id="x" scriptFormat="{language}"><script>{text}</script></scriptTask>')


@pytest.mark.parametrize(
    ("count", "scenario", "started", "is_exact"),
    [
        ("3", "", 3, True),
        ("${n}", "variables: {n: 2}", 2, True),
        ("= n + 1", "variables: {n: 1}", 2, True),
        ("2.0", "", 2, True),
        ("0", "", 0, True),
        ("n", "", 1, False),
        ("-1", "", 1, False),
        ("10001", "", 1, False),
        ("true", "", 1, False),
        ("'many'", "", 1, False),
        ("NaN", "", 1, False),
        ("1e400", "", 1, False),
        ("n", "tasks: {x: {instances: 4}}", 4, True),
        ("3", "tasks: {x: {instances: 0}}", 0, True),
        ("3", "{tasks: {x: {instances: 4}}, cases: {1: {tasks: {x: {instances: 2}}}}}", 2, True),
    ],
)
def test_how_many_instances(count, scenario, started, is_exact):
    played = play(instances(count), scenario)
    assert len(played.sink.at("x")) == 1 + started
    assert (played.notes == {}) == is_exact
    assert is_exact or played.notes["x"].startswith("has one instance: ")


def test_the_items_of_a_collection_are_variables_of_their_instances():
    each = f'<{MANY} camunda:collection="${{orders}}" camunda:elementVariable="order"/>'
    played = play(around(f'<userTask id="x">{each}</userTask>'), "variables: {orders: [7, null, {a: 1}], order: 5}")
    _, *inner = played.sink.at("x")
    assert [msgspec.json.decode(token.variables)["order"] for token in inner] == [7, None, {"a": 1}]
    assert msgspec.json.decode(played.sink.one("e").variables)["order"] == 5


@pytest.mark.parametrize("orders", ["5", "text", "null"])
def test_a_collection_that_is_none(orders):
    each = f'<{MANY} camunda:collection="orders"/>'
    played = play(around(f'<userTask id="x">{each}</userTask>'), f"variables: {{orders: {orders}}}")
    assert (len(played.sink.at("x")), list(played.notes)) == (2, ["x"])


def test_all_instances_together_are_as_many_as_the_steps():
    twice = process(
        f"{START_EVENT}{END}"
        + "".join(f'<task id="{one}"><{MANY}><loopCardinality>6</loopCardinality></{MANY}></task>' for one in "ab")
        + chain("s", "a", "b", "e")
    )
    played = play(twice, "tasks: {default: {takes: 0}}", limits=RunLimits(steps=10))
    assert [len(played.sink.at(one)) - 1 for one in "ab"] == [6, 1]
    assert "more than 10 in all" in played.notes["b"]
    assert play(twice, limits=RunLimits(steps=12)).notes == {}


def test_a_scenario_that_plans_too_many_instances_is_refused():
    with pytest.raises(InputError, match="plans 10001 instances of 'x', not a number from 0 to 10,000"):
        play(instances("3"), "tasks: {x: {instances: 10001}}")


@pytest.mark.parametrize(
    ("value", "kind", "seconds"),
    [
        ("PT5S", "timeDuration", 5),
        ("PT0.5S", "timeDuration", 0.5),
        ("P1D", "timeDuration", 86_400),
        ("P1M", "timeDuration", 31 * 86_400),
        ("'PT' + '7S'", "timeDuration", 7),
        ("${delay}", "timeDuration", 9),
        ("2025-01-11T10:00:30Z", "timeDate", 30),
        ("2025-01-11T12:00:30+02:00", "timeDate", 30),
        ("2020-01-01", "timeDate", 0),
        ("R3/PT10M", "timeCycle", 600),
        ("R3/2025-01-11T10:00:05Z/PT10M", "timeCycle", 5),
    ],
)
def test_when_a_timer_fires(value, kind, seconds):
    played = play(wait(value, kind), "variables: {delay: PT9S}")
    assert played.sink.one("e").created_at - START == timedelta(seconds=seconds)
    assert played.notes == {}


@pytest.mark.parametrize(
    "value", ["", "soon", "${delay}", "P1X", "-PT1S", "5", "P99999Y", "2025-02-30", "0 0 12 * * ?"]
)
def test_a_timer_that_cannot_be_evaluated_takes_as_long_as_a_task(value):
    played = play(wait(value), "tasks: {x: {takes: 42s}}")
    assert played.seconds == 42
    assert played.notes["x"].startswith("its timer fires after the duration of a task: ")


def test_a_timer_that_repeats():
    nudge = event(timer("R2/PT5S", "timeCycle"), interrupts=False, target="nudge")
    played = play(around(f'<task id="x"/>{nudge}'), "tasks: {x: {takes: 1m}}")
    assert [(token.created_at - START).total_seconds() for token in played.sink.at("nudge")] == [5, 10]


SETS = "{variables: {n: 1}, tasks: {x: {sets: {n: 5}}}}"


@pytest.mark.parametrize(
    ("model", "scenario", "n", "note"),
    [
        (script("n = n + 1"), "variables: {n: 1}", 2, None),
        (script("n = n + 1"), SETS, 5, None),
        (script("execution.setVariable('n', 3)", "groovy"), "variables: {n: 1}", 3, None),
        (script("while True: n = 1"), "variables: {n: 1}", 1, "its script is skipped: "),
        (script("while(1);", "javascript"), SETS, 5, "its script is replaced by the variables of the scenario: "),
        (script("n = 1 / 0"), "variables: {n: 1}", 1, "its script is skipped: "),
        (script("n = 2; import os"), "variables: {n: 1}", 1, "its script is skipped: "),
    ],
)
def test_scripts(model, scenario, n, note):
    played = play(model, scenario)
    assert msgspec.json.decode(played.sink.one("x").variables)["n"] == n
    assert (played.notes.get("x") is None) if note is None else played.notes["x"].startswith(note)


def test_trusted_python_runs_as_it_is():
    loop = script("n = 0\nfor i in range(4):\n    n += i")
    assert list(play(loop).notes) == ["x"]
    trusted = play(loop, trust_scripts=True)
    assert (msgspec.json.decode(trusted.sink.one("e").variables)["n"], trusted.notes) == (6, {})
    other = play(script("for (;;) {}", "javascript"), trust_scripts=True)
    assert list(other.notes) == ["x"]
    failed = play(script("n = [][1]"), trust_scripts=True)
    assert (failed.ids, failed.status) == ("s x!", "ACTIVE")
    assert failed.waiting["x"] == "failed: its script fails: IndexError: list index out of range"
    choice = process(
        f'{START_EVENT}<exclusiveGateway id="g" default="g-e"/>{END}<task id="x"/>{chain("s", "g", "e")}'
        + flow("g", "x", "sorted([3, n])[0] == 2")
    )
    assert play(choice, "variables: {n: 2}", trust_scripts=True).ids == "s g x"


def test_a_condition_of_an_event_is_asked_again_when_variables_change():
    when = "<conditionalEventDefinition><condition>n &gt; 1</condition></conditionalEventDefinition>"
    model = process(
        f'{START_EVENT}<intermediateCatchEvent id="x">{when}</intermediateCatchEvent><task id="t"/>'
        + chain("s", "x", "t")
    )
    assert play(model, "{variables: {n: 1}, messages: {x: {after: 7s, sets: {n: 2}}}}").seconds == 8
