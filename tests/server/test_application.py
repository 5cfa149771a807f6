"""The ASGI application without an HTTP server."""

from __future__ import annotations

import asyncio
import gc
import os

from support.serving import PEPPER, grant
from tokctl.server.access_log import AccessLog
from tokctl.server.application import Application
from tokctl.server.settings import ServeSettings

REQUESTS = 50


def test_requests_leave_no_reference_cycles(tmp_path):
    """Cycles accumulate until the garbage collector stops the event loop to free them."""
    secret = grant(tmp_path / "store.db")
    statuses = []

    async def ask(application: Application, path: str) -> None:
        async def receive():
            raise AssertionError("there is no body")

        async def send(message):
            statuses.extend([message["status"]] if "status" in message else [])

        headers = [(b"host", b"x"), (b"x-api-key", secret.encode())]
        scope = {"type": "http", "method": "GET", "raw_path": path.encode(), "query_string": b"", "headers": headers}
        await application(scope, receive, send)

    async def ask_repeatedly() -> int:
        application = Application(str(tmp_path / "store.db"), PEPPER, ServeSettings(), AccessLog(os.devnull))
        paths = ["/api/v1/processes", "/api/v1/processes/unknown/tokens"]
        for path in paths:
            await ask(application, path)
        cycles = []
        try:
            for _ in range(3):  # what threads of other tests leave behind is not in every round
                gc.collect()
                gc.disable()
                for path in paths * (REQUESTS // 2):
                    await ask(application, path)
                cycles.append(gc.collect())
            return min(cycles)
        finally:
            gc.enable()
            await application.services.close()

    cyclic = asyncio.run(ask_repeatedly())
    assert set(statuses) == {200, 404}
    assert cyclic < REQUESTS
