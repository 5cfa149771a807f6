"""The server that the settings name: a client for it, and which kind of server it is.

The kind is detected once, and remembered in ``servers.json`` in the platform's state directory, or in the one that
``TOKCTL_STATE_DIR`` names: the kind by the server's address. A file that cannot be read or written is ignored: the kind
is detected again.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tokctl.atomic_files import write_atomically
from tokctl.config.keys import ENGINE_KINDS
from tokctl.config.paths import state_directory
from tokctl.errors import UnreachableError, UsageError
from tokctl.kinds import SERVER_ENGINES
from tokctl.text import suggest

if TYPE_CHECKING:
    from tokctl.client import Client, Connection
    from tokctl.config import Settings

MAX_REMEMBERED_SERVERS = 500
"""Maximum number of servers that are remembered, the latest ones."""
_last_connection: tuple[Settings, Connection] | None = None
_warned: set[str] = set()


def create_client(settings: Settings) -> Client:
    """Return a new client. One for the same settings, as after an outage, reuses the credential."""
    global _last_connection  # noqa: PLW0603 - asking a vault again may mean another prompt
    from tokctl.api_tokens.vaults.credentials import resolve_connection
    from tokctl.client import Client

    if _last_connection is None or _last_connection[0] is not settings:
        connection = resolve_connection(settings)
        _last_connection = settings, msgspec.structs.replace(connection, credential=cache(connection.credential))
    return Client(_last_connection[1], warn=warn)


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


# --- kinds of servers -----------------------------------------------------------------------------


def resolve_engine_kind(settings: Settings) -> str:
    """Return the kind of the server in the settings: as set, as remembered, or as detected.

    Raises:
        UsageError: the settings name an unknown kind.
        UnreachableError, UntrustedError: the kind must be detected, but the request fails.
    """
    if settings.engine_kind is not None:
        if settings.engine_kind not in ENGINE_KINDS:
            raise UsageError(
                f"unknown engine kind '{settings.engine_kind}'{suggest(settings.engine_kind, ENGINE_KINDS)}.",
                f"Valid: {', '.join(ENGINE_KINDS)}.",
            )
        return settings.engine_kind
    client = create_client(settings)
    address = display_address(client)
    kind = load_remembered_kind(address)
    if kind is None:
        try:
            kind = detect_engine_kind(client)
        finally:
            client.close()
        remember_kind(address, kind)
    return kind


def wrong_kind_error(client: Client, kind: str, evidence: str) -> UnreachableError:
    """Forget the kind of a server; return the error to raise. Trying again helps if the kind was remembered."""
    address = display_address(client)
    was_remembered = load_remembered_kind(address) == kind
    remember_kind(address, None)
    hint = (
        "Run the command again to detect the kind again."
        if was_remembered
        else "Remove --engine-kind to detect the kind."
    )
    return UnreachableError(f"{address} does not respond like a server of kind {kind} ({evidence.rstrip('.')}).", hint)


def detect_engine_kind(client: Client) -> str:
    """Request the health of a server; its kind is the first one that recognizes the response."""
    answer = client.get(("health",), accept=(400, 401, 403, 404, 405, 406, 410, 501, 503))
    try:
        health = msgspec.json.decode(answer.body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        health = None
    return next(kind for kind, module in SERVER_ENGINES.items() if import_module(module).recognizes(health))


def state_file() -> Path:
    """Return the file where the kinds of servers are remembered."""
    return state_directory(os.environ) / "servers.json"


def _load_kinds() -> dict[str, str]:
    try:
        known = msgspec.json.decode(state_file().read_bytes(), type=dict[str, str])
    except (OSError, msgspec.MsgspecError, UnicodeError):
        return {}
    return {address: kind for address, kind in known.items() if kind in ENGINE_KINDS}


def load_remembered_kind(address: str) -> str | None:
    """Return the remembered kind of a server."""
    return _load_kinds().get(address)


def remember_kind(address: str, kind: str | None) -> None:
    """Remember the kind of a server; None forgets it."""
    known = _load_kinds()
    if known.pop(address, None) is None and kind is None:
        return
    if kind is not None:
        known[address] = kind
    latest = dict(list(known.items())[-MAX_REMEMBERED_SERVERS:])
    file = state_file()
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(file, msgspec.json.format(msgspec.json.encode(latest)) + b"\n")
