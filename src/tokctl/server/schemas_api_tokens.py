"""The shapes of what ``/api/api-tokens`` answers, as ``schemas`` has those of the other paths."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from tokctl.access.model import TYPES
from tokctl.server.bodies import ApiTokenChanges, IntrospectionBody, IntrospectionForm, NewApiTokenBody

Count = Annotated[int, Meta(ge=0)]


class Creator(Struct):
    """Who created an API token: a user by id and address, or the user of a command line."""

    id: int | str | None
    email: str | None


class ApiToken(Struct, rename="camel"):
    """An API token. ``token`` is its mask, and its secret in the answer that tells of its creation."""

    id: int
    name: str
    description: str | None
    type: Literal[TYPES]  # type: ignore[valid-type]
    scopes: list[str]
    token: str
    last_used_at: datetime | None
    expires_at: datetime | None
    created_by: Creator | None
    created_at: datetime
    updated_at: datetime


class Pagination(Struct, rename="camel"):
    """Which page it is, and of how many API tokens altogether."""

    page: Annotated[int, Meta(ge=1)]
    page_size: Annotated[int, Meta(ge=1, le=100)]
    total: Count


class ApiTokenListMeta(Struct):
    """About a list of API tokens; ``permissions`` are the scopes that the caller may give."""

    pagination: Pagination
    permissions: list[str]


class ApiTokenList(Struct):
    """A page of API tokens."""

    data: list[ApiToken]
    meta: ApiTokenListMeta


class Message(Struct):
    """What was done."""

    message: str


class Introspection(Struct):
    """Whether a secret is good. What is not active has ``state``, ``id`` and ``name`` for some only."""

    active: bool
    scope: str = ""
    client_id: str = ""
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - it is none
    exp: int = 0
    iat: int = 0
    sub: str = ""
    id: int = 0
    name: str = ""
    type: str = ""
    state: Literal["expired", "revoked", "unknown"] = "unknown"


class AuditActor(Struct):
    """Who did something: the user of a command line, a user with a JWT, an API token."""

    kind: str
    id: str
    name: str


class AuditedToken(Struct):
    """The API token that something was done to."""

    id: int
    name: str


class AuditEntry(Struct):
    """What was done. ``details`` are the members that were given or changed."""

    number: Count
    at: datetime
    action: str
    actor: AuditActor
    origin: str = field(name="from")
    token: AuditedToken
    details: dict[str, Any]
    hash: str


class AuditHead(Struct):
    """Where the chain of entries ends."""

    number: Count
    hash: Annotated[str, Meta(min_length=64, max_length=64)]


class AuditMeta(Struct):
    """About entries of the audit."""

    head: AuditHead


class AuditEntries(Struct):
    """Entries of the audit."""

    data: list[AuditEntry]
    meta: AuditMeta


class ApiTokenFault(Struct):
    """What is wrong: a status, a name for programs, a sentence for people, details of both."""

    status: int
    name: str
    message: str
    details: dict[str, Any]


class ApiTokenError(Struct):
    """What every answer below /api/api-tokens is that is not the one asked for."""

    error: ApiTokenFault


API_TOKEN_SCHEMAS: tuple[Any, ...] = (
    ApiToken, ApiTokenList, Message, Introspection, AuditEntries, ApiTokenError,
    NewApiTokenBody, ApiTokenChanges, IntrospectionBody, IntrospectionForm,
)  # fmt: skip
