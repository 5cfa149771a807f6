"""Servers with API tokens that stand in for products: real ones, in threads of this process.

``with FakeCms() as fake`` runs one. ``fake.fault`` spoils what is asked by one method, ``fake.twist`` changes answers.
A subclass answers requests and puts records in, oddities and all.
"""

from __future__ import annotations

import hmac
import json
import socket
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from secrets import token_hex
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

EMAIL = "admin@example.com"
PASSWORD = "correct horse"

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
class FakeCms:
    """What can be seen and set of it: records by their ids, as texts, and the secret of each."""

    port: int = 0
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    requests: list[Asked] = field(default_factory=list)
    puts: list[Any] = field(default_factory=list)  # what came in each PUT
    fault: Fault | None = None
    twist: Callable[[str, str, Any], Any] = lambda _method, _path, answer: answer
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    headers: tuple[tuple[str, str], ...] = ()  # of every answer

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self.closing = threading.Event()
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

    def answer(self, method: str, path: str, _query: dict[str, list[str]], bearer: str, body: Any) -> tuple[int, Any]:
        """Do what is asked; returns status and answer."""
        raise NotImplementedError

    def error(self, message: str) -> Any:
        """The document of status 500."""
        return {"error": message}

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
    fake: FakeCms

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
            self._send(500, fake.error("Internal Server Error"))
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
            status, answer = 500, fake.error("Internal Server Error")
        answer = fake.twist(self.command, self.path, json.loads(json.dumps(answer)))
        self._send(status, answer, cut=kind == TRUNCATED, garbled=kind == GARBLED)

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - http.server wants them so

    def _send(self, status: int, answer: Any, *, cut: bool = False, garbled: bool = False) -> None:
        data = json.dumps(answer).encode()
        if garbled:
            data = data.replace(b":", b";")
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        for name, value in self.fake.headers:
            self.send_header(name, value)
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


def time_text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def make_jwt(claims: dict[str, Any]) -> str:
    """A JWT as the login gives it: HS256, with a key that nobody else has."""
    parts = (
        urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in ({"alg": "HS256", "typ": "JWT"}, claims)
    )
    text = b".".join(parts)
    return (text + b"." + urlsafe_b64encode(hmac.digest(token_hex(32).encode(), text, "sha256")).rstrip(b"=")).decode()
