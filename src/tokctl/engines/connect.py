"""The client of the server that the settings name; ``detection`` finds out which kind of server it is."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from tokctl.config.remembered_servers import ENGINE_SERVERS
from tokctl.errors import NotFoundError, UnreachableError

if TYPE_CHECKING:
    from tokctl.client import Client, Connection
    from tokctl.client.credential import SharedCredential
    from tokctl.config import Settings


class _OpenedServer(NamedTuple):
    """The server that was opened last: its settings as given and with its kind and root, and its credential."""

    given: Settings
    credential: SharedCredential
    adopted: Settings | None = None


MAX_INSTANCE_BYTES = 256 << 20
"""The largest response with the tokens of an instance that is read as a whole, decompressed."""
MAX_INSTANCE_VALUES = 10_000_000
"""The JSON values in it: those of about 300,000 tokens."""

_last_opened: _OpenedServer | None = None
_warned: set[str] = set()


def create_client(settings: Settings) -> Client:
    """Return a new client. One for the same settings, as after an outage, reuses the credential."""
    from tokctl.client import Client

    connection = replace(
        _create_connection(settings),
        max_document_bytes=MAX_INSTANCE_BYTES,
        max_document_values=MAX_INSTANCE_VALUES,
    )
    return Client(connection, warn=warn)


def _create_connection(settings: Settings) -> Connection:
    global _last_opened  # noqa: PLW0603 - asking a vault again may mean another prompt
    from tokctl.api_tokens.vaults.credentials import resolve_connection
    from tokctl.client.credential import SharedCredential

    connection = resolve_connection(settings)
    if _last_opened is None or (settings is not _last_opened.given and settings is not _last_opened.adopted):
        _last_opened = _OpenedServer(settings, SharedCredential(connection.credential))
    return replace(connection, credential=_last_opened.credential)


def adopt_server(settings: Settings, kind: str, url: str) -> Settings:
    """Return settings for the root of the API of a server of this kind; their clients share one credential."""
    global _last_opened  # noqa: PLW0603 - see above
    _create_connection(settings)
    adopted = replace(settings, engine_kind=kind, server=url)
    if _last_opened is not None:
        _last_opened = _last_opened._replace(adopted=adopted)
    return adopted


def adopted_settings(settings: Settings) -> Settings | None:
    """Return what ``adopt_server`` returned for the same settings, if they are those of the last opened server."""
    return _last_opened.adopted if _last_opened is not None and _last_opened.given is settings else None


def warn(text: str) -> None:
    """Write a warning to stderr, once."""
    if text not in _warned:
        _warned.add(text)
        sys.stderr.write(f"warning: {text}\n")


def display_address(client: Client, *segments: str) -> str:
    """Return the address of a server, or of a resource on it, for messages."""
    from tokctl.client.session import build_target
    from tokctl.server_address import parse_url

    base = parse_url(client.connection.url)
    return base.display_target(build_target(base, segments, {})) if segments else base.display_address


def not_engine_error(client: Client, evidence: str) -> NotFoundError:
    """Forget the kind of a server that has no list of instances; return the error to raise."""
    global _last_opened  # noqa: PLW0603 - see above
    address = display_address(client)
    ENGINE_SERVERS.forget(address)
    _last_opened = None
    return NotFoundError(
        f"{address} is not an engine that tokctl recognizes ({evidence.rstrip('.')}).",
        "Check the server address, including its path; 'tokctl engines' lists the kinds of engines.",
    )


def wrong_kind_error(client: Client, kind: str, evidence: str) -> UnreachableError:
    """Forget the kind of a server; return the error to raise. Trying again helps if the kind was remembered."""
    global _last_opened  # noqa: PLW0603 - see above
    address = display_address(client)
    was_remembered = any(server.kind == kind for server in ENGINE_SERVERS.forget(address))
    _last_opened = None
    hint = (
        "Run the command again to detect the kind again."
        if was_remembered
        else "Remove --engine-kind to detect the kind."
    )
    return UnreachableError(f"{address} does not respond like a server of kind {kind} ({evidence.rstrip('.')}).", hint)
