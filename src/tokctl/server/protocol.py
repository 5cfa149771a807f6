"""HTTP/1.1 as uvicorn speaks it, with limits that it lacks: on the head, the body, slow senders and slow readers.

What is refused here never reaches the application, for there is no whole request; it is told of all the same. A
request is answered once: where its answer has begun, or an earlier one is under way, a refusal is the end of the
connection alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from tokctl.server.exchange import ABORT
from tokctl.server.refusals import Refusal, later
from tokctl.server.routes import is_api_tokens
from tokctl.server.settings import Limits

Tell = Callable[[Refusal, "tuple[str, int] | None"], object]

LINGER_SECONDS = 2.0  # for a client that is still sending what was refused to read why
HALF_CLOSED_SECONDS = 1.0  # until an answer has to begin whose client says no more: it may have gone altogether
FRAMES = 2  # times its body that a body may take with the frames of its chunks


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


class OldCycle(RequestResponseCycle):
    """An answer to HTTP/1.0, which knows no chunks: one whose length nobody knows ends with the connection."""

    unframed = False

    async def send(self, message: Any) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            self.unframed = all(name != b"content-length" for name, _ in message["headers"])
            if self.unframed:
                self.chunked_encoding = False
        elif self.unframed:
            self.expected_content_length = len(message["body"])
        await super().send(message)


class LimitedProtocol(HttpToolsProtocol):
    """A connection. ``limits`` and ``tell`` are the server's, set on a subclass of its own."""

    limits: ClassVar[Limits] = Limits()
    tell: ClassVar[tuple[Tell, ...]] = ()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.running: RequestResponseCycle | None = None  # what is being answered; ``cycle`` is the last that came
        self.begun = 0  # requests
        self.in_request = False  # one has begun, and is not all there
        self.in_head = False  # nor is its head
        self.head_size = 0  # what has come of it, but for the first part, which may hold more than that
        self.body_size = 0
        self.rest_size = 0  # what has come since its head, but for the first part, with the frames of chunks
        self.over = False  # nothing more is read
        self.late_timer: asyncio.TimerHandle | None = None
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
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_timers()
        self.pipeline.clear()
        if self.running is not None and not self.running.response_complete:
            self.running.disconnected = True
            self.running.message_event.set()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """The peer says no more. What it has asked for is answered, where it still listens (with TLS it cannot)."""
        if self.scheme == "https" or self.running is None or self._is_idle():
            cast("Joining", self.transport).flush()
            return False
        self.over = True
        self.cycle.keep_alive = False
        self.loop.call_later(HALF_CLOSED_SECONDS, self._give_up)
        return True

    def _give_up(self) -> None:
        if self.running is not None and not self.running.response_started:
            self.transport.close()

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
        self._unset_keepalive_if_required()
        before = self.begun
        rest = data
        while rest:
            try:
                self.parser.feed_data(rest)
                break
            except httptools.HttpParserUpgrade as asked:  # there are none here: what comes next is another request
                rest = rest[asked.args[0] :]
            except httptools.HttpParserError:
                self._refuse_bytes()
                break
        if self.over:
            return
        if self.in_request and self.begun == before:
            self._count(len(data))
        if self.in_request or self._is_idle():  # also after an empty line between two requests
            self._await_request()

    def _count(self, size: int) -> None:
        if self.in_head:
            self.head_size += size
            if self.head_size > self.limits.head:
                self._refuse_head()
            return
        self.rest_size += size
        if self.rest_size > self.limits.head + FRAMES * self.limits.body:
            self._refuse_body()

    def _is_idle(self) -> bool:
        return not self.in_request and (self.cycle is None or self.cycle.response_complete) and not self.pipeline

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self.begun += 1
        self.in_request = self.in_head = True
        self.head_size = self.body_size = self.rest_size = 0
        cast("dict[str, Any]", self.scope)["extensions"] = {ABORT: self.transport.abort}

    def on_headers_complete(self) -> None:
        """The head is there."""
        if self.over:
            return
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > self.limits.head:
            self._refuse_head()
            return
        self.in_head = False
        super().on_headers_complete()
        self.headers = []  # what comes behind a body is no header: nobody has looked at it before us
        if self.scope["http_version"] == "1.0":
            self.cycle.__class__ = OldCycle

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self.running = cycle
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """A part of the body: there are limits to what nobody reads."""
        self.body_size += len(body)
        if self.over:
            return
        if self.body_size > self.limits.body:
            self._refuse_body()
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there."""
        if self.over:
            return
        self.in_request = False
        if self.late_timer is not None:
            self.late_timer.cancel()
            self.late_timer = None
        super().on_message_complete()

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

    def _await_request(self) -> None:
        if self.late_timer is None:
            self.late_timer = self.loop.call_later(self.limits.head_seconds, self._is_late)

    def _is_late(self) -> None:
        self.late_timer = None
        if self.in_request:
            self.turn_away(Refusal(408, "TIMEOUT", "The request took too long to come.", reason="slow request"))
        elif self._is_idle():
            self.transport.close()

    def _refuse_bytes(self) -> None:
        if not self.over:
            self.turn_away(Refusal(400, "BAD_REQUEST", "This is no HTTP request.", reason="no HTTP"))

    def _refuse_head(self) -> None:
        if len(self.url) > self.limits.target:
            text = f"Path and query have more than {self.limits.target:,} bytes."
            self.turn_away(Refusal(414, "URI_TOO_LONG", text))
        else:
            text = f"The head of the request has more than {self.limits.head:,} bytes."
            self.turn_away(Refusal(431, "HEADERS_TOO_LARGE", text))

    def _refuse_body(self) -> None:
        self.turn_away(Refusal(413, "PAYLOAD_TOO_LARGE", f"The body has more than {self.limits.body:,} bytes."))

    def turn_away(self, refusal: Refusal) -> None:
        """Answer without the application, if nothing else is being answered, and close."""
        self.over = True
        self._stop_timers()
        for tell in self.tell:
            tell(refusal, self.client)
        refused = self.cycle if self.in_request and not self.in_head else None
        if refused is not None and self.pipeline and self.pipeline[0][0] is refused:  # it waits for earlier ones
            self.pipeline.popleft()
            self.cycle = self.pipeline[0][0] if self.pipeline else cast("RequestResponseCycle", self.running)
            refused = None
        if refused is not None and not refused.response_started:
            refused.disconnected = True  # what the application still says of it goes nowhere
            refused.message_event.set()
        elif self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
            return
        if refused is None or not refused.response_started:
            self.transport.write(_written(refusal, self.url if self.in_request else b""))
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.loop.call_later(LINGER_SECONDS, self.transport.close)
        else:
            self.transport.close()

    def _stop_timers(self) -> None:
        for timer in (self.late_timer, self.stall_timer):
            if timer is not None:
                timer.cancel()
        self.late_timer = self.stall_timer = None


def _written(refusal: Refusal, target: bytes) -> bytes:
    body = refusal.body("", api_tokens=is_api_tokens(target))
    lines = [STATUS_LINE[refusal.status], b"content-type: application/json\r\n",
             b"content-length: %d\r\n" % len(body), b"connection: close\r\n"]  # fmt: skip
    lines += [name + b": " + value + b"\r\n" for name, value in refusal.headers]
    return b"".join([*lines, b"\r\n", body])


def limited(limits: Limits, tell: Tell) -> type[LimitedProtocol]:
    """Return a kind of connection with these limits, that tells of what it refuses."""
    return type("Connection", (LimitedProtocol,), {"limits": limits, "tell": (tell,)})
