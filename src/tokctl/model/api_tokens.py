"""API tokens: their types, states and limits. JSON names are those of the API-token API (camelCase); times are UTC."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from tokctl.model.scopes import WILDCARD_SCOPE

READ_ONLY = "read-only"
FULL_ACCESS = "full-access"
API_TOKEN_TYPES = (READ_ONLY, FULL_ACCESS)
CUSTOM = "custom"
"""A type of other servers: restricted by scopes on some, unrestricted on others."""

MAX_NAME_LENGTH = 255  # characters
MAX_DESCRIPTION_LENGTH = 4096

VALID = "valid"
EXPIRED = "expired"
REVOKED = "revoked"
DISABLED = "disabled"
UNKNOWN = "unknown"
"""States. UNKNOWN is the state of a secret that belongs to no API token."""

EXPIRES_HEADER = "X-Token-Expires"
"""The header with the expiry of an API token, in the responses to its requests near the end of its life."""
EXPIRY_NOTICE = timedelta(days=7)
"""How long before the end the header is sent."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""The HTTP methods that a read-only token allows (RFC 9110, section 9.2.1, without TRACE)."""


class CreatedBy(Struct, frozen=True, omit_defaults=True):
    """Who created an API token."""

    id: int | str | None = None
    email: str | None = None


class LastUse(Struct, frozen=True, omit_defaults=True):
    """Where the last use of an API token came from, and what it asked for; a member is None if it is unknown.

    ``endpoint`` is a method and a path template, such as ``GET /api/v1/processes/{id}``: it has no ids.
    """

    address: str | None = None
    user_agent: str | None = None
    endpoint: str | None = None


class NewApiToken(Struct, frozen=True, kw_only=True, rename="camel"):
    """An API token to be created. ``token`` is the masked secret, never the secret itself.

    ``allowed_cidrs`` are the networks from which it may be used, see ``model.networks``; if there are none, it may be
    used from any address. ``scopes`` and ``allowed_cidrs`` are None if the server does not send them.
    """

    name: str
    token: str
    type: str = READ_ONLY
    description: str | None = None
    scopes: tuple[str, ...] | None = ()
    allowed_cidrs: tuple[str, ...] | None = ()
    created_by: CreatedBy | None = None
    created_at: datetime
    expires_at: datetime | None = None


class ApiToken(NewApiToken, frozen=True, kw_only=True, rename="camel"):
    """An API token as it is stored: everything but its secret. ``extra`` holds a server's undocumented members."""

    id: int | str
    updated_at: datetime | None = None
    last_used_at: datetime | None = None
    last_use: LastUse | None = None
    disabled: bool | None = False  # None if the server does not send it
    revoked_at: datetime | None = None
    unrestricted: bool = False  # whether a type that sounds restricted allows everything
    extra: dict[str, Any] = {}

    def state(self, now: datetime) -> str:
        """Return VALID, DISABLED, EXPIRED or REVOKED. At ``expires_at`` itself a token is expired."""
        if self.revoked_at is not None:
            return REVOKED
        if self.expires_at is not None and self.expires_at <= now:
            return EXPIRED
        return DISABLED if self.disabled else VALID

    def allows(self, permission: str) -> bool:
        """Tell whether the scopes include a permission."""
        scopes = self.scopes or ()
        return permission in scopes or WILDCARD_SCOPE in scopes
