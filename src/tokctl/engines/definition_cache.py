"""Process definitions of servers on disk, so that each is fetched once: a deployed version never changes.

The files are in ``definitions`` beside ``servers.json`` (``engines.connect``), one for each definition, named by a
digest of the server's address and the definition's key. A file that cannot be read or written is ignored: the
definition is fetched again. The least recently used files are removed above MAX_BYTES.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from tokctl.atomic_files import make_folder, write_atomically
from tokctl.config.paths import state_directory

MAX_BYTES = 32 << 20
"""Maximum size of all files together."""


class CachedDefinition(Struct, frozen=True):
    """A definition as a server sent it. ``key`` is the server's own id of this version, which it never uses again."""

    server: str
    key: str
    process_id: str
    version: int
    xml: str


class DefinitionCache:
    """The cached definitions of one server. May be used from any thread, and by several processes."""

    def __init__(self, server: str, folder: Path | None = None) -> None:
        self._server = server
        self._folder = folder or state_directory(os.environ) / "definitions"

    def get(self, key: str) -> CachedDefinition | None:
        """Return a definition by the server's id of it; None if it is not cached."""
        file = self._file(key)
        try:
            found = msgspec.json.decode(file.read_bytes(), type=CachedDefinition)
        except (OSError, msgspec.MsgspecError, UnicodeError):
            return None
        if (found.server, found.key) != (self._server, key):
            return None
        with suppress(OSError):
            os.utime(file)
        return found

    def put(self, key: str, process_id: str, version: int, xml: str) -> None:
        """Cache a definition."""
        data = msgspec.json.encode(CachedDefinition(self._server, key, process_id, version, xml))
        with suppress(OSError):
            make_folder(self._folder)
            self._remove_old(MAX_BYTES - len(data))
            if len(data) <= MAX_BYTES:
                write_atomically(self._file(key), data)

    def _file(self, key: str) -> Path:
        digest = hashlib.sha256(f"{self._server}\0{key}".encode("utf-8", "surrogatepass")).hexdigest()
        return self._folder / f"{digest[:40]}.json"

    def _remove_old(self, max_bytes: int) -> None:
        """Remove the least recently used files until the others take up at most ``max_bytes``."""
        files = []
        for file in self._folder.glob("*.json"):
            with suppress(OSError):  # another process may have removed it
                status = file.stat()
                files.append((status.st_mtime_ns, file, status.st_size))
        total = sum(size for _, _, size in files)
        for _, file, size in sorted(files):
            if total <= max_bytes:
                return
            file.unlink(missing_ok=True)
            total -= size
