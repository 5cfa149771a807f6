"""Maximum lifetimes of API tokens, by type and by scope, as the operator of the server sets them.

A lifetime counts from the creation of an API token, so it cannot be prolonged beyond its maximum. One that was created
before the maximum was set, or directly in the store, expires at its maximum as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TypeVar

from msgspec.structs import replace

from tokctl.errors import UsageError
from tokctl.model.api_tokens import API_TOKEN_TYPES, ApiToken, NewApiToken
from tokctl.model.durations import format_timedelta, parse_duration
from tokctl.model.scopes import PERMISSIONS, WILDCARD_SCOPE
from tokctl.model.times import format_time
from tokctl.server.http_errors import HTTPError
from tokctl.text import suggest

ALL = "all"
MAX_CLOCK_SKEW = timedelta(minutes=1)
"""Clients compute times of expiry with their own clocks."""

Token = TypeVar("Token", bound=NewApiToken)


class MaxLifetimes:
    """The maximum lifetimes by type, by scope, or of all API tokens. An API token has the shortest that applies."""

    def __init__(self, settings: Iterable[str]) -> None:
        """Parse settings such as ``full-access=30d``. Raises UsageError."""
        self._maximum = dict(map(_parse, settings))

    def find(self, token: NewApiToken) -> tuple[timedelta, str] | None:
        """Return the maximum lifetime of an API token, and the type or scope that it is for; None if there is none.

        The scope ``*`` includes every other one.
        """
        scopes = token.scopes or ()
        names = {ALL, token.type, *scopes, *(PERMISSIONS if WILDCARD_SCOPE in scopes else ())}
        return min(((lasts, name) for name, lasts in self._maximum.items() if name in names), default=None)

    def limit(self, token: Token) -> Token:
        """Return an API token with the expiry that applies: its own, or at most the end of its maximum lifetime."""
        latest = self._find_latest(token)
        if latest is None or (token.expires_at is not None and token.expires_at <= latest):
            return token
        return replace(token, expires_at=latest)

    def check(self, wanted: NewApiToken, before: ApiToken | None = None) -> None:
        """Check an API token that is to be created, or changed if it was different before.

        A change that makes nothing worse is allowed, also if the API token has too long a lifetime already.

        Raises:
            HTTPError: it would live longer than its maximum.
        """
        latest, found = self._find_latest(wanted), self.find(wanted)
        if latest is None or found is None or ends_by(wanted.expires_at, latest + MAX_CLOCK_SKEW):
            return
        if before is not None and ends_by(wanted.expires_at, before.expires_at) and self.find(before) == found:
            return
        lasts, name = found
        whose = "API tokens" if name == ALL else f"{name} API tokens"
        raise HTTPError(
            400,
            "VALIDATION_ERROR",
            f"The expiry is too late: {whose} live at most {format_timedelta(lasts)}, this one until "
            f"{format_time(latest.replace(microsecond=0))}.",
            {"member": "expiresAt", "latest": format_time(latest)},
        )

    def _find_latest(self, token: NewApiToken) -> datetime | None:
        found = self.find(token)
        try:
            return None if found is None else token.created_at + found[0]
        except OverflowError:  # after the year 9999
            return None


def ends_by(time: datetime | None, latest: datetime | None) -> bool:
    """Return whether an expiry, None for never, is not after another one."""
    return latest is None or (time is not None and time <= latest)


def _parse(setting: str) -> tuple[str, timedelta]:
    name, sign, lasts = setting.partition("=")
    name = name.strip().lower()
    known = (ALL, *API_TOKEN_TYPES, *PERMISSIONS)
    if not sign:
        raise UsageError(f"invalid --max-lifetime '{setting}'.", "Use NAME=DURATION, such as full-access=30d.")
    if name not in known:
        raise UsageError(
            f"--max-lifetime: unknown type or scope '{name}'{suggest(name, known)}.", f"Valid: {', '.join(known)}."
        )
    duration = parse_duration(lasts)
    if duration <= timedelta():
        raise UsageError(f"--max-lifetime {setting} is not positive.", "Give a duration such as 30d.")
    return name, duration
