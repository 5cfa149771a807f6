"""The last audit entries of stores that this machine has seen, kept outside of the stores.

When a store is restored from a backup, revoked API tokens become valid again, and the store itself does not show it. So
``stores`` in the state directory has a file for each store, named by the store's identity, with the end of its audit
after the last change. A store that lacks this entry went back. A file that cannot be read or written is ignored.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from tokctl.api_tokens.audit import ChainHead
from tokctl.atomic_files import write_atomically
from tokctl.config.paths import state_directory
from tokctl.errors import StoreError
from tokctl.model.times import format_time
from tokctl.store.protocol import Store
from tokctl.text import count

_IDENTITY = re.compile(r"[0-9a-f]{32}")


class SeenHead(Struct, frozen=True):
    """The number and the hash of an audit entry, and when it was the last one."""

    number: int
    hash: str
    at: datetime


class Rollback(Struct, frozen=True):
    """A store that lacks the audit entry ``seen``, which is in ``file``; it ends with ``head``."""

    seen: SeenHead
    head: ChainHead
    file: Path

    @property
    def message(self) -> str:
        """What happened, and what follows from it."""
        missing = self.seen.number - self.head.number
        lost = count(missing, "change") if missing > 0 else "changes"
        return (
            f"it went back to an earlier state: {lost} of API tokens until {format_time(self.seen.at)} are missing."
            " Revoked API tokens may be valid again."
        )

    @property
    def advice(self) -> str:
        """What to do."""
        return (
            "Compare 'tokctl api-tokens list' and 'tokctl api-tokens audit' with your records, and revoke again. "
            f"Then delete {self.file}."
        )


def find_rollback(store: Store) -> Rollback | None:
    """Return how a store went back; None if it has the last entry that was seen. Raises StoreError."""
    file = _file(store)
    try:
        seen = msgspec.json.decode(b"" if file is None else file.read_bytes(), type=SeenHead)
    except (OSError, msgspec.MsgspecError, UnicodeError):
        return None
    entry = next(store.audit.entries(after=seen.number - 1, limit=1), None)
    if file is None or (entry is not None and (entry.number, entry.hash) == (seen.number, seen.hash)):
        return None
    return Rollback(seen, store.audit.head(), file)


def remember_head(store: Store) -> ChainHead | None:
    """Write down the end of a store's audit after a change, and return it.

    For a store that went back, the later end stays. It raises nothing, because the change has succeeded.
    """
    with suppress(OSError, StoreError):
        head, file = store.audit.head(), _file(store)
        if file is not None and head.number and find_rollback(store) is None:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomically(file, msgspec.json.encode(SeenHead(head.number, head.hash, datetime.now(UTC))))
        return head
    return None


def _file(store: Store) -> Path | None:
    identity = store.api_tokens.identity()  # may be anything in a store that another program has changed
    return state_directory(os.environ) / "stores" / f"{identity}.json" if _IDENTITY.fullmatch(identity) else None
