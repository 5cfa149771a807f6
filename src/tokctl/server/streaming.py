"""Answers that take longer than the event loop can spare: made in threads, sent piece by piece.

Each piece is made when the one before it has been taken in, so that an answer costs no more memory than a few
pieces, however long it is. A client that stops reading is cut off, for its answer holds a moment of the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from tokctl.errors import TokctlError
from tokctl.server.cache import Answer, Headers
from tokctl.server.coding import LEAST, gzipped
from tokctl.server.exchange import GZIP, Cut, Exchange
from tokctl.server.refusals import later
from tokctl.server.stores import Readers, joined

if TYPE_CHECKING:
    from tokctl.server.routes import Endpoint, Question
    from tokctl.server.settings import Limits
    from tokctl.store.base import Store

WHOLE = 1 << 20  # bytes; what is no longer than that goes out as a whole, and may be kept
PIECE = 1 << 16
GONE = "the client has gone"
STALLED = "the client stopped reading"

_Result = TypeVar("_Result")


class LongAnswer:
    """An answer that is made in threads; one thing at a time is done for it, in one of them."""

    def __init__(self, exchange: Exchange, endpoint: Endpoint, question: Question, readers: Readers) -> None:
        self.exchange = exchange
        self.endpoint = endpoint
        self.question = question
        self.readers = readers
        self._store: Store | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._work: asyncio.Future[Any] | None = None
        self._sound = False  # the store has answered to the end
        self._stopped = False

    async def send(self, limits: Limits, headers_of: Callable[[str | None], Headers]) -> Answer | None:
        """Make and send it; returns the answer where it turned out to be small enough to be kept.

        Raises:
            Refusal: it cannot be made, or takes too long to begin.
            Cut: it ended before its end.
        """
        try:
            async with asyncio.timeout(limits.queue_seconds):
                await self.readers.places.acquire()
        except TimeoutError:
            raise later(503, "OVERLOADED", "Too many long answers are under way.", 5, "no place") from None
        watch = asyncio.get_running_loop().create_task(self._watch())
        try:
            return await self._send(limits, headers_of)
        except TokctlError as error:
            if self._stopped:
                raise Cut(GONE) from None
            if self.exchange.status:
                raise Cut(str(error)) from error
            raise
        finally:
            self._stop()
            watch.cancel()
            self.readers.finish(self._leave())

    async def _watch(self) -> None:
        with suppress(asyncio.CancelledError):
            while (await self.exchange.receive())["type"] != "http.disconnect":
                pass
            self._stop()

    def _stop(self) -> None:
        """Let what is being done come to an end soon."""
        self._stopped = True
        if self._store is not None and not self._sound:
            self._store.interrupt()

    async def _leave(self) -> None:
        """Give the store and the place back, when nothing is being done for the answer any more."""
        if self._work is not None:
            with suppress(Exception):  # whoever began it has been told, unless he has gone
                await self._work
        if self._store is not None:
            await self.readers.run_piece(self._let_go, self._store)
            self._store = None
        self.readers.places.release()

    def _let_go(self, store: Store) -> None:
        close = getattr(self._pieces, "close", None)
        if close is not None:
            close()  # or a cursor in it would keep the moment of a store that is closed
        self._pieces = iter(())
        self.readers.give_back(store, self._sound)

    async def _do(self, run: Callable[..., Any], function: Callable[..., _Result], *arguments: Any) -> _Result:
        work = self._work = asyncio.ensure_future(run(function, *arguments))
        return await asyncio.shield(work)

    async def _send(self, limits: Limits, headers_of: Callable[[str | None], Headers]) -> Answer | None:
        try:
            async with asyncio.timeout(limits.answer_seconds):
                tag, data, complete = await self._do(self.readers.run, self._begin)
        except TimeoutError:
            raise later(503, "TIMEOUT", f"The answer took longer than {limits.answer_seconds:g} s to make.", 30,
                        "too slow") from None  # fmt: skip
        headers = headers_of(tag)
        if not complete:
            await self._stream(data, headers, limits)
            return None
        answer = Answer(data, headers, tag, self.question.told.tokens)
        if self.exchange.compressed and len(data) > LEAST:
            await self._do(self.readers.run, answer.deflated)
        await self.exchange.answer(answer)
        return answer

    def _begin(self) -> tuple[str | None, bytes, bool]:
        if self._stopped:
            raise Cut(GONE)
        self._store = self.readers.take()
        tag = self.endpoint.tag(self._store, self.question)
        self._pieces = self._until_stopped(self.endpoint.pieces(self._store, self.question))
        data, self._sound = joined(self._pieces, 0 if self.exchange.head_only else WHOLE)
        return tag, data, self._sound

    def _until_stopped(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            if self._stopped:
                raise Cut(GONE)
            yield piece

    async def _stream(self, data: bytes, headers: Headers, limits: Limits) -> None:
        pieces: Iterator[bytes] = chain((b'{"success":true,"data":' + data,), self._pieces, (self.exchange.end,))
        del data
        if self.exchange.compressed:
            headers = [*headers, GZIP]
            pieces = gzipped(pieces)
        await self.exchange.start(200, headers)
        if self.exchange.head_only:
            await self.exchange.body(b"")
            return
        complete = False
        while not complete:
            piece, complete = await self._do(self.readers.run_piece, joined, pieces, PIECE)
            try:
                async with asyncio.timeout(limits.stall_seconds):
                    await self.exchange.body(piece, more=not complete)
            except TimeoutError:
                self.exchange.abort()
                raise Cut(STALLED) from None
            if self._stopped and not complete:
                raise Cut(GONE)
            self.exchange.tokens = self.question.told.tokens
        self._sound = True
