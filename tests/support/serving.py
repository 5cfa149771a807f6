"""A real server over a store that a test fills: in a thread of this process, on loopback."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn

from support.builders import TESTER
from tokctl.api_tokens.pepper import Pepper
from tokctl.api_tokens.secrets import digest, generate, mask
from tokctl.client import Client, Connection
from tokctl.engines.projection import Projection
from tokctl.engines.rest import RestEngine
from tokctl.model.api_tokens import NewApiToken
from tokctl.server.access_log import AccessLog
from tokctl.server.application import Application
from tokctl.server.settings import ServeSettings
from tokctl.store import open_store

PEPPER = Pepper(id="test", key=b"pepper" * 8)


class Running:
    """An ASGI application behind uvicorn, in a thread; notes what it was asked.

    ``spoil`` gets path and query, and may return a status and a body to answer with in its place.
    """

    def __init__(self, make: Callable[[], Any], *, port: int = 0) -> None:
        self.spoil: Callable[[str], tuple[int, bytes] | None] = lambda _: None
        self.asked: list[tuple[str, int]] = []  # path and query, status
        self._application: Any = None
        self._make = make
        config = uvicorn.Config(
            self._count, port=port, interface="asgi3", lifespan="on", log_level="error", access_log=False
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the server did not start"
            time.sleep(0.005)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    async def _count(self, scope, receive, send) -> None:
        if self._application is None:
            self._application = self._make()

        async def told(message) -> None:
            if message["type"] == "http.response.start":
                query = scope["query_string"].decode()
                target = scope["raw_path"].decode() + (f"?{query}" if query else "")
                self.asked.append((target, message["status"]))
            await send(message)

        if scope["type"] == "http":
            query = scope["query_string"].decode()
            spoilt = self.spoil(scope["raw_path"].decode() + (f"?{query}" if query else ""))
            if spoilt is not None:
                status, body = spoilt
                kind = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
                await told({"type": "http.response.start", "status": status, "headers": kind})
                await send({"type": "http.response.body", "body": body})
                return
        await self._application(scope, receive, told)

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)


class Served(Running):
    """``tokctl serve`` over a store, with an API token that may see all of it."""

    def __init__(self, path: Path, *, port: int = 0, secret: str | None = None) -> None:
        self.path = path
        self.secret = secret or grant(path)
        super().__init__(lambda: Application(str(path), PEPPER, ServeSettings(), AccessLog(os.devnull)), port=port)

    def client(self, **options: Any) -> Client:
        return Client(Connection(url=self.url, credential=lambda: self.secret, **options))

    def engine(self, reading: Projection = Projection.TOKENS) -> RestEngine:
        return RestEngine(self.client(), self.url, reading)


def grant(path: Path, *scopes: str, type_: str = "read-only") -> str:
    """Put an API token into a store; returns its secret."""
    secret = generate()
    with open_store(str(path), write=True, create=True) as store:
        store.api_tokens.create(
            NewApiToken(
                name="test", token=mask(secret), type=type_, scopes=scopes or ("*",), created_at=datetime.now(UTC)
            ),
            digest(PEPPER.key, secret),
            PEPPER.id,
            by=TESTER,
        )
    return secret
