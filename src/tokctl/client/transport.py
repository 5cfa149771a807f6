"""How connections are made: proxy, certificates, and the httpx transport with its deadlines.

Imported by the first request. The transport differs from httpx's own in two ways. It limits the time of a whole step,
such as sending a request and reading the head of its response; httpx limits each read, so that a server that sends its
headers one byte at a time can hold a client for hours. And it sends a path unchanged; httpx normalizes
paths and refuses those above 64 KiB.

The platform's certificates are those that OpenSSL finds: the system's on Linux and the BSDs, or the ones in
SSL_CERT_FILE and SSL_CERT_DIR. If this Python was built without a path for them (python.org's for macOS, some portable
builds), certifi's are used, which httpx depends on. The package truststore would also read the keychain of macOS, but
on Linux it would only add an import; ``--ca-file`` names the certificates of a private authority.
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from tokctl.config.paths import expand_user
from tokctl.errors import InputError, NotAllowedError, NotFoundError, UsageError
from tokctl.server_address import ServerAddress

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
    """A connection that checks the deadline before each read and write."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._deadline.remaining(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._deadline.remaining(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        inner = self._inner.start_tls(ssl_context, server_hostname, self._deadline.remaining(timeout))
        return _DeadlineStream(inner, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _DeadlineBackend(httpcore.SyncBackend):
    """Opens connections that check the deadline."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline

    def connect_tcp(self, *args: Any, **options: Any) -> httpcore.NetworkStream:
        options["timeout"] = self._deadline.remaining(options.get("timeout"))
        return _DeadlineStream(super().connect_tcp(*args, **options), self._deadline)

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
        response = self._pool.handle_request(
            httpcore.Request(
                request.method,
                httpcore.URL(
                    scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=request.extensions[TARGET]
                ),
                headers=request.headers.raw,
                content=request.read(),
                extensions={"timeout": request.extensions["timeout"]},
            )
        )
        return httpx.Response(response.status, headers=response.headers, stream=_ResponseStream(response))

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


# --- proxies ---


class Proxy(NamedTuple):
    """A proxy: its URL without user and password, so that it may appear in messages, and these two."""

    url: str
    auth: tuple[bytes, bytes] | None

    def __repr__(self) -> str:
        return f"Proxy({self.url!r})"


def proxy_for(base: ServerAddress) -> Proxy | None:
    """Return the proxy for a server; None for a direct connection.

    It comes from the environment, or from the system settings of macOS. A server on this machine is never reached
    through a proxy, for which "localhost" is another machine. Raises UsageError: it is not an HTTP or HTTPS proxy.
    """
    if base.is_local:
        return None
    proxies = getproxies()
    url = proxies.get(base.scheme) or proxies.get("all")
    host_and_port = base.host if base.port is None else f"{base.host}:{base.port}"
    if not url or proxy_bypass(host_and_port) or _matches_network(base.host, proxies.get("no", "")):
        return None
    return _parse_proxy(url)


def _matches_network(host: str, exceptions: str) -> bool:
    """Tell whether NO_PROXY lists a network that contains the host (``10.0.0.0/8``), or its address as ``[::1]``."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    for name in exceptions.split(","):
        try:
            if address in ip_network(name.strip(" []"), strict=False):
                return True
        except ValueError:
            continue
    return False


def _parse_proxy(url: str) -> Proxy:
    hint = (
        "Set HTTP_PROXY or HTTPS_PROXY to a URL such as http://proxy.example.org:3128, or add the server to NO_PROXY."
    )
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or not host.isprintable():
        raise UsageError("invalid proxy URL in the environment.", hint)
    if parts.scheme not in {"http", "https"}:
        raise UsageError(f"unsupported proxy scheme '{parts.scheme}' in the environment.", hint)
    named = ServerAddress(parts.scheme, host, port).origin
    if parts.username is None:
        return Proxy(named, None)
    return Proxy(named, (unquote(parts.username).encode(), unquote(parts.password or "").encode()))


# --- certificates ---


def create_ssl_context(ca_file: str | None, *, insecure: bool) -> ssl.SSLContext:
    """Return the SSL context for a server: ``ca_file`` (PEM) replaces the platform's certificates.

    Raises NotFoundError, NotAllowedError, InputError: the file cannot be used.
    """
    if insecure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if ca_file is not None:
        return _context_from_file(ca_file)
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    # Certificates in a directory are loaded when they are used, so an empty store does not mean that there are none.
    if not context.cert_store_stats()["x509_ca"] and not _has_files(paths.capath):
        import certifi

        context.load_verify_locations(certifi.where())
    return context


def _has_files(folder: str | None) -> bool:
    try:
        return folder is not None and any(Path(folder).iterdir())
    except OSError:
        return False


def _context_from_file(name: str) -> ssl.SSLContext:
    path = expand_user(name)
    hint = "Give a file with PEM certificates with --ca-file."
    try:
        with path.open("rb") as file:
            file.read(1)
    except FileNotFoundError:
        raise NotFoundError(f"the CA file {path} does not exist.", hint) from None
    except PermissionError:
        raise NotAllowedError(f"cannot read the CA file {path}: permission denied.", hint) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot read the CA file {path}: {reason}.", hint) from None
    try:
        return ssl.create_default_context(cafile=path)
    except OSError:  # includes ssl.SSLError
        raise InputError(f"the CA file {path} contains no valid certificate.", hint) from None
