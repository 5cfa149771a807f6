"""API tokens: list, get, create, update, revoke."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from tokctl.api_tokens.idempotency import (
    IDEMPOTENCY_KEY,
    REPEAT_WINDOW,
    CreationKey,
    derive_secret,
    digest_key,
    generate_salt,
    parse_key,
)
from tokctl.api_tokens.secrets import digest, generate, mask
from tokctl.documents.api_tokens import ApiTokenListMeta, MessageDocument, PaginationDocument, encode_api_token
from tokctl.errors import StoreError, UsageError
from tokctl.model.api_tokens import ApiToken, NewApiToken
from tokctl.model.durations import format_timedelta
from tokctl.model.networks import validate_networks
from tokctl.model.scopes import validate_scopes
from tokctl.model.times import to_micros
from tokctl.server import parameters as par
from tokctl.server.cache import Headers
from tokctl.server.endpoint import DocumentResponse, Endpoint, Query, Response
from tokctl.server.http_errors import HTTPError
from tokctl.server.lifetimes import ends_by
from tokctl.server.request import API_TOKENS_PATH
from tokctl.server.request_bodies import ApiTokenChanges, NewApiTokenBody, invalid_member
from tokctl.server.services import Services
from tokctl.store.protocol import ApiTokenTable, ChangedError, RepeatedCreationError

MAX_PAGE_SIZE = 100
MAX_ID_LENGTH = 18  # digits
MAX_REASON_LENGTH = 1000
_TICK = timedelta(microseconds=1)


# --- shared by operations -----------------------------------------------------------------------------


def _parse_token_id(query: Query) -> int:
    text = query.ids[0]
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_ID_LENGTH) or text[:1] == "0":
        raise _not_found_error(text)
    return int(text)


def _not_found_error(token_id: str) -> HTTPError:
    return HTTPError(404, "NOT_FOUND", "API token not found.", {"id": token_id})


def _get_token(table: ApiTokenTable, number: int) -> ApiToken:
    token = table.by_id(number)
    if token is None or token.revoked_at is not None:
        raise _not_found_error(str(number))
    return token


def _make_etag(token: ApiToken) -> tuple[bytes, bytes]:
    """Return the ETag of the members that can be changed; a use of the API token does not change it."""
    return b"etag", f'"{token.id}-{to_micros(token.updated_at)}"'.encode()


def _check_match(query: Query, token: ApiToken) -> None:
    """Raise HTTPError if ``If-Match`` does not have the version of the API token (RFC 9110, section 13.1.1)."""
    if query.if_match is None or query.if_match.strip() == b"*":
        return
    if _make_etag(token)[1] not in [tag.strip() for tag in query.if_match.split(b",")]:
        raise _conflict_error(query)


def _conflict_error(query: Query) -> HTTPError:
    message = "The API token was changed by another request."
    if query.if_match is None:
        return HTTPError(409, "CONFLICT", message)
    return HTTPError(412, "PRECONDITION_FAILED", message)


# --- operations ---------------------------------------------------------------------------------------


async def _list(services: Services, query: Query) -> Response:
    page, size, name = (query.values[part] for part in ("page", "pageSize", "name"))
    (tokens, total), identity = await services.readers.read(
        lambda store: (store.api_tokens.page(page, size, name), store.api_tokens.identity())
    )
    return DocumentResponse(
        {
            "data": [encode_api_token(services.lifetimes.limit(token)) for token in tokens],
            "meta": ApiTokenListMeta(
                pagination=PaginationDocument(page=page, page_size=size, total=total),
                permissions=[*query.authenticated.grants],
                store=identity,
            ),
        }
    )


async def _get(services: Services, query: Query) -> Response:
    number = _parse_token_id(query)
    token = await services.live_store.read(lambda store: _get_token(store.api_tokens, number))
    return DocumentResponse(encode_api_token(services.lifetimes.limit(token)), [_make_etag(token)])


async def _create(services: Services, query: Query) -> Response:
    body: NewApiTokenBody = query.body
    if body.expires_at is not None and body.expires_at <= query.now:
        raise _past_expiry_error()
    pepper, key = services.pepper, _parse_idempotency_key(query)
    creation = None
    if key is None:
        secret = generate()
    else:
        creation = CreationKey(digest_key(pepper.key, query.authenticated.actor, key), generate_salt())
        secret = derive_secret(pepper.key, creation.salt, key)
    wanted = NewApiToken(
        name=body.name,
        token=mask(secret),
        type=body.type,
        description=body.description,
        scopes=validate_scopes(body.scopes),
        allowed_cidrs=_validate_networks(body.allowed_cidrs),
        created_by=query.authenticated.created_by,
        created_at=query.now,
        expires_at=body.expires_at,
    )
    _check_rights(services, query, wanted)

    def create(table: ApiTokenTable) -> ApiToken:
        if table.peppers() - {pepper.id}:
            raise StoreError("the store's API tokens were created with another pepper than the server's.")
        if body.replaces is not None:
            old = table.by_id(body.replaces)
            if old is None or old.revoked_at is not None:
                raise invalid_member("replaces", f"'replaces': API token {body.replaces} not found.")
            query.authenticated.check_grant(old.scopes or ())
        return table.create(
            wanted,
            digest(pepper.key, secret),
            pepper.id,
            by=query.authenticated.actor,
            replaces=body.replaces,
            creation=creation,
        )

    try:
        made = await services.writer.change(query.authenticated.token, create)
    except RepeatedCreationError as repeated:
        made = _check_repetition(repeated, query)
        secret = derive_secret(pepper.key, repeated.salt or b"", key or "")
    if creation is not None:
        services.salts.note()
    headers: Headers = [(b"location", f"{API_TOKENS_PATH}/{made.id}".encode()), _make_etag(made)]
    return DocumentResponse(encode_api_token(made, secret=secret), headers)


def _parse_idempotency_key(query: Query) -> str | None:
    if query.idempotency_key is None:
        return None
    try:
        return parse_key(query.idempotency_key)
    except UsageError as error:
        raise HTTPError(400, "VALIDATION_ERROR", str(error), {"header": IDEMPOTENCY_KEY}) from None


def _check_repetition(repeated: RepeatedCreationError, query: Query) -> ApiToken:
    """Return the API token of an earlier request with the same key, if its secret can still be repeated.

    Raises:
        HTTPError: it was changed or revoked, it is too old, or the earlier request asked for another one.
    """
    token = repeated.token
    if token.revoked_at is not None or token.updated_at != token.created_at:
        problem = "was changed or revoked since. Its secret is not repeated."
    elif repeated.salt is None or query.now - token.created_at > REPEAT_WINDOW:
        problem = f"was created more than {format_timedelta(REPEAT_WINDOW)} ago. Its secret is not repeated."
    elif not repeated.is_same:
        message = f"{IDEMPOTENCY_KEY} was used for API token {token.id}, which differs from this request."
        raise HTTPError(422, "UNPROCESSABLE_CONTENT", message, {"id": token.id})
    else:
        return token
    message = f"API token {token.id}, created with this {IDEMPOTENCY_KEY}, {problem}"
    raise HTTPError(409, "CONFLICT", message, {"id": token.id})


async def _update(services: Services, query: Query) -> Response:
    number, body = _parse_token_id(query), query.body
    changes: dict[str, Any] = body.get_changes()
    if "scopes" in changes:
        changes["scopes"] = validate_scopes(changes["scopes"])
    if "allowed_cidrs" in changes:
        changes["allowed_cidrs"] = _validate_networks(changes["allowed_cidrs"])

    def update(table: ApiTokenTable) -> ApiToken:
        before = _get_token(table, number)
        _check_match(query, before)
        unprolonged = replace(before, **changes | {"expires_at": before.expires_at})
        if "expires_at" in changes and all(
            changes["expires_at"] == services.lifetimes.limit(token).expires_at for token in (before, unprolonged)
        ):
            del changes["expires_at"]  # as it was read, and as it stays
        expiry = changes.get("expires_at")
        if expiry is not None and expiry <= query.now and expiry != before.expires_at:
            raise _past_expiry_error()
        _check_rights(services, query, replace(before, **changes), before)
        at = max(query.now, (before.updated_at or before.created_at) + _TICK)  # each version has another time
        try:
            return table.update(number, changes, at, by=query.authenticated.actor, known=before.updated_at)
        except ChangedError:
            raise _conflict_error(query) from None

    token = await services.writer.change(query.authenticated.token, update)
    return DocumentResponse(encode_api_token(services.lifetimes.limit(token)), [_make_etag(token)])


async def _revoke(services: Services, query: Query) -> Response:
    number, why = _parse_token_id(query), query.values["reason"] or ""

    def revoke(table: ApiTokenTable) -> None:
        before = _get_token(table, number)
        _check_match(query, before)
        query.authenticated.check_change(before)
        known = None if query.if_match is None else before.updated_at
        try:
            if not table.revoke(number, query.now, by=query.authenticated.actor, why=why, known=known):
                raise _not_found_error(str(number))
        except ChangedError:
            raise _conflict_error(query) from None

    await services.writer.change(query.authenticated.token, revoke)
    return DocumentResponse(MessageDocument(message="The API token was revoked."))


def _check_rights(services: Services, query: Query, wanted: NewApiToken, before: ApiToken | None = None) -> None:
    """Check that the caller and the server's maximum lifetimes allow an API token as it would be.

    Raises:
        HTTPError: it has scopes that the caller lacks, or networks or an expiry that it cannot give.
    """
    caller = query.authenticated
    if before is not None:
        caller.check_change(before)
    if before is None or wanted.scopes != before.scopes:
        caller.check_grant(wanted.scopes or ())
    if before is None or wanted.allowed_cidrs != before.allowed_cidrs:
        caller.check_networks(wanted.allowed_cidrs or ())
    limit = services.lifetimes.limit  # another type or fewer scopes may end a maximum, and so prolong it
    if (
        before is None
        or not ends_by(wanted.expires_at, before.expires_at)
        or not ends_by(limit(wanted).expires_at, limit(before).expires_at)
    ):
        caller.check_expiry(wanted.expires_at)
    services.lifetimes.check(wanted, before)


def _validate_networks(texts: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return validate_networks(texts)
    except UsageError as error:
        raise invalid_member("allowedCidrs", f"'allowedCidrs': {error}") from None


def _past_expiry_error() -> HTTPError:
    return invalid_member("expiresAt", "'expiresAt' must be in the future.")


PERMISSIONS = ("api-tokens",)
_ONE_PATH = f"{API_TOKENS_PATH}/{{id}}"

LIST = Endpoint(
    path=API_TOKENS_PATH,
    name="listApiTokens",
    text="List the API tokens that are not revoked, newest first. meta.permissions are the scopes that the caller "
    "may grant.",
    schema="ApiTokenList",
    permissions=PERMISSIONS,
    parameters=par.table(
        par.number("page", "Page number, from 1.", minimum=1, default=1),
        par.number("pageSize", "API tokens per page.", minimum=1, maximum=MAX_PAGE_SIZE, default=10),
        par.text("name", "Only API tokens with exactly this name."),
    ),
    handler=_list,
)

CREATE = Endpoint(
    path=API_TOKENS_PATH,
    method="POST",
    name="createApiToken",
    text="Create an API token. Only this response contains its secret. You can grant only scopes that you hold. "
    "A request with the Idempotency-Key and body of an earlier one gets the same response, for 10 minutes. With "
    "'replaces', the audit log records the rotation of that API token.",
    schema="ApiToken",
    status=201,
    permissions=PERMISSIONS,
    errors=(409, 422),
    body=NewApiTokenBody,
    handler=_create,
)

GET = Endpoint(
    path=_ONE_PATH,
    name="getApiToken",
    text="Get an API token. Its secret is masked.",
    schema="ApiToken",
    permissions=PERMISSIONS,
    errors=(404,),
    handler=_get,
)

UPDATE = Endpoint(
    path=_ONE_PATH,
    method="PUT",
    name="updateApiToken",
    text="Change an API token. Members that are not in the body are not changed. If-Match accepts the ETag of an "
    "earlier response. You can grant only scopes that you hold, and change only API tokens that have no others.",
    schema="ApiToken",
    permissions=PERMISSIONS,
    errors=(404, 409, 412),
    body=ApiTokenChanges,
    handler=_update,
)

REVOKE = Endpoint(
    path=_ONE_PATH,
    method="DELETE",
    name="deleteApiToken",
    text="Revoke an API token. It is rejected from now on. If-Match accepts the ETag of an earlier response. You can "
    "revoke only API tokens that have no scopes that you do not hold, and your own.",
    schema="Message",
    permissions=PERMISSIONS,
    parameters=par.table(par.text("reason", "The reason, for the audit log.", maximum=MAX_REASON_LENGTH)),
    errors=(404, 412),
    handler=_revoke,
)
