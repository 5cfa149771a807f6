"""A server with a few fixed answers, some of which need a user name and a password (HTTP Basic)."""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple

from support.replay_server import ManyConnections


class SentRequest(NamedTuple):
    """What a server was asked: the path with the query, and the header Authorization."""

    path: str
    authorization: str | None


class GuardedServer(ManyConnections):
    """Answers paths with JSON documents, others with ``missing`` and a JSON document.

    With ``password`` (``user:password``) all paths need it, except those in ``public``. After a wrong password even the
    right one is rejected, as Camunda does for some seconds.
    """

    daemon_threads = True

    def __init__(
        self,
        documents: Mapping[str, Any],
        *,
        password: str | None = None,
        public: tuple[str, ...] = (),
        missing: int = 404,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.documents = documents
        self.password = password
        self.public = public
        self.missing = missing
        self.asked: list[SentRequest] = []
        self.locked = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def paths(self) -> list[str]:
        """The paths that were asked for, in order."""
        return [one.path for one in self.asked]

    def status_of(self, request: SentRequest) -> int:
        path = request.path.partition("?")[0]
        if self.password is not None and path not in self.public:
            right = f"Basic {b64encode(self.password.encode()).decode()}"
            wrong = (request.authorization or "").startswith("Basic") and request.authorization != right
            self.locked = self.locked or wrong
            if self.locked or request.authorization != right:
                return 401
        return 200 if path in self.documents else self.missing


class _Handler(BaseHTTPRequestHandler):
    server: GuardedServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        request = SentRequest(self.path, self.headers.get("Authorization"))
        self.server.asked.append(request)
        status = self.server.status_of(request)
        document = self.server.documents.get(self.path.partition("?")[0], {"message": "no such page"})
        data = b"" if status == 401 else json.dumps(document).encode()
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="default"')
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving(documents: Mapping[str, Any], **options: Any) -> Iterator[GuardedServer]:
    """Run a server within the context."""
    server = GuardedServer(documents, **options)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


CAMUNDA = {
    "/engine-rest/engine": [{"name": "default"}, {"name": "second"}],
    "/engine-rest/version": {"version": "7.24.0"},
    "/engine-rest/engine/second/version": {"version": "7.24.0"},
} | {
    f"/engine-rest/{counted}/count": {"count": 1}
    for counted in ("process-definition", "history/process-instance", "job", "incident")
}
FLOWABLE = {
    "/process-api/management/engine": {"name": "default", "version": "7.2.0", "resourceUrl": None, "exception": None},
} | {
    f"/process-api/{listed}": {"data": [], "total": 0, "start": 0, "size": 0}
    for listed in (
        "history/historic-process-instances",
        "repository/process-definitions",
        "management/jobs",
        "management/deadletter-jobs",
    )
}
PACKAGED_FLOWABLE = {path.replace("/process-api", "/flowable-rest/service"): one for path, one in FLOWABLE.items()}
