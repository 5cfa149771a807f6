"""The store of small responses during an outage."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import suppress

import pytest

from tokctl.errors import UnreachableStoreError
from tokctl.server import stores
from tokctl.server.stores import LiveStore


def test_an_unreachable_store_is_not_tried_for_each_request(monkeypatch):
    monkeypatch.setattr(stores, "RETRY_SECONDS", 0.2)
    tried: list[float] = []

    def hang_up(listening: socket.socket) -> None:
        with suppress(OSError):  # it is closed in the end
            while True:
                connection, _ = listening.accept()
                tried.append(time.monotonic())
                connection.close()

    async def ask(live: LiveStore) -> None:
        for _ in range(5):
            with pytest.raises(UnreachableStoreError):
                live.get_store()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=hang_up, args=[listening], daemon=True).start()
        live = LiveStore(
            f"postgresql://127.0.0.1:{listening.getsockname()[1]}/x?sslmode=disable", lambda *_, **__: None
        )
        asyncio.run(ask(live))
        once = len(tried)
        time.sleep(0.25)
        asyncio.run(ask(live))
    assert (once, len(tried)) == (1, 2)
