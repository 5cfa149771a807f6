"""The engine of Flowable: against the answers of a running one, in every state that its instances were driven into."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from uuid import UUID

import msgspec
import pytest

from support.fake_flowable import CASES, FakeFlowable, copy_id
from tokctl.client import Client, Connection
from tokctl.engines import connect
from tokctl.engines.flowable import FlowableEngine, durations, recognizes, rows
from tokctl.engines.flowable.api import FINISHED_ACTIVITIES, HISTORIC_INSTANCES, derive_external_url
from tokctl.engines.flowable.documents import FlowableActivity, FlowableInstance, FlowableValue, encode_variables
from tokctl.engines.ids import resolve_instance, resolve_token
from tokctl.engines.projection import Projection
from tokctl.errors import InputError, NotAllowedError, NotFoundError, UnreachableError, UsageError
from tokctl.model.filters import ALL_TOKENS, RECORDED_ORDER, InstanceFilter, SortOrder, TokenFilter
from tokctl.model.states import FAILED
from tokctl.model.tokens import NULL, Token
from tokctl.model.variables import VariableCondition
from tokctl.services.debug import run_debug

CREATED = SortOrder("created")
STARTED = SortOrder("started", descending=True)
RECORDED = SortOrder(RECORDED_ORDER)


@pytest.fixture(autouse=True)
def _own_state(monkeypatch, tmp_path):
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def make_fake():
    made: list[FakeFlowable] = []

    def make(**options) -> FakeFlowable:
        made.append(FakeFlowable(**options))
        return made[-1]

    yield make
    for fake in made:
        fake.close()


@pytest.fixture
def fake(make_fake) -> FakeFlowable:
    return make_fake()


def engine_of(fake: FakeFlowable, reading: Projection = Projection.TOKENS, **connection) -> FlowableEngine:
    connect._warned.clear()
    client = Client(Connection(url=fake.address, **connection), sleep=lambda _: None)
    return FlowableEngine(client, fake.address, reading)


def tokens_of(fake: FakeFlowable, case: str) -> list[Token]:
    return list(engine_of(fake).tokens(CASES[case], ALL_TOKENS, CREATED))


def describe(tokens: list[Token]) -> list[str]:
    """Return ``element STATE < parent over flow`` of each token; ``~`` marks a derived cancellation."""
    elements = {token.token_id: token.element_id for token in tokens}
    lines = []
    for token in tokens:
        hops = [hop.via_flow for hop in token.hops]
        derived = "~" if token.context.cancellation_derived else ""
        entered = f" < {elements[token.parent_token_id]}" if token.parent_token_id else ""
        how = f" over {hops[0]}" if hops and hops[0] else f" by {token.context.entered_by}"
        lines.append(f"{token.element_id} {token.state}{derived}{entered}{how}")
    return lines


EXPECTED = {
    "order4": (  # an asynchronous task failed for good; the other branch waits at the join
        "start COMPLETED by start",
        "reserve COMPLETED < start over f_start_reserve",
        "split COMPLETED < reserve over f_reserve_split",
        "pay COMPLETED < split over f_split_pay",
        "ship FAILED < split over f_split_ship",
        "join WAITING < pay over f_pay_join",
    ),
    "order6": (  # an external worker failed for good
        "start COMPLETED by start",
        "reserve COMPLETED < start over f_start_reserve",
        "split COMPLETED < reserve over f_reserve_split",
        "pay FAILED < split over f_split_pay",
        "ship COMPLETED < split over f_split_ship",
        "join WAITING < ship over f_ship_join",
    ),
    "order12": (  # somebody moved the token from pay to approve, whose timer is armed
        "start COMPLETED by start",
        "reserve COMPLETED < start over f_start_reserve",
        "split COMPLETED < reserve over f_reserve_split",
        "pay CANCELLED~ < split over f_split_pay",
        "ship COMPLETED < split over f_split_ship",
        "join WAITING < ship over f_ship_join",
        "approve WAITING by modification",
    ),
    "order14": (  # migrated to version 2
        "start COMPLETED by start",
        "reserve COMPLETED < start over f_start_reserve",
        "split COMPLETED < reserve over f_reserve_split",
        "pay CANCELLED~ < split over f_split_pay",
        "ship FAILED < split over f_split_ship",
        "pay WAITING by unknown",
    ),
    "order20": (  # a worker has the job
        "start COMPLETED by start",
        "reserve ACTIVE < start over f_start_reserve",
    ),
    "order24": (  # deleted
        "start COMPLETED by start",
        "reserve CANCELLED~ < start over f_start_reserve",
    ),
    "nested1": (  # calls another process
        "start COMPLETED by start",
        "prepare COMPLETED < start over f_start_prepare",
        "p_start COMPLETED < prepare by scope",
        "review COMPLETED < p_start over f_p_start_review",
        "review COMPLETED < p_start over f_p_start_review",
        "review COMPLETED < p_start over f_p_start_review",
        "p_end COMPLETED < review over f_review_p_end",
        "bill ACTIVE < prepare over f_prepare_bill",
    ),
    "child_of_nested1": (
        "start COMPLETED by start",
        "invoice FAILED < start over f_start_invoice",
    ),
    "nested4": (  # suspended, with one of three instances completed
        "start COMPLETED by start",
        "prepare SUSPENDED < start over f_start_prepare",
        "p_start COMPLETED < prepare by scope",
        "review COMPLETED < p_start over f_p_start_review",
        "review SUSPENDED < p_start over f_p_start_review",
        "review SUSPENDED < p_start over f_p_start_review",
    ),
    "nested9": (  # a timer interrupted the sub-process; the history of user tasks tells their cancellation
        "start COMPLETED by start",
        "prepare CANCELLED~ < start over f_start_prepare",
        "p_start COMPLETED < prepare by scope",
        "review CANCELLED < p_start over f_p_start_review",
        "review CANCELLED < p_start over f_p_start_review",
        "review CANCELLED < p_start over f_p_start_review",
        "late COMPLETED < prepare by boundary_event",
        "lapsed COMPLETED < late over f_late_lapsed",
    ),
    "trip0": (  # compensated
        "start COMPLETED by start",
        "hotel COMPLETED < start over f_start_hotel",
        "flight COMPLETED < hotel over f_hotel_flight",
        "ok COMPLETED < flight over f_flight_ok",
        "back COMPLETED < ok over ok_no",
        "cancel_hotel COMPLETED < back by compensation",
        "gave_up COMPLETED < back over f_back_gave_up",
    ),
    "trip4": (  # an event sub-process may start: no token
        "start COMPLETED by start",
        "hotel COMPLETED < start over f_start_hotel",
        "flight WAITING < hotel over f_hotel_flight",
    ),
    "waiting3": (  # a loop within a millisecond, then an error interrupted a multi-instance task
        "start COMPLETED by start",
        "which COMPLETED < start over f_start_which",
        "paid COMPLETED < which over f_which_paid",
        "tired CANCELLED~ < which over f_which_tired",
        "stop CANCELLED~ < which over f_which_stop",
        "again COMPLETED < paid over f_paid_again",
        "enough COMPLETED < again over f_again_enough",
        "again COMPLETED < enough over no",
        "enough COMPLETED < again over f_again_enough",
        "again COMPLETED < enough over no",
        "enough COMPLETED < again over f_again_enough",
        "each CANCELLED~ < enough over yes",
        "bad COMPLETED < each by boundary_event",
        "d4 COMPLETED < bad over f_bad_d4",
    ),
    "waiting7": (  # an event-based gateway: its events wait
        "start COMPLETED by start",
        "which COMPLETED < start over f_start_which",
        "paid WAITING < which over f_which_paid",
        "tired WAITING < which over f_which_tired",
        "stop WAITING < which over f_which_stop",
    ),
}
STATUSES = {
    "order24": "CANCELLED",
    "nested4": "SUSPENDED",
    **dict.fromkeys(("nested9", "trip0", "waiting3"), "COMPLETED"),
}
"""Of the cases that are not ACTIVE."""


def test_every_recorded_case_is_expected():
    assert EXPECTED.keys() == CASES.keys()


@pytest.mark.parametrize("case", EXPECTED)
def test_states_parents_and_flows(fake, case):
    tokens = tokens_of(fake, case)
    assert describe(tokens) == list(EXPECTED[case])
    assert all(earlier.created_at <= later.created_at for earlier, later in pairwise(tokens))


@pytest.mark.parametrize("case", EXPECTED)
def test_the_lists_of_the_server_give_the_same_tokens(fake, case):
    """Read by itself or with all others, an instance has the same tokens, apart from what only the history tells."""
    engine = engine_of(fake)
    together = [one for one in engine.tokens(None, ALL_TOKENS, SortOrder("recorded")) if one.instance_id == CASES[case]]
    alone = tokens_of(fake, case)
    assert describe(together) == describe(alone)
    assert [one.execution_context for one in together] == [one.execution_context for one in alone]


@pytest.mark.parametrize("case", EXPECTED)
def test_the_status_of_an_instance(fake, case):
    engine = engine_of(fake)
    status = engine.instance(CASES[case])
    assert (status.status, status.status_derived) == (STATUSES.get(case, "ACTIVE"), False)
    listed = {one.instance.instance_id: one for one in engine.instances(InstanceFilter(), STARTED)}
    assert listed[CASES[case]].status == status.status
    assert listed[CASES[case]].tokens_known is False
    assert status.total_tokens == len(EXPECTED[case])


# --- what tokens wait for -------------------------------------------------------------------------


def context_of(tokens: list[Token], element: str) -> dict:
    (token,) = (one for one in tokens if one.element_id == element and one.live)
    return msgspec.json.decode(token.execution_context)


def test_a_dead_letter_of_an_asynchronous_task_is_an_incident(fake):
    tokens = tokens_of(fake, "order4")
    context = context_of(tokens, "ship")
    job = "e9894287-eb4a-11f1-aada-02fc00000001"
    (ship,) = (one for one in tokens if one.element_id == "ship")
    assert ship.token_id == f"ship:{job}"
    assert (ship.element_type, ship.element_name) == ("serviceTask", "Ship goods")
    assert ship.error is not None
    assert ship.error.startswith("Error while evaluating expression: ${work.step(broken, 'ship')}")
    assert (context["job_key"], context["incident_id"], context["retries_left"]) == (job, job, 0)
    assert ship.created_at == datetime(2026, 11, 28, 16, 44, 0, 339000, tzinfo=UTC)  # when the flow was taken
    assert ship.updated_at == datetime(2026, 11, 28, 16, 44, 38, 719000, tzinfo=UTC)  # when it became a dead letter
    assert ship.finished_at == ship.updated_at
    assert "waiting_for" not in context


def test_the_stack_trace_comes_with_a_single_token(fake):
    engine = engine_of(fake)
    instance, token = resolve_token(engine, "ship:e9894287-eb4a-11f1-aada-02fc00000001")
    assert instance == CASES["order4"]
    context = msgspec.json.decode(engine.token(instance, token).execution_context)
    assert context["stack_trace"].startswith("org.flowable.common.engine.api.FlowableException: ")
    assert all(
        b"stack_trace" not in bytes(one.execution_context) for one in engine.tokens(instance, ALL_TOKENS, CREATED)
    )


def test_a_dead_letter_of_an_external_worker(fake):
    context = context_of(tokens_of(fake, "order6"), "pay")
    assert (context["error_message"], context["job_type"]) == ("card refused by the bank", "pay")


def test_a_job_of_a_worker(fake):
    assert context_of(tokens_of(fake, "order20"), "reserve") == {
        "job_key": "e88abe09-eb4a-11f1-aada-02fc00000001",
        "job_type": "reserve",
        "worker_id": "stock-2",
        "retries_left": 3,
        "waiting_for": "external_task:reserve",
        "timeout_at": "2026-11-28T17:44:00.807Z",
    }


def test_a_user_task(fake):
    assert context_of(tokens_of(fake, "order12"), "approve") == {
        "waiting_for": "user_task:ed324d8b-eb4a-11f1-aada-02fc00000001",
        "due_at": "2026-12-24T12:00:00.000Z",
        "assignee": "mary",
        "entered_by": "modification",
    }


def test_messages_signals_and_timers(fake):
    tokens = tokens_of(fake, "waiting7")
    assert context_of(tokens, "paid") == {"waiting_for": "message:paid"}
    assert context_of(tokens, "stop") == {"waiting_for": "signal:stop"}
    tired = context_of(tokens, "tired")
    assert tired["waiting_for"] == "timer:e9241847-eb4a-11f1-aada-02fc00000001"
    assert tired["due_at"] == "2026-11-28T16:53:59.676Z"


def test_called_and_calling_instances(fake):
    child = CASES["child_of_nested1"]
    bill = context_of(tokens_of(fake, "nested1"), "bill")
    assert bill == {"waiting_for": f"call_activity:{child}", "called_instance_id": child}
    extra = engine_of(fake).instance(child).instance.extra
    assert msgspec.json.decode(extra["calling_instance_id"]) == CASES["nested1"]


def test_a_failed_external_job_that_will_be_tried_again(fake):
    job = fake.lists["external"][0]
    job |= {"lockOwner": None, "lockExpirationTime": "2026-11-28T17:44:04.080Z", "retries": 2, "exceptionMessage": "x"}
    (reserve,) = (one for one in tokens_of(fake, "order20") if one.live)
    context = msgspec.json.decode(reserve.execution_context)
    assert (reserve.state, reserve.error, context["retries_left"]) == ("WAITING", "x", 2)
    assert context["retry_at"] == "2026-11-28T17:44:04.080Z"
    assert not context.keys() & {"worker_id", "timeout_at"}


def test_a_failed_asynchronous_job_that_will_be_tried_again(fake):
    """It is among the timers, and does not wait for one."""
    (job,) = (one for one in fake.lists["management/deadletter-jobs"] if one["elementId"] == "invoice")
    fake.lists["management/deadletter-jobs"].remove(job)
    again = job | {"retries": 2, "dueDate": "2026-11-28T17:01:00.000Z"}
    fake.lists["management/timer-jobs"].append(again)
    fake.index("management/deadletter-jobs")
    fake.index("management/timer-jobs")
    (invoice,) = (one for one in tokens_of(fake, "child_of_nested1") if one.live)
    context = msgspec.json.decode(invoice.execution_context)
    assert (invoice.state, context["retries_left"]) == ("WAITING", 2)
    assert (context["waiting_for"], context["retry_at"]) == (f"job:{job['id']}", "2026-11-28T17:01:00.000Z")
    assert "due_at" not in context


def test_jobs_tell_when_an_instance_was_suspended(fake):
    suspended = [one for one in tokens_of(fake, "nested4") if one.state == "SUSPENDED"]
    assert {one.updated_at for one in suspended} == {datetime(2026, 11, 28, 16, 44, 6, 110000, tzinfo=UTC)}


# --- joins, boundary events, variables ------------------------------------------------------------


def test_a_join_that_fired_ends_when_the_last_token_arrives(fake):
    """The early arrival lists the next token as its child, too; both end when the join fires."""
    rows = fake.lists["history/historic-activity-instances"]
    last = next(row for row in rows if row["id"] == "e99158f3-eb4a-11f1-aada-02fc00000001")  # pay of order6
    last["endTime"] = "2026-11-28T16:50:00.000Z"

    def add(number: int, kind: str, element: str, second: int) -> None:
        at = f"2026-11-28T16:50:{second:02}.000Z"
        new = {"id": f"f00000{number:02x}-eb4a-11f1-aada-02fc00000001", "activityType": kind, "activityId": element}
        rows.append(last | new | {"startTime": at, "endTime": at, "activityName": None})

    add(0, "sequenceFlow", "f_pay_join", 0)
    add(1, "parallelGateway", "join", 1)
    add(2, "sequenceFlow", "f_join_big", 2)
    add(3, "exclusiveGateway", "big", 3)
    fake.index("history/historic-activity-instances")
    tokens = tokens_of(fake, "order6")
    early, late = (one for one in tokens if one.element_id == "join")
    (big,) = (one for one in tokens if one.element_id == "big")
    assert (early.state, late.state) == ("COMPLETED", "COMPLETED")
    assert early.completed_at == late.completed_at == datetime(2026, 11, 28, 16, 50, 2, tzinfo=UTC)
    assert early.child_tokens == late.child_tokens == (big.token_id,)
    assert big.parent_token_id == late.token_id


def test_an_armed_boundary_event_is_a_token_only_if_its_job_is_dead(fake):
    assert "reminder" not in {one.element_id for one in tokens_of(fake, "order12")}
    timer = next(one for one in fake.lists["management/timer-jobs"] if one["elementId"] == "reminder")
    fake.lists["management/deadletter-jobs"].append(timer | {"retries": 0, "exceptionMessage": "no such bean"})
    fake.index("management/deadletter-jobs")
    reminder = next(one for one in tokens_of(fake, "order12") if one.element_id == "reminder")
    assert (reminder.state, reminder.error, reminder.element_type) == (FAILED, "no such bean", "boundaryEvent")


def test_local_variables_belong_to_the_token_of_their_execution(fake):
    reviews = [one for one in tokens_of(fake, "nested4") if one.element_id == "review"]
    found = [msgspec.json.decode(one.variables) for one in reviews]
    assert [(one["person"], one["loopCounter"]) for one in found] == [("ann", 0), ("bob", 1), ("cid", 2)]


def test_variables_of_an_instance(fake):
    instance = engine_of(fake).instance(CASES["order4"]).instance
    assert msgspec.json.decode(instance.variables) == {
        "amount": 90,
        "broken": "ship",
        "customer": "cust-4",
        "reserved": True,
    }


def test_a_value_that_is_not_sent_is_unknown_and_not_null():
    values = [
        FlowableValue(name="box", type="serializable"),
        FlowableValue(name="nothing", type="null"),
        FlowableValue(name="amount", type="integer", value=msgspec.Raw(b"3")),
    ]
    assert msgspec.json.decode(encode_variables(values)) == {
        "box": {"unknown": "serializable"},
        "nothing": None,
        "amount": 3,
    }


def test_instances_are_found_by_variables(fake):
    where = InstanceFilter(variables=(VariableCondition("customer", "cust-4"),))
    found = engine_of(fake).instances(where, STARTED)
    assert [one.instance.instance_id for one in found] == [CASES["order4"]]


# --- instances ------------------------------------------------------------------------------------


def test_what_an_instance_says(fake):
    instance = engine_of(fake).instance(CASES["order14"]).instance
    assert (instance.process_id, instance.version, instance.business_key) == ("order", 2, "O-14")
    assert instance.process_key == "order:2:ed05bf3c-eb4a-11f1-aada-02fc00000001"
    assert instance.started_at == datetime(2026, 11, 28, 16, 43, 58, 491000, tzinfo=UTC)
    deleted = engine_of(fake).instance(CASES["order24"]).instance
    assert deleted.cancelled_at == datetime(2026, 11, 28, 16, 44, 6, 38000, tzinfo=UTC)
    assert msgspec.json.decode(deleted.extra["delete_reason"]) == "process instance deleted"


@pytest.mark.parametrize(
    ("where", "cases"),
    [
        (InstanceFilter(failed=True), {"order4", "order6", "order14", "child_of_nested1"}),
        (InstanceFilter(statuses=("SUSPENDED",)), {"nested4"}),
        (InstanceFilter(statuses=("CANCELLED",)), {"order24"}),
        (InstanceFilter(statuses=("COMPLETED", "CANCELLED")), {"order24", "nested9", "trip0", "waiting3"}),
        (InstanceFilter(processes=("ord*",), version=2), {"order14"}),
        (InstanceFilter(processes=("trip",)), {"trip0", "trip4"}),
        (InstanceFilter(business_keys=("N-*",), open=True), {"nested1", "nested4"}),
        (InstanceFilter(business_keys=("O-20",)), {"order20"}),
        (InstanceFilter(processes=("nested",), live=True), {"nested1", "nested4"}),
        (InstanceFilter(until=datetime(2026, 11, 28, 16, 43, 58, 247001, tzinfo=UTC)), {"order4", "order6"}),
        (InstanceFilter(until=datetime(2026, 11, 28, 16, 43, 58, 247000, tzinfo=UTC)), {"order4"}),
        (
            InstanceFilter(statuses=("COMPLETED",), since=datetime(2026, 11, 28, 16, 44, 5, 674000, tzinfo=UTC)),
            {"trip0", "nested9"},
        ),
        (
            InstanceFilter(since=datetime(2026, 11, 28, 16, 44, 8, tzinfo=UTC)),
            {"order4", "child_of_nested1", "order14", "nested9"},
        ),
    ],
)
def test_filters_of_instances(fake, where, cases):
    engine = engine_of(fake)
    found = [one.instance.instance_id for one in engine.instances(where, STARTED)]
    assert {name for name, key in CASES.items() if key in found} == cases
    assert engine.count_instances(where) == len(found) == len(cases)


def test_pages_of_instances(fake):
    engine = engine_of(fake)
    everyone = [one.instance.instance_id for one in engine.instances(InstanceFilter(), STARTED)]
    assert everyone[0] == CASES["child_of_nested1"] == engine.latest_instance_id()
    pages = [engine.instances(InstanceFilter(), STARTED, limit=5, offset=start) for start in (0, 5, 10)]
    assert [one.instance.instance_id for page in pages for one in page] == everyone


def test_ids(fake):
    engine = engine_of(fake)
    assert resolve_instance(engine, CASES["order4"][:8]) == CASES["order4"]
    assert resolve_instance(engine, "@latest") == CASES["child_of_nested1"]
    assert engine.instance_ids("", 2) == sorted(CASES.values())[:2]
    assert resolve_token(engine, "e9b24ecf-eb4a-11f1-aada-02fc00000001")[0] == CASES["order12"]
    assert resolve_token(engine, "e9b24ecf", CASES["order12"])[1] == "e9b24ecf-eb4a-11f1-aada-02fc00000001"
    with pytest.raises(NotFoundError):
        resolve_instance(engine, "nope")
    with pytest.raises(NotFoundError):
        resolve_token(engine, "ship:nope")


def test_an_unknown_instance(fake):
    with pytest.raises(NotFoundError, match="no process instance 'nope'"):
        engine_of(fake).instance("nope")


def test_models(fake):
    engine = engine_of(fake)
    newest = engine.definition("order", None)
    assert newest is not None
    assert (newest.version, newest.elements["pay"].name) == (2, "Take the payment")
    first = engine.definition("order", 1)
    assert first is not None
    assert first.elements["pay"].name == "Take payment"
    assert first.xml is not None
    assert engine.definition("nope", None) is None


def test_durations_of_the_latest_instances(fake):
    found = list(engine_of(fake).visit_durations("trip", None, 10))
    assert {element for _, element, _ in found} >= {"start", "hotel", "flight", "back"}
    assert (CASES["trip0"], "flight", 5877.0) in found
    assert [one for one, _, _ in found] == sorted((one for one, _, _ in found), reverse=True)  # the last one first


# --- servers that differ --------------------------------------------------------------------------


def test_basic_authentication(make_fake):
    fake = make_fake(user="rest-admin:test")
    engine = engine_of(fake, basic=True, credential=lambda: "rest-admin:test")
    assert engine.instance(CASES["order20"]).live_tokens == 1  # the second root takes the same credential
    with pytest.raises(NotAllowedError):
        engine_of(fake, basic=True, credential=lambda: "rest-admin:wrong").instance(CASES["order20"])


@pytest.mark.parametrize("status", [404, 500])
def test_a_server_without_the_api_for_external_workers(make_fake, capsys, status):
    engine = engine_of(make_fake(external=status))
    (reserve,) = (one for one in engine.tokens(CASES["order20"], ALL_TOKENS, CREATED) if one.live)
    assert reserve.state == "WAITING"
    list(engine.tokens(None, TokenFilter(live=True), CREATED))
    assert capsys.readouterr().err.count("Jobs of external workers are unknown") == 1


def test_a_user_without_rights_to_jobs(make_fake, capsys):
    engine = engine_of(make_fake(refused=("/process-api/management/",)))
    assert engine.instance(CASES["order6"]).failed_tokens == 0
    assert "Jobs and incidents are unknown" in capsys.readouterr().err


def test_a_model_that_is_not_allowed(make_fake, capsys):
    engine = engine_of(make_fake(refused=("/process-api/repository/",)))
    tokens = list(engine.tokens(CASES["order6"], ALL_TOKENS, CREATED))
    assert [(one.element_id, one.element_type) for one in tokens][:2] == [
        ("start", "startEvent"),
        ("reserve", "serviceTask"),
    ]
    assert [hop.via_flow for one in tokens for hop in one.hops][:2] == ["f_start_reserve", "f_reserve_split"]
    assert "Types and names of elements are not available" in capsys.readouterr().err


def test_rows_of_other_instances_are_left_out(fake):
    """A list that ignores the filter sends all rows."""
    fake.unfiltered = frozenset(fake.lists) - {"history/historic-process-instances"}
    assert describe(tokens_of(fake, "order20")) == list(EXPECTED["order20"])


def test_ids_may_be_rising_numbers(fake):
    rows = fake.lists["history/historic-activity-instances"]
    for number, row in enumerate(sorted(rows, key=lambda row: UUID(row["id"]).time)):
        row["id"] = str(number)
    assert describe(tokens_of(fake, "waiting3")) == list(EXPECTED["waiting3"])


def test_a_response_of_another_kind(fake):
    fake.lists["history/historic-process-instances"][0]["startTime"] = "yesterday"
    with pytest.raises(InputError, match=r"historic-process-instances: .*startTime"):
        list(engine_of(fake).instances(InstanceFilter(), STARTED))


def test_an_error_of_the_server_says_why(fake):
    with pytest.raises(UnreachableError, match="No endpoint GET /process-api/nope"):
        engine_of(fake).api.get_page(("nope",), FlowableActivity, {})
    with pytest.raises(UsageError, match="'name' is not a valid property"):
        engine_of(fake).api.get_page(HISTORIC_INSTANCES, FlowableInstance, {"sort": "name"})


def test_a_server_of_another_kind(make_fake, tokctl):
    address = make_fake().url + "/engine-rest"
    done = tokctl("instances", "list", "--server", address, "--engine-kind", "flowable", "-o", "json")
    assert done.code == 5
    assert done.err.startswith(f"error: {address} ")


def test_refresh_shows_the_present(fake):
    engine = engine_of(fake)
    assert engine.instance(CASES["order20"]).status == "ACTIVE"
    for row in fake.lists["runtime/executions"]:
        row["suspended"] = True
    assert engine.instance(CASES["order20"]).status == "ACTIVE"
    assert engine.refresh()
    assert engine.instance(CASES["order20"]).status == "SUSPENDED"


def test_a_long_history_is_not_read_for_a_few_instances(make_fake, monkeypatch):
    """Each of them is requested on its own if that is less than the lists of the whole server."""
    fake = make_fake(copies=5)
    ended = InstanceFilter(processes=("trip",), statuses=("COMPLETED",))
    durations = dict.fromkeys([copy_id(CASES["trip0"], copy) for copy in range(1, 6)], 7)
    assert {one.instance_id: len(one.tokens) for one in engine_of(fake).sweep(ended)} == durations
    monkeypatch.setattr(rows, "ROWS_FOR_A_REQUEST", 1)
    fake.requests.clear()
    assert {one.instance_id: len(one.tokens) for one in engine_of(fake).sweep(ended)} == durations
    asked = [dict(one.query) for one in fake.requests if one.path.endswith("/historic-activity-instances")]
    assert [query for query in asked if "processInstanceId" not in query] == [{"size": "0"}]  # their number
    assert len(asked) == 1 + 5


@pytest.mark.parametrize("rows_for_a_part", [1, 1_000_000], ids=["each on its own", "from lists"])
def test_failed_tokens_are_those_of_each_instance(fake, monkeypatch, rows_for_a_part):
    """However they are read; only variables are left out."""
    monkeypatch.setattr(rows, "ROWS_FOR_A_PART", rows_for_a_part)
    failed = TokenFilter(states=(FAILED,))
    started = sorted(fake.lists["history/historic-process-instances"], key=lambda row: (row["startTime"], row["id"]))
    expected = [
        msgspec.structs.replace(one, variables=NULL)
        for row in started
        for one in engine_of(fake).tokens(row["id"], failed, CREATED)
    ]
    engine = engine_of(fake)
    found = [msgspec.structs.replace(one, variables=NULL) for one in engine.tokens(None, failed, RECORDED)]
    assert found == expected
    assert len(found) == engine.count_tokens(None, failed) == 4
    lists = [one.path for one in fake.requests if "processInstanceId" not in dict(one.query)]
    assert ("/process-api/runtime/executions" in lists) == (rows_for_a_part > 1)


def test_a_server_with_small_pages_is_read_to_the_end(fake):
    fake.largest_page = 3
    assert sorted(one.instance.instance_id for one in engine_of(fake).scan_instances(InstanceFilter())) == sorted(
        CASES.values()
    )
    latest = engine_of(fake).api.get_latest_rows(FINISHED_ACTIVITIES, {})
    times = [row["startTime"] for row in fake.lists["history/historic-activity-instances"] if row["endTime"]]
    assert sum(len(one.activities) for one in latest.values()) == 3
    begun = [row.start_time.isoformat(timespec="milliseconds") for one in latest.values() for row in one.activities]
    assert sorted(one.replace("+00:00", "Z") for one in begun) == sorted(times)[-3:]


def test_a_filter_by_id_that_is_ignored_shows_no_other_instance(fake):
    fake.unfiltered = frozenset({"history/historic-process-instances"})
    failed = list(engine_of(fake).tokens(None, TokenFilter(states=(FAILED,)), CREATED))
    assert len({one.token_id for one in failed}) == len(failed)
    dead = {row["processInstanceId"] for row in fake.lists["management/deadletter-jobs"]}
    assert {one.instance_id for one in failed} <= dead


def test_rows_of_an_instance_that_ends_meanwhile_may_be_missing(fake, monkeypatch):
    monkeypatch.setattr(rows, "ROWS_FOR_A_PART", 1_000_000)  # from lists of the whole server
    gone = CASES["order6"]
    for name in ("runtime/activity-instances", "runtime/executions"):
        fake.lists[name] = [row for row in fake.lists[name] if row["processInstanceId"] != gone]
    found = {one.instance_id for one in engine_of(fake).tokens(None, TokenFilter(states=(FAILED,)), CREATED)}
    assert gone not in found
    assert CASES["order4"] in found


def test_the_history_of_user_tasks_is_read_of_many_instances_too(fake):
    """It tells that a user task of a running instance was cancelled, which nothing else does."""
    activities = fake.lists["runtime/activity-instances"]
    instance = CASES["nested4"]
    (ended,) = (row for row in activities if row["processInstanceId"] == instance and row["taskId"] and row["endTime"])
    task = {"id": ended["taskId"], "processInstanceId": instance, "executionId": ended["executionId"]}
    name = "history/historic-task-instances"
    fake.lists[name] = [row for row in fake.lists[name] if row["id"] != ended["taskId"]]
    fake.lists[name].append(task | {"endTime": ended["endTime"], "deleteReason": "deleted"})
    fake.index(name)
    swept = {one.instance_id: one for one in engine_of(fake).sweep(InstanceFilter(open=True))}
    states = {one.state for one in swept[CASES["nested4"]].tokens if one.element_id == "review"}
    assert "CANCELLED" in states


def test_what_has_ended_is_not_open(fake):
    for where in (InstanceFilter(statuses=("COMPLETED", "CANCELLED"), open=True), InstanceFilter(failed=True)):
        assert engine_of(fake).count_instances(where) == len(list(engine_of(fake).scan_instances(where)))


@pytest.mark.parametrize("process", ["trip", "order", "nested"])
@pytest.mark.parametrize("instances", [1, 2, 100])
def test_durations_are_the_same_from_lists(fake, monkeypatch, process, instances):
    """Whether running instances are at hand or not, and all that have ended are read at once or not."""
    alone = list(engine_of(fake).visit_durations(process, None, instances))
    for largest in (20_000, 1):
        monkeypatch.setattr(durations, "PAGE_SIZE", largest)
        engine = engine_of(fake)
        list(engine.sweep(InstanceFilter(open=True)))
        fake.requests.clear()
        found = list(engine.visit_durations(process, None, instances))
        more = {("nested4", "review")}  # that other instances of the activity are open is known of what is at hand
        assert set(alone) <= set(found)
        assert {(one, element) for one, element, _ in set(found) - set(alone)} <= {(CASES[a], b) for a, b in more}
        assert list(engine.visit_durations(process, {"start"}, instances)) == [
            one for one in found if one[1] == "start"
        ]
        swept = [one for one in fake.requests if dict(one.query).get("finished") == "true" and len(one.query) == 2]
        assert bool(swept)


def test_failed_instances_and_other_conditions(fake):
    failed = InstanceFilter(failed=True, live=True, processes=("ord*",), statuses=("ACTIVE",))
    found = {one.instance.instance_id: one for one in engine_of(fake).scan_instances(failed)}
    assert set(found) == {CASES["order4"], CASES["order6"], CASES["order14"]}
    assert found[CASES["order6"]].failed_tokens == 1
    assert not list(engine_of(fake).scan_instances(InstanceFilter(failed=True, business_keys=("nope",))))
    assert not list(engine_of(fake).scan_instances(InstanceFilter(failed=True, statuses=("SUSPENDED",))))
    assert not list(engine_of(fake).scan_instances(InstanceFilter(failed=True, until=datetime(2026, 1, 1, tzinfo=UTC))))


def test_an_instance_that_was_deleted_meanwhile_has_no_incidents(fake):
    """Its dead letters were read before."""
    gone = CASES["order6"]
    fake.lists["history/historic-process-instances"] = [
        row for row in fake.lists["history/historic-process-instances"] if row["id"] != gone
    ]
    fake.index("history/historic-process-instances")
    failed = engine_of(fake).tokens(None, TokenFilter(states=(FAILED,)), CREATED)
    assert gone not in {one.instance_id for one in failed}


def test_sorting_by_tokens_reads_them(fake):
    engine = engine_of(fake)
    found = list(engine.instances(InstanceFilter(), SortOrder("tokens", descending=True), limit=3))
    totals = sorted((engine_of(fake).instance(one).total_tokens for one in CASES.values()), reverse=True)
    assert [one.total_tokens for one in found] == totals[:3]


def test_executions_are_read_of_instances_that_may_need_them(make_fake):
    """Of those at a join, say, but not of one that waits for a worker."""
    fake = make_fake(copies=4, cases=("order4", "order20"))
    live = TokenFilter(live=True)
    states = [one.state for one in engine_of(fake).tokens(None, live, CREATED) if one.element_id == "join"]
    assert states == ["WAITING"] * 4
    asked = [dict(one.query) for one in fake.requests if one.path.endswith("/executions")]
    assert asked
    fake = make_fake(copies=4, cases=("order20",))
    assert len(list(engine_of(fake).tokens(None, live, CREATED))) == 4
    assert not [one for one in fake.requests if one.path.endswith("/executions")]


def test_copies_are_told_apart(make_fake):
    engine = engine_of(make_fake(copies=3))
    failed = list(engine.tokens(None, TokenFilter(states=(FAILED,)), CREATED))
    assert len(failed) == 3 * 4
    second = copy_id(CASES["order6"], 2)
    assert [one.element_id for one in failed if one.instance_id == second] == ["pay"]


@pytest.mark.parametrize(
    ("root", "external"),
    [
        ("http://h:8080/process-api", "http://h:8080/external-job-api"),
        ("http://h/flowable-rest/service/", "http://h/flowable-rest/external-job-api"),
        ("https://h/a/b", "https://h/a/external-job-api"),
    ],
)
def test_the_second_root(root, external):
    assert derive_external_url(root) == external


def test_recognizing():
    assert recognizes({"name": "default", "resourceUrl": None, "exception": None, "version": "7.2.0"})
    assert not recognizes({"version": "7.24.0"})
    assert not recognizes([{"name": "default"}])


def test_a_server_without_a_path_has_no_second_root():
    with pytest.raises(UsageError):
        derive_external_url("nonsense")


def test_a_list_of_instances_has_their_incidents(fake):
    page = engine_of(fake).instances(InstanceFilter(), SortOrder("started", descending=True), limit=100)
    listed = {one.instance.instance_id: one for one in page}
    dead = [(one["processInstanceId"], one["exceptionMessage"]) for one in fake.lists["management/deadletter-jobs"]]
    assert dead
    for instance_id, message in dead:
        assert listed[instance_id].failed_tokens == 1
        assert listed[instance_id].first_error == message
        assert listed[instance_id].live_elements
    assert all(one.incidents == 0 for one in listed.values() if one.instance.instance_id not in dict(dead))


def test_a_suspended_instance_stays_so_in_a_list_of_others(fake):
    engine = engine_of(fake)
    listed = {
        one.instance.instance_id: one.status for one in engine.instances(InstanceFilter(open=True), SortOrder("status"))
    }
    assert listed[CASES["nested4"]] == "SUSPENDED"


@pytest.mark.parametrize("cases", [("trip4",), ("order4", "order6", "trip4", "order20", "nested4")])
def test_dead_letters_of_no_instance_are_told(make_fake, cases):
    fake = make_fake(cases=cases)
    start = {
        "processDefinitionId": "nightly:1:x",
        "handlerType": "timer-start-event",
        "exceptionMessage": "no such bean",
    }
    fake.lists["management/deadletter-jobs"].append({"id": "start", "processInstanceId": None, **start})
    notes = run_debug(engine_of(fake), None, datetime.now(UTC)).notes
    assert "The start of an instance of 'nightly' failed: no such bean." in notes


def test_the_next_command_explains_the_called_instance(fake, tokctl):
    words = ("--server", fake.address, "--engine-kind", "flowable")
    done = tokctl("explain", CASES["nested1"], *words)
    assert done.out.endswith(f" explain {CASES['child_of_nested1']}\n")
