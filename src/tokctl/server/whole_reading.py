"""Reads what is sent as a whole, such as a web page, from a store in a thread, within the limits of long responses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import TypeVar

from tokctl.server.http_errors import retry_later
from tokctl.server.settings import Limits
from tokctl.server.stores import ReaderPool
from tokctl.store.protocol import Store

_Result = TypeVar("_Result")


async def read_whole(
    readers: ReaderPool, limits: Limits, caller: object, function: Callable[[Store], _Result]
) -> _Result:
    """Call a function with the current store, in a thread; at most as many at the same time as pages.

    Raises:
        HTTPError: there is no place, or it takes too long.
        StoreError: the store cannot be read.
    """
    places = ExitStack()
    try:
        async with asyncio.timeout(limits.queue_seconds):
            for slots in (readers.page_slots, readers.slots):
                await slots.acquire(caller)
                places.callback(slots.release, caller)
    except TimeoutError:
        places.close()
        raise retry_later(503, "OVERLOADED", "Too many long responses are in progress.", 5, "no place") from None
    except BaseException:
        places.close()
        raise
    borrowed: list[Store] = []

    def run() -> _Result:
        store, is_sound = readers.borrow_store(), False
        borrowed.append(store)
        try:
            result = function(store)
            is_sound = True
        finally:
            borrowed.clear()
            readers.return_store(store, is_sound)
        return result

    work = asyncio.ensure_future(readers.run_page(run))

    async def leave() -> None:
        with suppress(Exception):  # reported to the caller, unless it has not waited
            await work
        places.close()

    try:
        async with asyncio.timeout(limits.answer_seconds):
            return await asyncio.shield(work)
    except TimeoutError:
        for store in borrowed:
            await asyncio.to_thread(store.interrupt)
        raise retry_later(
            503, "TIMEOUT", f"Timeout: the response took longer than {limits.answer_seconds:g} s.", 30, "too slow"
        ) from None
    finally:
        readers.finish(leave())
