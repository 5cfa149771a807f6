"""Which kinds of servers were detected, by their addresses: files in the platform's state directory.

``TOKCTL_STATE_DIR`` names another directory. The value of an address is the kind, or an object with the kind and the
root of the API if that is elsewhere. A file that cannot be read or written is ignored: the server is detected again.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from tokctl.atomic_files import make_folder, write_atomically
from tokctl.config.paths import state_directory
from tokctl.kinds import SERVER_ENGINES, SERVER_REGISTRIES

MAX_REMEMBERED_SERVERS = 500
"""Maximum number of servers that are remembered, the latest ones."""


class RememberedServer(Struct, frozen=True):
    """The kind of a server, and the URL of the root of its API; '' for the server's address itself."""

    kind: str
    url: str = ""


class RememberedServers:
    """The servers of some kinds, in a file of this name."""

    def __init__(self, name: str, kinds: Collection[str]) -> None:
        self._name = name
        self._kinds = kinds

    @property
    def file(self) -> Path:
        """The file where they are remembered."""
        return state_directory(os.environ) / self._name

    def load(self, address: str) -> RememberedServer | None:
        """Return what is remembered of the server with this display address."""
        return self._read().get(address)

    def remember(self, address: str, server: RememberedServer) -> None:
        """Remember the kind of a server."""
        known = self._read()
        known.pop(address, None)  # it becomes the latest
        self._write(known | {address: server})

    def forget(self, address: str) -> list[RememberedServer]:
        """Forget the server with this address, or with this root of its API; returns what was remembered."""
        known = self._read()
        forgotten = {name for name, server in known.items() if address in {name, server.url}}
        if forgotten:
            self._write({name: server for name, server in known.items() if name not in forgotten})
        return [known[name] for name in forgotten]

    def _read(self) -> dict[str, RememberedServer]:
        try:
            known = msgspec.json.decode(self.file.read_bytes(), type=dict[str, str | RememberedServer])
        except (OSError, msgspec.MsgspecError, UnicodeError):
            return {}
        servers = {
            address: RememberedServer(found) if isinstance(found, str) else found for address, found in known.items()
        }
        return {address: server for address, server in servers.items() if server.kind in self._kinds}

    def _write(self, servers: dict[str, RememberedServer]) -> None:
        latest = dict(list(servers.items())[-MAX_REMEMBERED_SERVERS:])
        document = {address: server if server.url else server.kind for address, server in latest.items()}
        file = self.file
        with suppress(OSError):
            make_folder(file.parent)
            write_atomically(file, msgspec.json.format(msgspec.json.encode(document)) + b"\n")


ENGINE_SERVERS = RememberedServers("servers.json", SERVER_ENGINES)
"""Servers with processes."""
REGISTRY_SERVERS = RememberedServers("registries.json", SERVER_REGISTRIES)
"""Servers with API tokens."""
