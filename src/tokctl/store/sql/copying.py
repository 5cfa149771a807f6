"""The content of a store as rows of its tables, to copy it to another store.

Rows keep their numbers, so that a copy has the same order of tokens, ids of API tokens and ETags as the original.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from msgspec import Raw, Struct

from tokctl.api_tokens.audit import ChainHead
from tokctl.errors import StoreError
from tokctl.store.protocol import COPIED_PARTS, Key, Record, Revisions
from tokctl.store.sql.database import Database, Kind
from tokctl.store.sql.dialect import FIND_COPY
from tokctl.store.sql.rows import INSTANCE_COLUMNS, STATUS_COLUMNS, TOKEN_COLUMNS
from tokctl.store.sql.variables import insert_variables

PAGE_RECORDS = 500


class _Part(Struct, frozen=True):
    """A table, its columns with the key first, and the kind of transactions that change it."""

    table: str
    columns: tuple[str, ...]
    kind: Kind = "process"
    key_size: int = 1
    state: tuple[str, ...] = ()
    """Columns that change whenever a record changes: all, unless there is a number for this."""

    @property
    def key(self) -> str:
        return ", ".join(self.columns[: self.key_size])


_API_TOKEN_COLUMNS = (
    *("id", "name", "description", "type", "scopes", "allowed_cidrs", "disabled", "token", "digest", "pepper"),
    *("creation_key", "creation_salt", "created_by", "created_at", "updated_at", "expires_at", "last_used_at"),
    *("last_use", "revoked_at"),
)
_INSTANCE = ("pk", *INSTANCE_COLUMNS, *STATUS_COLUMNS, "revision")
_VARIABLES = _INSTANCE.index("variables")
_READ = {"duration_ms": "CASE WHEN abs(duration_ms) <= 1.7976931348623157e308 THEN duration_ms + 0.0 END"}
"""How columns are read whose values not every kind of store can hold: those that are not finite, and -0.0."""
PARTS = dict(
    zip(
        COPIED_PARTS,
        (
            _Part("definition", ("process_id", "version", "document"), key_size=2),
            _Part("instance", _INSTANCE, state=("pk", "revision")),
            _Part("token", ("pk", "instance", *TOKEN_COLUMNS)),
            _Part("api_token", _API_TOKEN_COLUMNS, "access"),
            _Part("audit", ("number", "token", "entry", "hash"), "access"),
        ),
        strict=True,
    )
)


def _read(columns: Sequence[str]) -> str:
    return ", ".join(_READ.get(column, column) for column in columns)


class SqlCopying:
    """Reads and writes rows over a store's connection."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._run = 0

    def count(self, part: str) -> int:
        ((number,),) = self.database.fetch(f"SELECT count(*) FROM {self._source(PARTS[part].table)}")
        return int(number)

    def page(self, part: str, after: Key | None) -> Sequence[Record]:
        return self._select(part, PARTS[part].columns, after)

    def states(self, part: str, after: Key | None, until: Key | None = None) -> Sequence[Record]:
        return self._select(part, PARTS[part].state or PARTS[part].columns, after, until)

    def _select(
        self, part: str, columns: Sequence[str], after: Key | None, until: Key | None = None
    ) -> Sequence[Record]:
        about = PARTS[part]
        bounds = [(operator, key) for operator, key in ((">", after), ("<=", until)) if key is not None]
        conditions = [f"({about.key}) {operator} ({', '.join('?' * len(key))})" for operator, key in bounds]
        return self.database.fetch(
            f"SELECT {_read(columns)} FROM {self._source(about.table)}"
            f" WHERE {' AND '.join(conditions) or 'true'} ORDER BY {about.key}"
            f" LIMIT {PAGE_RECORDS if until is None else self.database.dialect.no_limit}",
            [value for _, key in bounds for value in key],
        )

    def _source(self, table: str) -> str:
        """Return what to read of a table, if a part of it is not shown to users."""
        return table

    def key(self, part: str, record: Record) -> Key:
        return record[: PARTS[part].key_size]

    def last_key(self, part: str) -> Key | None:
        about = PARTS[part]
        order = about.key.replace(",", " DESC,")
        rows = self.database.fetch(f"SELECT {about.key} FROM {about.table} ORDER BY {order} DESC LIMIT 1")
        return rows[0] if rows else None

    def instances(self, states: Sequence[Record]) -> Sequence[Record]:
        return [*self._select_of("instances", "pk", states)]

    def tokens(self, states: Sequence[Record]) -> Iterator[Record]:
        return self._select_of("tokens", "instance", states)

    def _select_of(self, part: str, column: str, instances: Sequence[Record]) -> Iterator[Record]:
        about, dialect = PARTS[part], self.database.dialect
        return self.database.rows(
            f"SELECT {_read(about.columns)} FROM {about.table} WHERE {dialect.in_list.format(column)}",
            [dialect.list_value([pk for pk, *_ in instances])],
        )

    def begin(self, identity: str) -> None:
        database = self.database
        with database.transaction("process"):
            ((own,),) = database.fetch("SELECT value FROM identity")
            if not database.fetch(FIND_COPY):
                self._refuse_unless_empty(is_same=own == identity)
                database.execute("UPDATE identity SET value = ?", [identity])
            elif own != identity:
                raise StoreError(
                    f"the store {database.location} is an unfinished copy of another store.", "Use an empty store."
                )
            ((self._run,),) = database.fetch(
                "INSERT INTO revision (kind, number) VALUES ('copy', 1)"
                " ON CONFLICT (kind) DO UPDATE SET number = revision.number + 1 RETURNING number"
            )

    def _refuse_unless_empty(self, *, is_same: bool) -> None:
        if is_same:
            raise StoreError(
                f"the store {self.database.location} is the original itself, or a finished copy of it.",
                "Copy to an empty store.",
            )
        if any(self.last_key(part) is not None for part in PARTS):
            raise StoreError(f"the store {self.database.location} is not empty.", "Copy to an empty store.")

    @contextmanager
    def _transaction(self, kind: Kind) -> Iterator[None]:
        """Begin a transaction, unless another process has begun to write this copy; it cannot until the end."""
        with self.database.transaction(kind):
            claim = "UPDATE revision SET number = number WHERE kind = 'copy' AND number = ?"
            if self.database.execute(claim, [self._run]) != 1:
                raise StoreError(
                    f"another process has written to the store {self.database.location}.",
                    "Run only one 'tokctl store copy' to it at a time.",
                )
            yield

    def remove(self, part: str, keys: Sequence[Key]) -> None:
        about = PARTS[part]
        with self._transaction("salts" if about.table == "api_token" else about.kind):
            self._delete(about.table, about.key, keys)

    def _delete(self, table: str, key: str, keys: Sequence[Key]) -> None:
        places = ", ".join("?" * len(keys[0]))
        self.database.execute_many(f"DELETE FROM {table} WHERE ({key}) = ({places})", keys)

    def add(self, part: str, records: Sequence[Record], tokens: Iterable[Record] = ()) -> None:
        about = PARTS[part]
        with self._transaction(about.kind):
            self._insert(about.table, about.columns, records)
            if about.table == "instance":
                variables = ((one[0], one[_VARIABLES]) for one in records if one[_VARIABLES] is not None)
                insert_variables(self.database, ((pk, Raw(text.encode())) for pk, text in variables))
                self._insert("token", PARTS["tokens"].columns, tokens)

    def _insert(self, table: str, columns: Sequence[str], records: Iterable[Record]) -> None:
        places = ", ".join("?" * len(columns))
        self.database.execute_many(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", records)

    def finish(self, revisions: Revisions, head: ChainHead) -> None:
        database = self.database
        with self._transaction("access"):
            for kind, number in (("process", revisions.process), ("access", revisions.access)):
                database.execute("UPDATE revision SET number = ? WHERE kind = ?", [number, kind])
            database.execute("UPDATE audit_head SET number = ?, hash = ?", [head.number, head.hash])
            self._continue_numbers()
            database.execute("DELETE FROM revision WHERE kind = 'copy'")

    def _continue_numbers(self) -> None:
        """Let new rows have numbers behind those of the copied ones, if the database does not do so by itself."""
