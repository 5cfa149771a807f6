"""Recorded instances of Camunda 7 and Operaton as tokens: states, parents, waits, errors, variables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from support.camunda import RECORDED_AT, named_tokens, open_camunda, open_fake, parent_elements
from support.fake_camunda import FakeCamunda
from support.paths import RECORDINGS
from support.replay_server import ReplayServer
from tokctl.engines.projection import Projection
from tokctl.model.states import FAILED, SUSPENDED
from tokctl.services.inspection import explain_instance, read_tree_rows

KINDS = ("camunda7", "operaton")

STATES = {
    "order4": {
        "start": ["COMPLETED"],
        "reserve": ["COMPLETED"],
        "split": ["COMPLETED"],
        "pay": ["COMPLETED"],
        "ship": ["FAILED"],
        "join": ["WAITING"],
    },
    "order6": {
        "start": ["COMPLETED"],
        "reserve": ["COMPLETED"],
        "split": ["COMPLETED"],
        "pay": ["FAILED"],
        "ship": ["COMPLETED"],
        "join": ["WAITING"],
    },
    "order12": {  # modified: pay was cancelled, approve started
        "start": ["COMPLETED"],
        "reserve": ["COMPLETED"],
        "split": ["COMPLETED"],
        "pay": ["CANCELLED"],
        "ship": ["COMPLETED"],
        "join": ["WAITING"],
        "approve": ["WAITING"],
    },
    "order20": {"start": ["COMPLETED"], "reserve": ["ACTIVE"]},  # locked by a worker
    "order24": {"start": ["COMPLETED"], "reserve": ["CANCELLED"]},  # deleted
    "nested1": {
        "start": ["COMPLETED"],
        "prepare": ["COMPLETED"],
        "p_start": ["COMPLETED"],
        "review": ["COMPLETED"] * 4,  # the multi-instance activity and its three instances
        "p_end": ["COMPLETED"],
        "bill": ["FAILED"],  # the incident of the called instance
    },
    "child_of_nested1": {"start": ["COMPLETED"], "invoice": ["FAILED"]},
    "nested4": {
        "start": ["COMPLETED"],
        "prepare": ["SUSPENDED"],
        "p_start": ["COMPLETED"],
        "review": ["SUSPENDED", "COMPLETED", "SUSPENDED", "SUSPENDED"],
    },
    "nested9": {  # the timer of the sub-process fired
        "start": ["COMPLETED"],
        "prepare": ["CANCELLED"],
        "p_start": ["COMPLETED"],
        "review": ["CANCELLED"] * 4,
        "late": ["COMPLETED"],
        "lapsed": ["COMPLETED"],
    },
    "trip0": {
        "start": ["COMPLETED"],
        "hotel": ["COMPLETED"],
        "flight": ["COMPLETED"],
        "ok": ["COMPLETED"],
        "back": ["COMPLETED"],
        "cancel_hotel": ["COMPLETED"],
        "gave_up": ["COMPLETED"],
    },
    "trip4": {"start": ["COMPLETED"], "hotel": ["COMPLETED"], "flight": ["WAITING"]},
    "waiting3": {
        "start": ["COMPLETED"],
        "which": ["COMPLETED"],  # the engine says cancelled as soon as one of its events has occurred
        "paid": ["COMPLETED"],
        "again": ["COMPLETED"] * 3,
        "enough": ["COMPLETED"] * 3,
        "each": ["CANCELLED"] * 2,
        "bad": ["COMPLETED"],
        "d4": ["COMPLETED"],
    },
    "waiting7": {"start": ["COMPLETED"], "which": ["WAITING"]},
}
PARENTS = {
    "order4": {"reserve": ["start"], "split": ["reserve"], "pay": ["split"], "ship": ["split"], "join": ["pay"]},
    "order12": {"approve": [None], "join": ["ship"]},
    "nested1": {"review": ["p_start", "review", "review", "review"], "p_end": ["review"], "bill": ["prepare"]},
    "nested9": {"late": ["prepare"], "lapsed": ["late"]},
    "trip0": {"cancel_hotel": ["back"], "gave_up": ["back"]},
    "waiting3": {
        "again": ["paid", "enough", "enough"],
        "enough": ["again"] * 3,
        "each": ["enough", "each"],
        "bad": ["each"],
    },
}


@pytest.fixture(params=KINDS)
def server(request):
    with FakeCamunda(RECORDINGS / request.param) as server:
        yield server


@pytest.fixture
def engine(server):
    return open_fake(server)


def token_at(engine, instance_id, element_id, *, live=True):
    return next(
        token
        for token in engine.load_instance(instance_id).tokens
        if token.element_id == element_id and token.live == live
    )


@pytest.mark.parametrize("case", STATES)
def test_states(server, engine, case):
    assert named_tokens(engine, server.cases[case]) == STATES[case]


@pytest.mark.parametrize("case", PARENTS)
def test_parents(server, engine, case):
    found = parent_elements(engine, server.cases[case])
    assert {element: found[element] for element in PARENTS[case]} == PARENTS[case]


@pytest.mark.parametrize(
    ("case", "status"),
    [("order4", "ACTIVE"), ("nested4", "SUSPENDED"), ("trip0", "COMPLETED"), ("order24", "CANCELLED")],
)
def test_the_status_of_an_instance_is_that_of_the_engine(server, engine, case, status):
    found = engine.instance(server.cases[case])
    assert (found.status, found.status_derived) == (status, False)


@pytest.mark.parametrize("case", ["order4", "order6", "nested4"])
@pytest.mark.parametrize("kind", KINDS)
def test_requests_are_those_of_the_recordings(kind, case):
    with ReplayServer(RECORDINGS / kind) as server:
        instance_id = msgspec.json.decode((RECORDINGS / kind / "instances.json").read_bytes())[case]
        assert named_tokens(open_camunda(server.url), instance_id) == STATES[case]


def test_when_a_token_was_suspended_is_unknown(server, engine):
    tokens = engine.load_instance(server.cases["nested4"]).tokens
    suspended = [token for token in tokens if token.state == SUSPENDED]
    assert len(suspended) == 4
    assert {token.updated_at for token in suspended} == {None}  # not the time at which it was created
    assert all(token.created_at for token in suspended)


def test_a_failed_job(server, engine):
    token = token_at(engine, server.cases["order4"], "ship")
    context = token.context
    assert token.element_type == "serviceTask"
    assert token.element_name == "Ship goods"
    assert context.error == "java.lang.IllegalStateException: no route to ship service"
    assert (context.retries_left, context.retries_used, context.failed_attempts) == (0, 3, 3)
    assert context.retry_at is None
    assert token.token_id == f"ship:{context.job_key}"
    assert context.waiting_for == f"job:{context.job_key}"
    assert [change.state for change in context.state_history] == [FAILED]


def test_a_stack_trace_is_fetched_for_a_single_token_only(server, engine):
    token = token_at(engine, server.cases["order4"], "ship")
    assert token.context.stack_trace is None
    assert not any(request.path.endswith("stacktrace") for request in server.requests)
    detailed = engine.detailed_token(server.cases["order4"], token.token_id)
    assert "ServiceTaskExpressionActivityBehavior" in detailed.context.stack_trace
    external = token_at(engine, server.cases["order6"], "pay")
    assert engine.detailed_token(server.cases["order6"], external.token_id).context.stack_trace


def test_an_external_task_that_failed(server, engine):
    context = token_at(engine, server.cases["order6"], "pay").context
    assert context.error == "card refused by the bank"
    assert (context.job_type, context.worker_id) == ("pay", "pay-7")
    assert (context.retries_left, context.failed_attempts) == (0, 3)
    assert context.timeout_at is None  # what is left of the lock is no timeout of a worker


def test_a_lock_that_expired_leaves_the_task_to_others(server):
    late = open_camunda(server.url, now=RECORDED_AT + timedelta(days=1))
    token = token_at(late, server.cases["order20"], "reserve")
    assert token.state == "WAITING"
    assert token.context.timeout_at < RECORDED_AT + timedelta(days=1)


def test_a_user_task_has_its_assignee_and_due_date(server, engine):
    context = token_at(engine, server.cases["order12"], "approve").context
    assert context.waiting_for.startswith("user_task:")
    assert context.assignee == "mary"
    assert context.due_at == datetime(2026, 12, 24, 12, tzinfo=UTC)
    assert context.entered_by == "modification"


def test_an_event_gateway_waits_for_all_of_its_events(server, engine):
    token = token_at(engine, server.cases["waiting7"], "which")
    context = msgspec.json.decode(token.execution_context)
    assert sorted(one.partition(":")[0] for one in context["waits_for"]) == ["message", "signal", "timer"]
    assert {"message:paid", "signal:stop"} <= set(context["waits_for"])
    assert abs(token.context.due_at - token.created_at - timedelta(minutes=10)) < timedelta(seconds=1)


def test_subscriptions_of_handlers_belong_to_no_token(server, engine):
    """The compensation handler and the event sub-process of the trip are no waits of its user task."""
    token = token_at(engine, server.cases["trip4"], "flight")
    assert token.context.waiting_for.startswith("user_task:")
    assert "waits_for" not in msgspec.json.decode(token.execution_context)


def test_calls_are_linked_both_ways(server, engine):
    caller, called = server.cases["nested1"], server.cases["child_of_nested1"]
    context = token_at(engine, caller, "bill").context
    assert context.called_instance_id == called
    assert context.waiting_for == f"call_activity:{called}"
    assert context.error == "java.lang.IllegalStateException: no route to invoice service"  # of the root cause
    assert msgspec.json.decode(engine.instance(called).instance.extra["calling_instance_id"]) == caller


def test_a_tree_follows_calls(server, engine):
    rows = list(read_tree_rows(engine, server.cases["nested1"], follow_calls=True))
    elements = {row.token_id: row.element_id for row in rows}
    below = {row.element_id: elements.get(row.parent_token_id) for row in rows if row.parent_token_id}
    assert below["invoice"] == "start"
    starts = [elements[row.parent_token_id] for row in rows if row.element_id == "start" and row.parent_token_id]
    assert starts == ["bill"]


def test_an_explanation_follows_a_call(server, engine):
    (found,) = explain_instance(engine, server.cases["nested1"], RECORDED_AT)
    text = " ".join(found.sentences)
    assert server.cases["child_of_nested1"] in text
    assert "Write invoice" in text


def test_flows_are_marked_as_reconstructed(server, engine):
    hops = token_at(engine, server.cases["order4"], "join").hops
    assert [(hop.from_element, hop.via_flow, hop.certainty) for hop in hops] == [("pay", "f_pay_join", "reconstructed")]


def test_a_migrated_instance_has_the_elements_of_several_models(server, engine):
    tokens = engine.load_instance(server.cases["order14"]).tokens
    assert engine.instance(server.cases["order14"]).instance.version == 2
    assert {token.element_id: token.element_name for token in tokens}["pay"] == "Take the payment"
    assert all(token.element_type is not None for token in tokens)


def test_variables_are_those_that_a_token_sees(server, engine):
    instance = engine.instance(server.cases["nested4"]).instance
    assert msgspec.json.decode(instance.variables).keys() >= {"broken", "patience", "people"}
    assert msgspec.json.decode(instance.variables)["patience"] == "PT3H"
    inner = [
        msgspec.json.decode(token.variables)
        for token in engine.load_instance(server.cases["nested4"]).tokens
        if token.element_id == "review" and token.context.assignee in {"bob", "cid"}
    ]
    assert [(one["person"], one["loopCounter"], one["nrOfInstances"], one["patience"]) for one in inner] == [
        ("bob", 1, 3, "PT3H"),
        ("cid", 2, 3, "PT3H"),
    ]


def test_serialized_json_is_read_as_json():
    with FakeCamunda(RECORDINGS / "camunda7") as server:
        instance = open_fake(server).instance(server.cases["nested4"]).instance
    variables = msgspec.json.decode(instance.variables)
    assert variables["people"] == ["ann", "bob", "cid"]
    assert variables["address"] == {"city": "Ulm", "zip": 89073}


def test_no_variables_are_fetched_for_analyses(server):
    engine = open_camunda(server.url, reading=Projection.VISITS_WITH_FLOWS)
    list(engine.visits(server.cases["order4"], flows=True))
    assert not any("variable" in request.path for request in server.requests)


def test_a_job_that_is_tried_again_later_waits(server):
    row = next(row for row in server.tables["jobs"].values() if row["processInstanceId"] == server.cases["order4"])
    server.tables["incidents"].clear()
    row |= {"retries": 2, "dueDate": "2026-11-28T16:50:00.000+0000"}
    token = token_at(open_fake(server), server.cases["order4"], "ship")
    assert token.state == "WAITING"
    assert token.context.retry_at == datetime(2026, 11, 28, 16, 50, tzinfo=UTC)
    assert token.context.retries_left == 2
    assert token.context.error == "java.lang.IllegalStateException: no route to ship service"
    row["dueDate"] = None
    assert token_at(open_fake(server), server.cases["order4"], "ship").state == "ACTIVE"


def test_an_external_task_that_is_tried_again_later_has_no_worker_at_it(server):
    row = next(iter(server.tables["external_tasks"].values()))
    row |= {"errorMessage": "busy", "retries": 1, "lockExpirationTime": "2026-11-28T16:50:00.000+0000"}
    instance_id = row["processInstanceId"]
    server.tables["incidents"].clear()
    token = token_at(open_fake(server), instance_id, row["activityId"])
    assert token.state == "WAITING"
    assert token.context.retry_at == datetime(2026, 11, 28, 16, 50, tzinfo=UTC)
    assert token.context.timeout_at is None


def test_a_job_after_its_activity_belongs_to_the_visit(server):
    """An asynchronous continuation after an activity leaves the visit open."""
    job = next(row for row in server.tables["jobs"].values() if row["processInstanceId"] == server.cases["order4"])
    definition = server.tables["job_definitions"][job["jobDefinitionId"]]
    definition |= {"activityId": "pay", "jobConfiguration": "async-after"}
    rows = server.tables["activities"].values()
    pay = next(
        row for row in rows if (row["processInstanceId"], row["activityId"]) == (job["processInstanceId"], "pay")
    )
    pay |= {"endTime": None, "durationInMillis": None}
    job |= {"executionId": pay["executionId"], "retries": 3, "exceptionMessage": None, "failedActivityId": None}
    server.tables["incidents"].clear()
    tokens = open_fake(server).load_instance(server.cases["order4"]).tokens
    assert [(token.element_id, token.state) for token in tokens if token.context.job_key] == [("pay", "ACTIVE")]


def test_long_instances_keep_the_order_of_the_engine():
    """Visits of one millisecond are in the order of occurrence."""
    with FakeCamunda(RECORDINGS / "operaton") as server:
        tokens = open_fake(server).load_instance(server.cases["waiting3"]).tokens
        assert [token.element_id for token in tokens][3:9] == ["again", "enough"] * 3
        assert len({token.created_at for token in tokens[4:8]}) == 1


@pytest.fixture
def failed_timer(server):
    """Let the timer that guards an activity fail; returns the instance and the job."""
    instance_id = server.cases["nested4"]
    (job,) = (one for one in server.tables["jobs"].values() if one["processInstanceId"] == instance_id)
    job |= {"retries": 0, "exceptionMessage": "no such bean", "failedActivityId": "lapsed"}
    incident = {
        "id": "late-incident",
        "configuration": job["id"],
        "activityId": "late",
        "failedActivityId": "lapsed",
        "incidentMessage": "no such bean",
        "incidentType": "failedJob",
        "incidentTimestamp": "2026-11-28T16:43:09.000+0000",
        **{name: job[name] for name in ("processInstanceId", "processDefinitionId", "executionId")},
    }
    server.tables["incidents"][incident["id"]] = incident
    return instance_id, job["id"]


def test_a_boundary_timer_that_failed_is_not_its_activity(engine, failed_timer):
    instance_id, job = failed_timer
    (late,) = (one for one in engine.load_instance(instance_id).tokens if one.element_id == "late")
    assert (late.token_id, late.state, late.context.waiting_for) == (f"late:{job}", FAILED, f"timer:{job}")
    assert late.context.failed_element_id == "lapsed"
    assert token_at(engine, instance_id, "prepare").state == SUSPENDED
    assert late.parent_token_id == token_at(engine, instance_id, "prepare").token_id
    found = {
        one.token.element_id: " ".join(one.sentences) for one in explain_instance(engine, instance_id, RECORDED_AT)
    }
    assert "The engine was executing 'lapsed' (lapsed). The error: no such bean." in found["late"]
