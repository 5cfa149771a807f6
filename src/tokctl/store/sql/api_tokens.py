"""The API tokens of a store: records and digests, never secrets."""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Literal, TypeVar

import msgspec

from tokctl.api_tokens.audit import CREATE, DISABLE, ENABLE, REVOKE, ROTATE, UPDATE, Actor
from tokctl.api_tokens.idempotency import CreationKey
from tokctl.api_tokens.masking import mask_text
from tokctl.errors import NotFoundError, StoreError
from tokctl.model.api_tokens import API_TOKEN_TYPES, ApiToken, CreatedBy, LastUse, NewApiToken
from tokctl.model.times import format_time, from_micros, to_micros, to_utc
from tokctl.store.protocol import CallerChangedError, ChangedError, RepeatedCreationError
from tokctl.store.sql.audit import SqlAudit
from tokctl.store.sql.database import Database

_COLUMNS = (
    "id, name, description, type, scopes, allowed_cidrs, disabled, token, created_by,"
    " created_at, updated_at, expires_at, last_used_at, last_use, revoked_at"
)
MAX_STARTS = 1000
"""Maximum number of positions of the list that are remembered."""
_NEWEST_FIRST = "ORDER BY created_at DESC, id DESC"
_DISTINCT_PEPPERS = """
    WITH RECURSIVE known (pepper) AS (
        SELECT min(pepper) FROM api_token WHERE revoked_at IS NULL
        UNION ALL
        SELECT (SELECT min(pepper) FROM api_token WHERE revoked_at IS NULL AND pepper > known.pepper)
        FROM known WHERE pepper IS NOT NULL
    )
    SELECT pepper FROM known WHERE pepper IS NOT NULL"""
"""One search of the index for each pepper: DISTINCT would read the whole index."""


class _ApiTokenRow(msgspec.Struct, array_like=True):
    """A row of ``_COLUMNS``. Times are microseconds since 1970."""

    id: int
    name: str
    description: str | None
    type: Literal[API_TOKEN_TYPES]  # type: ignore[valid-type]
    scopes: str
    allowed_cidrs: str
    disabled: int
    token: str
    created_by: str | None
    created_at: int
    updated_at: int
    expires_at: int | None
    last_used_at: int | None
    last_use: str | None
    revoked_at: int | None


_texts_decoder = msgspec.json.Decoder(tuple[str, ...])
_creator_decoder = msgspec.json.Decoder(CreatedBy)
_use_decoder = msgspec.json.Decoder(LastUse)


Token = TypeVar("Token", bound=NewApiToken)


class PageStarts:
    """The first API tokens of pages that were read: position in the list → time of creation and id, at a revision."""

    def __init__(self) -> None:
        self.revision = -1
        self.keys: dict[int, tuple[int, int]] = {}


