"""Tokens against the engines' own answers: states, times, parents, flows, and what they wait for."""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import closing
from datetime import datetime, timedelta

import pytest

import tokctl
from live.driving import MODELS
from live.raw_answers import RawWait
from live.scenarios import CALLED, CASES, ORDER
from tokctl.bpmn.parser import read_definitions
from tokctl.model.filters import ALL_TOKENS, SortOrder
from tokctl.model.states import FINAL_STATES

JOINS = {"join", "meet", "all"}
MULTI_INSTANCE = {"sign", "pick", "inspect"}


def time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


@pytest.fixture(scope="module")
def models() -> dict:
    """Process id → its model."""
    return {one.process_id: one for path in MODELS.glob("*.bpmn") for one in read_definitions(path.read_bytes())}


def test_live_tokens_are_where_the_scenarios_left_them(live):
    found = {name: [(token["element_id"], token["state"]) for token in live.live_leaves(name)] for name in live.cases}
    expected = {name: sorted(case.live_on(live.name)) for name, case in CASES.items()}
    assert found == expected | {f"{name}/called": sorted(tokens) for name, tokens in CALLED.items()}


def test_every_visit_is_a_token(live):
    """With the engine's id, its element, its times and how it ended; no other tokens but jobs that never ran."""
    for name, instance in live.cases.items():
        visits = live.raw.visits(instance)
        tokens = {token["token_id"]: token for token in live.tokens[instance]}
        assert visits.keys() <= tokens.keys(), name
        assert {tokens[other]["element_id"] for other in tokens.keys() - visits.keys()} <= {"compute"}, name
        for visit_id, visit in visits.items():
            token = tokens[visit_id]
            about = name, token
            assert token["element_id"] == visit.element, about
            # no row tells when exactly a boundary event of Flowable fired
            margin = timedelta(seconds=token["element_type"] == "boundaryEvent")
            assert abs(time(token["created_at"]) - visit.started_at) <= margin, about
            if visit.ended_at is None:
                assert token["state"] not in FINAL_STATES, about
            elif visit.cancelled:
                assert token["state"] == "CANCELLED", about
                assert time(token["cancelled_at"]) == visit.ended_at, about
            elif not (token["state"] == "WAITING" and token["element_id"] in JOINS):
                assert token["state"] == "COMPLETED", about
                assert time(token["completed_at"]) - visit.ended_at <= margin or token["element_id"] in JOINS, about


def test_parents_are_tokens_that_began_before(live):
    for instance in live.cases.values():
        tokens = {token["token_id"]: token for token in live.tokens[instance]}
        for token in tokens.values():
            parent = token["parent_token_id"]
            if parent is not None:
                assert tokens[parent]["created_at"] <= token["created_at"], token


def test_hops_follow_the_model(live, models):
    """Each hop leads along a flow of the model, to the element of the token."""
    hops = 0
    for instance in live.cases.values():
        for token in live.tokens[instance]:
            flows = models[token["process_id"]].flows
            for hop in token["flow_history"] or ():
                if hop.get("via_flow"):
                    hops += 1
                    flow = flows[hop["via_flow"]]
                    assert flow.target == token["element_id"]
                    assert hop["from_element"] in {None, flow.source}
    assert hops > 200


def test_recorded_flows_are_those_of_flowable(flowable, models):
    """Each flow leads to a token, but for a job that was cancelled before it ran; several instances share one."""
    for name, instance in flowable.cases.items():
        tokens = flowable.tokens[instance]
        told = Counter(hop["via_flow"] for token in tokens for hop in token["flow_history"] or () if hop["via_flow"])
        flows = models[flowable.instances[instance].process].flows
        visited = {token["element_id"] for token in tokens}
        recorded = Counter(flow for flow in flowable.raw.flows(instance) if flows[flow].target in visited)
        shared = {flow for flow in told if flows[flow].target in MULTI_INSTANCE}
        assert told.keys() == recorded.keys()
        assert {flow: told[flow] for flow in told.keys() - shared} == {
            flow: recorded[flow] for flow in recorded.keys() - shared
        }, name


def test_an_instance_alone_looks_the_same_as_in_the_list_of_all(live):
    with closing(tokctl.open_engine(server=live.url)) as engine:
        for instance in live.cases.values():
            alone = {token.token_id: token for token in engine.tokens(instance, ALL_TOKENS, SortOrder("created"))}
            assert len(alone) == len(live.tokens[instance])
            for token in live.tokens[instance]:
                same = alone[token["token_id"]]
                assert (same.state, same.element_id, same.parent_token_id) == (
                    token["state"],
                    token["element_id"],
                    token["parent_token_id"],
                )


def test_what_tokens_wait_for(live):
    """People with their tasks, messages and signals by name."""
    checked = Counter()
    for name in CASES:
        raw = live.raw.waits(live.cases[name])
        for token in live.live_leaves(name):
            context = token["execution_context"] or {}
            kind, _, rest = context.get("waiting_for", "").partition(":")
            if kind in {"message", "signal"}:
                assert RawWait(token["element_id"], kind, rest) in raw, (name, token)
            elif kind == "user_task":
                due = time(context.get("due_at"))
                assert RawWait(token["element_id"], kind, rest, due, context.get("assignee")) in raw, (name, token)
            checked[kind] += 1
    assert checked["user_task"] > 20
    assert checked["message"] > 0
    assert checked["signal"] > 0


