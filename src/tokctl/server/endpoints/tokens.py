"""Tokens: those of an instance, a single one, and those whose ids have a prefix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tokctl.documents.base import Document
from tokctl.documents.tokens import encode_token
from tokctl.engines.projection import Projection
from tokctl.errors import NotFoundError
from tokctl.model.filters import RECORDED_ORDER, TOKEN_SORT_COLUMNS, TokenFilter
from tokctl.model.states import COMPLETED
from tokctl.server import parameters as par
from tokctl.server.endpoint import API_PREFIX, Endpoint, Query, StoreResponse
from tokctl.server.endpoints.common import (
    encode,
    encode_array,
    encode_members,
    get_instance,
    is_small_instance,
    read_instance_tag,
    read_store_tag,
)
from tokctl.server.http_errors import HTTPError, invalid_parameter, token_not_found
from tokctl.store.protocol import Store

MAX_PREFIX_MATCHES = 1000
MAX_SMALL_LIMIT = 10  # tokens of any instances; their documents may be large
MAX_LISTED_INSTANCES = 100


def _make_filter(query: Query) -> TokenFilter:
    values = query.values
    if not values["include_completed"] and COMPLETED in values["state"]:
        raise invalid_parameter(
            "include_completed", "include_completed=false and state=COMPLETED cannot be used together."
        )
    return TokenFilter(
        states=values["state"],
        types=values["element_type"],
        elements=values["element"],
        workers=values["worker"],
        since=values["since"],
        until=values["until"],
        live=values["live"],
        include_completed=values["include_completed"],
    )


def _read_list_tag(store: Store, query: Query) -> str:
    _make_filter(query)
    return read_instance_tag(store, query.id)


def _read_tokens(store: Store, query: Query) -> Iterator[bytes]:
    values, where = query.values, _make_filter(query)
    limit, offset = values["limit"], values["offset"]
    status = get_instance(store, query.id)
    head = {"instance_id": status.instance.instance_id, "process_id": status.instance.process_id}
    yield b"{" + encode_members(head) + b',"tokens":'
    projection = Projection.TOKENS if values["include_variables"] else Projection.VISITS_WITH_FLOWS
    tokens = store.tokens(query.id, where, values["sort"], limit=limit, offset=offset or 0, projection=projection)
    documents = (encode_token(token, variables=values["include_variables"]) for token in tokens)
    yield from encode_array(_count_tokens(documents, query))
    tail: dict[str, Any] = {"summary": store.summary(query.id)}
    if limit is not None or offset is not None:
        total = store.count_tokens(query.id, where)
        tail |= {"total_count": total, "has_more": limit is not None and (offset or 0) + limit < total}
    yield b"," + encode_members(tail) + b"}"


def _count_tokens(documents: Iterable[Document], query: Query) -> Iterator[Document]:
    for document in documents:
        query.stats.tokens += 1
        yield document


_FILTERS = (
    par.states("state", "Only tokens in one of these states."),
    par.types("element_type", "Only elements of these types or families of types: gateway, task, event."),
    par.flag("include_completed", "Include COMPLETED tokens.", default=True),
    par.texts("element", "Only elements whose id or name matches one of these patterns (* ? [a-z])."),
    par.texts("worker", "Only workers that match one of these patterns."),
    par.moment("since", "Only tokens changed at or after this time."),
    par.moment("until", "Only tokens created before this time."),
    par.flag("live", "Only tokens that have not finished.", default=False),
)
_OFFSET = par.number("offset", "Number of tokens to skip.")
_INCLUDE_VARIABLES = par.flag("include_variables", "Include variables; otherwise they are null.", default=True)

OF_INSTANCE = Endpoint(
    path=f"{API_PREFIX}/processes/{{instance_id}}/tokens",
    name="listTokens",
    text="List the tokens of a process instance, by default by creation time. The summary covers all its tokens.",
    schema="TokenList",
    permissions=("process",),
    parameters=par.table(
        *_FILTERS,
        par.order("sort", "Sort column; a leading '-' reverses the order.", TOKEN_SORT_COLUMNS, "created"),
        par.number("limit", "Maximum number of tokens.", minimum=1),
        _OFFSET,
        _INCLUDE_VARIABLES,
    ),
    errors=(404,),
    handler=StoreResponse(
        tag=_read_list_tag,
        is_small=is_small_instance,
        pieces=_read_tokens,
    ),
)


# --- one token ------------------------------------------------------------------------------------


def _find_instance_id(store: Store, query: Query) -> str:
    """Return the id of the token's instance."""
    wanted: str | None = query.values["instance_id"]
    if wanted is not None:
        return wanted
    pairs = store.token_ids(query.id, None, MAX_LISTED_INSTANCES + 1)  # the shortest id comes first
    instances = [instance for instance, token in pairs if token == query.id]
    if not instances:
        raise token_not_found(query.id)
    if len(instances) > 1:
        raise HTTPError(
            409,
            "CONFLICT",
            "Several process instances have a token with this id. Set instance_id.",
            {"token_id": query.id, "instances": instances[:MAX_LISTED_INSTANCES]},
        )
    return instances[0]


