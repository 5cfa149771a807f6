"""Which API tokens are asked for."""

from __future__ import annotations

from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from msgspec import Struct

from tokctl.access.model import EXPIRED, VALID, ApiToken


class ApiTokenFilter(Struct, frozen=True, kw_only=True):
    """What has to be true of an API token; nothing asks for all of them.

    ``expiring``: valid, and to expire within that time. ``unused``: not used for that long, counted from its creation
    where it never was. ``created_by``: a pattern of an email address, or an id. ``name``: a pattern.
    """

    type: str | None = None
    scopes: tuple[str, ...] = ()
    created_by: str | None = None
    name: str | None = None
    expired: bool = False
    expiring: timedelta | None = None
    unused: timedelta | None = None

    @property
    def asks_for_all(self) -> bool:
        """Whether every API token matches."""
        return self == ApiTokenFilter()

    def matches(self, token: ApiToken, now: datetime) -> bool:
        """Tell whether an API token is asked for."""
        return (
            (self.type is None or token.type == self.type)
            and all(map(token.allows, self.scopes))
            and (self.created_by is None or _made_by(token, self.created_by))
            and (self.name is None or fnmatchcase(token.name, self.name))
            and (not self.expired or token.state(now) == EXPIRED)
            and (self.expiring is None or _expires_by(token, self.expiring, now))
            and (self.unused is None or now - (token.last_used_at or token.created_at) >= self.unused)
        )


def _made_by(token: ApiToken, pattern: str) -> bool:
    by = token.created_by
    return by is not None and (str(by.id) == pattern or fnmatchcase((by.email or "").lower(), pattern.lower()))


def _expires_by(token: ApiToken, within: timedelta, now: datetime) -> bool:
    return token.state(now) == VALID and token.expires_at is not None and token.expires_at - now <= within
