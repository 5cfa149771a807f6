"""Several processes at one store: moments, writers, restarts of the server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from itertools import chain, pairwise

import psycopg
import pytest

from support.builders import TESTER, at, instance, ndjson, raw, token, tokens
from support.commandline import clean_environment
from support.paths import ROOT
from support.postgresql_server import temporary_server
from tokctl.errors import StoreError, UnreachableStoreError
from tokctl.model.api_tokens import NewApiToken
from tokctl.model.filters import ALL_TOKENS, InstanceFilter, SortOrder
from tokctl.model.instance_status import derive_status
from tokctl.store import open_store
from tokctl.store.protocol import Store

CHANGE = """
import sys
from datetime import UTC, datetime
from tokctl.api_tokens.audit import Actor
from tokctl.api_tokens.idempotency import CreationKey
from tokctl.errors import NotFoundError
from tokctl.model.api_tokens import NewApiToken
from tokctl.store import open_store
from tokctl.store.protocol import ChangedError, RepeatedCreationError
place, what, name = sys.argv[1:]
by, now = Actor(kind="cli", id=name, origin="test"), datetime.now(UTC)
with open_store(place, write=True) as store:
    table, known = store.api_tokens, store.api_tokens.by_id(1)
    print("ready", flush=True)
    sys.stdin.read()
    for n in range(20):
        digest, new = f"{name}-{n}".encode().ljust(32), NewApiToken(name=f"n{n}", token="m", created_at=now)
        try:
            if what == "create":
                table.create(new, digest, "p", by=by, creation=CreationKey(f"key-{n}".encode().ljust(32), b"salt"))
            elif what == "rotate":
                table.create(new, digest, "p", by=by, replaces=n + 1)
                table.revoke(n + 1, now, by=by)
            elif what == "update":
                table.update(1, {"description": f"{name}-{n}"}, datetime.now(UTC), by=by, known=known.updated_at)
            print(n)
        except (RepeatedCreationError, NotFoundError, ChangedError):
            pass
