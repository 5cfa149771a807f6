"""Writes in one transaction of an SQLite store."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from tokctl.model.instances import Instance
from tokctl.model.tokens import Token, decode_context
from tokctl.store.sql.batch import SqlBatch, update_conflict, write_instances_statement
from tokctl.store.sql.rows import INSTANCE_COLUMNS, TOKEN_COLUMNS, instance_row, token_row
from tokctl.store.sqlite.database import SQLiteDatabase
from tokctl.store.sqlite.dialect import SQLITE
from tokctl.store.sqlite.schema import TOKEN_KEY

ROWS_PER_STATEMENT = 50  # tokens a statement: a quarter faster than one by one

COLUMNS = ("instance", *TOKEN_COLUMNS)
_WRITE_INSTANCE = write_instances_statement(SQLITE, f"VALUES ({', '.join('?' * len(INSTANCE_COLUMNS))})")
INSERT_TOKENS = f"INSERT INTO token ({', '.join(COLUMNS)})"


class SQLiteBatch(SqlBatch):
    """One transaction of an SQLite store."""

    database: SQLiteDatabase
    on_conflict = update_conflict(SQLITE, "token", TOKEN_KEY, TOKEN_COLUMNS)
    """What to do with a token that is there."""

    def __init__(self, database: SQLiteDatabase) -> None:
        super().__init__(database)
        row = f"({', '.join('?' * len(COLUMNS))})"
        self._put_token, self._put_tokens = (
            f"{INSERT_TOKENS} VALUES {', '.join([row] * rows)} {self.on_conflict}" for rows in (1, ROWS_PER_STATEMENT)
        )

    def write_instances(self, instances: Sequence[Instance]) -> dict[str, int]:
        changed: dict[str, int] = {}
        for instance in instances:
            changed.update(self.database.fetch(_WRITE_INSTANCE, instance_row(instance)))
        return changed

    def delete_variables(self, pks: Collection[int]) -> None:
        self.database.execute_many("DELETE FROM variable WHERE instance = ?", [(pk,) for pk in pks])

    def write_tokens(self, tokens: Sequence[tuple[int, Token]]) -> tuple[int, int]:
        connection = self.database.connection
        last, before = self._last_token(), connection.total_changes
        whole = len(tokens) - len(tokens) % ROWS_PER_STATEMENT
        for start in range(0, whole, ROWS_PER_STATEMENT):
            values: list[Any] = []
            for pk, token in tokens[start : start + ROWS_PER_STATEMENT]:
                values.append(pk)
                values += token_row(token, decode_context(token.execution_context))
            self.database.execute(self._put_tokens, values)
        rest = ((pk, *token_row(token, decode_context(token.execution_context))) for pk, token in tokens[whole:])
        self.database.execute_many(self._put_token, rest)
        return self._last_token() - last, connection.total_changes - before

    def _last_token(self) -> int:
        """Return the highest pk of a token: new ones get higher ones."""
        ((pk,),) = self.database.fetch("SELECT coalesce(max(pk), 0) FROM token")
        return int(pk)

    def add_instances(self, instance_ids: Collection[str]) -> None:
        for instance_id in instance_ids:
            self.report.instances += self.database.execute(
                "INSERT INTO instance (instance_id) VALUES (?) ON CONFLICT DO NOTHING", [instance_id]
            )
            ((pk,),) = self.database.fetch("SELECT pk FROM instance WHERE instance_id = ?", [instance_id])
            self.pks[instance_id] = pk

    def update_touched(self, statement: str) -> None:
        statement = statement.format(instance="instance.pk")
        if self.has_spilled:
            self.database.execute(f"{statement} WHERE pk IN (SELECT pk FROM touched)")
        else:
            self.database.execute_many(f"{statement} WHERE pk = ?", [(pk,) for pk in sorted(self.touched)])
