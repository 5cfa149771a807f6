"""``tokctl snapshot``: offline it is what it was; what is redacted is nowhere; looks are put together."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support.builders import DOCUMENTED, at, instance, raw, token
from support.commandline import Stream, clean_environment
from support.fake_atomd import info_document
from support.faulty_server import head, serving
from support.paths import MODELS
from support.serving import Served
from support.watchers import live, put
from tokctl.__main__ import run
from tokctl.bpmn.parser import read_definitions
from tokctl.model.filters import ALL_TOKENS, SortOrder
from tokctl.simulation.demo import load_demo
from tokctl.simulation.scenario import parse_scenario
from tokctl.simulation.simulate import read_models, simulate
from tokctl.store import open_store
from tokctl.store.sink import StoreSink

pytestmark = pytest.mark.slow  # starts programs, or waits for them

START = datetime(2025, 1, 11, 8, tzinfo=UTC)
END = START + timedelta(hours=3)
COMMANDS = (
    ["tokens", "list"],
    ["tokens", "tree"],
    ["tokens", "history"],
    ["tokens", "trace"],
    ["flow"],
    ["debug"],
    ["perf"],
)


def simulated(path: Path) -> None:
    """Fill a store with orders in all kinds of trouble, and with calls of other processes."""
    with open_store(str(path), write=True, create=True) as store, StoreSink(store, batch_size=1000) as sink:
        models, scenario = load_demo()
        simulate(models, scenario, sink, end=END)
        files = read_models([MODELS / "calling.bpmn", MODELS / "called.bpmn"])
        waits = "process: calling\ntasks: {default: {hangs: true}}"
        simulate(files, parse_scenario(waits), sink, start=START)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("source") / "source.db"
    simulated(path)
    return path


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    server = Served(tmp_path_factory.mktemp("served") / "served.db")
    simulated(server.path)
    yield server
    server.close()


@pytest.fixture
def reach(monkeypatch, tmp_path):
    """Let tokctl find the way to a server: its secret, and where to remember its kind."""

    def set_up(server: Served) -> list[str]:
        monkeypatch.setenv("TOKCTL_API_KEY", server.secret)
        monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path / "state"))
        return ["--server", server.url]

    return set_up


def ids_of(path: Path) -> list[str]:
    with open_store(str(path)) as store:
        return list(store.all_instance_ids())


def tokens_of(path: Path, instance_id: str):
    with open_store(str(path)) as store:
        return list(store.tokens(instance_id, ALL_TOKENS, SortOrder("created")))


def instance_of(path: Path, instance_id: str):
    with open_store(str(path)) as store:
        return store.instance(instance_id).instance


def taken(ran) -> list[dict]:
    return json.loads(ran.out)["instances"]


# --- offline ----------------------------------------------------------------------------------------------


def check_the_same(tokctl, monkeypatch, source, copy, ids, least=5):
    """Check that every command says the same of two stores."""

    def both(*words):
        said = []
        for store in (source, copy):
            monkeypatch.setenv("TOKCTL_STORE", str(store))
            ran = tokctl(*words, "-o", "json", now=END)
            assert ran.err == "" or words[0] == "debug"
            said.append((ran.code, json.loads(ran.out)))
        return said

    for words in (["debug", "--all"], ["perf"], ["instances", "list"]):
        before, after = both(*words)
        for one in after[1].get("instances", ()) if words[0] == "instances" else ():
            assert one.pop("snapshot")["source"]
        assert before == after
    explained = 0
    for instance_id in ids:
        for words in COMMANDS:
            before, after = both(*words, instance_id)
            assert before == after, words
        before, after = both("instances", "show", instance_id)
        assert after[1].pop("snapshot")["kind"]
        assert before == after
        for one in tokens_of(source, instance_id):
            before, after = both("tokens", "show", instance_id, one.token_id)
            assert before == after
            if one.live:
                before, after = both("explain", instance_id, one.token_id)
                assert before == after
                explained += 1
    assert explained > least


def test_a_snapshot_of_a_store_says_the_same(tokctl, monkeypatch, source, tmp_path):
    ids, copy = ids_of(source), tmp_path / "copy.db"
    with open_store(str(source)) as store:
        recorded = [status.instance.instance_id for status, _ in store.all_visits(_every())]
    ran = tokctl("snapshot", *recorded, "--store", source, "--to", copy, "-o", "json")
    assert ran.code == 0
    assert {row["instance_id"]: row["added"] for row in taken(ran)} == {i: len(tokens_of(source, i)) for i in ids}
    check_the_same(tokctl, monkeypatch, source, copy, ids)


def test_a_snapshot_of_a_server_says_the_same(tokctl, monkeypatch, served, reach, tmp_path):
    """More instances than are asked for one by one: they are read many at a time."""
    ids, copy = ids_of(served.path), tmp_path / "copy.db"
    assert len(ids) > 8
    with open_store(str(served.path)) as store:
        recorded = [status.instance.instance_id for status, _ in store.all_visits(_every())]
    ran = tokctl("snapshot", *recorded, *reach(served), "--to", copy, "-o", "json")
    assert ran.code == 0
    document = json.loads(ran.out)
    assert (document["source"], document["kind"]) == (served.url, "rest")
    check_the_same(tokctl, monkeypatch, served.path, copy, ids[:6], least=2)
    for instance_id in ids:
        assert tokens_of(copy, instance_id) == tokens_of(served.path, instance_id)


def _every():
    from tokctl.model.filters import InstanceFilter

    return InstanceFilter()


def test_a_single_instance_of_a_server_by_the_beginning_of_its_id(tokctl, served, reach, tmp_path):
    latest = open_store(str(served.path)).latest_instance_id()
    copy = tmp_path / "copy.db"
    assert taken(tokctl("snapshot", latest[:-3], *reach(served), "--to", copy, "-o", "json"))[0]["status"]
    assert taken(tokctl("snapshot", "@latest", *reach(served), "--to", copy, "-o", "json"))[0]["added"] == 0
    assert ids_of(copy) == [latest]


def test_what_is_called_is_taken_too(tokctl, source, tmp_path):
    calling = next(i for i in ids_of(source) if instance_of(source, i).process_id == "calling")
    tokctl("snapshot", calling, "--store", source, "--to", tmp_path / "copy.db")
    with open_store(str(tmp_path / "copy.db")) as store:
        assert {one.process_id for one in store.definitions()} == {"calling", "called"}


def test_what_was_derived_stays_derived(tokctl, served, reach, tmp_path):
    """A status or time that the server worked out is no word of the engine's."""
    with open_store(str(served.path), write=True) as store, store.write() as batch:
        batch.put(instance("derived", process_id="p"), [live("d1", "derived")])
    tokctl("snapshot", "derived", *reach(served), "--to", tmp_path / "copy.db")
    one = instance_of(tmp_path / "copy.db", "derived")
    assert (one.status, one.started_at, one.updated_at) == (None, None, None)
    with open_store(str(tmp_path / "copy.db")) as store:
        assert (store.instance("derived").status, store.instance("derived").status_derived) == ("ACTIVE", True)
    with open_store(str(served.path), write=True) as store, store.write():
        store.connection.execute("DELETE FROM instance WHERE instance_id = 'derived'")