"""


def run_together(place: str, what: str) -> list[list[int]]:
    """Run a change twenty times in each of three processes at once; return which of them each process did."""
    begun = [
        subprocess.Popen(
            [sys.executable, "-c", CHANGE, place, what, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=clean_environment(),
        )
        for name in "abc"
    ]
    assert [process.stdout.readline() for process in begun] == ["ready\n"] * 3
    for process in begun:
        process.stdin.close()
    said = [process.stdout.read().split() for process in begun]
    assert [process.wait(60) for process in begun] == [0, 0, 0]
    return [list(map(int, one)) for one in said]


def new(name: str = "ci") -> NewApiToken:
    return NewApiToken(name=name, token="xvc_a1b2...", created_at=at(0))


def put(store: Store, *several) -> None:
    with store.write() as batch:
        batch.put_tokens(several)


def ids(store: Store) -> list[str]:
    return [one.token_id for one in store.tokens("i1", ALL_TOKENS, SortOrder("created"))]


def test_a_refresh_shows_another_moment_if_something_has_changed(store, place):
    made = store.api_tokens.create(new(), b"1" * 32, "p1", by=TESTER)
    put(store, token("a", completed_at=at(1)))
    with open_store(place) as reader:
        assert not reader.refresh()
        for change in (
            lambda: put(store, token("b", completed_at=at(2))),
            lambda: store.api_tokens.revoke(made.id, at(1), by=TESTER),
            lambda: store.api_tokens.touch({}),
            lambda: store.prune(at(99)),
        ):
            change()
            assert ids(reader)[:1] == ["a"]
            assert reader.refresh()
            reader.release()
            assert not reader.refresh()
        assert list(reader.all_instance_ids()) == []


def test_a_reader_does_not_write(store, place):
    with open_store(place) as reader, pytest.raises(StoreError, match="read-only"):
        put(reader, token("a"))


def test_a_result_is_read_while_others_are(store, place):
    """Far more rows than are fetched at once, and a query for each."""
    with store.write() as batch:
        for n in range(1200):
            batch.put(instance(f"i{n:04}"), [token("t", f"i{n:04}")])
    for source in (store, open_store(place)):
        with closing(source):
            found = [source.token(one.instance.instance_id, "t") for one in source.scan_instances(InstanceFilter())]
            assert [one.instance_id for one in found] == [f"i{n:04}" for n in range(1200)]
    with open_store(place) as reader:
        half = reader.scan_instances(InstanceFilter())
        next(half)
        reader.refresh()
        with pytest.raises(StoreError, match="has passed"):
            list(half)
        assert reader.info().tokens == 1200


def test_writers_wait_for_each_other(store, place):
    def write(name: str) -> None:
        with open_store(place, write=True) as other:
            for n in range(10):
                put(other, *tokens(3, "i1", created_at=at(n)), token(f"{name}{n}", "i1", state="ACTIVE"))

    threads = [threading.Thread(target=write, args=[name]) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    several = list(store.tokens("i1", ALL_TOKENS, SortOrder("created")))
    assert len(several) == 43
    assert store.instance("i1") == derive_status(store.instance("i1").instance, several)
    assert list(store.find_problems()) == []


def test_a_writer_that_takes_too_long_is_not_waited_for(store, place):
    with open_store(place, write=True) as other, other.write() as batch:
        batch.put_tokens([token("a")])
        store.set_busy_timeout(50)
        with pytest.raises(StoreError, match="locked: another process"):
            put(store, token("b"))
        store.api_tokens.create(new(), b"1" * 32, "p1", by=TESTER)  # another kind of change
    put(store, token("b"))


def test_a_query_that_takes_too_long_is_stopped(store, place):
    with open_store(place) as reader:
        reader.set_query_limit(0.05)
        with pytest.raises(StoreError, match="needs too long for a query"):
            reader.database.fetch("SELECT pg_sleep(5)")
    with open_store(place) as reader:
        threading.Timer(0.2, reader.interrupt).start()
        with pytest.raises(StoreError, match="was stopped"):
            reader.database.fetch("SELECT pg_sleep(5)")


def test_a_creation_with_a_key_is_done_once(store, place):
    did = run_together(place, "create")
    assert sorted(chain(*did)) == list(range(20))
    assert store.api_tokens.count() == 20
    assert [entry.action for entry in store.audit.entries()] == ["create"] * 20


def test_a_rotation_is_done_once(store, place):
    for n in range(20):
        store.api_tokens.create(new(f"n{n}"), bytes([n]) * 32, "p1", by=TESTER)
    did = run_together(place, "rotate")
    assert sorted({*chain(*did)}) == list(range(20))
    entries = list(store.audit.entries())
    assert [entry.number for entry in entries] == list(range(1, len(entries) + 1))
    assert all(entry.chain_hash(before.hash) == entry.hash for before, entry in pairwise(entries))
    assert store.audit.head().number == len(entries)
    assert all(store.api_tokens.by_id(n + 1).revoked_at for n in range(20))


def test_of_changes_that_know_the_same_state_one_is_made(store, place):
    store.api_tokens.create(new(), b"1" * 32, "p1", by=TESTER)
    assert sum(len(one) for one in run_together(place, "update")) == 1


@pytest.mark.parametrize(
    "bad", [b'{"token_id":"bad"}\n', b'{"token_id":"a\\u0000b","element_id":"e","state":"ACTIVE"}\n']
)
def test_a_file_is_imported_as_a_whole_or_not_at_all(place, tokctl, tmp_path, bad):
    """PostgreSQL cannot store the character NUL."""
    file = tmp_path / "several.ndjson"
    file.write_bytes(ndjson(tokens(2500)) + bad)
    ran = tokctl("store", "import", file, "--store", place)
    assert ran.code == 7
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1
    with open_store(place) as store:
        assert store.info().tokens == 0
    file.write_bytes(ndjson(tokens(2500)))
    for dry, stored in (["--dry-run"], 0), ([], 2500):
        assert tokctl("store", "import", file, "--store", place, *dry).code == 0
        with open_store(place) as store:
            assert store.info().tokens == stored


def test_what_the_database_says_of_values_is_not_shown(store):
    store.api_tokens.create(new(), b"1" * 32, "p1", by=TESTER)
    with pytest.raises(StoreError) as caught:
        store.api_tokens.create(new("other"), b"1" * 32, "p1", by=TESTER)
    assert "3131" not in str(caught.value)


def test_maintenance(store, place, tokctl, tmp_path):
    with store.write() as batch:
        batch.put(instance("i1", variables=raw({"a": 1}), completed_at=at(0)), tokens(3))
    for words, code, said in (
        (["store", "info"], 0, "PostgreSQL 1"),
        (["store", "check"], 0, "no problems"),
        (["store", "export"], 0, '"t0"'),
        (["store", "backup", tmp_path / "copy"], 2, "pg_dump"),
        (["store", "prune", "--completed-before", "2025-02-01", "--yes"], 0, "Removed 1 instance"),
        (["doctor"], 0, "0 instances"),
    ):
        ran = tokctl(*words, "--store", place)
        assert (ran.code, said in ran.out + ran.err) == (code, True), ran
    store.database.execute("DELETE FROM identity")
    assert "identity lacks the row" in tokctl("store", "check", "--store", place).out
    store.database.execute("DROP TABLE identity")
    ran = tokctl("store", "check", "--store", place)
    assert (ran.code, "is damaged" in ran.err) == (6, True)


def test_a_user_who_may_only_read(store, place, postgresql, tokctl):
    put(store, token("a"))
    schema = place.rpartition("%3D")[2]
    with psycopg.connect(postgresql.url(), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {schema} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {schema}")
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {schema}")
    reading = place.replace("user=postgres", f"user={schema}")
    assert tokctl("tokens", "list", "i1", "--store", reading).code == 0
    ran = tokctl("store", "prune", "--completed-before", "1d", "--yes", "--store", reading)
    assert ran.code == 6
    assert "does not allow this: permission denied" in ran.err


def test_a_schema_that_is_missing(store, place, tokctl):
    put(store, token("a"))
    ran = tokctl("store", "copy", place, re.sub(r"search_path%3D\w+", "search_path%3Dnone", place))
    assert ran.code == 6
    assert "has no such schema: no schema has been selected to create in. Create it with CREATE SCHEMA" in ran.err


def test_doctor_says_what_a_user_who_reads_instances_cannot_check(store, place, tokctl):
    put(store, token("a"))
    schema = place.rpartition("%3D")[2]
    store.database.execute(f"CREATE ROLE {schema} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {schema}")
    store.database.execute(f"GRANT SELECT ON instance, token, variable, definition, revision, tokctl_store TO {schema}")

    def check(role: str) -> dict[str, str]:
        ran = tokctl("doctor", "-o", "json", "--store", place.replace("user=postgres", f"user={role}"))
        (found,) = (check for check in json.loads(ran.out)["checks"] if check["check"] == "store")
        return found

    assert check("postgres")["state"] == "ok"
    found = check(schema)
    assert found["state"] == "warning"
    assert "1 instance" in found["found"]
    assert "cannot read its API tokens and audit log" in found["found"]
    store.database.execute(f"REVOKE SELECT ON instance FROM {schema}")
    assert check(schema)["state"] == "problem"


def test_a_restart_of_the_server_is_noticed_and_survived():
    with (
        temporary_server(synchronous_commit="on") as server,
        open_store(server.url(), write=True, create=True) as store,
    ):
        put(store, token("a"))
        reader = open_store(server.url())
        server.stop()
        lost: tuple[Callable[[], object], ...] = (store.info, store.refresh, reader.refresh, lambda: ids(reader))
        for use in lost:
            with pytest.raises(UnreachableStoreError):
                use()
        server.start()
        assert reader.refresh() in (True, False)
        assert ids(reader) == ["a"]
        reader.close()
        store.refresh()
        assert ids(store) == ["a"]


def test_the_roles_of_the_documentation():
    """What each may do, and not more."""
    create, grant = re.findall(r"```sql[^\n]*\n(.*?)```", (ROOT / "docs/operations.md").read_text(), re.DOTALL)
    with temporary_server() as server:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            for statement in create.split(";")[:-1]:
                connection.execute(statement)
        owner, writer, reader = (server.url("tokctl", user=f"tokctl_{role}") for role in ("owner", "server", "reader"))
        open_store(owner, write=True, create=True).close()
        with psycopg.connect(owner, autocommit=True) as connection:
            connection.execute(grant)
        with open_store(writer, write=True) as store:
            put(store, *tokens(9))
            made = store.api_tokens.create(new(), b"1" * 32, "p1", by=TESTER)
            store.api_tokens.revoke(made.id, at(1), by=TESTER)
            store.prune(at(99))
            for statement in ("UPDATE audit SET entry = ''", "DELETE FROM audit", "DROP TABLE token"):
                with pytest.raises(StoreError, match="does not allow this"):
                    store.database.execute(statement)
        with open_store(reader) as store:
            assert list(store.instances(InstanceFilter(), SortOrder("started"))) == []
            with pytest.raises(StoreError, match="does not allow this"):
                list(store.api_tokens.list())
