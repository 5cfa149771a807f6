"""Lists, filters, sweeps and their requests; rights, history levels and limits of Camunda 7."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from support.camunda import RECORDED_AT, open_camunda, open_fake
from support.fake_camunda import FakeCamunda
from support.fake_flowable import FakeFlowable
from support.paths import RECORDINGS
from support.replay_server import ReplayServer
from tokctl.engines.camunda7 import recognizes
from tokctl.engines.projection import Projection
from tokctl.errors import InputError, NotAllowedError, NotFoundError, UnreachableError, UsageError
from tokctl.model.filters import RECORDED_ORDER, InstanceFilter, SortOrder, TokenFilter
from tokctl.model.states import FAILED
from tokctl.model.variables import parse_variable_condition
from tokctl.services.debug import run_debug

FOLDER = RECORDINGS / "operaton"
NEWEST = SortOrder("started", descending=True)
RECORDED = SortOrder(RECORDED_ORDER)
FAILED_CASES = {"order4", "order6", "order14", "nested1", "child_of_nested1"}
RUNNING_CASES = FAILED_CASES | {"order12", "order20", "nested4", "trip4", "waiting7"}


@pytest.fixture
def server():
    with FakeCamunda(FOLDER) as server:
        yield server


@pytest.fixture
def engine(server):
    return open_fake(server)


def found(server, engine, where, order=NEWEST, **page):
    """Return the cases of the instances that match."""
    names = {instance_id: case for case, instance_id in server.cases.items()}
    return [names[status.instance.instance_id] for status in engine.instances(where, order, **page)]


# --- filters ---

FILTERS = [
    (InstanceFilter(failed=True), FAILED_CASES),
    (InstanceFilter(open=True), RUNNING_CASES),
    (InstanceFilter(live=True, processes=("nested",)), {"nested1", "nested4"}),
    (InstanceFilter(statuses=("SUSPENDED",)), {"nested4"}),
    (InstanceFilter(statuses=("CANCELLED",)), {"order24"}),
    (InstanceFilter(statuses=("COMPLETED", "CANCELLED")), {"trip0", "waiting3", "nested9", "order24"}),
    (InstanceFilter(processes=("order",), version=2), {"order14"}),
    (InstanceFilter(processes=("tr*", "wait*")), {"trip0", "trip4", "waiting3", "waiting7"}),
    (InstanceFilter(processes=("trip", "waiting")), {"trip0", "trip4", "waiting3", "waiting7"}),
    (InstanceFilter(business_keys=("O-6",)), {"order6"}),
    (InstanceFilter(business_keys=("O-2*",)), {"order20", "order24"}),
    (InstanceFilter(business_keys=("N-?",)), {"nested1", "nested4", "nested9", "child_of_nested1"}),
    (InstanceFilter(until=datetime(2026, 11, 28, 16, 43, 2, tzinfo=UTC)), {"order4"}),
    (InstanceFilter(since=datetime(2026, 11, 28, 16, 43, 8, 400000, tzinfo=UTC)), {"order12"}),
    (InstanceFilter(variables=(parse_variable_condition("customer=cust-4"),)), {"order4"}),
    (InstanceFilter(variables=(parse_variable_condition("amount=90"),)), {"order4"}),
    (InstanceFilter(variables=(parse_variable_condition("people~*bob*"),)), {"nested4"}),
    (InstanceFilter(variables=(parse_variable_condition("reserved=true"),), live=True), {"order4", "order6"}),
]


@pytest.mark.parametrize(("where", "cases"), FILTERS)
def test_filters(server, engine, where, cases):
    assert set(found(server, engine, where)) == cases
    assert engine.count_instances(where) == len(cases)


@pytest.mark.parametrize(("where", "cases"), FILTERS)
def test_filters_that_a_server_does_not_know_change_nothing(where, cases):
    unknown = {"processDefinitionKeyIn", "processInstanceBusinessKeyLike", "processInstanceIds", "processInstanceIdIn"}
    unknown |= {"variableValue", "startedBefore"}
    with FakeCamunda(FOLDER, ignored=unknown) as server:
        assert set(found(server, open_fake(server), where)) == cases


@pytest.mark.parametrize(
    ("where", "parameter"),
    [
        (InstanceFilter(open=True), "unfinished"),
        (InstanceFilter(failed=True), "processInstanceIds"),
        (InstanceFilter(statuses=("SUSPENDED",)), "suspended"),
        (InstanceFilter(processes=("order",)), "processDefinitionKey"),
        (InstanceFilter(business_keys=("O-6",)), "processInstanceBusinessKey"),
        (InstanceFilter(business_keys=("O-*",)), "processInstanceBusinessKeyLike"),
        (InstanceFilter(until=RECORDED_AT), "startedBefore"),
        (InstanceFilter(variables=(parse_variable_condition("customer=cust-4"),)), "variableValue"),
    ],
)
def test_the_server_filters(server, engine, where, parameter):
    found(server, engine, where)
    assert any(parameter in dict(request.query) for request in server.requests)


def test_instances_are_sorted_and_paged_by_the_server(server, engine):
    everything = found(server, engine, InstanceFilter())
    assert len(everything) == 14
    assert everything[0] == "child_of_nested1"
    assert found(server, engine, InstanceFilter(), limit=3, offset=2) == everything[2:5]
    assert dict(server.requests[-1].query)["maxResults"] == "3"
    by_status = found(server, engine, InstanceFilter(), SortOrder("status", descending=True))
    assert by_status[0] == "nested4"  # SUSPENDED


def test_a_list_shows_incidents_and_not_the_numbers_of_tokens(server, engine):
    status = next(one for one in engine.instances(InstanceFilter(), NEWEST) if one.instance.business_key == "O-4")
    assert (status.status, status.failed_tokens, status.tokens_known) == ("ACTIVE", 1, False)
    assert status.first_error == "java.lang.IllegalStateException: no route to ship service"


def test_unknown_ids(server, engine):
    with pytest.raises(NotFoundError, match="no process instance 'nope'"):
        engine.instance("nope")
    assert engine.instance_ids(server.cases["order4"][:8], 5) == [server.cases["order4"]]
    assert engine.instance_ids("nope", 5) == []
    assert engine.token_ids("nope:1", None, 5) == []
    assert engine.latest_instance_id() == server.cases["child_of_nested1"]


def test_tokens_are_found_by_their_ids(server, engine):
    instance_id = server.cases["order4"]
    for token in engine.load_instance(instance_id).tokens:
        assert engine.token_ids(token.token_id, None, 5) == [(instance_id, token.token_id)]
    beginnings = engine.token_ids("pay:c79e66", None, 9)
    assert [(one, token.partition("-")[0]) for one, token in beginnings] == [(instance_id, "pay:c79e668c")]


# --- requests ---


def test_requests_of_one_instance(server):
    for case in server.cases:
        engine = open_fake(server)
        server.requests.clear()
        engine.instance(server.cases[case])
        list(engine.tokens(server.cases[case], TokenFilter(), SortOrder("created")))
        models = len([request for request in server.requests if request.path.endswith("/xml")])
        assert len(server.requests) - models <= 7, (case, [request.text for request in server.requests])
        assert models <= 1  # others are on disk


def test_requests_of_a_list(server, engine):
    list(engine.instances(InstanceFilter(), NEWEST, limit=10))
    assert dict(server.counts) == {"history/process-instance": 1, "incident": 1}
    server.requests.clear()
    list(engine.instances(InstanceFilter(), NEWEST, limit=10, offset=10))
    assert dict(server.counts) == {"history/process-instance": 1}


def debug_requests(copies):
    with FakeCamunda(FOLDER) as server:
        for case in ("order20", "trip4", "order12", "nested4"):
            server.copy_instance(case, copies)
        report = run_debug(open_camunda(server.url, reading=Projection.VISITS_WITH_FLOWS), None, RECORDED_AT)
        return report, len(server.requests)


def test_requests_of_debug_do_not_grow_with_healthy_instances():
    few, requests_for_few = debug_requests(10)
    many, requests_for_many = debug_requests(250)
    assert few.instances == 50
    assert many.instances == 1010
    assert requests_for_many <= requests_for_few
    assert requests_for_many <= 30


def failed_requests(copies):
    with FakeCamunda(FOLDER) as server:
        server.copy_instance("order20", copies)
        tokens = list(open_fake(server).tokens(None, TokenFilter(states=(FAILED,)), SortOrder(RECORDED_ORDER)))
        return {token.element_id for token in tokens}, len(tokens), len(server.requests)


def test_requests_for_failed_tokens_do_not_grow_with_healthy_instances():
    assert failed_requests(0) == failed_requests(1000)
    elements, count, requests = failed_requests(0)
    assert (elements, count) == ({"ship", "pay", "bill", "invoice"}, 5)
    assert requests <= 9 + 5  # one for each troubled instance


def test_many_troubled_instances_are_read_by_sweeps(server):
    server.copy_instance("order4", 300)
    tokens = list(open_fake(server).tokens(None, TokenFilter(states=(FAILED,)), SortOrder(RECORDED_ORDER)))
    assert len(tokens) == 305
    assert len(server.requests) <= 25


def test_sweeps_and_single_instances_agree(server):
    """The tokens of all instances are those of each, the number of attempts aside."""

    def facts(token):
        return token.instance_id, token.token_id, token.state, token.parent_token_id or "", bytes(token.variables)

    everything = open_fake(server)
    swept = sorted(map(facts, everything.tokens(None, TokenFilter(), SortOrder(RECORDED_ORDER))))
    one_by_one = [
        facts(token)
        for case in server.cases.values()
        for token in open_fake(server).tokens(case, TokenFilter(), SortOrder("created"))
    ]
    assert swept == sorted(one_by_one)


def test_a_model_is_fetched_once(server, tmp_path):
    for _ in range(2):
        open_fake(server).load_instance(server.cases["order14"])  # migrated: it has two models
    assert server.counts["process-definition/ID/xml"] == 2


def test_a_model_with_a_number_as_its_id_is_not_kept_on_disk(server):
    """An engine with such ids may use them again."""
    text = "c65ee1aa-eb4a-11f1-90bf-02fc00000001"
    for table in (*server.tables.values(), server.xml):
        for key, row in list(table.items()):
            table[key.replace(text, "26")] = {
                name: value.replace(text, "26") if isinstance(value, str) else value for name, value in row.items()
            }
    for _ in range(2):
        assert open_fake(server).load_instance(server.cases["order4"]).tokens[0].element_name == "Order received"
    xml = [request for request in server.requests if request.path.endswith("/order:1:26/xml")]
    assert len(xml) == 2


# --- what a server keeps back ---


def test_a_server_that_limits_pages():
    with FakeCamunda(FOLDER, max_results=3) as server:
        engine = open_fake(server)
        assert len(found(server, engine, InstanceFilter())) == 14
        assert len(engine.load_instance(server.cases["order4"]).tokens) == 6


def test_the_filter_of_an_instance_must_not_be_ignored():
    ignored = {"processInstanceId"}
    with FakeCamunda(FOLDER, ignored=ignored) as server, pytest.raises(InputError, match="was not requested"):
        open_fake(server).load_instance(server.cases["order4"])


def test_a_password_is_needed():
    with FakeCamunda(FOLDER, user="admin:admin") as server, pytest.raises(NotAllowedError):
        open_camunda(server.url).instance(server.cases["order4"])


def test_nothing_is_no_proof_with_a_credential(monkeypatch):
    warnings = []
    monkeypatch.setattr("tokctl.engines.camunda7.api.warn", warnings.append)
    with FakeCamunda(FOLDER, powerless=True) as server:
        for where in (InstanceFilter(), InstanceFilter(failed=True)):
            assert list(open_camunda(server.url, credential="jo:jo").instances(where, NEWEST)) == []
        assert len(warnings) == 2
        assert all("may lack rights" in text for text in warnings)
        assert list(open_camunda(server.url).instances(InstanceFilter(), NEWEST)) == []
        assert len(warnings) == 2  # without a credential nothing is hidden


@pytest.mark.parametrize(
    "read",
    [
        lambda engine, _: list(engine.instances(InstanceFilter(), NEWEST)),
        lambda engine, _: list(engine.scan_instances(InstanceFilter(failed=True))),
        lambda engine, _: list(engine.suspect_visits(InstanceFilter(live=True))),
        lambda engine, _: list(engine.suspect_visits(InstanceFilter(live=True), TokenFilter(states=(FAILED,)))),
        lambda engine, cases: engine.load_instance(cases["order4"]),
    ],
)
def test_no_incident_is_no_proof_without_the_right_to_read_them(monkeypatch, read):
    warnings = []
    monkeypatch.setattr("tokctl.engines.camunda7.api.warn", warnings.append)
    with FakeCamunda(FOLDER, history_only=True) as server:
        read(open_camunda(server.url, credential="jo:jo"), server.cases)
        assert len(warnings) == 1
        assert "lacks rights" in warnings[0]
    with FakeCamunda(FOLDER) as server:
        read(open_camunda(server.url, credential="jo:jo"), server.cases)
        assert len(warnings) == 1


@pytest.mark.parametrize("credential", [None, "jo:jo"])
def test_no_incidents_are_known_to_be_none_if_nothing_can_be_hidden(server, credential):
    """With a credential, those of a process without any incident may be hidden, unless they can be no more."""
    names = {instance_id: case for case, instance_id in server.cases.items()}
    engine = open_camunda(server.url, root=server.root, credential=credential)
    incidents = {names[one.instance.instance_id]: one.incidents for one in engine.instances(InstanceFilter(), NEWEST)}
    unknown = {case for case, number in incidents.items() if number is None}
    assert unknown == (set() if credential is None else {"trip4", "waiting7"})
    assert {case for case, number in incidents.items() if number} == FAILED_CASES


def test_the_incident_of_a_called_instance_counts_once(engine, server):
    findings = {one.type: one for one in run_debug(engine, None, RECORDED_AT).findings}
    cases = {instance_id: case for case, instance_id in server.cases.items()}
    assert {cases[one.visit.instance_id] for one in findings["FAILED_TOKENS"].matches} == FAILED_CASES - {"nested1"}
    [call] = findings["FAILED_CALLS"].matches
    assert (cases[call.visit.instance_id], call.visit.element_id) == ("nested1", "bill")
    called = server.cases["child_of_nested1"]
    assert call.text.startswith(f"the called instance {called} failed: java.lang.IllegalStateException")
    assert call.facts == {"called_instance_id": called}


PROCESSES = ("order", "trip", "nested", "waiting", "billing")


def test_durations_of_several_processes_are_read_at_once(server, monkeypatch):
    alone = {one: list(open_fake(server).visit_durations(one, None, 2)) for one in PROCESSES}
    engine = open_fake(server)
    before = len(server.requests)
    found = {one: list(engine.visit_durations(one, None, 2)) for one in PROCESSES}
    assert {one: sorted(several) for one, several in found.items()} == {
        one: sorted(several) for one, several in alone.items()
    }
    assert [key for key, _, _ in found["trip"]] == [key for key, _, _ in alone["trip"]]  # the last one first
    paths = [one.text.removeprefix("/engine-rest/") for one in server.requests[before:]]
    assert len([path for path in paths if "processDefinitionKey" in path]) == 2
    assert paths[-2:-1] == ["history/activity-instance/count?finished=true"]
    monkeypatch.setattr("tokctl.engines.camunda7.durations.MAX_COMPARED_VISITS", 3)
    engine.refresh()
    for one in PROCESSES:
        list(engine.visit_durations(one, None, 2))
    assert len([one for one in server.requests[before:] if "processDefinitionKey" in one.text]) == 2 + 5


@pytest.fixture(scope="module")
def crowded():
    """A server with more instances at other elements, and all live tokens."""
    with FakeCamunda(FOLDER) as server:
        server.copy_instance("trip4", 4)
        engine = open_fake(server)
        live = [one.instance.instance_id for one in engine.scan_instances(InstanceFilter(live=True))]
        yield server, [token for one in live for token in engine.load_instance(one).tokens if token.live]


ELEMENTS = ["pay", "Approve order", "ship", "prepare", "bill", "review", "nothing", "pay|Take the payment|join", "p?y"]


@pytest.mark.parametrize("words", ELEMENTS)
def test_live_tokens_are_found_by_their_elements(crowded, words):
    """By ids and by names; what has not begun, scopes and calls are found, too."""
    server, live = crowded
    where = TokenFilter(live=True, elements=tuple(words.split("|")))
    before = len(server.requests)
    found = {token.token_id for token in open_fake(server).tokens(None, where, RECORDED)}
    assert found == {token.token_id for token in live if where.matches(token)}
    assert bool(found) == (words != "nothing")
    lists = [dict(one.query) for one in server.requests[before:] if one.path.endswith("/history/process-instance")]
    assert all(("processInstanceIds" in query) == ("?" not in words) for query in lists)


@pytest.mark.parametrize("options", [{"level": "none"}, {"max_results": 3}])
def test_elements_are_searched_in_all_instances_if_the_server_may_not_find_them(monkeypatch, options):
    monkeypatch.setattr("tokctl.engines.camunda7.instances.warn", lambda _: None)
    with FakeCamunda(FOLDER, **options) as server:
        where = TokenFilter(live=True, elements=("join", "ship"))
        found = {token.instance_id for token in open_fake(server).tokens(None, where, RECORDED)}
        assert found >= {server.cases[case] for case in ("order4", "order6", "order14")}


def test_an_engine_without_history_shows_what_is_live(monkeypatch):
    warnings = []
    monkeypatch.setattr("tokctl.engines.camunda7.instances.warn", warnings.append)
    with FakeCamunda(FOLDER, level="none") as server:
        engine = open_fake(server)
        assert set(found(server, engine, InstanceFilter())) == RUNNING_CASES
        assert "no history" in warnings[0]
        assert engine.count_instances(InstanceFilter()) == len(RUNNING_CASES)
        tokens = open_fake(server).load_instance(server.cases["order4"]).tokens
        assert {token.element_id: token.state for token in tokens} == {"join": "WAITING", "ship": FAILED}
        assert all(token.created_at is None for token in tokens if token.element_id == "join")


def test_a_live_instance_whose_history_was_cleaned_up_is_found_by_its_incident(monkeypatch):
    warnings = []
    monkeypatch.setattr("tokctl.engines.camunda7.instances.warn", warnings.append)
    with FakeCamunda(FOLDER) as server:
        lost = server.cases["order4"]
        del server.tables["instances"][lost]

        def listed(where):
            return [one.instance.instance_id for one in open_fake(server).scan_instances(where)]

        for where in (
            InstanceFilter(failed=True),
            InstanceFilter(live=True),
            InstanceFilter(processes=("order",), business_keys=("O-4",)),
        ):
            assert lost in listed(where)
        assert len(warnings) == 3
        for where in (InstanceFilter(processes=("trip",)), InstanceFilter(statuses=("COMPLETED",))):
            assert lost not in listed(where)
        assert len(warnings) == 3


def test_history_below_full_has_no_variables_and_no_attempts():
    with FakeCamunda(FOLDER, level="activity") as server:
        engine = open_fake(server)
        assert "order4" in found(server, engine, InstanceFilter(failed=True))
        (token,) = (one for one in engine.load_instance(server.cases["order4"]).tokens if one.state == FAILED)
        assert token.context.retries_used is None
        assert token.context.error == "java.lang.IllegalStateException: no route to ship service"


def test_another_engine_of_a_server():
    with FakeCamunda(FOLDER, root="/engine-rest/engine/second") as server:
        assert len(found(server, open_fake(server), InstanceFilter())) == 14


@pytest.mark.parametrize("root", ["/engine-rest", "/engine-rest/engine/second"])
def test_an_engine_that_is_not_there_is_an_error_with_those_that_are(root):
    with FakeCamunda(FOLDER, root=root) as server:
        engine = open_camunda(server.url, root="/engine-rest/engine/n%C3%B6")
        for ask in (
            lambda: list(engine.instances(InstanceFilter(), NEWEST)),
            lambda: engine.instance(server.cases["order4"]),
            lambda: engine.definition("order", None),
        ):
            with pytest.raises(UsageError, match=r"there is no engine 'nö' on http://[^/]+/engine-rest\. ") as caught:
                ask()
            assert caught.value.hint == "Engines there: default, second."


@pytest.mark.parametrize("root", ["/process-api", "/external-job-api"])
def test_a_flowable_server_is_of_another_kind(root):
    """It answers a path that it does not have with status 500."""
    with FakeFlowable() as server:
        engine = open_camunda(server.url, root=root)
        for ask in (
            lambda: list(engine.instances(InstanceFilter(), NEWEST)),
            lambda: engine.instance("nope"),
            lambda: list(engine.suspect_visits(InstanceFilter())),
        ):
            with pytest.raises(UnreachableError, match="does not respond like a server of kind camunda7") as caught:
                ask()
            assert "--engine-kind" in caught.value.hint


def test_recognition():
    assert recognizes([{"name": "default"}])
    assert not recognizes([])
    assert not recognizes({"name": "default"})
    assert not recognizes([{"name": "default", "version": "8"}])


def test_the_error_of_an_engine_is_one_line():
    with ReplayServer(FOLDER, variant="a user without authorizations", lenient=True) as server:
        with pytest.raises(NotFoundError, match="may not read it") as caught:
            open_camunda(server.url, credential="jo:jo").instance("c72d1c0d-eb4c-11f1-996d-02fc00000001")
        assert "\n" not in str(caught.value)


def test_debug_of_ended_instances_reads_their_history(server):
    engine = open_camunda(server.url, reading=Projection.VISITS_WITH_FLOWS)
    counts = {
        status.instance.business_key: (status.tokens_known, len(list(visits)))
        for status, visits in engine.suspect_visits(InstanceFilter(), flows=True)
    }
    assert counts["T-0"] == (True, 7)  # ended
    assert counts["O-4"] == (True, 6)  # has an incident
    assert counts["T-4"] == (False, 1)  # healthy: its live token alone


@pytest.mark.parametrize("cases", [("order4", "trip4"), ()])
def test_incidents_of_no_instance_are_told(server, engine, cases):
    server.keep(*cases) if cases else server.tables["instances"].clear()
    cause = {"processDefinitionId": "nightly:1:x", "activityId": "at_night", "incidentMessage": "no such bean"}
    for number, activity in enumerate(["at_night", "at_night", None]):
        row = {"id": f"start-{number}", "processInstanceId": None, **cause, "activityId": activity}
        server.tables["incidents"][row["id"]] = row
    told = [
        "The start of an instance of 'nightly' failed at 'at_night' 2 times: no such bean.",
        "A job without an instance of 'nightly' failed: no such bean.",
    ]
    assert list(run_debug(engine, None, RECORDED_AT).notes[:2]) == told


def test_incidents_of_no_instance_are_told_by_the_list_of_incidents(server, tokctl):
    server.keep("trip4")
    row = {"id": "start", "processInstanceId": None, "processDefinitionId": None, "incidentMessage": None}
    server.tables["incidents"][row["id"]] = row
    done = tokctl("incidents", "list", "--server", server.url, "--engine-kind", "camunda7")
    assert (done.code, done.out) == (0, "")
    assert "A job without an instance failed: no error message was recorded." in done.err


def test_a_list_of_failed_instances_on_a_small_terminal_has_the_processes(server, tokctl):
    words = ("instances", "list", "--failed", "--server", server.url, "--engine-kind", "camunda7")
    done = tokctl(*words, "--color", "never", tty=True, width=80)
    heading = next(line for line in done.out.splitlines() if line.startswith("INSTANCE"))
    assert {"PROCESS", "STATUS", "ERROR"} <= set(heading.split())
