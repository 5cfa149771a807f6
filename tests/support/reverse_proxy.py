"""A reverse proxy as it stands before engines: other paths, compressed responses, TLS. It remembers what was asked."""

from __future__ import annotations

import gzip
import ssl
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, NamedTuple

import httpx

NOT_FORWARDED = {"connection", "host", "accept-encoding", "transfer-encoding", "content-length", "content-encoding"}


class Forwarded(NamedTuple):
    """A request that was forwarded, with its path and query as the engine got them; and the response.

    ``size`` is that of its body in bytes.
    """

    target: str
    headers: httpx.Headers
    status: int
    answer_headers: httpx.Headers
    size: int


class ReverseProxy(ThreadingHTTPServer):
    """Forwards GET and POST requests below the paths of ``mounts`` to those that they stand for; all else is 404."""

    daemon_threads = True

    def __init__(self, upstream: str, mounts: Mapping[str, str], *, compress: bool, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.server_port}"
        self.mounts = mounts
        self.compress = compress
        self.client = httpx.Client(base_url=upstream, timeout=60)
        self.forwarded: list[Forwarded] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that do not trust the certificate."""
        if not isinstance(sys.exception(), ssl.SSLError | ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ReverseProxy
    error_page: ClassVar[bytes] = b"<html><body>No such place</body></html>"

    def do_GET(self) -> None:
        for outer, inner in self.server.mounts.items():
            if self.path == outer or self.path.startswith((f"{outer}/", f"{outer}?")):
                self.forward(inner + self.path.removeprefix(outer))
                return
        self.answer(404, {"Content-Type": "text/html"}, self.error_page)

    do_POST = do_GET  # noqa: N815 - the name is that of the library

    def forward(self, target: str) -> None:
        sent = {name: value for name, value in self.headers.items() if name.lower() not in NOT_FORWARDED}
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer = self.server.client.request(self.command, target, headers=sent, content=body)
        asked = httpx.Headers(self.headers.items())
        seen = Forwarded(target, asked, answer.status_code, answer.headers, len(answer.content))
        self.server.forwarded.append(seen)
        headers = {name: value for name, value in answer.headers.items() if name.lower() not in NOT_FORWARDED}
        self.answer(answer.status_code, headers, answer.content)

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        if self.server.compress and "gzip" in self.headers.get("Accept-Encoding", ""):
            headers, body = headers | {"Content-Encoding": "gzip"}, gzip.compress(body)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write nothing."""


@contextmanager
def reverse_proxy(
    upstream: str, mounts: Mapping[str, str], *, compress: bool = False, tls: ssl.SSLContext | None = None
) -> Iterator[ReverseProxy]:
    """Run a proxy on loopback. ``mounts``: path of the proxy → path of the server behind it, '' for its root."""
    server = ReverseProxy(upstream, mounts, compress=compress, tls=tls)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        server.client.close()
