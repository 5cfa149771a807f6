"""The documented REST API as an engine; a server that supports query parameters does the filtering."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from tokctl.capabilities import Capability, Support
from tokctl.client.connection import CredentialProbe
from tokctl.engines.capabilities import EngineCapabilities
from tokctl.engines.connect import create_client
from tokctl.engines.documented_api import (
    DocumentedEngine,
    NotHonouredError,
    instance_not_found_error,
    params_key,
    stream_all_tokens,
    stream_tokens,
)
from tokctl.engines.projection import Projection
from tokctl.engines.query_params import (
    MAX_LIMIT,
    Params,
    instance_params,
    is_expressible,
    sort_param,
    token_params,
)
from tokctl.engines.remote import MAX_SMALL_INSTANCE_TOKENS, ListedInstance, instance_of
from tokctl.engines.rest_responses import MAX_PAGE_SIZE, ResponseReader, ResultPage
from tokctl.errors import NotAllowedError, NotFoundError
from tokctl.model.filters import RECORDED_ORDER, InstanceFilter, SortOrder, TokenFilter
from tokctl.model.instance_status import InstanceStatus
from tokctl.model.instances import Instance, Summary
from tokctl.model.tokens import Token

if TYPE_CHECKING:
    from tokctl.client import ClientResponse
    from tokctl.config import Settings

_PROBE: Params = {"limit": "1", "include_variables": "false"}
_DurationRows = list[tuple[str, str, float]]


PROBE = ("health",)
"""The path below the root of the request that recognizes the kind."""
ROOTS = ("",)
"""Usual roots of the API below the origin of a server."""
CREDENTIAL_PROBE = CredentialProbe(("api", "v1", "processes"), {"limit": "1"})
CAPABILITIES = EngineCapabilities(
    title="tokctl serve, and other servers with the documented API",
    states=Capability(Support.YES),
    errors=Capability(Support.YES, "in the execution context"),
    stack_traces=Capability(Support.PARTLY, "if the server sends them"),
    retries=Capability(Support.YES),
    workers=Capability(Support.YES),
    jobs=Capability(Support.YES, "key and type of the job of a token"),
    timers=Capability(Support.PARTLY, "if the server sends the due time, or the model has a fixed duration"),
    user_tasks=Capability(Support.PARTLY, "if the server sends them"),
    messages=Capability(Support.DERIVED, "names come from the BPMN XML, if the server sends it"),
    variables=Capability(Support.YES, "the latest values, and changes between tokens"),
    elements=Capability(Support.YES),
    models=Capability(Support.PARTLY, "if the server has the endpoint, as 'tokctl serve' does"),
    parents=Capability(Support.YES),
    flows=Capability(Support.YES, "in the flow history"),
    cancellation=Capability(Support.YES),
    called_instances=Capability(Support.PARTLY, "if the server sends them"),
    past_state=Capability(Support.YES, "all but earlier values of variables"),
    server_filters=Capability(Support.PARTLY, "as 'tokctl serve' does; otherwise applied by tokctl"),
    bounded_debug=Capability(Support.NO, "one request for each live instance, several at a time"),
    changes=Capability(Support.PARTLY, "if the server sends ETags, as 'tokctl serve' does"),
)


def open_engine(settings: Settings, reading: Projection) -> RestEngine:
    """Return an engine of the server that the settings name; it connects when it is first used."""
    return RestEngine(create_client(settings), settings.server or "", reading)


def recognizes(health: Any) -> bool:
    """Tell whether a response to ``/health`` is from ``tokctl serve``: it has the name of the service."""
    data = health.get("data") if isinstance(health, dict) else None
    return isinstance(data, dict) and data.get("service") == "tokctl"


class RestEngine(DocumentedEngine):
    """Requests only the needed data from a server that filters; otherwise uses the generic methods."""

    kind = "rest"

    # --- instances ---

    def instances(
        self, where: InstanceFilter, order: SortOrder, *, limit: int | None = None, offset: int = 0
    ) -> Iterator[InstanceStatus]:
        """Yield instances in order, as the server filters and sorts them."""
        if limit == 0:
            return iter(())
        params = instance_params(where, order) if self.may_filter else None
        if params is not None:
            with suppress(NotHonouredError):
                return self._to_statuses(self.fetch_pages(params, offset=min(offset, MAX_LIMIT), limit=limit))
        return super().instances(where, order, limit=limit, offset=offset)

    def _to_statuses(self, several: Iterable[ListedInstance]) -> Iterator[InstanceStatus]:
        return (one if isinstance(one, InstanceStatus) else self.instance(one.instance_id) for one in several)

    def count_instances(self, where: InstanceFilter) -> int:
        """Count the instances that match, by the total of a list's first page."""
        params = instance_params(where) if self.may_filter else None
        if params is not None:
            with suppress(NotHonouredError):
                total = self.fetch_page(params | {"limit": "1"}).total
                if total is not None:
                    return total
        return super().count_instances(where)

    def instance_ids(self, prefix: str, limit: int) -> list[str]:
        """Return ids of instances that begin with a prefix, in order.

        If the server does not support prefixes, only a complete id returns a result.
        """
        params: Params = {"instance": prefix, "limit": str(min(max(limit, 10), MAX_PAGE_SIZE))}
        if self.may_filter and (not prefix or is_expressible(params)) and limit <= MAX_PAGE_SIZE:
            with suppress(NotHonouredError):
                return [instance_of(found).instance_id for found in self.fetch_page(params).items][:limit]
        if prefix and not self.can_filter:
            with suppress(NotFoundError):
                return [instance_of(self.found(prefix)).instance_id][:limit]
        return super().instance_ids(prefix, limit)

    def latest_instance_id(self) -> str | None:
        """Return the id of the instance that started last; of several, the last id."""
        for limit in (10, None) if self.may_filter else ():
            try:
                found = list(self._to_statuses(self.fetch_pages({"sort": "-started"}, limit=limit)))
            except NotHonouredError:
                break
            same = [status for status in found if status.started_at == found[0].started_at]
            if not same:
                return None
            if len(same) != limit:
                return same[-1].instance.instance_id  # equal ones come in the order of their ids
        return super().latest_instance_id()

    def found(self, instance_id: str) -> ListedInstance:
        """Return an instance as the server sends it. Raises NotFoundError."""
        if self.is_polling and self.can_filter and instance_id not in self.known:
            # First, so that everything fetched later is at least as new as the ETag of this response.
            self._fetch_token_page(instance_id, _PROBE)
        return super().found(instance_id)

    # --- tokens of an instance ---

    def _fetch_token_page(self, instance_id: str, params: Params) -> ResultPage:
        """Fetch a page of tokens that the server has filtered and sorted. Raises NotHonouredError, NotFoundError."""

        def ask(etag: str | None) -> ClientResponse | None:
            try:
                return self.fetch_filtered(("processes", instance_id, "tokens"), params, etag)
            except NotFoundError as error:
                raise instance_not_found_error(self.client, instance_id, error) from None

        def read(answer: ClientResponse) -> ResultPage:
            # The probe comes before the instance is known; its token is not used.
            instance = Instance(instance_id=instance_id) if params is _PROBE else instance_of(self.found(instance_id))
            return ResponseReader(answer).tokens(instance)

        return self.cached(("part", instance_id, params_key(params)), ask, read)

    def _find_filterable(self, instance_id: str) -> InstanceStatus | None:
        """Return an instance whose tokens the server can filter; None if they are cached or it cannot."""
        if not self.may_filter or self.cache.get_fresh(("tokens", instance_id)) is not None:
            return None
        found = self.found(instance_id)
        return found if isinstance(found, InstanceStatus) else None

    def tokens(
        self,
        instance_id: str | None,
        where: TokenFilter,
        order: SortOrder,
        *,
        limit: int | None = None,
        offset: int = 0,
        projection: Projection = Projection.TOKENS,
    ) -> Iterator[Token]:
        """Yield tokens of an instance (None: of all) in order; very many are decoded as they arrive."""
        if instance_id is None:
            return self._all_tokens(where, order, limit=limit, offset=offset, projection=projection)
        status = self._find_filterable(instance_id)
        params = None if status is None else token_params(where, order)
        if status is None or params is None or limit == 0:
            return super().tokens(instance_id, where, order, limit=limit, offset=offset)
        expected = status.total_tokens
        if offset:
            params["offset"] = str(min(offset, MAX_LIMIT))
        if limit is not None and limit < expected:
            params["limit"], expected = str(limit), limit
        if not params and expected <= MAX_SMALL_INSTANCE_TOKENS:
            return super().tokens(instance_id, where, order)
        if projection is not Projection.TOKENS:
            params["include_variables"] = "false"
        try:
            if expected <= MAX_SMALL_INSTANCE_TOKENS:
                return iter(self._fetch_token_page(instance_id, params).items)
            self._fetch_token_page(instance_id, _PROBE)  # shows whether the server applies parameters, and the totals
            return stream_tokens(self.client, status, params)
        except NotHonouredError:
            return super().tokens(instance_id, where, order, limit=limit, offset=offset)

    def _all_tokens(
        self, where: TokenFilter, order: SortOrder, *, limit: int | None, offset: int, projection: Projection
    ) -> Iterator[Token]:
        params = token_params(where) if self.may_filter else None
        if params is not None and limit != 0:
            params |= {"sort": sort_param(order), "limit": "0" if limit is None else str(limit)}
            if offset:
                params["offset"] = str(min(offset, MAX_LIMIT))
            if projection is not Projection.TOKENS:
                params["include_variables"] = "false"
            try:
                if limit is not None and limit <= MAX_PAGE_SIZE:
                    return iter(self._fetch_token_list(params).items)
                self._fetch_token_list(params | _PROBE)  # tells whether it honours parameters
                return stream_all_tokens(self.client, params)
            except (NotHonouredError, NotFoundError):
                self.honours_params = False
        return super().tokens(None, where, order, limit=limit, offset=offset, projection=projection)

    def _fetch_token_list(self, params: Params) -> ResultPage:
        """Fetch tokens of all instances that the server has filtered. Raises NotHonouredError, NotFoundError."""
        ask = partial(self.fetch_filtered, ("tokens",), params)
        return self.cached(("token list", params_key(params)), ask, lambda answer: ResponseReader(answer).all_tokens())

    def summary(self, instance_id: str) -> Summary:
        """Return the totals of a whole instance, which every page of its tokens contains."""
        for key in self.cache.used():
            if key[:2] == ("part", instance_id):
                part: ResultPage | None = self.cache.get_fresh(key)
                if part is not None and part.summary is not None:
                    return part.summary
        if self.can_filter and not self.is_small(instance_id):
            summary = self._fetch_token_page(instance_id, _PROBE).summary
            if summary is not None:
                return summary
        return super().summary(instance_id)

    def count_tokens(self, instance_id: str | None, where: TokenFilter) -> int:
        """Count the tokens of an instance (None: of all) that match, by the total of a page."""
        asked = self.may_filter if instance_id is None else self._find_filterable(instance_id) is not None
        params = token_params(where) if asked else None
        if params is not None:
            with suppress(NotHonouredError, NotFoundError):
                page = (
                    self._fetch_token_list(params | {"sort": RECORDED_ORDER} | _PROBE)
                    if instance_id is None
                    else self._fetch_token_page(instance_id, params | _PROBE)
                )
                if page.total is not None:
                    return page.total
        return super().count_tokens(instance_id, where)

    def token(self, instance_id: str, token_id: str) -> Token:
        """Return one token; if the instance has many, only this token is fetched."""
        cached = self.cache.get_fresh(("tokens", instance_id))
        if cached is None and self.can_filter and not self.is_small(instance_id):
            try:
                return self._fetch_token(instance_id, token_id)
            except NotAllowedError:
                pass  # it needs a permission of its own
            except NotFoundError as error:
                if error.code == "TOKEN_NOT_FOUND":
                    raise NotFoundError(f"no token '{token_id}' in instance '{instance_id}'.") from None
        return super().token(instance_id, token_id)

    def _fetch_token(self, instance_id: str, token_id: str) -> Token:
        def read(answer: ClientResponse) -> Token:
            reader = ResponseReader(answer)
            return reader.token(reader.data, reader.path, instance_of(self.found(instance_id)))

        ask = partial(self.fetch_filtered, ("tokens", token_id), {"instance_id": instance_id})
        return self.cached(("token", instance_id, token_id), ask, read)

    def token_ids(self, prefix: str, instance_id: str | None, limit: int) -> list[tuple[str, str]]:
        """Return (instance id, token id) of tokens whose id begins with a prefix, in order.

        If the server does not support prefixes, only a complete id returns a result.
        """
        if instance_id is not None or limit == 0:
            return super().token_ids(prefix, instance_id, limit) if limit else []
        params: Params = {"limit": str(min(limit, MAX_PAGE_SIZE))}
        if prefix:
            params["token"] = prefix
        if self.may_filter and is_expressible(params) and limit <= MAX_PAGE_SIZE:
            try:
                return self._fetch_token_ids(params)
            except (NotHonouredError, NotFoundError):
                self.honours_params = False
        if prefix and not self.can_filter:
            with suppress(NotFoundError):
                answer = self.fetch_unfiltered(("tokens", prefix), {})
                if answer is not None:
                    read = ResponseReader(answer)
                    return [_read_token_ids(read, read.data, read.path)]
        return super().token_ids(prefix, None, limit)

    def _fetch_token_ids(self, params: Params) -> list[tuple[str, str]]:
        def ask(etag: str | None) -> ClientResponse | None:
            try:
                return self.fetch_filtered(("tokens",), params, etag)
            except NotAllowedError as error:
                raise NotAllowedError(error.message, "Or give the instance before the token.") from None

        return self.cached(("token ids", params_key(params)), ask, _read_token_id_list)

    # --- durations ---

    def visit_durations(
        self, process_id: str | None, elements: Collection[str] | None, instances: int
    ) -> Iterator[tuple[str, str, float]]:
        """Yield durations of the last instances of a process, as the server computes them."""
        if elements is not None and not elements:
            return iter(())
        if self.may_filter and process_id is not None and 1 <= instances <= MAX_PAGE_SIZE:
            wanted = None if elements is None else frozenset(elements)
            params: Params = {"instances": str(instances)}
            named: Params = {} if wanted is None else {"element": tuple(sorted(wanted))}
            if is_expressible(named):
                params |= named
            ask = partial(self.fetch_filtered, ("bpmn", "processes", process_id, "durations"), params)
            with suppress(NotHonouredError, NotFoundError):
                found = self.cached(("durations", process_id, params_key(params)), ask, _read_durations)
                return (one for one in found if wanted is None or one[1] in wanted)
        return super().visit_durations(process_id, elements, instances)


def _read_token_ids(read: ResponseReader, raw: msgspec.Raw, path: str) -> tuple[str, str]:
    token = read.token(raw, path, None)
    return token.instance_id, token.token_id


def _read_token_id_list(answer: ClientResponse) -> list[tuple[str, str]]:
    read = ResponseReader(answer)
    items, _, path = read.read_token_list()
    return [_read_token_ids(read, raw, at) for raw, at in read.read_items(items, path)]


def _read_durations(answer: ClientResponse) -> _DurationRows:
    read = ResponseReader(answer)
    found: _DurationRows = read.value(read.read_object(read.data, read.path), "durations", _DurationRows, [])
    return found