def test_a_file(tokctl, tmp_path):
    copy = tmp_path / "copy.db"
    ran = tokctl("snapshot", "--file", DOCUMENTED, "--to", copy, "-o", "json")
    assert (ran.code, json.loads(ran.out)["kind"]) == (0, "file")
    assert (
        tokctl("tokens", "list", "--store", copy, "-o", "json").out
        == tokctl("tokens", "list", "--file", DOCUMENTED, "-o", "json").out
    )


# --- what is kept, and what is told -----------------------------------------------------------------------


def test_where_it_comes_from_and_when(tokctl, source, tmp_path):
    copy = tmp_path / "copy.db"
    tokctl("snapshot", "@latest", "--store", source, "--to", copy, "--redact", "variables.*", now=END)
    (instance_id,) = ids_of(copy)
    assert json.loads(bytes(instance_of(copy, instance_id).extra["snapshot"])) == {
        "source": str(source),
        "kind": "store",
        "redacted": ["variables.*"],
        "taken_at": "2025-01-11T11:00:00.000Z",
    }


def test_again_only_what_is_new_is_changed(tokctl, own_store, tmp_path):
    copy = tmp_path / "copy.db"
    first, again = (
        taken(tokctl("snapshot", "pay", "--store", own_store, "--to", copy, "-o", "json")) for _ in range(2)
    )
    total = first[0]["tokens"]
    assert [first[0][key] for key in ("added", "updated", "unchanged")] == [total, 0, 0]
    assert [again[0][key] for key in ("added", "updated", "unchanged")] == [0, 0, total]
    (one, *_) = tokens_of(own_store, "pay-2001")
    put(
        own_store, live(one.token_id, "pay-2001", updated_at=at(10**6)), live("new", "pay-2001"), instance_id="pay-2001"
    )
    row = taken(tokctl("snapshot", "pay", "--store", own_store, "--to", copy, "-o", "json"))[0]
    assert [row[key] for key in ("added", "updated", "unchanged")] == [1, 1, total - 1]


