"""The state of a database during an outage, and while it answers slowly."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import suppress
from time import perf_counter

import pytest

from tokctl.errors import UnreachableStoreError
from tokctl.server import live_store
from tokctl.server.live_store import DatabaseLiveStore
from tokctl.server.settings import Limits
from tokctl.server.stores import ReaderPool


def make_live_store(url: str) -> DatabaseLiveStore:
    return DatabaseLiveStore(url, ReaderPool(url, Limits()), lambda *_, **__: None)


def test_an_unreachable_store_is_not_tried_for_each_request(monkeypatch):
    monkeypatch.setattr(live_store, "RETRY_SECONDS", 0.2)
    tried: list[float] = []

    def hang_up(listening: socket.socket) -> None:
        with suppress(OSError):  # it is closed in the end
            while True:
                connection, _ = listening.accept()
                tried.append(time.monotonic())
                connection.close()

    async def ask(live: DatabaseLiveStore) -> None:
        for _ in range(5):
            with pytest.raises(UnreachableStoreError):
                await live.refresh(perf_counter())

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=hang_up, args=[listening], daemon=True).start()
        live = make_live_store(f"postgresql://127.0.0.1:{listening.getsockname()[1]}/x?sslmode=disable")
        asyncio.run(ask(live))
        once = len(tried)
        time.sleep(0.25)
        asyncio.run(ask(live))
    assert (once, len(tried)) == (1, 2)
