"""API tokens as JSON: the documented object, with ``scopes`` and ``updatedAt`` beside its members, and lists of them.

Members are camelCase as in the API; those of introspection are the names of RFC 7662. ``token`` is the masked secret;
only the response to a creation contains the secret itself.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from tokctl.documents.base import Count, Document, Time, members
from tokctl.errors import InputError
from tokctl.model.api_tokens import API_TOKEN_TYPES, DISABLED, EXPIRED, REVOKED, UNKNOWN, ApiToken, CreatedBy, LastUse
from tokctl.model.times import format_time, parse_time


class CreatorDocument(Struct, kw_only=True, frozen=True):
    """Who created an API token: a user by id and address, or the user of a command line."""

    id: int | str | None
    email: str | None


class LastUseDocument(Struct, kw_only=True, frozen=True, rename="camel"):
    """Where the last use of an API token came from, and the endpoint, a method and a path template."""

    address: str | None
    user_agent: str | None
    endpoint: str | None


class ApiTokenRecord(Struct, kw_only=True, frozen=True, rename="camel"):
    """An API token of any server. ``token`` is the masked secret.

    Without ``scopes``, ``allowedCidrs``, ``disabled`` or ``lastUse`` the server does not send them.
    """

    id: int | str
    name: str
    description: str | None
    type: str
    scopes: list[str] | UnsetType = UNSET
    allowed_cidrs: list[str] | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET
    token: str
    last_used_at: Time | None
    last_use: LastUseDocument | UnsetType | None = UNSET
    expires_at: Time | None
    created_by: CreatorDocument | None
    created_at: Time
    updated_at: Time | None


class ApiTokenDocument(ApiTokenRecord, kw_only=True, frozen=True, rename="camel"):
    """An API token. ``token`` is the masked secret; in the response to its creation, the secret itself.

    With ``allowedCidrs`` it may be used only from these networks. ``lastUse`` is null if it is unknown.
    """

    id: int
    type: Literal[API_TOKEN_TYPES]  # type: ignore[valid-type]
    scopes: list[str]
    allowed_cidrs: list[str]
    disabled: bool
    last_use: LastUseDocument | None
    updated_at: Time


class ApiTokenOverview(ApiTokenRecord, kw_only=True, frozen=True, rename="camel"):
    """An API token with its state: valid, disabled, expired or revoked.

    ``rotatedFrom`` and ``rotatedTo`` are the ids of its predecessor and its successor, if they are known here.
    ``unrestricted`` is true if its type allows everything on this server, although it is not full-access.
    """

    state: str
    rotated_from: str | UnsetType = UNSET
    rotated_to: str | UnsetType = UNSET
    unrestricted: bool | UnsetType = UNSET


class ReplacedApiToken(Struct, kw_only=True, frozen=True, rename="camel"):
    """The API token that was replaced: when it expires, and whether it is revoked."""

    id: int | str
    expires_at: Time | None
    revoked: bool


class CreatedApiToken(ApiTokenOverview, kw_only=True, frozen=True, rename="camel"):
    """A new API token, and where its secret was saved; the secret itself only with ``--show-secret``."""

    saved: str
    secret: str | UnsetType = UNSET
    replaces: ReplacedApiToken | UnsetType = UNSET


class UpdatedApiToken(ApiTokenOverview, kw_only=True, frozen=True, rename="camel"):
    """An API token after an update: ``changes`` are [before, after] by member."""

    changes: dict[str, tuple[Any, Any]]


class RevokedApiToken(ApiTokenOverview, kw_only=True, frozen=True, rename="camel"):
    """An API token to revoke: whether it was revoked, where its secret was removed, and the error if it failed."""

    revoked: bool
    removed_from: str | None
    error: str | None


class VerifiedApiToken(Struct, kw_only=True, frozen=True, rename="camel"):
    """Whether a secret is valid, and its API token; ``allows`` has the scopes that were checked."""

    state: str
    valid: bool
    id: int | str | None
    name: str | None
    type: str | None
    scopes: list[str] | UnsetType | None = UNSET
    expires_at: Time | None
    allows: dict[str, bool] | UnsetType = UNSET


class PaginationDocument(Struct, kw_only=True, frozen=True, rename="camel"):
    """The page, and the total number of API tokens."""

    page: Annotated[int, Meta(ge=1)]
    page_size: Annotated[int, Meta(ge=1, le=100)]
    total: Count


class ListedPage(Struct, kw_only=True, frozen=True, rename="camel"):
    """The page, and the total number of API tokens; all of them are one page."""

    page: Count
    page_size: Count
    total: Count


class ApiTokenOverviewMeta(Struct, kw_only=True, frozen=True):
    """Metadata of a list of API tokens."""

    pagination: ListedPage


class ApiTokenOverviewList(Struct, kw_only=True, frozen=True):
    """API tokens (``tokctl api-tokens list``)."""

    data: list[ApiTokenOverview]
    meta: ApiTokenOverviewMeta


class RevocationList(Struct, kw_only=True, frozen=True, rename="camel"):
    """What was revoked, or would be (``tokctl api-tokens revoke``)."""

    dry_run: bool
    api_tokens: list[RevokedApiToken]


class AppliedApiToken(Struct, kw_only=True, frozen=True, rename="camel"):
    """A declared API token, or one that is not declared: what was done with it, or would be (dry run).

    ``action`` is create, update, rotate, revoke, unchanged or undeclared. ``line`` is that of its declaration, ``id``
    is null if it does not exist. ``changes`` are [before, after] by member.
    """

    name: str
    action: str
    id: int | str | None
    line: int | None
    changes: dict[str, tuple[Any, Any]]
    reason: str | None
    saved: str | None
    error: str | None


class AppliedList(Struct, kw_only=True, frozen=True, rename="camel"):
    """What was done to make the API tokens as declared, or would be (``tokctl api-tokens apply``)."""

    dry_run: bool
    api_tokens: list[AppliedApiToken]


class ApiTokenListMeta(Struct, kw_only=True, frozen=True):
    """Metadata of a list of API tokens.

    ``permissions`` are the scopes that the caller may grant, ``store`` is the identity of the store: a new store has
    another one.
    """

    pagination: PaginationDocument
    permissions: list[str]
    store: str


class ApiTokenList(Struct, kw_only=True, frozen=True):
    """A page of API tokens."""

    data: list[ApiTokenDocument]
    meta: ApiTokenListMeta


class MessageDocument(Struct, kw_only=True, frozen=True):
    """The result."""

    message: str


class Introspection(Struct, kw_only=True, frozen=True):
    """Whether a secret is valid. If it is not active, only some callers get ``state``, ``id`` and ``name``.

    ``allowed_cidrs``, if there are any, are the networks from which it may be used: the service that asks checks the
    address of its own client.
    """

    active: bool
    state: Annotated[str, Meta(extra_json_schema={"enum": [DISABLED, EXPIRED, REVOKED, UNKNOWN]})] | UnsetType = UNSET
    scope: str | UnsetType = UNSET
    client_id: str | UnsetType = UNSET
    token_type: Literal["Bearer"] | UnsetType = UNSET
    exp: int | UnsetType = UNSET
    iat: int | UnsetType = UNSET
    sub: str | UnsetType = UNSET
    id: int | UnsetType = UNSET
    name: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    allowed_cidrs: list[str] | UnsetType = UNSET


# --- models to documents ----------------------------------------------------------------------------------

_DOCUMENTED_FIELDS = frozenset(ApiTokenRecord.__struct_encode_fields__)


def encode_api_token(token: ApiToken, *, secret: str | None = None) -> Document:
    """Return the JSON object of an API token; its ``token`` is the masked secret, or the secret if it is given."""
    fields = _record_fields(token)
    if secret is not None:
        fields["token"] = secret
    return _with_extra(ApiTokenRecord(**fields), token)


def encode_api_token_overview(
    token: ApiToken, now: datetime, kind: type[ApiTokenOverview] = ApiTokenOverview, **more: Any
) -> Document:
    """Return the JSON object of an API token with its state, and with ``more`` members of another kind of document."""
    fields = _record_fields(token) | {"state": token.state(now), "unrestricted": token.unrestricted or UNSET}
    return _with_extra(kind(**fields | more), token)


def encode_last_use(use: LastUse | None) -> LastUseDocument | None:
    """Return the JSON object of a use."""
    if use is None:
        return None
    return LastUseDocument(address=use.address, user_agent=use.user_agent, endpoint=use.endpoint)


def _with_extra(document: ApiTokenRecord, token: ApiToken) -> Document:
    """Put undocumented members of the server before the documented ones."""
    return {**token.extra, **members(document)} if token.extra else document


def _record_fields(token: ApiToken) -> dict[str, Any]:
    by = token.created_by
    return {
        "id": token.id,
        "name": token.name,
        "description": token.description,
        "type": token.type,
        "scopes": UNSET if token.scopes is None else [*token.scopes],
        "allowed_cidrs": UNSET if token.allowed_cidrs is None else [*token.allowed_cidrs],
        "disabled": UNSET if token.disabled is None else token.disabled,
        "token": token.token,
        "last_used_at": format_time(token.last_used_at),
        "last_use": UNSET if token.disabled is None else encode_last_use(token.last_use),
        "expires_at": format_time(token.expires_at),
        "created_by": None if by is None else CreatorDocument(id=by.id, email=by.email),
        "created_at": format_time(token.created_at),
        "updated_at": format_time(token.updated_at),
    }


# --- documents to models ----------------------------------------------------------------------------------


def decode_api_token(value: Any, where: str = "$") -> ApiToken:
    """Read the JSON object of an API token; unknown members are kept. Raises InputError that names ``where.member``."""
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an API token, got {_describe_type(value)}.")
    created_at = _read_time(value, "createdAt", where)
    if created_at is None:
        raise InputError(f"{where}.createdAt is missing.")
    number = value.get("id")
    if isinstance(number, bool) or not isinstance(number, int | str) or number == "":
        raise InputError(f"{where}.id: expected an id, got {_describe_type(number)}.")
    return ApiToken(
        id=number,
        name=_read_text(value, "name", where) or "",
        token=_read_text(value, "token", where) or "",
        type=_read_text(value, "type", where) or "",
        description=_read_text(value, "description", where),
        scopes=_read_texts(value, "scopes", where),
        allowed_cidrs=_read_texts(value, "allowedCidrs", where),
        disabled=_read_disabled(value, where),
        created_by=_read_creator(value.get("createdBy"), where),
        created_at=created_at,
        updated_at=_read_time(value, "updatedAt", where),
        expires_at=_read_time(value, "expiresAt", where),
        last_used_at=_read_time(value, "lastUsedAt", where),
        last_use=_read_last_use(value.get("lastUse"), where),
        extra={name: member for name, member in value.items() if name not in _DOCUMENTED_FIELDS},
    )


def _read_time(value: dict[str, Any], name: str, where: str) -> datetime | None:
    try:
        return parse_time(value.get(name))
    except ValueError as error:
        raise InputError(f"{where}.{name}: {error}.") from None


def _read_text(value: dict[str, Any], name: str, where: str) -> str | None:
    found = value.get(name)
    if found is not None and not isinstance(found, str):
        raise InputError(f"{where}.{name}: expected text, got {_describe_type(found)}.")
    return found


def _read_texts(value: dict[str, Any], name: str, where: str) -> tuple[str, ...] | None:
    found = value.get(name)
    if found is None:
        return None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise InputError(f"{where}.{name}: expected a list of texts.")
    return tuple(found)


def _read_disabled(value: dict[str, Any], where: str) -> bool | None:
    found = value.get("disabled")
    if found is not None and not isinstance(found, bool):
        raise InputError(f"{where}.disabled: expected true or false, got {_describe_type(found)}.")
    return found


def _read_last_use(value: Any, where: str) -> LastUse | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise InputError(f"{where}.lastUse: expected an object, got {_describe_type(value)}.")
    address, agent, endpoint = (
        _read_text(value, name, f"{where}.lastUse") for name in ("address", "userAgent", "endpoint")
    )
    return LastUse(address, agent, endpoint)


def _read_creator(value: Any, where: str) -> CreatedBy | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise InputError(f"{where}.createdBy: expected an object, got {_describe_type(value)}.")
    number, email = value.get("id"), value.get("email")
    return CreatedBy(
        id=number if isinstance(number, int | str) else None, email=email if isinstance(email, str) else None
    )


def _describe_type(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "a boolean", int: "a number", float: "a number"}
    return kinds.get(type(value), "null")