def test_all_that_is_live(tokctl, served, reach, tmp_path):
    copy = tmp_path / "copy.db"
    ran = tokctl("snapshot", "--all-live", *reach(served), "--to", copy, "-o", "json")
    live_ids = tokctl("instances", "list", "--store", served.path, "-o", "json", "--limit", "0")
    expected = {
        one["instance_id"]
        for one in json.loads(live_ids.out)["instances"]
        if one["live_tokens"] or one["status"] not in {"COMPLETED", "CANCELLED", "FAILED"}
    }
    assert {row["instance_id"] for row in taken(ran)} == set(ids_of(copy)) == expected
    assert 3 < len(expected) < len(ids_of(served.path))


def test_the_table_and_what_is_told_beside_it(tokctl, own_store, tmp_path):
    ran = tokctl("snapshot", "pay", "--store", own_store, "--to", tmp_path / "copy.db")
    assert "pay-2001" in ran.out
    assert "ERROR" not in ran.out
    assert ran.err == f"Saved 1 instance with 4 tokens in {tmp_path / 'copy.db'}.\n"
    assert tokctl("snapshot", "pay", "--store", own_store, "--to", tmp_path / "copy.db", "-o", "id").out == "pay-2001\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["@latest"], "source and target are the same store"),
        (["@latest", "--to", "{store}"], "source and target are the same store"),
        (["@latest", "--to", "{folder}/../{name}/own.db"], "source and target are the same store"),
        (["@latest", "--to", ":memory:"], "cannot save a snapshot in"),
        (["@latest", "--to", ""], "--to is empty"),
        (["@latest", "--interval", "3s"], "--watch"),
        (["@latest", "--timeout", "3s"], "--watch"),
        (["pay", "--all-live"], "--all-live"),
        (["@latest", "--to", "{folder}/c.db", "--redact", "token_id"], "would remove token_id"),
        (["@latest", "--to", "{folder}/c.db", "--watch", "--interval", "0s"], "must be greater than 0"),
        (["--to", "{folder}/c.db"], "no process instance given"),
    ],
)
def test_what_cannot_be_meant(tokctl, own_store, words, said):
    places = {"store": own_store, "folder": own_store.parent, "name": own_store.parent.name}
    ran = tokctl("snapshot", *(word.format(**places) for word in words), "--store", own_store)
    assert ran.code == 2
    assert said in ran.err
    assert not (own_store.parent / "c.db").exists()


def test_an_id_that_is_none_stops_it_before_anything_is_taken(tokctl, own_store, tmp_path):
    assert tokctl("snapshot", "pay", "bogus", "--store", own_store, "--to", tmp_path / "copy.db").code == 3
    assert not (tmp_path / "copy.db").exists()


# --- failures ---------------------------------------------------------------------------------------------


def broken_at(path: Path, *ids: str):
    """Make an answer of a server over a store to which the tokens of some instances are a riddle."""
    from support.documented_server import DocumentedServer

    class Broken(DocumentedServer):
        def _answer(self, store, path, given):
            if path[-1] == "tokens" and path[-2] in ids:
                return {"tokens": [{"token_id": 5}]}
            return super()._answer(store, path, given)

    return Broken(path)


def test_what_cannot_be_read_does_not_stop_the_rest(tokctl, monkeypatch, source, tmp_path):
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path))
    ids = ids_of(source)
    server = broken_at(source, ids[2], ids[5])
    try:
        ran = tokctl("snapshot", *ids, "--server", server.url, "--to", tmp_path / "copy.db", "-o", "json")
        table = tokctl("snapshot", *ids[:3], "--server", server.url, "--to", tmp_path / "few.db")
        alone = tokctl("snapshot", ids[2], "--server", server.url, "--to", tmp_path / "none.db")
    finally:
        server.close()
    assert ran.code == 5
    failed = {row["instance_id"]: row["error"] for row in taken(ran) if row["error"]}
    assert set(failed) == {ids[2], ids[5]}
    assert all("token_id" in error for error in failed.values())
    assert set(ids_of(tmp_path / "copy.db")) == {*ids} - {ids[2], ids[5]}
    assert (table.code, "ERROR" in table.out) == (5, True)
    assert "Cannot read 1 instance." in table.err
    assert (alone.code, alone.out) == (7, "")
    assert "token_id" in alone.err


