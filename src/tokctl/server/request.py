"""One HTTP request and the state of its response; sends complete responses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, Protocol

from tokctl.model.api_tokens import EXPIRES_HEADER, EXPIRY_NOTICE, ApiToken
from tokctl.model.times import format_time
from tokctl.server.cache import CachedResponse, Headers
from tokctl.server.content_negotiation import MIN_COMPRESSED_BYTES, accepts_gzip
from tokctl.server.http_errors import HTTPError
from tokctl.server.usage import Use

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

JSON = (b"content-type", b"application/json")
VARY = (b"vary", b"Accept-Encoding")
NOSNIFF = (b"x-content-type-options", b"nosniff")
PRIVATE = (b"cache-control", b"private, no-cache")
NO_STORE = (b"cache-control", b"no-store")
GZIP = (b"content-encoding", b"gzip")
CONNECTION = "connection"
"""Key of the ``ConnectionControl`` in the ``state`` of an ASGI scope, if the HTTP server sets one."""
GONE = "the client disconnected"

API_TOKENS_PATH = "/api/api-tokens"
_EXPIRES = EXPIRES_HEADER.lower().encode()


class ClientDisconnected(Exception):  # noqa: N818 - not an error: the response only ends early
    """The response ended early: the client disconnected or stopped reading, or the store failed."""


class ConnectionControl(Protocol):
    """What the application calls on the connection of a request."""

    def begin_request(self, request: Request) -> None:
        """Note that the head of a request is complete."""

    def end_request(self) -> None:
        """Note that the application has finished the request."""

    def hold_writes(self) -> None:
        """Buffer what the HTTP server writes until ``release_writes``."""

    def release_writes(self) -> None:
        """Write the buffered data."""

    def abort(self) -> None:
        """Close at once and drop unsent data."""


class ErrorPages(Protocol):
    """Makes the errors of web pages."""

    def render_error(self, error: HTTPError, request: Request) -> tuple[int, Headers, bytes]:
        """Return status, headers and HTML of an error response."""


class Request:
    """An HTTP request, and how much of its response has been sent.

    ``client`` is the address of the client, ``route`` the path template of the endpoint, ``known_parameters``
    the names of its query parameters. ``pages`` makes its errors if it is for a web page; None for the APIs. ``status``
    is 0 until the response starts; ``size`` counts the bytes of its body.
    """

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, request_id: str, headers: dict[bytes, bytes]
    ) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.is_head = self.method == "HEAD"  # the response has no body
        self.path: bytes = scope["raw_path"]
        self.query: bytes = scope["query_string"]
        self.target = self.path + b"?" + self.query if self.query else self.path
        self.headers = headers
        self.receive = receive
        self.send_message = send
        self.began = perf_counter()
        self.now = datetime.now(UTC)
        self.request_id = request_id
        self.connection: ConnectionControl | None = (scope.get("state") or {}).get(CONNECTION)
        self.client = ""
        self.route = ""
        self.known_parameters: Collection[str] = ()
        self.path_parameters: Mapping[str, str] = {}  # not decoded
        self.token: ApiToken | None = None
        self.user = ""  # the id of a user with a JWT
        self.status = 0
        self.size = 0
        self.tokens = 0
        self.reason = ""
        self.is_disconnected = False
        self.pages: ErrorPages | None = None
        self.added_headers: Headers = []  # of the response, besides those of the endpoint
        self.asks_for_upgrade = b"upgrade" in headers

    @property
    def is_api_tokens(self) -> bool:
        """Whether the path belongs to the API-token API, whose errors have their own format."""
        return is_api_tokens_path(self.path.decode("latin-1"))

    @property
    def use(self) -> Use:
        """The request as a use of an API token."""
        return Use(self.now, self.client, self.headers.get(b"user-agent"), self.method, self.route)

    @property
    def accepts_gzip(self) -> bool:
        """Whether the client accepts gzip."""
        accepted = self.headers.get(b"accept-encoding")
        return accepted is not None and accepts_gzip(accepted)

    @property
    def envelope_end(self) -> bytes:
        """The part of the envelope after ``data``."""
        return b',"request_id":"' + self.request_id.encode() + b'"}'

    async def start(self, status: int, headers: Headers) -> None:
        """Send the status and the headers."""
        self.status = status
        expires_at = None if self.token is None else self.token.expires_at
        if expires_at is not None and expires_at - self.now <= EXPIRY_NOTICE:
            headers = [*headers, (_EXPIRES, (format_time(expires_at) or "").encode())]  # others may share the list
        headers += self.added_headers
        headers.append((b"x-request-id", self.request_id.encode()))
        if self.asks_for_upgrade:  # not supported, and the HTTP server reads nothing after such a request
            headers.append((b"connection", b"close"))
        await self.send_message({"type": "http.response.start", "status": status, "headers": headers})

    async def send_body(self, data: bytes, *, more: bool = False) -> None:
        """Send a part of the body; wait while the client reads too slowly. Raises ClientDisconnected."""
        if self.is_disconnected:
            raise ClientDisconnected(GONE)
        if not self.is_head:
            self.size += len(data)
        await self.send_message({"type": "http.response.body", "body": data, "more_body": more})

    async def send(self, status: int, headers: Headers, data: bytes) -> None:
        """Send a complete response. The HTTP server writes the head separately, so buffer it to send both at once."""
        if self.connection is not None:
            self.connection.hold_writes()
        try:
            await self.start(status, [*headers, (b"content-length", str(len(data)).encode())])
            await self.send_body(data)
        finally:
            if self.connection is not None:
                self.connection.release_writes()

    async def send_empty(self, status: int, headers: Headers) -> None:
        """Send a response without a body (204, 304)."""
        await self.start(status, headers)
        await self.send_body(b"")

    async def send_cached(self, response: CachedResponse) -> None:
        """Send a response from the cache, compressed if the client accepts gzip."""
        end = self.envelope_end
        self.tokens = response.tokens
        if self.accepts_gzip and len(response.body) >= MIN_COMPRESSED_BYTES:
            await self.send(200, [*response.headers, GZIP], response.get_compressed().to_gzip(end))
        else:
            await self.send(200, response.headers, response.body + end)

    async def send_not_modified(self, headers: Headers) -> None:
        """Send 304: the client already has this version."""
        await self.send_empty(304, [header for header in headers if header is not JSON])

    async def send_error(self, error: HTTPError) -> None:
        """Send an error response; close the connection if the rest of the request is not read."""
        self.reason = error.reason or self.reason
        status, own = error.status, [JSON]
        if self.pages is not None:
            status, own, body = self.pages.render_error(error, self)
        else:
            body = error.body(self.request_id, api_tokens=self.is_api_tokens)
        headers = [*own, NOSNIFF, NO_STORE, *error.headers]
        if error.closes_connection:
            headers.append((b"connection", b"close"))
        await self.send(status, headers, body)

    def abort(self) -> None:
        """Close the connection at once."""
        if self.connection is not None:
            self.connection.abort()


def is_api_tokens_path(path: str) -> bool:
    """Return whether a path is that of the API-token API, or below it."""
    return path == API_TOKENS_PATH or path.startswith(API_TOKENS_PATH + "/")


def join_headers(pairs: Collection[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return headers by lower-case name; the values of repeated ones are joined with commas."""
    headers = dict(pairs)
    if len(headers) == len(pairs):
        return headers
    joined: dict[bytes, bytes] = {}
    for name, value in pairs:
        joined[name] = joined[name] + b", " + value if name in joined else value
    return joined
