"""Which kinds of servers were detected: ``servers.json`` in the platform's state directory, by the server's address.

``TOKCTL_STATE_DIR`` names another directory. The value of an address is the kind, or an object with the kind and the
root of the API if that is elsewhere. A file that cannot be read or written is ignored: the server is detected again.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from tokctl.atomic_files import make_folder, write_atomically
from tokctl.config.keys import ENGINE_KINDS
from tokctl.config.paths import state_directory

MAX_REMEMBERED_SERVERS = 500
"""Maximum number of servers that are remembered, the latest ones."""


class RememberedServer(Struct, frozen=True):
    """The kind of a server, and the URL of the root of its API; '' for the server's address itself."""

    kind: str
    url: str = ""


def state_file() -> Path:
    """Return the file where servers are remembered."""
    return state_directory(os.environ) / "servers.json"


def _load_servers() -> dict[str, RememberedServer]:
    try:
        known = msgspec.json.decode(state_file().read_bytes(), type=dict[str, str | RememberedServer])
    except (OSError, msgspec.MsgspecError, UnicodeError):
        return {}
    servers = {
        address: RememberedServer(found) if isinstance(found, str) else found for address, found in known.items()
    }
    return {address: server for address, server in servers.items() if server.kind in ENGINE_KINDS}


def _write_servers(servers: dict[str, RememberedServer]) -> None:
    latest = dict(list(servers.items())[-MAX_REMEMBERED_SERVERS:])
    document = {address: server if server.url else server.kind for address, server in latest.items()}
    file = state_file()
    with suppress(OSError):
        make_folder(file.parent)
        write_atomically(file, msgspec.json.format(msgspec.json.encode(document)) + b"\n")


def load_server(address: str) -> RememberedServer | None:
    """Return what is remembered of the server with this display address."""
    return _load_servers().get(address)


def remember_server(address: str, server: RememberedServer) -> None:
    """Remember the kind of a server."""
    known = _load_servers()
    known.pop(address, None)  # it becomes the latest
    _write_servers(known | {address: server})


def forget_servers(address: str) -> list[RememberedServer]:
    """Forget the server with this address, or with this root of its API; returns what was remembered."""
    known = _load_servers()
    forgotten = {name for name, server in known.items() if address in {name, server.url}}
    if forgotten:
        _write_servers({name: server for name, server in known.items() if name not in forgotten})
    return [known[name] for name in forgotten]
