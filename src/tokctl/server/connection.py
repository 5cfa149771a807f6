"""Limits that the HTTP server lacks: on slow and endless requests, slow readers, and the number of connections.

A ``GuardedConnection`` is placed between the transport and the protocol of the HTTP server. It uses the interface of
asyncio protocols only; the application tells it when a request begins and ends. The application does not see a request
that is refused here, because it is never complete; it is recorded nevertheless.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, ClassVar, cast

from tokctl.server.client_address import UNIX
from tokctl.server.http_errors import HTTPError, head_too_large, retry_later, slow_request, target_too_long
from tokctl.server.request import CONNECTION, Request
from tokctl.server.settings import Limits
from tokctl.server.throttle import make_address_key
from tokctl.server.transport import GuardedTransport

LINGER_SECONDS = 2.0  # for a client that is still sending to read the error
HALF_CLOSED_SECONDS = 1.0  # until the response to a client that has closed its side must start: it may be gone
MAX_SWEEP_SECONDS = 1.0  # between two checks for connections past a limit
STALL_MARGIN_SECONDS = 2.0  # so that the application, which knows the reason, detects a stall first

MAX_EXCESS = 2  # times the limit of connections, from which on they are closed without a response

RecordRefusal = Callable[[HTTPError, str], object]


class ConnectionGuard:
    """The open connections of a process, checked at intervals."""

    def __init__(self, limits: Limits, record_refusal: RecordRefusal, is_proxy: Callable[[str], bool]) -> None:
        self.limits = limits
        self.record_refusal = record_refusal
        self.is_proxy = is_proxy
        self.connections: set[GuardedConnection] = set()
        self._addresses: Counter[str] = Counter()
        self._is_sweeping = False

    def add(self, connection: GuardedConnection) -> None:
        """Start to watch a connection."""
        self.connections.add(connection)
        self._addresses[make_address_key(connection.client)] += 1
        if not self._is_sweeping:
            self._is_sweeping = True
            self._sweep_later()

    def remove(self, connection: GuardedConnection) -> None:
        """Stop to watch a connection."""
        self.connections.discard(connection)
        key = make_address_key(connection.client)
        self._addresses[key] -= 1
        if not self._addresses[key]:
            del self._addresses[key]

    def find_excess(self, connection: GuardedConnection) -> float:
        """Return by how much the connections exceed a limit, as a factor: of all, or of one address.

        All clients of a Unix socket and of a trusted proxy have the same address.
        """
        factor = len(self.connections) / self.limits.connections
        if connection.client == UNIX or self.is_proxy(connection.client):
            return factor
        return max(factor, self._addresses[make_address_key(connection.client)] / self.limits.address_connections)

    def _sweep_later(self) -> None:
        delay = min(self.limits.head_seconds / 4, self.limits.stall_seconds / 4, MAX_SWEEP_SECONDS)
        asyncio.get_running_loop().call_later(delay, self._sweep)

    def _sweep(self) -> None:
        now = asyncio.get_running_loop().time()
        for connection in list(self.connections):
            connection.check_time(now)
        if self.connections:
            self._sweep_later()
        else:
            self._is_sweeping = False


class GuardedConnection(asyncio.Protocol):
    """A connection. ``guard`` and ``create_protocol``, the HTTP server's protocol, are set on a subclass."""

    guard: ClassVar[ConnectionGuard]
    create_protocol: ClassVar[Callable[..., asyncio.Protocol]]

    def __init__(self, *, app_state: dict[str, Any], **options: Any) -> None:
        self.limits = self.guard.limits
        self._loop = asyncio.get_running_loop()
        self._inner = type(self).create_protocol(app_state=app_state | {CONNECTION: self}, **options)
        self._transport: GuardedTransport
        self.client = UNIX
        self._is_accepted = False
        self._is_refused = False  # no more data is read
        self._is_half_closed = False
        self._request: Request | None = None  # under way
        self._requests = 0
        self._has_body = False  # the last request has one, which may not be complete
        self._has_data = False  # received since the last head
        self._has_line = False  # received the end of a line
        self._is_first_part = True  # of the data after the last head
        self._received = 0  # bytes since the last head without the first part, which may hold several requests
        self._waiting_since: float | None = None  # for the end of a head
        self._paused_since: float | None = None  # the client has not read since then

    # --- connections ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept the connection, or refuse it if there are too many."""
        self._transport = GuardedTransport(cast("asyncio.Transport", transport), self._loop)
        peer = transport.get_extra_info("peername")
        self.client = peer[0] if isinstance(peer, tuple) else UNIX
        self.guard.add(self)
        excess = self.guard.find_excess(self)
        if excess > MAX_EXCESS:
            self._is_refused = True
            self._transport.abort()
        elif excess > 1:
            self._refuse(retry_later(503, "OVERLOADED", "Too many connections.", 5, "connections"))
        else:
            self._is_accepted = True
            self._waiting_since = self._loop.time()
            self._inner.connection_made(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Mark the request under way as disconnected."""
        self.guard.remove(self)
        if self._request is not None:
            self._request.is_disconnected = True
        if self._is_accepted:
            self._inner.connection_lost(exc)

    def eof_received(self) -> bool:
        """Handle a client that has closed its side: requests received so far get a response, except with TLS."""
        is_idle = self._request is None and not self._has_data
        if self._transport.is_tls or is_idle or self._is_refused:
            return False
        self._is_half_closed = True
        self._loop.call_later(HALF_CLOSED_SECONDS, self._close_unless_answering)
        return True

    def _close_unless_answering(self) -> None:
        if self._request is None or not self._request.status:
            self._transport.close()

    def check_time(self, now: float) -> None:
        """Close the connection if the client has exceeded a time limit."""
        limits, closing_since = self.limits, self._transport.closing_since
        if closing_since is not None:
            self._transport.abort_if_late(now - closing_since, LINGER_SECONDS, limits.stall_seconds)
        elif self._waiting_since is not None and now - self._waiting_since > limits.head_seconds:
            self._refuse_late()
        elif self._paused_since is not None and now - self._paused_since > limits.stall_seconds + STALL_MARGIN_SECONDS:
            self._transport.abort()

    # --- calls by the application ---

    def begin_request(self, request: Request) -> None:
        """Note that a head is complete and the application handles the request."""
        self._request = request
        self._requests += 1
        self._has_body = b"content-length" in request.headers
        self._has_data = False
        self._is_first_part = True
        self._received = 0
        self._waiting_since = None

    def end_request(self) -> None:
        """Note that the application has finished the request."""
        self._request = None
        if self._is_refused or self._is_half_closed:
            self._loop.call_soon(self._close_when_answered)  # the next request may begin first

    def _close_when_answered(self) -> None:
        if self._request is None:
            self._transport.close()

    def hold_writes(self) -> None:
        """Buffer what the HTTP server writes until ``release_writes``."""
        self._transport.hold()

    def release_writes(self) -> None:
        """Write the buffered data."""
        self._transport.release()

    def abort(self) -> None:
        """Close at once and drop unsent data."""
        self._transport.abort()

    # --- incoming data ---

    def data_received(self, data: bytes) -> None:
        """Pass a part of a request to the HTTP server, within the limits."""
        if self._is_refused:
            return
        self._has_data = True
        if self._request is None and self._waiting_since is None:
            self._waiting_since = self._loop.time()
        if not self._has_line:
            self._has_line = b"\n" in data
        if self._is_first_part:
            self._is_first_part = False
        else:
            self._received += len(data)
            if self._received > self.limits.head + (self.limits.body if self._has_body else 0):
                self._refuse_excess()
                return
        before = self._requests
        if not self._transport.feed(self._inner, data):
            self._is_refused = True
            self._loop.call_soon(self._refuse_malformed, data, before)  # by then the requests before it have begun

    # --- outgoing data ---

    def pause_writing(self) -> None:
        """Pause the response: the client reads too slowly."""
        self._paused_since = self._loop.time()
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Continue the response."""
        self._paused_since = None
        self._inner.resume_writing()

    # --- refusals ---

    def _refuse_late(self) -> None:
        if self._has_data and not self._has_body:
            self._refuse(slow_request())
        else:
            self._transport.close()

    def _refuse_excess(self) -> None:
        if self._request is not None or self._has_body:
            self._is_refused = True
            self._close_when_answered()
        elif self._has_line:
            self._refuse(head_too_large(self.limits.head))
        else:
            self._refuse(target_too_long(self.limits.target))

    def _refuse_malformed(self, data: bytes, requests_before: int) -> None:
        line = data.partition(b"\n")[0]
        if len(line) > self.limits.target:
            error = target_too_long(self.limits.target)
        else:
            error = HTTPError(400, "BAD_REQUEST", "This is not an HTTP request.", reason="no HTTP")
        if self._requests == requests_before and self._request is None:
            self._refuse(error)
        else:  # other requests came before it: send their responses, then close
            self.guard.record_refusal(error, self.client)
            self._close_when_answered()

    def _refuse(self, error: HTTPError) -> None:
        """Send an error, and close the connection when the client has had time to read it."""
        self._is_refused = True
        self._waiting_since = None
        self.guard.record_refusal(error, self.client)
        self._transport.write(encode_refusal(error))
        if self._transport.can_write_eof():
            self._transport.write_eof()
            self._loop.call_later(LINGER_SECONDS, self._transport.close)
        else:
            self._transport.close()


def encode_refusal(error: HTTPError) -> bytes:
    """Return the HTTP response for an error after which the connection is closed."""
    body = error.body("")
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
        *error.headers,
    ]
    status = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}".encode()
    return b"\r\n".join([status, *(b": ".join(pair) for pair in headers), b"", body])


def guard_connections(
    create_protocol: Callable[..., asyncio.Protocol],
    limits: Limits,
    record_refusal: RecordRefusal,
    is_proxy: Callable[[str], bool],
) -> type[GuardedConnection]:
    """Return a class of connections around the protocols that ``create_protocol`` returns.

    ``is_proxy`` returns whether an address is that of a trusted proxy.
    """
    guard = ConnectionGuard(limits, record_refusal, is_proxy)
    members = {"guard": guard, "create_protocol": staticmethod(create_protocol)}
    return type("GuardedHTTPConnection", (GuardedConnection,), members)
