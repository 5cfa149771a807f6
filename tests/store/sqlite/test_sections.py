"""Tokens by the beginning of their ids, with instances in several sections of the index."""

import pytest

from support.builders import instance, token
from tokctl.store import open_store
from tokctl.store.sqlite.schema import SECTION_BITS

SECTION_SIZE = 1 << SECTION_BITS
PLACES = (1, 2, SECTION_SIZE - 1, SECTION_SIZE, SECTION_SIZE + 1, 2 * SECTION_SIZE + 5)
"""The numbers of the instances with tokens."""


@pytest.fixture(scope="module")
def store():
    with open_store(":memory:", write=True, create=True) as opened:
        with opened.write() as batch:
            for number in range(1, PLACES[-1] + 1):
                batch.put(instance(f"i{number:05}"))
            for number in PLACES:
                batch.put_tokens([token(name, f"i{number:05}") for name in ("same", f"own-{number}", f"z{-number}")])
        yield opened


@pytest.mark.parametrize("prefix", ["", "s", "same", "own-", "own-4", "z-", "zz"])
@pytest.mark.parametrize("limit", [0, 1, 3, 7, 100])
def test_ids_are_found_in_every_section_in_order(store, prefix, limit):
    everything = sorted(
        (name, f"i{number:05}") for number in PLACES for name in ("same", f"own-{number}", f"z{-number}")
    )
    expected = [(owner, name) for name, owner in everything if name.startswith(prefix)]
    assert store.token_ids(prefix, None, limit) == expected[:limit]


def test_a_token_is_found_and_written_again(store):
    for number in PLACES:
        owner = f"i{number:05}"
        assert store.token(owner, "same").instance_id == owner
    with store.write(keep=False) as batch:
        batch.put_tokens([token("same", f"i{number:05}", element_id="moved") for number in PLACES])
    assert (batch.report.added, batch.report.updated) == (0, len(PLACES))


def count_steps(tokens: int) -> int:
    """Return how many steps a search takes, if all ids of a store begin as the one that is searched for."""
    steps = 0

    def step():
        nonlocal steps
        steps += 1

    with open_store(":memory:", write=True, create=True) as store:
        with store.write() as batch:
            batch.put_tokens(token(f"t{number:05}", "i") for number in range(tokens))
        store.connection.set_progress_handler(step, 1)
        assert len(store.token_ids("t", None, 5)) == 5
        store.connection.set_progress_handler(None, 0)
    return steps


def test_the_work_does_not_grow_with_the_ids_that_begin_alike():
    assert 0 < count_steps(5000) < 2 * count_steps(50)