def test_when_nothing_can_be_read_any_more_it_ends(tokctl, monkeypatch, source, tmp_path):
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path))
    many = tmp_path / "many.db"
    with open_store(str(many), write=True, create=True) as store, store.write() as batch:
        for n in range(60):
            batch.put(instance(f"i{n:02}", status="ACTIVE", started_at=at(n)), [live(f"t{n}", f"i{n:02}")])
    server = broken_at(many, *(f"i{n:02}" for n in range(10, 60)))
    try:
        ran = tokctl("snapshot", *ids_of(many), "--server", server.url, "--to", tmp_path / "copy.db", "-o", "json")
    finally:
        server.close()
    assert ran.code == 5
    errors = [row["error"] for row in taken(ran)]
    assert errors[:10] == [None] * 10
    assert sum("skipped: " in error for error in errors[10:]) == 60 - 10 - 20
    assert len(ids_of(tmp_path / "copy.db")) == 10


def test_failures_here_and_there_do_not_end_it(tokctl, monkeypatch, tmp_path):
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path))
    many = tmp_path / "many.db"
    with open_store(str(many), write=True, create=True) as store, store.write() as batch:
        for n in range(60):
            batch.put(instance(f"i{n:02}", status="ACTIVE", started_at=at(n)), [live(f"t{n}", f"i{n:02}")])
    server = broken_at(many, *(f"i{n:02}" for n in range(0, 60, 2)))
    try:
        ran = tokctl("snapshot", *ids_of(many), "--server", server.url, "--to", tmp_path / "copy.db", "-o", "json")
    finally:
        server.close()
    assert ran.code == 5
    assert [bool(row["error"]) for row in taken(ran)] == [True, False] * 30


def test_a_full_disk_keeps_what_is_whole(shell, source, tmp_path):
    copy = tmp_path / "copy.db"
    program = (
        "import resource, sys; sys.dont_write_bytecode = True;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000));"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "from tokctl.__main__ import main; main()"
    )
    words = ["snapshot", *ids_of(source), "--store", source, "--to", copy]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, words)],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 6, done.stderr
    assert "Traceback" not in done.stderr
    kept = ids_of(copy)
    assert "before the interruption." in done.stderr
    assert 0 < len(kept) < len(ids_of(source))
    for instance_id in kept:
        assert tokens_of(copy, instance_id) == tokens_of(source, instance_id)


# --- redaction --------------------------------------------------------------------------------------------


def bytes_of(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))


def put_secret(path: Path, *, seconds: float = 0, secret: str = "swordfish", extra: bool = False) -> None:
    tokens = [
        live("a", variables={"card": secret, "n": 1}, updated_at=at(seconds), execution_context={"worker_id": secret})
    ]
    if extra:
        tokens.append(live("b", variables={"card": secret}))
    put(path, *tokens, variables=raw({"card": secret, "n": 1}), updated_at=at(seconds))


def test_what_is_redacted_is_nowhere(tokctl, tmp_path):
    put_secret(tmp_path / "source.db")
    words = ("snapshot", "--store", tmp_path / "source.db", "--redact", "**.card", "--redact", "**.worker_id")
    ran = tokctl(*words, "--to", tmp_path / "to" / "copy.db")
    assert (ran.code, "swordfish" in ran.out + ran.err) == (0, False)
    assert b"swordfish" in bytes_of(tmp_path / "source.db")
    assert b"swordfish" not in bytes_of(tmp_path / "to" / "copy.db")
    (one,) = tokens_of(tmp_path / "to" / "copy.db", "i1")
    assert json.loads(bytes(one.variables)) == {"card": "[redacted]", "n": 1}


@pytest.mark.parametrize("newer", ["source", "neither", "store"])
def test_what_was_there_unredacted_does_not_stay(tokctl, tmp_path, newer):
    source, copy = tmp_path / "source.db", tmp_path / "to" / "copy.db"
    put_secret(copy, seconds=5 if newer == "store" else 0, extra=True)  # b is unknown to the source
    put_secret(source, seconds=5 if newer == "source" else 0)
    ran = tokctl("snapshot", "--store", source, "--to", copy, "--redact", "**.card", "--redact", "**.worker_id")
    assert "free" in ran.err
    shown = [tokctl(*words, "--store", copy, "-o", "json").out for words in (["instances", "show"], ["tokens", "list"])]
    assert "swordfish" not in "".join(shown)
    with open_store(str(copy)) as store:
        assert "swordfish" not in "".join(store.connection.iterdump())
    again = tokctl("snapshot", "--store", source, "--to", copy, "--redact", "**.card", "--redact", "**.worker_id")
    assert "free" not in again.err


