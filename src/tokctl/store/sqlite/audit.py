"""The audit log of an SQLite store: changes of its API tokens."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

import msgspec

from tokctl.api_tokens.audit import Actor, AuditEntry, ChainHead, decode_entry
from tokctl.errors import StoreError
from tokctl.model.times import EPOCH
from tokctl.store.sqlite.connection import LimitedConnection, translate_errors

_SELECT = "SELECT number, token, CAST(entry AS BLOB), CAST(hash AS BLOB) FROM audit"  # also read invalid UTF-8


class SQLiteAudit:
    """Reads entries over a store's connection, and adds entries within the caller's transaction."""

    def __init__(self, connection: LimitedConnection, location: str) -> None:
        self.connection = connection
        self.location = location

    def entries(
        self, *, after: int = 0, token_id: int | None = None, limit: int = -1, newest: bool = False
    ) -> Iterator[AuditEntry]:
        where = "?2 IS NULL AND" if token_id is None else "token = ?2 AND"
        order = "DESC" if newest else "ASC"
        with translate_errors(self.location):
            statement = f"{_SELECT} WHERE {where} number > ?1 ORDER BY number {order} LIMIT ?3"
            for row in self.connection.rows(statement, [after, token_id, limit]):
                yield _read_entry(*row)

    def head(self) -> ChainHead:
        with translate_errors(self.location):
            row = self.connection.execute("SELECT number, hash FROM audit_head").fetchone()
        if row is None:
            return ChainHead()
        return ChainHead(*row) if [type(one) for one in row] == [int, str] else ChainHead(0, "")  # no chain ends there

    def append(
        self, action: str, token: tuple[int, str], actor: Actor, at: datetime, details: Mapping[str, Any]
    ) -> None:
        """Add an entry about an API token (its id and name), in the transaction of the recorded change."""
        head = self.head()
        number, name = token
        entry = AuditEntry(
            number=head.number + 1,
            at=at,
            action=action,
            actor=actor,
            token_id=number,
            token_name=name,
            details=dict(details),
        )
        chain_hash = entry.chain_hash(head.hash)
        content = msgspec.json.encode(entry.content()).decode()
        row = {"number": entry.number, "token": number, "entry": content, "hash": chain_hash}
        self.connection.execute("INSERT INTO audit VALUES (?, ?, ?, ?)", list(row.values()))
        self.connection.execute("UPDATE audit_head SET number = ?, hash = ?", [entry.number, chain_hash])
        read_back(self.connection, self.location, f"SELECT * FROM audit WHERE number = {entry.number}", row)
        if self.head() != ChainHead(entry.number, chain_hash):
            raise not_kept_error(self.location)


def read_back(connection: sqlite3.Connection, location: str, query: str, written: Mapping[str, Any]) -> None:
    """Check that a query returns one row with exactly the values that were written. Raises StoreError."""
    if connection.execute(query).fetchall() != [tuple(written.values())]:
        raise not_kept_error(location)


def not_kept_error(location: str) -> StoreError:
    """Return the error for a store that changes what is written to it."""
    return StoreError(
        f"the store {location} does not keep what is written to it. Nothing was changed.",
        "Check it with 'tokctl store check', and restore a backup.",
    )


def _read_entry(number: int, token: int, content: bytes, chain_hash: bytes) -> AuditEntry:
    """Return the entry of a row. A changed row has no hash, even if the change is outside the hashed content."""
    with suppress(msgspec.MsgspecError, TypeError, UnicodeError, RecursionError):
        entry = decode_entry(msgspec.json.decode(content) | {"hash": chain_hash.decode()})
        if (entry.number, entry.token_id, msgspec.json.encode(entry.content())) == (number, token, content):
            return entry
    nobody = Actor(kind="", id="")
    return AuditEntry(number=number, at=EPOCH, action="unreadable", actor=nobody, token_id=token, token_name="")
