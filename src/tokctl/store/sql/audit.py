"""The audit log of a store: changes of its API tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

import msgspec

from tokctl.api_tokens.audit import Actor, AuditEntry, ChainHead, decode_entry
from tokctl.model.times import EPOCH
from tokctl.store.sql.database import Database


class SqlAudit:
    """Reads entries over a store's connection, and adds entries within the caller's transaction."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def entries(
        self, *, after: int = 0, token_id: int | None = None, limit: int = -1, newest: bool = False
    ) -> Iterator[AuditEntry]:
        dialect = self.database.dialect
        columns = f"number, token, {dialect.as_bytes.format('entry')}, {dialect.as_bytes.format('hash')}"
        where, values = ("", [after]) if token_id is None else ("token = ? AND", [token_id, after])
        order = f"number {'DESC' if newest else 'ASC'} LIMIT {dialect.no_limit if limit < 0 else limit}"
        for row in self.database.rows(f"SELECT {columns} FROM audit WHERE {where} number > ? ORDER BY {order}", values):
            yield _read_entry(*row)

    def head(self) -> ChainHead:
        for row in self.database.fetch("SELECT number, hash FROM audit_head"):
            return (
                ChainHead(*row) if [type(one) for one in row] == [int, str] else ChainHead(0, "")
            )  # no chain ends there
        return ChainHead()

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
        database = self.database
        database.execute("INSERT INTO audit (number, token, entry, hash) VALUES (?, ?, ?, ?)", list(row.values()))
        database.execute("UPDATE audit_head SET number = ?, hash = ?", [entry.number, chain_hash])
        database.read_back(f"SELECT {', '.join(row)} FROM audit WHERE number = {entry.number}", [*row.values()])
        if self.head() != ChainHead(entry.number, chain_hash):
            raise database.not_kept_error()


def _read_entry(number: int, token: int, content: bytes, chain_hash: bytes) -> AuditEntry:
    """Return the entry of a row. A changed row has no hash, even if the change is outside the hashed content."""
    with suppress(msgspec.MsgspecError, TypeError, UnicodeError, RecursionError):
        entry = decode_entry(msgspec.json.decode(content) | {"hash": chain_hash.decode()})
        if (entry.number, entry.token_id, msgspec.json.encode(entry.content())) == (number, token, content):
            return entry
    nobody = Actor(kind="", id="")
    return AuditEntry(number=number, at=EPOCH, action="unreadable", actor=nobody, token_id=token, token_name="")
