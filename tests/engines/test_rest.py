"""The REST engine over a real server: polls, streams, faulty answers, instances that cannot be read, an outage."""

from __future__ import annotations

import json
import sys
from itertools import pairwise

import msgspec
import pytest

from support.builders import at, instance, token, tokens
from support.commandline import NOW, Stream
from support.documented_server import DocumentedServer
from support.serving import Served, grant
from tokctl.__main__ import run
from tokctl.engines.as_of import AsOfEngine
from tokctl.engines.ids import resolve_instance
from tokctl.engines.projection import Projection
from tokctl.engines.remote import MAX_CONSECUTIVE_FAILURES
from tokctl.errors import InputError, NotAllowedError, NotFoundError, UnreachableError
from tokctl.model.filters import ALL_TOKENS, InstanceFilter, SortOrder, TokenFilter
from tokctl.model.tokens import NULL
from tokctl.store import open_store

CREATED = SortOrder("created")
EVERYONE = InstanceFilter()


@pytest.fixture
def served(store_path):
    server = Served(store_path)
    yield server
    server.close()


def put(served: Served, instance_id: str, several: list, **about) -> None:
    with open_store(str(served.path), write=True, create=True) as store, store.write() as batch:
        batch.put(instance(instance_id, **{"process_id": "order", "started_at": at(0)} | about), several)


def asked(served: Served) -> list[tuple[str, int]]:
    """What the server was asked since the last time, without what all paths begin with."""
    found = [(path.removeprefix("/api/v1/processes"), status) for path, status in served.asked]
    served.asked.clear()
    return found


# --- refreshing ---------------------------------------------------------------------------------------


def look(engine, instance_id: str = "i1") -> tuple:
    return engine.instance(instance_id), list(engine.tokens(instance_id, ALL_TOKENS, CREATED))


def test_a_look_at_what_has_not_changed_is_one_304(served):
    put(served, "i1", tokens(3, state="ACTIVE"))
    engine = served.engine()
    resolve_instance(engine, "i")
    assert engine.refresh()
    before = look(engine)
    asked(served)
    for _ in range(3):
        assert engine.refresh() is False
        assert [status for _, status in asked(served)] == [304]
    assert look(engine) == before
    assert asked(served) == []
    put(served, "other", tokens(1, "other"))
    assert engine.refresh() is False, "another instance is none of it"
    put(served, "i1", tokens(4, state="ACTIVE"))
    assert engine.refresh()
    status, found = look(engine)
    assert (status.total_tokens, len(found)) == (4, 4)
    put(served, "i1", [], status="COMPLETED")
    assert engine.refresh()
    assert look(engine)[0].status == "COMPLETED"


def test_of_open_instances_only_those_that_changed_are_read_again(served):
    for name in ("i1", "i2", "i3"):
        put(served, name, tokens(2, name, state="ACTIVE"))
    engine = served.engine()
    where, newest = InstanceFilter(open=True), SortOrder("started", descending=True)

    def all_of_them() -> dict[str, int]:
        ids = [status.instance.instance_id for status in engine.instances(where, newest, limit=9)]
        return {one: len(look(engine, one)[1]) for one in ids}

    engine.refresh()
    assert all_of_them() == {"i1": 2, "i2": 2, "i3": 2}
    asked(served)
    assert engine.refresh() is False
    assert [status for _, status in asked(served)] == [304]
    put(served, "i2", tokens(3, "i2", state="ACTIVE"))
    assert engine.refresh()
    assert all_of_them() == {"i1": 2, "i2": 3, "i3": 2}
    statuses = [status for path, status in asked(served) if "/tokens" in path]
    assert sorted(statuses) == [200, 304, 304]


def test_a_page_of_tokens_is_asked_for_without_variables_that_are_not_shown(served):
    put(served, "i1", tokens(3, variables={"a": 1}))
    engine = served.engine()
    for projection, has_variables in ((Projection.TOKENS, True), (Projection.VISITS, False)):
        asked(served)
        found = list(engine.tokens("i1", ALL_TOKENS, CREATED, limit=2, projection=projection))
        assert [one.variables != NULL for one in found] == [has_variables] * 2
        assert ["include_variables=false" in path for path, _ in asked(served) if "/tokens" in path] == [
            not has_variables
        ]


def test_a_status_that_was_read_before_the_tokens_does_not_outlive_them(served):
    """The instance ends between two requests of one look: the next look has to see it."""
    put(served, "i1", tokens(1, state="ACTIVE"))
    engine = served.engine()
    resolve_instance(engine, "i1")
    engine.refresh()
    assert engine.instance("i1").status == "ACTIVE"
    put(served, "i1", tokens(1, updated_at=at(9)), status="COMPLETED")
    assert [one.state for one in engine.tokens("i1", ALL_TOKENS, CREATED)] == ["COMPLETED"]
    assert engine.refresh()
    assert engine.instance("i1").status == "COMPLETED"


