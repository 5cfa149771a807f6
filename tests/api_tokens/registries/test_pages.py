"""All pages of a list: each id once, whatever the server makes of the numbers, and an end in any case."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.fake_xiver import FakeXiver
from support.registry_kinds import now
from tokctl.api_tokens.registries import http
from tokctl.api_tokens.registries.documents import ApiTokenPage
from tokctl.api_tokens.registries.http import fetch_all
from tokctl.errors import InputError
from tokctl.model.api_tokens import ApiToken

NOW = now()


def record(number: int) -> ApiToken:
    return ApiToken(id=number, name=f"n{number}", token="xvc_abcd...", created_at=NOW)


class Listing:
    """A server's list, newest first, and how it answers."""

    def __init__(self, count: int, **odd: object) -> None:
        self.ids = [*range(count, 0, -1)]
        self.odd = odd
        self.asked: list[tuple[int, int]] = []
        self.between: Callable[[int], None] = lambda _: None

    def __call__(self, number: int, size: int) -> ApiTokenPage:
        self.between(len(self.asked))
        self.asked.append((number, size))
        page, most = self.odd.get("page", number), self.odd.get("size", size)
        rows = self.ids[(page - 1) * most : page * most]
        total = self.odd.get("total", len)(self.ids)
        echo = (number, size) if self.odd.get("echoes") else (page, most)
        return ApiTokenPage([record(one) for one in rows], *echo, total, {})

    def read(self) -> list[int]:
        found = [one.id for one in fetch_all(self)]
        assert len(found) == len(set(found))
        return found


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 250, 300])
@pytest.mark.parametrize("total", ["right", "none", "zero", "much", "of the page"])
@pytest.mark.parametrize("size", [None, 10, 7])
def test_every_id_whatever_the_server_says(count: int, total: str, size: int | None):
    odd = {
        "total": {
            "right": len,
            "none": lambda _: None,
            "zero": lambda _: 0,
            "much": lambda _: 10**18,
            "of the page": lambda ids: min(len(ids), size or 100),
        }[total]
    }
    if size is not None:
        odd["size"] = size
    server = Listing(count, **odd)
    assert server.read() == [*range(count, 0, -1)]
    server = Listing(count, **(odd | {"echoes": True} if total != "of the page" else odd))
    assert server.read() == [*range(count, 0, -1)]


def test_a_server_that_means_what_it_says_is_asked_once():
    server = Listing(99)
    server.read()
    assert server.asked == [(1, 100)]


def test_a_server_that_looks_at_no_page():
    server = Listing(250, page=1)
    assert server.read() == [*range(250, 0, -1)]
    assert server.asked[-1] == (1, 250)
    assert Listing(250, page=1, size=10**6).read() == [*range(250, 0, -1)]
    assert len(Listing(250, page=1, total=lambda _: 0).read()) == 100  # nothing says that there are more
    for odd in ({"total": lambda _: 10**18}, {"size": 20}):
        with pytest.raises(InputError, match="cannot be listed"):
            Listing(250, page=1, **odd).read()


def test_a_list_without_end(monkeypatch):
    monkeypatch.setattr(http, "MAX_TOKENS", 2000)
    endless = iter(range(10**9))
    with pytest.raises(InputError, match="is too long"):
        [
            *fetch_all(
                lambda number, size: ApiTokenPage([record(next(endless)) for _ in range(10)], number, size, 11, False)
            )
        ]
    falling = iter(range(10**6, 0, -1))
    rows = [record(1)]
    assert [*fetch_all(lambda n, s: ApiTokenPage(rows if n < 3 else [], n, s, next(falling), False))] == rows


@given(st.integers(0, 40), st.lists(st.tuples(st.integers(0, 12), st.booleans(), st.integers(0, 40)), max_size=3))
def test_what_stays_is_listed_whatever_moves(count: int, moves: list[tuple[int, bool, int]]):
    """Up to three changes between two requests, each an addition at the head or a removal."""
    server = Listing(count, size=5)
    fresh = iter(range(1000, 2000))
    stays = set(server.ids)

    def between(asked: int) -> None:
        for when, added, which in moves:
            if when != asked:
                continue
            if added:
                server.ids.insert(0, next(fresh))
            elif server.ids:
                stays.discard(server.ids.pop(which % len(server.ids)))

    server.between = between
    assert stays <= set(server.read())
    assert len(server.asked) < 60


def test_a_page_of_a_server_that_does_not_keep_to_it(opened, fake: FakeXiver):
    for n in range(25):
        fake.add(f"n{n}")
    registry = opened(server=fake.url, credential=fake.jwt)
    usual = fake._list
    for odd in ({}, {"pageSize": ["10"]}, {"pageSize": ["1000"]}, {"page": ["1"], "pageSize": ["1000"]}):
        fake._list = lambda query, odd=odd: usual(query | odd)
        for number, size in ((1, 4), (3, 4), (7, 4), (8, 4), (1, 100)):
            tokens, total = registry.page(number, size)
            assert [one.id for one in tokens] == [*range(25, 0, -1)][(number - 1) * size : number * size]
            assert total == 25


def test_lists_that_are_none(opened, fake: FakeXiver):
    registry = opened(server=fake.url, credential=fake.jwt)
    for answer, found in (
        ({"data": None, "meta": {}}, True),
        ({"data": []}, True),
        ({"data": {}}, False),
        ([], False),
        ({"data": [7]}, False),
        ({"data": [{"id": 1}]}, False),
    ):
        fake.twist = lambda _method, _path, _answer, given=answer: given
        if found:
            assert [*registry.list()] == []
            continue
        with pytest.raises(InputError) as caught:
            [*registry.list()]
        assert fake.url in str(caught.value)
