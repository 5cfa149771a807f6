"""When API tokens were used last: noted in memory, written every few seconds and at the end.

So no answer waits for a write, and none is lost at a shutdown. What cannot be written is tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any, cast

from tokctl.access.model import ApiToken
from tokctl.errors import StoreError
from tokctl.store import open_store

EVERY_SECONDS = 5.0
LAST_TRIES = 4
BETWEEN_SECONDS = 0.5
PATIENCE_MS = 500  # with a writer; who writes for longer is waited for between two tries


class Usage:
    """The moments of use that are not in the store yet, with their API tokens by id."""

    def __init__(self, url: str, tell: Callable[..., Any], *, every: float = EVERY_SECONDS) -> None:
        self.url = url
        self.tell = tell
        self.every = every
        self._used: dict[int, tuple[ApiToken, datetime]] = {}
        self._task: asyncio.Task[None] | None = None

    def note(self, token: ApiToken, when: datetime) -> None:
        """A token was used."""
        self._used[cast(int, token.id)] = token, when

    def start(self) -> None:
        """Begin to write now and then."""
        self._task = asyncio.get_running_loop().create_task(self._write_on())

    async def _write_on(self) -> None:
        while True:
            await asyncio.sleep(self.every)
            await self.write()

    async def write(self) -> bool:
        """Write what is not in the store yet; tells whether that went well."""
        used, self._used = self._used, {}
        if not used:
            return True
        try:
            await asyncio.to_thread(self._touch, used)
        except BaseException as error:
            self._used = used | self._used  # what has been noted since is newer
            if not isinstance(error, StoreError):
                raise
            self.tell("last use not written", error=str(error.__cause__ or error), api_tokens=len(used))
            return False
        return True

    def write_now(self) -> None:
        """Write what is left without a loop; what cannot be written is lost."""
        with suppress(StoreError):
            self._touch(self._used)

    def _touch(self, used: dict[int, tuple[ApiToken, datetime]]) -> None:
        with open_store(self.url, write=True) as store:
            store.be_patient(PATIENCE_MS)
            table = store.api_tokens
            same = {}
            for number, (token, when) in used.items():
                kept = table.by_id(number)
                if kept is not None and (kept.token, kept.created_at) == (token.token, token.created_at):
                    same[number] = when  # else another store has taken the place of the token's
            table.touch(same)

    async def finish(self) -> None:
        """Write the last of it; a store that cannot be written is given a few seconds."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        for attempt in range(LAST_TRIES):
            if await self.write():
                return
            if attempt < LAST_TRIES - 1:
                await asyncio.sleep(BETWEEN_SECONDS)
        self.tell("last use lost", api_tokens=len(self._used))
