"""Tokens in partitions by month: made with the first instance of a month, dropped when its last one is removed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import psycopg
import pytest

from support.builders import at, token, tokens
from support.old_stores import postgresql_program
from tokctl.errors import StoreError
from tokctl.model.filters import ALL_TOKENS, SortOrder, TokenFilter
from tokctl.store import open_store
from tokctl.store.copying import copy_store
from tokctl.store.exporting import ndjson
from tokctl.store.postgresql import migration
from tokctl.store.postgresql import pruning as postgresql_pruning
from tokctl.store.postgresql.partitions import find_partitions, first_instance
from tokctl.store.postgresql.schema import MIGRATIONS, SCHEMA_VERSION
from tokctl.store.protocol import Store, ignore_step
from tokctl.store.sql import pruning

JANUARY = 660  # of 2025
FEBRUARY, MARCH = JANUARY + 1, JANUARY + 2


def begin_month(store: Store, month: int) -> None:
    """Set the clock of the store."""
    store.database.execute(
        f"CREATE OR REPLACE FUNCTION token_month() RETURNS BIGINT LANGUAGE sql AS 'SELECT CAST({month} AS BIGINT)'"
    )


def put(store: Store, *instance_ids: str) -> None:
    with store.write() as batch:
        for instance_id in instance_ids:
            batch.put_tokens(tokens(6, instance_id))


def put_three_months(store: Store) -> None:
    """Write two instances in January, one of which is live, two in February, and one in March."""
    for month, instance_ids in ((JANUARY, ("a", "b")), (FEBRUARY, ("c", "d")), (MARCH, ("e",))):
        begin_month(store, month)
        put(store, *instance_ids)
    with store.write() as batch:
        batch.put_tokens([token("live", "b", state="ACTIVE", created_at=at(9))])


def table(month: int) -> str:
    return f"token_{1970 + month // 12}_{month % 12 + 1:02}"


def table_sizes(store: Store) -> dict[int, int]:
    """Return the number of rows in each partition."""
    return {
        month: store.database.fetch(f"SELECT count(*) FROM {table(month)}")[0][0]
        for month in find_partitions(store.database)
    }


def export(store: Store, *instance_ids: str) -> list[bytes]:
    return list(ndjson(store, instance_ids or store.all_instance_ids(), store.definitions()))


def stop(_: float) -> None:
    raise KeyboardInterrupt


def test_each_month_has_a_partition(store):
    put_three_months(store)
    pks = [store.revision_of(instance_id)[0] for instance_id in "abcde"]
    january, february, march = map(first_instance, (JANUARY, FEBRUARY, MARCH))
    assert pks == [january, january + 1, february, february + 1, march]
    assert table_sizes(store) == {JANUARY: 13, FEBRUARY: 12, MARCH: 6}
    begin_month(store, FEBRUARY)  # the clock was wrong
    put(store, "f")
    assert march < store.revision_of("f")[0] < march + 10
    assert not list(store.find_problems())


def test_a_partition_that_was_rolled_back_is_made_later(store):
    with store.write(keep=False) as batch:
        batch.put_tokens(tokens(6))
    assert find_partitions(store.database) == []
    put(store, "a")
    assert store.info().tokens == 6


@pytest.fixture(params=["few", "many"])
def remainder(request, monkeypatch):
    """Lets the tokens that stay in January be few, so that they are moved, or many."""
    if request.param == "many":
        monkeypatch.setattr(postgresql_pruning, "KEPT_TOKENS", 0)
    return request.param


def test_old_tokens_are_removed_with_their_table(store, remainder):
    put_three_months(store)
    kept = export(store, "b")
    assert store.prune(at(99)) == (4, 24)
    assert table_sizes(store) == {JANUARY: 7, MARCH: 0}  # b is live; March may get more
    assert list(store.all_instance_ids()) == ["b"]
    assert export(store, "b") == kept
    assert not list(store.find_problems())
    put(store, "b", "f")
    assert table_sizes(store) == {JANUARY: 7, MARCH: 6}
    with store.write() as batch:
        batch.put_tokens([token("live", "b", updated_at=at(98))])
    begin_month(store, MARCH + 1)
    assert store.prune(at(99)) == (2, 13)
    assert table_sizes(store) == {}


def test_tokens_are_deleted_one_by_one_only_from_tables_that_keep_many(store, monkeypatch, remainder):
    put_three_months(store)
    monkeypatch.setattr(pruning, "BATCH_INSTANCES", 1)
    found = []
    store.prune(at(99), step=lambda _: found.append(table_sizes(store)))
    assert [sizes[FEBRUARY] for sizes in found] == [12] * 4
    assert [sizes[JANUARY] for sizes in found] == [13 if remainder == "few" else 7] * 4


def test_left_over_tokens_are_not_shown_but_found_and_removed(store, monkeypatch):
    put_three_months(store)
    monkeypatch.setattr(pruning, "BATCH_INSTANCES", 2)
    with pytest.raises(KeyboardInterrupt):  # a and c are removed
        store.prune(at(99), step=stop)
    assert table_sizes(store) == {JANUARY: 13, FEBRUARY: 12, MARCH: 6}
    assert store.count_tokens(None, ALL_TOKENS) == 19
    (problem,) = store.find_problems()
    assert problem.startswith("12 tokens have no instance: an interrupted 'tokctl store prune'")
    with store.write() as batch:  # now the month stays
        batch.put_tokens([token("live", "d", state="ACTIVE")])
    monkeypatch.setattr(postgresql_pruning, "KEPT_TOKENS", 6)
    assert store.prune(at(0)) == (0, 0)
    assert table_sizes(store) == {JANUARY: 7, FEBRUARY: 7, MARCH: 6}
    assert not list(store.find_problems())


def test_left_over_tokens_are_not_copied(store, tmp_path, monkeypatch):
    put_three_months(store)
    monkeypatch.setattr(pruning, "BATCH_INSTANCES", 2)
    with pytest.raises(KeyboardInterrupt):
        store.prune(at(99), step=stop)
    with open_store(str(tmp_path / "a.db"), write=True, create=True, unfinished=True) as there:
        copied = {one.part: one.records for one in copy_store(store, there, ignore_step).parts}
        assert (copied["instances"], copied["tokens"]) == (3, 19)
        assert not list(there.find_problems())


def test_a_reader_keeps_what_it_sees(store, place, monkeypatch):
    monkeypatch.setattr(postgresql_pruning, "LOCK_RETRIES", 1)
    put_three_months(store)
    with open_store(place) as reader:  # has not looked at tokens yet
        assert store.prune(at(99)) == (4, 24)
        assert len(list(reader.tokens("c", ALL_TOKENS, SortOrder("created")))) == 6
        assert reader.count_tokens(None, ALL_TOKENS) == 31
        assert FEBRUARY in find_partitions(store.database)
    assert store.prune(at(99)) == (0, 0)
    assert find_partitions(store.database) == [JANUARY, MARCH]


def test_a_writer_needs_no_right_to_create_or_drop_tables(store, place, postgresql):
    schema = place.rpartition("%3D")[2]
    store.database.execute(f"CREATE ROLE {schema} LOGIN")
    for grant in (
        f"USAGE ON SCHEMA {schema}",
        "SELECT, INSERT, UPDATE, DELETE ON instance, token, variable, definition",
        "SELECT, UPDATE ON revision",
        "SELECT ON identity, tokctl_store",
    ):
        store.database.execute(f"GRANT {grant} TO {schema}")
    with open_store(place.replace("user=postgres", f"user={schema}"), write=True) as writer:
        begin_month(store, JANUARY)
        put(writer, "a")
        begin_month(store, FEBRUARY)
        put(writer, "b")
        assert writer.prune(at(99)) == (2, 12)
        assert find_partitions(store.database) == [FEBRUARY]
        for statement in ("SELECT add_token_partition(1)", f"DROP TABLE {table(FEBRUARY)}"):
            with pytest.raises(StoreError, match=r"permission denied|must be owner"):
                writer.database.execute(statement)


def test_a_reader_makes_and_drops_no_partition(store, place):
    put_three_months(store)
    schema = place.rpartition("%3D")[2]
    store.database.execute(f"CREATE ROLE {schema} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {schema}")
    store.database.execute(f"GRANT SELECT ON instance, token, variable, definition, revision, tokctl_store TO {schema}")
    begin_month(store, MARCH + 1)
    with psycopg.connect(place.replace("user=postgres", f"user={schema}"), autocommit=True) as reader:
        for call in ("next_instance()", f"compact_token_partition({JANUARY})"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(f"SELECT {call}")
    assert table_sizes(store) == {JANUARY: 13, FEBRUARY: 12, MARCH: 6}


def test_partitions_survive_copies_both_ways(store, tmp_path, postgresql):
    put_three_months(store)
    kept, places = export(store), (f"sqlite:{tmp_path / 'a.db'}", postgresql.new_schema())
    numbers = [store.revision_of(instance_id) for instance_id in "abcde"]
    with open_store(places[0], write=True, create=True, unfinished=True) as there:
        copy_store(store, there, ignore_step)
        with open_store(places[1], write=True, create=True, unfinished=True) as back:
            copy_store(there, back, ignore_step)
            there.release()  # the moment that was copied
        for copy in (there, open_store(places[1], write=True)):
            assert export(copy) == kept
            assert [copy.revision_of(instance_id) for instance_id in "abcde"] == numbers
            put(copy, "z")
            assert copy.revision_of("z")[0] > numbers[-1][0]
            assert not list(copy.find_problems())
    with copy:
        assert table_sizes(copy).items() >= {JANUARY: 13, FEBRUARY: 12, MARCH: 6}.items()


# --- plans ---


def plan(store: Store, ask: Callable[[], object]) -> str:
    """Return how PostgreSQL executes the queries by which a question is answered."""
    execute, plans = store.database._execute, []

    def explain(sql: str, values: Sequence[object]) -> psycopg.Cursor:
        if "FROM token" in sql:
            query = sql.partition(" FOR ")[2] if sql.startswith("DECLARE") else sql
            plans.extend(line for (line,) in execute(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {query}", values))
        return execute(sql, values)

    store.database.execute("SET enable_seqscan = off")  # the tables of a test are small
    store.database._execute = explain
    ask()
    return "\n".join(plans)


def test_a_query_of_one_instance_reads_one_partition(store):
    put_three_months(store)
    read = plan(store, lambda: list(store.tokens("c", ALL_TOKENS, SortOrder("created"))))
    assert f"on {table(FEBRUARY)} token" in read
    assert table(JANUARY) not in read
    assert "Sort" not in read


def test_tokens_that_failed_are_found_by_the_index_of_each_partition(store):
    put_three_months(store)
    read = plan(store, lambda: list(store.tokens(None, TokenFilter(states=("FAILED",)), SortOrder("recorded"))))
    assert read.count("Index Scan") >= 3
    assert "state" not in read  # the condition is that of the index
    assert "Seq Scan on token" not in read


# --- stores without partitions ---


@pytest.fixture
def old_place(place) -> str:
    """A store of schema 1 with two instances, which a user may read."""
    with postgresql_program(1), open_store(place, write=True, create=True) as store:
        put(store, "a", "b")
        store.database.execute("GRANT SELECT ON token TO PUBLIC")
    return place


def read_from_old(place: str, query: str) -> object:
    with psycopg.connect(place, autocommit=True) as connection:
        return connection.execute(query).fetchone()[0]


def test_an_old_table_becomes_the_first_partition_without_being_written(old_place):
    file = read_from_old(old_place, "SELECT pg_relation_filenode('token')")
    with open_store(old_place, write=True) as store:
        assert store.info().schema_version == SCHEMA_VERSION
        assert table_sizes(store) == {0: 12}
        assert read_from_old(old_place, "SELECT pg_relation_filenode('token_1970_01')") == file
        assert read_from_old(old_place, "SELECT has_table_privilege('public', 'token', 'SELECT')")
        put(store, "a", "c")
        assert [store.revision_of(instance_id)[0] for instance_id in "ab"] == [1, 2]
        assert store.revision_of("c")[0] > first_instance(JANUARY)
        assert table_sizes(store)[0] == 12
        assert not list(store.find_problems())
        begin_month(store, JANUARY + 1000)
        assert store.prune(at(99)) == (3, 18)
        assert find_partitions(store.database) == []


@pytest.mark.parametrize("done", [1, 2])
def test_an_interrupted_upgrade_is_continued(old_place, monkeypatch, done):
    with monkeypatch.context() as patch:
        patch.setattr(migration, "MIGRATIONS", (MIGRATIONS[0], (*MIGRATIONS[1][:done], "NONSENSE")))
        with pytest.raises(StoreError):
            open_store(old_place, write=True)
        patch.setattr(migration, "SCHEMA_VERSION", 1)
        with open_store(old_place, write=True) as store:  # the program of that version
            put(store, "c")
    with open_store(old_place) as store:
        assert store.info().schema_version == SCHEMA_VERSION
        assert store.info().tokens == 18
        assert not list(store.find_problems())
