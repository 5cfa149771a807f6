"""Where answers are read from: one connection on the event loop for small ones, a pool of them for the others.

Both are opened when they are first needed and again after an error, and look at the present moment before they
answer. A store that another file has taken the place of is followed there.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from tokctl import __version__
from tokctl.errors import StoreError
from tokctl.store import file_of, open_store
from tokctl.store.base import Store

LOOP_PATIENCE_MS = 100  # how long the event loop waits for a lock; half a minute would stall everybody
THREADS = 3
PIECE_THREADS = 2
PATIENCE_SECONDS = 5.0

_Result = TypeVar("_Result")


def open_reader(url: str, patience_ms: int | None = None) -> Store:
    """Open a store to be read from."""
    store = open_store(url)
    if patience_ms is not None:
        store.be_patient(patience_ms)
    return store


def salt_of(url: str) -> bytes:
    """What stands in every tag beside the numbers of changes: which file it is, and which program reads it."""
    file = file_of(url)
    try:
        status = file.stat() if file is not None else None
    except OSError:
        status = None
    which = (status.st_dev, status.st_ino) if status else ()
    return hashlib.blake2b(f"{__version__} {which}".encode(), digest_size=8).digest()


class Present:
    """The store as it is now, for what is answered on the event loop at once.

    It looks once for all the requests that the loop has taken in together: a look after the last of them came
    is new enough for each. Between such rounds it holds on to nothing, so that a writer's log can begin anew.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.moment = 0  # counts the times that something may have changed
        self.access = 0  # those that API tokens did
        self.files = 0  # counts the files that were the store, of which a later one may have the tags of an earlier one
        self.process = -1
        self.salt = b""
        self._access = -1
        self._store: Store | None = None
        self._fresh = False

    def look(self) -> Store:
        """Return the store at the present moment.

        Raises:
            StoreError: it cannot be read.
        """
        if self._fresh and self._store is not None:
            return self._store
        try:
            store = self._store
            if store is None:
                store = self._store = open_reader(self.url, LOOP_PATIENCE_MS)
                changed = True
                store.refresh()
            else:
                changed = store.refresh()
            if changed:
                self._changed(store)
        except StoreError:
            self.close()
            raise
        self._fresh = True
        asyncio.get_running_loop().call_soon(self._rest)
        return store

    def _changed(self, store: Store) -> None:
        self.moment += 1
        revisions, salt = store.revisions(), salt_of(self.url)
        if salt != self.salt:
            self.files += 1
        if (revisions.access, salt) != (self._access, self.salt):
            self.access += 1
        self._access, self.process, self.salt = revisions.access, revisions.process, salt

    def _rest(self) -> None:
        self._fresh = False
        if self._store is not None:
            self._store.rest()

    def close(self) -> None:
        """Let go of the store; the next look opens it anew."""
        store, self._store = self._store, None
        self._fresh = False
        self.moment += 1
        if store is not None:
            store.close()


class Readers:
    """Stores for what takes longer than the event loop can spare, and a few threads that read from them.

    A store is one answer's until this is complete, however slowly its client takes it in; a thread is
    needed for a piece at a time only. ``most`` answers can be under way at once. Answers begin in threads of
    their own, so that one which takes long to begin holds up none that is on its way.
    """

    def __init__(self, url: str, most: int) -> None:
        self.url = url
        self.places = asyncio.Semaphore(most)
        self._idle: list[Store] = []
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="reader")
        self._piece_threads = ThreadPoolExecutor(PIECE_THREADS, thread_name_prefix="piece")
        self._ends: set[asyncio.Task[None]] = set()

    async def run(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        """Run a function in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    async def run_piece(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        """Run what takes a few milliseconds in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._piece_threads, function, *arguments)

    def finish(self, end: Coroutine[Any, Any, None]) -> None:
        """Let the end of an answer happen in its own time."""
        task = asyncio.get_running_loop().create_task(end)
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)

    def take(self) -> Store:
        """Return a store at the present moment; in a thread."""
        store = self._idle.pop() if self._idle else None
        if store is not None:
            try:
                store.refresh()
            except StoreError:
                store.close()
            else:
                return store
        store = open_reader(self.url)
        store.refresh()
        return store

    def give_back(self, store: Store, sound: bool) -> None:
        """Take a store back; in a thread. One that has not answered to the end is closed."""
        if sound and len(self._idle) < THREADS:
            store.rest()
            self._idle.append(store)
        else:
            store.close()

    async def close(self) -> None:
        """Let go of everything; what is still under way comes to its end first."""
        if self._ends:
            await asyncio.wait(self._ends, timeout=PATIENCE_SECONDS)
        for threads in (self._threads, self._piece_threads):
            threads.shutdown(wait=False, cancel_futures=True)
        while self._idle:
            self._idle.pop().close()


def joined(pieces: Iterator[bytes], most: int) -> tuple[bytes, bool]:
    """Join pieces until they are more than so many bytes; tells whether that was all of them."""
    parts, size = [], 0
    for piece in pieces:
        parts.append(piece)
        size += len(piece)
        if size > most:
            return b"".join(parts), False
    return b"".join(parts), True
