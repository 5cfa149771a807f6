"""A server that behaves as XiverCMS does with its API tokens, oddities and all: a real one, in threads of this process.

``with FakeXiver() as fake`` runs it. ``fake.fault`` spoils what is asked by one method, ``fake.twist`` changes answers.
"""

from __future__ import annotations

import hmac
import json
import socket
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from secrets import token_hex
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, unquote, urlsplit

EMAIL = "admin@example.com"
PASSWORD = "correct horse"
API = "/api/api-tokens"

UNHEARD = "unheard"  # the connection is cut, and nothing was done
DROPPED = "dropped"  # the same, once it is done
FAILED = "failed"  # 500, and nothing was done
FAILED_AFTER = "failed after"
TRUNCATED = "truncated"  # done; half of the answer comes
GARBLED = "garbled"  # done; the answer, secret included, is no JSON
SLOW = "slow"  # done; the answer comes ``seconds`` later


class Fault(NamedTuple):
    """What goes wrong with requests of a method, the first ``times`` of them (-1: all)."""

    kind: str
    method: str = "POST"
    seconds: float = 30.0
    times: int = -1


class Asked(NamedTuple):
    """A request that came. It has no body, which may hold a secret that a test looks for."""

    method: str
    path: str  # and query
    headers: dict[str, str]


