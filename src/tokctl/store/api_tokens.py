"""The API tokens of an SQLite store: records and digests, never secrets."""

from __future__ import annotations

import hmac
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, TypeVar, cast

import msgspec

from tokctl.access.audit import CREATE, REVOKE, UPDATE, Actor
from tokctl.access.masking import masked_text
from tokctl.access.model import ApiToken, CreatedBy, NewApiToken
from tokctl.errors import NotFoundError, StoreError
from tokctl.process.model import format_time, from_micros, to_micros, utc
from tokctl.store.audit import AuditTable
from tokctl.store.faults import translated
from tokctl.store.schema import COUNT_CHANGE

_COLUMNS = (
    "id", "name", "description", "type", "scopes", "token", "created_by",
    "created_at", "updated_at", "expires_at", "last_used_at", "revoked_at",
)  # fmt: skip
_READ = f"SELECT {', '.join(_COLUMNS)} FROM api_token"
_READ_DIGEST = f"SELECT {', '.join(_COLUMNS)}, digest FROM api_token"
_NAMED = " AND name = ?"
_TOUCH = "UPDATE api_token SET last_used_at = ?1 WHERE id = ?2 AND coalesce(last_used_at, 0) < ?1"
_scopes = msgspec.json.Decoder(tuple[str, ...])
_creator = msgspec.json.Decoder(CreatedBy)


Token = TypeVar("Token", bound=NewApiToken)


class ChangedError(StoreError):
    """An API token is no longer what the caller takes it for."""


class AskerChangedError(StoreError):
    """The API token that asks for a change is no longer what it was when it was let in; nothing was changed."""


