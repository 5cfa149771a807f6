"""The documented REST API: requests to a server that may support any query parameter, or none.

A server is trusted if ``X-Query-Applied`` says that it applied all parameters. For other servers it is unknown what
they do with filters, orders and pages: everything is read and filtered here.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence, Sized
from contextlib import suppress
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

from tokctl.documents.definitions import decode_definition
from tokctl.engines.connect import display_address, not_engine_error, warn, wrong_kind_error
from tokctl.engines.etag_cache import CacheKey, FetchResult
from tokctl.engines.query_params import Params, instance_params, is_expressible
from tokctl.engines.remote import MAX_SMALL_INSTANCE_TOKENS, ListedInstance, RemoteEngine, instance_of
from tokctl.engines.rest_responses import ResponseReader as Read
from tokctl.engines.rest_responses import (
    ResultPage,
    fetch_documented_pages,
    fetch_pages,
    parse_applied_params,
    reject_error,
)
from tokctl.errors import NotAllowedError, NotFoundError, UsageError
from tokctl.model.definitions import Definition
from tokctl.model.filters import RECORDED_ORDER, InstanceFilter, SortOrder
from tokctl.model.instance_status import InstanceStatus
from tokctl.model.tokens import Token
from tokctl.model.visits import FlowHistoryMode, Visit
from tokctl.readers.stream import Record, RejectedRecord, VisitRecord, read_records, read_visit_records

if TYPE_CHECKING:
    from tokctl.client import Client, ClientResponse

T = TypeVar("T")

API = ("api", "v1")
INSTANCES = ("processes",)
STORE_WIDE_KINDS = frozenset({"list", "count", "instance", "token ids", "token list", "definition", "durations"})
"""Kinds of answers that have the whole store's ETag; the others have that of the instance named after the kind."""
MIN_STREAMED_TOKENS = 4 * MAX_SMALL_INSTANCE_TOKENS
"""Responses with more tokens are decoded as they arrive."""


class NotHonouredError(Exception):
    """A server does not confirm that it applied all parameters."""


