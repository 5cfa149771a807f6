"""A little atomd: a real HTTP server that answers as the recordings of one do, or from tokens that a test makes up.

It is as wilful as the real one: it wants ``Authorization: Bearer``, ignores filters, tells times in four ways,
and answers 200 with nothing for an instance that it does not know.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from support.builders import FIXTURES
from support.replay_server import ManyConnections

RECORDED_ORDER = FIXTURES / "atomd"
RECORDED_SITUATIONS = FIXTURES / "recordings" / "atomd-2"
"""15 models and 34 instances: jobs that run, failed or wait for a retry, timers, messages, calls, joins."""
SECRET = "atomd-key"
META = {"timestamp": "2026-11-21T17:10:39.821Z", "request_id": "process_1"}


Answer = Callable[[str, dict[str, str]], tuple[int, Any] | None]


class FakeAtomd:
    """``answer`` gets path and query, and returns status and body; None is a plain 404.

    ``refused`` are beginnings of paths that the key has no permission for, ``blocked`` is the address of the client.
    ``limit`` is how many requests are accepted before 429; ``window`` is in its header X-RateLimit-Reset, after which
    requests are accepted again; the real one sends no header. ``open_to_all`` accepts any credential, as from a
    loopback address.
    """

    def __init__(self, answer: Answer | None = None) -> None:
        self.answer = answer or Recorded(RECORDED_ORDER)
        self.limit: int | None = None
        self.window: int | None = None
        self.open_to_all = False
        self.blocked = False
        self.asked: list[str] = []
        self.refused: tuple[str, ...] = ()
        self.broken = False  # auth.enabled: false
        self.clock_offset = timedelta()
        """How far its clock is ahead."""
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # the head and the body of an answer go out at once

            def log_message(self, *_: Any) -> None:
                pass

            def date_time_string(self, timestamp: float | None = None) -> str:
                return super().date_time_string((timestamp or time.time()) + fake.clock_offset.total_seconds())

            def do_GET(self) -> None:
                fake.asked.append(self.path)
                status, body = fake.respond(self.path, self.headers.get("Authorization"))
                over = status == 429
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                kind = "text/plain" if data.startswith(b"404 ") else "application/json; charset=utf-8"
                self.send_response(status)
                self.send_header("Content-Type", "application/xml" if data.startswith(b"<?xml") else kind)
                self.send_header("Content-Length", str(len(data)))
                if over and fake.window is not None:
                    self.send_header("X-RateLimit-Reset", str(fake.window))
                    fake.limit = None
                self.end_headers()
                self.wfile.write(data)

        self._server = ManyConnections(("127.0.0.1", 0), Handler)
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
        if self.blocked:
            return 403, _error("FORBIDDEN", "IP not allowed")
        if self.limit is not None:
            if self.limit <= 0:
                return 429, _error("RATE_LIMITED", "Rate limit exceeded")
            self.limit -= 1
        if authorization != f"Bearer {SECRET}" and not self.open_to_all:
            return 401, _error("UNAUTHORIZED", "API key required")
        if any(parts.path.startswith(f"/api/v1/{name}") for name in self.refused):
            return 403, _error("FORBIDDEN", "Insufficient permissions")
        found = self.answer(parts.path, query)
        return found if found is not None else (404, b"404 page not found")


def _error(code: str, message: str) -> dict[str, Any]:
    return {"success": False, "error": {"code": code, "message": message}, "meta": META}


class Recorded:
    """Answers from the recordings in a directory; of jobs and models the first page alone has some.

    Some instances were listed, but not recorded: their tokens and ``/info`` are made of the list and their jobs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = json.loads((folder / "index.json").read_text())
        listed = json.loads(self._read("/api/v1/processes/typed?limit=50&offset=0"))["data"]["instances"]
        self.instances = {one["instance_id"]: one for one in listed}
        self.jobs = json.loads(self._read("/api/v1/jobs"))["data"]

    def _read(self, path: str) -> bytes:
        return (self.folder / self.index[path]["file"]).read_bytes()

    def __call__(self, path: str, query: dict[str, str]) -> tuple[int, Any] | None:
        if path == "/api/v1/processes/typed":
            wanted = [one for one in self.instances.values() if query.get("status") in {None, one["status"]}]
            start = int(query.get("offset", 0))
            some = wanted[start : start + int(query.get("limit", 50))]
            data = {"instances": some, "total_count": len(wanted), "has_more": start + len(some) < len(wanted)}
            return 200, {"success": True, "data": data, "meta": META}
        for recorded in (path, f"{path}?limit=50&offset=0"):
            if recorded in self.index:
                if query.get("page", "1") != "1" or query.get("offset", "0") != "0":
                    return 200, {"success": True, "data": [], "pagination": {"page": 2, "limit": 100}, "meta": META}
                return self.index[recorded]["status"], self._read(recorded)
        if path.startswith("/api/v1/tokens/"):
            return 404, _error("NOT_FOUND", "token not found")
        if path.startswith("/api/v1/processes/"):
            return self._missing(unquote(path.split("/")[4]), path)
        return None

    def _missing(self, instance_id: str, path: str) -> tuple[int, Any]:
        instance = self.instances.get(instance_id)
        if instance is not None:
            mine = [job for job in self.jobs if job["process_instance_id"] == instance_id]
            if path.endswith("/info"):
                return 200, {"success": True, "data": info_document(instance, mine, [], None), "meta": META}
            tokens = [
                {
                    "token_id": job["variables"]["_tokenID"],
                    "process_instance_id": instance_id,
                    "element_id": job["type"],
                    "status": "WAITING",
                    "variables": {},
                    "created_at": instance["started_at"],
                    "updated_at": datetime.fromtimestamp(job["created_at"], UTC).isoformat(),
                }
                for job in mine
                if job["state"] != "COMPLETED"
            ]
            data = {"tokens": tokens, "total_count": len(tokens), "has_more": False}
            return 200, {"success": True, "data": data, "meta": META}
        prefix = next(iter(self.instances))[:5]
        if not (instance_id.startswith(prefix) and len(instance_id) == 23):
            return 400, _error("BAD_REQUEST", "invalid process instance id")
        if "/tokens" in path:
            data = {"tokens": [], "total_count": 0, "has_more": False}
            return 200, {"success": True, "data": data, "meta": META}
        return 404, _error("NOT_FOUND", f"process instance not found: {instance_id}")