class ApiTokenTable:
    """Reads and writes API tokens over a store's connection; what it writes is a transaction of its own.

    ``asker`` is the API token that asks for the changes, if one does: each begins by looking whether it is the same.
    """

    def __init__(self, connection: sqlite3.Connection, location: str) -> None:
        self.connection = connection
        self.location = location
        self.asker: ApiToken | None = None

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

    def named(self, name: str) -> Iterator[ApiToken]:
        """Those of exactly that name that are not revoked, the newest first."""
        where = "WHERE name = ? AND revoked_at IS NULL ORDER BY created_at DESC, id DESC"
        with translated(self.location):
            for row in self.connection.execute(f"{_READ} {where}", [name]):
                yield _record(row)

    def count(self, name: str | None = None) -> int:
        """How many are not revoked, of that name if one is given."""
        with translated(self.location):
            statement = f"SELECT count(*) FROM api_token WHERE revoked_at IS NULL{_NAMED if name is not None else ''}"
            (number,) = self.connection.execute(statement, [] if name is None else [name]).fetchone()
        return int(number)

    def page(self, page: int, size: int, name: str | None = None) -> tuple[Sequence[ApiToken], int]:
        """A page of those that are not revoked, from 1 and the newest first, and how many there are altogether.

        With a name, of those of exactly that name. The work grows with the distance from the nearer end.
        """
        total = self.count(name)
        first = (page - 1) * size
        size = min(size, total - first)
        if size <= 0:
            return (), total
        behind = total - first - size
        turned = behind < first
        order, skipped = ("ASC", behind) if turned else ("DESC", first)
        where = (f"WHERE revoked_at IS NULL{_NAMED if name is not None else ''}"
                 f" ORDER BY created_at {order}, id {order} LIMIT ? OFFSET ?")  # fmt: skip
        values = [*([] if name is None else [name]), size, skipped]
        with translated(self.location):
            rows = self.connection.execute(f"{_READ} {where}", values).fetchall()
        return [_record(row) for row in (reversed(rows) if turned else rows)], total

    # --- changes, each with its entry in the audit ---

    def create(self, token: NewApiToken, digest: bytes, pepper: str, *, by: Actor) -> ApiToken:
        """Keep a new API token with the digest of its secret, and the id of the pepper behind the digest.

        When this returns, the record is on the disk. A secret in its name or description is masked there.

        Raises:
            StoreError: it cannot be written.
        """
        token = _unrevealing(token)
        values = {
            "name": token.name,
            "description": token.description,
            "type": token.type,
            "scopes": _texts(token.scopes),
            "token": token.token,
            "digest": digest,
            "pepper": pepper,
            "created_by": msgspec.json.encode(token.created_by).decode() if token.created_by else None,
            "created_at": to_micros(token.created_at),
            "updated_at": to_micros(token.created_at),
            "expires_at": to_micros(utc(token.expires_at)),  # in another zone, the year 9999 may be 10000
        }
        with self._change() as audit:
            (row,) = self.connection.execute(
                f"INSERT INTO api_token ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})"
                f" RETURNING {', '.join(_COLUMNS)}",
                list(values.values()),
            ).fetchall()
            made = _record(row)
            audit.append(CREATE, (int(made.id), made.name), by, token.created_at, _told(token))
        return made

    def update(
        self, token_id: int, changes: Mapping[str, Any], at: datetime, *, by: Actor, known: datetime | None = None
    ) -> ApiToken:
        """Change members of an API token: of ``name``, ``description``, ``type``, ``scopes``, ``expires_at``.

        Args:
            token_id: which one.
            changes: the new values by member; expiry None is never.
            at: when.
            by: who does it.
            known: when it was changed last, as far as the caller knows.

        Raises:
            NotFoundError: there is none, or it is revoked.
            ChangedError: it was changed since it was ``known``.
        """
        with self._change() as audit:
            before = self.by_id(token_id)
            if before is None or before.revoked_at is not None:
                raise NotFoundError(f"there is no API token {token_id}.")
            if known is not None and before.updated_at != known:
                raise ChangedError(f"API token {token_id} was changed in the meantime.", "Look at it, and try again.")
            after = _unrevealing(msgspec.structs.replace(before, **changes, updated_at=at))
            old, new = _told(before), _told(after)
            changed = {name: [old[name], new[name]] for name in new if old[name] != new[name]}
            if not changed:
                return before
            self.connection.execute(
                "UPDATE api_token SET name = ?, description = ?, type = ?, scopes = ?, expires_at = ?, updated_at = ?"
                " WHERE id = ?",
                [after.name, after.description, after.type, _texts(after.scopes), to_micros(utc(after.expires_at)),
                 to_micros(at), token_id],
            )  # fmt: skip
            audit.append(UPDATE, (token_id, after.name), by, at, changed)
        return after

    def revoke(self, token_id: int, at: datetime, *, by: Actor, why: str = "", known: datetime | None = None) -> bool:
        """Let an API token be valid no more; False where there is none, or it was revoked before.

        Raises:
            ChangedError: it was changed since it was ``known``.
        """
        with self._change() as audit:
            token = self.by_id(token_id)
            if token is None or token.revoked_at is not None:
                return False
            if known is not None and token.updated_at != known:
                raise ChangedError(f"API token {token_id} was changed in the meantime.", "Look at it, and try again.")
            self.connection.execute(
                "UPDATE api_token SET revoked_at = ?1, updated_at = ?1 WHERE id = ?2", [to_micros(at), token_id]
            )
            audit.append(REVOKE, (token_id, token.name), by, at, {"why": masked_text(why)} if why else {})
        return True

    def touch(self, used: Mapping[int, datetime]) -> None:
        """Keep when API tokens were used last. A use is no change: the revision stays."""
        with self._write():
            self.connection.executemany(_TOUCH, [(to_micros(at), number) for number, at in used.items()])

    @contextmanager
    def _change(self) -> Iterator[AuditTable]:
        with translated(self.location):
            self.connection.execute("PRAGMA synchronous = FULL")  # what was told to somebody has to outlive the power
        with self._write():
            asker = self.asker
            if asker is not None and _version(self.by_id(int(asker.id))) != _version(asker):
                raise AskerChangedError("the API token that asks for this was changed or revoked in the meantime.")
            self.connection.execute(COUNT_CHANGE, ["access"])
            yield AuditTable(self.connection, self.location)

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


def _version(token: ApiToken | None) -> tuple[datetime | None, ...] | None:
    return None if token is None else (token.created_at, token.updated_at, token.revoked_at)


def _unrevealing(token: Token) -> Token:
    """The token, without a secret in its texts: people see them, and the audit keeps them."""
    description = None if token.description is None else masked_text(token.description)
    return msgspec.structs.replace(token, name=masked_text(token.name), description=description)


def _texts(scopes: tuple[str, ...] | None) -> str:
    return msgspec.json.encode(scopes or ()).decode()


def _told(token: NewApiToken) -> dict[str, Any]:
    """What the audit tells of an API token."""
    return {
        "name": token.name,
        "description": token.description,
        "type": token.type,
        "scopes": [*(token.scopes or ())],
        "expiresAt": format_time(token.expires_at),
    }


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
