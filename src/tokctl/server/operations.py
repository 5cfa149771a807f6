"""What happens to a request below ``/api/api-tokens``: who asks, what he may, what he sends, and the answer.

In this order: who asks (401, 429), whether he may change things (403), where to (404, 405), whether he may do this
(403), what he asks for (400, 413, 415), and what the operation itself has to say. What takes a transaction happens in
a thread; only what is found by its key is read on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from tokctl.access.model import ApiToken
from tokctl.errors import StoreError
from tokctl.server.authorise import NONE_GIVEN, credentials
from tokctl.server.bodies import read_body
from tokctl.server.cache import Headers
from tokctl.server.callers import Caller, caller_of_token, users_of
from tokctl.server.exchange import JSON, NOSNIFF, Exchange
from tokctl.server.parameters import read_query
from tokctl.server.refusals import RETRY_SECONDS, Refusal, later
from tokctl.server.routes import Operation, Resource
from tokctl.store import open_store
from tokctl.store.api_tokens import ApiTokenTable, AskerChangedError, ChangedError
from tokctl.store.base import Store

if TYPE_CHECKING:
    from tokctl.server.app import Application

PATIENCE_SECONDS = 2.0  # with another writer, from when a change is asked for
NO_STORE = (b"cache-control", b"no-store")

_Result = TypeVar("_Result")


class Call(Struct, frozen=True, kw_only=True):
    """What an operation is asked: by whom, the ids of the path, the values of the query, the body."""

    caller: Caller
    ids: tuple[str, ...]
    values: dict[str, Any]
    body: Any  # of the operation's type
    now: datetime
    if_match: bytes | None


class Reply(Struct, frozen=True):
    """What an operation answers: a JSON document, and headers of its own."""

    document: dict[str, Any]
    headers: Headers = []


class Operations:
    """Answers what is below ``/api/api-tokens``. Made and used on the application's event loop."""

    def __init__(self, url: str, app: Application) -> None:
        self.url = url
        self.app = app
        self.authority = app.authority
        self.users = users_of(app.settings)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="writer")

    async def answer(self, exchange: Exchange, resource: Resource, ids: tuple[str, ...]) -> None:
        """Answer a request. Raises Refusal, StoreError, Cut."""
        method = exchange.scope["method"]
        operation = resource.operations.get("GET" if method == "HEAD" else method)
        caller = self._caller(exchange)
        if operation is None or not operation.query_like:
            if caller.token is not None:
                self.app.usage.note(caller.token, exchange.now)
            caller.check_method(method)
        if not resource.operations:
            raise Refusal(404, "NOT_FOUND", "There is no such endpoint.", {"see": "/openapi.json"})
        allowed = (b"allow", ", ".join(resource.methods).encode())
        if method == "OPTIONS":
            await exchange.start(204, [allowed])
            await exchange.body(b"")
            return
        if operation is None:
            raise Refusal(405, "METHOD_NOT_ALLOWED", f"{method} is not for this endpoint.",
                          {"allowed": resource.methods}, headers=(allowed,))  # fmt: skip
        self._check(caller, operation, method)
        values, _ = read_query(exchange.scope["query_string"], operation.parameters)
        body = None
        if operation.body is not None:
            body = await read_body(exchange, operation.body, operation.form, self.app.limits.body)
            caller = self._caller(exchange)  # while the body came, his token may have been changed or revoked
            self._check(caller, operation, method)
        call = Call(caller=caller, ids=ids, values=values, body=body, now=exchange.now,
                    if_match=exchange.headers.get(b"if-match"))  # fmt: skip
        try:
            reply = await operation.run(self, call)
        except AskerChangedError:  # so it was while the change waited for others
            caller = self._caller(exchange)
            self._check(caller, operation, method)
            reply = await operation.run(self, replace(call, caller=caller))
        await exchange.whole(operation.status, [JSON, NOSNIFF, NO_STORE, *reply.headers],
                             msgspec.json.encode(reply.document))  # fmt: skip

    @staticmethod
    def _check(caller: Caller, operation: Operation, method: str) -> None:
        if not operation.query_like:
            caller.check_method(method)
            caller.check_permission(operation.permissions)

    def _caller(self, exchange: Exchange) -> Caller:
        """Tell who asks, in the log, too. Raises Refusal, StoreError."""
        reason = NONE_GIVEN
        for secret in credentials(exchange.headers):
            caller = None
            if self.users is not None and secret.count(b".") == 2:
                caller, why = self.users.caller(secret, exchange.client)
            else:
                token, why = self.authority.check(secret, exchange.now)
                if token is not None:
                    caller = caller_of_token(token, exchange.client)
            if caller is not None:
                exchange.token = caller.token
                exchange.user = caller.actor.id if caller.token is None else ""
                return caller
            reason = why if reason == NONE_GIVEN else reason
        exchange.token, exchange.user = None, ""
        raise self.authority.refused(reason, exchange.client)

    async def read(self, function: Callable[[Store], _Result]) -> _Result:
        """Read from the store as it is now, in a thread: what takes a few milliseconds. Raises StoreError."""
        return await self.app.readers.run_piece(self._read, function)

    def _read(self, function: Callable[[Store], _Result]) -> _Result:
        readers = self.app.readers
        store, sound = readers.take(), False
        try:
            result = function(store)
            sound = True
        finally:
            readers.give_back(store, sound)
        return result

    async def change(self, caller: Caller, function: Callable[[ApiTokenTable], _Result]) -> _Result:
        """Change API tokens for a caller, in a thread: one change after another.

        Raises:
            Refusal: the store cannot be written, or another writer is at it for too long.
            AskerChangedError: the caller's own API token is no longer what it was.
            ChangedError, and what the function raises.
        """
        deadline = monotonic() + PATIENCE_SECONDS
        return await asyncio.get_running_loop().run_in_executor(
            self._writer, self._change, caller.token, function, deadline
        )

    def _change(self, asker: ApiToken | None, function: Callable[[ApiTokenTable], _Result], deadline: float) -> _Result:
        left = max(deadline - monotonic(), 0)  # earlier changes may have taken all of it
        try:
            with open_store(self.url, write=True) as store:
                store.be_patient(int(left * 1000))
                table = store.api_tokens
                table.asker = asker
                return function(table)
        except (AskerChangedError, ChangedError):
            raise
        except StoreError as error:
            raise later(503, "STORE_UNAVAILABLE", "The store cannot be written at present.", RETRY_SECONDS,
                        str(error.__cause__ or error)) from error  # fmt: skip

    def close(self) -> None:
        """Let go of the thread."""
        self._writer.shutdown(wait=False)
