"""Replays the recorded answers of a real server, of any kind, over real HTTP.

A folder of recordings has an ``index.json`` that maps each request to its file, status, content type, method and body.
Query parameters match in any order. A request that was not recorded gets a 404 in the engine's own form, and fails the
test when the server closes. ``LoopbackServer`` is the HTTP part, for fakes that compute their answers.
"""

from __future__ import annotations

import base64
import json
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qsl, unquote, urlsplit


class Request(NamedTuple):
    """A request: ``path`` is decoded, ``query`` holds the parameters in the order in which they were sent."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: Any = None
    authorization: str | None = None

    @property
    def text(self) -> str:
        """The request in one line, as ``index.json`` names it."""
        query = "&".join(f"{name}={value}" for name, value in self.query)
        line = self.path + ("?" + query if query else "")
        return line if self.method == "GET" else f"{self.method} {line} {json.dumps(self.body)}"


class Answer(NamedTuple):
    """An answer; a body that is not bytes is sent as JSON."""

    status: int
    body: Any
    content_type: str = "application/json"
    headers: Mapping[str, str] = {}

    @property
    def data(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class ManyConnections(ThreadingHTTPServer):
    """Accepts all connections that a client opens at once; a refused one would be tried again after a second."""

    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Write a traceback, unless the client has closed the connection."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class LoopbackServer(ABC):
    """A real HTTP server on loopback that keeps the requests it gets. Usable in a ``with`` statement.

    With ``user`` (``name:password``) every request has to carry it as HTTP Basic, except for the ``open_paths``.
    """

    open_paths = frozenset({"/engine-rest/engine"})

    def __init__(self, *, user: str | None = None) -> None:
        self.requests: list[Request] = []
        self.user = user
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1  # headers and body in one packet

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                query = tuple(parse_qsl(parts.query, keep_blank_values=True))
                authorization = self.headers.get("Authorization")
                request = Request(self.command, unquote(parts.path), query, body, authorization)
                owner.requests.append(request)
                answer = owner.refuse(request) or owner.respond(request)
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if answer.content_type:
                    self.send_header("Content-Type", answer.content_type)
                self.send_header("Content-Length", str(len(answer.data)))
                self.end_headers()
                self.wfile.write(answer.data)

            do_POST = do_GET  # noqa: N815 - the name is that of the base class

        self._server = ManyConnections(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @abstractmethod
    def respond(self, request: Request) -> Answer:
        """Return the answer to a request that carries the right credential."""

    def refuse(self, request: Request) -> Answer | None:
        """Return a 401, as Camunda 7 and Flowable send it, if a credential is needed and not there."""
        if self.user is None or request.path in self.open_paths:
            return None
        if request.authorization == "Basic " + base64.b64encode(self.user.encode()).decode():
            return None
        return Answer(401, b"", "", {"WWW-Authenticate": 'Basic realm="default"'})

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_MISSING = {
    "engine-rest": {"type": "InvalidRequestException", "message": "It does not exist", "code": None},
    "process-api": {"message": "Not found", "exception": "No endpoint."},
    "external-job-api": {"message": "Not found", "exception": "No endpoint."},
}
_OTHER_MISSING = {"success": False, "error": {"code": "NOT_FOUND", "message": "not found"}}


class ReplayServer(LoopbackServer):
    """Answers as the recordings in a folder.

    ``variant`` is the beginning of the note on some recordings, such as ``a user without authorizations``: these then
    take precedence. Call ``check`` at the end of a test, or leave the ``with`` statement: both fail if a request was
    not recorded, unless ``lenient``.
    """

    def __init__(self, folder: Path, *, variant: str = "", user: str | None = None, lenient: bool = False) -> None:
        self._folder = folder
        self._lenient = lenient
        self._entries: dict[tuple[Any, ...], dict[str, Any]] = {}
        self.unrecorded: list[str] = []
        index = json.loads((folder / "index.json").read_text())
        for name, entry in sorted(index.items(), key=lambda item: item[0].startswith("(")):  # variants are last
            target = name
            if name.startswith("("):
                note, _, target = name[1:].partition(") ")
                if not variant or not note.startswith(variant):
                    continue
            method = entry.get("method", "GET")
            parts = urlsplit(target.removeprefix(f"{method} ").partition(" {")[0])
            query = tuple(parse_qsl(parts.query, keep_blank_values=True))
            self._entries[_key(Request(method, unquote(parts.path), query, entry.get("body")))] = entry
        super().__init__(user=user)

    def respond(self, request: Request) -> Answer:
        entry = self._entries.get(_key(request))
        if entry is None:
            self.unrecorded.append(request.text)
            return Answer(404, _MISSING.get(request.path.split("/")[1], _OTHER_MISSING))
        headers = {"WWW-Authenticate": realm} if (realm := entry.get("www_authenticate")) else {}
        body = (self._folder / entry["file"]).read_bytes()
        return Answer(entry["status"], body, entry["content_type"] or "", headers)

    def check(self) -> None:
        """Fail if a request was not recorded."""
        assert self._lenient or not self.unrecorded, "not recorded:\n" + "\n".join(self.unrecorded)

    def __exit__(self, kind: object, *_: object) -> None:
        self.close()
        if kind is None:  # otherwise the test has failed already
            self.check()


def _key(request: Request) -> tuple[Any, ...]:
    body = json.dumps(request.body, sort_keys=True)
    return request.method, request.path, tuple(sorted(request.query)), body
