"""Requests to the REST API of Camunda 7: lists page by page, single documents, counts and texts.

The API ignores unknown parameters silently, so callers check what comes back against what they asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote

from msgspec.structs import replace

from tokctl.client.json_responses import decode_json
from tokctl.engines.camunda7.documents import CountDocument, EngineRow
from tokctl.engines.connect import display_address, warn, wrong_kind_error
from tokctl.engines.ordered_pool import map_ordered
from tokctl.errors import NotFoundError, TokctlError, UsageError

if TYPE_CHECKING:
    from tokctl.client import Client, ClientResponse

T = TypeVar("T")

PAGE_SIZE = 10_000
"""Rows per request of lists over all instances. A row has 0.6 to 0.7 KiB."""
IDS_PER_REQUEST = 100
"""Ids in one query string: 37 characters each, and servers accept 8 KiB."""
_LIMIT = re.compile(r"limit of (\d+)")
_ENGINE = "/engine/"
"""Before the name of an engine in an address, if it is not the default one."""
_NO_ENGINE = "No process engine available"
"""In the message of a server that has no engine of that name, with status 400."""
_UNKNOWN_PATH = ("HTTP 404 Not Found", "No endpoint ")
"""In the messages of Camunda and of Flowable for a path that they do not have; other documents are just not there."""
_UNBOUNDED = "unbound"
"""In the message of a server that refuses lists without ``maxResults``."""


class RestApi:
    """Sends requests to one engine. May be used from any thread.

    Raises UnreachableError, NotAllowedError, InputError …, as ``Client.get``.
    """

    def __init__(self, client: Client, kind: str) -> None:
        self.client = client
        self._kind = kind
        self.page_size: int | None = None
        """The largest page that the server allows; None if it has no limit, as far as is known."""
        self._checked_rights = False
        self._checked_live_rights = False

    def get_document(self, segments: Sequence[str], shape: type[T], params: Mapping[str, str] | None = None) -> T:
        """Fetch one document. Raises NotFoundError, or UnreachableError if the server does not have such documents."""
        try:
            return decode_json(self._get(segments, params), shape)
        except NotFoundError as error:
            if any(text in error.message for text in _UNKNOWN_PATH):
                raise wrong_kind_error(self.client, self._kind, error.message) from None
            raise

    def _get(
        self, segments: Sequence[str], params: Mapping[str, str] | None = None, media_type: str | None = None
    ) -> ClientResponse:
        """Send a request. Raises UsageError with the engines that there are if the address names another one."""
        try:
            return self.client.get(segments, params or {}, media_type=media_type)
        except UsageError as error:
            if _NO_ENGINE not in error.message:
                raise
            raise self._unknown_engine_error() from None

    def _unknown_engine_error(self) -> UsageError:
        from tokctl.client import Client

        connection = self.client.connection
        root, _, name = connection.url.rstrip("/").rpartition(_ENGINE)
        where = display_address(self.client).removesuffix(f"{_ENGINE}{name}")
        if not root:
            return UsageError(f"{where} has no default engine.", f"Add the name of an engine: {where}{_ENGINE}NAME")
        client = Client(replace(connection, url=root), warn=warn)
        try:
            names = [one.name for one in decode_json(client.get(("engine",)), list[EngineRow])]
        except TokctlError:
            names = []
        finally:
            client.close()
        there = f"Engines there: {', '.join(names)}." if names else f"See {where}/engine for the names."
        return UsageError(f"there is no engine '{unquote(name)}' on {where}.", there)

    def get_text(self, *segments: str) -> str | None:
        """Fetch a text; None if there is none."""
        try:
            answer = self._get(segments, media_type="text/plain")
        except NotFoundError:
            return None
        return answer.body.decode("utf-8", "replace") or None

    def count(self, path: str, params: Mapping[str, str] | None = None) -> int:
        """Return the number of rows of a list."""
        return self.get_document((*path.split("/"), "count"), CountDocument, params).count

    # --- lists ---

    def get_rows(self, path: str, shape: type[T], params: Mapping[str, str] | None = None) -> list[T]:
        """Fetch a list that is short as a rule, without paging unless the server insists on it."""
        if self.page_size is None:
            try:
                return self._get_page(path, shape, params or {})
            except UsageError as error:
                self._learn_limit(error)
        return self.get_all_rows(path, shape, params)

    def get_all_rows(self, path: str, shape: type[T], params: Mapping[str, str] | None = None) -> list[T]:
        """Fetch a list that may be long, page by page."""
        rows: list[T] = []
        while True:
            page = self.get_page(path, shape, params or {}, offset=len(rows))
            rows += page
            if len(page) < (self.page_size or PAGE_SIZE):
                return rows

    def get_page(
        self,
        path: str,
        shape: type[T],
        params: Mapping[str, str] | None = None,
        *,
        offset: int = 0,
        limit: int = PAGE_SIZE,
    ) -> list[T]:
        """Fetch one page. A server with a smaller limit sends fewer rows."""
        while True:
            size = min(limit, self.page_size or limit)
            part = {"firstResult": str(offset), "maxResults": str(size)}
            try:
                return self._get_page(path, shape, {**(params or {}), **part})
            except UsageError as error:
                self._learn_limit(error, size)

    def _get_page(self, path: str, shape: type[T], params: Mapping[str, str]) -> list[T]:
        try:
            answer = self._get(tuple(path.split("/")), params)
        except NotFoundError as error:  # lists are empty rather than missing
            raise wrong_kind_error(self.client, self._kind, error.message) from None
        rows: list[T] = decode_json(answer, list[shape])  # type: ignore[valid-type]
        return rows

    def _learn_limit(self, error: UsageError, size: int | None = None) -> None:
        """Read the largest page that a server allows from its message; ``size`` is what it refused.

        Raises any other error. Another thread may have learned the limit meanwhile.
        """
        found = _LIMIT.search(error.message)
        limit = int(found[1]) if found else 1000 if _UNBOUNDED in error.message else 0
        if not limit or (size is not None and limit >= size):
            raise error
        self.page_size = limit

    def get_rows_of(
        self, path: str, shape: type[T], ids: Sequence[str], parameter: str, params: Mapping[str, str] | None = None
    ) -> list[T]:
        """Fetch the rows of several ids, in chunks of the query string; several chunks at once."""
        chunks = [ids[start : start + IDS_PER_REQUEST] for start in range(0, len(ids), IDS_PER_REQUEST)]
        several = run_together(
            [partial(self.get_all_rows, path, shape, {**(params or {}), parameter: ",".join(one)}) for one in chunks]
        )
        return [row for rows in several for row in rows]

    # --- rights ---

    def check_rights(self) -> None:
        """Warn, once, if nothing was found perhaps because the credential lacks rights.

        With authorizations on, a list shows what the user may read: nothing at all is 200 and an empty list. Without a
        credential nothing is hidden, and costs no request.
        """
        if self._checked_rights or self.client.connection.credential() is None:
            return
        self._checked_rights = True
        definitions = self.count("process-definition")
        seen = f"only {definitions:,} process definitions" if definitions else "no process definitions either"
        warn(
            f"Nothing was found, but the credential may lack rights: it can read no instances, and {seen}. "
            "The engine hides what a user may not read."
        )

    def check_live_rights(self, instance_ids: Sequence[str]) -> None:
        """Warn, once, if live instances are in the history, but their jobs, tasks and incidents are hidden.

        The engine asks for ``READ_HISTORY`` for the one, for ``READ_INSTANCE`` for the other. An instance that the
        history has as live after the runtime did not have it is hidden; one that has ended meanwhile is not counted.
        """
        if self._checked_live_rights or not instance_ids or self.client.connection.credential() is None:
            return
        self._checked_live_rights = True
        params = {"processInstanceIds": ",".join(instance_ids[:IDS_PER_REQUEST])}
        shown = self.count("process-instance", params)
        if shown == len(instance_ids[:IDS_PER_REQUEST]):
            return
        if self.count("history/process-instance", params | {"unfinished": "true"}) > shown:
            warn(
                "The credential lacks rights: it can read the history of some live instances, but not their jobs, "
                "tasks and incidents. What has failed there is not shown."
            )


def run_together(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Call functions at the same time; return their results in order. Raises the first exception in this order."""
    if len(calls) == 1:
        return [calls[0]()]
    return [result() for _, result in map_ordered(calls, lambda call: call())]