def info_document(
    instance: dict[str, Any], jobs: list[dict[str, Any]], timers: list[dict[str, Any]], key: str | None
) -> dict[str, Any]:
    """Return the document of ``/processes/ID/info`` for a document of the typed list."""
    kept = ("key", "type", "retries", "created_at", "error_message", "worker")
    described = [{name: job[name] for name in kept if name in job} | {"status": job["state"]} for job in jobs]
    return {
        "instance_id": instance["instance_id"],
        "bpmn_process_key": key,
        "process_key": f"{instance['process_definition_id']}:v{instance['version']}",
        "state": instance["status"],
        "created_at": instance["started_at"][:19] + "Z",
        "updated_at": 0,
        "variables": instance.get("variables"),
        "external_services": {"jobs": described or None, "timers": timers or None, "incidents": []},
    }


class Made:
    """Answers from documents that a test makes: instances, tokens by instance, jobs, timers, and a model.

    Pages hold at most ``page`` items, whatever is asked for. ``shift`` makes the next page begin as many
    items early: a token that was on the page before comes again. Only ``/info`` tells the error of a job.
    """

    def __init__(self, *, page: int = 50, shift: int = 0, xml: str = "") -> None:
        self.instances: list[dict[str, Any]] = []
        self.tokens: dict[str, list[dict[str, Any]]] = {}
        self.jobs: list[dict[str, Any]] = []
        self.timers: list[dict[str, Any]] = []
        self.xml = xml
        self.page = page
        self.shift = shift

    def __call__(self, path: str, query: dict[str, str]) -> tuple[int, Any] | None:
        match unquote(path).split("/")[3:]:
            case ["processes", "typed"]:
                wanted = [one for one in self.instances if query.get("status") in {None, one["status"]}]
                return self._typed("instances", wanted, query)
            case ["processes", instance_id, "tokens", "typed"]:
                return self._typed("tokens", self.tokens.get(instance_id, []), query)
            case ["processes", instance_id, "info"]:
                known = (one for one in self.instances if one["instance_id"] == instance_id)
                return next(map(self._info, known), (404, _error("NOT_FOUND", "process instance not found")))
            case ["tokens", token_id]:
                several = (one for tokens in self.tokens.values() for one in tokens if one["token_id"] == token_id)
                found = ((200, {"success": True, "data": one, "meta": META}) for one in several)
                return next(found, (404, _error("NOT_FOUND", "token not found")))
            case ["bpmn", "processes", "k1", "xml"] if self.xml:
                return 200, self.xml.encode()
            case segments:
                return self._list("/".join(segments), query)

    def _info(self, instance: dict[str, Any]) -> tuple[int, Any]:
        jobs, timers = (
            [one for one in several if one["process_instance_id"] == instance["instance_id"]]
            for several in (self.jobs, self.timers)
        )
        return 200, {"success": True, "data": info_document(instance, jobs, timers, "k1"), "meta": META}

    def _list(self, name: str, query: dict[str, str]) -> tuple[int, Any] | None:
        if name == "jobs":
            jobs = [{name: job[name] for name in job if name != "error_message"} for job in self.jobs]
            return 200, {"success": True, "data": jobs, "pagination": {"page": 1, "limit": 20}, "meta": META}
        models = [{"id": "order", "key": "k1", "name": "Order", "version": 1}]
        listed = {"timers": self.timers, "bpmn/processes": models}.get(name)
        return None if listed is None else self._listed(listed, query)

    def _typed(self, name: str, items: list[Any], query: dict[str, str]) -> tuple[int, Any]:
        asked = int(query.get("offset", 0))
        start = max(asked - self.shift, 0) if asked else 0
        some = items[start : start + min(self.page, int(query.get("limit", 50)))]
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
