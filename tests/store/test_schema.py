"""Stores that another program has changed: nothing is written to them, and nothing endless is read from them."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from support.builders import TESTER, at, token
from support.old_stores import bring_back
from tokctl.api_tokens.secrets import digest, generate, mask
from tokctl.errors import NotFoundError, StoreError
from tokctl.model.api_tokens import NewApiToken
from tokctl.store import open_store
from tokctl.store.sqlite.schema import SCHEMA_VERSION

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT"
CHANGES = {
    "a trigger that adds rights": (
        """CREATE TRIGGER extra AFTER INSERT ON api_token BEGIN
        UPDATE api_token SET type = 'full-access', scopes = '["*"]' WHERE id = new.id; END""",
        "an unknown trigger 'extra'",
    ),
    "a trigger that undoes a revocation": (
        """CREATE TRIGGER extra AFTER UPDATE ON api_token BEGIN
        UPDATE api_token SET revoked_at = NULL WHERE id = new.id; END""",
        "an unknown trigger 'extra'",
    ),
    "a trigger of an index that does not exist": (
        "CREATE TRIGGER audit_is_not_extended BEFORE INSERT ON audit BEGIN SELECT RAISE(IGNORE); END",
        "an unknown trigger 'audit_is_not_extended'",
    ),
    "a missing trigger": ("DROP TRIGGER audit_is_not_changed", "lacks the trigger 'audit_is_not_changed'"),
    "an index that refuses rows": ("CREATE UNIQUE INDEX extra ON variable (name)", "an unknown index 'extra'"),
    "a missing index": ("DROP INDEX api_token_by_name", "lacks the index 'api_token_by_name'"),
    "a new column": ("ALTER TABLE api_token ADD COLUMN extra TEXT", "a changed table 'api_token'"),
    "a table": ("CREATE TABLE extra (a)", "an unknown table 'extra'"),
    "a view": ("CREATE VIEW extra AS SELECT * FROM api_token", "an unknown view 'extra'"),
    "a table of functions": ("CREATE VIRTUAL TABLE extra USING fts5(a)", "an unknown table 'extra'"),
    "another version": ("PRAGMA user_version = 3", "an unknown"),
}
RUNS_WHEN_READ = {"a view", "a table of functions", "another version"}


def execute(path: Path, *statements: str) -> None:
    """Run statements as another program would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def dump(path: Path) -> list[str]:
    """Return everything in a store."""
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


@pytest.fixture
def path(tmp_path) -> Path:
    """A store with two tokens and an API token."""
    place = tmp_path / "own.db"
    with open_store(str(place), write=True, create=True) as store:
        with store.write() as batch:
            batch.put_tokens([token("t", "a"), token("u", "a")])
        create(store)
    return place


def create(store):
    secret = generate()
    wanted = NewApiToken(name="own", token=mask(secret), type="read-only", scopes=("process",), created_at=at(0))
    return store.api_tokens.create(wanted, digest(b"k" * 32, secret), "p", by=TESTER)


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_is_written_to_a_changed_store(path, tokctl, change):
    statement, expected = CHANGES[change]
    execute(path, statement)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=expected) as caught:
        open_store(str(path), write=True)
    assert "\n" not in str(caught.value)
    for words in (
        ("api-tokens", "revoke", "1", "--yes"),
        ("api-tokens", "update", "1", "--description", "x"),
        ("store", "prune", "--completed-before", "1d", "--yes"),
    ):
        ran = tokctl(*words, "--store", path)
        assert (ran.code, ran.out) == (6, "")
        assert expected in ran.err
    assert path.read_bytes() == before
    checked = tokctl("store", "check", "--store", path)
    assert checked.code == (6 if change in RUNS_WHEN_READ else 1)
    assert expected in checked.out + checked.err
    examined = tokctl("doctor", "--store", path)
    assert examined.code == 1
    assert expected in examined.out


def test_statistics_are_no_change(path, tokctl):
    execute(path, "ANALYZE")
    with open_store(str(path), write=True) as store:
        assert create(store).id == 2
    assert tokctl("store", "check", "--store", path).code == 0


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_every_earlier_schema_is_known(path, version):
    bring_back(path, version)
    with open_store(str(path), write=True) as store:
        assert store.info().schema_version == SCHEMA_VERSION
        assert not [*store.find_damage(), *store.find_problems()]


@pytest.mark.parametrize("version", [2, SCHEMA_VERSION])
def test_an_endless_view_hangs_nobody(path, version):
    bring_back(path, version, "ALTER TABLE token RENAME TO kept", f"CREATE VIEW token AS {ENDLESS} i AS pk FROM n")
    for write in (False, True):
        with pytest.raises(StoreError, match=r"view 'token'|a changed|an unknown"):
            open_store(str(path), write=write)


