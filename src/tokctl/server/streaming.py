"""Responses that take too long for the event loop: made in threads, sent piece by piece.

Each piece is made when the previous one has been sent, so that a response needs memory for a few pieces only, however
long it is. A client that stops reading, or reads too slowly, is disconnected: its response holds a snapshot of the
store, and the write-ahead log grows until it is released.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from tempfile import TemporaryFile
from typing import IO, Any, TypeVar

from tokctl.errors import TokctlError
from tokctl.server.cache import CachedResponse, Headers
from tokctl.server.content_negotiation import MIN_COMPRESSED_BYTES, compress_pieces
from tokctl.server.endpoint import Query, StoreResponse
from tokctl.server.http_errors import retry_later
from tokctl.server.request import GONE, GZIP, ClientDisconnected, Request
from tokctl.server.settings import Limits
from tokctl.server.stores import ReaderPool, join_pieces
from tokctl.store.protocol import Revisions, Store

MAX_WHOLE_BYTES = 1 << 20  # up to this size a response is sent as a whole, and may be cached
PIECE_BYTES = 1 << 16
STALLED = "the client stopped reading"
TOO_SLOW = "the client read too slowly"

_Result = TypeVar("_Result")


class StreamedResponse:
    """A response that is made in threads, one step at a time.

    ``headers`` are its headers, ``revisions`` those of the store that it shows. ``is_known`` tells that it need not be
    made.
    """

    def __init__(self, request: Request, response: StoreResponse, query: Query, readers: ReaderPool) -> None:
        self.request = request
        self.response = response
        self.query = query
        self.readers = readers
        actor = None if query.caller is None else query.caller.actor
        self._caller = request.client if actor is None else (actor.kind, actor.id)
        self._store: Store | None = None
        self.headers: Headers = []
        self.is_known = False
        self.revisions: Revisions | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._interruption: asyncio.Future[None] | None = None
        self._work: asyncio.Future[Any] | None = None
        self._sound = False  # the response has been read to its end
        self._stopped = False

    async def send(
        self, limits: Limits, make_headers: Callable[[str | None], Headers], is_known: Callable[[Headers], bool]
    ) -> CachedResponse | None:
        """Make and send the response; returns it if it is small enough for the cache.

        Nothing is sent if the response ``is_known`` by its headers, which a thread asks.

        Raises:
            HTTPError: it cannot be made, or takes too long to start.
            ClientDisconnected: it ended early.
        """
        try:
            async with asyncio.timeout(limits.queue_seconds):
                await self.readers.slots.acquire(self._caller)
        except TimeoutError:
            raise retry_later(503, "OVERLOADED", "Too many long responses are in progress.", 5, "no place") from None
        watch = asyncio.get_running_loop().create_task(self._watch())
        try:
            return await self._send(limits, make_headers, is_known)
        except TokctlError as error:
            if self._stopped:
                raise ClientDisconnected(GONE) from None
            if self.request.status:
                raise ClientDisconnected(str(error)) from error
            raise
        finally:
            self._stop()
            watch.cancel()
            self.readers.finish(self._leave())

    async def _watch(self) -> None:
        with suppress(asyncio.CancelledError):
            while (await self.request.receive())["type"] != "http.disconnect":
                pass
            self._stop()

    def _stop(self) -> None:
        """Interrupt the current step, in a thread: a database server may take a while."""
        self._stopped = True
        is_working = self._work is not None and not self._work.done()
        if self._store is not None and is_working and self._interruption is None:
            self._interruption = asyncio.ensure_future(asyncio.to_thread(self._store.interrupt))

    async def _leave(self) -> None:
        """Return the store and the slot when the current step has ended."""
        for ending in (self._interruption, self._work):
            if ending is not None:
                with suppress(Exception):  # reported where the step was started
                    await ending
        if self._store is not None:
            await self.readers.run_short(self._return_store, self._store)
            self._store = None
        self.readers.slots.release(self._caller)

    def _return_store(self, store: Store) -> None:
        close = getattr(self._pieces, "close", None)
        if close is not None:
            close()  # an open cursor would keep the snapshot of a closed store
        self._pieces = iter(())
        self.readers.return_store(store, self._sound)

    async def _do(self, run: Callable[..., Any], function: Callable[..., _Result], *arguments: Any) -> _Result:
        work = self._work = asyncio.ensure_future(run(function, *arguments))
        return await asyncio.shield(work)

    async def _send(
        self, limits: Limits, make_headers: Callable[[str | None], Headers], is_known: Callable[[Headers], bool]
    ) -> CachedResponse | None:
        try:
            async with asyncio.timeout(limits.answer_seconds):
                data, complete = await self._do(self.readers.run, self._begin, make_headers, is_known)
        except TimeoutError:
            raise retry_later(
                503, "TIMEOUT", f"Timeout: the response took longer than {limits.answer_seconds:g} s.", 30, "too slow"
            ) from None
        if self.is_known:
            return None
        if not complete:
            try:
                async with asyncio.timeout(limits.read_seconds):
                    await self._stream(data, self.headers, limits)
            except TimeoutError:
                self.request.abort()
                raise ClientDisconnected(TOO_SLOW) from None
            return None
        response = CachedResponse(data, self.headers, self.query.stats.tokens)
        if self.request.accepts_gzip and len(data) > MIN_COMPRESSED_BYTES:
            await self._do(self.readers.run, response.get_compressed)
        await self.request.send_cached(response)
        return response

    def _begin(
        self, make_headers: Callable[[str | None], Headers], is_known: Callable[[Headers], bool]
    ) -> tuple[bytes, bool]:
        if self._stopped:
            raise ClientDisconnected(GONE)
        self._store = self.readers.borrow_store()
        self.revisions = self._store.revisions()
        self.headers = make_headers(self.response.tag(self._store, self.query))
        self.is_known = self._sound = is_known(self.headers)
        if self.is_known:
            return b"", True
        self._pieces = self._until_stopped(self.response.pieces(self._store, self.query))
        data, self._sound = join_pieces(self._pieces, 0 if self.request.is_head else MAX_WHOLE_BYTES)
        return data, self._sound

    def _until_stopped(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            if self._stopped:
                raise ClientDisconnected(GONE)
            yield piece

    async def _stream(self, data: bytes, headers: Headers, limits: Limits) -> None:
        end = self.request.envelope_end
        pieces: Iterator[bytes] = chain((b'{"success":true,"data":' + data,), self._pieces, (end,))
        del data
        if self.request.accepts_gzip:
            headers.append(GZIP)
            pieces = compress_pieces(pieces)
        if self.request.is_head:
            await self.request.send_empty(200, headers)
            return
        if self.request.scope["http_version"] == "1.0":  # it has no chunked encoding: the length must be known
            size, pieces = await self._do(self.readers.run, spool_pieces, pieces)
            headers.append((b"content-length", str(size).encode()))
        await self.request.start(200, headers)
        is_complete = False
        while not is_complete:
            piece, is_complete = await self._do(self.readers.run_short, join_pieces, pieces, PIECE_BYTES)
            try:
                async with asyncio.timeout(limits.stall_seconds):
                    await self.request.send_body(piece, more=not is_complete)
            except TimeoutError:
                self.request.abort()
                raise ClientDisconnected(STALLED) from None
            if self._stopped and not is_complete:
                raise ClientDisconnected(GONE)
            self.request.tokens = self.query.stats.tokens
        self._sound = True


def spool_pieces(pieces: Iterator[bytes]) -> tuple[int, Iterator[bytes]]:
    """Write pieces to a temporary file; returns their size in bytes, and an iterator that reads them."""
    file = TemporaryFile()  # noqa: SIM115 - _read_pieces closes it
    for piece in pieces:
        file.write(piece)
    size = file.tell()
    file.seek(0)
    return size, _read_pieces(file)


def _read_pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while piece := file.read(PIECE_BYTES):
            yield piece
