"""What every store does, whatever stands behind it: one suite over all of ``tokctl.store.STORES``."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from support.builders import FIXTURES, answer, at, instance, ndjson, raw, token, tokens
from support.examples import scaled
from support.old_stores import bring_back
from support.store_kinds import StoreKind, sqlite_only
from support.strategies import few_names, make_instances, make_tokens, names, token_sets
from tokctl.errors import NotFoundError, StoreError, UsageError
from tokctl.model.definitions import Definition, Element, SequenceFlow
from tokctl.model.filters import ALL_TOKENS, InstanceFilter, SortOrder, StuckLimits, TokenFilter
from tokctl.model.instance_status import derive_status
from tokctl.model.instances import Instance, summarize
from tokctl.model.tokens import NULL, Token
from tokctl.model.variables import VariableCondition
from tokctl.readers.stream import RejectedRecord, read_records
from tokctl.simulation.demo import load_demo
from tokctl.simulation.simulate import simulate
from tokctl.store import open_store
from tokctl.store.exporting import documented as answers
from tokctl.store.exporting import ndjson as ndjson_lines
from tokctl.store.importing import import_records
from tokctl.store.protocol import Store, WriteReport
from tokctl.store.sink import StoreSink
from tokctl.store.sql import batch as sql_batch
from tokctl.store.sqlite import connection as opening
from tokctl.store.sqlite.schema import MIGRATIONS, SCHEMA_VERSION

CREATED = SortOrder("created")
MODEL = Definition(
    process_id="p",
    name="Bestellung",
    elements={"a": Element("a", "task", outgoing=("f",)), "b": Element("b", "endEvent", incoming=("f",))},
    flows={"f": SequenceFlow("f", "a", "b", condition="x < 1")},
    xml="<bpmn/>\n",
)


@pytest.fixture
def new(store_kind: StoreKind) -> Iterator[Callable[..., Store]]:
    """Makes new, empty stores of each kind."""
    made: list[Store] = []

    def make() -> Store:
        store = open_store(store_kind.new_place(), write=True, create=True)
        made.append(store)
        return store

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(new) -> Store:
    return new()


def put(store: Store, *records: Token | Instance) -> WriteReport:
    with store.write() as batch:
        for record in records:
            if isinstance(record, Token):
                batch.put_tokens([record])
            else:
                batch.put(record, ())
    return batch.report


def content(store: Store) -> dict:
    """Everything that a store holds."""
    held = {}
    for instance_id in store.all_instance_ids():
        held[instance_id] = (
            store.instance(instance_id),
            list(store.tokens(instance_id, ALL_TOKENS, CREATED)),
            store.summary(instance_id),
        )
    return {"instances": held, "definitions": list(store.definitions())}


def load(store: Store, pieces) -> WriteReport:
    def refuse(reject: RejectedRecord) -> None:
        raise AssertionError(str(reject))

    with store.write() as batch:
        import_records(batch, read_records(pieces, name="export"), refuse)
    return batch.report


def plain(one: Token) -> Token:
    """Return a token without the process, which the store knows by its instance."""
    return msgspec.structs.replace(one, process_id=None)


# --- put and get ---


def test_what_is_put_can_be_got(store):
    (one,) = tokens(
        1,
        variables={"a": [1, 2.50]},
        execution_context={"worker_id": "w"},
        child_tokens=("x",),
        flow_history=[{"via_flow": "f"}],
        extra={"x": raw({"y": None})},
        parent_token_id="p",
    )
    about = instance("i1", process_id="p", variables=raw({"n": 10**30}), extra={"zone": raw("eu")}, version=3)
    report = put(store, about, one)
    assert report == WriteReport(instances=1, added=1)
    assert store.token("i1", "t0") == msgspec.structs.replace(one, process_id="p")
    assert store.instance("i1").instance == about
    with pytest.raises(NotFoundError):
        store.token("i1", "t")
    with pytest.raises(NotFoundError):
        store.token("i", "t0")


def test_questions_about_an_unknown_instance(store):
    put(store, *tokens(1))
    for ask in (
        lambda: store.instance("none"),
        lambda: store.summary("none"),
        lambda: list(store.tokens("none", ALL_TOKENS, CREATED)),
        lambda: store.count_tokens("none", ALL_TOKENS),
        lambda: store.token("none", "t0"),
        lambda: list(store.tree_rows("none")),
        lambda: store.token_ids("", "none", 5),
    ):
        with pytest.raises(NotFoundError):
            ask()


def test_the_instance_of_a_token_is_made(store):
    assert put(store, token("a", "new")) == WriteReport(instances=1, added=1)
    assert store.instance("new").instance == instance("new")


def test_the_same_token_id_in_two_instances(store):
    put(store, token("t", "i1", element_id="one"), token("t", "i2", element_id="two"))
    assert store.token("i1", "t").element_id == "one"
    assert store.token("i2", "t").element_id == "two"
    assert store.token_ids("t", None, 5) == [("i1", "t"), ("i2", "t")]


# --- merging ---


@pytest.mark.parametrize(
    ("old", "new_time", "replaced"),
    [
        (at(5), at(6), True),
        (at(5), at(5), True),
        (at(5), at(4), False),
        (None, at(4), True),
        (at(5), None, True),
        (None, None, True),
    ],
)
def test_an_older_token_does_not_replace_a_newer_one(store, old, new_time, replaced):
    put(store, token(state="ACTIVE", updated_at=old))
    report = put(store, token(state="COMPLETED", updated_at=new_time))
    assert report == WriteReport(updated=int(replaced), unchanged=int(not replaced))
    assert store.token("i1", "t1").state == ("COMPLETED" if replaced else "ACTIVE")
    assert store.instance("i1").live_tokens == int(not replaced)


@given(one=make_tokens())
@settings(max_examples=scaled(0.5))
def test_the_same_token_again_is_unchanged(store_kind, one):
    with store_kind.empty() as store:
        assert put(store, one) == WriteReport(instances=1, added=1)
        before = content(store)
        assert put(store, one) == WriteReport(unchanged=1)
        assert content(store) == before
        assert store.token("i1", one.token_id) == plain(one)


def test_a_token_that_changed_takes_the_place_of_all_of_the_old_one(store):
    put(store, token(variables={"a": 1}, execution_context={"worker_id": "w"}, child_tokens=("x",), updated_at=at(1)))
    put(store, token(updated_at=at(2)))
    assert store.token("i1", "t1") == token(updated_at=at(2))


def test_fields_that_an_instance_leaves_out_stay(store):
    whole = instance(
        "i1",
        process_id="p",
        status="ACTIVE",
        variables=raw({}),
        started_at=at(0),
        updated_at=at(5),
        extra={"a": raw(1)},
    )
    assert put(store, whole).instances == 1
    assert put(store, instance("i1")).instances == 0
    assert put(store, instance("i1", status="ACTIVE", process_id="p")).instances == 0
    assert store.instance("i1").instance == whole
    assert put(store, instance("i1", status="COMPLETED", updated_at=at(6))).instances == 1
    assert store.instance("i1").instance == msgspec.structs.replace(whole, status="COMPLETED", updated_at=at(6))
    assert put(store, instance("i1", status="ACTIVE", updated_at=at(4))).instances == 0
    assert store.instance("i1").status == "COMPLETED"


writes = st.lists(st.lists(make_tokens(few_names, st.sampled_from(["i1", "i2"])), max_size=6), min_size=1, max_size=4)


@given(batches=writes)
@settings(max_examples=scaled(0.8))
def test_writes_are_counted_exactly_and_merged_by_the_rules(store_kind, batches):
    """Against a dictionary that follows the rules in plain Python."""
    kept: dict[tuple[str, str], Token] = {}
    with store_kind.empty() as store:
        for several in batches:
            expected = WriteReport()
            for one in several:
                key = one.instance_id, one.token_id
                old = kept.get(key)
                expected.instances += one.instance_id not in {instance_id for instance_id, _ in kept}
                older = old and old.updated_at and one.updated_at and one.updated_at < old.updated_at
                if old is None:
                    expected.added += 1
                elif older or old == one:
                    expected.unchanged += 1
                else:
                    expected.updated += 1
                if not older:
                    kept[key] = one
            with store.write() as batch:
                batch.put_tokens(several)
            assert batch.report == expected
        assert not list(store.find_problems())
        for instance_id in store.all_instance_ids():
            ours = [one for one in kept.values() if one.instance_id == instance_id]
            theirs = list(store.tokens(instance_id, ALL_TOKENS, CREATED))
            assert {one.token_id: one for one in theirs} == {one.token_id: one for one in ours}
            assert store.instance(instance_id) == derive_status(store.instance(instance_id).instance, ours)


@given(several=token_sets(), about=make_instances(st.just("i1")))
@settings(max_examples=scaled(0.8))
def test_how_an_instance_stands_is_derived_from_its_tokens(store_kind, several, about):
    with store_kind.empty() as store:
        with store.write() as batch:
            batch.put(about, several)
        assert store.instance("i1") == derive_status(about, several)
        assert store.summary("i1") == summarize((one.state, one.element_type, 1) for one in several)


def test_totals_are_the_status_without_live_elements(store):
    several = [token("a", state="FAILED", execution_context=raw({"error": "no route"})), token("b", state="ACTIVE")]
    with store.write() as batch:
        batch.put(instance("i1"), several)
    assert store.instance("i1").live_elements
    whole = msgspec.structs.replace(store.instance("i1"), live_elements=())
    assert msgspec.structs.replace(store.instance_totals("i1"), live_elements=()) == whole
    with pytest.raises(NotFoundError):
        store.instance_totals("i2")


@pytest.mark.parametrize("created", [None, 0, 1])
def test_of_tokens_created_together_the_lower_id_is_first(store, created):
    time = None if created is None else at(created)
    several = [
        token(name, state="FAILED", created_at=time, execution_context=raw({"error": f"of {name}"})) for name in "cab"
    ]
    with store.write() as batch:
        batch.put(instance("i1"), several)
    assert store.instance("i1").first_error == "of a"
    assert store.instance("i1") == derive_status(instance("i1"), several)


@pytest.mark.parametrize(
    ("ends", "status"),
    [
        ([("CANCELLED", 1), ("COMPLETED", 1)], "COMPLETED"),
        ([("CANCELLED", 2), ("COMPLETED", 1)], "CANCELLED"),
        ([("FAILED", 1), ("COMPLETED", 2)], "FAILED"),
        ([("FAILED", 1), ("WAITING", None)], "ACTIVE"),
        ([("CANCELLED", 1), ("COMPLETED", None)], "CANCELLED"),
        ([("COMPLETED", 9), ("STUCK", None)], "ACTIVE"),
        ([], None),
    ],
)
def test_the_status_that_tokens_show(store, ends, status):
    several = [
        token(f"t{n}", state=state, completed_at=None if end is None else at(end))
        for n, (state, end) in enumerate(ends)
    ]
    with store.write() as batch:
        batch.put(instance("i1"), several)
    assert store.instance("i1").status == status
    assert store.instance("i1") == derive_status(instance("i1"), several)


@pytest.mark.parametrize("count", [0, 1, 49, 50, 51, 999, 1000, 1001, 2500])
def test_many_tokens_in_one_put(store, count):
    """Around the sizes of the groups in which a store may write."""
    with store.write() as batch:
        batch.put(instance("i1"), iter(tokens(count)))
    assert batch.report == WriteReport(instances=1, added=count)
    with store.write() as batch:
        batch.put_tokens(tokens(count)[::-1] + tokens(count, state="FAILED", updated_at=at(10**6)))
    assert batch.report == WriteReport(updated=count, unchanged=count)
    assert store.instance("i1").total_tokens == count
    assert store.summary("i1").token_states["FAILED"] == count


def test_the_same_token_twice_in_one_put(store):
    with store.write() as batch:
        batch.put_tokens([token(state="ACTIVE"), token(), token()])
    assert batch.report == WriteReport(instances=1, added=1, updated=1, unchanged=1)
    assert store.instance("i1").status == "COMPLETED"


# --- transactions ---


class ForcedError(Exception):
    pass


def test_an_exception_leaves_the_store_as_it_was(store):
    put(store, instance("i1", status="ACTIVE"), *tokens(3))
    with store.write() as batch:
        batch.put_definition(MODEL)
    before = content(store)
    with pytest.raises(ForcedError), store.write() as batch:  # noqa: PT012
        batch.put_definition(Definition(process_id="other"))
        batch.put(instance("i1", status="COMPLETED"), tokens(1, state="ACTIVE", updated_at=at(99)))
        batch.put_tokens(tokens(2000, "i2"))
        raise ForcedError
    assert content(store) == before
    assert put(store, *tokens(1, "i2")) == WriteReport(instances=1, added=1)


def test_a_source_that_fails_half_way_leaves_the_store_as_it_was(store):
    def broken():
        yield from tokens(1500)
        raise ForcedError

    with pytest.raises(ForcedError), store.write() as batch:
        batch.put_tokens(broken())
    assert content(store) == {"instances": {}, "definitions": []}


def test_a_sink_keeps_what_has_happened(store):
    with pytest.raises(ForcedError), StoreSink(store, batch_size=10) as sink:  # noqa: PT012
        sink.put_definition(MODEL)
        sink.put(instance("i1"), tokens(7))
        assert store.info().tokens == 0 or sink.added == 0
        sink.put(instance("i2"), tokens(7, "i2"))
        assert sink.added == 14
        sink.put(instance("i3"), tokens(1, "i3"))
        raise ForcedError
    assert store.info().tokens == 15
    assert (sink.added, sink.updated, sink.unchanged) == (15, 0, 0)
    assert store.definition("p", None) == MODEL


def test_what_a_recorder_writes(store, tmp_path):
    """In small transactions or in one, in a store of any kind: the same."""
    whole = open_store(str(tmp_path / "whole.db"), write=True, create=True)
    models, scenario = load_demo()
    for target, size in ((store, 0), (whole, 10_000)):
        with StoreSink(target, batch_size=size) as sink:
            simulate(models, scenario, sink, end=at(0))
        assert sink.added > 100
    assert content(store) == content(whole)
    for where in (InstanceFilter(), InstanceFilter(live=True), InstanceFilter(failed=True)):
        assert list(store.scan_instances(where)) == list(whole.scan_instances(where))
    whole.close()


# --- export and import ---


@given(
    instances=st.lists(make_instances(), max_size=3, unique_by=lambda one: one.instance_id),
    several=st.lists(token_sets(4), min_size=3, max_size=3),
    export=st.sampled_from([answers, ndjson_lines]),
)
@settings(max_examples=scaled(0.8))
def test_importing_an_export_gives_an_equal_store(store_kind, instances, several, export):
    with store_kind.empty() as first:
        with first.write() as batch:
            for about, theirs in zip(instances, several, strict=False):
                moved = [
                    msgspec.structs.replace(one, instance_id=about.instance_id, parent_token_id=one.parent_token_id)
                    for one in theirs
                ]
                batch.put(about, moved)
                if about.process_id is not None:
                    batch.put_definition(Definition(process_id=about.process_id, version=about.version or 1))
        pieces = list(export(first, first.all_instance_ids(), first.definitions()))
        if not pieces:
            return
        with store_kind.empty() as second:
            report = load(second, pieces)
            assert content(second) == content(first)
            assert report.added == first.info().tokens
            assert report.updated == report.unchanged == 0
            again = load(second, pieces)
            assert again == WriteReport(unchanged=report.added)
            assert list(export(second, second.all_instance_ids(), second.definitions())) == pieces


@pytest.mark.parametrize("export", [answers, ndjson_lines])
@pytest.mark.parametrize(
    "name",
    ["documented_tokens.json", "atomd/p0_typed.json", "atomd/p1_tokens.json", "atomd/p0.json", "atomd/processes.json"],
)
def test_an_export_of_recorded_answers(new, name, export):
    first, second = new(), new()
    load(first, [(FIXTURES / name).read_bytes()])
    load(second, export(first, first.all_instance_ids()))
    assert content(second) == content(first)
    assert first.info().instances


def test_importing_twice_changes_nothing(store, documented):
    assert load(store, [documented]) == WriteReport(instances=1, added=3)
    before = content(store)
    assert load(store, [documented]) == WriteReport(unchanged=3)
    assert content(store) == before
    assert store.info().tokens == 3


def test_a_refused_record_is_handed_over(store):
    refused = []
    data = ndjson(tokens(1)) + b'{"token_id":"bad"}\n' + ndjson(tokens(1, "i2"))
    with store.write() as batch:
        import_records(batch, read_records([data], name="x"), refused.append)
    assert [reject.where for reject in refused] == ["line 2"]
    assert batch.report.added == 2


def test_a_definition_is_exported_once_for_all_instances(store):
    with store.write() as batch:
        batch.put_definition(MODEL)
        for name in ("a", "b"):
            batch.put(instance(name, process_id="p", version=1), [])
    for export in (answers, ndjson_lines):
        assert b"".join(export(store, store.all_instance_ids())).count(b"<bpmn/>") == 1


# --- definitions ---


def test_definitions(store):
    newer = Definition(process_id="p", version=2, name="zwei")
    with store.write() as batch:
        batch.put_definition(MODEL)
        batch.put_definition(newer)
    assert batch.report == WriteReport(definitions=2)
    assert store.definition("p", None) == newer
    assert store.definition("p", 1) == MODEL
    assert store.definition("p", 3) is store.definition("q", None) is None
    assert list(store.definitions()) == [MODEL, newer]
    with store.write() as batch:
        batch.put_definition(MODEL)
    assert batch.report == WriteReport()
    changed = msgspec.structs.replace(MODEL, name="neu")
    with store.write() as batch:
        batch.put_definition(changed)
    assert batch.report == WriteReport(definitions=1)
    assert store.definition("p", 1) == changed


# --- ids ---


@given(ids=st.sets(names, max_size=8), prefix=st.one_of(names, st.just("")), limit=st.integers(0, 5))
@settings(max_examples=scaled(0.5))
def test_ids_by_prefix(store_kind, ids, prefix, limit):
    with store_kind.empty() as store:
        with store.write() as batch:
            for name in ids:
                batch.put(instance(name), [token(name, name), token(f"{name}!", name)])
        expected = sorted(name for name in ids if name.startswith(prefix))
        assert store.instance_ids(prefix, limit) == expected[:limit]
        both = sorted((t, name) for name in ids for t in (name, f"{name}!") if t.startswith(prefix))
        assert store.token_ids(prefix, None, limit) == [(name, t) for t, name in both][:limit]
        for name in list(ids)[:2]:
            mine = [(i, t) for t, i in both if i == name]
            assert store.token_ids(prefix, name, limit) == mine[:limit]


# --- upkeep ---


def test_info(store, store_path):
    put(store, instance("i1", started_at=at(-5)), *tokens(3), *tokens(2, "i2", state="ACTIVE"))
    info = store.info()
    assert (info.instances, info.tokens, info.live_tokens, info.definitions) == (2, 5, 2, 0)
    assert (info.oldest, info.newest) == (at(-5), at(3))
    assert info.schema_version > 0
    assert info.size_bytes > 0


def test_prune(store):
    put(store, *tokens(3, "ended"), *tokens(2, "live", state="ACTIVE"), *tokens(10, "later"))
    put(store, instance("said", completed_at=at(0), status="COMPLETED"), instance("empty"))
    for moment, expected in ((at(0), (0, 0)), (at(1), (1, 0)), (at(3), (1, 0)), (at(4), (2, 3))):
        assert store.count_prunable(moment) == expected
    assert store.prune(at(4)) == (2, 3)
    assert list(store.all_instance_ids()) == ["empty", "later", "live"]
    assert store.info().tokens == 12
    assert store.prune(at(4)) == (0, 0)
    assert not list(store.find_problems())
    with pytest.raises(NotFoundError):
        store.token("ended", "t0")
    assert put(store, *tokens(3, "ended")).added == 3


def test_prune_keeps_open_incidents_unless_asked(store):
    failed = {"state": "FAILED", "created_at": at(0), "updated_at": at(1)}
    put(store, *tokens(1, "ended"), *tokens(2, "failed", **failed), token("f", "running", **failed))
    put(store, token("a", "running", state="ACTIVE"), instance("closed", status="COMPLETED", completed_at=at(1)))
    put(store, token("f", "closed", **failed))
    assert store.prune(at(5000)) == (1, 1)
    assert store.count_prunable(at(1), incidents=True) == (0, 0)
    assert store.prune(at(5000), incidents=True) == (1, 1)
    assert list(store.all_instance_ids()) == ["failed", "running"]
    assert not list(store.find_problems())


def test_prune_believes_a_source_that_calls_an_instance_live(store):
    put(store, instance("open", status="ACTIVE"), *tokens(3, "open"), instance("bare", completed_at=at(0)))
    assert store.instance("open").ended_at is None
    assert store.instance("open") == derive_status(instance("open", status="ACTIVE"), tokens(3, "open"))
    assert store.prune(at(5000)) == (1, 0)
    assert list(store.all_instance_ids()) == ["open"]


@sqlite_only
def test_a_backup_that_is_written_to_is_a_store_like_any_other(store, new, tmp_path):
    put(store, *tokens(3))
    target = tmp_path / "copy.db"
    store.backup(target)
    with open_store(str(target), write=True) as copy, open_store(str(target)) as reader, copy.write() as batch:
        batch.put_tokens(tokens(5, "i2"))
        assert reader.info().tokens == 3  # neither waits for the other
    with closing(sqlite3.connect(target)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@sqlite_only
def test_prune_gives_the_room_back(store):
    put(store, *tokens(2000, "ended", variables={"note": "x" * 500}), *tokens(1, "later", created_at=at(9000)))
    with store.write() as batch:
        batch.put_tokens([token("t", "live", state="ACTIVE")])
    location, full = store.info().location, store.info().size_bytes
    store.prune(at(5000))
    store.close()
    with open_store(location) as again:
        assert again.info().size_bytes < full / 5


@sqlite_only
def test_backup_while_a_writer_is_active(store, new, tmp_path):
    put(store, *tokens(500))
    before = content(store)
    target = tmp_path / "copy.db"
    started, release = threading.Event(), threading.Event()

    def write() -> None:
        with closing(open_store(store.info().location, write=True)) as other, other.write() as batch:
            batch.put_tokens(tokens(500, "i2"))
            started.set()
            release.wait(30)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert started.wait(30)
        store.backup(target)
    finally:
        release.set()
        writer.join(30)
    with closing(open_store(str(target))) as copy:
        assert content(copy) == before
        assert not list(copy.find_problems())
    assert store.info().tokens == 1000
    with pytest.raises(StoreError, match="already exists"):
        store.backup(target)
    with pytest.raises(StoreError, match="cannot write"):
        store.backup(tmp_path / "none" / "copy.db")
    assert not list(tmp_path.glob("*.part")) + list(tmp_path.glob(".*.part"))


def test_a_reader_sees_one_moment(store, store_kind):
    put(store, *tokens(3))
    with closing(open_store(store_kind.last_place)) as reader:
        assert reader.count_tokens("i1", ALL_TOKENS) == 3
        put(store, *tokens(5))
        assert reader.count_tokens("i1", ALL_TOKENS) == 3
        assert reader.instance("i1").total_tokens == 3
    with closing(open_store(store_kind.last_place)) as reader:
        assert reader.count_tokens("i1", ALL_TOKENS) == 5


def test_problems_are_found(store):
    put(store, *tokens(3))
    assert not list(store.find_problems())
    store.database.execute("UPDATE instance SET live_tokens = 2")
    (problem,) = store.find_problems()
    assert "i1" in problem


@sqlite_only
def test_rows_without_an_instance_are_found(store):
    put(store, *tokens(3))
    store.connection.execute("PRAGMA foreign_keys = OFF")
    store.connection.execute("DELETE FROM instance")
    assert any("has no instance" in problem for problem in store.find_problems())


def test_stale_searchable_variables_are_found(store):
    with store.write() as batch:
        batch.put(
            instance("i1", variables=raw({"order": {"id": "A-1"}, "amount": 12.0, "lines": [1], "paid": True})),
            tokens(1),
        )
    assert not list(store.find_problems())
    store.database.execute("UPDATE variable SET value = 'B-2' WHERE name = 'order.id'")
    (problem,) = store.find_problems()
    assert "instance i1: the searchable variables" in problem


def test_an_unknown_kind_of_store():
    with pytest.raises(UsageError, match="unknown kind of store 'mysql'"):
        open_store("mysql://host/db")


# --- SQLite: the file ---


def test_only_the_owner_can_read_a_store(tmp_path):
    path = tmp_path / "new" / "folder" / "tokctl.db"
    with closing(open_store(str(path), write=True, create=True)) as store:
        put(store, *tokens(3))
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        target = tmp_path / "copy.db"
        store.backup(target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert "delete" not in sqlite3.connect(path).execute("PRAGMA journal_mode").fetchone()


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_no_umask_opens_a_store(tmp_path, umask):
    path = tmp_path / "new" / "tokctl.db"
    before = os.umask(umask)
    try:
        with closing(open_store(str(path), write=True, create=True)) as store:
            put(store, *tokens(3))
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert modes["tokctl.db"] == 0o600
    assert not any(mode & 0o077 for mode in modes.values())


def test_a_store_that_others_can_write_is_closed_to_them(tmp_path, capsys):
    path = tmp_path / "s.db"
    path.touch()
    path.chmod(0o666)  # by somebody who waits for it to be used
    open_store(str(path), write=True, create=True).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert f"the store {path} was open to other users (mode 0666)" in capsys.readouterr().err
    path.chmod(0o646)
    open_store(str(path)).close()  # it is only read
    assert capsys.readouterr().err == ""
    open_store(str(path), write=True).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert "(mode 0646); it is closed now." in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to make files of others")
def test_an_empty_file_of_another_user_does_not_become_a_store(tmp_path):
    path = tmp_path / "s.db"
    path.touch(0o666)
    os.chown(path, 1234, -1)
    with pytest.raises(StoreError, match="belongs to another user"):
        open_store(str(path), write=True, create=True)
    assert path.stat().st_size == 0


def test_a_name_with_signs_that_mean_something_in_a_url(tmp_path):
    path = tmp_path / "50% of #1?mode=memory&x.db"
    with closing(open_store(str(path), write=True, create=True)) as store:
        put(store, *tokens(1))
    assert path.exists()
    with closing(open_store(f"sqlite:{path}")) as store:
        assert store.info().tokens == 1


def test_no_store_is_made_by_reading(tmp_path):
    with pytest.raises(StoreError, match="no store found"):
        open_store(str(tmp_path / "none.db"))
    assert not list(tmp_path.iterdir())


@sqlite_only
def test_a_newer_store_is_refused(store):
    put(store, *tokens(1))
    path = store.info().location
    store.connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    for write in (False, True):
        with pytest.raises(StoreError, match=r"newer tokctl.*Upgrade tokctl"):
            open_store(path, write=write)


@sqlite_only
@pytest.mark.parametrize("write", [False, True])
def test_an_older_store_is_brought_forward(store, monkeypatch, write):
    put(store, *tokens(3))
    path = store.info().location
    before = content(store)
    store.close()
    step = "ALTER TABLE token ADD COLUMN zone TEXT; CREATE INDEX token_by_zone ON token (zone)"
    monkeypatch.setattr(opening, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    monkeypatch.setattr(opening.migrate, "__defaults__", ((*MIGRATIONS, step),))
    with closing(open_store(path, write=write)) as newer:
        assert newer.info().schema_version == SCHEMA_VERSION + 1
        assert content(newer) == before
        assert newer.connection.execute("SELECT count(*) FROM token WHERE zone IS NULL").fetchone() == (3,)


@sqlite_only
def test_a_migration_that_fails_leaves_the_store_as_it_was(store):
    put(store, *tokens(3))
    before = content(store)
    with pytest.raises(sqlite3.OperationalError):
        opening.migrate(store.connection, (*MIGRATIONS, "ALTER TABLE token ADD COLUMN zone TEXT; NONSENSE"))
    assert store.info().schema_version == SCHEMA_VERSION
    assert content(store) == before
    assert "zone" not in [row[1] for row in store.connection.execute("PRAGMA table_info(token)")]


@sqlite_only
def test_failed_tokens_of_an_older_store_are_counted_as_live(store):
    """Before, FAILED was an end: such tokens were in no index and in no count of live tokens."""
    ends = {"created_at": at(0), "completed_at": at(9)}
    several = [token("a", "open", **ends), token("b", "open", state="FAILED"), token("c", "both", state="FAILED")]
    put(store, *several, token("d", "both", state="WAITING"), token("e", "done", **ends))
    path, revision = store.info().location, store.revisions().process
    expected = [store.instance(one) for one in ("open", "both", "done")]
    store.close()
    bring_back(
        Path(path),
        4,
        "UPDATE instance SET live_tokens = (instance_id = 'both'), end_at = 5 WHERE instance_id != 'done'",
        "UPDATE instance SET derived_status = 'FAILED' WHERE instance_id = 'open'",
    )
    with closing(open_store(path)) as now:
        assert [now.instance(one) for one in ("open", "both", "done")] == expected
        assert [one.failed_tokens for one in expected] == [1, 1, 0]
        assert [one.live_tokens for one in expected] == [1, 2, 0]
        assert now.revisions().process > revision
        assert not [*now.find_problems()]


@sqlite_only
def test_variables_and_business_keys_of_an_older_store_are_found(store):
    """Before, a business key was an undocumented field, and variables were in no table."""
    plain = {"businessKey": raw("PO-1"), "note": raw("kept")}
    put(store, instance("a", variables=raw({"orderId": "ORD-1"}), business_key="PO-1", extra={"note": raw("kept")}))
    put(
        store,
        instance("b", variables=raw({"orderId": "ORD-2"}), extra={"note": raw('a "businessKey"')}),
        token("t", "c"),
    )
    path, expected = store.info().location, content(store)
    store.close()
    extra = msgspec.json.encode(plain).decode()
    bring_back(Path(path), 5, f"UPDATE instance SET extra = '{extra}' WHERE instance_id = 'a'")
    with closing(open_store(path)) as now:
        assert content(now) == expected
        for where in (
            InstanceFilter(variables=(VariableCondition("orderId", "ORD-1"),)),
            InstanceFilter(business_keys=("PO-1",)),
        ):
            assert [one.instance.instance_id for one in now.scan_instances(where)] == ["a"]


def test_variables_follow_their_instance(store):
    """They change with it and go with it."""
    where = InstanceFilter(variables=(VariableCondition("orderId", "ORD-1"),))
    put(store, instance("a", variables=raw({"orderId": "ORD-1"}), completed_at=at(1)))
    assert store.count_instances(where) == 1
    put(store, instance("a"))  # what it leaves out stays
    assert store.count_instances(where) == 1
    put(store, instance("a", variables=raw({"orderId": "ORD-2"})))
    assert store.count_instances(where) == 0
    assert store.prune(at(60)) == (1, 0)
    assert store.database.fetch("SELECT count(*) FROM variable") == [(0,)]


def test_a_store_that_was_only_begun_is_completed(tmp_path):
    """What a program leaves that is killed after it has made the file and before it has made the tables."""
    path = tmp_path / "begun.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    with closing(open_store(str(path), write=True, create=True)) as store:
        assert put(store, *tokens(1)).added == 1


# --- SQLite: indexes ---


def plans(store: Store, ask: Callable[[], object]) -> str:
    """Return how SQLite answers what a question asks of it."""
    asked: list[str] = []
    store.connection.set_trace_callback(asked.append)
    try:
        ask()
    finally:
        store.connection.set_trace_callback(None)
    lines = []
    for sql in asked:
        lines += [row[3] for row in store.connection.execute(f"EXPLAIN QUERY PLAN {sql}")]
    return "\n".join(lines)


@pytest.fixture
def filled(store):
    with store.write() as batch:
        batch.put_tokens(tokens(3000))
        for n in range(200):
            named = {"business_key": f"PO-{n}", "variables": raw({"orderId": f"ORD-{n}", "amount": n})}
            batch.put(instance(f"x{n}", started_at=at(n), **named), tokens(5, f"x{n}"))
        batch.put_tokens([token(f"live{n}", state="WAITING", created_at=at(n)) for n in range(5)])
    store.connection.execute("ANALYZE")
    return store


@sqlite_only
@pytest.mark.parametrize("analyzed", [False, True])
def test_a_list_by_creation_sorts_nothing(filled, analyzed):
    if not analyzed:
        filled.connection.execute("DELETE FROM sqlite_stat1")
        filled.connection.execute("ANALYZE sqlite_schema")
    plan = plans(filled, lambda: list(filled.tokens("i1", ALL_TOKENS, CREATED, limit=50)))
    assert "token_by_creation" in plan
    assert "TEMP B-TREE" not in plan
    assert "SCAN" not in plan
    plan = plans(filled, lambda: list(filled.tree_rows("i1")))
    assert "TEMP B-TREE" not in plan


@sqlite_only
def test_a_summary_is_read_from_an_index_alone(filled):
    assert "USING COVERING INDEX token_by_creation" in plans(filled, lambda: filled.summary("i1"))


@sqlite_only
@pytest.mark.parametrize("order", ["created", "-created"])
def test_the_list_of_instances_sorts_nothing(filled, order):
    by = SortOrder("started", descending=order.startswith("-"))
    plan = plans(filled, lambda: list(filled.instances(InstanceFilter(), by, limit=20)))
    assert "instance_by_start" in plan
    assert plan.count("TEMP B-TREE") == plan.count("RIGHT PART") + 2  # same start; names of live elements
    assert "instance_by_start" in plans(filled, filled.latest_instance_id)


@sqlite_only
@pytest.mark.parametrize(
    "where",
    [{"live": True}, {"live": True, "types": ("task",)}, {"live": True, "states": ("WAITING",)}],
)
def test_what_is_live_is_found_without_a_look_at_what_is_finished(filled, where):
    for ask in (
        lambda: list(filled.tokens("i1", TokenFilter(**where), CREATED, limit=50)),
        lambda: filled.count_tokens("i1", TokenFilter(**where)),
    ):
        assert "token_live" in plans(filled, ask)


@sqlite_only
def test_what_is_open_is_found_without_a_look_at_what_has_ended(filled):
    assert "instance_open" in plans(filled, lambda: list(filled.all_visits(InstanceFilter(open=True))))


@sqlite_only
@pytest.mark.parametrize(
    ("where", "index"),
    [
        ({"states": ("FAILED",)}, "token_failed"),
        ({"states": ("FAILED",), "since": at(0), "elements": ("a*",)}, "token_failed"),
        ({"states": ("WAITING", "SUSPENDED")}, "token_live"),
        ({"live": True}, "token_live"),
        ({}, "token_by_creation"),
    ],
)
@pytest.mark.parametrize("order", [SortOrder("recorded"), SortOrder("created", descending=True)])
def test_tokens_of_all_instances_are_found_by_an_index(filled, where, index, order):
    plan = plans(filled, lambda: list(filled.tokens(None, TokenFilter(**where), order, limit=50)))
    if where or order.column == "recorded":
        assert f"token USING INDEX {index}" in plan or f"token USING COVERING INDEX {index}" in plan
    assert ("TEMP B-TREE" in plan) == (order.column != "recorded")
    if where:
        assert index in plans(filled, lambda: filled.count_tokens(None, TokenFilter(**where)))


@sqlite_only
@pytest.mark.parametrize(
    ("where", "index"),
    [
        ({"variables": (VariableCondition("orderId", "ORD-7"),)}, "variable USING PRIMARY KEY (name=? AND value=?)"),
        (
            {"variables": (VariableCondition("orderId", "ORD-*", is_pattern=True),)},
            "variable USING PRIMARY KEY (name=? AND value>? AND value<?)",
        ),
        (
            {"variables": (VariableCondition("amount", "1*", is_pattern=True),)},
            "variable USING PRIMARY KEY (name=?)",
        ),
        ({"business_keys": ("PO-7",)}, "INDEX instance_by_business_key (business_key=?)"),
        ({"failed": True}, "instance_failed"),
        ({"stuck": StuckLimits(at(0))}, "token USING INDEX token_live (instance=?)"),
    ],
)
def test_instances_are_searched_by_an_index(filled, where, index):
    """The order does not mislead: an index by start would visit every instance."""
    newest = SortOrder("started", descending=True)
    for ask in (
        lambda: list(filled.instances(InstanceFilter(**where), newest, limit=20)),
        lambda: filled.count_instances(InstanceFilter(**where)),
    ):
        plan = plans(filled, ask)
        assert index in plan
        assert "instance_by_start" not in plan


@sqlite_only
def test_ids_are_found_by_their_index(filled):
    assert "token_by_id" in plans(filled, lambda: filled.token_ids("t1", None, 5))
    assert "SCAN" not in plans(filled, lambda: filled.token("i1", "t5"))
    assert "instance_by_end" in plans(filled, lambda: filled.count_prunable(at(0)))


def test_null_is_kept_apart_from_empty(store):
    put(store, token("a"), token("b", variables={}, child_tokens=()))
    assert store.token("i1", "a").variables == NULL
    assert store.token("i1", "a").child_tokens is None
    assert store.token("i1", "b").variables == raw({})
    assert store.token("i1", "b").child_tokens == ()


def test_an_answer_of_many_instances_in_any_order(new):
    """The tokens of instances may come mixed."""
    mixed = [one for pair in zip(tokens(60), tokens(60, "i2"), strict=True) for one in pair]
    first, second = new(), new()
    load(first, [ndjson(mixed)])
    load(second, [answer(instance("i1"), tokens(60)), b"\n", answer(instance("i2"), tokens(60))])
    assert content(first) == content(second)


def test_a_history_that_is_nested_too_deeply_to_be_counted(store):
    put(store, token("a", flow_history=Raw(b"[" * 3000 + b"]" * 3000)), token("b", flow_history=[{}, {}]))
    assert [row.hops for row in store.tree_rows("i1")] == [0, 2]


@sqlite_only
def test_a_dry_run_leaves_the_file_as_it_was(new, tmp_path):
    copy = tmp_path / "copy.db"
    put(new(), token("a"))
    with open_store(str(tmp_path / "0.db")) as opened:
        opened.backup(copy)
    before = copy.read_bytes()
    with open_store(str(copy), write=True) as opened, opened.write(keep=False) as batch:
        batch.put_tokens([token("b")])
    assert batch.report.added == 1
    assert copy.read_bytes() == before


@sqlite_only
def test_a_backup_where_files_cannot_be_linked(new, tmp_path, monkeypatch):
    """As on most memory sticks."""
    put(new(), *tokens(3))

    def link(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    target = tmp_path / "copy.db"
    with open_store(str(tmp_path / "0.db")) as opened:
        opened.backup(target)
        with pytest.raises(StoreError, match="already exists"):
            opened.backup(target)
    with open_store(str(target)) as copy:
        assert copy.info().tokens == 3
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert not list(tmp_path.glob("*.part"))


def test_more_instances_than_are_kept_in_memory(store, monkeypatch):
    monkeypatch.setattr(sql_batch, "MAX_CACHED_INSTANCES", 100)
    many = [token(f"t{n}", f"i{n % 700}", state="ACTIVE" if n % 7 else "COMPLETED") for n in range(3500)]
    for added in (3500, 0):
        with store.write() as batch:
            batch.put_tokens(many)
        assert batch.report.added == added
        assert not list(store.find_problems())
        assert store.info().live_tokens == 3000
        assert store.instance("i0").status == "COMPLETED"
        assert store.instance("i1").status == "ACTIVE"

    def failing():
        yield from (token("more", f"n{n}") for n in range(1500))
        raise RuntimeError

    with pytest.raises(RuntimeError), store.write() as batch:
        batch.put_tokens(failing())
    assert (store.info().instances, store.info().tokens) == (700, 3500)
    assert put(store, token("again", "i0")).added == 1
