"""Removes the salts of API tokens' secrets in time: after that no secret can be derived again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from tokctl.api_tokens.idempotency import REPEAT_WINDOW
from tokctl.errors import StoreError
from tokctl.store import open_store

INTERVAL = timedelta(minutes=1)


class SaltRemover:
    """Looks for old salts every minute, from the start and from each creation on, until none are left.

    ``log_event`` gets failures, after which it looks again.
    """

    def __init__(self, url: str, log_event: Callable[..., Any], *, interval: timedelta = INTERVAL) -> None:
        self.url = url
        self.log_event = log_event
        self.interval = interval
        self._task: asyncio.Task[None] | None = None

    def note(self) -> None:
        """Note that there may be salts in the store."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._remove_in_time())

    async def _remove_in_time(self) -> None:
        while True:
            if not await asyncio.to_thread(self._remove):
                return
            await asyncio.sleep(self.interval.total_seconds())

    def _remove(self) -> bool:
        """Remove old salts; return whether there may be others."""
        try:
            with open_store(self.url) as store:  # which may be read-only
                if not store.api_tokens.has_salts():
                    return False
            with open_store(self.url, write=True) as store:
                store.api_tokens.forget_salts(datetime.now(UTC) - REPEAT_WINDOW)
        except StoreError as error:
            self.log_event("salts not removed", error=str(error.__cause__ or error))
        return True

    async def finish(self) -> None:
        """Stop. The next start of a server removes what is left."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