def test_a_pattern_that_matches_nothing_is_told(tokctl, tmp_path):
    put_secret(tmp_path / "source.db")
    ran = tokctl(
        "snapshot",
        "--store",
        tmp_path / "source.db",
        "--to",
        tmp_path / "copy.db",
        "--redact",
        "variables.nope",
        "--redact",
        "variables.card",
    )
    assert "--redact 'variables.nope' matches nothing." in ran.err
    assert "variables.card" not in ran.err


# --- watching ---------------------------------------------------------------------------------------------


@pytest.fixture
def watched(clock, store_path, monkeypatch, tmp_path):
    """Run ``snapshot --watch`` of the test's store in this process."""

    def call(*words: object, place: tuple = ("--store", store_path)) -> tuple[int, list[dict], str]:
        out, err = Stream(), Stream()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            line = ("snapshot", *words, "--watch", *place, "--to", tmp_path / "copy.db", "-o", "json")
            code = run([*map(str, line)], clock=clock)
        return code, json.loads(out.written() or '{"instances": []}')["instances"], err.written()

    return call


def revision(path: Path) -> int:
    with open_store(str(path)) as store:
        return store.revisions().process


def test_it_ends_when_they_have_ended(watched, clock, store_path, tmp_path):
    put(store_path, live("a"))
    put(store_path, live("b", "i2"), instance_id="i2")
    clock.at(5, lambda: put(store_path, token("a", updated_at=at(5)), status="COMPLETED"))
    clock.at(9, lambda: put(store_path, token("b", "i2", updated_at=at(9)), instance_id="i2", status="CANCELLED"))
    code, rows, err = watched("i1", "i2")
    assert (code, err) == (0, "")
    assert [(row["status"], row["added"], row["updated"]) for row in rows] == [("COMPLETED", 1, 1), ("CANCELLED", 1, 1)]
    assert clock.waits == [2.0] * 5
    assert [one.state for one in tokens_of(tmp_path / "copy.db", "i1")] == ["COMPLETED"]


def test_only_what_has_changed_is_written(watched, clock, store_path, tmp_path):
    put(store_path, live("a"))
    seen = []
    for second in (1, 3, 5, 7, 9):
        clock.at(second, lambda: seen.append(revision(tmp_path / "copy.db")))
    clock.at(4, lambda: put(store_path, live("a", updated_at=at(4))))
    clock.at(6, lambda: put(store_path, live("z", "other"), instance_id="other"))
    clock.at(10, lambda: put(store_path, token("a", updated_at=at(10)), status="COMPLETED"))
    assert watched("i1")[0] == 0
    first, *rest = seen
    assert [number > first for number in rest] == [False, True, True, True]
    assert len(set(rest[1:])) == 1


@pytest.mark.parametrize(("option", "code"), [("--until", 0), ("--timeout", 5)])
def test_it_ends_when_its_time_is_up(watched, clock, store_path, option, code):
    put(store_path, live("a"))
    assert watched("i1", option, "7s", "--interval", "3s")[0] == code
    assert sum(clock.waits) == 7


def test_what_starts_meanwhile_is_taken_in(watched, clock, store_path, tmp_path):
    put(store_path, live("a"))
    clock.at(3, lambda: put(store_path, live("b", "i2"), instance_id="i2"))
    clock.at(5, lambda: put(store_path, token("a", updated_at=at(5)), status="COMPLETED"))
    clock.at(9, lambda: put(store_path, token("b", "i2", updated_at=at(9)), instance_id="i2", status="COMPLETED"))
    code, rows, _ = watched("--all-live")
    assert (code, [row["instance_id"] for row in rows]) == (0, ["i1", "i2"])
    assert {row["status"] for row in rows} == {"COMPLETED"}


def test_a_store_that_goes_away_is_waited_for(watched, clock, store_path, tmp_path):
    put(store_path, live("a"))
    aside = tmp_path / "aside.db"
    clock.at(3, lambda: store_path.rename(aside))
    clock.at(20, lambda: aside.rename(store_path))
    clock.at(30, lambda: put(store_path, token("a", updated_at=at(30)), status="COMPLETED"))
    code, rows, err = watched("i1")
    assert (code, rows[0]["status"]) == (0, "COMPLETED")
    assert "Retrying." in err
    assert "Available again." in err


