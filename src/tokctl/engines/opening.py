"""A client for the server that the settings name."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokctl.client import Client, Connection
    from tokctl.config import Settings

_last: tuple[Settings, Connection] | None = None
_warned: set[str] = set()


def client_of(settings: Settings) -> Client:
    """Return a new client. One for the same settings, as after an outage, has the credential already."""
    global _last  # noqa: PLW0603 - asking a vault again may mean another prompt
    from tokctl.client import Client
    from tokctl.vaults.credentials import connection_of

    if _last is None or _last[0] is not settings:
        _last = settings, _once(connection_of(settings))
    return Client(_last[1], warn=warn)


def _once(connection: Connection) -> Connection:
    from functools import cache

    from msgspec.structs import replace

    return replace(connection, credential=cache(connection.credential))


def warn(text: str) -> None:
    """Tell the user something once, on stderr."""
    if text not in _warned:
        _warned.add(text)
        sys.stderr.write(f"tokctl: {text}\n")


def shown(client: Client, *segments: str) -> str:
    """The address of a server, or of something on it, as it stands in messages."""
    from tokctl.client.address import parse_url, target

    base = parse_url(client.connection.url)
    return base.shown_with(target(base, segments, {})) if segments else base.shown