def test_one_that_has_gone(served):
    put(served, "i1", tokens(1))
    engine = served.engine()
    resolve_instance(engine, "i1")
    engine.refresh()
    look(engine)
    with open_store(str(served.path), write=True) as store:
        store.prune(NOW.replace(year=2030))
    assert engine.refresh()
    with pytest.raises(NotFoundError, match="no process instance 'i1'"):
        look(engine)


# --- very many tokens ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    server = Served(tmp_path_factory.mktemp("large") / "large.db")
    put(server, "i1", [*tokens(21_000, variables={"text": "x" * 20}), token("live", state="ACTIVE", created_at=at(-1))])
    yield server
    server.close()


def test_very_many_tokens_are_streamed(large):
    engine = large.engine()
    assert engine.instance("i1").total_tokens == 21_001
    asked(large)
    found = engine.tokens("i1", ALL_TOKENS, CREATED)
    first = next(found)
    assert first.token_id == "live"
    assert sum(1 for _ in found) == 21_000
    assert engine.summary("i1").total_tokens == 21_001
    assert engine.count_tokens("i1", TokenFilter(states=("ACTIVE",))) == 1
    assert engine.token("i1", "t77").created_at == at(77)
    with pytest.raises(NotFoundError):
        engine.token("i1", "none")
    some = list(engine.tokens("i1", TokenFilter(states=("COMPLETED",)), SortOrder("created", descending=True), limit=3))
    assert [one.token_id for one in some] == ["t20999", "t20998", "t20997"]
    backwards = engine.tokens("i1", ALL_TOKENS, SortOrder("created", descending=True))
    assert all(one.created_at > other.created_at for one, other in pairwise(backwards))
    assert not any(path == "/i1/tokens" and status == 200 for path, status in asked(large)[2:])


def test_analyses_read_them_lean(large):
    engine = large.engine(Projection.VISITS)
    assert sum(1 for _ in engine.visits("i1")) == 21_001
    assert (
        sum(len(visit_batches.state) for _, several in engine.visit_batches(EVERYONE) for visit_batches in several)
        == 21_001
    )
    assert all("include_variables=false" in path for path, _ in asked(large) if "/tokens" in path)


def test_a_look_at_very_many_that_have_not_changed_is_one_304(large):
    engine = large.engine()
    resolve_instance(engine, "i1")
    engine.refresh()
    look(engine)
    asked(large)
    assert engine.refresh() is False
    assert [status for _, status in asked(large)] == [304]


# --- faulty answers ---------------------------------------------------------------------------------------


def said(data: object) -> bytes:
    return msgspec.json.encode({"success": True, "data": data, "request_id": "r"})


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (
            said({"tokens": [{"token_id": "t", "element_id": "e", "state": 7}]}),
            r"\$\.data\.tokens\[0\]\.state: expected",
        ),
        (said({"tokens": [{"token_id": "t", "element_id": "e"}]}), r"\$\.data\.tokens\[0\]\.state: missing"),
        (said({"tokens": {"no": "list"}}), r"\$\.data\.tokens: expected an array"),
        (said({"token": []}), r"\$\.data\.tokens: missing"),
        (
            said({"tokens": [{"token_id": "t", "element_id": "e", "state": "A", "instance_id": "other"}]}),
            "not requested",
        ),
        (said({"tokens": [], "summary": {"total_tokens": "x"}}), r"\$\.data\.summary"),
        (said(7), r"\$\.data: expected a JSON object"),
        (b'{"success": false, "error": {"code": "X", "message": "no"}}', "error in a response with status 200"),
        (b"[1, 2", r"\$: expected a JSON object"),
        (b'{"data": ', "not JSON: line 1, column 10: data: unexpected end"),
        (b"<html>", "status 200, .*: this is an HTML page, not JSON"),
        (b"", "is empty"),
    ],
)
def test_an_answer_of_another_shape_is_told_with_address_and_place(served, body, says):
    put(served, "i1", tokens(2))
    served.spoil = lambda path: (200, body) if "/tokens" in path else None
    for ask in (
        lambda engine: list(engine.tokens("i1", ALL_TOKENS, CREATED)),
        lambda engine: list(engine.visits("i1")),
    ):
        for reading in (Projection.TOKENS, Projection.VISITS):
            with pytest.raises(InputError, match=says) as caught:
                ask(served.engine(reading))
            assert f"{served.url}/api/v1/processes/i1/tokens" in str(caught.value)
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (said({"instances": [{"instance_id": 3}]}), r"/processes: \$\.data\.instances\[0\]\.instance_id: expected"),
        (
            said(
                {
                    "instances": [
                        {"instance_id": "i1", "started_at": "x", "total_tokens": 1, "live_tokens": 1, "derived": []}
                    ]
                }
            ),
            r"instances\[0\]\.started_at",
        ),
        (said({}), r"\$\.data\.instances: missing"),
    ],
)
def test_a_list_of_another_shape(served, body, says):
    served.spoil = lambda _: (200, body)
    with pytest.raises(InputError, match=says):
        list(served.engine().instances(EVERYONE, SortOrder("started")))