def test_an_instance_that_goes_away_is_told(watched, clock, store_path, tmp_path):
    put(store_path, live("a"))

    def remove():
        with closing(sqlite3.connect(store_path)) as connection, connection:
            connection.execute("DELETE FROM instance")

    clock.at(3, remove)
    code, rows, _ = watched("i1")
    assert code == 5
    assert "existed before" in rows[0]["error"]
    assert len(tokens_of(tmp_path / "copy.db", "i1")) == 1


def test_successive_looks_are_made_into_one_way(watched, clock, store_path, tmp_path, tokctl):
    """An engine that moves one token and sends no flow history, as atomd does."""
    definition = read_definitions((MODELS / "sequence.bpmn").read_text())[0]
    elements = list(definition.elements)
    begin = next(name for name in elements if not definition.elements[name].incoming)
    way = [begin]
    while outgoing := definition.elements[way[-1]].outgoing:
        way.append(definition.flows[outgoing[0]].target)

    def stand(element, seconds, **fields):
        one = live("a", element_id=element, state="WAITING", updated_at=at(seconds))
        status = "ACTIVE"
        if fields:
            one, status = token("a", element_id=element, updated_at=at(seconds), created_at=at(0)), "COMPLETED"
        put(store_path, one, process_id=definition.process_id, version=definition.version, status=status)

    with open_store(str(store_path), write=True, create=True) as store, store.write() as batch:
        batch.put_definition(definition)
    stand(way[0], 0)
    for number, element in enumerate(way[1:], 1):
        done = {"done": True} if element == way[-1] else {}
        clock.at(number * 10, lambda element=element, number=number, done=done: stand(element, number * 10, **done))
    assert watched("i1")[0] == 0
    (one,) = tokens_of(tmp_path / "copy.db", "i1")
    assert [(hop.from_element, hop.timestamp) for hop in one.hops] == [
        (element, at(number * 10)) for number, element in enumerate(way[:-1], 1)
    ]
    assert all(definition.flows[hop.via_flow].source == hop.from_element for hop in one.hops)
    said = json.loads(tokctl("tokens", "history", "i1", "--store", tmp_path / "copy.db", "-o", "json").out)
    assert [hop["element_id"] for hop in said["history"]] == way[1:]


def test_a_server_is_watched_until_they_have_ended(watched, clock, reach, tmp_path):
    server = Served(tmp_path / "served.db")
    try:
        place = reach(server)
        for n in range(10):
            put(server.path, live("a", f"i{n}"), instance_id=f"i{n}")
        for n in range(10):
            clock.at(
                3,
                lambda n=n: put(
                    server.path, token("a", f"i{n}", updated_at=at(3)), instance_id=f"i{n}", status="COMPLETED"
                ),
            )
        code, rows, err = watched("--all-live", place=tuple(place))
        assert (code, len(rows)) == (0, 10), err
        assert {row["status"] for row in rows} == {"COMPLETED"}
        put(server.path, live("b", "one"), instance_id="one")
        clock.at(
            sum(clock.waits) + 9,
            lambda: put(server.path, token("b", "one", updated_at=at(9)), instance_id="one", status="COMPLETED"),
        )
        del server.asked[:]
        assert watched("one", place=tuple(place))[0] == 0
        assert sum(status == 304 for _, status in server.asked) >= 2
    finally:
        server.close()


def test_a_file_cannot_be_watched(tokctl, tmp_path):
    ran = tokctl("snapshot", "--file", DOCUMENTED, "--to", tmp_path / "c.db", "--watch")
    assert (ran.code, "a file does not change" in ran.err) == (2, True)


# --- signals ----------------------------------------------------------------------------------------------


def test_ctrl_c_keeps_what_was_taken(store_path, tmp_path):
    put(store_path, live("a"))
    copy = tmp_path / "copy.db"
    words = ["snapshot", "i1", "--watch", "--store", store_path, "--to", copy]
    process = subprocess.Popen(
        [sys.executable, "-m", "tokctl", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )
    deadline = time.monotonic() + 20
    while not (copy.exists() and ids_of_or_none(copy)) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "")
    assert "Saved 1 instance" in err
    assert ids_of(copy) == ["i1"]


def ids_of_or_none(path: Path) -> list[str]:
    try:
        return ids_of(path)
    except Exception:  # noqa: BLE001 - it is being made
        return []