def _read_tag(store: Store, query: Query) -> str:
    instance_id = _find_instance_id(store, query)
    try:
        store.token(instance_id, query.id)
    except NotFoundError:
        raise token_not_found(query.id) from None
    return read_instance_tag(store, instance_id)


def _read_token(store: Store, query: Query) -> Iterator[bytes]:
    token = store.token(_find_instance_id(store, query), query.id)
    yield encode(encode_token(token, instance=True))


ONE = Endpoint(
    path=f"{API_PREFIX}/tokens/{{token_id}}",
    name="getToken",
    text="Get a token. If several process instances have a token with this id, instance_id is required.",
    schema="StandaloneToken",
    permissions=("token",),
    parameters=par.table(par.text("instance_id", "The process instance of the token.")),
    errors=(404, 409),
    handler=StoreResponse(tag=_read_tag, pieces=_read_token),
)


# --- tokens of all instances ----------------------------------------------------------------------


def _read_all_tag(store: Store, query: Query) -> str:
    limit = query.values["limit"]
    if _has_filters(query):
        _make_filter(query)
        if query.values["token"] is not None:
            raise invalid_parameter("token", "'token' cannot be used together with filters, sort or offset.")
    elif not 1 <= limit <= MAX_PREFIX_MATCHES:
        raise invalid_parameter("limit", f"'limit' has to be from 1 to {MAX_PREFIX_MATCHES} without filters or sort.")
    return read_store_tag(store, query)


def _has_filters(query: Query) -> bool:
    return not _ID_PARAMETERS.issuperset(filter(None, query.applied.split(", ")))


def _read_all(store: Store, query: Query) -> Iterator[bytes]:
    return _read_filtered(store, query) if _has_filters(query) else _find_by_prefix(store, query)


def _read_filtered(store: Store, query: Query) -> Iterator[bytes]:
    values, where = query.values, _make_filter(query)
    limit, offset = values["limit"] or None, values["offset"] or 0
    variables = values["include_variables"]
    projection = Projection.TOKENS if variables else Projection.VISITS_WITH_FLOWS
    tokens = store.tokens(None, where, values["sort"], limit=limit, offset=offset, projection=projection)
    yield b'{"tokens":'
    documents = (encode_token(token, instance=True, variables=variables) for token in tokens)
    yield from encode_array(_count_tokens(documents, query))
    total = store.count_tokens(None, where)
    tail = {"total_count": total, "has_more": limit is not None and offset + limit < total}
    yield b"," + encode_members(tail) + b"}"


def _find_by_prefix(store: Store, query: Query) -> Iterator[bytes]:
    limit, variables = query.values["limit"], query.values["include_variables"]
    pairs = store.token_ids(query.values["token"] or "", None, limit + 1)
    yield b'{"tokens":'
    yield from encode_array(
        encode_token(store.token(*pair), instance=True, variables=variables) for pair in pairs[:limit]
    )
    yield b"," + encode_members({"has_more": len(pairs) > limit}) + b"}"


_ID_PARAMETERS = {"token", "limit", "include_variables"}

OF_ALL = Endpoint(
    path=f"{API_PREFIX}/tokens",
    name="findTokens",
    text="List tokens of all process instances: with filters, 'sort' or 'offset' those that match, otherwise those "
    "whose ids begin with 'token', sorted by token id and instance id.",
    schema="FoundTokens",
    permissions=("token",),
    parameters=par.table(
        par.text("token", "Prefix of the token ids. Cannot be combined with filters, sort or offset."),
        *_FILTERS,
        par.order(
            "sort",
            "Sort column; a leading '-' reverses the order. 'recorded' lists the tokens instance by instance.",
            (*TOKEN_SORT_COLUMNS, RECORDED_ORDER),
            RECORDED_ORDER,
        ),
        par.number(
            "limit",
            f"Maximum number of tokens; 0 for all. Without filters, sort or offset from 1 to {MAX_PREFIX_MATCHES}.",
            default=100,
        ),
        _OFFSET,
        _INCLUDE_VARIABLES,
    ),
    handler=StoreResponse(
        tag=_read_all_tag,
        is_small=lambda _, query: not _has_filters(query) and query.values["limit"] <= MAX_SMALL_LIMIT,
        pieces=_read_all,
    ),
)
