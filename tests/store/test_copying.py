"""Copies of stores in stores of each kind: equal, whenever they were stopped; and nothing else is copied to."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.builders import TESTER, at, instance, raw, token, tokens
from support.commandline import clean_environment
from support.serving import PEPPER, Served, grant
from tokctl.api_tokens.audit import check_chain
from tokctl.api_tokens.idempotency import CreationKey
from tokctl.api_tokens.secrets import digest, generate, mask
from tokctl.errors import InputError, NotFoundError, StoreError
from tokctl.model.api_tokens import LastUse, NewApiToken
from tokctl.model.definitions import Definition
from tokctl.model.filters import ALL_TOKENS, SortOrder
from tokctl.store import STORES, open_store
from tokctl.store.copying import copy_store, count_steps
from tokctl.store.exporting import ndjson
from tokctl.store.protocol import COPIED_PARTS, Record, Store, ignore_step
from tokctl.store.sql.copying import PARTS

SECRETS = [generate() for _ in range(3)]
STOPPED = """
import os, signal, sys
from tokctl.store import copying, open_store
copying.BATCH_RECORDS = 1
left = int(sys.argv[3])
def step(size):
    global left
    left -= size
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
with open_store(sys.argv[1]) as source, open_store(sys.argv[2], write=True, create=True, unfinished=True) as target:
    copying.copy_store(source, target, step)
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


def copy(source: str, target: str, *, finish: bool = True) -> dict[str, int]:
    """Copy a store; returns how many records of each part were written."""
    with open_store(source) as original, open_store(target, write=True, create=True, unfinished=True) as filled:
        copied = copy_store(original, filled, ignore_step, finish=finish)
    assert not copied.is_outdated
    return {part.part: part.copied for part in copied.parts}


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
    stop_copy(source, target, 300)
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
def test_only_what_has_changed_is_copied_again(new_place, source_kind, target_kind):
    source, target = fill(new_place(source_kind)), new_place(target_kind)
    everything = {"definitions": 2, "instances": 3, "tokens": 601, "api_tokens": 3, "audit": 4}
    assert copy(source, target, finish=False) == everything
    assert copy(source, target, finish=False) == dict.fromkeys(COPIED_PARTS, 0)
    with open_store(source, write=True) as store:
        with store.write() as batch:
            batch.put_definition(Definition(process_id="p", version=2, name="changed"))
            batch.put_tokens([token("f", "i1", updated_at=at(99)), token("new", "i4")])
        store.api_tokens.revoke(1, at(30), by=TESTER)
        store.api_tokens.touch({2: (at(31), LastUse())})
    changed = {"definitions": 1, "instances": 2, "tokens": 202, "api_tokens": 2, "audit": 1}
    assert copy(source, target) == changed
    assert_equal(source, target)


def put_tokens(store: Store, number: int, moment: datetime, state: str) -> None:
    ended = {"completed_at": moment} if state == "COMPLETED" else {}
    recorded = (token(f"t{number % 3}", f"i{number}", state=state, created_at=at(0), updated_at=moment, **ended),)
    with store.write() as batch:
        batch.put(instance(f"i{number}", process_id="p", variables=raw({"at": str(moment)})), recorded)


def put_definition(store: Store, number: int, moment: datetime) -> None:
    with store.write() as batch:
        batch.put_definition(Definition(process_id="p", version=number, name=str(moment)))


def create_api_token(store: Store, number: int, moment: datetime) -> None:
    secret = generate()
    key = CreationKey(digest(PEPPER.key, secret), b"salt" * 8)
    wanted = NewApiToken(name=f"n{number}", token=mask(secret), scopes=(), created_at=moment)
    store.api_tokens.create(wanted, digest(PEPPER.key, secret), PEPPER.id, by=TESTER, creation=key)


def rename_api_token(store: Store, number: int, moment: datetime) -> None:
    with suppress(NotFoundError):
        store.api_tokens.update(number, {"name": str(moment)}, moment, by=TESTER)


CHANGES = {
    "begin": lambda store, number, moment: put_tokens(store, number, moment, "ACTIVE"),
    "end": lambda store, number, moment: put_tokens(store, number, moment, "COMPLETED"),
    "prune": lambda store, number, moment: store.prune(moment - timedelta(seconds=number)),
    "define": put_definition,
    "create": create_api_token,
    "rename": rename_api_token,
    "use": lambda store, number, moment: store.api_tokens.touch({number: (moment, LastUse("192.0.2.4"))}),
    "revoke": lambda store, number, moment: store.api_tokens.revoke(number, moment, by=TESTER),
    "forget": lambda store, number, moment: store.api_tokens.forget_salts(moment - timedelta(seconds=number)),
}
"""What writers of a store do, with the number of an instance, an API token or a version, and the time."""


