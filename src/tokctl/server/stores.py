"""Stores that responses are read from: one on the event loop for small responses, a pool for long ones.

They are opened when first needed, reopened after an error, and refreshed before each use. If another file has replaced
the store's file, they open the new one.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any, TypeVar

from tokctl.errors import StoreError, UnreachableStoreError
from tokctl.server.http_errors import RETRY_SECONDS
from tokctl.store import open_store, store_file
from tokctl.store.protocol import Store, find_damage
from tokctl.store.seen_heads import find_rollback
from tokctl.version import __version__

LOOP_QUERY_SECONDS = 5.0  # the maximum time of a query on the event loop; the expected one is a few milliseconds
LOOP_BUSY_TIMEOUT_MS = 100  # the event loop's wait for a lock; the default of 30 s would stall every request
THREADS = 3
PIECE_THREADS = 2
CLOSE_TIMEOUT_SECONDS = 5.0

_Result = TypeVar("_Result")


def open_reader(url: str, query_seconds: float, busy_timeout_ms: int | None = None) -> Store:
    """Open a store for reading; a query may take ``query_seconds``."""
    store = open_store(url)
    store.set_query_limit(query_seconds)
    if busy_timeout_ms is not None:
        store.set_busy_timeout(busy_timeout_ms)
    return store


def compute_etag_salt(url: str, store: Store) -> bytes:
    """Return what identifies the store and the version of tokctl, for use in every ETag.

    That is its file; several servers of a store without a file have the same ETags.
    """
    file = store_file(url)
    if file is None:
        which: object = store.api_tokens.identity()
    else:
        try:
            status = file.stat()
            which = status.st_dev, status.st_ino
        except OSError:
            which = ()
    return hashlib.blake2b(f"{__version__} {which}".encode(), digest_size=8).digest()


class LiveStore:
    """The current state of the store, for small responses on the event loop.

    It is refreshed once per round of the event loop, for all the requests received in that round. It holds no snapshot
    between rounds, so that a writer can restart the write-ahead log. ``log_event`` gets a store that went back.
    After an unreachable store was tried, requests fail for some seconds: to try again would delay all others.
    """

    def __init__(self, url: str, log_event: Callable[..., Any]) -> None:
        self.url = url
        self.log_event = log_event
        self.moment = 0  # counts the refreshes that may have changed something
        self.access = 0  # counts those that may have changed API tokens
        self.files = 0  # counts the files that were the store; a later file may have the same tags as an earlier one
        self.process = -1
        self.salt = b""
        self._access = -1
        self._store: Store | None = None
        self._fresh = False
        self._outage: tuple[UnreachableStoreError, float] | None = None  # and until when

    def get_store(self) -> Store:
        """Return the store in its current state.

        Raises:
            StoreError: it cannot be read.
        """
        if self._fresh and self._store is not None:
            return self._store
        if self._outage is not None and monotonic() < self._outage[1]:
            raise self._outage[0]
        try:
            store = self._store
            if store is None:
                store = self._store = open_reader(self.url, LOOP_QUERY_SECONDS, LOOP_BUSY_TIMEOUT_MS)
                changed = True
                store.refresh()
            else:
                changed = store.refresh()
            if changed:
                self._record_change(store)
        except StoreError as error:
            self.close()
            if isinstance(error, UnreachableStoreError):  # the event loop has waited for a connection
                self._outage = error, monotonic() + RETRY_SECONDS
            raise
        self._fresh = True
        asyncio.get_running_loop().call_soon(self._end_round)
        return store

    def _record_change(self, store: Store) -> None:
        self.moment += 1
        revisions, salt = store.revisions(), compute_etag_salt(self.url, store)
        is_replaced = salt != self.salt
        self.files += is_replaced
        if (is_replaced or revisions.access < self._access) and self.files > 1 and (rollback := find_rollback(store)):
            self.log_event("store went back", problem=rollback.message)
        if (revisions.access, salt) != (self._access, self.salt):
            self.access += 1
        self._access, self.process, self.salt = revisions.access, revisions.process, salt

    def _end_round(self) -> None:
        self._fresh = False
        if self._store is not None:
            self._store.release()

    def close(self) -> None:
        """Close the store; ``get_store`` reopens it."""
        store, self._store = self._store, None
        self._fresh = False
        self.moment += 1
        if store is not None:
            store.close()


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
    piece is made. ``slots`` limits the responses under way. Starting a response and continuing one have separate
    threads, so that a slow start does not delay others.
    """

    def __init__(self, url: str, slots: ResponseSlots, query_seconds: float) -> None:
        self.url = url
        self.query_seconds = query_seconds
        self.slots = slots
        self._idle: list[Store] = []
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="reader")
        self._piece_threads = ThreadPoolExecutor(PIECE_THREADS, thread_name_prefix="piece")
        self._closing_tasks: set[asyncio.Task[None]] = set()

    async def run(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        """Run a function in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    async def run_short(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        """Run a function that takes a few milliseconds in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._piece_threads, function, *arguments)

    async def read(self, function: Callable[[Store], _Result]) -> _Result:
        """Call a function that takes a few milliseconds with the current store, in a thread. Raises StoreError."""
        return await self.run_short(self._read, function)

    def _read(self, function: Callable[[Store], _Result]) -> _Result:
        store, is_sound = self.borrow_store(), False
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

    def borrow_store(self) -> Store:
        """Return a store in its current state; called in a thread."""
        store = self._idle.pop() if self._idle else None
        if store is not None:
            try:
                store.refresh()
            except StoreError:
                store.close()
            else:
                return store
        store = open_reader(self.url, self.query_seconds)
        store.refresh()
        return store

    def find_damage(self) -> StoreError | None:
        """Return the error for a damaged store; called in a thread."""
        with open_reader(self.url, self.query_seconds) as store:
            return find_damage(store)

    def return_store(self, store: Store, sound: bool) -> None:
        """Take a store back, or close it if the response is not complete; called in a thread."""
        if sound and len(self._idle) < THREADS:
            store.release()
            self._idle.append(store)
        else:
            store.close()

    async def close(self) -> None:
        """Wait for clean-up tasks, then close threads and stores."""
        if self._closing_tasks:
            await asyncio.wait(self._closing_tasks, timeout=CLOSE_TIMEOUT_SECONDS)
        for threads in (self._threads, self._piece_threads):
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
