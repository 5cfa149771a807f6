"""HTTP/1.1 as uvicorn speaks it, with limits that it lacks: on the head, the body, slow senders and slow readers.

What is refused here never reaches the application, for there is no whole request; it is told of all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from tokctl.server.exchange import ABORT
from tokctl.server.refusals import Refusal, later
from tokctl.server.settings import Limits

Tell = Callable[[Refusal, "tuple[str, int] | None"], object]

LINGER_SECONDS = 2.0  # for a client that is still sending what was refused to read why


class Joining:
    """A transport that writes what it is given in one go, the head of an answer and its body, at once."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.transport = transport
        self.loop = loop
        self.parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Write soon: when what is being done now is done."""
        if not self.parts:
            self.loop.call_soon(self.flush)
        self.parts.append(data)

    def flush(self) -> None:
        """Write what is left."""
        if self.parts:
            parts, self.parts = self.parts, []
            if not self.transport.is_closing():
                self.transport.write(b"".join(parts))

    def close(self) -> None:
        """Close, when all is written."""
        self.flush()
        self.transport.close()
        if self.transport.get_extra_info("sslcontext"):
            self.loop.call_later(LINGER_SECONDS, self._end)

    def _end(self) -> None:
        """End a connection whose peer has all that was written, and leaves the farewell of TLS unanswered."""
        if self.transport.get_write_buffer_size():
            self.loop.call_later(LINGER_SECONDS, self._end)
        else:
            self.transport.abort()

    def write_eof(self) -> None:
        """Say that no more comes."""
        self.flush()
        self.transport.write_eof()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)


class LimitedProtocol(HttpToolsProtocol):
    """A connection. ``limits`` and ``tell`` are the server's, set on a subclass of its own."""

    limits: ClassVar[Limits] = Limits()
    tell: ClassVar[tuple[Tell, ...]] = ()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.in_head = False  # a request has begun, and its head is not all there
        self.head_size = 0  # what has come of it, but for the first part, which may hold more than that
        self.body_size = 0
        self.over = False  # nothing more is read
        self.head_timer: asyncio.TimerHandle | None = None
        self.stall_timer: asyncio.TimerHandle | None = None

    # --- connections ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; one connection too many is told so at once."""
        super().connection_made(cast("asyncio.Transport", Joining(transport, self.loop)))
        if len(self.connections) > self.limits.connections:
            if len(self.connections) > 2 * self.limits.connections:
                transport.abort()
            else:
                self.turn_away(later(503, "OVERLOADED", "Too many connections.", 5, "connections"))
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_timers()
        super().connection_lost(exc)

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; one whose peer does not take in the last answer is cut off in a while."""
        super().timeout_keep_alive_handler()
        if self.transport.get_write_buffer_size():
            self.loop.call_later(self.limits.stall_seconds, self.transport.abort)

    # --- what comes in ---

    def data_received(self, data: bytes) -> None:
        """Take in a part of a request."""
        if self.over:
            return
        continues = self.in_head
        super().data_received(data)
        if self.in_head and not self.over:
            self._await_head()
            self.head_size += len(data) if continues else 0
            if self.head_size > self.limits.head:
                self._refuse_head()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self.in_head = True
        self.head_size = self.body_size = 0
        cast("dict[str, Any]", self.scope)["extensions"] = {ABORT: self.transport.abort}

    def on_headers_complete(self) -> None:
        """The head is there."""
        self.in_head = False
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None
        if self.over:
            return
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > self.limits.head:
            self._refuse_head()
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body: there are limits to what nobody reads."""
        self.body_size += len(body)
        if self.over:
            return
        if self.body_size > self.limits.body:
            if self.cycle is not None and not self.cycle.response_started:
                self.cycle.disconnected = True  # what the application still says of it goes nowhere
                self.cycle.message_event.set()
            text = f"The body has more than {self.limits.body:,} bytes."
            self.turn_away(Refusal(413, "PAYLOAD_TOO_LARGE", text))
            return
        if self.cycle is not None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there."""
        if not self.over and self.cycle is not None:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        if not self.over:
            self.turn_away(Refusal(400, "BAD_REQUEST", "This is no HTTP request.", reason=msg))

    def handle_websocket_upgrade(self) -> None:
        """There are none here."""

    # --- what goes out ---

    def pause_writing(self) -> None:
        """The peer reads more slowly than the answer is made: from now on it is watched."""
        super().pause_writing()
        if self.stall_timer is None:
            self.stall_timer = self.loop.call_later(self.limits.stall_seconds * 1.1 + 1, self.transport.abort)

    def resume_writing(self) -> None:
        """It has caught up."""
        super().resume_writing()
        if self.stall_timer is not None:
            self.stall_timer.cancel()
            self.stall_timer = None

    # --- refusals ---

    def _await_head(self) -> None:
        if self.head_timer is None:
            self.head_timer = self.loop.call_later(self.limits.head_seconds, self._head_is_late)

    def _head_is_late(self) -> None:
        self.head_timer = None
        if self.in_head:
            self.turn_away(Refusal(408, "TIMEOUT", "The head of the request took too long.", reason="slow head"))
        else:
            self.transport.close()

    def _refuse_head(self) -> None:
        if len(self.url) > self.limits.target:
            text = f"Path and query have more than {self.limits.target:,} bytes."
            self.turn_away(Refusal(414, "URI_TOO_LONG", text))
        else:
            text = f"The head of the request has more than {self.limits.head:,} bytes."
            self.turn_away(Refusal(431, "HEADERS_TOO_LARGE", text))

    def turn_away(self, refusal: Refusal) -> None:
        """Answer without the application, and close."""
        self.over = True
        self._stop_timers()
        for tell in self.tell:
            tell(refusal, self.client)
        if self.cycle is not None and not (self.cycle.response_complete or self.cycle.disconnected):
            self.transport.close()  # the answer to an earlier request is on its way
            return
        body = refusal.body("")
        lines = [STATUS_LINE[refusal.status], b"content-type: application/json\r\n",
                 b"content-length: %d\r\n" % len(body), b"connection: close\r\n"]  # fmt: skip
        lines += [name + b": " + value + b"\r\n" for name, value in refusal.headers]
        self.transport.write(b"".join([*lines, b"\r\n", body]))
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.loop.call_later(LINGER_SECONDS, self.transport.close)
        else:
            self.transport.close()

    def _stop_timers(self) -> None:
        for timer in (self.head_timer, self.stall_timer):
            if timer is not None:
                timer.cancel()
        self.head_timer = self.stall_timer = None


def limited(limits: Limits, tell: Tell) -> type[LimitedProtocol]:
    """Return a kind of connection with these limits, that tells of what it refuses."""
    return type("Connection", (LimitedProtocol,), {"limits": limits, "tell": (tell,)})
