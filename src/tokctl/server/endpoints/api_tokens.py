"""The API tokens: list, get, create, update, delete."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tokctl.access.model import ApiToken, NewApiToken
from tokctl.access.scopes import check_scopes
from tokctl.access.secret import digest, generate, mask
from tokctl.access.wire import api_token_document
from tokctl.errors import StoreError
from tokctl.process.model import to_micros
from tokctl.server import parameters as par
from tokctl.server.bodies import ApiTokenChanges, NewApiTokenBody, wrong
from tokctl.server.cache import Headers
from tokctl.server.operations import Call, Operations, Reply
from tokctl.server.refusals import Refusal
from tokctl.server.routes import API_TOKENS, Operation, Resource
from tokctl.store.api_tokens import ApiTokenTable, ChangedError

MOST_ON_A_PAGE = 100
LONGEST_ID = 18  # digits
LONGEST_REASON = 1000
_TICK = timedelta(microseconds=1)


# --- what they share ----------------------------------------------------------------------------------


def _number(call: Call) -> int:
    text = call.ids[0]
    if not (text.isascii() and text.isdigit() and len(text) <= LONGEST_ID) or text[:1] == "0":
        raise _missing(text)
    return int(text)


def _missing(token_id: str) -> Refusal:
    return Refusal(404, "NOT_FOUND", "There is no such API token.", {"id": token_id})


def _found(table: ApiTokenTable, number: int) -> ApiToken:
    token = table.by_id(number)
    if token is None or token.revoked_at is not None:
        raise _missing(str(number))
    return token


def _etag(token: ApiToken) -> tuple[bytes, bytes]:
    """The version of what can be changed; a use of the API token makes no other."""
    return b"etag", f'"{token.id}-{to_micros(token.updated_at)}"'.encode()


def _check_match(call: Call, token: ApiToken) -> None:
    """Refuse a version that the caller does not expect (RFC 9110, section 13.1.1)."""
    if call.if_match is None or call.if_match.strip() == b"*":
        return
    if _etag(token)[1] not in [tag.strip() for tag in call.if_match.split(b",")]:
        raise _changed(call)


def _changed(call: Call) -> Refusal:
    message = "The API token was changed in the meantime."
    if call.if_match is None:
        return Refusal(409, "CONFLICT", message)
    return Refusal(412, "PRECONDITION_FAILED", message)


# --- operations ---------------------------------------------------------------------------------------


async def _list(operations: Operations, call: Call) -> Reply:
    page, size, name = (call.values[part] for part in ("page", "pageSize", "name"))
    tokens, total = await operations.read(lambda store: store.api_tokens.page(page, size, name))
    return Reply({
        "data": [api_token_document(token) for token in tokens],
        "meta": {
            "pagination": {"page": page, "pageSize": size, "total": total},
            "permissions": [*call.caller.grants],
        },
    })  # fmt: skip


async def _get(operations: Operations, call: Call) -> Reply:
    token = _found(operations.app.present.look().api_tokens, _number(call))
    return Reply(api_token_document(token), [_etag(token)])


async def _create(operations: Operations, call: Call) -> Reply:
    body: NewApiTokenBody = call.body
    if body.expires_at is not None and body.expires_at <= call.now:
        raise _past()
    scopes = check_scopes(body.scopes)
    call.caller.check_grant(scopes)
    pepper, secret = operations.authority.pepper, generate()
    wanted = NewApiToken(
        name=body.name,
        token=mask(secret),
        type=body.type,
        description=body.description,
        scopes=scopes,
        created_by=call.caller.created_by,
        created_at=call.now,
        expires_at=body.expires_at,
    )

    def create(table: ApiTokenTable) -> ApiToken:
        if table.peppers() - {pepper.id}:
            raise StoreError("the store's API tokens stand under another pepper than the server's.")
        return table.create(wanted, digest(pepper.key, secret), pepper.id, by=call.caller.actor)

    made = await operations.change(call.caller, create)
    headers: Headers = [(b"location", f"{API_TOKENS}/{made.id}".encode()), _etag(made)]
    return Reply(api_token_document(made) | {"token": secret}, headers)


async def _update(operations: Operations, call: Call) -> Reply:
    number, body = _number(call), call.body
    changes: dict[str, Any] = body.given()
    if "scopes" in changes:
        changes["scopes"] = check_scopes(changes["scopes"])

    def update(table: ApiTokenTable) -> ApiToken:
        before = _found(table, number)
        _check_match(call, before)
        expiry = changes.get("expires_at")
        if expiry is not None and expiry <= call.now and expiry != before.expires_at:
            raise _past()
        call.caller.check_grant(changes.get("scopes", before.scopes or ()))
        at = max(call.now, (before.updated_at or before.created_at) + _TICK)  # each version has its own
        try:
            return table.update(number, changes, at, by=call.caller.actor, known=before.updated_at)
        except ChangedError:
            raise _changed(call) from None

    token = await operations.change(call.caller, update)
    return Reply(api_token_document(token), [_etag(token)])


async def _revoke(operations: Operations, call: Call) -> Reply:
    number, why = _number(call), call.values["reason"] or ""

    def revoke(table: ApiTokenTable) -> None:
        before = _found(table, number)
        _check_match(call, before)
        known = None if call.if_match is None else before.updated_at
        try:
            if not table.revoke(number, call.now, by=call.caller.actor, why=why, known=known):
                raise _missing(str(number))
        except ChangedError:
            raise _changed(call) from None

    await operations.change(call.caller, revoke)
    return Reply({"message": "The API token was revoked."})


def _past() -> Refusal:
    return wrong("expiresAt", "'expiresAt' has to be in the future.")


ALL = Resource(
    path=API_TOKENS,
    operations={
        "GET": Operation(
            name="listApiTokens",
            text="The API tokens that are not revoked, the newest first. meta.permissions are the scopes that the "
            "caller may give.",
            schema="ApiTokenList",
            parameters=par.table(
                par.number("page", "Which page, from 1.", least=1, default=1),
                par.number("pageSize", "How many a page has.", least=1, most=MOST_ON_A_PAGE, default=10),
                par.text("name", "Only those of exactly this name."),
            ),
            run=_list,
        ),
        "POST": Operation(
            name="createApiToken",
            text="Create an API token. Its secret is in this answer, and in no other. Nobody gives scopes that he "
            "does not hold.",
            schema="ApiToken",
            status=201,
            body=NewApiTokenBody,
            run=_create,
        ),
    },
)

ONE = Resource(
    path=f"{API_TOKENS}/{{id}}",
    operations={
        "GET": Operation(
            name="getApiToken", text="An API token, with its mask.", schema="ApiToken", faults=(404,), run=_get
        ),
        "PUT": Operation(
            name="updateApiToken",
            text="Change an API token: the members that are given. If-Match holds for the ETag of an earlier answer. "
            "Nobody gives scopes that he does not hold.",
            schema="ApiToken",
            faults=(404, 409, 412),
            body=ApiTokenChanges,
            run=_update,
        ),
        "DELETE": Operation(
            name="deleteApiToken",
            text="Revoke an API token: from now on it opens nothing. If-Match holds for the ETag of an earlier answer.",
            schema="Message",
            parameters=par.table(par.text("reason", "Why; the audit tells it.", most=LONGEST_REASON)),
            faults=(404, 412),
            run=_revoke,
        ),
    },
)
