"""The tables of a store: created once, however many processes begin at the same time."""

from __future__ import annotations

import secrets
import subprocess
import sys

import psycopg
import pytest

from support.builders import ndjson, tokens
from support.commandline import clean_environment
from tokctl.errors import MissingStoreError, StoreError, WrongStoreError
from tokctl.store import open_store
from tokctl.store.postgresql import migration
from tokctl.store.postgresql.schema import MIGRATIONS, SCHEMA_VERSION

BEGIN = """
import sys
from tokctl.store import open_store
sys.stdin.read()
with open_store(sys.argv[1], write=True, create=True) as store:
    print(store.api_tokens.identity(), store.info().schema_version)
"""

REFUSE = """
    CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE {} USING MESSAGE = 'no partitions'; END $$;
    CREATE EVENT TRIGGER refuse ON ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION refuse()"""
"""Lets a server answer as another database, in the middle of the migrations."""


def test_processes_that_begin_together_create_one_store(postgresql):
    place = postgresql.new_schema()
    begun = [
        subprocess.Popen(
            [sys.executable, "-c", BEGIN, place], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=clean_environment()
        )
        for _ in range(4)
    ]
    for process in begun:
        process.stdin.close()
    said = {process.stdout.read() for process in begun}
    assert [process.wait(30) for process in begun] == [0] * 4
    assert len(said) == 1


@pytest.mark.parametrize("write", [False, True])
def test_a_newer_store_is_refused(postgresql, write):
    place = postgresql.new_schema()
    with open_store(place, write=True, create=True) as store:
        store.database.execute("UPDATE tokctl_store SET schema_version = ?", [SCHEMA_VERSION + 2])
    with open_store(place, write=write) as store:  # as long as it is compatible
        assert store.info().schema_version == SCHEMA_VERSION + 2
    with open_store(place, write=True) as store:
        store.database.execute("UPDATE tokctl_store SET compatible_version = ?", [SCHEMA_VERSION + 1])
    with pytest.raises(WrongStoreError, match=r"newer tokctl.*Upgrade tokctl"):
        open_store(place, write=write)


@pytest.mark.parametrize("oldest", [SCHEMA_VERSION, SCHEMA_VERSION + 1])
def test_a_step_says_whether_older_programs_can_go_on(postgresql, monkeypatch, oldest):
    place = postgresql.new_schema()
    open_store(place, write=True, create=True).close()
    with monkeypatch.context() as newer:
        newer.setattr(migration, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
        newer.setattr(migration, "COMPATIBLE_VERSION", oldest)
        newer.setattr(migration, "MIGRATIONS", (*MIGRATIONS, "ALTER TABLE token ADD COLUMN zone TEXT"))
        open_store(place, write=True).close()
    if oldest > SCHEMA_VERSION:
        with pytest.raises(WrongStoreError, match="newer tokctl"):
            open_store(place)
    else:
        open_store(place).close()


def test_only_the_owner_upgrades(postgresql, monkeypatch):
    place = postgresql.new_schema()
    open_store(place, write=True, create=True).close()
    role = f"writer_{secrets.token_hex(4)}"
    with psycopg.connect(place, autocommit=True) as connection:
        connection.execute(
            f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {connection.execute('SHOW search_path').fetchone()[0]}"
            f" TO {role}; GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA"
            f" {connection.execute('SHOW search_path').fetchone()[0]} TO {role}"
        )
    monkeypatch.setattr(migration, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    monkeypatch.setattr(migration, "MIGRATIONS", (*MIGRATIONS, "ALTER TABLE token ADD COLUMN zone TEXT"))
    try:
        with pytest.raises(StoreError, match=r"has schema \d+; this tokctl needs \d+.*store migrate.* as the owner"):
            open_store(place.replace("user=postgres", f"user={role}"))
    finally:
        with psycopg.connect(place, autocommit=True) as connection:
            connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.mark.parametrize("write", [False, True])
def test_an_older_store_is_upgraded_or_stays(postgresql, monkeypatch, write):
    place = postgresql.new_schema()
    open_store(place, write=True, create=True).close()
    monkeypatch.setattr(migration, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    monkeypatch.setattr(migration, "MIGRATIONS", (*MIGRATIONS, "ALTER TABLE token ADD COLUMN zone TEXT; NONSENSE"))
    with pytest.raises(StoreError):
        open_store(place, write=write)
    monkeypatch.setattr(migration, "MIGRATIONS", (*MIGRATIONS, "ALTER TABLE token ADD COLUMN zone TEXT"))
    with open_store(place, write=write) as store:
        assert store.info().schema_version == SCHEMA_VERSION + 1
        assert store.database.fetch("SELECT zone FROM token") == []


def test_no_store_is_made_by_reading(postgresql):
    place = postgresql.new_schema()
    for write in (False, True):
        with pytest.raises(MissingStoreError, match="no store found at postgresql://"):
            open_store(place, write=write)


def test_tables_of_another_program_are_left_alone(postgresql):
    place = postgresql.new_schema()
    with psycopg.connect(place, autocommit=True) as connection:
        connection.execute("CREATE TABLE token (a INTEGER)")
    with pytest.raises(WrongStoreError, match="another program"):
        open_store(place, write=True, create=True)
    with psycopg.connect(place) as connection:
        assert connection.execute("SELECT to_regclass('tokctl_store')").fetchone() == (None,)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("ALTER FUNCTION pg_advisory_xact_lock(integer, integer) RENAME TO other", "function pg_advisory_xact_lock("),
        ("ALTER FUNCTION pg_notify(text, text) RENAME TO other", "function pg_notify("),
        ("ALTER FUNCTION pg_current_xact_id() RENAME TO other", "function pg_current_xact_id("),
        ("DROP EXTENSION plpgsql", 'language "plpgsql"'),
        (REFUSE.format("feature_not_supported"), "no partitions."),
        (REFUSE.format("syntax_error"), "no partitions."),
    ],
)
def test_a_server_that_lacks_something(postgresql, tokctl, tmp_path, change, said):
    place = postgresql.url(postgresql.new_database())
    with psycopg.connect(place, autocommit=True) as connection:
        connection.execute(change)
    file = tmp_path / "tokens.ndjson"
    file.write_bytes(ndjson(tokens(1, "i1")))
    ran = tokctl("store", "import", file, "--store", place)
    assert (ran.code, ran.err.count("\n")) == (6, 1), ran
    assert f" is on a server that lacks what tokctl requires: {said}" in ran.err
    assert ran.err.endswith(". Use PostgreSQL 13 or newer.\n")


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_cannot_store_every_text(postgresql, encoding):
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(postgresql.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    place = postgresql.url(name)
    with pytest.raises(StoreError, match=f"has the encoding {encoding}"):
        open_store(place, write=True, create=True)
    with pytest.raises(MissingStoreError):
        open_store(place)
