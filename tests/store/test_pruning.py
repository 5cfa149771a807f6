"""Removing old instances in batches: others write in between, and an interruption does no harm."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.builders import at, instance, raw, token, tokens
from tokctl.model.filters import ALL_TOKENS, InstanceFilter, SortOrder, TokenFilter
from tokctl.store import open_store
from tokctl.store.protocol import Store
from tokctl.store.sql import pruning


@pytest.fixture
def place(store_kind, monkeypatch) -> str:
    """A store of seven instances that have ended and one that has not, of which two are removed at a time."""
    monkeypatch.setattr(pruning, "BATCH_INSTANCES", 2)
    place = store_kind.new_place()
    with open_store(place, write=True, create=True) as store, store.write() as batch:
        for number in range(7):
            batch.put(instance(f"i{number}", variables=raw({"n": number})), tokens(5, f"i{number}"))
        batch.put_tokens([token("live", "open", state="ACTIVE")])
    return place


@pytest.fixture
def store(place) -> Iterator[Store]:
    with open_store(place, write=True) as opened:
        yield opened


def seen_tokens(store: Store) -> tuple[int, int, int, int]:
    """Return how many tokens there are, as told in four ways."""
    return (
        store.info().tokens,
        store.count_tokens(None, ALL_TOKENS),
        len(list(store.tokens(None, ALL_TOKENS, SortOrder("element")))),
        len(store.token_ids("", None, 1000)),
    )


def test_others_write_between_two_batches(store, place):
    sizes = []

    def write_too(size: float) -> None:
        sizes.append(size)
        with open_store(place, write=True) as other:
            other.set_busy_timeout(1)
            with other.write() as batch:
                batch.put_tokens([token("t", f"new{len(sizes)}", state="ACTIVE")])

    assert store.count_prunable(at(99)) == (7, 35)
    assert store.prune(at(99), step=write_too) == (7, 35)
    assert sizes == [2, 2, 2, 1]
    assert list(store.all_instance_ids()) == ["new1", "new2", "new3", "new4", "open"]
    assert seen_tokens(store) == (5, 5, 5, 5)
    assert not list(store.find_problems())


def test_a_batch_ends_at_a_number_of_tokens(store, monkeypatch):
    sizes: list[float] = []
    monkeypatch.setattr(pruning, "BATCH_INSTANCES", 100)
    monkeypatch.setattr(pruning, "BATCH_TOKENS", 12)
    store.prune(at(99), step=sizes.append)
    assert sizes == [2, 2, 2, 1]
    with store.write() as batch:
        batch.put_tokens(tokens(20, "large"))
    assert store.prune(at(99), step=sizes.append) == (1, 20)


def test_an_instance_that_becomes_live_in_the_meantime_stays(store, place):
    def revive(_: float) -> None:
        with open_store(place, write=True) as other, other.write() as batch:
            batch.put_tokens([token("again", "i4", state="ACTIVE", created_at=at(50))])

    assert store.prune(at(99), step=revive) == (6, 30)
    assert list(store.all_instance_ids()) == ["i4", "open"]
    assert seen_tokens(store) == (7, 7, 7, 7)
    assert not list(store.find_problems())


def test_what_an_interrupted_run_leaves_is_removed_by_the_next_one(store, place):
    def stop(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.prune(at(99), step=stop)
    with open_store(place) as reader:
        assert list(reader.all_instance_ids()) == ["i2", "i3", "i4", "i5", "i6", "open"]
        assert seen_tokens(reader) == (26, 26, 26, 26)
        assert reader.count_instances(InstanceFilter()) == 6
        assert reader.count_tokens(None, TokenFilter(live=True)) == 1
    assert store.prune(at(99)) == (5, 25)
    assert seen_tokens(store) == (1, 1, 1, 1)
    assert not list(store.find_problems())
