"""The content of a PostgreSQL store, to copy it from or to another store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Raw

from tokctl.errors import InputError
from tokctl.model.tokens import NULL, decode_context
from tokctl.store.postgresql.batch import DERIVED_COLUMNS, derive_values
from tokctl.store.postgresql.connection import UnstorableError
from tokctl.store.postgresql.database import PostgreSQLDatabase
from tokctl.store.postgresql.partitions import add_partitions
from tokctl.store.protocol import Key, Record
from tokctl.store.sql.copying import SqlCopying

_OWNERS = "SELECT pk AS owner FROM instance"
_NUMBERED = {"instance": "pk", "token": "pk", "api_token": "id"}


def _to_raw(json: str | None) -> Raw:
    return NULL if json is None else Raw(json.encode())


def _derive(state: str, context: Raw, history: Raw) -> tuple[Any, ...]:
    return derive_values(state, context, decode_context(context), history)


class PostgreSQLCopying(SqlCopying):
    """Reads rows, and writes them by COPY."""

    database: PostgreSQLDatabase

    def add(self, part: str, records: Sequence[Record], tokens: Iterable[Record] = ()) -> None:
        try:
            super().add(part, records, tokens)
        except UnstorableError as error:
            raise InputError(error.message, "Remove the value from the original.") from error

    def _source(self, table: str) -> str:
        return f"token JOIN ({_OWNERS}) AS owners ON owner = instance" if table == "token" else table

    def _delete(self, table: str, key: str, keys: Sequence[Key]) -> None:
        if table == "instance":
            self.database.execute("DELETE FROM token WHERE instance = ANY(?)", [[pk for (pk,) in keys]])
        super()._delete(table, key, keys)

    def _insert(self, table: str, columns: Sequence[str], records: Iterable[Record]) -> None:
        if table == "instance":
            records = list(records)
            add_partitions(self.database, (pk for pk, *_ in records))
        elif table == "token":
            state, context, flows = map(columns.index, ("state", "execution_context", "flow_history"))
            records = ((*row, *_derive(row[state], _to_raw(row[context]), _to_raw(row[flows]))) for row in records)
            columns = (*columns, *DERIVED_COLUMNS)
        self.database.copy(table, columns, records)

    def _continue_numbers(self) -> None:
        for table, column in _NUMBERED.items():
            self.database.fetch(
                f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), max({column})) FROM {table}"
            )
