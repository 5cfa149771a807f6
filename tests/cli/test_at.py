"""``--at``: what the commands that take it show of the past."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from support.builders import DOCUMENTED
from tokctl.bpmn.parser import read_definitions
from tokctl.model.times import format_time
from tokctl.simulation import simulation as simulated
from tokctl.simulation.demo import load_demo
from tokctl.simulation.scenario import parse_scenario
from tokctl.simulation.simulate import simulate
from tokctl.store import open_store
from tokctl.store.sink import StoreSink

START = datetime(2025, 1, 11, 8, tzinfo=UTC)
END = START + timedelta(hours=3)
THEN = START + timedelta(hours=2, seconds=12)
# No workers, no retries and no failures: what nobody dates would be missing from the past.
SCENARIO = """
process: order-processing
seed: 3
until: 3h
instances: {count: 12, rate: 6/h}
variables: {orderId: {sequence: "O-{}"}, amount: 50, paymentMethod: {choice: [credit, invoice]}}
tasks: {default: {takes: {uniform: [3m, 15m]}}, pick-items: {takes: 25m}}
suspend: {after: 21m, lasts: 30m, probability: 40%}
"""


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """A store as it was filled in the end, and one as it was at a moment of the same simulation."""
    folder = tmp_path_factory.mktemp("at")
    models, _ = load_demo()
    scenario = parse_scenario(SCENARIO)
    with (
        open_store(str(folder / "end.db"), write=True, create=True) as store,
        StoreSink(store, batch_size=1000) as sink,
    ):
        simulate(models, scenario, sink, start=START)

    class Stopped(simulated.Conversation):
        def until(self, stop):
            super().until(min(stop, THEN))

    with (
        open_store(str(folder / "then.db"), write=True, create=True) as store,
        StoreSink(store, batch_size=1000) as sink,
    ):
        for name, xml in models:
            for definition in read_definitions(xml, name):
                sink.put_definition(definition)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(simulated, "Conversation", Stopped)
            patch.setattr("tokctl.simulation.simulate.starts", _until(THEN))
            simulate(models, scenario, sink, start=START)
    return folder / "end.db", folder / "then.db"


def _until(moment):
    from tokctl.simulation.simulate import starts

    return lambda *given: [(number, time) for number, time in starts(*given) if time <= moment]


@pytest.fixture
def both(tokctl, recordings):
    """Run a command line with ``--at`` over the end, and over what stood then; returns both outputs."""

    def call(*words):
        end, then = recordings
        past = tokctl(*words, "--store", end, "--at", format_time(THEN), now=END, width=300)
        present = tokctl(*words, "--store", then, now=THEN, width=300)
        assert (past.code, past.err) == (present.code, present.err) == (0, "")
        return past.out, present.out

    return call


def test_what_tables_show_of_the_past_is_what_they_showed(both):
    def known(table):  # ~ marks a state that was derived, and makes its column wider
        return table.replace("~", "").split()

    past, present = both("instances", "list", "--limit", "0")
    assert known(past) == known(present)
    past, present = both(
        "instances",
        "list",
        "--live",
        "--sort",
        "-live",
        "-n",
        "3",
        "-o",
        "csv",
        "--columns",
        "instance_id,status,live_tokens,lasted_seconds",
    )
    assert past == present
    ids = both("instances", "list", "-o", "id")[1].split()
    assert len(ids) == 12
    for instance_id in ("@latest", *ids):
        for command in (["tokens", "list"], ["tokens", "tree"], ["tokens", "history"], ["flow"]):
            past, present = both(*command, instance_id)
            assert known(past) == known(present)
        past, present = both("tokens", "list", instance_id, "--state", "WAITING,SUSPENDED", "-o", "id")
        assert past == present
    states = both("instances", "list", "-o", "csv", "--columns", "status")[1]
    assert {"ACTIVE", "SUSPENDED", "COMPLETED"} <= set(states.split())


def test_what_is_worked_out_of_the_past_is_what_was_worked_out_then(both):
    """The commands that the findings of ``debug --at`` name are among them."""
    past, present = (json.loads(out) for out in both("perf", "-o", "json"))
    assert past == present
    assert past["live_tokens"] > 0
    explained = 0
    for instance_id in both("instances", "list", "--live", "-o", "id")[1].split():
        for token_id in both("tokens", "list", instance_id, "--live", "-o", "id")[1].split():
            past, present = (json.loads(out) for out in both("explain", instance_id, token_id, "-o", "json"))
            assert (past["verdict"], past["since"]) == (present["verdict"], present["since"])
            undated = "If it fails"  # how many retries were left nobody dates
            assert past["sentences"] == [line for line in present["sentences"] if not line.startswith(undated)]
            assert " --at " in past["next"][0]
            explained += 1
    assert explained > 3


def test_spans_and_ages_are_those_of_the_moment(tokctl, recordings):
    end, _ = recordings
    line = ("instances", "list", "--store", end, "-o", "csv", "--columns", "instance_id,age_seconds")
    past = tokctl(*line, "--at", format_time(THEN), "--since", "20m", now=END)
    assert past.out == tokctl(*line, "--at", "59m48s", "--since", "20m", now=END).out
    ages = [float(row.split(",")[1]) for row in past.out.splitlines()[1:]]
    assert 0 <= min(ages) < 1200 + 12
    assert tokctl(*line, "--at", "now", now=END).out == tokctl(*line, now=END).out


ID = "srv1-aB3dEf9hK2mN5pQ8uV"
GATEWAY = "srv1-token-eF5gH9iJ2kL4"


def test_a_saved_answer_as_it_stood(tokctl):
    def listed(*words):
        return json.loads(tokctl("tokens", "list", "--file", DOCUMENTED, "-o", "json", *words).out)

    past = listed("--at", "2025-01-11T10:31:28Z")
    assert [(one["element_id"], one["state"], one.get("state_derived")) for one in past["tokens"]] == [
        ("validate-order", "COMPLETED", None),
        ("payment-gateway", "ACTIVE", True),
    ]
    assert (past["summary"]["active_tokens"], past["summary"]["total_tokens"]) == (1, 2)
    gateway = past["tokens"][1]
    assert (gateway["updated_at"], gateway["completed_at"], gateway["variables"], gateway["child_tokens"]) == (
        None,
        None,
        None,
        [],
    )
    assert past["tokens"][0]["child_tokens"] == []
    assert listed("--at", "2025-01-11T10:31:30.789Z") == listed()
    table = tokctl("tokens", "list", "--file", DOCUMENTED, "--at", "2025-01-11T10:31:28Z").out
    assert "ACTIVE~" in table
    assert "2.3s…" in table
    shown = tokctl("tokens", "show", GATEWAY, "--file", DOCUMENTED, "--at", "2025-01-11T10:31:28Z").out
    assert "ACTIVE~" in shown
    shown = tokctl("instances", "show", "--file", DOCUMENTED, "--at", "2025-01-11T10:31:28Z").out
    assert "payment-gateway" in shown or "Payment Method?" in shown


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["tokens", "list", "--at", "2030-01-01"], 2, "--at 2030-01-01 is in the future"),
        (["tokens", "list", "--at", ""], 2, "invalid time"),
        (["tokens", "tree", "--at", "noon"], 2, "invalid time"),
        (["tokens", "list", "--at", "2025-01-11T10:00:00Z"], 3, "no process instances found"),
        (["instances", "show", "@latest", "--at", "2025-01-01"], 3, "@latest: no process instances found"),
        (
            ["tokens", "tree", ID, "--at", "2025-01-11 10:30Z"],
            3,
            f"process instance '{ID}' had not started at 2025-01-11T10:30:00.000Z",
        ),
        (["tokens", "tree", "nope", "--at", "2025-01-11 10:30Z"], 3, "no process instance 'nope'"),
        (["tokens", "show", GATEWAY, "--at", "2025-01-11T10:31:00Z"], 3, "no token"),
    ],
)
def test_moments_that_show_nothing(tokctl, words, code, said):
    ran = tokctl(*words, "--file", DOCUMENTED)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err


def test_the_first_day_of_the_calendar_in_a_zone_east_of_utc(shell):
    ran = shell("tokens", "list", "--at", "0001-01-01", "--file", DOCUMENTED, env={"TZ": "Asia/Kathmandu"})
    assert (ran.code, ran.err) == (3, "error: no process instances found.\n")


def test_a_command_without_a_past_refuses_it(tokctl, own_store):
    ran = tokctl("--at", "5m", "store", "info", "--store", own_store)
    assert (ran.code, ran.out) == (2, "")
    assert "'tokctl store info' does not support --at" in ran.err
