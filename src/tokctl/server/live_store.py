"""The current state of the store: checked before each response, so that every change counts at once.

A store in a file is read on the event loop. A database is asked in a thread: all requests that arrive in the meantime
share the next question.
"""

from __future__ import annotations

import asyncio
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, perf_counter
from typing import Any, NamedTuple, TypeVar

from tokctl.errors import StoreError, UnreachableStoreError
from tokctl.server.http_errors import RETRY_SECONDS
from tokctl.server.stores import SHORT_QUERY_SECONDS, ReaderPool
from tokctl.store import open_store, store_file
from tokctl.store.protocol import Revisions, Store
from tokctl.store.seen_heads import Rollback, find_rollback
from tokctl.version import __version__

LOOP_BUSY_TIMEOUT_MS = 100  # the event loop's wait for a lock; the default of 30 s would stall every request

_Result = TypeVar("_Result")


class StoreState(NamedTuple):
    """What identifies the content of a store; ``rollback`` is set if it went back since the state before."""

    revisions: Revisions
    salt: bytes
    rollback: Rollback | None


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


def open_live_store(url: str, readers: ReaderPool, log_event: Callable[..., Any]) -> LiveStore:
    """Return the current state of a store of any kind; nothing is opened before it is needed."""
    if store_file(url) is None:
        return DatabaseLiveStore(url, readers, log_event)
    return FileLiveStore(url, log_event)


class LiveStore(ABC):
    """The current state of a store. ``log_event`` gets a store that went back.

    ``moment`` differs when process instances may have changed, and ``access`` when API tokens may have changed; their
    revision is ``access_revision``. ``files`` counts the stores that were found at this place: a later one may have the
    same tags as an earlier one. ``salt`` is part of every ETag.
    """

    def __init__(self, url: str, log_event: Callable[..., Any]) -> None:
        self.url = url
        self.log_event = log_event
        self.moment = 0
        self.access = 0
        self.access_revision = -1
        self.files = 0
        self.salt = b""

    @abstractmethod
    async def refresh(self, since: float) -> None:
        """Make sure that the state is not older than ``since``, a time of ``perf_counter``. Raises StoreError."""

    @abstractmethod
    def get_loop_store(self) -> Store | None:
        """Return the store in its current state, if the event loop may read from it. Raises StoreError."""

    @abstractmethod
    def get_moment(self, revisions: Revisions | None) -> int:
        """Return the ``moment`` of a store with these revisions; -1 if that is unknown."""

    @abstractmethod
    async def read(self, function: Callable[[Store], _Result]) -> _Result:
        """Call a function that takes a few milliseconds with the current store. Raises StoreError."""

    @abstractmethod
    def reset(self) -> None:
        """Note that a response failed because of the store."""

    @abstractmethod
    def close(self) -> None:
        """Close the store; it is reopened when needed."""

    def _read_state(self, store: Store) -> StoreState:
        revisions, salt = store.revisions(), compute_etag_salt(self.url, store)
        is_suspect = salt != self.salt or revisions.access < self.access_revision
        return StoreState(revisions, salt, find_rollback(store) if is_suspect and self.files else None)

    def _adopt(self, state: StoreState) -> None:
        if state.rollback is not None:
            self.log_event("store went back", problem=state.rollback.message)
        self.files += state.salt != self.salt
        if (state.revisions.access, state.salt) != (self.access_revision, self.salt):
            self.access += 1
        self.access_revision, self.salt = state.revisions.access, state.salt