class DocumentedEngine(RemoteEngine):
    """Reads any server that speaks the documented API."""

    honours_params: bool | None = None  # whether the server confirms query parameters; None: not known yet
    is_polling = False  # whether the engine is refreshed repeatedly

    @property
    def may_filter(self) -> bool:
        """Whether it is worth asking the server to filter."""
        return self.honours_params is not False

    @property
    def can_filter(self) -> bool:
        """Whether the server is known to filter."""
        return self.honours_params is True

    # --- requests ---

    def fetch_filtered(
        self, segments: tuple[str, ...], params: Params, etag: str | None = None
    ) -> ClientResponse | None:
        """Return a filtered response; None if the one with the ETag is still valid.

        Raises:
            NotHonouredError: the server does not confirm that it applied every parameter.
        """
        try:
            answer = self._get(segments, params, etag)
        except UsageError:
            if self.can_filter:
                raise
            self.honours_params = False  # it rejects unknown parameters
            raise NotHonouredError from None
        if answer.status == 304 and self.can_filter:
            return None
        honoured = parse_applied_params(answer.headers)
        if not self.may_filter or honoured is None or not honoured >= params.keys():
            self.honours_params = False
            raise NotHonouredError
        self.honours_params = True
        return answer

    def fetch_unfiltered(
        self, segments: tuple[str, ...], params: Params, etag: str | None = None
    ) -> ClientResponse | None:
        """Return a response, even if parameters were ignored; None if the one with the ETag is still valid."""
        answer = self._get(segments, params, etag)
        return None if answer.status == 304 else answer

    def _get(self, segments: tuple[str, ...], params: Params, etag: str | None) -> ClientResponse:
        try:
            return self.client.get((*API, *segments), params, etag=etag)
        except NotFoundError as error:
            if segments != INSTANCES:
                raise
            raise not_engine_error(self.client, error.message) from None

    def cached(
        self, key: CacheKey, ask: Callable[[str | None], ClientResponse | None], read: Callable[[ClientResponse], T]
    ) -> T:
        """Return the cached value, or read it from a response; ``ask`` gets the ETag of an earlier one."""

        def fetch(etag: str | None) -> FetchResult[T] | None:
            answer = ask(etag)
            return None if answer is None else to_fetch_result(read(answer), answer)

        return self.cache.get_or_fetch(key, fetch)

    # --- refreshing ---

    def refresh(self) -> bool:
        """Show the present from now on; one request with an ETag for each instance in use.

        What was fetched first is revalidated first: if it is still valid, so is everything fetched after it, of the
            same instance or, if the ETag is that of the whole store, of all.
        """
        first, self.is_polling = not self.is_polling, True
        if first or not self.can_filter:
            return super().refresh()
        used = self.cache.used()
        self.cache.expire_all()
        if used and self._is_current(used):
            self.cache.mark_fresh()
            self.forget_failures()
            return False
        self.forget_instances()
        return True

    def _is_current(self, used: list[CacheKey]) -> bool:
        held: set[Hashable] = set()
        for key in used:
            if key[1] in held:
                continue
            try:
                if not self.cache.revalidate(key):
                    return False
            except (NotFoundError, NotHonouredError):
                return False
            if key[0] in STORE_WIDE_KINDS:
                return True
            held.add(key[1])
        return True

    # --- instances ---

    def fetch_page(self, params: Params) -> ResultPage:
        """Fetch a page of instances that the server has filtered and sorted. Raises NotHonouredError."""
        key = ("list", params_key(params))
        ask = partial(self.fetch_filtered, INSTANCES, params)
        part = self.cached(key, ask, lambda answer: Read(answer).instances())
        for found in part.items:
            self.remember_instance(found, key)
        return part

    def fetch_pages(self, params: Params, *, offset: int = 0, limit: int | None = None) -> Iterator[ListedInstance]:
        """Yield instances that the server has filtered and sorted. Raises NotHonouredError at the call."""

        def fetch(size: int, start: int) -> ResultPage:
            part = self.fetch_page(params | {"limit": str(size)} | ({"offset": str(start)} if start else {}))
            self.listed_total = part.total
            return part

        found = fetch_pages(fetch, offset=offset, limit=limit)
        first = next(found, None)
        return iter(()) if first is None else chain((first,), found)

    def list_candidates(self, where: InstanceFilter) -> Iterator[ListedInstance]:
        if self.may_filter:
            with suppress(NotHonouredError):
                return self.fetch_pages(instance_params(where, SortOrder(RECORDED_ORDER)) or {"sort": RECORDED_ORDER})
        return self._list_unfiltered()

    def _list_unfiltered(self) -> Iterator[ListedInstance]:
        """Yield every instance by start time: the server does not tell when they were recorded."""

        def fetch(size: int, start: int) -> ResultPage:
            params: Params = {"limit": str(size), "offset": str(start)}
            ask = partial(self.fetch_unfiltered, INSTANCES, params)
            part = self.cached(("list", params_key(params)), ask, lambda answer: self._read(answer).instances())
            self.listed_total = part.total
            return part

        found = list(fetch_documented_pages(fetch))
        for one in found:
            self.remember_instance(one, ("list",))
        starts = [start for one in found if (start := instance_of(one).started_at) is not None]
        if len(starts) == len(found):
            found = [one for _, one in sorted(zip(starts, found, strict=True), key=itemgetter(0))]
        return iter(found)

    def fetch_instance(self, instance_id: str, etag: str | None) -> FetchResult[ListedInstance] | None:
        """Fetch one instance: from the list if the server filters it; the instance by itself also has variables."""
        params: Params = {"instance": instance_id, "limit": "1"}
        if self.may_filter and is_expressible(params):
            try:
                answer = self.fetch_filtered(INSTANCES, params, etag)
            except NotHonouredError:
                etag = None
            else:
                if answer is None:
                    return None
                found = next(iter(Read(answer).instances().items), None)
                if found is None or instance_of(found).instance_id != instance_id:
                    raise instance_not_found_error(self.client, instance_id)
                return to_fetch_result(found, answer)
        try:
            answer = self.fetch_unfiltered(("processes", instance_id), {}, etag)
        except NotFoundError as error:
            raise instance_not_found_error(self.client, instance_id, error) from None
        if answer is None:
            return None
        read = Read(answer)
        return to_fetch_result(read.found(read.data, read.path), answer)

    # --- tokens of an instance ---

    def fetch_tokens(self, found: ListedInstance, etag: str | None) -> FetchResult[Sequence[Token]] | None:
        return self._fetch_all(found, None, etag, {})

    def fetch_visits(
        self, found: ListedInstance, flows: FlowHistoryMode, etag: str | None, *, live: bool = False
    ) -> FetchResult[Sequence[Visit]] | None:
        """Fetch the token fields that the analyses need; may be called from any thread."""
        params: Params = {"include_variables": "false"}
        if live:
            params["live"] = "true"
        return self._fetch_all(found, flows, etag, params if self.may_filter else {})

    def _fetch_all(
        self, found: ListedInstance, flows: FlowHistoryMode | None, etag: str | None, params: Params
    ) -> FetchResult[Sequence[Any]] | None:
        is_large = isinstance(found, InstanceStatus) and found.total_tokens > MIN_STREAMED_TOKENS
        instance_id = instance_of(found).instance_id
        segments = ("processes", instance_id, "tokens")
        try:
            if is_large and self.can_filter:
                streamed = [*stream_tokens(self.client, found, params, flows)]
                return FetchResult(streamed, len(streamed))
            try:
                answer = (
                    self.fetch_filtered(segments, params, etag) if params else self.fetch_unfiltered(segments, {}, etag)
                )
            except NotHonouredError:
                answer = self.fetch_unfiltered(segments, {}, None)
        except NotFoundError as error:
            raise instance_not_found_error(self.client, instance_id, error) from None
        if answer is None:
            return None
        part = self._read_tokens(answer, found, flows)
        items: list[Any] = [*part.items]
        while part.more and part.items:  # a server that pages although no limit was given
            page = {"offset": str(len(items)), "limit": str(len(part.items))}
            part = self._read_tokens(self.client.get((*API, *segments), page), found, flows)
            items += part.items
        return to_fetch_result(items, answer)

    def _read_tokens(self, answer: ClientResponse, found: ListedInstance, flows: FlowHistoryMode | None) -> ResultPage:
        read = self._read(answer)
        return read.tokens(instance_of(found)) if flows is None else read.visits(instance_of(found), flows)

    def _read(self, answer: ClientResponse) -> Read:
        """Read a response that atomd also sends at the same address, with fewer fields."""
        read = Read(answer)
        if read.has_atomd_pagination:
            raise wrong_kind_error(self.client, "rest", f"{answer.url}: this is what atomd sends")
        return read

    # --- process models ---

    def definition(self, process_id: str, version: int | None) -> Definition | None:
        """Return a process model, the newest version unless one is named; None if the server has none."""

        def fetch(etag: str | None) -> FetchResult[Definition | None] | None:
            params: Params = {} if version is None else {"version": str(version)}
            try:
                answer = self.fetch_unfiltered(("bpmn", "processes", process_id), params, etag)
            except NotFoundError:
                return FetchResult(None)
            except NotAllowedError as error:
                warn(f"Process models are not available: {error.message}")
                return FetchResult(None)
            if answer is None:
                return None
            read = Read(answer)
            model = read.decode(read.path, decode_definition, read.data)
            requested = version in {None, model.version} and model.process_id == process_id
            return to_fetch_result(model if requested else None, answer)

        return self.cache.get_or_fetch(("definition", process_id, version), fetch)


