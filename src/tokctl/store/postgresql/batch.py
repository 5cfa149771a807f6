"""Writes in one transaction of a PostgreSQL store: by COPY into a staging table."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from tokctl.bpmn.entries import EnteredBy
from tokctl.model.tokens import NULL, Token, decode_context
from tokctl.store.postgresql.database import PostgreSQLDatabase
from tokctl.store.postgresql.dialect import POSTGRESQL
from tokctl.store.sql.batch import SqlBatch, update_conflict
from tokctl.store.sql.database import Values
from tokctl.store.sql.rows import TOKEN_COLUMNS, token_row

MAX_SINGLE_TOKENS = 5  # of a chunk that are written one by one: a staging table costs more

DERIVED_COLUMNS = ("error_message", "is_running", "waits_for_event", "hops", "certainty", "entry_is_unknown")
_COLUMNS = ("instance", *TOKEN_COLUMNS, *DERIVED_COLUMNS)
_STAGE = f"""CREATE TEMP TABLE IF NOT EXISTS staged_token ON COMMIT DELETE ROWS AS
    SELECT 0 AS round, 0 AS position, {", ".join(_COLUMNS)} FROM token WITH NO DATA"""
_CONFLICT = update_conflict(POSTGRESQL, "token", "token_id, instance", (*TOKEN_COLUMNS, *DERIVED_COLUMNS))
_COPY = f"COPY staged_token (round, position, {', '.join(_COLUMNS)}) FROM STDIN"


def _counted(source: str) -> str:
    """Return the statement that inserts or updates rows; it returns how many are new, and how many changed."""
    return f"""WITH written AS (INSERT INTO token ({", ".join(_COLUMNS)}) {source} {_CONFLICT} RETURNING pk)
        SELECT count(*) FILTER (WHERE pk > (SELECT coalesce(max(pk), 0) FROM token)), count(*) FROM written"""


_PUT = _counted(f"VALUES ({', '.join('?' * len(_COLUMNS))})")
_MERGE = _counted(f"SELECT {', '.join(_COLUMNS)} FROM staged_token WHERE round = ? ORDER BY position")


def derive_values(state: str, execution_context: Raw, flow_history: Raw) -> tuple[Any, ...]:
    """Return a token's values for DERIVED_COLUMNS, which queries use instead of its JSON."""
    context = decode_context(execution_context)
    hops = _decode_list(flow_history)
    certainty = hops[-1].get("certainty") if hops and isinstance(hops[-1], dict) else None
    return (
        context.error,
        context.is_running(state),
        context.waits_for_event,
        len(hops),
        certainty if certainty is None or isinstance(certainty, str) else "",
        context.entered_by == EnteredBy.UNKNOWN,
    )


def _row(pk: int, token: Token) -> tuple[Any, ...]:
    derived = derive_values(token.state, token.execution_context, token.flow_history)
    return pk, *token_row(token), *derived


def _decode_list(history: Raw) -> list[Any]:
    if history == NULL:
        return []
    try:
        decoded = msgspec.json.decode(history)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return []
    return decoded if isinstance(decoded, list) else []


class PostgreSQLBatch(SqlBatch):
    """One transaction of a PostgreSQL store."""

    database: PostgreSQLDatabase
    has_stage = False

    def write_tokens(self, tokens: Sequence[tuple[int, Token]]) -> tuple[int, int]:
        if len(tokens) <= MAX_SINGLE_TOKENS:
            return self._merge(_PUT, [_row(pk, one) for pk, one in tokens])
        if self.has_stage:
            self.database.execute("TRUNCATE staged_token")
        else:
            self.database.execute(_STAGE)
            self.has_stage = True
        rounds: dict[tuple[str, int], int] = {}

        def rows() -> Iterator[tuple[Any, ...]]:
            for position, (pk, token) in enumerate(tokens):
                key = token.token_id, pk
                rounds[key] = rounds.get(key, -1) + 1  # a statement cannot update a row twice
                yield rounds[key], position, *_row(pk, token)

        self.database.copy(_COPY, rows())
        return self._merge(_MERGE, [(one,) for one in range(max(rounds.values()) + 1)])

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
            self.database.execute(f"{statement} WHERE pk IN (SELECT pk FROM touched)")
        else:
            self.database.execute(f"{statement} WHERE pk = ANY(?)", [sorted(self.touched)])
