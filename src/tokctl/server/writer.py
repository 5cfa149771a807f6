"""Changes of API tokens: one at a time, in a separate thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import monotonic
from typing import Any, TypeVar

from tokctl.api_tokens.audit import ChainHead
from tokctl.errors import StoreError, StoreOutcomeUnknownError
from tokctl.model.api_tokens import ApiToken
from tokctl.server.http_errors import RETRY_SECONDS, retry_later
from tokctl.server.stores import ObserveStore, ignore_time
from tokctl.store import open_store, store_file
from tokctl.store.protocol import ApiTokenTable, CallerChangedError, ChangedError, RepeatedCreationError, Store
from tokctl.store.seen_heads import remember_head

WRITE_TIMEOUT_SECONDS = 2.0  # for earlier changes and other writers

_Result = TypeVar("_Result")


class Writer:
    """Writes API tokens to a store. ``log_event`` gets the end of the audit after each change.

    With ``read_only`` every change is rejected. The connection to a database is kept for the next change; a file is
    opened for each, because it may have been replaced.
    """

    def __init__(
        self,
        url: str,
        log_event: Callable[..., Any],
        observe: ObserveStore = ignore_time,
        *,
        read_only: bool = False,
    ) -> None:
        self.url = url
        self.observe = observe
        self.read_only = read_only
        self.log_event = log_event
        self._head: ChainHead | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._kept: Store | None = None

    async def change(self, token: ApiToken | None, function: Callable[[ApiTokenTable], _Result]) -> _Result:
        """Change API tokens on behalf of the API token ``token``, or of a user with a JWT (None).

        Raises:
            HTTPError: the store cannot be written, or another writer takes too long.
            CallerChangedError: ``token`` has been changed or revoked since it was authenticated.
            ChangedError, RepeatedCreationError, and the errors of the function.
        """
        if self.read_only:
            raise retry_later(503, "READ_ONLY", "The server is read-only. Try again later.", RETRY_SECONDS, "read-only")
        deadline = monotonic() + WRITE_TIMEOUT_SECONDS
        result, head = await asyncio.get_running_loop().run_in_executor(
            self._thread, self._change, token, function, deadline
        )
        if head is not None and head != self._head:
            self._head = head
            self.log_event("api tokens changed", audit_number=head.number, audit_hash=head.hash)
        return result

    def _change(
        self, token: ApiToken | None, function: Callable[[ApiTokenTable], _Result], deadline: float
    ) -> tuple[_Result, ChainHead | None]:
        began = monotonic()
        left = max(deadline - began, 0)  # earlier changes may have used it up
        try:
            with self._open() as store:
                store.set_busy_timeout(int(left * 1000))
                table = store.api_tokens
                table.requesting_token = token
                result = function(table)
                return result, remember_head(store)
        except (CallerChangedError, ChangedError, RepeatedCreationError):
            raise
        except StoreError as error:
            message = "The store cannot be written. Try again later."
            if isinstance(error, StoreOutcomeUnknownError):
                message = "It is unknown whether the change was saved. Check that before you repeat the request."
            raise retry_later(
                503, "STORE_UNAVAILABLE", message, RETRY_SECONDS, str(error.__cause__ or error)
            ) from error
        finally:
            self.observe("write", monotonic() - began)

    @contextmanager
    def _open(self) -> Iterator[Store]:
        """Open the store; what was kept is only used again if it is in order, and not kept after an error."""
        store, self._kept = self._kept, None
        if store is not None:
            try:
                store.refresh()
            except StoreError:
                store.close()
                store = None
        store = store or open_store(self.url, write=True)
        try:
            yield store
            if store_file(self.url) is None:
                self._kept, store = store, None
        finally:
            if store is not None:
                store.close()

    def _close_kept(self) -> None:
        if self._kept is not None:
            self._kept.close()

    def close(self) -> None:
        """Close the store, and stop the thread."""
        self._thread.submit(self._close_kept)
        self._thread.shutdown(wait=False)