def stream_tokens(
    client: Client, found: ListedInstance, params: Params, flows: FlowHistoryMode | None = None
) -> Iterator[Any]:
    """Yield tokens, or with ``flows`` visits, as they arrive; only a part of the response is in memory."""
    instance_id = instance_of(found).instance_id
    return _stream(client, ("processes", instance_id, "tokens"), params, flows, instance_id)


def stream_all_tokens(client: Client, params: Params) -> Iterator[Token]:
    """Yield the tokens of all instances as they arrive."""
    return _stream(client, ("tokens",), params, None, "")


def _stream(
    client: Client, path: tuple[str, ...], params: Params, flows: FlowHistoryMode | None, instance_id: str
) -> Iterator[Any]:
    segments = (*API, *path)
    url = display_address(client, *segments)
    with client.stream(segments, params) as body:
        records: Iterator[Record | VisitRecord] = (
            read_records(body, name=url, instance_id=instance_id)
            if flows is None
            else read_visit_records(body, name=url, instance_id=instance_id, flows=flows)
        )
        for record in records:
            if isinstance(record, Token):
                yield record
            elif isinstance(record, Sequence):
                yield from record
            elif isinstance(record, RejectedRecord):
                raise reject_error(record, url)


def instance_not_found_error(client: Client, instance_id: str, error: NotFoundError | None = None) -> NotFoundError:
    """Return the error for an instance that the server does not have."""
    if error is not None and error.code is None:
        return error  # not in the API's words: the address may be wrong
    return NotFoundError(
        f"no process instance '{instance_id}' on {display_address(client)}.",
        "See 'tokctl instances list'.",
        code=error.code if error else None,
    )


def params_key(params: Params) -> tuple[tuple[str, Any], ...]:
    """Return parameters as a part of a cache key."""
    return tuple(sorted(params.items()))


def to_fetch_result(value: T, answer: ClientResponse) -> FetchResult[T]:
    """Return the value of a response, its size, and the ETag of the response."""
    return FetchResult(value, len(value) if isinstance(value, Sized) else 1, answer.headers.get("etag"))
