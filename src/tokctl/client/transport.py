"""How connections are made: the httpx transport with its deadlines.

Imported by the first request. The transport differs from httpx's own in two ways. It limits the time of a whole step,
such as sending a request and reading the head of its response; httpx limits each read, so that a server that sends its
headers one byte at a time can hold a client for hours. And it sends a path unchanged; httpx normalizes
paths and refuses those above 64 KiB.
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import httpcore
import httpx

from tokctl.client.proxies import Proxy

# At DEBUG httpcore logs headers, in which a server may repeat a secret.
logging.getLogger("httpcore").setLevel(logging.WARNING)

MAX_CONNECTIONS = 16
"""Connections to one server at once: eight threads read a whole server, and each may have a stream open as well."""

KEEPALIVE_SECONDS = 30.0
"""Seconds for which an idle connection is kept open: longer than the interval between two polls."""

TARGET = "tokctl_target"
"""The extension of a request with its path and query, as bytes.

It is not httpcore's extension ``target``, which also replaces the absolute URL that a proxy has to be sent.
"""


_TLS_ALERT = b"\x15\x03"
"""The beginning of an alert of any version of TLS: content type and major version (RFC 8446, section 5.1)."""


class TlsExpectedError(httpcore.RemoteProtocolError):
    """The other side of an unencrypted connection has sent a TLS alert instead of a response."""


class Deadline(threading.local):
    """The time by which the current network step of this thread has to finish."""

    def __init__(self) -> None:
        self._at = float("inf")

    @contextmanager
    def limit(self, seconds: float) -> Iterator[None]:
        """Limit the time of everything that is done within the context."""
        before, self._at = self._at, monotonic() + seconds
        try:
            yield
        finally:
            self._at = before

    def remaining(self, timeout: float | None) -> float | None:
        """Return the seconds that are left for an operation with this timeout. Raises httpcore.ReadTimeout: none."""
        left = self._at - monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("deadline exceeded")
        return left if timeout is None else min(timeout, left)


class _DeadlineStream(httpcore.NetworkStream):
    """A connection that checks the deadline before each read and write, and recognizes TLS where none is expected."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: Deadline, *, encrypted: bool = False) -> None:
        self._inner = inner
        self._deadline = deadline
        self._may_be_tls = not encrypted

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._inner.read(max_bytes, self._deadline.remaining(timeout))
        if self._may_be_tls and data.startswith(_TLS_ALERT):
            raise TlsExpectedError
        self._may_be_tls = False
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._deadline.remaining(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        name = server_hostname and server_hostname.strip("[]").partition("%")[0]  # no certificate has a zone
        inner = self._inner.start_tls(ssl_context, name, self._deadline.remaining(timeout))
        return _DeadlineStream(inner, self._deadline, encrypted=True)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _DeadlineBackend(httpcore.SyncBackend):
    """Opens connections that check the deadline."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        left = self._deadline.remaining(timeout)
        stream = super().connect_tcp(host.strip("[]"), port, left, local_address, socket_options)
        return _DeadlineStream(stream, self._deadline)

    def connect_unix_socket(self, *args: Any, **options: Any) -> httpcore.NetworkStream:
        return _DeadlineStream(super().connect_unix_socket(*args, **options), self._deadline)


class _ResponseStream(httpx.SyncByteStream):
    """The body of a response as httpcore reads it."""

    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        return self._response.iter_stream()

    def close(self) -> None:
        self._response.close()


class DeadlineTransport(httpx.BaseTransport):
    """Sends requests over a pool of connections. Several threads may use it at once.

    ``ssl_context`` is for TLS to the server or to the proxy, ``socket`` the path of a Unix socket.
    """

    def __init__(
        self, deadline: Deadline, *, ssl_context: ssl.SSLContext | None, proxy: Proxy | None, socket: str | None
    ) -> None:
        options: dict[str, Any] = {
            "ssl_context": ssl_context,
            "max_connections": MAX_CONNECTIONS,
            "max_keepalive_connections": MAX_CONNECTIONS,
            "keepalive_expiry": KEEPALIVE_SECONDS,
            "network_backend": _DeadlineBackend(deadline),
        }
        self._pool: httpcore.ConnectionPool
        if proxy is None:
            self._pool = httpcore.ConnectionPool(uds=socket, **options)
        else:
            if proxy.url.startswith("https:"):
                options["proxy_ssl_context"] = ssl_context
            self._pool = httpcore.HTTPProxy(proxy.url, proxy_auth=proxy.auth, **options)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request to the path and query in its extension ``TARGET``, and read the head of the response.

        Raises httpcore's exceptions, with the cause of a failed connection in their ``args``.
        """
        url = request.url
        host = url.raw_host
        if b":" in host:
            host = b"[%b]" % host  # httpcore sends it to a proxy as it is; connections are made without the brackets
        response = self._pool.handle_request(
            httpcore.Request(
                request.method,
                httpcore.URL(scheme=url.raw_scheme, host=host, port=url.port, target=request.extensions[TARGET]),
                headers=request.headers.raw,
                content=request.read(),
                extensions={"timeout": request.extensions["timeout"]},
            )
        )
        return httpx.Response(response.status, headers=response.headers, stream=_ResponseStream(response))

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()
