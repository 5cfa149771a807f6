"""Writes process instances, tokens and definitions in one transaction of a store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from itertools import islice

import msgspec

from tokctl.model.definitions import Definition
from tokctl.model.instances import Instance
from tokctl.model.tokens import NULL, Token
from tokctl.store.protocol import WriteReport
from tokctl.store.sql.database import Database
from tokctl.store.sql.dialect import FAILED, FINAL, LIVE, Dialect
from tokctl.store.sql.rows import INSTANCE_COLUMNS
from tokctl.store.sql.variables import insert_variables

INSTANCES_PER_CHUNK = 500
MAX_CACHED_INSTANCES = 50_000  # instances that a transaction keeps in memory


def update_conflict(
    dialect: Dialect, table: str, key: str, columns: tuple[str, ...], *, new: str = "excluded.{c}"
) -> str:
    """Return the end of an INSERT that updates rows that differ and are not newer in the table.

    ``new`` is the new value of a column {c} of an existing row.
    """
    values = {column: new.format(c=column) for column in columns}
    return f"""ON CONFLICT ({key}) DO UPDATE SET {", ".join(f"{column} = {value}" for column, value in values.items())}
        WHERE ({table}.updated_at IS NULL OR excluded.updated_at IS NULL OR excluded.updated_at >= {table}.updated_at)
        AND ({", ".join(f"{table}.{column}" for column in columns)}) {dialect.differs} ({", ".join(values.values())})"""


def write_instances_statement(dialect: Dialect, source: str) -> str:
    """Return the statement that writes instances from a source; it returns the ids and pks of those that changed."""
    conflict = update_conflict(
        dialect, "instance", "instance_id", INSTANCE_COLUMNS, new="coalesce(excluded.{c}, instance.{c})"
    )
    return f"INSERT INTO instance ({', '.join(INSTANCE_COLUMNS)}) {source} {conflict} RETURNING instance_id, pk"


_PUT_DEFINITION = """INSERT INTO definition (process_id, version, document) VALUES (?, ?, ?)
    ON CONFLICT (process_id, version) DO UPDATE SET document = excluded.document
    WHERE definition.document != excluded.document"""

_UNKNOWN = -(1 << 61)
"""Stands for an unknown time of an end: before all others."""

# The same rules as model.instance_status.derive_status, in one pass over the tokens of an instance. ``last`` is twice
# the time of the last end, and one more if a token COMPLETED then.
_UPDATE_TOTALS = f"""
    UPDATE instance SET
        revision = (SELECT number FROM revision WHERE kind = 'process'),
        (total_tokens, live_tokens, failed_tokens, first_at, last_at, derived_status, end_at) = (
            SELECT total, live, failed, first_at, last_at,
                CASE WHEN live > failed THEN 'ACTIVE' WHEN live > 0 THEN 'FAILED'
                    WHEN last & 1 = 1 THEN 'COMPLETED' WHEN last & 1 = 0 THEN 'CANCELLED' END,
                CASE WHEN live = 0 THEN nullif(last >> 1, {_UNKNOWN}) END
            FROM (
                SELECT count(*) AS total, count(*) FILTER (WHERE {LIVE}) AS live,
                    count(*) FILTER (WHERE {FAILED}) AS failed,
                    min(created_at) AS first_at, max(coalesce(updated_at, created_at)) AS last_at,
                    max(coalesce(finished_at, {_UNKNOWN}) * 2 + CASE WHEN state = 'COMPLETED' THEN 1 ELSE 0 END)
                        FILTER (WHERE state IN ({FINAL})) AS last
                FROM token WHERE token.instance = {{instance}}
            ) AS totals
        )"""


class SqlBatch(ABC):
    """One transaction of a store."""

    tokens_per_chunk = 1000

    def __init__(self, database: Database) -> None:
        self.database = database
        self.report = WriteReport()
        self.pks: dict[str, int] = {}
        self.touched: set[int] = set()
        self.has_spilled = False
        self._instances: dict[str, Instance] = {}

    @abstractmethod
    def write_instances(self, instances: Sequence[Instance]) -> dict[str, int]:
        """Write different instances, in order; returns the ids and pks of those that are new or changed."""

    @abstractmethod
    def delete_variables(self, pks: Collection[int]) -> None:
        """Delete the variables of instances that can be searched by."""

    @abstractmethod
    def write_tokens(self, tokens: Sequence[tuple[int, Token]]) -> tuple[int, int]:
        """Write tokens with the pks of their instances, in order; returns how many are new, and how many changed.

        The changed ones include the new ones.
        """

    @abstractmethod
    def add_instances(self, instance_ids: Collection[str]) -> None:
        """Create instances that do not exist, count them in the report, and note the pks of all."""

    @abstractmethod
    def update_touched(self, statement: str) -> None:
        """Run an UPDATE of the instances that were touched; ``{instance}`` stands for the pk of each."""

    def put_definition(self, definition: Definition) -> None:
        document = msgspec.json.encode(definition).decode()
        values = (definition.process_id, definition.version, document)
        self.report.definitions += self.database.execute(_PUT_DEFINITION, values)

    def put(self, instance: Instance, tokens: Iterable[Token] = ()) -> None:
        if instance.instance_id in self._instances or len(self._instances) == INSTANCES_PER_CHUNK:
            self._write_instances()
        self._instances[instance.instance_id] = instance
        self.put_tokens(tokens)

    def _write_instances(self) -> None:
        """Write the instances that were put."""
        if not self._instances:
            return
        written, self._instances = self._instances, {}
        changed = self.write_instances([*written.values()])
        self.report.instances += len(changed)
        self.pks |= changed
        self.touched.update(changed.values())
        several = ((pk, written[instance_id].variables) for instance_id, pk in changed.items())
        with_variables = {pk: variables for pk, variables in several if variables != NULL}
        self.delete_variables(with_variables.keys())
        insert_variables(self.database, with_variables.items())

    def put_tokens(self, tokens: Iterable[Token]) -> None:
        tokens = iter(tokens)
        while chunk := list(islice(tokens, self.tokens_per_chunk)):
            self._write_instances()
            self._note_instances(dict.fromkeys(token.instance_id for token in chunk))
            rows = [(self.pks[token.instance_id], token) for token in chunk]
            added, changed = self.write_tokens(rows)
            if changed:
                self.touched.update(pk for pk, _ in rows)
            self.report.added += added
            self.report.updated += changed - added
            self.report.unchanged += len(rows) - changed
            if len(self.touched) > MAX_CACHED_INSTANCES:
                self._spill_touched()

    def _note_instances(self, instance_ids: Collection[str]) -> None:
        """Look up the pks of instances, which are created in this order if they do not exist."""
        if len(self.pks) > MAX_CACHED_INSTANCES:
            self.pks.clear()
        unknown = [instance_id for instance_id in instance_ids if instance_id not in self.pks]
        if unknown:
            self.add_instances(unknown)

    def finish(self) -> None:
        """Write the rest, and update the columns that are derived from tokens."""
        self._write_instances()
        if self.has_spilled:
            self._spill_touched()
        if self.has_spilled or self.touched or self.report.definitions:
            self.database.increment_revision("process")
        if self.has_spilled or self.touched:
            self.update_touched(_UPDATE_TOTALS)
        if self.has_spilled:
            self.database.execute("DROP TABLE touched")

    def _spill_touched(self) -> None:
        """Move the pks of touched instances to a table: an input may have millions of them."""
        self.database.execute("CREATE TEMP TABLE IF NOT EXISTS touched (pk BIGINT PRIMARY KEY)")
        rows = [(pk,) for pk in self.touched]
        self.database.insert_missing("touched", ("pk",), rows)
        self.touched.clear()
        self.has_spilled = True
