"""A little atomd: a real HTTP server that answers as the recordings of one do, or from tokens that a test makes up.

It is as wilful as the real one: it wants ``Authorization: Bearer``, ignores filters, tells times in four ways,
and answers 200 with nothing for an instance that it does not know.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from support.builders import FIXTURES

RECORDED_ORDER = FIXTURES / "atomd"
SECRET = "atomd-key"
META = {"timestamp": "2026-11-21T17:10:39.821Z", "request_id": "process_1"}


class FakeAtomd:
    """``answer`` gets path and query, and returns status and body; None is a plain 404.

    ``refused`` are beginnings of paths that the key has no permission for.
    """

    def __init__(self, answer: Callable[[str, dict[str, str]], tuple[int, Any] | None] | None = None) -> None:
        self.answer = answer or recorded
        self.asked: list[str] = []
        self.refused: tuple[str, ...] = ()
        self.broken = False  # auth.enabled: false
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                fake.asked.append(self.path)
                status, body = fake.respond(self.path, self.headers.get("Authorization"))
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                kind = "text/plain" if data.startswith(b"404 ") else "application/json; charset=utf-8"
                self.send_response(status)
                self.send_header("Content-Type", "application/xml" if data.startswith(b"<?xml") else kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def respond(self, target: str, authorization: str | None) -> tuple[int, Any]:
        parts = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/health":
            return 200, (RECORDED_ORDER / "health.json").read_bytes()
        if self.broken:
            return 500, _error("INTERNAL_ERROR", "auth context missing")
        if authorization != f"Bearer {SECRET}":
            return 401, _error("UNAUTHORIZED", "API key required")
        if any(parts.path.startswith(f"/api/v1/{name}") for name in self.refused):
            return 403, _error("FORBIDDEN", "Insufficient permissions")
        found = self.answer(parts.path, query)
        return found if found is not None else (404, b"404 page not found")


def _error(code: str, message: str) -> dict[str, Any]:
    return {"success": False, "error": {"code": code, "message": message}, "meta": META}


INDEX = json.loads((RECORDED_ORDER / "index.json").read_text())


def recorded(path: str, query: dict[str, str]) -> tuple[int, Any] | None:
    """What a running atomd answered, whatever the query said; of jobs and models the first page alone has some."""
    if path == "/api/v1/processes/typed":
        path += "?limit=50&offset=0"
    if path.startswith("/api/v1/processes/") and path not in INDEX:
        instance_id = unquote(path.split("/")[4])
        if not (instance_id.startswith("srv1-") and len(instance_id) == 23):
            return 400, _error("BAD_REQUEST", "invalid process instance id")
        if "/tokens" in path:
            return 200, (RECORDED_ORDER / "missing_typed.json").read_bytes()
        return 404, _error("NOT_FOUND", f"process instance not found: {instance_id}")
    entry = INDEX.get(path)
    if entry is None:
        return None
    if query.get("page", "1") != "1" or query.get("offset", "0") != "0":
        return 200, {"success": True, "data": [], "pagination": {"page": 2, "limit": 100}, "meta": META}
    return entry["status"], (RECORDED_ORDER / entry["file"]).read_bytes()


class Made:
    """Answers from documents that a test makes: instances, tokens by instance, jobs, and a model's elements.

    Pages hold at most ``page`` items, whatever is asked for. ``shift`` makes the next page begin as many
    items early: a token that was on the page before comes again.
    """

    def __init__(self, *, page: int = 50, shift: int = 0) -> None:
        self.instances: list[dict[str, Any]] = []
        self.tokens: dict[str, list[dict[str, Any]]] = {}
        self.jobs: list[dict[str, Any]] = []
        self.elements: dict[str, Any] = {}
        self.page = page
        self.shift = shift

    def __call__(self, path: str, query: dict[str, str]) -> tuple[int, Any] | None:
        match unquote(path).split("/")[3:]:
            case ["processes", "typed"]:
                return self._typed("instances", self.instances, query)
            case ["processes", instance_id, "tokens", "typed"]:
                return self._typed("tokens", self.tokens.get(instance_id, []), query)
            case ["processes", instance_id] | ["processes", instance_id, "typed"]:
                known = [one for one in self.instances if one["instance_id"] == instance_id]
                if not known:
                    return 404, _error("NOT_FOUND", "process instance not found")
                return 200, {"success": True, "data": known[0], "meta": META}
            case ["jobs"]:
                return self._listed(self.jobs, query)
            case ["bpmn", "processes"]:
                return self._listed([{"id": "order", "key": "k1", "name": "SortOrder", "version": 1}], query)
            case ["bpmn", "processes", "k1", "json"]:
                return 200, {
                    "success": True,
                    "data": {"process_name": "SortOrder", "elements": self.elements},
                    "meta": META,
                }
        return None

    def _typed(self, name: str, items: list[Any], query: dict[str, str]) -> tuple[int, Any]:
        asked = int(query.get("offset", 0))
        start = max(asked - self.shift, 0) if asked else 0
        some = items[start : start + self.page]
        data = {name: some, "total_count": len(items), "has_more": start + len(some) < len(items)}
        return 200, {"success": True, "data": data, "meta": META}

    def _listed(self, items: list[Any], query: dict[str, str]) -> tuple[int, Any]:
        size = min(self.page, int(query.get("limit", 20)))
        start = (int(query.get("page", 1)) - 1) * size
        return 200, {
            "success": True,
            "data": items[start : start + size],
            "pagination": {"page": 1, "limit": size, "total": 0, "has_next": False},
            "meta": META,
        }
