from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokctl.errors import InputError
from tokctl.simulation import scenario as module
from tokctl.simulation.distributions import (
    ScenarioValueError,
    parse_duration_distribution,
    parse_probability,
    parse_rate,
    parse_seconds,
    parse_value_generator,
)
from tokctl.simulation.scenario import parse_scenario


def drawn(value, count=2000):
    random, draw = Random(1), parse_duration_distribution(value)
    return [draw(random).total_seconds() for _ in range(count)]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("1s", 1),
        ("15m", 900),
        ("1h30m", 5400),
        ("2d", 172_800),
        ("1.5h", 5400),
        (3, 3),
        ("1w", 604_800),
    ],
)
def test_spans(text, seconds):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "5 parsecs", "-1s", -1, None, True, [], "1s2", float("inf"), float("nan")])
def test_no_spans(text):
    with pytest.raises(ScenarioValueError, match="is not a duration"):
        parse_seconds(text)


def test_distributions():
    assert set(drawn({"fixed": "3s"})) == set(drawn("3s")) == {3}
    uniform = drawn({"uniform": ["2s", "4s"]})
    assert 2 <= min(uniform) < 2.1
    assert 3.9 < max(uniform) <= 4
    normal = drawn({"normal": {"mean": "10s", "deviation": "2s"}})
    assert 9.8 < sum(normal) / len(normal) < 10.2
    lognormal = sorted(drawn({"lognormal": {"median": "10s", "sigma": 0.5}}))
    assert 9.5 < lognormal[1000] < 10.5
    exponential = drawn({"exponential": "10s"})
    assert 9.5 < sum(exponential) / len(exponential) < 10.5


@given(st.integers(0, 10**6), st.floats(0, 100), st.floats(0, 50))
def test_nothing_takes_less_than_no_time_and_all_is_whole_milliseconds(seed, mean, deviation):
    span = parse_duration_distribution({"normal": [mean, deviation]})(Random(seed))
    assert span >= timedelta(0)
    assert span.microseconds % 1000 == 0


@pytest.mark.parametrize(("text", "value"), [(0.5, 0.5), ("5%", 0.05), (True, 1), (False, 0), (1, 1)])
def test_probabilities(text, value):
    assert parse_probability(text) == value


@pytest.mark.parametrize("text", [1.5, -0.1, "often", "120%", None])
def test_no_probabilities(text):
    with pytest.raises(ScenarioValueError):
        parse_probability(text)


def test_rates():
    assert [parse_rate(text).gap for text in ("2/s", "10/min", "30/h", "1/5m")] == [0.5, 6, 120, 300]
    for text in ("10", "0/s", "1/year", 5):
        with pytest.raises(ScenarioValueError, match="is not a rate"):
            parse_rate(text)


def test_values():
    random = Random(1)

    def draws(value):
        draw = parse_value_generator(value)
        return [draw(random, number) for number in range(1, 1001)]

    assert set(draws({"any": [1, 2]})[0]) == {"any"}
    assert draws("EUR")[0] == "EUR"
    assert draws({"sequence": "ORD-{:05d}"})[:2] == ["ORD-00001", "ORD-00002"]
    assert draws({"sequence": ["a", "b"]})[:3] == ["a", "b", "a"]
    assert set(draws({"range": [1, 3]})) == {1, 2, 3}
    amounts = draws({"range": [1.00, 9.99]})
    assert all(1 <= amount <= 9.99 and round(amount, 2) == amount for amount in amounts)
    weighted = draws({"choice": {"a": 9, "b": 1, "never": 0}})
    assert 850 < weighted.count("a") < 950
    assert "never" not in weighted
    assert set(draws({"choice": [True, None]})) == {True, None}


def test_the_documented_example_is_read():
    text = module.__doc__.partition("::\n")[2].partition("\nDurations are written")[0]
    scenario = parse_scenario(text)
    assert (scenario.process, scenario.seed, scenario.count, scenario.poisson) == ("order", 7, 1000, True)
    assert scenario.start == datetime(2025, 1, 11, 10, tzinfo=UTC)
    assert scenario.until == timedelta(hours=2)
    assert scenario.task("charge-card").retries.max == 3
    assert scenario.task("ship").hangs == 0.01
    assert scenario.task("check").error == "E-STOCK"
    assert scenario.messages["payment-received"].probability == 0.9
    assert scenario.cases[17].starts == timedelta(minutes=90)