@given(
    rounds=st.lists(
        st.lists(st.tuples(st.sampled_from(sorted(CHANGES)), st.integers(1, 6)), max_size=8), min_size=2, max_size=5
    )
)
@settings(max_examples=8)
@pytest.mark.parametrize(("source_kind", "target_kind"), DIRECTIONS)
def test_whatever_changes_between_runs_is_copied(new_place, source_kind, target_kind, rounds):
    source, target = new_place(source_kind), new_place(target_kind)
    moments = map(at, count(100))
    for number, changes in enumerate(rounds, start=1):
        with open_store(source, write=True, create=True) as store:
            for name, which in changes:
                CHANGES[name](store, which, next(moments))
        copy(source, target, finish=number == len(rounds))
    assert_equal(source, target)


@pytest.mark.slow
@pytest.mark.parametrize(("source_kind", "target_kind"), DIRECTIONS)
@pytest.mark.parametrize("records", [3, 300, 612, 900])
def test_a_second_run_that_is_killed_is_continued(new_place, source_kind, target_kind, records):
    """Killed when it has removed outdated instances, between two, before an API token, and while it compares."""
    source, target = fill(new_place(source_kind)), new_place(target_kind)
    copy(source, target, finish=False)
    with open_store(source, write=True) as store:
        with store.write() as batch:
            batch.put_definition(Definition(process_id="q"))
            batch.put_tokens([token("f", "i1", updated_at=at(99)), *(token("new", f"i{n}") for n in (2, 4))])
        store.api_tokens.revoke(1, at(30), by=TESTER)
    stop_copy(source, target, records)
    with pytest.raises(StoreError, match="is an unfinished copy"):
        open_store(target)
    copy(source, target)
    assert_equal(source, target)


@pytest.mark.parametrize("kind", STORES)
def test_changes_during_the_copy_are_noticed_and_not_copied(new_place, kind):
    source, target = fill(new_place(kind)), new_place("sqlite")
    with open_store(source) as original, open_store(target, write=True, create=True, unfinished=True) as filled:
        before = everything(original)

        def write(_size: float) -> None:
            with open_store(source, write=True) as store, store.write() as batch:
                batch.put_tokens([token("f", "i1", updated_at=at(99))])

        assert copy_store(original, filled, write).is_outdated
    with open_store(target) as store:
        assert everything(store) == before


@pytest.mark.parametrize("kind", STORES)
def test_an_instance_is_copied_with_all_its_tokens_or_not_at_all(new_place, kind):
    def break_off(tokens: Iterator[Record]) -> Iterator[Record]:
        yield next(tokens)
        raise StoreError("broken off")

    with (
        open_store(fill(new_place("sqlite"))) as store,
        open_store(new_place(kind), write=True, create=True, unfinished=True) as filled,
    ):
        original, copying = store.copying, filled.copying
        copying.begin(store.api_tokens.identity())
        states = original.states("instances", None)
        with pytest.raises(StoreError, match="broken off"):
            copying.add("instances", original.instances(states), break_off(original.tokens(states)))
        assert (copying.count("instances"), copying.count("tokens")) == (0, 0)


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
        filled.copying.begin(store.api_tokens.identity())
    with pytest.raises(StoreError, match="unfinished copy of another store"):
        copy(source, begun)
    with pytest.raises(StoreError, match="is an unfinished copy"):
        copy(begun, new_place(kind))


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("when", ["while it writes", "before it finishes"])
def test_two_processes_do_not_fill_a_store_at_once(new_place, kind, when):
    source, target = fill(new_place("sqlite")), new_place(kind)
    is_copied = False

    def interfere(_size: float) -> None:
        nonlocal is_copied
        if not is_copied and (when == "while it writes" or filled.copying.count("audit")):
            is_copied = True
            copy(source, target, finish=False)

    with (
        open_store(source) as original,
        open_store(target, write=True, create=True, unfinished=True) as filled,
        pytest.raises(StoreError, match="another process has written"),
    ):
        copy_store(original, filled, interfere)
    assert copy(source, target) == dict.fromkeys(COPIED_PARTS, 0)
    assert_equal(source, target)


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


def test_ids_are_found_soon_in_a_copy_whose_instances_have_high_numbers(new_place):
    source, target = fill(new_place("postgresql")), new_place("sqlite")
    copy(source, target)
    with open_store(target) as store:
        store.set_query_limit(10)
        assert store.token_ids("f", None, 2) == [("i1", "f")]


@pytest.mark.parametrize(
    ("kind", "duration", "target_kind"),
    [
        ("sqlite", "9e999", "postgresql"),
        ("sqlite", "-9e999", "postgresql"),
        ("postgresql", "'Infinity'", "postgresql"),
        ("postgresql", "'NaN'", "sqlite"),
        ("postgresql", "-0.0", "sqlite"),
    ],
)
def test_durations_that_not_every_store_can_hold_are_no_difference(new_place, kind, duration, target_kind):
    source = fill(new_place(kind))
    with open_store(source, write=True) as store:
        store.database.execute(f"UPDATE token SET duration_ms = {duration} WHERE token_id = 'f'")
    assert copy(source, new_place(target_kind))["tokens"] == 601


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
