"""The pool of stores that responses are read from in threads.

They are opened when first needed, reopened after an error, and refreshed before each use. If another file has replaced
the store's file, they open the new one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any, TypeVar

from tokctl.errors import StoreError
from tokctl.server.settings import Limits
from tokctl.store import open_store, store_file
from tokctl.store.protocol import Store, find_damage

SHORT_QUERY_SECONDS = 5.0  # the maximum time of a short query; the expected one is a few milliseconds
THREADS = 3
PIECE_THREADS = 2
SHORT_THREADS = 4
PAGES = 3
PAGES_OF_CALLER = 2
"""Web pages at the same time, in all and for one caller: so one who opens large pages leaves a thread to others."""
MAX_IDLE_STORES = 4  # besides the one for the state
CLOSE_TIMEOUT_SECONDS = 5.0

_Result = TypeVar("_Result")

ObserveStore = Callable[[str, float], None]
"""Gets an operation of the store (``read``, ``state`` or ``write``), and how many seconds it took."""


def ignore_time(_operation: str, _seconds: float) -> None:
    """Take no note of the time of an operation."""


class ResponseSlots:
    """Limits the long responses under way: ``capacity`` in total, ``share`` for each caller."""

    def __init__(self, capacity: int, share: int) -> None:
        self._share = share
        self._all = asyncio.Semaphore(capacity)
        self._callers: dict[object, asyncio.Semaphore] = {}
        self._uses: Counter[object] = Counter()

    async def acquire(self, caller: object) -> None:
        """Wait for a slot."""
        self._uses[caller] += 1
        own = self._callers.setdefault(caller, asyncio.Semaphore(self._share))
        try:
            await own.acquire()
            try:
                await self._all.acquire()
            except BaseException:
                own.release()
                raise
        except BaseException:
            self._forget(caller)
            raise

    def release(self, caller: object) -> None:
        """Give a slot back."""
        self._all.release()
        self._callers[caller].release()
        self._forget(caller)

    def _forget(self, caller: object) -> None:
        self._uses[caller] -= 1
        if not self._uses[caller]:
            del self._uses[caller], self._callers[caller]


class ReaderPool:
    """Stores for responses that take too long for the event loop, and the threads that read from them.

    A response keeps its store until it is complete, however slowly the client reads, but needs a thread only while a
    piece is made. ``slots`` limits the responses under way, ``page_slots`` the web pages among them. Starting a
    response, continuing one and making a page have separate threads, so that none of them delays the others.
    """

    def __init__(self, url: str, limits: Limits, observe: ObserveStore = ignore_time) -> None:
        self.url = url
        self.observe = observe
        self.query_seconds = limits.answer_seconds
        capacity, share, threads, piece_threads = limits.long_answers, limits.token_answers, THREADS, PIECE_THREADS
        if store_file(url) is None:  # threads wait for the database, and each response needs a connection
            capacity = threads = piece_threads = limits.store_connections
            share = min(share, (capacity + 1) // 2)
        self.slots = ResponseSlots(capacity, share)
        self.page_slots = ResponseSlots(PAGES, PAGES_OF_CALLER)
        self._idle: list[Store] = []
        self._page_threads = ThreadPoolExecutor(PAGES, thread_name_prefix="page")
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="reader")
        self._piece_threads = ThreadPoolExecutor(piece_threads, thread_name_prefix="piece")
        self._short_threads = ThreadPoolExecutor(SHORT_THREADS, thread_name_prefix="short")
        self._closing_tasks: set[asyncio.Task[None]] = set()

    async def run(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        """Run a function in a thread."""
        return await self._run(self._threads, function, *arguments)

    async def run_short(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        """Run a function that takes a few milliseconds in a thread."""
        return await self._run(self._piece_threads, function, *arguments)

    async def run_page(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        """Run a function that makes a web page in a thread; it has a place in ``page_slots``."""
        return await self._run(self._page_threads, function, *arguments)

    async def read(self, function: Callable[[Store], _Result]) -> _Result:
        """Call a function that takes a few milliseconds with the current store, in a thread. Raises StoreError."""
        return await self._run(self._short_threads, self._read, function)

    async def _run(self, threads: ThreadPoolExecutor, function: Callable[..., _Result], *arguments: Any) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(threads, self._time, function, *arguments)

    def _time(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        began = perf_counter()
        try:
            return function(*arguments)
        finally:
            self.observe("read", perf_counter() - began)

    def _read(self, function: Callable[[Store], _Result]) -> _Result:
        store, is_sound = self.borrow_store(SHORT_QUERY_SECONDS), False
        try:
            result = function(store)
            is_sound = True
        finally:
            self.return_store(store, is_sound)
        return result

    def finish(self, end: Coroutine[Any, Any, None]) -> None:
        """Run the clean-up of a response as a task."""
        task = asyncio.get_running_loop().create_task(end)
        self._closing_tasks.add(task)
        task.add_done_callback(self._closing_tasks.discard)

    def borrow_store(self, query_seconds: float | None = None) -> Store:
        """Return a store in its current state, with a limit for each query; called in a thread."""
        seconds = query_seconds or self.query_seconds
        try:
            store = self._idle.pop()
        except IndexError:
            return self._open_store(seconds)
        try:
            store.set_query_limit(seconds)
            store.refresh()
        except StoreError:
            store.close()
            return self._open_store(seconds)
        return store

    def _open_store(self, query_seconds: float) -> Store:
        store = open_store(self.url)
        try:
            store.set_query_limit(query_seconds)
            store.refresh()
        except BaseException:
            store.close()
            raise
        return store

    def find_damage(self) -> StoreError | None:
        """Return the error for a damaged store; called in a thread."""
        with self._open_store(self.query_seconds) as store:
            return find_damage(store)

    def return_store(self, store: Store, sound: bool) -> None:
        """Take a store back, or close it if the response is not complete; called in a thread."""
        if sound and len(self._idle) < MAX_IDLE_STORES:
            store.release()
            self._idle.append(store)
        else:
            store.close()

    async def close(self) -> None:
        """Wait for clean-up tasks, then close threads and stores."""
        if self._closing_tasks:
            await asyncio.wait(self._closing_tasks, timeout=CLOSE_TIMEOUT_SECONDS)
        for threads in (self._threads, self._piece_threads, self._page_threads, self._short_threads):
            threads.shutdown(wait=False, cancel_futures=True)
        while self._idle:
            self._idle.pop().close()


def join_pieces(pieces: Iterator[bytes], max_bytes: int) -> tuple[bytes, bool]:
    """Join pieces until they exceed ``max_bytes``; returns also whether these were all."""
    parts, size = [], 0
    for piece in pieces:
        parts.append(piece)
        size += len(piece)
        if size > max_bytes:
            return b"".join(parts), False
    return b"".join(parts), True