class SqlApiTokens:
    """Reads and writes API tokens over a store's connection; each change is a transaction of its own."""

    def __init__(self, database: Database, starts: PageStarts | None = None) -> None:
        self.database = database
        self.requesting_token: ApiToken | None = None
        self._starts = PageStarts() if starts is None else starts

    def identity(self) -> str:
        ((value,),) = self.database.fetch("SELECT value FROM identity")
        return str(value)

    def find_by_digest(self, digest: bytes) -> ApiToken | None:
        for held, *row in self.database.fetch(f"SELECT digest, {_COLUMNS} FROM api_token WHERE digest = ?", [digest]):
            if hmac.compare_digest(held, digest):
                return _read_record(tuple(row), self.database.location)
        return None

    def by_id(self, token_id: int) -> ApiToken | None:
        for row in self.database.fetch(f"SELECT {_COLUMNS} FROM api_token WHERE id = ?", [token_id]):
            return _read_record(row, self.database.location)
        return None

    def peppers(self) -> set[str]:
        return {pepper for (pepper,) in self.database.fetch(_DISTINCT_PEPPERS)}

    def list(self) -> Iterator[ApiToken]:
        return self._select(f"FROM api_token WHERE revoked_at IS NULL {_NEWEST_FIRST}")

    def named(self, name: str) -> Iterator[ApiToken]:
        return self._select(f"FROM api_token WHERE revoked_at IS NULL AND name = ? {_NEWEST_FIRST}", [name])

    def _select(self, rest: str, values: Sequence[Any] = ()) -> Iterator[ApiToken]:
        for row in self.database.rows(f"SELECT {_COLUMNS} {rest}", values):
            yield _read_record(row, self.database.location)

    def count(self, name: str | None = None) -> int:
        valid, values = _valid(name)
        query = self.database.dialect.count_unrevoked if name is None else f"SELECT count(*) {valid}"
        ((number,),) = self.database.fetch(query, values)
        return int(number)

    def page(self, page: int, size: int, name: str | None = None) -> tuple[Sequence[ApiToken], int]:
        """Return a page (from 1) and the total.

        The cost depends on the distance from the nearer end, or from the nearest page that was read since the list was
        changed last.
        """
        total = self.count(name)
        first = (page - 1) * size
        size = min(size, total - first)
        if size <= 0:
            return (), total
        valid, values = _valid(name)
        behind = total - first - size
        known = self._known_starts() if name is None else {}
        start = first if first in known else max((start for start in known if start < first), default=0)
        if behind < first - start:
            order, skipped = "ASC", behind
        else:
            order, skipped = "DESC", first - start
            if start:
                valid, values = f"{valid} AND (created_at, id) <= (?, ?)", known[start]
        rest = f"{valid} ORDER BY created_at {order}, id {order} LIMIT ? OFFSET ?"
        found = [*self._select(rest, [*values, size, skipped])]
        if order == "ASC":
            found.reverse()
        if found:
            known[first] = to_micros(found[0].created_at), int(found[0].id)
        return found, total

    def _known_starts(self) -> dict[int, tuple[int, int]]:
        revision = self._read_revision()
        if revision != self._starts.revision or len(self._starts.keys) >= MAX_STARTS:
            self._starts.revision, self._starts.keys = revision, {}
        return self._starts.keys

    # --- changes, each with its entry in the audit ---

    def create(
        self,
        token: NewApiToken,
        digest: bytes,
        pepper: str,
        *,
        by: Actor,
        replaces: int | None = None,
        creation: CreationKey | None = None,
    ) -> ApiToken:
        token = _mask_texts(token)
        values = {
            "name": token.name,
            "description": token.description,
            "type": token.type,
            "scopes": _encode_texts(token.scopes),
            "allowed_cidrs": _encode_texts(token.allowed_cidrs),
            "token": token.token,
            "digest": digest,
            "pepper": pepper,
            "creation_key": creation and creation.digest,
            "creation_salt": creation and creation.salt,
            "created_by": msgspec.json.encode(token.created_by).decode() if token.created_by else None,
            "created_at": to_micros(token.created_at),
            "updated_at": to_micros(token.created_at),
            "expires_at": to_micros(to_utc(token.expires_at)),  # in another zone, the year 9999 may be 10000
        }
        with self._audited_transaction() as audit:
            details = _audit_details(token) | ({} if replaces is None else {"replaces": replaces})
            if creation is not None:
                self._refuse_repetition(creation, details, audit)
            old = None if replaces is None else self._find_to_change(replaces, None)
            if replaces is not None and old is None:
                raise NotFoundError(f"API token {replaces} not found.")
            (row,) = self.database.fetch(
                f"INSERT INTO api_token ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})"
                f" RETURNING {_COLUMNS}",
                list(values.values()),
            )
            made = _read_record(row, self.database.location)
            audit.append(CREATE, (int(made.id), made.name), by, token.created_at, details)
            if old is not None:
                audit.append(ROTATE, (int(old.id), old.name), by, token.created_at, {"successor": made.id})
            self._read_back(int(made.id), values)
        return made

    def _refuse_repetition(self, creation: CreationKey, details: Mapping[str, Any], audit: SqlAudit) -> None:
        query = f"SELECT creation_salt, {_COLUMNS} FROM api_token WHERE creation_key = ?"
        for salt, *row in self.database.fetch(query, [creation.digest]):
            found = _read_record(tuple(row), self.database.location)
            recorded = next(audit.entries(token_id=int(found.id), limit=1), None)  # what was asked for then
            raise RepeatedCreationError(found, salt, is_same=recorded is not None and recorded.details == details)

    def has_salts(self) -> bool:
        ((found,),) = self.database.fetch("SELECT EXISTS (SELECT 1 FROM api_token WHERE creation_salt IS NOT NULL)")
        return bool(found)

    def forget_salts(self, before: datetime) -> None:
        with self.database.transaction("salts"):
            self.database.execute(
                "UPDATE api_token SET creation_salt = NULL WHERE creation_salt IS NOT NULL AND created_at < ?",
                [to_micros(before)],
            )

    def update(
        self, token_id: int, changes: Mapping[str, Any], at: datetime, *, by: Actor, known: datetime | None = None
    ) -> ApiToken:
        with self._audited_transaction() as audit:
            before = self._find_to_change(token_id, known)
            if before is None:
                raise NotFoundError(f"API token {token_id} not found.")
            after = _mask_texts(msgspec.structs.replace(before, **changes, updated_at=at))
            old, new = (_audit_details(one) | {"disabled": bool(one.disabled)} for one in (before, after))
            changed = {name: [old[name], new[name]] for name in new if old[name] != new[name]}
            if not changed:
                return before
            values = {
                "name": after.name,
                "description": after.description,
                "type": after.type,
                "scopes": _encode_texts(after.scopes),
                "allowed_cidrs": _encode_texts(after.allowed_cidrs),
                "disabled": int(bool(after.disabled)),
                "expires_at": to_micros(to_utc(after.expires_at)),
                "updated_at": to_micros(at),
            }
            self._update_row(token_id, values)
            action = UPDATE
            if [*changed] == ["disabled"]:
                action = DISABLE if after.disabled else ENABLE
                changed |= _describe_last_use(before)
            audit.append(action, (token_id, after.name), by, at, changed)
            self._read_back(token_id, values)
        return after

    def revoke(self, token_id: int, at: datetime, *, by: Actor, why: str = "", known: datetime | None = None) -> bool:
        with self._audited_transaction() as audit:
            token = self._find_to_change(token_id, known)
            if token is None:
                return False
            values = {"revoked_at": to_micros(at), "updated_at": to_micros(at)}
            self._update_row(token_id, values)
            details = {"why": mask_text(why)} if why else {}
            audit.append(REVOKE, (token_id, token.name), by, at, details | _describe_last_use(token))
            self._read_back(token_id, values)
        return True

    def _update_row(self, token_id: int, values: Mapping[str, Any]) -> None:
        columns = ", ".join(f"{name} = ?" for name in values)
        self.database.execute(f"UPDATE api_token SET {columns} WHERE id = ?", [*values.values(), token_id])

    def _read_back(self, token_id: int, values: Mapping[str, Any]) -> None:
        """Check that the row has the values that were written. A trigger could have changed them."""
        query = f"SELECT {', '.join(values)} FROM api_token WHERE id = {token_id}"
        self.database.read_back(query, [*values.values()])

    def _find_to_change(self, token_id: int, known: datetime | None) -> ApiToken | None:
        token = self.by_id(token_id)
        if token is None or token.revoked_at is not None:
            return None
        if known is not None and token.updated_at != known:
            raise ChangedError(f"API token {token_id} was changed by another process.", "Check it and try again.")
        return token

    def touch(self, used: Mapping[int, tuple[datetime, LastUse]]) -> None:
        rows = [
            (to_micros(at), msgspec.json.encode(use).decode(), number, to_micros(at))
            for number, (at, use) in sorted(used.items())
        ]
        with self.database.transaction("use"):
            self.database.execute_many(
                "UPDATE api_token SET last_used_at = ?, last_use = ? WHERE id = ? AND coalesce(last_used_at, 0) < ?",
                rows,
            )

    @contextmanager
    def _audited_transaction(self) -> Iterator[SqlAudit]:
        with self.database.transaction("access"):
            caller = self.requesting_token
            if caller is not None and _change_key(self.by_id(int(caller.id))) != _change_key(caller):
                raise CallerChangedError("the calling API token was changed or revoked during this request.")
            before = self._read_revision()
            self.database.increment_revision("access")
            yield SqlAudit(self.database)
            if self._read_revision() <= before:
                raise self.database.not_kept_error()

    def _read_revision(self) -> int:
        ((number,),) = self.database.fetch("SELECT number FROM revision WHERE kind = 'access'")
        return int(number)


