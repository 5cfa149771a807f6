"""What HTTP is sent with: httpx, on a transport of our own. Imported by the first request, as httpx takes its time.

httpx's own transport cannot do three things that are needed here. It bounds each read, so that a server
which sends its headers a byte at a time holds a client for hours; here the whole of it has a deadline. It
reads paths anew, and refuses those above 64 KiB; here they are sent as they were made. And it sees only
environment variables for proxies. Errors are those of httpcore, with what caused them.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

import httpcore

# httpx imports its own command line, and that click, pygments and rich where they are installed: half of its time.
# What it finds to be None it takes for not installed.
_COMMAND_LINE = "httpx._main"
_ABSENT = _COMMAND_LINE not in sys.modules
if _ABSENT:
    sys.modules[_COMMAND_LINE] = None  # type: ignore[assignment]
try:
    import httpx as httpx  # noqa: PLC0414 - others take it from here
finally:
    if _ABSENT:
        del sys.modules[_COMMAND_LINE]

if TYPE_CHECKING:
    import ssl

    from tokctl.client.proxies import Proxy

logging.getLogger("httpcore").setLevel(logging.WARNING)  # in detail it tells headers, where a server may echo a secret

CONNECTIONS = 16
"""At once; eight threads read a whole server, and each may have a stream open beside it."""

KEPT = 30.0
"""Seconds for which an idle connection is kept: longer than between two polls."""

TARGET = "tokctl_target"
"""The extension of a request that holds its path and query."""


class Deadline(threading.local):
    """The moment at which the thread's present step with the network has to be over."""

    def __init__(self) -> None:
        self._at = float("inf")

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Bound what is done meanwhile."""
        before, self._at = self._at, monotonic() + seconds
        try:
            yield
        finally:
            self._at = before

    def bound(self, timeout: float | None) -> float | None:
        """Return what is left for a read that may take so long by itself."""
        left = self._at - monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the deadline has passed")
        return left if timeout is None else min(timeout, left)


class _Stream(httpcore.NetworkStream):
    """A connection that looks at the deadline before each step."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._deadline.bound(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._deadline.bound(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        inner = self._inner.start_tls(ssl_context, server_hostname, self._deadline.bound(timeout))
        return _Stream(inner, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Network(httpcore.SyncBackend):
    """Makes such connections."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline

    def connect_tcp(self, *args: Any, **options: Any) -> httpcore.NetworkStream:
        options["timeout"] = self._deadline.bound(options.get("timeout"))
        return _Stream(super().connect_tcp(*args, **options), self._deadline)

    def connect_unix_socket(self, *args: Any, **options: Any) -> httpcore.NetworkStream:
        return _Stream(super().connect_unix_socket(*args, **options), self._deadline)


class _Body(httpx.SyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        yield from self._stream

    def close(self) -> None:
        self._stream.close()


class Transport(httpx.BaseTransport):
    """Sends requests over a pool of connections; safe to use from several threads."""

    def __init__(
        self, deadline: Deadline, *, context: ssl.SSLContext | None, proxy: Proxy | None, socket: str | None
    ) -> None:
        options: dict[str, Any] = {
            "ssl_context": context,
            "max_connections": CONNECTIONS,
            "max_keepalive_connections": CONNECTIONS,
            "keepalive_expiry": KEPT,
            "network_backend": _Network(deadline),
        }
        self._pool: httpcore.ConnectionPool
        if proxy is None:
            self._pool = httpcore.ConnectionPool(uds=socket, **options)
        else:
            if proxy.url.startswith("https:"):
                options["proxy_ssl_context"] = context
            self._pool = httpcore.HTTPProxy(proxy.url, proxy_auth=proxy.auth, **options)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request to the path that its extension names. Raises httpcore's errors."""
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.extensions[TARGET],
        )
        content: Any = request.stream
        answer = self._pool.handle_request(
            httpcore.Request(
                request.method,
                url,
                headers=request.headers.raw,
                content=content,
                extensions={"timeout": request.extensions["timeout"]},
            )
        )
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer.stream))

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()
