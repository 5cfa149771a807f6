"""Copies of stores in stores of each kind: equal, whenever they were stopped; and nothing else is copied to."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta

import pytest

from support.builders import TESTER, at, instance, raw, token, tokens
from support.commandline import clean_environment
from support.serving import PEPPER, Served, grant
from tokctl.api_tokens.audit import check_chain
from tokctl.api_tokens.idempotency import CreationKey
from tokctl.api_tokens.secrets import digest, generate, mask
from tokctl.errors import InputError, StoreError
from tokctl.model.api_tokens import LastUse, NewApiToken
from tokctl.model.definitions import Definition
from tokctl.model.filters import ALL_TOKENS, SortOrder
from tokctl.store import STORES, open_store
from tokctl.store.copying import copy_store, count_steps
from tokctl.store.exporting import ndjson
from tokctl.store.protocol import COPIED_PARTS, Store
from tokctl.store.sql.copying import PARTS

SECRETS = [generate() for _ in range(3)]
STOPPED = """
import os, signal, sys
from tokctl.store import open_store
from tokctl.store.copying import copy_store
left = int(sys.argv[3])
def step(size):
    global left
    left -= size
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
with open_store(sys.argv[1]) as source, open_store(sys.argv[2], write=True, create=True, unfinished=True) as target:
    copy_store(source, target, step)