def test_an_unknown_instance_and_a_missing_permission(served):
    put(served, "i1", tokens(1))
    with pytest.raises(NotFoundError, match=r"no process instance '\.\./x\?y' on http://127"):
        served.engine().instance("../x?y")
    served.secret = grant(served.path, "process")
    with pytest.raises(NotAllowedError, match=r"permission 'token'.*give the instance before the token"):
        served.engine().token_ids("t", None, 5)
    served.secret = grant(served.path, "token")
    with pytest.raises(NotAllowedError, match="permission 'process'"):
        served.engine().instance_ids("", 2)


# --- some that cannot be read ---------------------------------------------------------------------------------


@pytest.fixture
def six(served, monkeypatch, tmp_path):
    for number in range(6):
        put(served, f"i{number}", tokens(2, f"i{number}", state="ACTIVE"), started_at=at(number))
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("TOKCTL_API_KEY", served.secret)
    monkeypatch.setenv("TOKCTL_SERVER", served.url)
    return served


BROKEN = (200, said({"tokens": 7}))


def test_what_cannot_be_read_is_noted_and_what_has_gone_left_out(six):
    engine = six.engine(Projection.VISITS)
    steps = []
    engine.watch_progress(lambda done, total: steps.append((done, total)))
    gone = (404, b'{"success": false, "error": {"code": "PROCESS_INSTANCE_NOT_FOUND", "message": ""}}')
    six.spoil = lambda path: BROKEN if "/i2/" in path else gone if "/i4/" in path else None
    found = [status.instance.instance_id for status, _ in engine.all_visits(EVERYONE)]
    assert found == ["i0", "i1", "i3", "i5"]
    assert [one.instance_id for one in engine.unread] == ["i2"]
    assert "$.data.tokens: expected an array" in engine.unread[0].message
    assert steps == [(number, 6) for number in range(7)]
    engine.refresh()
    assert not engine.unread


def test_all_that_cannot_be_read_is_an_error(six):
    six.spoil = lambda path: BROKEN if "/tokens" in path else None
    with pytest.raises(InputError, match="expected an array"):
        list(six.engine(Projection.VISITS).all_visits(EVERYONE))


@pytest.mark.parametrize("words", [("debug",), ("perf",), ("debug", "--at", "2025-01-11T10:39:00Z")])
def test_commands_tell_what_they_could_not_read(six, tokctl, monkeypatch, words):
    for name in ("TOKCTL_API_KEY", "TOKCTL_SERVER", "TOKCTL_STATE_DIR"):  # which the fixture has cleared
        monkeypatch.setenv(
            name, {"TOKCTL_API_KEY": six.secret, "TOKCTL_SERVER": six.url}.get(name, str(six.path.parent))
        )
    now = at(60)
    words = tuple(word if not word.startswith("2025") else at(50).isoformat() for word in words)
    assert tokctl(*words, "-o", "json", now=now).code == 0
    six.spoil = lambda path: BROKEN if "/i2/" in path else None
    ran = tokctl(*words, "-o", "json", now=now)
    assert ran.code == 5
    assert ran.err.startswith("Cannot read 1 instance: i2: http://")
    assert json.loads(ran.out)["summary" if words[0] == "debug" else "instances"]
    six.spoil = lambda path: BROKEN if "/tokens" in path else None
    ran = tokctl(*words, "-o", "json", now=now)
    assert ran.code == 7
    assert ran.out == ""


def test_what_is_left_out_is_not_said_to_have_ended(six, tokctl, monkeypatch):
    put(six, "over", tokens(1, "over"), status="COMPLETED")
    gone = (404, b'{"success": false, "error": {"code": "PROCESS_INSTANCE_NOT_FOUND", "message": ""}}')
    six.spoil = lambda path: BROKEN if "/i2/" in path else gone if "/i4/" in path else None
    monkeypatch.setenv("TOKCTL_API_KEY", six.secret)
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(six.path.parent))
    ran = tokctl("debug", "--server", six.url, now=at(60))
    assert ran.code == 5
    assert "1 ended instance is not checked" in ran.out + ran.err
    past = tokctl("debug", "--server", six.url, "--at", at(50).isoformat(), now=at(60))
    assert past.code == 5
    assert "Cannot read 1 instance: i2" in past.err


