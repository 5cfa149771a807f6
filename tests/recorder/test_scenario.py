from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokctl.errors import InputError
from tokctl.recorder import scenario as module
from tokctl.recorder.draws import DrawError, read_duration, read_probability, read_rate, read_span, read_value
from tokctl.recorder.scenario import read_scenario


def drawn(value, count=2000):
    random, draw = Random(1), read_duration(value)
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
    assert read_span(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "5 parsecs", "-1s", -1, None, True, [], "1s2", float("inf"), float("nan")])
def test_no_spans(text):
    with pytest.raises(DrawError, match="is no span of time"):
        read_span(text)


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
    span = read_duration({"normal": [mean, deviation]})(Random(seed))
    assert span >= timedelta(0)
    assert span.microseconds % 1000 == 0


@pytest.mark.parametrize(("text", "value"), [(0.5, 0.5), ("5%", 0.05), (True, 1), (False, 0), (1, 1)])
def test_probabilities(text, value):
    assert read_probability(text) == value


@pytest.mark.parametrize("text", [1.5, -0.1, "often", "120%", None])
def test_no_probabilities(text):
    with pytest.raises(DrawError):
        read_probability(text)


def test_rates():
    assert [read_rate(text).gap for text in ("2/s", "10/min", "30/h", "1/5m")] == [0.5, 6, 120, 300]
    for text in ("10", "0/s", "1/year", 5):
        with pytest.raises(DrawError, match="is no rate"):
            read_rate(text)


def test_values():
    random = Random(1)

    def draws(value):
        draw = read_value(value)
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
    text = module.__doc__.partition("::\n")[2].partition("\nSpans are written")[0]
    scenario = read_scenario(text)
    assert (scenario.process, scenario.seed, scenario.count, scenario.poisson) == ("order", 7, 1000, True)
    assert scenario.start == datetime(2025, 1, 11, 10, tzinfo=UTC)
    assert scenario.until == timedelta(hours=2)
    assert scenario.task("charge-card").retries.max == 3
    assert scenario.task("ship").hangs == 0.01
    assert scenario.task("check").error == "E-STOCK"
    assert scenario.messages["payment-received"].probability == 0.9
    assert scenario.cases[17].starts == timedelta(minutes=90)


def test_what_is_nearer_goes_first_field_by_field():
    scenario = read_scenario("""
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
    draw = read_scenario("variables: {x: !!set {b, a, c}}").variables["x"]
    assert draw(Random(1), 1) == ["b", "a", "c"]


def test_nothing_is_a_scenario():
    assert read_scenario("") == read_scenario("{}") == module.Scenario()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds: 3", "s.yaml: unknown key 'seeds': did you mean 'seed'?"),
        ("tasks: {pay: {tales: 1s}}", "s.yaml: tasks.pay: unknown key 'tales': did you mean 'takes'?"),
        ("tasks: {pay: {takes: soon}}", "s.yaml: tasks.pay.takes: 'soon' is no span of time"),
        ("tasks: {pay: {takes: {unifrom: [1, 2]}}}", "tasks.pay.takes: unknown key 'unifrom': did you mean 'uniform'?"),
        ("tasks: {pay: {takes: {uniform: [2, 1]}}}", "tasks.pay.takes: uniform needs its low end first"),
        ("tasks: {pay: {takes: {normal: 3s}}}", "tasks.pay.takes: normal needs deviation"),
        ("tasks: {pay: {takes: {fixed: 1, uniform: 2}}}", "tasks.pay.takes: needs exactly one of"),
        ("tasks: {pay: {fails: 3}}", "tasks.pay.fails: 3 is no probability from 0 to 1"),
        ("tasks: {pay: {retries: {max: -1}}}", "tasks.pay.retries.max: -1 is no whole number of 0 or more"),
        ("tasks: {pay: {worker: [1]}}", "tasks.pay.worker: needs a name, or a list of names"),
        ("tasks: {pay: {throws: {probability: 1}}}", "tasks.pay.throws.error: needs the error's code"),
        ("tasks: [pay]", "s.yaml: tasks: needs fields with values."),
        ("variables: {x: {choice: []}}", "variables.x: choice needs a list of values"),
        ("variables: {x: {choice: {a: 0}}}", "variables.x: choice needs weights"),
        ("variables: {x: {range: [2, 1]}}", "variables.x: range needs its low end first"),
        ("variables: {x: {sequence: 'A-{name}'}}", "variables.x: sequence cannot use 'A-{name}'"),
        ("instances: 0", "instances.count: 0 is no whole number of 1 or more"),
        ("instances: {count: 2, rate: fast}", "instances.rate: 'fast' is no rate"),
        ("instances: {arrival: poisson}", "instances.arrival: poisson needs a rate"),
        ("instances: {arrival: odd}", "instances.arrival: 'odd' is neither fixed nor poisson"),
        ("cases: {3: {}}", "cases.3: there is no such instance: there are 1"),
        ("cases: {x: {}}", "cases.x: 'x' is no whole number"),
        ("cases: {1: {tasks: {pay: {takes: x}}}}", "cases.1.tasks.pay.takes: 'x' is no span"),
        ("start: yesterday", "start: no time such as"),
        ("cancel: {after: 1m, lasts: 2m}", "cancel: unknown key 'lasts'"),
        ("seed: [1]", "seed: [1] is neither"),
        ("[1, 2]", "s.yaml: needs fields with values."),
        ("a: [", "s.yaml, line 2: no YAML"),
        ("a: !!python/object:os.system {}", "s.yaml, line 1: no YAML"),
        ("a: \x00", "s.yaml: no YAML"),
        ("start: 2025-02-30", "s.yaml: no YAML: day is out of range"),
        ("seed: !!int x", "s.yaml: no YAML: invalid literal"),
    ],
)
def test_what_cannot_be_meant_is_one_clear_line(text, message):
    with pytest.raises(InputError) as caught:
        read_scenario(text, "s.yaml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
