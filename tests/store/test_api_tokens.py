"""API tokens in a store, and what counts its changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from random import Random

import msgspec
import pytest

from support.builders import TESTER, at, instance, token
from support.old_stores import bring_back
from support.store_kinds import StoreKind, sqlite_only
from tokctl.api_tokens.secrets import generate, mask
from tokctl.errors import NotFoundError, StoreError
from tokctl.model.api_tokens import CreatedBy, LastUse, NewApiToken
from tokctl.model.definitions import Definition
from tokctl.model.times import to_utc
from tokctl.store import open_store
from tokctl.store.protocol import Store


@pytest.fixture
def store(store_kind: StoreKind) -> Iterator[Store]:
    """A new store of each kind, open to be written to."""
    with open_store(store_kind.new_place(), write=True, create=True) as opened:
        yield opened


def new(name: str = "ci", **fields) -> NewApiToken:
    return NewApiToken(**{"name": name, "token": "xvc_a1b2...", "created_at": at(0)} | fields)


def test_levels(store: Store):
    with store.write() as batch:
        batch.put_tokens([token("a", state="ACTIVE"), token("b", state="FAILED"), token("c", "i2", state="COMPLETED")])
    assert store.levels(at(0)).next_expiry is None
    for name, fields in {
        "expired": {"expires_at": at(-1)},
        "next": {"expires_at": at(5)},
        "later": {"expires_at": at(9)},
        "never": {},
        "disabled": {"expires_at": at(1)},
        "revoked": {"expires_at": at(2)},
    }.items():
        made = store.api_tokens.create(new(name, **fields), name.encode().ljust(32), "p1", by=TESTER)
        if name == "disabled":
            store.api_tokens.update(int(made.id), {"disabled": True}, at(0), by=TESTER)
    store.api_tokens.revoke(int(made.id), at(0), by=TESTER)
    levels = store.levels(at(0))
    assert (levels.open_instances, levels.live_tokens, levels.failed_tokens) == (1, 2, 1)
    assert (levels.api_tokens, levels.next_expiry) == (5, at(5))
    assert levels.revisions == store.revisions()
    assert (levels.schema_version, levels.size_bytes) == (store.info().schema_version, store.info().size_bytes)


def test_a_token_comes_back_as_it_was_created(store: Store):
    made = store.api_tokens.create(new(), b"1" * 32, "p1", by=TESTER)
    full = new(
        "all",
        description="for é",
        type="full-access",
        scopes=("process", "token"),
        allowed_cidrs=("10.0.0.0/8", "2001:db8::/32"),
        expires_at=at(60),
        created_by=CreatedBy(id=3, email="a@example.com"),
        created_at=at(1),
    )
    other = store.api_tokens.create(full, b"2" * 32, "p1", by=TESTER)
    assert made.id != other.id
    assert msgspec.structs.asdict(other) == msgspec.structs.asdict(full) | {
        "id": other.id,
        "updated_at": at(1),
        "last_used_at": None,
        "last_use": None,
        "disabled": False,
        "unrestricted": False,
        "revoked_at": None,
        "extra": {},
    }
    assert store.api_tokens.find_by_digest(b"2" * 32) == store.api_tokens.by_id(other.id) == other
    assert list(store.api_tokens.list()) == [other, made]
    assert store.api_tokens.find_by_digest(b"3" * 32) is None


def test_an_expiry_at_the_end_of_the_calendar_can_be_read_back(store: Store):
    """In UTC it may lie behind the last moment that there is."""
    last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone(timedelta(hours=-12)))
    made = store.api_tokens.create(new(expires_at=last), b"1" * 32, "p1", by=TESTER)
    other = store.api_tokens.create(new(), b"2" * 32, "p1", by=TESTER)
    store.api_tokens.update(other.id, {"expires_at": last}, at(5), by=TESTER)
    assert {one.id: one.expires_at for one in store.api_tokens.list()} == dict.fromkeys(
        (made.id, other.id), to_utc(last)
    )


def test_a_digest_is_kept_once(store: Store):
    store.api_tokens.create(new(), b"1" * 32, "p1", by=TESTER)
    with pytest.raises(StoreError):
        store.api_tokens.create(new("other"), b"1" * 32, "p1", by=TESTER)
    assert [one.name for one in store.api_tokens.list()] == ["ci"]


def test_a_revoked_token_is_known_but_not_listed(store: Store):
    made = store.api_tokens.create(new(), b"1" * 32, "p1", by=TESTER)
    assert store.api_tokens.revoke(made.id, at(5), by=TESTER)
    assert not store.api_tokens.revoke(made.id, at(6), by=TESTER)
    assert not store.api_tokens.revoke(99, at(6), by=TESTER)
    assert list(store.api_tokens.list()) == []
    assert store.api_tokens.find_by_digest(b"1" * 32) == msgspec.structs.replace(
        made, revoked_at=at(5), updated_at=at(5)
    )


def test_the_reason_of_a_revocation_is_kept_without_a_secret(store: Store):
    made = store.api_tokens.create(new(), b"1" * 32, "p1", by=TESTER)
    secret = generate()
    assert store.api_tokens.revoke(made.id, at(5), by=TESTER, why=f"{secret} leaked, \udcff")
    (*_, entry) = store.audit.entries()
    assert entry.details == {"why": f"{mask(secret)} leaked, ?"}


def test_a_use_moves_only_forward_and_is_no_change(store: Store):
    made = store.api_tokens.create(new(), b"1" * 32, "p1", by=TESTER)
    before = store.revisions()
    for moment, kept in ((5, 5), (3, 5), (7, 7)):
        store.api_tokens.touch({made.id: (at(moment), LastUse(f"10.0.0.{moment}")), 99: (at(1), LastUse())})
        assert store.api_tokens.by_id(made.id) == msgspec.structs.replace(
            made, last_used_at=at(kept), last_use=LastUse(f"10.0.0.{kept}")
        )
    assert store.revisions() == before


def test_pages_in_any_order_are_parts_of_the_list(store: Store):
    for n in range(40):
        store.api_tokens.create(new(f"n{n}", created_at=at(n // 3)), n.to_bytes(32, "big"), "p1", by=TESTER)
    chance = Random(7)
    for _ in range(6):
        every = list(store.api_tokens.list())
        assert store.api_tokens.count() == len(every)
        for _ in range(25):
            page, size = chance.randint(1, 15), chance.choice((1, 3, 7, 40))
            found = store.api_tokens.page(page, size)
            assert (list(found[0]), found[1]) == (every[(page - 1) * size : page * size], len(every)), (page, size)
        store.api_tokens.revoke(int(chance.choice(every).id), at(99), by=TESTER)
        store.api_tokens.create(
            new("more", created_at=at(chance.randint(0, 20))), chance.randbytes(32), "p1", by=TESTER
        )


@sqlite_only
def test_the_counter_follows_every_change_and_a_wrong_one_is_found(store: Store):
    for n in range(3):
        store.api_tokens.create(new(f"n{n}"), n.to_bytes(32, "big"), "p1", by=TESTER)
    store.connection.execute("UPDATE api_token SET revoked_at = 1 WHERE name = 'n0'")
    assert store.api_tokens.count() == 2
    store.connection.execute("UPDATE api_token SET revoked_at = 2 WHERE name = 'n0'")
    store.connection.execute("DELETE FROM api_token WHERE name IN ('n0', 'n1')")
    assert store.api_tokens.count() == len(list(store.api_tokens.list())) == 1
    assert list(store.find_problems()) == []
    store.connection.execute("UPDATE api_token_count SET number = 7")
    assert list(store.find_problems()) == ["the counter says 7 API tokens; found 1"]


def test_no_secret_and_no_pepper_is_in_the_tables(store: Store):
    secret = generate()
    store.api_tokens.create(new(token=mask(secret)), b"1" * 32, "p1", by=TESTER)
    tables = ("api_token", "audit", "revision")
    assert not any(secret in repr(row) for table in tables for row in store.database.fetch(f"SELECT * FROM {table}"))


# --- what counts changes ---


def test_every_change_counts_and_nothing_else_does(store: Store):
    def number() -> tuple[int, int]:
        revisions = store.revisions()
        return revisions.process, revisions.access

    def write(put: Callable) -> None:
        with store.write() as batch:
            put(batch)

    steps: list[tuple[Callable, bool, set[str]]] = [
        (lambda b: b.put(instance("a"), [token("t", "a")]), True, {"a"}),
        (lambda b: b.put(instance("a"), [token("t", "a")]), False, set()),
        (lambda b: b.put(instance("b"), ()), True, {"b"}),
        (lambda b: b.put(instance("a", tenant_id="x"), ()), True, {"a"}),
        (lambda b: b.put_tokens([token("t", "a", variables={"n": 1}), token("u", "b")]), True, {"a", "b"}),
        (lambda b: b.put_definition(Definition(process_id="p")), True, set()),
        (lambda b: b.put_definition(Definition(process_id="p")), False, set()),
    ]
    known: dict[str, int] = {}
    for put, changes, touched in steps:
        before, _ = number()
        write(put)
        after, access = number()
        assert (after > before, access) == (changes, 0)
        for name in touched:
            known[name] = after
        assert {name: store.revision_of(name)[1] for name in known} == known
    store.api_tokens.create(new(), b"1" * 32, "p1", by=TESTER)
    assert number()[0] == after
    assert number()[1] > 0
    with pytest.raises(NotFoundError):
        store.revision_of("nobody")


@sqlite_only
def test_a_copy_that_goes_its_own_way_has_numbers_of_its_own(store: Store, tmp_path):
    copy = tmp_path / "copy.db"
    with store.write() as batch:
        batch.put_tokens([token("t", "a")])
    store.backup(copy)
    with store.write() as batch:
        batch.put_tokens([token("t", "a", variables={"n": 1})])
    time.sleep(0.002)  # the numbers are milliseconds
    with open_store(str(copy), write=True) as restored:
        with restored.write() as batch:
            batch.put_tokens([token("t", "a", variables={"n": 2})])
        assert restored.revisions().process > store.revisions().process
        assert restored.revision_of("a") > store.revision_of("a")


def test_pruning_is_a_change(store: Store):
    with store.write() as batch:
        batch.put_tokens([token("t", "a", completed_at=at(0))])
    before = store.revisions().process
    assert store.prune(at(60)) == (1, 1)
    assert store.revisions().process > before


@sqlite_only
def test_a_store_of_before_gets_the_tables(store: Store):
    with store.write() as batch:
        batch.put_tokens([token("t", "a")])
    path = Path(store.info().location)
    store.close()
    bring_back(path, 2)
    with open_store(str(path)) as opened:
        assert opened.revision_of("a") == (1, 0)
        assert list(opened.api_tokens.list()) == []


def test_the_identity_stays_with_the_store(store: Store, store_kind: StoreKind):
    identity = store.api_tokens.identity()
    assert len(identity) == 32
    for place, create in ((store_kind.last_place, False), (store_kind.new_place(), True)):
        with open_store(place, write=True, create=create) as opened:
            assert (opened.api_tokens.identity() == identity) is not create


@sqlite_only
def test_a_copy_has_the_identity_of_the_store(store: Store, tmp_path):
    store.backup(tmp_path / "copy.db")
    with open_store(str(tmp_path / "copy.db")) as opened:
        assert opened.api_tokens.identity() == store.api_tokens.identity()


def test_a_secret_in_a_name_or_a_description_is_not_kept(store: Store):
    secret = "xvc_" + "a1B2" * 10
    made = store.api_tokens.create(new(f"for {secret}", description=secret), b"1" * 32, "p1", by=TESTER)
    assert (made.name, made.description) == ("for xvc_a1B2...", "xvc_a1B2...")
    after = store.api_tokens.update(int(made.id), {"description": f"new: {secret}"}, at(5), by=TESTER)
    assert after == store.api_tokens.by_id(made.id)
    assert after.description == "new: xvc_a1B2..."
    assert not any(secret in repr(entry) for entry in store.audit.entries())


def test_a_page_of_one_name(store: Store):
    for n in range(7):
        made = store.api_tokens.create(new("even" if n % 2 == 0 else "odd"), bytes([n]) * 32, "p1", by=TESTER)
    store.api_tokens.revoke(int(made.id), at(1), by=TESTER)
    assert [(token.id, token.name) for token in store.api_tokens.page(1, 2, "even")[0]] == [(5, "even"), (3, "even")]
    assert [token.id for token in store.api_tokens.page(2, 2, "even")[0]] == [1]
    assert store.api_tokens.page(9, 2, "even") == ((), 3)
    assert store.api_tokens.page(1, 2, "none") == ((), 0)