def test_very_many_in_a_row_that_cannot_be_read_end_it(served):
    for number in range(MAX_CONSECUTIVE_FAILURES + 5):
        put(served, f"i{number:02}", tokens(1, f"i{number:02}", state="ACTIVE"))
    served.spoil = lambda path: BROKEN if "/tokens" in path and "/i00/" not in path else None
    with pytest.raises(
        InputError,
        match=f"^{MAX_CONSECUTIVE_FAILURES} consecutive instances could not be read. Last error: http.*/i20/",
    ):
        list(served.engine(Projection.VISITS).all_visits(EVERYONE))


# --- few requests -------------------------------------------------------------------------------------------


def test_whether_there_is_just_one_instance_is_asked_with_one_small_request(six):
    engine = six.engine()
    asked(six)
    assert engine.instance_ids("", 2) == ["i0", "i1"]
    assert asked(six) == [("?instance=&limit=10", 200)]


def test_of_a_server_that_tells_no_totals_each_instance_is_read_once(six):
    server = DocumentedServer(six.path, honours=False)
    engine = server.engine(Projection.VISITS)
    server.spoil = lambda path: BROKEN if "/i2/" in path else None
    for _ in range(2):
        assert sum(1 for _ in engine.all_visits(EVERYONE)) == 5
        assert [one.instance_id for one in engine.unread] == ["i2"]
    server.asked.clear()
    assert engine.count_instances(EVERYONE) == 5
    assert engine.count_instances(InstanceFilter(open=True)) == 5
    assert server.asked == []
    engine.refresh()
    server.spoil = lambda _: None
    assert engine.count_instances(InstanceFilter(open=True)) == 6
    server.close()


def test_how_instances_stood_is_worked_out_once(six):
    engine = AsOfEngine(six.engine(Projection.VISITS_WITH_FLOWS), at(50))
    gone = (404, b'{"success": false, "error": {"code": "PROCESS_INSTANCE_NOT_FOUND", "message": ""}}')
    six.spoil = lambda path: gone if "/i4/" in path else None
    assert sum(1 for _ in engine.all_visits(EVERYONE)) == 5
    asked(six)
    assert engine.count_instances(InstanceFilter(open=True)) == 5
    assert engine.count_instances(InstanceFilter(statuses=("COMPLETED",))) == 0
    assert not [path for path, _ in asked(six) if "/tokens" in path]
    few = engine.instances(EVERYONE, SortOrder("started"), limit=9)
    assert [status.instance.instance_id for status in few] == ["i0", "i1", "i2", "i3", "i5"]


# --- an outage ----------------------------------------------------------------------------------------------


def test_a_server_that_is_killed_and_started_again_under_watch(served, clock, monkeypatch, tmp_path):
    put(served, "i1", tokens(1, state="ACTIVE"))
    state = {"server": served}
    port, secret = served.port, served.secret

    def restart() -> None:
        put(served, "i1", tokens(2, state="ACTIVE"))
        state["server"] = Served(served.path, port=port, secret=secret)

    clock.at(10, served.close)
    clock.at(30, restart)
    clock.at(70, lambda: put(served, "i1", tokens(2, updated_at=at(99)), status="COMPLETED"))
    out, err = Stream(), Stream()
    with monkeypatch.context() as patch:
        patch.setenv("TOKCTL_STATE_DIR", str(tmp_path))
        patch.setenv("TOKCTL_API_KEY", secret)
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        code = run(["tokens", "watch", "i1", "--server", served.url], clock=clock)
    events = [json.loads(line) for line in out.written().splitlines()]
    names = [event["event"] for event in events]
    assert code == 0, err.written()
    assert names[:3] == ["watching", "tokens_updated", "error"], names
    assert "connection refused" in events[2]["message"]
    assert names[3:5] == ["recovered", "tokens_updated"]
    assert [one["token_id"] for one in events[4]["added"]] == ["t1"]
    assert names[-1] == "ended"
    state["server"].close()


def test_a_server_that_goes_away_in_the_middle_is_an_error(six):
    engine = six.engine(Projection.VISITS)
    ids = (status.instance.instance_id for status, _ in engine.all_visits(EVERYONE))
    assert next(ids) == "i0"
    engine.close()
    six.close()
    with pytest.raises(UnreachableError):
        six.engine().instance("i1")