"""


@pytest.fixture
def new_place(request, tmp_path) -> Callable[[str], str]:
    """Returns the URL of a store of a kind that does not exist."""
    numbers = iter(range(100))

    def make(kind: str) -> str:
        if kind == "sqlite":
            return f"sqlite:{tmp_path / f'{next(numbers)}.db'}"
        return request.getfixturevalue("postgresql").new_schema()

    return make


def fill(url: str) -> str:
    """Write something of everything, in more than one batch; returns the URL."""
    with open_store(url, write=True, create=True) as store:
        with store.write() as batch:
            batch.put_definition(Definition(process_id="p", name="Größe", xml="<bpmn/>\n"))
            batch.put_definition(Definition(process_id="p", version=2))
            for number in (3, 1, 2):
                batch.put(
                    instance(f"i{number}", process_id="p", variables=raw({"n": number, "x": "\\N\t\n"})),
                    tokens(200, f"i{number}", variables={"v": [1, 2.50]}, flow_history=[{"certainty": "ambiguous"}]),
                )
            failed = raw({"error": "no route", "duration_ms": 0.1, "entered_by": "unknown"})
            batch.put_tokens([token("f", "i1", state="FAILED", execution_context=failed)])
        for number, secret in enumerate(SECRETS):
            wanted = NewApiToken(name=f"n{number}", token=mask(secret), scopes=("process",), created_at=at(number))
            key = CreationKey(f"k{number}".encode() * 16, b"salt" * 8)
            store.api_tokens.create(wanted, digest(PEPPER.key, secret), PEPPER.id, by=TESTER, creation=key)
        store.api_tokens.touch({1: (at(9), LastUse("192.0.2.4", "curl", "GET /"))})
        store.api_tokens.revoke(3, at(9), by=TESTER)
    return url


def copy(source: str, target: str) -> None:
    with open_store(source) as original, open_store(target, write=True, create=True, unfinished=True) as filled:
        copy_store(original, filled, lambda _size: None)


def everything(store: Store) -> dict:
    """Return everything in a store that can be told from outside, and the numbers of its rows."""
    return {
        "export": b"".join(ndjson(store, store.all_instance_ids(), store.definitions())),
        "failed": [one.first_error for one in map(store.instance, store.all_instance_ids())],
        "tags": [store.revision_of(one) for one in store.all_instance_ids()],
        "revisions": store.revisions(),
        "identity": store.api_tokens.identity(),
        "api tokens": [store.api_tokens.by_id(number) for number in range(1, 9)],
        "number of API tokens": store.api_tokens.count(),
        "found": [store.api_tokens.find_by_digest(digest(PEPPER.key, secret)) for secret in SECRETS],
        "peppers": store.api_tokens.peppers(),
        "salts": store.api_tokens.has_salts(),
        "audit": list(store.audit.entries()),
        "head": store.audit.head(),
        "records": [store.copying.page(part, None) for part in COPIED_PARTS],
    }


def assert_equal(source: str, target: str) -> None:
    with open_store(source) as original, open_store(target) as copied:
        assert everything(copied) == everything(original)
        assert [*copied.find_damage(), *copied.find_problems()] == []
        assert not check_chain(copied.audit.entries(), copied.audit.head()).fault


@pytest.mark.parametrize("target_kind", STORES)
@pytest.mark.parametrize("source_kind", STORES)
def test_a_copy_is_equal_and_works_like_the_original(new_place, source_kind, target_kind):
    source, target = fill(new_place(source_kind)), new_place(target_kind)
    copy(source, target)
    assert_equal(source, target)
    for url in (source, target):  # new rows, new numbers
        with open_store(url, write=True) as store:
            before = store.revisions()
            with store.write() as batch:
                batch.put_tokens([token("new", "i1"), token("new", "i9")])
            wanted = NewApiToken(name="new", token="xvc_", scopes=(), created_at=at(20))
            assert store.api_tokens.create(wanted, b"d" * 32, "p", by=TESTER).id == 4
            assert store.revisions().process > before.process
            assert store.revisions().access > before.access
            assert not list(store.find_problems())


DIRECTIONS = [("sqlite", "postgresql"), ("postgresql", "sqlite")]


def stop_copy(source: str, target: str, records: int) -> None:
    """Copy, and kill the process when it has written so many records, or compared them."""
    words = [sys.executable, "-c", STOPPED, source, target, str(records)]
    assert subprocess.run(words, env=clean_environment(), check=False, timeout=60).returncode == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize(("source_kind", "target_kind"), DIRECTIONS)
def test_a_copy_that_is_killed_is_continued(new_place, tokctl, source_kind, target_kind):
    source, target = fill(new_place(source_kind)), new_place(target_kind)
    stop_copy(source, target, 500)
    with pytest.raises(StoreError, match="is an unfinished copy"):
        open_store(target)
    for words in (("store", "info"), ("store", "migrate", "--dry-run"), ("api-tokens", "list")):
        ran = tokctl(*words, "--store", target)
        assert (ran.code, ran.out) == (6, "")
        assert "is an unfinished copy. Finish it" in ran.err
    with open_store(target, write=True, unfinished=True) as store:
        assert 0 < store.copying.count("tokens") < 601
    with open_store(source) as store:
        stop_copy(source, target, count_steps(store) - 100)
    with open_store(source, write=True) as store:  # API tokens have no part in the revision of processes
        store.api_tokens.revoke(1, at(30), by=TESTER)
        store.api_tokens.touch({2: (at(31), LastUse())})
    copied = tokctl("store", "copy", source, target, "-o", "json")
    assert (copied.code, copied.err) == (0, "")
    assert_equal(source, target)


@pytest.mark.parametrize(("source_kind", "target_kind"), DIRECTIONS)
def test_what_changes_in_the_original_meanwhile_is_copied_again(new_place, source_kind, target_kind):
    class StoppedError(Exception):
        pass

    def stop(_size: float) -> None:
        with open_store(target, write=True, unfinished=True) as store:
            if store.copying.count("tokens"):
                raise StoppedError

    source, target = fill(new_place(source_kind)), new_place(target_kind)
    with (
        open_store(source) as original,
        open_store(target, write=True, create=True, unfinished=True) as filled,
        pytest.raises(StoppedError),
    ):
        copy_store(original, filled, stop)
    with open_store(source, write=True) as store:
        with store.write() as batch:
            batch.put_tokens([token("f", "i1", updated_at=at(99)), token("more", "i4")])
        assert store.prune(at(1000) + timedelta(days=1))[0]
    copy(source, target)
    assert_equal(source, target)


@pytest.mark.parametrize("kind", STORES)
def test_only_an_empty_store_or_the_same_copy_is_filled(new_place, kind):
    source, other = fill(new_place("sqlite")), new_place("sqlite")
    target = new_place(kind)
    with open_store(target, write=True, create=True) as store:
        wanted = NewApiToken(name="n", token="xvc_", scopes=(), created_at=at(0))
        store.api_tokens.create(wanted, b"d" * 32, "p", by=TESTER)
        store.api_tokens.revoke(1, at(1), by=TESTER)
        before = everything(store)
    with pytest.raises(StoreError, match="is not empty"):
        copy(source, target)
    with open_store(target) as store:
        assert everything(store) == before
    copied = new_place(kind)
    copy(source, copied)
    for original, filled in ((source, copied), (source, source), (copied, copied)):
        with pytest.raises(StoreError, match="the original itself, or a finished copy"):
            copy(original, filled)
    assert_equal(source, copied)
    begun = new_place(kind)
    open_store(other, write=True, create=True).close()
    with open_store(other) as store, open_store(begun, write=True, create=True, unfinished=True) as filled:
        filled.copying.begin(store.api_tokens.identity(), 0)
    with pytest.raises(StoreError, match="unfinished copy of another store"):
        copy(source, begun)
    with pytest.raises(StoreError, match="is an unfinished copy"):
        copy(begun, new_place(kind))


@pytest.mark.parametrize("kind", STORES)
def test_two_processes_do_not_fill_a_store_at_once(new_place, kind):
    source, target = fill(new_place("sqlite")), new_place(kind)
    other = open_store(source)

    def interfere(_size: float) -> None:
        after = second.copying.last_key("tokens")
        if after is not None:
            second.copying.add("tokens", other.copying.page("tokens", after), after)

    with (
        other,
        open_store(source) as original,
        open_store(target, write=True, create=True, unfinished=True) as filled,
        open_store(target, write=True, unfinished=True) as second,
        pytest.raises(StoreError, match="another process has written"),
    ):
        copy_store(original, filled, interfere)


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize(
    ("part", "changed"),
    [("definitions", "document"), ("instances", "process_id"), ("tokens", "variables"), ("api_tokens", "scopes")],
)
def test_a_copy_that_differs_is_never_finished(new_place, kind, part, changed):
    source, target = fill(new_place("sqlite")), new_place(kind)
    about = PARTS[part]

    def damage(_size: float) -> None:
        if filled.copying.count("audit"):
            where = f"{about.columns[0]} = {first!r}"
            filled.database.execute(f"UPDATE {about.table} SET {changed} = {changed} || '0' WHERE {where}")

    with open_store(source) as original, open_store(target, write=True, create=True, unfinished=True) as filled:
        first = original.copying.page(part, None)[0][0]
        with pytest.raises(StoreError, match=f"differs from the original: .* {part}"):
            copy_store(original, filled, damage)
    with pytest.raises(StoreError, match="is an unfinished copy"):
        open_store(target)


def test_every_column_is_copied(new_place):
    with open_store(new_place("sqlite"), write=True, create=True) as store:
        for part in PARTS.values():
            columns = [name for (name,) in store.database.fetch(f"SELECT name FROM pragma_table_info('{part.table}')")]
            assert sorted(part.columns) == sorted(columns)


def test_a_text_that_postgresql_cannot_store_is_an_error_of_the_input(new_place):
    source = new_place("sqlite")
    with open_store(source, write=True, create=True) as store, store.write() as batch:
        batch.put_tokens([token("a\0b")])
    with pytest.raises(InputError, match="cannot store a value"):
        copy(source, new_place("postgresql"))


def test_a_copied_api_token_is_accepted(new_place, tmp_path):
    source = tmp_path / "source.db"
    secret = grant(source)
    fill(f"sqlite:{source}")
    target = new_place("postgresql")
    copy(str(source), target)
    served = Served(target, secret=secret)
    try:
        assert len(list(served.engine().tokens("i1", ALL_TOKENS, SortOrder("created")))) == 201
    finally:
        served.close()
