"""Writes in one transaction of a PostgreSQL store: by COPY, of what may be there already into a staging table."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Raw
from psycopg.errors import UniqueViolation

from tokctl.bpmn.entries import EnteredBy
from tokctl.errors import StoreError
from tokctl.model.instances import Instance
from tokctl.model.tokens import ExecutionContext, Token, decode_context, may_have_error
from tokctl.store.postgresql.database import PostgreSQLDatabase
from tokctl.store.postgresql.dialect import POSTGRESQL
from tokctl.store.postgresql.schema import SCHEMA_VERSION
from tokctl.store.sql.batch import MAX_CACHED_INSTANCES, SqlBatch, update_conflict, write_instances_statement
from tokctl.store.sql.database import Values
from tokctl.store.sql.rows import INSTANCE_COLUMNS, TOKEN_COLUMNS, instance_row, token_row

MAX_SINGLE_INSTANCES = 5  # that are updated one by one: a statement with the instance is planned for its partition only
MAX_SINGLE_TOKENS = 5  # of a chunk that are written one by one: a staging table costs more

DERIVED_COLUMNS = ("error_message", "is_running", "waits_for_event", "hops", "certainty", "entry_is_unknown")
_NUMBERS = frozenset({"version", "started_at", "updated_at", "completed_at", "cancelled_at"})
_COLUMNS = ("instance", *TOKEN_COLUMNS, *DERIVED_COLUMNS)
_STAGED = f"staged_token_{SCHEMA_VERSION}"  # a pooler may keep sessions, and so temporary tables, of another version
_STAGE = f"""CREATE TEMP TABLE IF NOT EXISTS {_STAGED} ON COMMIT DELETE ROWS AS
    SELECT 0 AS round, 0 AS position, {", ".join(_COLUMNS)} FROM token WITH NO DATA"""
_CONFLICT = update_conflict(POSTGRESQL, "token", "token_id, instance", (*TOKEN_COLUMNS, *DERIVED_COLUMNS))
_LISTS = ", ".join(f"CAST(? AS {'bigint' if name in _NUMBERS else 'text'}[])" for name in INSTANCE_COLUMNS)
_WRITE_INSTANCES = write_instances_statement(POSTGRESQL, f"SELECT * FROM unnest({_LISTS})")
_INSERT = f"INSERT INTO token ({', '.join(_COLUMNS)})"
# Both return how many tokens are new, and how many changed. They look at the partitions of the instances only.
_PUT = f"""WITH written AS ({_INSERT} VALUES ({", ".join("?" * len(_COLUMNS))}) {_CONFLICT} RETURNING pk)
    SELECT count(*) FILTER (WHERE NOT EXISTS (SELECT FROM token WHERE instance = ? AND token_id = ?)), count(*)
    FROM written"""
_MERGE = f"""WITH written AS (
        {_INSERT} SELECT {", ".join(_COLUMNS)} FROM {_STAGED} WHERE round = ? ORDER BY position {_CONFLICT} RETURNING pk
    )
    SELECT (
        SELECT count(*) - CAST(sum((
            SELECT count(*) FROM token WHERE token.instance = staged.instance AND token.token_id = staged.token_id
        )) AS BIGINT) FROM {_STAGED} AS staged WHERE round = ?
    ), (SELECT count(*) FROM written)"""


class _Hop(msgspec.Struct, gc=False):
    certainty: str | None = None


_hops_decoder = msgspec.json.Decoder(list[_Hop] | None)


def derive_values(state: str, raw_context: Raw, context: ExecutionContext, history: Raw) -> tuple[Any, ...]:
    """Return a token's values for DERIVED_COLUMNS, which queries use instead of its JSON.

    ``context`` is ``raw_context``, its execution context, decoded; ``history`` is its flow history.
    """
    hops, certainty = _summarize_hops(history)
    return (
        context.error if may_have_error(raw_context) else None,
        context.is_running(state),
        context.waits_for_event,
        hops,
        certainty,
        context.entered_by == EnteredBy.UNKNOWN,
    )


def _summarize_hops(history: Raw) -> tuple[int, str | None]:
    """Return the number of the entries of a flow history, and the certainty of the last one."""
    try:
        hops = _hops_decoder.decode(history) or ()
        return len(hops), hops[-1].certainty if hops else None
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        decoded = _decode_list(history)
        certainty = decoded[-1].get("certainty") if decoded and isinstance(decoded[-1], dict) else None
        return len(decoded), certainty if certainty is None or isinstance(certainty, str) else ""


def _decode_list(history: Raw) -> list[Any]:
    try:
        decoded = msgspec.json.decode(history)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return []
    return decoded if isinstance(decoded, list) else []


def _row(pk: int, token: Token) -> tuple[Any, ...]:
    context = decode_context(token.execution_context)
    derived = derive_values(token.state, token.execution_context, context, token.flow_history)
    return pk, *token_row(token, context), *derived


class PostgreSQLBatch(SqlBatch):
    """One transaction of a PostgreSQL store."""

    database: PostgreSQLDatabase
    tokens_per_chunk = 5000  # the server works on one part of them while another part is converted

    def __init__(self, database: PostgreSQLDatabase) -> None:
        super().__init__(database)
        self._has_stage = False
        self._empty: dict[int, bool] = {}
        """Instances, and whether they have no tokens, as far as is known."""

    def write_instances(self, instances: Sequence[Instance]) -> dict[str, int]:
        lists = [list(values) for values in zip(*map(instance_row, instances), strict=True)]
        return dict(self.database.fetch(_WRITE_INSTANCES, lists))

    def delete_variables(self, pks: Collection[int]) -> None:
        if pks:
            self.database.execute("DELETE FROM variable WHERE instance = ANY(?)", [list(pks)])

    def write_tokens(self, tokens: Sequence[tuple[int, Token]]) -> tuple[int, int]:
        if len(tokens) <= MAX_SINGLE_TOKENS:
            return self._merge(_PUT, [(*_row(pk, one), pk, one.token_id) for pk, one in tokens])
        pks = {pk for pk, _ in tokens}
        if self._are_empty(pks):
            if self._copy_new(tokens):
                return len(tokens), len(tokens)
            self._empty.update(dict.fromkeys(pks, False))
        return self._stage_and_merge(tokens)

    def _are_empty(self, pks: set[int]) -> bool:
        """Tell whether no instance had tokens before this transaction."""
        unknown = [pk for pk in pks if pk not in self._empty]
        if unknown:
            if len(self._empty) > MAX_CACHED_INSTANCES:
                self._empty.clear()
                unknown = [*pks]
            query = "SELECT pk, total_tokens = 0 FROM instance WHERE pk = ANY(?)"
            self._empty |= dict(self.database.fetch(query, [unknown]))
        return all(self._empty[pk] for pk in pks)

    def _copy_new(self, tokens: Sequence[tuple[int, Token]]) -> bool:
        """Copy tokens straight into the table; False if one is there, from earlier in this transaction."""
        try:
            with self.database.connection.transaction():
                self.database.copy("token", _COLUMNS, (_row(pk, token) for pk, token in tokens))
        except StoreError as error:
            if not isinstance(error.__cause__, UniqueViolation):
                raise
            return False
        return True

    def _stage_and_merge(self, tokens: Sequence[tuple[int, Token]]) -> tuple[int, int]:
        if self._has_stage:
            self.database.execute(f"TRUNCATE {_STAGED}")
        else:
            self.database.execute(_STAGE)
            self._has_stage = True
        rounds: dict[tuple[str, int], int] = {}

        def rows() -> Iterator[tuple[Any, ...]]:
            for position, (pk, token) in enumerate(tokens):
                key = token.token_id, pk
                rounds[key] = rounds.get(key, -1) + 1  # a statement cannot update a row twice
                yield rounds[key], position, *_row(pk, token)

        self.database.copy(_STAGED, ("round", "position", *_COLUMNS), rows())
        return self._merge(_MERGE, [(one, one) for one in range(max(rounds.values()) + 1)])

    def _merge(self, statement: str, several: Iterable[Values]) -> tuple[int, int]:
        """Run a statement with several rows of values; returns the sums of what it counts."""
        counts = [self.database.fetch(statement, values)[0] for values in several]
        return sum(added for added, _ in counts), sum(changed for _, changed in counts)

    def add_instances(self, instance_ids: Collection[str]) -> None:
        ids = list(instance_ids)
        self.report.instances += self.database.execute(
            "INSERT INTO instance (instance_id)"
            " SELECT id FROM unnest(CAST(? AS text[])) WITH ORDINALITY AS ids (id, place)"
            " ORDER BY place ON CONFLICT DO NOTHING",
            [ids],
        )
        self.pks |= dict(self.database.fetch("SELECT instance_id, pk FROM instance WHERE instance_id = ANY(?)", [ids]))

    def update_touched(self, statement: str) -> None:
        if self.has_spilled:
            self.database.execute(f"{statement.format(instance='instance.pk')} WHERE pk IN (SELECT pk FROM touched)")
        elif len(self.touched) > MAX_SINGLE_INSTANCES:
            self.database.execute(
                f"{statement.format(instance='instance.pk')} WHERE pk = ANY(?)", [sorted(self.touched)]
            )
        else:
            for pk in self.touched:
                self.database.execute(f"{statement.format(instance='?')} WHERE pk = ?", [pk, pk])