@pytest.mark.parametrize(
    ("name", "element", "waiting_for"),
    [
        ("approval-new", "review", "user_task:"),
        ("waiting-message", "paid", "message:paid"),
        ("waiting-signal", "go", "signal:go"),
        ("waiting-timer", "pause", "timer:"),
        ("worker-free", "pay", "external_task:pay"),
        ("worker-retried", "pay", "external_task:pay"),
        ("calling-waiting", "call", "call_activity:"),
        ("retrying", "compute", "job:"),
    ],
)
def test_kinds_of_waiting(live, name, element, waiting_for):
    (token,) = live.live_leaves(name)
    assert token["element_id"] == element
    assert token["execution_context"]["waiting_for"].startswith(waiting_for)


def test_timers_are_due_when_the_engine_says(live):
    (token,) = live.live_leaves("waiting-timer")
    assert [time(token["execution_context"]["due_at"])] == live.raw.timers(live.cases["waiting-timer"])


def test_people_and_their_dates(live):
    (token,) = live.live_leaves("approval-new")
    assert token["execution_context"]["assignee"] == "mary"
    assert time(token["execution_context"]["due_at"]) == datetime.fromisoformat("2031-12-24T12:00:00Z")


def test_workers(live):
    (token,) = live.live_leaves("worker-locked")
    assert token["execution_context"]["worker_id"] == "worker-1"
    assert token["execution_context"]["timeout_at"] is not None
    (free,) = live.live_leaves("worker-free")
    assert (free["execution_context"] or {}).get("worker_id") is None


@pytest.mark.parametrize("name", sorted(CALLED))
def test_called_instances(live, name):
    (call,) = (token for token in live.tokens[live.cases[name]] if token["element_id"] == "call")
    assert call["execution_context"]["called_instance_id"] == live.cases[f"{name}/called"]


def test_elements_have_the_types_and_names_of_the_model(live, models):
    for instance in live.cases.values():
        for token in live.tokens[instance]:
            element = models[token["process_id"]].elements[token["element_id"]]
            assert token["element_type"] == element.type, token
            if token["process_id"] != "moving":  # whose second version has other names
                assert (token["element_name"] or None) == (element.name or None), token


def test_variables(live):
    shown = live.ask("instances", "show", live.cases["approval-new"])["variables"]
    raw = live.raw.variables(live.cases["approval-new"])
    assert shown == raw | ({"order": ORDER["order"]} if live.name == "flowable" else {})
    assert shown["name"] == ORDER["name"]
    shown = live.ask("instances", "show", live.cases["worker-halfway"])["variables"]
    # Flowable does not send objects that it has serialized; tokctl does not call them null
    parcels = {"unknown": "serializable"} if live.name == "flowable" else "[1, 2]"
    assert shown == {"paid": 12, "parcels": parcels, "nothing": None}


def test_loops_have_a_token_for_each_pass(live):
    passes = defaultdict(int)
    for token in live.tokens[live.cases["looping"]]:
        passes[token["element_id"]] += 1
    assert passes == {"start": 1, "count": 4, "enough": 4, "read": 1}
    chain, at = [], live.live_leaves("looping")[0]
    tokens = {token["token_id"]: token for token in live.tokens[live.cases["looping"]]}
    while at is not None:
        chain.append(at["element_id"])
        at = tokens.get(at["parent_token_id"])
    assert chain == ["read", *["enough", "count"] * 4, "start"]


@pytest.mark.parametrize(
    ("name", "element", "entered_by"),
    [
        ("approval-new", "start", "start"),
        ("nested-half", "begin", "scope"),
        ("guarded-late", "late", "boundary_event"),
        ("changing-changed", "change", "event"),
        ("travelling-undone", "cancel_hotel", "compensation"),
        ("joining-moved", "send", "modification"),
        ("moving-skipped", "second", "modification"),
    ],
)
def test_how_elements_without_a_flow_were_entered(live, name, element, entered_by):
    found = [token for token in live.tokens[live.cases[name]] if token["element_id"] == element]
    assert {token["execution_context"]["entered_by"] for token in found} == {entered_by}


def test_migrated_instances_have_the_names_of_their_new_version(live):
    names = {name: live.live_leaves(name)[0]["element_name"] for name in ("moving-migrated-later", "moving-skipped")}
    assert names == {"moving-migrated-later": "Second step", "moving-skipped": "Second"}
    assert live.instances[live.cases["moving-migrated-later"]].version == 2


def test_only_what_an_engine_has_recorded_is_said_to_be_recorded(operaton, flowable):
    """Operaton records no flow; Flowable all but those around changes by operators."""

    def certainties(engine):
        return Counter(
            hop.get("certainty", "recorded")
            for tokens in engine.tokens.values()
            for token in tokens
            for hop in token["flow_history"] or ()
        )

    assert certainties(operaton).keys() == {"reconstructed"}
    assert certainties(flowable)["recorded"] > 200