def test_a_view_that_appears_while_a_store_is_open_hangs_nobody(path):
    with open_store(str(path)) as store:
        store.refresh()
        execute(path, "ALTER TABLE revision RENAME TO kept", f"CREATE VIEW revision AS {ENDLESS} i AS kind FROM n")
        with pytest.raises(StoreError, match="an unknown view 'revision'"):
            store.refresh()


@pytest.mark.parametrize(
    "statement",
    [
        *(CHANGES[name][0] for name in ("a trigger that adds rights", "a trigger that undoes a revocation")),
        "CREATE TRIGGER extra AFTER UPDATE ON revision BEGIN UPDATE revision SET number = 0; END",
        "CREATE TRIGGER extra AFTER UPDATE ON audit_head BEGIN UPDATE audit_head SET number = 0; END",
        "CREATE TRIGGER extra BEFORE INSERT ON audit BEGIN SELECT RAISE(IGNORE); END",
    ],
)
def test_a_change_is_read_back(path, statement):
    """The trigger comes after the schema was checked."""
    with open_store(str(path), write=True) as store:
        before = store.api_tokens.by_id(1)
        execute(path, statement)
        refused = 0
        for change in (
            lambda: create(store),
            lambda: store.api_tokens.update(1, {"type": "full-access"}, at(5), by=TESTER),
            lambda: store.api_tokens.revoke(1, at(6), by=TESTER),
        ):
            kept = dump(path)
            with suppress(StoreError):
                change()
                continue
            refused += 1
            assert dump(path) == kept
        assert refused
        if "api_token" not in statement:
            assert (refused, store.api_tokens.by_id(1)) == (3, before)


def test_an_update_that_is_ignored_is_noticed(path):
    with open_store(str(path), write=True) as store:
        execute(path, "CREATE TRIGGER extra BEFORE UPDATE ON api_token BEGIN SELECT RAISE(IGNORE); END")
        with pytest.raises(StoreError, match="does not keep"):
            store.api_tokens.revoke(1, at(6), by=TESTER)


def test_the_schema_is_not_trusted(path):
    for write in (False, True):
        with open_store(str(path), write=write) as store:
            assert store.connection.execute("PRAGMA trusted_schema").fetchone() == (0,)


# --- the time of queries ---


def test_a_query_has_a_time_limit(path):
    with open_store(str(path)) as store:
        store.set_query_limit(0.2)
        begin = time.monotonic()
        with pytest.raises(StoreError, match="too long for a query"):
            next(store.query(f"{ENDLESS} count(*) FROM n"))
        assert time.monotonic() - begin < 5
        assert store.instance("a").total_tokens == 2


def test_time_between_two_rows_is_not_the_querys(path):
    with open_store(str(path)) as store:
        store.set_query_limit(0.5)
        rows = store.query(f"{ENDLESS} i FROM n WHERE i % 10000 = 0")
        for _ in range(4):
            next(rows)
            time.sleep(0.3)


def test_an_interrupt_stops_a_query(path):
    program = (
        "import sys; from tokctl.store import open_store; store = open_store(sys.argv[1])\n"
        f"print('begun', flush=True)\ntry: next(store.query('{ENDLESS} count(*) FROM n'))\n"
        "except KeyboardInterrupt: print('interrupted')"
    )
    running = subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout.readline() == "begun\n"
        time.sleep(0.2)
        running.send_signal(signal.SIGINT)
        assert running.communicate(timeout=10) == ("interrupted\n", None)
    finally:
        running.kill()
        running.wait()


# --- API tokens of a damaged store ---


@pytest.mark.parametrize(
    ("column", "value"),
    [("type", "admin"), ("type", 1), ("scopes", "process"), ("scopes", "[1]"), ("revoked_at", "never"),
     ("expires_at", 1 << 62), ("created_by", "x"), ("name", b"\xff")],
)  # fmt: skip
def test_a_damaged_api_token_is_valid_for_nothing(path, column, value):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"UPDATE api_token SET {column} = ?", [value])
    with open_store(str(path), write=True) as store:
        with pytest.raises(StoreError, match="damaged"):
            store.api_tokens.by_id(1)
        with pytest.raises((StoreError, NotFoundError)):
            store.api_tokens.update(1, {"name": "x"}, at(5), by=TESTER)
        assert any(f"api_token.{column}" in problem for problem in store.find_damage()) or column == "type"
