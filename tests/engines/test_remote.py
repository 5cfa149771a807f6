"""What engines over HTTP are made of: pages of a list that changes, work in order, what is held, what is remembered."""

from __future__ import annotations

import stat
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.builders import instance
from support.fake_atomd import FakeAtomd
from support.serving import Served
from tokctl.config import Settings
from tokctl.config.remembered_servers import ENGINE_SERVERS, RememberedServer
from tokctl.engines import open_engine
from tokctl.engines.atomd.engine import AtomdEngine
from tokctl.engines.detection import resolve_server
from tokctl.engines.etag_cache import ETagCache, FetchResult
from tokctl.engines.ordered_pool import MAX_PENDING_ITEMS, THREADS, map_ordered
from tokctl.engines.rest import RestEngine
from tokctl.engines.rest_responses import ResultPage, fetch_documented_pages, fetch_pages
from tokctl.errors import UnreachableError, UsageError
from tokctl.model.filters import InstanceFilter, SortOrder

# --- pages ------------------------------------------------------------------------------------------


@given(
    count=st.integers(0, 30),
    gone=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 12)), max_size=12),
    size=st.integers(2, 7),
)
def test_what_is_there_all_the_time_comes_once(count, gone, size):
    """Whatever leaves the list meanwhile: what stands behind it moves up."""
    there = [f"i{n:02}" for n in range(count)]
    calls = 0

    def fetch(limit: int, offset: int) -> ResultPage:
        nonlocal calls
        calls += 1
        assert calls < 200, "it does not end"
        for when, which in gone:
            if when == calls and f"i{which:02}" in there:
                there.remove(f"i{which:02}")
        some = there[offset : offset + limit]
        return ResultPage(items=[instance(one) for one in some], total=len(there), more=offset + limit < len(there))

    found = [one.instance_id for one in fetch_pages(fetch, max_page_size=size)]
    assert len(found) == len(set(found))
    assert set(there) <= set(found)


@given(count=st.integers(0, 30), size=st.integers(2, 7), limit=st.integers(1, 40), offset=st.integers(0, 35))
def test_a_part_of_a_list(count, size, limit, offset):
    there = [instance(f"i{n:02}") for n in range(count)]

    def fetch(most: int, start: int) -> ResultPage:
        assert most <= max(size, 1) or most <= limit + 1
        return ResultPage(items=there[start : start + most], total=count, more=start + most < count)

    assert list(fetch_pages(fetch, offset=offset, limit=limit, max_page_size=size)) == there[offset : offset + limit]


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 250])
@pytest.mark.parametrize("total", [True, False])
@pytest.mark.parametrize("paged", [True, False])
def test_pages_of_a_server_that_may_honour_nothing(count, total, paged):
    there = [instance(f"i{n:03}") for n in range(count)]

    def fetch(limit: int, offset: int) -> ResultPage:
        return ResultPage(items=there[offset : offset + limit] if paged else there, total=count if total else None)

    assert list(fetch_documented_pages(fetch)) == there


# --- work in order ------------------------------------------------------------------------------------


def test_results_come_in_order_and_work_is_not_far_ahead():
    begun, most = [], 0

    def work(number: int) -> int:
        nonlocal most
        begun.append(number)
        most = max(most, len(begun) - taken)
        time.sleep(0.002 * (number % 3))
        if number % 10 == 7:
            raise ValueError(number)
        return number * 2

    taken = 0
    for number, result in map_ordered(range(60), work):
        assert number == taken
        taken += 1
        if number % 10 == 7:
            with pytest.raises(ValueError, match=str(number)):
                result()
        else:
            assert result() == number * 2
    assert taken == 60
    assert THREADS <= most <= MAX_PENDING_ITEMS + 1


def test_an_end_waits_for_nothing():
    free = threading.Event()
    began = time.monotonic()
    results = map_ordered(range(100), lambda number: free.wait(20) if number else None)
    next(results)
    results.close()
    assert time.monotonic() - began < 5
    free.set()


def test_what_is_heavy_is_begun_alone():
    under_way, together = set(), set()

    def work(number: int) -> None:
        under_way.add(number)
        time.sleep(0.005)
        together.add(frozenset(under_way))
        under_way.discard(number)

    for _, result in map_ordered([1, 300_000, 2, 3], work, weight_of=lambda number: number):
        result()
    assert frozenset({300_000}) in together
    assert not any(len(several) > 1 and 300_000 in several for several in together)


# --- what is held -------------------------------------------------------------------------------------


class Source:
    """Answers with its present value, or says that the old one holds."""

    def __init__(self) -> None:
        self.value, self.asked = 0, []

    def fetch(self, etag: str | None) -> FetchResult | None:
        self.asked.append(etag)
        return None if etag == str(self.value) else FetchResult(self.value, 10, str(self.value))


