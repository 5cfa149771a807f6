"""The API tokens of an SQLite store: records and digests, never secrets."""

from __future__ import annotations

import hmac
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, cast

import msgspec

from tokctl.access.model import ApiToken, CreatedBy, NewApiToken
from tokctl.process.model import from_micros, to_micros
from tokctl.store.faults import translated
from tokctl.store.schema import COUNT_CHANGE

_COLUMNS = (
    "id", "name", "description", "type", "scopes", "token", "created_by",
    "created_at", "updated_at", "expires_at", "last_used_at", "revoked_at",
)  # fmt: skip
_READ = f"SELECT {', '.join(_COLUMNS)} FROM api_token"
_READ_DIGEST = f"SELECT {', '.join(_COLUMNS)}, digest FROM api_token"
_TOUCH = "UPDATE api_token SET last_used_at = ?1 WHERE id = ?2 AND coalesce(last_used_at, 0) < ?1"
_scopes = msgspec.json.Decoder(tuple[str, ...])
_creator = msgspec.json.Decoder(CreatedBy)


class ApiTokenTable:
    """Reads and writes API tokens over a store's connection; what it writes is a transaction of its own."""

    def __init__(self, connection: sqlite3.Connection, location: str) -> None:
        self.connection = connection
        self.location = location

    def by_digest(self, digest: bytes) -> ApiToken | None:
        """The API token with this digest of its secret, expired and revoked ones among them."""
        with translated(self.location):
            row = self.connection.execute(f"{_READ_DIGEST} WHERE digest = ?", [digest]).fetchone()
        return _record(row[:-1]) if row is not None and hmac.compare_digest(row[-1], digest) else None

    def by_id(self, token_id: int) -> ApiToken | None:
        """The API token with this id, a revoked one, too."""
        with translated(self.location):
            row = self.connection.execute(f"{_READ} WHERE id = ?", [token_id]).fetchone()
        return None if row is None else _record(row)

    def peppers(self) -> set[str]:
        """The ids of the peppers behind the digests of the API tokens that are not revoked."""
        with translated(self.location):
            rows = self.connection.execute("SELECT DISTINCT pepper FROM api_token WHERE revoked_at IS NULL")
            return {pepper for (pepper,) in rows}

    def list(self) -> Iterator[ApiToken]:
        """Every API token that is not revoked, the newest first."""
        with translated(self.location):
            for row in self.connection.execute(f"{_READ} WHERE revoked_at IS NULL ORDER BY created_at DESC, id DESC"):
                yield _record(row)

    def create(self, token: NewApiToken, digest: bytes, pepper: str) -> ApiToken:
        """Keep a new API token with the digest of its secret, and the id of the pepper behind the digest.

        When this returns, the record is on the disk.
        """
        values = {
            "name": token.name,
            "description": token.description,
            "type": token.type,
            "scopes": msgspec.json.encode(token.scopes).decode(),
            "token": token.token,
            "digest": digest,
            "pepper": pepper,
            "created_by": msgspec.json.encode(token.created_by).decode() if token.created_by else None,
            "created_at": to_micros(token.created_at),
            "updated_at": to_micros(token.created_at),
            "expires_at": to_micros(token.expires_at),
        }
        with self._change():
            (row,) = self.connection.execute(
                f"INSERT INTO api_token ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})"
                f" RETURNING {', '.join(_COLUMNS)}",
                list(values.values()),
            ).fetchall()
        return _record(row)

    def revoke(self, token_id: int, at: datetime) -> bool:
        """Let an API token be valid no more; False where there is none, or it was revoked before."""
        with self._change():
            return bool(
                self.connection.execute(
                    "UPDATE api_token SET revoked_at = ?1, updated_at = ?1 WHERE id = ?2 AND revoked_at IS NULL",
                    [to_micros(at), token_id],
                ).rowcount
            )

    def touch(self, used: Mapping[int, datetime]) -> None:
        """Keep when API tokens were used last. A use is no change: the revision stays."""
        with self._write():
            self.connection.executemany(_TOUCH, [(to_micros(at), number) for number, at in used.items()])

    @contextmanager
    def _change(self) -> Iterator[None]:
        with translated(self.location):
            self.connection.execute("PRAGMA synchronous = FULL")  # what was told to somebody has to outlive the power
        with self._write():
            self.connection.execute(COUNT_CHANGE, ["access"])
            yield

    @contextmanager
    def _write(self) -> Iterator[None]:
        with translated(self.location):
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self.connection.execute("ROLLBACK")
                raise


def _record(row: tuple[Any, ...]) -> ApiToken:
    (number, name, description, kind, scopes, token, creator, created, updated, expires, used, revoked) = row
    return ApiToken(
        id=number,
        name=name,
        description=description,
        type=kind,
        scopes=_scopes.decode(scopes),
        token=token,
        created_by=_creator.decode(creator) if creator else None,
        created_at=cast(datetime, from_micros(created)),
        updated_at=cast(datetime, from_micros(updated)),
        expires_at=from_micros(expires),
        last_used_at=from_micros(used),
        revoked_at=from_micros(revoked),
    )