class FileLiveStore(LiveStore):
    """A store in a file, which the event loop reads small responses from.

    It is refreshed once per round of the event loop, for all the requests received in that round. It holds no snapshot
    between rounds, so that a writer can restart the write-ahead log.
    """

    def __init__(self, url: str, log_event: Callable[..., Any]) -> None:
        super().__init__(url, log_event)
        self._store: Store | None = None
        self._fresh = False

    async def refresh(self, since: float) -> None:  # noqa: ARG002 - a round of the event loop is short
        self.get_loop_store()

    def get_loop_store(self) -> Store:
        if self._fresh and self._store is not None:
            return self._store
        try:
            store = self._store
            if store is None:
                store = self._store = open_store(self.url)
                store.set_query_limit(SHORT_QUERY_SECONDS)
                store.set_busy_timeout(LOOP_BUSY_TIMEOUT_MS)
                changed = True
                store.refresh()
            else:
                changed = store.refresh()
            if changed:
                self.moment += 1
                self._adopt(self._read_state(store))
        except StoreError:
            self.close()
            raise
        self._fresh = True
        asyncio.get_running_loop().call_soon(self._end_round)
        return store

    def get_moment(self, revisions: Revisions | None) -> int:  # noqa: ARG002 - it may be those of another file
        return -1

    async def read(self, function: Callable[[Store], _Result]) -> _Result:
        return function(self.get_loop_store())

    def _end_round(self) -> None:
        self._fresh = False
        if self._store is not None:
            self._store.release()

    def reset(self) -> None:
        self.close()

    def close(self) -> None:
        store, self._store = self._store, None
        self._fresh = False
        self.moment += 1
        if store is not None:
            store.close()


class DatabaseLiveStore(LiveStore):
    """A store in a database server, which may answer slowly or not at all: the event loop never waits for it.

    A question that began after a request came in is enough for the request. After an unreachable database was tried,
    requests fail for some seconds: to try again would delay each of them.
    """

    def __init__(self, url: str, readers: ReaderPool, log_event: Callable[..., Any]) -> None:
        super().__init__(url, log_event)
        self._readers = readers
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="state")
        self._store: Store | None = None
        self._state: StoreState | None = None
        self._as_of = -1.0
        self._question: asyncio.Task[None] | None = None
        self._outage: tuple[UnreachableStoreError, float] | None = None  # and until when

    async def refresh(self, since: float) -> None:
        while self._as_of < since:
            if self._question is None:
                if self._outage is not None and monotonic() < self._outage[1]:
                    raise self._outage[0]
                self._question = asyncio.get_running_loop().create_task(self._ask())
                # Every request that waits for it raises its error; there may be none any more.
                self._question.add_done_callback(lambda question: question.cancelled() or question.exception())
            await asyncio.shield(self._question)

    async def _ask(self) -> None:
        began = perf_counter()
        try:
            state = await self._wait_for_state()
        except UnreachableStoreError as error:
            self._outage = error, monotonic() + RETRY_SECONDS
            raise
        finally:
            self._question = None
        self._adopt(state)
        self.moment = state.revisions.process
        self._as_of = began
        self._outage = None

    async def _wait_for_state(self) -> StoreState:
        answer = asyncio.get_running_loop().run_in_executor(self._thread, self._read_current_state)
        try:
            async with asyncio.timeout(SHORT_QUERY_SECONDS):
                return await asyncio.shield(answer)
        except TimeoutError:
            answer.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            if self._store is not None:
                await asyncio.to_thread(self._store.interrupt)
            raise UnreachableStoreError("the store does not answer.", "Try again later.") from None

    def _read_current_state(self) -> StoreState:
        began = perf_counter()
        try:
            return self._read_state_again()
        finally:
            self._readers.observe("state", perf_counter() - began)

    def _read_state_again(self) -> StoreState:
        """Read the state over the open connection, or over a new one if the server has ended it; called in a thread."""
        if self._store is not None:
            try:
                revisions = self._store.revisions()
                known = self._state
                if known is not None and known.revisions == revisions:
                    return known._replace(rollback=None)
                self._state = self._read_state(self._store)
            except UnreachableStoreError:
                self._close_store()
            else:
                return self._state
        try:
            self._store = open_store(self.url)
            self._store.release()  # a transaction would show the same moment again
            self._state = self._read_state(self._store)
        except BaseException:
            self._close_store()
            raise
        return self._state

    def _close_store(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.close()

    def get_loop_store(self) -> None:
        return None

    def get_moment(self, revisions: Revisions | None) -> int:
        return -1 if revisions is None else revisions.process

    async def read(self, function: Callable[[Store], _Result]) -> _Result:
        return await self._readers.read(function)

    def reset(self) -> None:
        """Do nothing: the connection of the response was another one."""

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._close_store()