def test_ctrl_c_ends_it_while_a_server_keeps_silent(tmp_path, monkeypatch):
    """Eight threads wait for answers that do not come."""

    def silent(link) -> bool:
        if "/tokens" in link.asked.target:
            link.wait(60)
            return False
        name = link.asked.target.rpartition("/")[2].partition("?")[0]
        body = json.dumps({"success": True, "data": {"instance_id": name, "status": "ACTIVE"}}).encode()
        link.send(head(200, len(body)) + body)
        return True

    with serving(silent) as server:
        words = [
            "snapshot",
            *(f"i{n}" for n in range(12)),
            "--server",
            server.url,
            "--engine-kind",
            "rest",
            "--to",
            tmp_path / "copy.db",
        ]
        process = subprocess.Popen(
            [sys.executable, "-m", "tokctl", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=clean_environment(),
        )
        deadline = time.monotonic() + 20
        while sum("/tokens" in target for target in server.targets) < 8 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert sum("/tokens" in target for target in server.targets) == 8
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert time.monotonic() - begin < 5


# --- one moment -------------------------------------------------------------------------------------------


class Moving(Served):
    """A server whose instances come to their end between the answer about them and that about their tokens."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.ended: set[str] = set()

    async def _count(self, scope, receive, send) -> None:
        path = scope.get("path", "").split("/")
        if path[-1] == "tokens" and path[-2] not in self.ended:
            self.ended.add(path[-2])
            put(self.path, token("a", path[-2], updated_at=at(9)), instance_id=path[-2], status="COMPLETED")
        await super()._count(scope, receive, send)


@pytest.mark.parametrize("several", [1, 10])
def test_an_instance_that_moves_on_while_it_is_read_is_read_again(tokctl, reach, tmp_path, several):
    server = Moving(tmp_path / "served.db")
    ids = [f"i{n}" for n in range(several)]
    for instance_id in ids:
        put(server.path, live("a", instance_id), instance_id=instance_id)
    try:
        ran = tokctl("snapshot", *ids, *reach(server), "--to", tmp_path / "copy.db", "-o", "json")
    finally:
        server.close()
    assert ran.code == 0
    assert len(taken(ran)) == several
    for row in taken(ran):
        (one,) = tokens_of(tmp_path / "copy.db", row["instance_id"])
        assert row["status"] == one.state
        assert instance_of(tmp_path / "copy.db", row["instance_id"]).status == one.state
        assert row["live_tokens"] == one.live


# --- atomd ------------------------------------------------------------------------------------------------

ID = "srv1-w5DaVNp5VENE3PSloK"
FLOWS = {
    "f1": ("start", "pay"),
    "f2": ("pay", "check"),
    "f3": ("check", "ship"),
    "f4": ("check", "refund"),
    "f5": ("ship", "end"),
    "f6": ("refund", "end"),
}
TYPES = {
    "start": "startEvent",
    "pay": "serviceTask",
    "check": "exclusiveGateway",
    "ship": "serviceTask",
    "refund": "serviceTask",
    "end": "endEvent",
}


MODEL = (
    '<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL" id="d"><process id="p" isExecutable="true">'
    + "".join(f'<{kind} id="{name}" name="{name.title()}"/>' for name, kind in TYPES.items())
    + "".join(f'<sequenceFlow id="{i}" sourceRef="{a}" targetRef="{b}"/>' for i, (a, b) in FLOWS.items())
    + "</process></definitions>"
).encode()


class Atomd:
    """Answers as atomd does, of one instance whose only token moves on when the test says so."""

    def __init__(self) -> None:
        self.element, self.state, self.second = "pay", "WAITING", 1

    def move(self, element: str, second: int, state: str = "WAITING") -> None:
        self.element, self.state, self.second = element, state, second

    def moment(self, second: int) -> str:
        return (at(second)).isoformat().replace("+00:00", ".000000123Z")

    def __call__(self, link) -> bool:
        path = link.asked.target.partition("?")[0]
        if path == "/api/v1/bpmn/processes/k/xml":
            link.send(head(200, len(MODEL)) + MODEL)
            return True
        data = self.document(path.removeprefix("/api/v1"))
        status = 404 if data is None else 200
        body = {"success": False, "error": {"code": "NOT_FOUND"}} if data is None else {"success": True, "data": data}
        text = json.dumps(body | {"meta": {"request_id": "health" if path == "/health" else "x"}}).encode()
        link.send(head(status, len(text)) + text)
        return True

    def document(self, path: str):
        times = {"started_at": self.moment(0), "created_at": self.moment(0), "updated_at": self.moment(self.second)}
        done = {"completed_at": self.moment(self.second)} if self.state == "COMPLETED" else {}
        status = "COMPLETED" if done else "ACTIVE"
        about = {
            "instance_id": ID,
            "process_id": "p",
            "process_definition_id": "p",
            "version": 1,
            "status": status,
            "variables": {"card": "swordfish"},
            **times,
            **done,
        }
        one = {
            "token_id": "srv1-token5678901234567",
            "process_instance_id": ID,
            "element_id": self.element,
            "status": self.state,
            "variables": {"card": "swordfish"},
            "is_active": False,
            **times,
            **done,
        }
        return {
            "/health": {"status": "healthy", "checks": {"server": "ok"}},
            "/processes/typed": {"instances": [about], "total_count": 1, "has_more": False},
            f"/processes/{ID}/info": info_document(about, [], [], "k"),
            f"/processes/{ID}/tokens/typed": {"tokens": [one], "total_count": 1, "has_more": False},
            "/bpmn/processes": [{"id": "p", "key": "k", "version": 1}],
            "/tokens/srv1-token5678901234567": {"process_instance_id": ID},
            "/jobs": [],
        }.get(path)


def test_atomd_is_recorded_from_look_to_look(watched, clock, tokctl, monkeypatch, tmp_path):
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("TOKCTL_API_KEY", "key")
    copy, engine = tmp_path / "copy.db", Atomd()
    clock.at(3, lambda: engine.move("ship", 3))
    clock.at(5, lambda: engine.move("ship", 5, "SUSPENDED"))
    clock.at(9, lambda: engine.move("end", 9, "COMPLETED"))
    with serving(engine) as server:
        code, rows, err = watched("@latest", "--redact", "variables.*", place=("--server", server.url))
    assert (code, err) == (0, "")
    assert (rows[0]["instance_id"], rows[0]["status"]) == (ID, "COMPLETED")
    pay, ship, end = sorted(tokens_of(copy, ID), key=lambda one: one.created_at)
    assert [(one.element_id, one.state, one.created_at, one.completed_at) for one in (pay, ship, end)] == [
        ("pay", "COMPLETED", at(1), at(3)),
        ("ship", "COMPLETED", at(3), at(9)),
        ("end", "COMPLETED", at(9), at(9)),
    ]
    assert (ship.parent_token_id, end.parent_token_id) == (pay.token_id, ship.token_id)
    assert [(hop.from_element, hop.via_flow, hop.timestamp) for one in (ship, end) for hop in one.hops] == [
        ("pay", "f2", at(3)),
        ("check", "f3", at(3)),
        ("ship", "f5", at(9)),
    ]
    assert [(change.state, change.at) for change in ship.context.state_history] == [
        ("WAITING", at(3)),
        ("SUSPENDED", at(5)),
    ]
    assert json.loads(bytes(instance_of(copy, ID).extra["snapshot"]))["kind"] == "atomd"
    assert b"swordfish" not in bytes_of(copy)
    then = ("tokens", "list", ID, "--store", copy, "--at", at(6).isoformat(), "-o", "json")
    before, past = json.loads(tokctl(*then, now=at(100)).out)["tokens"]
    assert (before["element_id"], before["state"]) == ("pay", "COMPLETED")
    assert (past["element_id"], past["state"]) == ("ship", "SUSPENDED")
    taken_by = [
        hop["element_id"]
        for hop in json.loads(tokctl("tokens", "history", ID, "--store", copy, "-o", "json", now=at(100)).out)[
            "history"
        ]
    ]
    assert taken_by == ["pay", "check", "ship", "end"]


def test_atomd_once_says_the_same_offline(tokctl, monkeypatch, tmp_path):
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("TOKCTL_API_KEY", "key")
    copy = tmp_path / "copy.db"
    with serving(Atomd()) as server:
        place = ("--server", server.url)
        assert tokctl("snapshot", "@latest", *place, "--to", copy).code == 0
        for words in (
            ["tokens", "list"],
            ["tokens", "tree"],
            ["tokens", "history"],
            ["debug"],
            ["perf"],
            ["flow"],
            ["tokens", "show", "srv1-token5678901234567"],
            ["explain", "srv1-token5678901234567"],
        ):
            said = [tokctl(*words, *where, "-o", "json", now=at(7200)) for where in (place, ("--store", copy))]
            live, offline = (
                re.sub(r'"notes":\[.*?\]', "", one.out.replace(f" {where[0]} {where[1]}", ""))  # on rules not checked
                for one, where in zip(said, (place, ("--store", copy)), strict=True)
            )
            assert said[0].code == said[1].code
            assert live == offline, words
