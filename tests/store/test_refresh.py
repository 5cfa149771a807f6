"""Looking at a store again: a new moment each time, and next to no work where nothing has changed."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from support.builders import instance, token
from support.commandline import clean_environment
from tokctl.errors import StoreError, WrongStoreError
from tokctl.model.filters import ALL_TOKENS, SortOrder
from tokctl.model.tokens import Token
from tokctl.store import open_store

WRITE = """
import sys
from tokctl.model.instances import Instance
from tokctl.model.tokens import Token
from tokctl.store import open_store
with open_store(sys.argv[1], write=True) as store, store.write() as batch:
    token = Token(token_id=sys.argv[2], instance_id="i1", element_id="e", state="ACTIVE")
    batch.put(Instance(instance_id="i1"), [token])
"""


def put(path: Path, *tokens: Token) -> None:
    with open_store(str(path), write=True, create=True) as store, store.write() as batch:
        batch.put(instance(), tokens)


def write_elsewhere(path: Path, token_id: str) -> None:
    subprocess.run([sys.executable, "-c", WRITE, str(path), token_id], check=True, env=clean_environment())


def ids(store) -> list[str]:
    return [one.token_id for one in store.tokens("i1", ALL_TOKENS, SortOrder("created"))]


@pytest.fixture
def store(store_path, open_at):
    put(store_path, token("a"))
    return open_at()


def test_a_look_shows_one_moment_and_the_next_another(store, store_path):
    assert store.refresh()  # nobody has looked before
    assert ids(store) == ["a"]
    write_elsewhere(store_path, "b")
    assert ids(store) == ["a"]
    assert store.refresh()
    assert ids(store) == ["a", "b"]
    assert not store.refresh()
    store.release()
    assert not store.refresh()
    put(store_path, token("c"))
    assert store.refresh()
    assert ids(store) == ["a", "b", "c"]


def test_what_changes_between_the_answer_and_the_next_question_is_not_missed(store, store_path):
    store.refresh()
    put(store_path, token("b"))  # the moment of the last refresh is still shown
    assert ids(store) == ["a"]
    assert store.refresh()


def test_an_unchanged_store_is_not_queried(store):
    store.refresh()
    store.release()
    said: list[str] = []
    store.connection.set_trace_callback(said.append)
    for _ in range(3):
        assert not store.refresh()
        store.release()
    assert said == ["BEGIN", "PRAGMA data_version", "ROLLBACK"] * 3


def test_resting_lets_a_writers_log_begin_anew(store, store_path):
    with open_store(str(store_path), write=True) as writer:
        for name in ("b", "c"):
            with writer.write() as batch:
                batch.put(instance(), [token(name)])
        store.refresh()
        assert ids(store) == ["a", "b", "c"]
        with writer.write() as batch:
            batch.put(instance(), [token("d")])
        writer.connection.execute("PRAGMA busy_timeout = 0")
        assert writer.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 1
        store.release()
        assert writer.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0


def test_a_store_that_has_gone_and_come_back(store, store_path):
    store.refresh()
    away = store_path.with_name("away.db")
    store_path.rename(away)
    for _ in range(2):
        with pytest.raises(StoreError, match="no store found at"):
            store.refresh()
    away.rename(store_path)
    store.refresh()
    assert ids(store) == ["a"]


def test_another_store_in_its_place_is_found(store, store_path, tmp_path):
    store.refresh()
    other = tmp_path / "other.db"
    put(other, token("z"))
    other.replace(store_path)
    for suffix in ("-wal", "-shm"):
        store_path.with_name(store_path.name + suffix).unlink(missing_ok=True)
    assert store.refresh()
    assert ids(store) == ["z"]
    assert not store.refresh()
    put(store_path, token("y"))
    assert store.refresh()
    assert sorted(ids(store)) == ["y", "z"]


def test_a_file_in_its_place_that_is_no_store_ends_it(store, store_path, tmp_path):
    store.refresh()
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE t (a)")
    connection.close()
    other.replace(store_path)
    for suffix in ("-wal", "-shm"):
        store_path.with_name(store_path.name + suffix).unlink(missing_ok=True)
    with pytest.raises(WrongStoreError):
        store.refresh()


def test_a_store_that_takes_no_locks_is_read_anew_when_its_file_changes(store_path, tmp_path, monkeypatch):
    """As in a read-only folder: SQLite itself would not notice."""
    from tokctl.store.sqlite import connection as opening

    put(store_path, token("a"))
    copy = tmp_path / "copy.db"
    shutil.copy(store_path, copy)
    monkeypatch.setattr(opening, "_connect_read_only", lambda path: (opening._connect(path, "immutable=1"), True))
    with open_store(str(copy)) as seen:
        assert seen.refresh()
        assert ids(seen) == ["a"]
        assert not seen.refresh()
        put(store_path, token("b"))
        with sqlite3.connect(store_path) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        copy.write_bytes(store_path.read_bytes())  # the same file, other contents
        assert seen.refresh()
        assert ids(seen) == ["a", "b"]
        assert not seen.refresh()


def test_a_store_in_memory_sees_its_own_writes(open_at):
    with open_at(":memory:", write=True, create=True) as store:
        with store.write() as batch:
            batch.put(instance(), [token("a")])
        assert store.refresh()
        assert not store.refresh()
        store.release()
        with store.write() as batch:
            batch.put(instance(), [token("b")])
        assert store.refresh()
        assert ids(store) == ["a", "b"]
