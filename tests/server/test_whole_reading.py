"""Web pages are made in threads of their own, and one caller leaves some of them to others."""

from __future__ import annotations

import asyncio
from threading import Event

import pytest

from support.running_server import make_store
from tokctl.server.http_errors import HTTPError
from tokctl.server.settings import Limits
from tokctl.server.stores import PAGES, PAGES_OF_CALLER, ReaderPool
from tokctl.server.whole_reading import read_whole

TIMEOUT = 20
"""Seconds, if others are delayed."""


@pytest.fixture
def store(tmp_path) -> str:
    return str(make_store(tmp_path / "own.db"))


def test_the_large_pages_of_one_caller_delay_no_others(store):
    limits, done, running = Limits(), Event(), []

    def make(_store) -> None:
        running.append(None)
        done.wait()

    async def run() -> None:
        readers = ReaderPool(store, limits)
        large = [asyncio.ensure_future(read_whole(readers, limits, "one", make)) for _ in range(2 * PAGES)]
        try:
            async with asyncio.timeout(TIMEOUT):
                assert await read_whole(readers, limits, "another", lambda _: "a page") == "a page"
                assert await readers.run(lambda: "the start of a long response") == "the start of a long response"
            assert len(running) <= PAGES_OF_CALLER
        finally:
            done.set()
        await asyncio.gather(*large)
        await readers.close()

    asyncio.run(run())


def test_places_are_given_back(store):
    limits, done = Limits(queue_seconds=0.01, long_answers=1), Event()

    async def run() -> None:
        readers = ReaderPool(store, limits)
        large = asyncio.ensure_future(read_whole(readers, limits, "one", lambda _: done.wait()))
        await asyncio.sleep(0)  # it has a place
        try:
            for _ in range(2 * PAGES):
                with pytest.raises(HTTPError, match="Too many long responses"):
                    await read_whole(readers, limits, "another", lambda _: None)
        finally:
            done.set()
        await large
        patient = Limits()
        for _ in range(2 * PAGES):
            await read_whole(readers, patient, "another", lambda _: None)
        await readers.close()

    asyncio.run(run())
