"""``tokctl store migrate``: pending migrations are shown, or run; a newer schema is refused."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from support.old_stores import bring_back
from tokctl.store import open_store, schema_versions
from tokctl.store.postgresql import migration, schema
from tokctl.store.sqlite.schema import SCHEMA_VERSION


@pytest.fixture
def place(store_kind) -> str:
    """An empty store of each kind."""
    url = store_kind.new_place()
    open_store(url, write=True, create=True).close()
    return url


@pytest.fixture
def pending(place, store_kind, monkeypatch) -> list[int]:
    """The versions of the migrations that the store lacks."""
    if store_kind.name == "sqlite":
        with open_store(place) as store:
            path = store.path
        bring_back(path, SCHEMA_VERSION - 2)
        return [SCHEMA_VERSION - 1, SCHEMA_VERSION]
    latest = schema.SCHEMA_VERSION + 1
    for module in (migration, schema):
        monkeypatch.setattr(module, "SCHEMA_VERSION", latest)
    monkeypatch.setattr(migration, "MIGRATIONS", (*schema.MIGRATIONS, "ALTER TABLE token ADD COLUMN zone TEXT"))
    return [latest]


def test_pending_migrations_are_shown_then_run(tokctl, place, pending):
    version, latest = schema_versions(place)
    for words, code, versions in ((["--dry-run"], 1, pending), ([], 0, pending), (["--dry-run"], 0, []), ([], 0, [])):
        ran = tokctl("store", "migrate", "--store", place, "-o", "json", *words)
        assert (ran.code, ran.err) == (code, "")
        assert json.loads(ran.out) == {
            "schema_version": version,
            "latest_version": latest,
            "pending": versions,
            "dry_run": bool(words),
        }
        version = schema_versions(place)[0]
        assert version == (latest if not words or not versions else versions[0] - 1)


@pytest.mark.parametrize("words", [[], ["--dry-run"]])
def test_a_newer_schema_that_this_version_can_use(tokctl, postgresql, words):
    place = postgresql.new_schema()
    with open_store(place, write=True, create=True) as store:
        store.database.execute("UPDATE tokctl_store SET schema_version = schema_version + 1")
    latest = schema.SCHEMA_VERSION
    ran = tokctl("store", "migrate", "--store", place, *words)
    assert (ran.code, ran.err) == (0, "")
    assert f"the store has schema {latest + 1}, which this version of tokctl (schema {latest}) can use" in ran.out


@pytest.mark.parametrize("words", [[], ["--dry-run"]])
def test_a_newer_schema_is_refused(tokctl, place, store_kind, words):
    with open_store(place, write=True) as store:
        if store_kind.name == "sqlite":
            with closing(sqlite3.connect(store.path)) as connection:
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        else:
            store.database.execute(
                "UPDATE tokctl_store SET schema_version = schema_version + 1, compatible_version = schema_version + 1"
            )
    ran = tokctl("store", "migrate", "--store", place, *words)
    assert (ran.code, ran.out) == (6, "")
    assert "written by a newer tokctl" in ran.err


@pytest.mark.parametrize("words", [[], ["--dry-run"]])
def test_no_store_is_made(tokctl, store_kind, words):
    place = store_kind.new_place()
    ran = tokctl("store", "migrate", "--store", place, *words)
    assert (ran.code, ran.out) == (6, "")
    assert "no store found" in ran.err
