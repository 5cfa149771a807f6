"""The content of a store as rows of its tables, to copy it to another store.

Rows keep their numbers, so that a copy has the same order of tokens, ids of API tokens and ETags as the original.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
PARTS = dict(
    zip(
        COPIED_PARTS,
        (
            _Part("definition", ("process_id", "version", "document"), key_size=2),
            _Part("instance", _INSTANCE),
            _Part("token", ("pk", "instance", *TOKEN_COLUMNS)),
            _Part("api_token", _API_TOKEN_COLUMNS, "access"),
            _Part("audit", ("number", "token", "entry", "hash"), "access"),
        ),
        strict=True,
    )
)


class SqlCopying:
    """Reads and writes rows over a store's connection."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def count(self, part: str) -> int:
        ((number,),) = self.database.fetch(f"SELECT count(*) FROM {self._source(PARTS[part].table)}")
        return int(number)

    def page(self, part: str, after: Key | None) -> Sequence[Record]:
        about = PARTS[part]
        behind = "" if after is None else f"WHERE ({about.key}) > ({', '.join('?' * len(after))})"
        return self.database.fetch(
            f"SELECT {', '.join(about.columns)} FROM {self._source(about.table)} {behind}"
            f" ORDER BY {about.key} LIMIT {PAGE_RECORDS}",
            after or (),
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

    def begin(self, identity: str, revision: int) -> None:
        database = self.database
        with database.transaction("process"):
            ((own,),) = database.fetch("SELECT value FROM identity")
            mark = database.fetch(FIND_COPY)
            if not mark:
                self._refuse_unless_empty(is_same=own == identity)
                database.execute("UPDATE identity SET value = ?", [identity])
            elif own != identity:
                raise StoreError(
                    f"the store {database.location} is an unfinished copy of another store.", "Use an empty store."
                )
            elif mark != [(revision,)]:
                for table in ("token", "instance", "definition"):
                    database.execute(f"DELETE FROM {table}")
            database.execute(
                "INSERT INTO revision (kind, number) VALUES ('copy', ?)"
                " ON CONFLICT (kind) DO UPDATE SET number = excluded.number",
                [revision],
            )
        with database.transaction("salts"):
            database.execute("DELETE FROM api_token")

    def _refuse_unless_empty(self, *, is_same: bool) -> None:
        if is_same:
            raise StoreError(
                f"the store {self.database.location} is the original itself, or a finished copy of it.",
                "Copy to an empty store.",
            )
        if any(self.last_key(part) is not None for part in PARTS):
            raise StoreError(f"the store {self.database.location} is not empty.", "Copy to an empty store.")

    def add(self, part: str, records: Sequence[Record], after: Key | None) -> None:
        about = PARTS[part]
        with self.database.transaction(about.kind):
            if self.last_key(part) != after or not self.database.fetch(FIND_COPY):
                raise StoreError(
                    f"another process has written to the store {self.database.location}.",
                    "Run only one 'tokctl store copy' to it at a time.",
                )
            self._insert(about.table, about.columns, records)
            if about.table == "instance":
                variables = ((one[0], one[_VARIABLES]) for one in records if one[_VARIABLES] is not None)
                insert_variables(self.database, ((pk, Raw(text.encode())) for pk, text in variables))

    def _insert(self, table: str, columns: Sequence[str], records: Iterable[Record]) -> None:
        places = ", ".join("?" * len(columns))
        self.database.execute_many(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", records)

    def finish(self, revisions: Revisions, head: ChainHead) -> None:
        database = self.database
        with database.transaction("access"):
            for kind, number in (("process", revisions.process), ("access", revisions.access)):
                database.execute("UPDATE revision SET number = ? WHERE kind = ?", [number, kind])
            database.execute("UPDATE audit_head SET number = ?, hash = ?", [head.number, head.hash])
            self._continue_numbers()
            database.execute("DELETE FROM revision WHERE kind = 'copy'")

    def _continue_numbers(self) -> None:
        """Let new rows have numbers behind those of the copied ones, if the database does not do so by itself."""