def test_what_is_nearer_goes_first_field_by_field():
    scenario = parse_scenario("""
        tasks:
          default: {takes: 9s, worker: d, retries: 1}
          "pay-*": {takes: 8s, hangs: 10%}
          "*-card": {hangs: 20%, timeout: 1m}
          pay-card: {takes: 7s}
    """)
    random = Random(1)
    task = scenario.task("pay-card")
    assert (task.takes(random).seconds, task.hangs, task.timeout.seconds) == (7, 0.1, 60)
    assert (task.workers, task.retries.max, task.fails) == (("d",), 1, None)
    assert scenario.task("other").takes(random).seconds == 9


def test_a_set_has_the_order_in_which_it_stands():
    draw = parse_scenario("variables: {x: !!set {b, a, c}}").variables["x"]
    assert draw(Random(1), 1) == ["b", "a", "c"]


def test_nothing_is_a_scenario():
    assert parse_scenario("") == parse_scenario("{}") == module.Scenario()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds: 3", "s.yaml: unknown key 'seeds': did you mean 'seed'?"),
        ("tasks: {pay: {tales: 1s}}", "s.yaml: tasks.pay: unknown key 'tales': did you mean 'takes'?"),
        ("tasks: {pay: {takes: soon}}", "s.yaml: tasks.pay.takes: 'soon' is not a duration"),
        ("tasks: {pay: {takes: {unifrom: [1, 2]}}}", "tasks.pay.takes: unknown key 'unifrom': did you mean 'uniform'?"),
        ("tasks: {pay: {takes: {uniform: [2, 1]}}}", "tasks.pay.takes: uniform: the lower limit must come first"),
        ("tasks: {pay: {takes: {normal: 3s}}}", "tasks.pay.takes: normal needs deviation"),
        ("tasks: {pay: {takes: {fixed: 1, uniform: 2}}}", "tasks.pay.takes: expected exactly one of"),
        ("tasks: {pay: {fails: 3}}", "tasks.pay.fails: 3 is not a probability from 0 to 1"),
        ("tasks: {pay: {retries: {max: -1}}}", "tasks.pay.retries.max: -1 is not an integer of 0 or more"),
        ("tasks: {pay: {worker: [1]}}", "tasks.pay.worker: expected a name or a list of names"),
        ("tasks: {pay: {throws: {probability: 1}}}", "tasks.pay.throws.error: the error code is missing"),
        ("tasks: [pay]", "s.yaml: tasks: expected a mapping of names to values."),
        ("variables: {x: {choice: []}}", "variables.x: choice: expected a list of values"),
        ("variables: {x: {choice: {a: 0}}}", "variables.x: choice: weights must be 0 or more"),
        ("variables: {x: {range: [2, 1]}}", "variables.x: range: the lower limit must come first"),
        ("variables: {x: {sequence: 'A-{name}'}}", "variables.x: sequence: invalid text 'A-{name}'"),
        ("instances: 0", "instances.count: 0 is not an integer of 1 or more"),
        ("instances: {count: 2, rate: fast}", "instances.rate: 'fast' is not a rate"),
        ("instances: {arrival: poisson}", "instances.arrival: poisson: the rate is missing"),
        ("instances: {arrival: odd}", "instances.arrival: 'odd' is neither fixed nor poisson"),
        ("cases: {3: {}}", "cases.3: instance not found: instances.count is 1"),
        ("cases: {x: {}}", "cases.x: 'x' is not an integer"),
        ("cases: {1: {tasks: {pay: {takes: x}}}}", "cases.1.tasks.pay.takes: 'x' is not a duration"),
        ("start: yesterday", "start: not a time such as"),
        ("cancel: {after: 1m, lasts: 2m}", "cancel: unknown key 'lasts'"),
        ("seed: [1]", "seed: [1] is neither"),
        ("[1, 2]", "s.yaml: expected a mapping of names to values."),
        ("a: [", "s.yaml, line 2: invalid YAML"),
        ("a: !!python/object:os.system {}", "s.yaml, line 1: invalid YAML"),
        ("a: \x00", "s.yaml: invalid YAML"),
        ("start: 2025-02-30", "s.yaml: invalid YAML: "),
        ("seed: !!int x", "s.yaml: invalid YAML: "),
        ("until: 9999999999d", "s.yaml: until: '9999999999d' is too large."),
        ("cases: {1: {starts: 1e300}}", "s.yaml: cases.1.starts: '1e300' is"),
    ],
)
def test_what_cannot_be_meant_is_one_clear_line(text, message):
    with pytest.raises(InputError) as caught:
        parse_scenario(text, "s.yaml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_scenario_from_an_editor_of_windows(encoding):
    text = "instances: 3\ntasks:\n  Prüfen:\n    takes: 3s\n"
    scenario = parse_scenario(text.replace("\n", "\r\n").encode(encoding))
    assert (scenario.count, list(scenario.tasks)) == (3, ["Prüfen"])
