"""The engine of atomd: against what a running one answered, and against documents made up in its manner."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from support.builders import raw
from support.fake_atomd import SECRET, FakeAtomd, Made
from tokctl.client import Client, Connection
from tokctl.engines import connect as opening
from tokctl.engines.atomd.documents import parse_moment
from tokctl.engines.atomd.engine import AtomdEngine
from tokctl.engines.ids import resolve_instance, resolve_token
from tokctl.engines.projection import Projection
from tokctl.errors import InputError, NotAllowedError, NotFoundError, UnreachableError
from tokctl.model.filters import ALL_TOKENS, InstanceFilter, SortOrder, TokenFilter
from tokctl.model.tokens import NULL

CREATED = SortOrder("created")
DONE, FIRST, SECOND = "srv1-6iQSX7z5IzZTZDEnO1", "srv1-gbf2HaqHNivynfHHuZ", "srv1-w5DaVNp5VENE3PSloK"


@pytest.fixture
def fake():
    made = FakeAtomd()
    yield made
    made.close()


def engine_of(fake: FakeAtomd, reading: Projection = Projection.TOKENS) -> AtomdEngine:
    opening._warned.clear()
    connection = Connection(url=fake.url, credential=lambda: SECRET)
    return AtomdEngine(Client(connection, sleep=lambda _: None), fake.url, reading)


ORDER = """<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL" xmlns:zeebe="urn:zeebe" id="d">
<process id="order" isExecutable="true"><startEvent id="start"/>
<serviceTask id="pay" name="Pay">
<extensionElements><zeebe:taskDefinition type="charge"/></extensionElements></serviceTask>
<userTask id="review"/><serviceTask id="ship"/><endEvent id="end"/>
<sequenceFlow id="f1" sourceRef="start" targetRef="pay"/><sequenceFlow id="f2" sourceRef="pay" targetRef="review"/>
<sequenceFlow id="f3" sourceRef="review" targetRef="ship"/><sequenceFlow id="f4" sourceRef="ship" targetRef="end"/>
</process></definitions>"""


def of_made(made: Made) -> AtomdEngine:
    return engine_of(FakeAtomd(made))


@pytest.fixture(autouse=True)
def _state(monkeypatch, tmp_path):
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path / "state"))


def test_the_tokens_of_a_live_instance(fake):
    pay, ship, split = sorted(engine_of(fake).tokens(SECOND, ALL_TOKENS, CREATED), key=lambda one: one.element_id)
    assert set(split.child_tokens) == {pay.token_id, ship.token_id}
    assert pay.child_tokens == ()
    assert (pay.element_type, pay.element_name, split.element_type) == ("serviceTask", "Pay", "parallelGateway")
    assert (pay.state, pay.process_id, pay.parent_token_id) == ("WAITING", "order-proc", split.token_id)
    assert pay.created_at == datetime(2026, 11, 21, 17, 10, 37, 588474, tzinfo=UTC), "when it arrived, not its creation"
    assert pay.completed_at is None
    assert [(hop.from_element, hop.via_flow, hop.certainty) for hop in pay.hops] == [("split", "f2", "reconstructed")]
    assert msgspec.json.decode(pay.execution_context) == {
        "job_key": "srv1-RbZxlSlbpMFKV2239I",
        "job_type": "pay",
        "worker_id": "w1",
        "retries_left": 3,
        "waiting_for": "job:srv1-RbZxlSlbpMFKV2239I",
    }
    assert split.execution_context == NULL
    assert msgspec.json.decode(pay.variables) == {"amount": 200.5, "orderId": "ORD-2"}


def test_an_instance_that_has_ended(fake):
    engine = engine_of(fake)
    status = engine.instance(DONE)
    assert (status.status, status.status_derived, status.total_tokens, status.live_tokens) == ("COMPLETED", False, 5, 0)
    assert status.instance.version == 1
    assert status.started_at == datetime(2026, 11, 21, 17, 10, 37, tzinfo=UTC)
    assert status.ended_at == datetime(2026, 11, 21, 17, 10, 38, 779872, tzinfo=UTC)
    visits = list(engine.tokens(DONE, ALL_TOKENS, CREATED))
    assert sorted(one.element_id for one in visits) == ["end", "join", "pay", "ship", "split"]
    # The tokens have gone on from the tasks: what the jobs tell is about earlier visits.
    assert {one.element_id for one in visits if one.context.job_key} == {"pay", "ship"}
    assert all("@" in one.token_id for one in visits if one.context.job_key)


def test_lists_ids_and_durations(fake):
    engine = engine_of(fake)
    everyone = list(engine.instances(InstanceFilter(), SortOrder("started", descending=True)))
    assert [one.instance.instance_id for one in everyone] == [DONE, SECOND, FIRST]
    assert [one.tokens_known for one in everyone] == [False] * 3
    assert engine.count_instances(InstanceFilter(live=True)) == 2
    assert engine.latest_instance_id() == DONE
    assert resolve_instance(engine, "srv1-w") == SECOND
    assert resolve_token(engine, "srv1-RWSdZMmVtYdBBWYBfK") == (SECOND, "srv1-RWSdZMmVtYdBBWYBfK")
    assert resolve_token(engine, "srv1-RWS", SECOND) == (SECOND, "srv1-RWSdZMmVtYdBBWYBfK")
    with pytest.raises(NotFoundError):
        resolve_token(engine, "srv1-RWS")
    assert list(engine.visit_durations("order-proc", {"join"}, 10)) == []
    assert engine.summary(SECOND).token_states["WAITING"] == 2
    assert engine.count_tokens(SECOND, TokenFilter(workers=("w*",))) == 2
    assert not engine.unread


def test_visits_of_all(fake):
    engine = engine_of(fake, Projection.VISITS)
    found = {
        status.instance.instance_id: {v.element_name for v in visits if v.live}
        for status, visits in engine.all_visits(InstanceFilter(open=True))
    }
    assert found == {FIRST: {"Pay", "Ship"}, SECOND: {"Pay", "Ship"}}
    assert sum("/jobs" in path for path in fake.asked) <= 2, "jobs are asked for once"


@pytest.mark.parametrize("unknown", ["srv1-aaaaaaaaaaaaaaaaaa", "x", "srv1-../..", "%00"])
def test_an_unknown_instance(fake, unknown):
    engine = engine_of(fake)
    for ask in (engine.instance, engine.summary, lambda one: list(engine.tokens(one, ALL_TOKENS, CREATED))):
        with pytest.raises(NotFoundError, match=r"no process instance"):
            ask(unknown)


def test_the_model(fake):
    engine = engine_of(fake)
    model = engine.definition("order-proc", 1)
    assert model is not None
    assert model == engine.definition("order-proc", None)
    assert set(model.elements) == {"start", "split", "pay", "ship", "join", "end"}
    assert (model.flows["f2"].source, model.flows["f2"].target) == ("split", "pay")
    assert model.elements["join"].incoming == ("f4", "f5")
    assert model.xml is not None
    assert "<bpmn:process" in model.xml
    assert engine.definition("order-proc", 2) is None
    assert engine.definition("other", None) is None


def test_a_key_that_may_not_see_jobs_or_models(fake, capsys):
    fake.refused = ("jobs", "bpmn")
    engine = engine_of(fake, Projection.VISITS)
    for _, visits in engine.all_visits(InstanceFilter()):
        found = list(visits)
        assert [one.element_type for one in found] == [None] * len(found)
        assert [one.context.job_key for one in found] == [None] * len(found)
        assert {one.context.entered_by for one in found} == {"unknown"}
        assert [one.parent_token_id for one in found] == [None] * len(found), "without a model no edge is known"
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2, said
    assert any("Workers, retries and timeouts" in line for line in said)
    assert engine.definition("order-proc", None) is None


def test_refusals(fake):
    fake.refused = ("processes",)
    with pytest.raises(NotAllowedError):
        engine_of(fake).instance(SECOND)
    fake.broken = True
    with pytest.raises(UnreachableError, match=r"auth\.enabled: false"):
        engine_of(fake).instance(SECOND)


def test_a_server_of_another_kind_is_forgotten(monkeypatch, tmp_path):
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path))
    from tokctl.config.remembered_servers import ENGINE_SERVERS, RememberedServer

    fake = FakeAtomd(lambda *_: None)
    ENGINE_SERVERS.remember(fake.url, RememberedServer("atomd"))
    with pytest.raises(UnreachableError, match="detect the kind again"):
        list(engine_of(fake).instances(InstanceFilter(), SortOrder("started")))
    assert ENGINE_SERVERS.load(fake.url) is None
    fake.close()


# --- made up -----------------------------------------------------------------------------------------


def document(number: int, **fields) -> dict:
    return {
        "token_id": f"t{number}",
        "process_instance_id": "i1",
        "element_id": "pay",
        "status": "WAITING",
        "variables": {},
        "created_at": f"2026-11-21T17:10:{number % 60:02}.123456789Z",
        "is_active": False,
    } | fields


def about(**fields) -> dict:
    return {
        "instance_id": "i1",
        "process_definition_id": "order",
        "version": 1,
        "status": "ACTIVE",
        "started_at": "2026-11-21T17:10:00Z",
        "updated_at": "0001-01-01T00:00:00Z",
    } | fields


@pytest.mark.parametrize("shift", [0, 1, 3])
@pytest.mark.parametrize("number", [1, 49, 50, 51, 137])
def test_pages_in_any_order(number, shift):
    made = Made(page=50, shift=shift)
    made.instances = [about()]
    made.tokens["i1"] = [document(n, created_at=f"2026-11-21T17:{n // 60:02}:{n % 60:02}Z") for n in range(number)][
        ::-1
    ]
    found = list(of_made(made).tokens("i1", ALL_TOKENS, CREATED))
    assert [one.token_id for one in found] == [f"t{n}" for n in range(number)]


def test_a_token_that_came_twice_counts_as_it_was_last():
    made = Made(page=2, shift=1)
    made.instances = [about()]
    old = document(1, status="WAITING", updated_at="2026-11-21T17:11:00Z")
    new = document(1, status="COMPLETED", updated_at="2026-11-21T17:12:00Z", completed_at="2026-11-21T17:12:00Z")
    made.tokens["i1"] = [new, document(2), old, document(3)]
    states = {one.token_id: one.state for one in of_made(made).tokens("i1", ALL_TOKENS, CREATED)}
    assert states == {"t1": "COMPLETED", "t2": "WAITING", "t3": "WAITING"}


def test_a_token_in_whose_place_another_came_twice_is_asked_for_again():
    made, asked = Made(), []
    made.instances = [about()]
    pages = [[document(1), document(2)], [document(2)], [document(3), document(1)], [document(2)]]

    def answer(path: str, query: dict[str, str]):
        if "/tokens" not in path:
            return made(path, query)
        asked.append(query["offset"])
        data = {"tokens": pages[len(asked) - 1], "total_count": 3, "has_more": query["offset"] == "0"}
        return 200, {"success": True, "data": data}

    found = engine_of(FakeAtomd(answer)).tokens("i1", ALL_TOKENS, CREATED)
    assert [one.token_id for one in found] == ["t1", "t2", "t3"]
    assert asked == ["0", "2", "0", "2"]


def job(key: str, token_id: str, **fields) -> dict:
    return {
        "key": key,
        "type": "charge",
        "process_instance_id": "i1",
        "variables": {"_tokenID": token_id},
        "retries": 2,
        "deadline": 0,
        "worker": "",
        "state": "PENDING",
        "created_at": 1795281037,
    } | fields


def test_states_times_and_jobs():
    made = Made(page=2, xml=ORDER)
    made.instances = [about(status="CANCELED", completed_at="2026-11-21T17:20:00Z")]
    made.tokens["i1"] = [
        document(1, status="CANCELED", completed_at="2026-11-21T17:15:00.9Z"),
        document(2, status="FAILED", updated_at="2026-11-21T17:16:00Z", completed_at="2026-11-21T17:16:00Z"),
        document(3, status="WAITING"),
        document(4, status="COMPLETED", element_id="end"),
        document(5, status="ACTIVE"),
    ]
    made.jobs = [
        job("j2", "t3", created_at=1795281040, deadline=1795281100, worker="w", state="RUNNING"),
        job("j3", "t3", created_at=1795281039, worker="x"),
        job("j1", "t3", state="COMPLETED", worker="old"),
        job("j4", "t4", state="COMPLETED"),
        job("j5", "t5", state="COMPLETED"),
        job("j6", "nobody", process_instance_id="other"),
        job("j7", "t2", state="FAILED", created_at=1795281038, error_message="no stock"),
        {"key": "j8", "variables": None, "state": "COMPLETED", "process_instance_id": "i1"},
    ]
    engine = of_made(made)
    visits = {one.token_id: one for one in engine.tokens("i1", ALL_TOKENS, CREATED)}
    assert visits.keys() == {"t1", "t2", "t3", "t3@j1", "t4", "t4@j4", "t5", "t5@j5"}
    cancelled, failed, waiting, active = (visits[one] for one in ("t1", "t2", "t3", "t5"))
    assert (cancelled.state, cancelled.completed_at) == ("CANCELLED", None)
    assert cancelled.cancelled_at == datetime(2026, 11, 21, 17, 15, 0, 900000, tzinfo=UTC)
    assert cancelled.created_at is None, "when it arrived is unknown"
    assert (failed.completed_at, failed.finished_at) == (None, datetime(2026, 11, 21, 17, 16, tzinfo=UTC))
    assert failed.created_at == datetime.fromtimestamp(1795281038, UTC), "when its job was created"
    assert failed.error == "no stock"
    assert (waiting.context.worker_id, waiting.context.retries_left) == ("w", 2)
    assert waiting.context.timeout_at == datetime.fromtimestamp(1795281100, UTC)
    assert visits["t4"].context.job_key is None, "no job is done at an end event"
    assert active.context.job_key is None, "it waits for what has not been made"
    status = engine.instance("i1")
    assert (status.status, status.instance.updated_at) == ("CANCELLED", None)


def test_four_kinds_of_time():
    at = datetime(2026, 11, 21, 17, 10, 37, tzinfo=UTC)
    seconds = int(at.timestamp())
    for value in (
        "2026-11-21T17:10:37Z",
        "2026-11-21T17:10:37.000000000Z",
        seconds,
        seconds * 1000,
        seconds * 10**6,
        seconds * 10**9,
    ):
        assert parse_moment(value) == at, value
    for nothing in (None, "", 0, "0001-01-01T00:00:00Z"):
        assert parse_moment(nothing) is None


def test_what_is_of_another_shape_is_told_with_its_place():
    made = Made()
    made.instances = [about()]
    made.tokens["i1"] = [document(1), document(2, element_id=7)]
    with pytest.raises(
        InputError, match=r"/processes/i1/tokens/typed: \$\.data\.tokens\[1\]\.element_id: expected text"
    ):
        list(of_made(made).tokens("i1", ALL_TOKENS, CREATED))
    made.tokens["i1"] = [document(1, process_instance_id="i2")]
    with pytest.raises(InputError, match="'i2' was not requested"):
        list(of_made(made).tokens("i1", ALL_TOKENS, CREATED))


def test_nothing_of_what_is_here_is_shared_between_looks():
    made = Made()
    made.instances = [about()]
    made.tokens["i1"] = [document(1)]
    engine = of_made(made)
    assert engine.count_tokens("i1", ALL_TOKENS) == 1
    made.tokens["i1"].append(document(2))
    assert engine.count_tokens("i1", ALL_TOKENS) == 1
    assert engine.refresh()
    assert engine.count_tokens("i1", ALL_TOKENS) == 2
    assert next(engine.tokens("i1", ALL_TOKENS, CREATED)).variables == raw({})
