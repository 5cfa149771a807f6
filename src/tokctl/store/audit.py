"""The audit of an SQLite store: what was done to its API tokens."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

import msgspec

from tokctl.access.audit import Actor, AuditEntry, Head, decode_entry
from tokctl.process.model import EPOCH
from tokctl.store.faults import translated

_READ = "SELECT number, token, CAST(entry AS BLOB), CAST(hash AS BLOB) FROM audit"  # what is no UTF-8 is read, too


class AuditTable:
    """Reads the entries over a store's connection, and adds to them within a transaction of the caller's."""

    def __init__(self, connection: sqlite3.Connection, location: str) -> None:
        self.connection = connection
        self.location = location

    def entries(
        self, *, after: int = 0, token_id: int | None = None, limit: int = -1, newest: bool = False
    ) -> Iterator[AuditEntry]:
        """Those behind the one of that number, in their order or the newest first; of one API token, if told."""
        where = "?2 IS NULL AND" if token_id is None else "token = ?2 AND"
        order = "DESC" if newest else "ASC"
        with translated(self.location):
            statement = f"{_READ} WHERE {where} number > ?1 ORDER BY number {order} LIMIT ?3"
            for row in self.connection.execute(statement, [after, token_id, limit]):
                yield _entry(*row)

    def head(self) -> Head:
        """The end of the chain, as it was left."""
        with translated(self.location):
            row = self.connection.execute("SELECT number, hash FROM audit_head").fetchone()
        if row is None:
            return Head()
        return Head(*row) if [type(one) for one in row] == [int, str] else Head(0, "")  # no chain ends there

    def append(
        self, action: str, token: tuple[int, str], actor: Actor, at: datetime, details: Mapping[str, Any]
    ) -> None:
        """Add an entry about an API token: its id and name. The transaction, the caller's, is that of what it tells."""
        head = self.head()
        number, name = token
        entry = AuditEntry(
            number=head.number + 1, at=at, action=action, actor=actor, token_id=number, token_name=name,
            details=dict(details),
        )  # fmt: skip
        chained = entry.chained(head.hash)
        content = msgspec.json.encode(entry.content()).decode()
        self.connection.execute("INSERT INTO audit VALUES (?, ?, ?, ?)", [entry.number, number, content, chained])
        self.connection.execute("UPDATE audit_head SET number = ?, hash = ?", [entry.number, chained])


def _entry(number: int, token: int, content: bytes, chained: bytes) -> AuditEntry:
    """An entry of a row. Of one that is not as it was written, also beside what is hashed, the hash is left out."""
    with suppress(msgspec.MsgspecError, TypeError, UnicodeError, RecursionError):
        entry = decode_entry(msgspec.json.decode(content) | {"hash": chained.decode()})
        if (entry.number, entry.token_id, msgspec.json.encode(entry.content())) == (number, token, content):
            return entry
    nobody = Actor(kind="", id="")
    return AuditEntry(number=number, at=EPOCH, action="unreadable", actor=nobody, token_id=token, token_name="")