def test_what_is_held_stays_until_it_is_old_and_is_kept_where_it_holds():
    cache, source = ETagCache(), Source()
    assert [cache.get_or_fetch("a", source.fetch) for _ in range(3)] == [0, 0, 0]
    assert source.asked == [None]
    cache.expire_all()
    assert cache.get_fresh("a") is None
    assert cache.get_or_fetch("a", source.fetch) == 0
    assert source.asked == [None, "0"]
    source.value = 1
    assert cache.get_or_fetch("a", source.fetch) == 0
    cache.expire_all()
    assert not cache.revalidate("a")
    assert cache.get_fresh("a") == 1
    cache.expire_all()
    assert cache.revalidate("a")
    cache.mark_fresh()
    assert cache.get_fresh("a") == 1


def test_what_has_no_room_is_fetched_again_but_still_tells_of_changes():
    cache, one, other = ETagCache(max_size=15), Source(), Source()
    cache.get_or_fetch("a", one.fetch)
    cache.get_or_fetch("b", other.fetch)
    assert cache.get_fresh("a") is None
    assert cache.get_fresh("b") == 0
    cache.expire_all()
    assert cache.revalidate("a")
    assert one.asked == [None, "0"]
    assert cache.get_or_fetch("a", one.fetch) == 0
    assert one.asked == [None, "0", None]


def test_what_was_not_used_is_let_go_of():
    cache, source = ETagCache(), Source()
    cache.get_or_fetch("a", source.fetch)
    cache.expire_all()
    cache.expire_all()
    assert not cache.revalidate("a")
    assert source.asked == [None]


# --- which kind of server ---------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _state(monkeypatch, tmp_path):
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path / "state"))


def settings(url: str, **more) -> Settings:
    return Settings(server=url, place="server", timeout=5.0, **more)


def test_servers_are_asked_once_what_they_are(store_path, monkeypatch):
    monkeypatch.delenv("TOKCTL_API_KEY", raising=False)
    atomd, ours = FakeAtomd(), Served(store_path)
    for _ in range(2):
        assert isinstance(open_engine(settings(atomd.url)), AtomdEngine)
        assert isinstance(open_engine(settings(ours.url)), RestEngine)
    assert atomd.asked == ["/health"]
    assert [path for path, _ in ours.asked] == ["/health"]
    assert stat.S_IMODE(ENGINE_SERVERS.file.stat().st_mode) == 0o600
    assert not list(ENGINE_SERVERS.file.parent.glob("*.part"))
    assert isinstance(open_engine(settings(atomd.url, engine_kind="rest")), RestEngine)
    with pytest.raises(UsageError, match="did you mean 'atomd'"):
        open_engine(settings(atomd.url, engine_kind="atomdd"))
    atomd.close()
    ours.close()


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"http://x": 7}', b'{"http://127.0.0.1:1": "nonsense"}', b"\xff"])
def test_a_broken_memory_is_done_without(text, store_path):
    ENGINE_SERVERS.file.parent.mkdir(parents=True)
    ENGINE_SERVERS.file.write_bytes(text)
    ours = Served(store_path)
    assert resolve_server(settings(ours.url)).engine_kind == "rest"
    assert ENGINE_SERVERS.load(ours.url) == RememberedServer("rest")
    ours.close()


def test_a_memory_that_cannot_be_written_is_done_without(store_path):
    ENGINE_SERVERS.file.parent.parent.joinpath("state").write_text("in the way")
    ENGINE_SERVERS.remember("http://x", RememberedServer("rest"))
    assert ENGINE_SERVERS.load("http://x") is None


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"null", b'{"status": "UP"}', b'{"data": 7, "meta": []}'])
def test_whatever_else_is_taken_to_speak_the_document(body, store_path):
    ours = Served(store_path)
    ours.spoil = lambda _: (200, body)
    assert resolve_server(settings(ours.url)).engine_kind == "rest"
    ours.close()


def test_a_server_that_was_another_before_is_asked_again(monkeypatch):
    monkeypatch.setenv("TOKCTL_API_KEY", "atomd-key")
    atomd = FakeAtomd()
    ENGINE_SERVERS.remember(atomd.url, RememberedServer("rest"))
    engine = open_engine(settings(atomd.url, credential="env:TOKCTL_API_KEY"))
    with pytest.raises(UnreachableError, match=r"what atomd sends.*detect the kind again"):
        list(engine.instances(InstanceFilter(), SortOrder("started")))
    assert resolve_server(settings(atomd.url)).engine_kind == "atomd"
    told = open_engine(settings(atomd.url, credential="env:TOKCTL_API_KEY", engine_kind="rest"))
    for ask in (told.summary, lambda one: list(told.visits(one))):  # it would be an instance without tokens
        with pytest.raises(UnreachableError, match=r"what atomd sends.*Remove --engine-kind"):
            ask("srv1-6iQSX7z5IzZTZDEnO1")
    atomd.close()


def test_a_server_that_is_not_there_is_not_remembered():
    with pytest.raises(UnreachableError):
        resolve_server(settings("http://127.0.0.1:9"))
    assert not ENGINE_SERVERS.file.exists()
