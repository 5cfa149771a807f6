"""One request and its answer: what is known of it for the log, and how an answer leaves that is there as a whole."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any

from tokctl.server.cache import Answer, Headers
from tokctl.server.coding import LEAST, takes_gzip
from tokctl.server.refusals import Refusal
from tokctl.server.routes import is_api_tokens

if TYPE_CHECKING:
    from tokctl.access.model import ApiToken

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

JSON = (b"content-type", b"application/json")
VARY = (b"vary", b"Accept-Encoding")
NOSNIFF = (b"x-content-type-options", b"nosniff")
PRIVATE = (b"cache-control", b"private, no-cache")
GZIP = (b"content-encoding", b"gzip")
ABORT = "tokctl.abort"
"""Names, among the extensions of a scope, what ends the connection at once."""


class Cut(Exception):  # noqa: N818 - it is the end of a connection, and the log's business
    """An answer that ended before its end: the client has gone, stopped reading, or the store has failed."""


class Exchange:
    """A request, and what has been sent of its answer."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, headers: Mapping[bytes, bytes], request_id: str
    ) -> None:
        self.scope = scope
        self.receive = receive
        self._send = send
        self.began = perf_counter()
        self.now = datetime.now(UTC)
        self.request_id = request_id
        self.headers = headers
        self.client = ""
        self.route = ""
        self.known: Collection[str] = ()  # names of query parameters
        self.token: ApiToken | None = None
        self.user = ""  # the id of one with a JWT
        self.status = 0
        self.size = 0
        self.tokens = 0
        self.reason = ""

    @property
    def head_only(self) -> bool:
        """Whether only the head of the answer is wanted."""
        return bool(self.scope["method"] == "HEAD")

    @property
    def compressed(self) -> bool:
        """Whether the client takes gzip."""
        accepted = self.headers.get(b"accept-encoding")
        return accepted is not None and takes_gzip(accepted)

    @property
    def end(self) -> bytes:
        """What stands behind ``data`` in the envelope."""
        return b',"request_id":"' + self.request_id.encode() + b'"}'

    async def start(self, status: int, headers: Headers) -> None:
        """Send the head of the answer."""
        self.status = status
        headers.append((b"x-request-id", self.request_id.encode()))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def body(self, data: bytes, *, more: bool = False) -> None:
        """Send a part of the body."""
        if not self.head_only:
            self.size += len(data)
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def whole(self, status: int, headers: Headers, data: bytes) -> None:
        """Send all of an answer."""
        await self.start(status, [*headers, (b"content-length", str(len(data)).encode())])
        await self.body(data)

    async def answer(self, answer: Answer) -> None:
        """Send an answer that is there already."""
        end = self.end
        self.tokens = answer.tokens
        if self.compressed and len(answer.body) >= LEAST:
            await self.whole(200, [*answer.headers, GZIP], answer.deflated().with_end(end))
        else:
            await self.whole(200, answer.headers, answer.body + end)

    async def not_modified(self, headers: Headers) -> None:
        """Say that the client has the answer already."""
        await self.start(304, [header for header in headers if header is not JSON])
        await self.body(b"")

    async def refuse(self, refusal: Refusal, *, close: bool = False) -> None:
        """Say what is wrong."""
        self.reason = refusal.reason or self.reason
        headers = [JSON, NOSNIFF, (b"cache-control", b"no-store"), *refusal.headers]
        if close:
            headers.append((b"connection", b"close"))
        api_tokens = is_api_tokens(self.scope["raw_path"])
        await self.whole(refusal.status, headers, refusal.body(self.request_id, api_tokens=api_tokens))

    def abort(self) -> None:
        """End the connection without another byte."""
        end = (self.scope.get("extensions") or {}).get(ABORT)
        if end is not None:
            end()