@dataclass
class FakeXiver:
    """What can be seen and set of it: records by their ids, as texts, and the secret of each."""

    port: int = 0
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    requests: list[Asked] = field(default_factory=list)
    puts: list[Any] = field(default_factory=list)  # what came in each PUT
    fault: Fault | None = None
    twist: Callable[[str, str, Any], Any] = lambda _method, _path, answer: answer
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self.closing = threading.Event()
        self.jwt = _jwt({"userId": 1, "email": EMAIL, "exp": time.time() + 86400})
        self._last = 0

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"fake": self})
        self._server = _Threads(("127.0.0.1", self.port), handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def asked(self, *methods: str) -> list[str]:
        """The paths that were asked for by these methods."""
        return [one.path for one in self.requests if one.method in methods]

    def add(self, name: str, ident: Any = None, secret: str = "", **members: Any) -> str:
        """Put a record in, as the server's own page would; returns its secret."""
        with self.lock:
            if ident is None:
                self._last += 1
                ident = self._last
            secret = secret or "xvc_" + token_hex(32)
            now = _time(self.clock())
            self.secrets[str(ident)] = secret
            self.records[str(ident)] = {
                "id": ident,
                "name": name,
                "description": "",
                "type": "read-only",
                "token": secret[:8] + "...",
                "lastUsedAt": None,
                "expiresAt": None,
                "createdBy": {"id": 1, "email": EMAIL},
                "createdAt": now,
                "updatedAt": now,
                "kind": "custom",
            } | members
            return secret

    # --- what it does; each returns status and answer ---

    def answer(self, method: str, path: str, query: dict[str, list[str]], bearer: str, body: Any) -> tuple[int, Any]:
        with self.lock:
            if path == "/api/auth/login":
                known = isinstance(body, dict) and (body.get("email"), body.get("password")) == (EMAIL, PASSWORD)
                return (200, {"jwt": self.jwt}) if known else (401, {"error": "Invalid credentials"})
            caller = self._caller(bearer)
            if caller is None:
                return 401, {"error": "Unauthorized"}
            if caller and method != "GET" and caller["type"] == "read-only":
                return 403, {"error": "Token is read-only"}
            if path == API:
                return self._list(query) if method == "GET" else self._create(caller, body)
            ident = unquote(path.removeprefix(API + "/"))
            if not path.startswith(API + "/") or "/" in path.removeprefix(API + "/") or method == "POST":
                return 404, {"error": "Not Found"}
            return {"GET": self._one, "PUT": self._update, "DELETE": self._delete}[method](ident, body)

    def _caller(self, bearer: str) -> dict[str, Any] | None:
        """The record of the API token that asks; an empty one for the user, None for nobody."""
        if bearer == self.jwt:
            return {}
        for ident, secret in self.secrets.items():
            record = self.records.get(ident)
            if secret == bearer and record is not None:
                until = record["expiresAt"]
                if until is not None and datetime.fromisoformat(until) <= self.clock():
                    return None
                record["lastUsedAt"] = _time(self.clock())
                return record
        return None

    def _list(self, query: dict[str, list[str]]) -> tuple[int, Any]:
        page, size = (int(query.get(name, [default])[0]) for name, default in (("page", "1"), ("pageSize", "10")))
        rows = [*self.records.values()][::-1]
        meta = {"pagination": {"page": page, "pageSize": size, "total": len(rows)}}
        return 200, {"data": rows[(page - 1) * size : page * size], "meta": meta}

    def _create(self, caller: dict[str, Any], body: Any) -> tuple[int, Any]:
        if caller:
            return 500, {"error": "Failed to create API token"}
        if not isinstance(body, dict) or not body.get("name"):
            return 400, {"error": "Name is required"}
        given = {name: body[name] for name in ("description", "type", "expiresAt") if body.get(name) is not None}
        secret = self.add(body["name"], **given)
        return 201, self.records[str(self._last)] | {"token": secret}

    def _one(self, ident: str, _body: Any) -> tuple[int, Any]:
        found = self.records.get(ident)
        return (404, {"error": "API token not found"}) if found is None else (200, found)

    def _update(self, ident: str, body: Any) -> tuple[int, Any]:
        self.puts.append(body)
        if ident not in self.records:
            return 404, {"error": "API token not found"}
        if not isinstance(body, dict) or not body.get("name"):
            return 400, {"error": "Name is required"}
        for name in ("name", "description", "type", "expiresAt"):
            if body.get(name):
                self.records[ident][name] = body[name]
        self.records[ident]["updatedAt"] = _time(self.clock())
        return 200, self.records[ident]

    def _delete(self, ident: str, _body: Any) -> tuple[int, Any]:
        self.records.pop(ident, None)
        self.secrets.pop(ident, None)
        return 200, {"message": "API token deleted successfully"}

    def fault_of(self, method: str) -> Fault | None:
        with self.lock:
            fault = self.fault
            if fault is None or fault.method != method:
                return None
            if fault.times > 0:
                self.fault = fault._replace(times=fault.times - 1) if fault.times > 1 else None
            return fault


class _Threads(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone, or was killed, is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    fake: FakeXiver

    def _serve(self) -> None:
        fake, parts = self.fake, urlsplit(self.path)
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fake.requests.append(Asked(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
        fault = fake.fault_of(self.command)
        kind = fault.kind if fault else ""
        if kind == UNHEARD:
            self._cut()
            return
        if kind == FAILED:
            self._send(500, {"error": "Internal Server Error"})
            return
        body = None
        with suppress(ValueError):
            body = json.loads(content)
        scheme, _, secret = self.headers.get("Authorization", "").partition(" ")  # the secret alone opens nothing
        bearer = secret if scheme == "Bearer" else ""
        status, answer = fake.answer(self.command, parts.path, parse_qs(parts.query), bearer, body)
        if kind == DROPPED:
            self._cut()
            return
        if fault and kind == SLOW:
            fake.closing.wait(fault.seconds)
        if kind == FAILED_AFTER:
            status, answer = 500, {"error": "Internal Server Error"}
        answer = fake.twist(self.command, self.path, json.loads(json.dumps(answer)))
        self._send(status, answer, cut=kind == TRUNCATED, garbled=kind == GARBLED)

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - http.server wants them so

    def _send(self, status: int, answer: Any, *, cut: bool = False, garbled: bool = False) -> None:
        data = json.dumps(answer).encode()
        if garbled:
            data = data.replace(b":", b";")
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self._cut()

    def _cut(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: Any) -> None:
        pass


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _jwt(claims: dict[str, Any]) -> str:
    """A JWT as the login gives it: HS256, with a key that nobody else has."""
    parts = (
        urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in ({"alg": "HS256", "typ": "JWT"}, claims)
    )
    text = b".".join(parts)
    return (text + b"." + urlsafe_b64encode(hmac.digest(token_hex(32).encode(), text, "sha256")).rstrip(b"=")).decode()
