"""The last use of API tokens: kept in memory, written every few seconds and at shutdown.

Only the last use of each API token is written, not each one. No response waits for a write, and no use is lost at
shutdown. A failed write is retried.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple, cast

from tokctl.api_tokens.masking import mask_text
from tokctl.errors import StoreError
from tokctl.model.api_tokens import ApiToken, LastUse
from tokctl.store import open_store

WRITE_INTERVAL_SECONDS = 5.0
MAX_FINAL_ATTEMPTS = 4
FINAL_RETRY_SECONDS = 0.5
BUSY_TIMEOUT_MS = 500  # wait for another writer; if that is not enough, the next attempt comes later
MAX_USER_AGENT_LENGTH = 200  # characters


class Use(NamedTuple):
    """A use of an API token, as the request has it: described only when it is written."""

    at: datetime
    address: str = ""
    user_agent: bytes | None = None
    method: str = ""
    route: str = ""  # the path template; empty if the path is unknown

    def describe(self) -> LastUse:
        """Return what is stored of it. The client chooses its user agent, so secrets in it are masked."""
        agent = self.user_agent
        return LastUse(
            address=self.address or None,
            user_agent=None if agent is None else mask_text(agent.decode("latin-1"))[:MAX_USER_AGENT_LENGTH],
            endpoint=f"{self.method} {self.route}" if self.route else None,
        )


class UsageRecorder:
    """The uses that are not yet in the store, with their API tokens by id. ``log_event`` gets failures.

    With ``read_only`` no use is recorded.
    """

    def __init__(
        self,
        url: str,
        log_event: Callable[..., Any],
        *,
        interval: float = WRITE_INTERVAL_SECONDS,
        read_only: bool = False,
    ) -> None:
        self.url = url
        self.read_only = read_only
        self.log_event = log_event
        self.interval = interval
        self._used: dict[int | str, tuple[ApiToken, tuple[Any, ...]]] = {}
        self._task: asyncio.Task[None] | None = None

    def record_use(self, token: ApiToken, *use: Any) -> None:
        """Record the use of an API token: the members of a ``Use``, which is only made of those that are written."""
        if not self.read_only:
            self._used[token.id] = token, use

    def start(self) -> None:
        """Start to write at intervals."""
        self._task = asyncio.get_running_loop().create_task(self._write_loop())

    async def _write_loop(self) -> None:
        while True:
            await asyncio.sleep(self.interval)
            await self.write()

    async def write(self) -> bool:
        """Write the uses that are not yet in the store; returns whether that succeeded."""
        used, self._used = self._used, {}
        if not used:
            return True
        try:
            await asyncio.to_thread(self._touch, used)
        except BaseException as error:
            self._used = used | self._used  # uses recorded since then are newer
            if not isinstance(error, StoreError):
                raise
            self.log_event("last use not recorded", error=str(error.__cause__ or error), api_tokens=len(used))
            return False
        return True

    def write_now(self) -> None:
        """Write the remaining uses without an event loop; if that fails, they are lost."""
        with suppress(StoreError):
            self._touch(self._used)

    def _touch(self, used: dict[int | str, tuple[ApiToken, tuple[Any, ...]]]) -> None:
        with open_store(self.url, write=True) as store:
            store.set_busy_timeout(BUSY_TIMEOUT_MS)
            table = store.api_tokens
            same = {}
            for token, members in used.values():
                number, use = cast(int, token.id), Use(*members)
                kept = table.by_id(number)
                if kept is not None and (kept.token, kept.created_at) == (token.token, token.created_at):
                    same[number] = use.at, use.describe()  # otherwise another store has replaced the token's
            table.touch(same)

    async def finish(self) -> None:
        """Write the remaining uses; retry for a few seconds if the store cannot be written."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        for attempt in range(MAX_FINAL_ATTEMPTS):
            if await self.write():
                return
            if attempt < MAX_FINAL_ATTEMPTS - 1:
                await asyncio.sleep(FINAL_RETRY_SECONDS)
        self.log_event("last use lost", api_tokens=len(self._used))
