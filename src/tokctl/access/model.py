"""The model: API tokens. Wire names are those of the API-token API (camelCase); times are aware, in UTC."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct

from tokctl.access.scopes import EVERY

READ_ONLY = "read-only"
FULL_ACCESS = "full-access"
TYPES = (READ_ONLY, FULL_ACCESS)

LONGEST_NAME = 255  # characters
LONGEST_DESCRIPTION = 4096

VALID = "valid"
EXPIRED = "expired"
REVOKED = "revoked"
UNKNOWN = "unknown"
"""States: the last is that of a secret which belongs to no API token."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""What a read-only token may do (RFC 9110, section 9.2.1, without TRACE)."""


class CreatedBy(Struct, frozen=True, omit_defaults=True):
    """Who created an API token."""

    id: int | str | None = None
    email: str | None = None


class NewApiToken(Struct, frozen=True, kw_only=True, rename="camel"):
    """An API token that is to be created. ``token`` is its mask, never its secret.

    ``scopes`` of None are those of a server that does not tell: what the token opens, nobody but it knows.
    """

    name: str
    token: str
    type: str = READ_ONLY
    description: str | None = None
    scopes: tuple[str, ...] | None = ()
    created_by: CreatedBy | None = None
    created_at: datetime
    expires_at: datetime | None = None


class ApiToken(NewApiToken, frozen=True, kw_only=True, rename="camel"):
    """An API token as it is kept: everything but its secret. ``extra`` is what a server says beyond the document."""

    id: int | str
    updated_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    extra: dict[str, Any] = {}

    def state(self, now: datetime) -> str:
        """VALID, EXPIRED or REVOKED; it expires at ``expires_at``, not after it."""
        if self.revoked_at is not None:
            return REVOKED
        return EXPIRED if self.expires_at is not None and self.expires_at <= now else VALID

    def allows(self, permission: str) -> bool:
        """Tell whether a permission is among its scopes."""
        scopes = self.scopes or ()
        return permission in scopes or EVERY in scopes