def _valid(name: str | None) -> tuple[str, Sequence[Any]]:
    """Return the condition, with its values, of API tokens that are not revoked, of this name if one is given."""
    valid = "FROM api_token WHERE revoked_at IS NULL"
    return (valid, ()) if name is None else (f"{valid} AND name = ?", (name,))


def _change_key(token: ApiToken | None) -> tuple[datetime | None, ...] | None:
    return None if token is None else (token.created_at, token.updated_at, token.revoked_at)


def _mask_texts(token: Token) -> Token:
    """Return the token with the secrets in its texts masked: the texts are shown to users and kept in the audit log."""
    description = None if token.description is None else mask_text(token.description)
    return msgspec.structs.replace(token, name=mask_text(token.name), description=description)


def _encode_texts(texts: tuple[str, ...] | None) -> str:
    return msgspec.json.encode(texts or ()).decode()


def _audit_details(token: NewApiToken) -> dict[str, Any]:
    """Return what the audit records of an API token."""
    return {
        "name": token.name,
        "description": token.description,
        "type": token.type,
        "scopes": [*(token.scopes or ())],
        "allowedCidrs": [*(token.allowed_cidrs or ())],
        "expiresAt": format_time(token.expires_at),
    }


def _describe_last_use(token: ApiToken) -> dict[str, Any]:
    """Return what the audit records of the last use of an API token that ends or pauses: nothing if it was unused."""
    if token.last_used_at is None:
        return {}
    use = token.last_use or LastUse()
    return {
        "lastUse": {
            "at": format_time(token.last_used_at),
            "address": use.address,
            "userAgent": use.user_agent,
            "endpoint": use.endpoint,
        }
    }


def _read_record(row: tuple[Any, ...], location: str) -> ApiToken:
    """Return the API token of a row. Raises StoreError if a value has another type than was written."""
    try:
        values = msgspec.convert(row, _ApiTokenRow)
        return ApiToken(
            id=values.id,
            name=values.name,
            description=values.description,
            type=values.type,
            scopes=_texts_decoder.decode(values.scopes),
            allowed_cidrs=_texts_decoder.decode(values.allowed_cidrs),
            disabled=bool(values.disabled),
            token=values.token,
            created_by=_creator_decoder.decode(values.created_by) if values.created_by else None,
            created_at=from_micros(values.created_at),
            updated_at=from_micros(values.updated_at),
            expires_at=from_micros(values.expires_at),
            last_used_at=from_micros(values.last_used_at),
            last_use=_use_decoder.decode(values.last_use) if values.last_use else None,
            revoked_at=from_micros(values.revoked_at),
        )
    except (msgspec.MsgspecError, OverflowError) as error:
        raise StoreError(
            f"API token {row[0]!r:.20} in the store {location} is damaged: {error}.", "Restore a backup."
        ) from error
