"""Writes process instances, tokens and definitions in one transaction of an SQLite store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from itertools import chain, islice

import msgspec

from tokctl.model.definitions import Definition
from tokctl.model.instances import Instance
from tokctl.model.tokens import NULL, Token
from tokctl.store.protocol import WriteReport
from tokctl.store.sqlite.rows import INSTANCE_COLUMNS, TOKEN_COLUMNS, instance_row, token_row
from tokctl.store.sqlite.schema import FAILED, FINAL, INCREMENT_REVISION, LIVE
from tokctl.store.sqlite.variables import replace_variables

TOKENS_PER_CHUNK = 1000  # tokens between two counts of changes
ROWS_PER_STATEMENT = 50  # tokens a statement: a quarter faster than one by one
MAX_CACHED_INSTANCES = 50_000  # instances that a transaction keeps in memory


def _upsert(
    table: str, key: str, columns: tuple[str, ...], *, new: str, more: tuple[str, ...] = (), rows: int = 1
) -> str:
    """Return a statement that writes rows, or updates those that differ and are not newer in the table.

    ``new`` is the new value of a column {c} of an existing row; columns in ``more`` are never updated.
    """
    names = (*more, *columns)
    row = f"({', '.join('?' * len(names))})"
    values = {column: new.format(c=column) for column in columns}
    return f"""INSERT INTO {table} ({", ".join(names)}) VALUES {", ".join([row] * rows)}
        ON CONFLICT ({key}) DO UPDATE SET {", ".join(f"{column} = {value}" for column, value in values.items())}
        WHERE ({table}.updated_at IS NULL OR excluded.updated_at IS NULL OR excluded.updated_at >= {table}.updated_at)
        AND ({", ".join(f"{table}.{column}" for column in columns)}) IS NOT ({", ".join(values.values())})"""


_PUT_TOKEN, _PUT_TOKENS = (
    _upsert("token", "token_id, instance", TOKEN_COLUMNS, new="excluded.{c}", more=("instance",), rows=rows)
    for rows in (1, ROWS_PER_STATEMENT)
)
_PUT_INSTANCE = _upsert("instance", "instance_id", INSTANCE_COLUMNS, new="coalesce(excluded.{c}, instance.{c})")
_PUT_DEFINITION = """INSERT INTO definition (process_id, version, document) VALUES (?, ?, ?)
    ON CONFLICT (process_id, version) DO UPDATE SET document = excluded.document WHERE document != excluded.document"""

# The same rules as model.instance_status.derive_status, over the tokens of every instance that was touched.
_LAST_FINISHED = f"""(SELECT {{}} FROM token WHERE token.instance = instance.pk AND state IN ({FINAL})
    ORDER BY finished_at DESC, state = 'COMPLETED' DESC, state DESC LIMIT 1)"""
_TOTALS = f"""
    UPDATE instance SET (total_tokens, live_tokens, failed_tokens, first_at, last_at) =
        (SELECT count(*), coalesce(sum({LIVE}), 0), coalesce(sum({FAILED}), 0), min(created_at),
            max(coalesce(updated_at, created_at))
         FROM token WHERE token.instance = instance.pk)
    WHERE pk = ?"""
_STATUS = f"""
    UPDATE instance SET
        revision = (SELECT number FROM revision WHERE kind = 'process'),
        derived_status = CASE WHEN live_tokens > failed_tokens THEN 'ACTIVE' WHEN live_tokens > 0 THEN 'FAILED'
            ELSE {_LAST_FINISHED.format("state")} END,
        end_at = CASE WHEN live_tokens > 0 THEN NULL ELSE {_LAST_FINISHED.format("finished_at")} END
    WHERE pk = ?"""


class SQLiteBatch:
    """One transaction of an SQLite store."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.report = WriteReport()
        self.pks: dict[str, int] = {}
        self.touched: set[int] = set()
        self.has_spilled = False

    def put_definition(self, definition: Definition) -> None:
        document = msgspec.json.encode(definition).decode()
        values = (definition.process_id, definition.version, document)
        self.report.definitions += self.connection.execute(_PUT_DEFINITION, values).rowcount

    def put(self, instance: Instance, tokens: Iterable[Token] = ()) -> None:
        changed = self.connection.execute(_PUT_INSTANCE, instance_row(instance)).rowcount
        self.report.instances += changed
        if changed:
            pk = self._pk(instance.instance_id)
            self.touched.add(pk)
            if instance.variables != NULL:
                replace_variables(self.connection, pk, instance.variables)
        self.put_tokens(tokens)

    def put_tokens(self, tokens: Iterable[Token]) -> None:
        tokens = iter(tokens)
        while chunk := list(islice(tokens, TOKENS_PER_CHUNK)):
            rows = [(self._pk(token.instance_id), *token_row(token)) for token in chunk]
            before, last = self.connection.total_changes, self._last_token()
            for start in range(0, len(rows), ROWS_PER_STATEMENT):
                part = rows[start : start + ROWS_PER_STATEMENT]
                if len(part) == ROWS_PER_STATEMENT:
                    self.connection.execute(_PUT_TOKENS, list(chain.from_iterable(part)))
                else:
                    self.connection.executemany(_PUT_TOKEN, part)
            changed = self.connection.total_changes - before
            added = self._last_token() - last
            if changed:
                self.touched.update(row[0] for row in rows)
            self.report.added += added
            self.report.updated += changed - added
            self.report.unchanged += len(rows) - changed
            if len(self.touched) > MAX_CACHED_INSTANCES:
                self._spill_touched()

    def _last_token(self) -> int:
        (pk,) = self.connection.execute("SELECT coalesce(max(pk), 0) FROM token").fetchone()
        return int(pk)

    def _pk(self, instance_id: str) -> int:
        known = self.pks.get(instance_id)
        if known is not None:
            return known
        if len(self.pks) > MAX_CACHED_INSTANCES:
            self.pks.clear()
        made = self.connection.execute(
            "INSERT INTO instance (instance_id) VALUES (?) ON CONFLICT DO NOTHING", (instance_id,)
        ).rowcount
        self.report.instances += made
        (pk,) = self.connection.execute("SELECT pk FROM instance WHERE instance_id = ?", (instance_id,)).fetchone()
        self.pks[instance_id] = pk
        return int(pk)

    def finish(self) -> None:
        """Update the columns that are derived from tokens."""
        if self.has_spilled:
            self._spill_touched()
        if self.has_spilled or self.touched or self.report.definitions:
            self.connection.execute(INCREMENT_REVISION, ["process"])
        for work in (_TOTALS, _STATUS):
            pks = (
                self.connection.execute("SELECT pk FROM temp.touched ORDER BY pk")
                if self.has_spilled
                else ((pk,) for pk in sorted(self.touched))
            )
            self.connection.executemany(work, pks)
        if self.has_spilled:
            self.connection.execute("DROP TABLE temp.touched")

    def _spill_touched(self) -> None:
        """Move the keys of touched instances to a table: an input may have millions of them."""
        self.connection.execute("CREATE TEMP TABLE IF NOT EXISTS touched (pk INTEGER PRIMARY KEY)")
        self.connection.executemany("INSERT OR IGNORE INTO temp.touched VALUES (?)", ((pk,) for pk in self.touched))
        self.touched.clear()
        self.has_spilled = True
