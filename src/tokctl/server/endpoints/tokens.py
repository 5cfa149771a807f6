"""Tokens: those of an instance, a single one, and those whose ids begin alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tokctl.errors import NotFoundError
from tokctl.process.model import COMPLETED, NULL
from tokctl.process.query import TOKEN_ORDERS, TokenFilter
from tokctl.process.wire import summary_document, token_document
from tokctl.server import parameters as par
from tokctl.server.endpoints.common import array, encode, found, instance_tag, is_small_instance, members, store_tag
from tokctl.server.refusals import Refusal, invalid, unknown_token
from tokctl.server.routes import PREFIX, Endpoint, Question
from tokctl.store.base import Store

MOST_PREFIXED = 1000
SMALL = 10  # tokens of any instances, whose documents may be large
INSTANCES_TOLD = 100


def _filter(question: Question) -> TokenFilter:
    values = question.values
    if not values["include_completed"] and COMPLETED in values["state"]:
        raise invalid("include_completed", "include_completed=false and state=COMPLETED contradict each other.")
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


def _tag_of_instance(store: Store, question: Question) -> str:
    _filter(question)
    return instance_tag(store, question.id)


def _tokens(store: Store, question: Question) -> Iterator[bytes]:
    values, where = question.values, _filter(question)
    limit, offset = values["limit"], values["offset"]
    status = found(store, question.id)
    head = {"instance_id": status.instance.instance_id, "process_id": status.instance.process_id}
    yield b"{" + members(head) + b',"tokens":'
    documents: Iterable[dict[str, Any]] = map(
        token_document, store.tokens(question.id, where, values["sort"], limit=limit, offset=offset or 0)
    )
    if not values["include_variables"]:
        documents = (document | {"variables": NULL} for document in documents)
    yield from array(_counted(documents, question))
    tail: dict[str, Any] = {"summary": summary_document(store.summary(question.id))}
    if limit is not None or offset is not None:
        total = store.count_tokens(question.id, where)
        tail |= {"total_count": total, "has_more": limit is not None and (offset or 0) + limit < total}
    yield b"," + members(tail) + b"}"


def _counted(documents: Iterable[dict[str, Any]], question: Question) -> Iterator[dict[str, Any]]:
    for document in documents:
        question.told.tokens += 1
        yield document


OF_INSTANCE = Endpoint(
    path=f"{PREFIX}/processes/{{instance_id}}/tokens",
    name="listTokens",
    text="The tokens of a process instance, in order of creation unless told. The summary is of the whole instance.",
    schema="TokenList",
    permissions=("process",),
    parameters=par.table(
        par.states("state", "Only tokens in one of these states."),
        par.types("element_type", "Only elements of these types, or families of them: gateway, task, event."),
        par.flag("include_completed", "Whether to tell of COMPLETED tokens.", default=True),
        par.texts("element", "Only elements whose id or name fits one of these patterns (* ? [a-z])."),
        par.texts("worker", "Only workers that fit one of these patterns."),
        par.moment("since", "Only what changed since then."),
        par.moment("until", "Only what was created before then."),
        par.flag("live", "Only what has not come to its end.", default=False),
        par.order("sort", "What to sort by; '-' in front for the reverse.", TOKEN_ORDERS, "created"),
        par.number("limit", "At most so many tokens.", least=1),
        par.number("offset", "Leave out so many of the first."),
        par.flag("include_variables", "Whether to tell variables; else they are null.", default=True),
    ),
    faults=(404,),
    tag=_tag_of_instance,
    is_small=lambda store, question: is_small_instance(store, question.id),
    pieces=_tokens,
)


# --- one ------------------------------------------------------------------------------------------


def _instance_of(store: Store, question: Question) -> str:
    """The instance of the token that is asked for."""
    wanted: str | None = question.values["instance_id"]
    if wanted is not None:
        return wanted
    pairs = store.token_ids(question.id, None, INSTANCES_TOLD + 1)  # of ids that begin alike, the shortest is first
    instances = [instance for instance, token in pairs if token == question.id]
    if not instances:
        raise unknown_token(question.id)
    if len(instances) > 1:
        raise Refusal(409, "CONFLICT", "Several process instances have such a token: name one by instance_id.",
                      {"token_id": question.id, "instances": instances[:INSTANCES_TOLD]})  # fmt: skip
    return instances[0]


def _tag_of_token(store: Store, question: Question) -> str:
    instance_id = _instance_of(store, question)
    try:
        store.token(instance_id, question.id)
    except NotFoundError:
        raise unknown_token(question.id) from None
    return instance_tag(store, instance_id)


def _token(store: Store, question: Question) -> Iterator[bytes]:
    token = store.token(_instance_of(store, question), question.id)
    yield encode(token_document(token, instance=True))


ONE = Endpoint(
    path=f"{PREFIX}/tokens/{{token_id}}",
    name="getToken",
    text="A token. Where several process instances have one of this id, the instance has to be named.",
    schema="StandaloneToken",
    permissions=("token",),
    parameters=par.table(par.text("instance_id", "The process instance of the token.")),
    faults=(404, 409),
    tag=_tag_of_token,
    pieces=_token,
)


# --- those that begin alike -------------------------------------------------------------------------


def _prefixed(store: Store, question: Question) -> Iterator[bytes]:
    limit = question.values["limit"]
    pairs = store.token_ids(question.values["token"] or "", None, limit + 1)
    yield b'{"tokens":'
    yield from array(token_document(store.token(*pair), instance=True) for pair in pairs[:limit])
    yield b"," + members({"has_more": len(pairs) > limit}) + b"}"


BY_PREFIX = Endpoint(
    path=f"{PREFIX}/tokens",
    name="findTokens",
    text="The tokens whose ids begin with a text, by token id and instance id.",
    schema="FoundTokens",
    permissions=("token",),
    parameters=par.table(
        par.text("token", "How the tokens' ids begin."),
        par.number("limit", "At most so many tokens.", least=1, most=MOST_PREFIXED, default=100),
    ),
    tag=lambda store, _: store_tag(store),
    is_small=lambda _, question: question.values["limit"] <= SMALL,
    pieces=_prefixed,
)
