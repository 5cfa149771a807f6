"""The queries of a store: in SQL, for every generic method of an engine."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec

from tokctl.engines.instance_tokens import InstanceTokens
from tokctl.engines.projection import Projection
from tokctl.errors import NotFoundError
from tokctl.model.definitions import Definition
from tokctl.model.filters import (
    ALL_TOKENS,
    RECORDED_ORDER,
    InstanceFilter,
    SortOrder,
    TokenFilter,
)
from tokctl.model.instance_status import InstanceStatus
from tokctl.model.instances import Instance, Summary, summarize
from tokctl.model.states import FAILED as FAILED_STATE
from tokctl.model.times import to_micros
from tokctl.model.tokens import Token
from tokctl.model.visits import Visit
from tokctl.store.protocol import Revisions, Store
from tokctl.store.sql.conditions import STARTED, STATUS, UPDATED, Conditions, SqlCondition
from tokctl.store.sql.database import Database, Row, Values
from tokctl.store.sql.dialect import DURATION_MS
from tokctl.store.sql.rows import (
    READ_STAY,
    Columns,
    read_status,
    read_token,
    read_tree_row,
    read_visit,
)
from tokctl.store.sql.variables import MAX_CHARACTER

if TYPE_CHECKING:
    from tokctl.analysis.performance.visits import VisitBatch
    from tokctl.analysis.tree.forest import TreeRow

ROWS_AT_ONCE = 500

_TOKEN_ORDER = {
    "created": "created_at",
    "updated": "updated_at",
    "finished": "finished_at",
    "duration": DURATION_MS,
    "element": "element_id",
    "type": "element_type",
    "state": "state",
    "worker": "worker_id",
    "retries": "retries_used",
}
_INSTANCE_ORDER = {
    "started": STARTED,
    "updated": UPDATED,
    "status": STATUS,
    "process": "process_id",
    "tokens": "total_tokens",
    "live": "live_tokens",
    RECORDED_ORDER: "pk",
}


def _sorted_by(column: str, order: SortOrder) -> str:
    """Return a term of ORDER BY: unknown values come first, or last if descending."""
    return f"{column} DESC NULLS LAST" if order.descending else f"{column} NULLS FIRST"


class InstanceQueries(Store):
    """Queries about instances, changes and definitions."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.columns = Columns(database.dialect)
        self.conditions = Conditions(database.dialect)

    def query(self, sql: str, values: Values = ()) -> Iterator[Row]:
        """Yield the rows of a result as they are found."""
        return self.database.rows(sql, values)

    def query_many(self, sql: str, values: Values = ()) -> Iterator[Row]:
        """Yield the rows of a result that is long, but found soon: faster than ``query``."""
        return chain.from_iterable(self.database.chunks(sql, values, ROWS_AT_ONCE))

    def _page(self, limit: int | None, offset: int) -> str:
        return f" LIMIT {self.database.dialect.no_limit if limit is None else int(limit)} OFFSET {int(offset)}"

    def _instance_table(self, where: InstanceFilter) -> str:  # noqa: ARG002 - a database may need a hint
        """Return the table to search instances in."""
        return "instance"

    def _all_tokens_table(self, where: TokenFilter) -> str:  # noqa: ARG002 - a database may need a hint
        """Return the table to search for tokens of all instances."""
        return "token"

    # --- changes ---

    def revisions(self) -> Revisions:
        return Revisions(
            **dict(self.database.fetch("SELECT kind, number FROM revision WHERE kind IN ('process', 'access')"))
        )

    def revision_of(self, instance_id: str) -> tuple[int, int]:
        """Return an instance's row number, and the number of the last transaction that changed it."""
        pk, revision = self._find("pk, revision", instance_id)
        return pk, revision

    # --- instances ---

    def find(self, instance_id: str) -> tuple[int, str | None]:
        """Return an instance's row number and its process id. Raises NotFoundError."""
        pk, process_id = self._find("pk, process_id", instance_id)
        return pk, process_id

    def _find(self, columns: str, instance_id: str) -> tuple[Any, ...]:
        for row in self.database.fetch(f"SELECT {columns} FROM instance WHERE instance_id = ?", [instance_id]):
            return row
        raise NotFoundError(f"no process instance '{instance_id}' in the store.", "See 'tokctl instances list'.")

    def instances(
        self, where: InstanceFilter, order: SortOrder, *, limit: int | None = None, offset: int = 0
    ) -> Iterator[InstanceStatus]:
        sql = self.conditions.instances(where)
        by = f" ORDER BY {_sorted_by(_INSTANCE_ORDER[order.column], order)}, instance_id"
        table, page = self._instance_table(where), self._page(limit, offset)
        query = f"SELECT {', '.join(self.columns.status)} FROM {table}{sql}{by}{page}"
        return map(read_status, self.query(query, sql.values))

    def count_instances(self, where: InstanceFilter) -> int:
        sql = self.conditions.instances(where)
        ((count,),) = self.database.fetch(f"SELECT count(*) FROM {self._instance_table(where)}{sql}", sql.values)
        return int(count)

    def instance(self, instance_id: str) -> InstanceStatus:
        return read_status(self._find(", ".join(self.columns.status), instance_id))

    def instance_totals(self, instance_id: str) -> InstanceStatus:
        return read_status(self._find(", ".join(self.columns.totals), instance_id))

    def scan_instances(self, where: InstanceFilter) -> Iterator[InstanceStatus]:
        return self.instances(where, SortOrder(RECORDED_ORDER))

    def instance_ids(self, prefix: str, limit: int) -> list[str]:
        rows = self.database.fetch(
            "SELECT instance_id FROM instance WHERE instance_id >= ? AND instance_id < ? ORDER BY 1 LIMIT ?",
            [prefix, prefix + MAX_CHARACTER, limit],
        )
        return [instance_id for (instance_id,) in rows]

    def all_instance_ids(self) -> Iterator[str]:
        return (instance_id for (instance_id,) in self.query("SELECT instance_id FROM instance ORDER BY instance_id"))

    def latest_instance_id(self) -> str | None:
        rows = self.database.fetch(
            f"SELECT instance_id FROM instance ORDER BY {STARTED} DESC NULLS LAST, instance_id DESC LIMIT 1"
        )
        return next((instance_id for (instance_id,) in rows), None)

    # --- definitions ---

    def definition(self, process_id: str, version: int | None) -> Definition | None:
        where = "process_id = ? AND version = coalesce(?, version) ORDER BY version DESC LIMIT 1"
        return next(self._definitions(f"WHERE {where}", [process_id, version]), None)

    def definitions(self) -> Iterator[Definition]:
        return self._definitions("ORDER BY process_id, version", [])

    def _definitions(self, where: str, values: list[Any]) -> Iterator[Definition]:
        for (document,) in self.query(f"SELECT document FROM definition {where}", values):
            yield msgspec.json.decode(document, type=Definition)


class TokenQueries(InstanceQueries):
    """Adds queries about tokens."""

    def load_instance(
        self, instance_id: str, projection: Projection = Projection.TOKENS, *, live: bool = False
    ) -> InstanceTokens:
        """Return an instance with its tokens in memory; the other methods do not need it."""
        status = self.instance(instance_id)
        where = TokenFilter(live=live)
        tokens = (
            self.tokens(instance_id, where, SortOrder("created"))
            if projection is Projection.TOKENS
            else self.visits(instance_id, where, flows=projection is not Projection.VISITS)
        )
        return InstanceTokens(status.instance, list(tokens), status=status)

    def summary(self, instance_id: str) -> Summary:
        """Totals of a whole instance, from an index alone."""
        return summarize(
            self.database.fetch(
                "SELECT state, element_type, count(*) FROM token WHERE instance = ? GROUP BY state, element_type",
                [self.find(instance_id)[0]],
            )
        )

    def tokens(
        self,
        instance_id: str | None,
        where: TokenFilter,
        order: SortOrder,
        *,
        limit: int | None = None,
        offset: int = 0,
        projection: Projection = Projection.TOKENS,
    ) -> Iterator[Token]:
        if instance_id is None:
            yield from self._all_tokens(where, order, limit=limit, offset=offset, projection=projection)
            return
        pk, process_id = self.find(instance_id)
        sql = self.conditions.tokens(pk, where)
        # Named twice, the index would not be used.
        ties = "pk" if order.column == "created" else "created_at NULLS FIRST, pk"
        by = f"{_sorted_by(_TOKEN_ORDER[order.column], order)}, {ties}"
        rows = self.query_many(
            f"SELECT {self.columns.token(projection)} FROM token{sql} ORDER BY {by}{self._page(limit, offset)}",
            sql.values,
        )
        for row in rows:
            yield read_token(row, instance_id, process_id)

    def _all_tokens(
        self, where: TokenFilter, order: SortOrder, *, limit: int | None, offset: int, projection: Projection
    ) -> Iterator[Token]:
        """Yield tokens of all instances."""
        sql = self.conditions.tokens(None, where)
        if order.column == RECORDED_ORDER:
            by = ", ".join(_sorted_by(column, order) for column in ("instance", "created_at", "pk"))
        else:
            by = f"{_sorted_by(_TOKEN_ORDER[order.column], order)}, created_at NULLS FIRST, instance, pk"
        columns = f"instance_id, process_id, {self.columns.token(projection)}"
        rows = self.query(self._select_all_tokens(columns, where, sql, by, self._page(limit, offset)), sql.values)
        for instance_id, process_id, *row in rows:
            yield read_token(tuple(row), instance_id, process_id)

    def _select_all_tokens(self, columns: str, where: TokenFilter, condition: SqlCondition, by: str, page: str) -> str:
        return (
            f"SELECT {columns} FROM {self._all_tokens_table(where)}"
            " JOIN (SELECT pk AS owner, instance_id, process_id FROM instance) AS owners ON owner = instance"
            f"{condition} ORDER BY {by}{page}"
        )

    def visits(self, instance_id: str, where: TokenFilter = ALL_TOKENS, *, flows: bool = False) -> Iterator[Visit]:
        pk, process_id = self.find(instance_id)
        return self._visits(pk, instance_id, process_id, where, flows=flows)

    def _visits(
        self, pk: int, instance_id: str, process_id: str | None, where: TokenFilter, *, flows: bool
    ) -> Iterator[Visit]:
        sql = self.conditions.tokens(pk, where)
        rows = self.query_many(
            f"SELECT {self.columns.visit(flows=flows)} FROM token{sql} ORDER BY created_at NULLS FIRST, pk", sql.values
        )
        return (read_visit(row, instance_id, process_id) for row in rows)

    def all_visits(
        self, instances: InstanceFilter, where: TokenFilter = ALL_TOKENS, *, flows: bool = False
    ) -> Iterator[tuple[InstanceStatus, Iterator[Visit]]]:
        sql = self.conditions.instances(instances)
        columns = ", ".join((*self.columns.totals, "pk"))
        for *row, pk in self.query(f"SELECT {columns} FROM instance{sql} ORDER BY pk", sql.values):
            status = read_status(tuple(row))
            instance = status.instance
            wanted = status.failed_tokens if where.states == (FAILED_STATE,) else status.live_tokens
            if where.live and not wanted:  # no need to look
                yield status, iter(())
            else:
                yield status, self._visits(pk, instance.instance_id, instance.process_id, where, flows=flows)

    def visit_durations(
        self, process_id: str | None, elements: Collection[str] | None, instances: int
    ) -> Iterator[tuple[str, str, float]]:
        only = "" if elements is None else f"AND {self.database.dialect.in_list.format('element_id')}"
        named = [] if elements is None else [self.database.dialect.list_value(list(elements))]
        by = "" if self.database.dialect.keeps_join_order else "ORDER BY owner DESC, created_at NULLS FIRST, pk"
        same = "process_id IS NULL" if process_id is None else "process_id = ?"
        return self.query_many(
            f"""SELECT instance_id, element_id, {DURATION_MS}
                FROM (SELECT pk AS owner, instance_id FROM instance WHERE {same} ORDER BY pk DESC LIMIT ?) AS owners
                CROSS JOIN token WHERE instance = owner AND state = 'COMPLETED' AND {DURATION_MS} IS NOT NULL {only}
                {by}""",
            [*([] if process_id is None else [process_id]), instances, *named],
        )

    def visit_batches(
        self, instances: InstanceFilter | str, where: TokenFilter = ALL_TOKENS
    ) -> Iterator[tuple[Instance, Iterator[VisitBatch]]]:
        if isinstance(instances, str):
            sql = SqlCondition()
            sql.add("pk = ?", self.find(instances)[0])
        else:
            sql = self.conditions.instances(instances)
        if where.since is not None:
            sql.add("last_at >= ?", to_micros(where.since))
        if where.until is not None:
            sql.add("first_at < ?", to_micros(where.until))
        columns, wanted = READ_STAY, SqlCondition()
        if where != ALL_TOKENS:
            wanted = self.conditions.tokens(None, where, by_totals=False)
            columns = f"{columns}, {' AND '.join(wanted.parts)}"
        return self._visit_batches(sql, columns, wanted.values)

    def _visit_batches(
        self, instances: SqlCondition, columns: str, values: Values
    ) -> Iterator[tuple[Instance, Iterator[VisitBatch]]]:
        """Yield each instance that meets a condition, with these columns of its tokens in batches."""
        rows = self.query(
            f"SELECT pk, instance_id, process_id, version FROM instance{instances} ORDER BY pk", instances.values
        )
        for pk, instance_id, process_id, version in rows:
            instance = Instance(instance_id=instance_id, process_id=process_id, version=version)
            yield instance, self._visit_batches_of(pk, columns, values)

    def _visit_batches_of(self, pk: int, columns: str, values: Values) -> Iterator[VisitBatch]:
        from tokctl.analysis.performance.visits import BATCH_SIZE, VisitBatch

        query = f"SELECT {columns} FROM token WHERE instance = ? ORDER BY created_at NULLS FIRST, pk"
        for chunk in self.database.chunks(query, [*values, pk], BATCH_SIZE):
            yield VisitBatch(*zip(*chunk, strict=True))

    def count_tokens(self, instance_id: str | None, where: TokenFilter) -> int:
        if instance_id is None:
            table, sql = self._all_tokens_table(where), self.conditions.tokens(None, where)
            sql.add("EXISTS (SELECT 1 FROM instance WHERE pk = token.instance)")  # it may have been removed before them
        else:
            table, sql = "token", self.conditions.tokens(self.find(instance_id)[0], where)
        ((count,),) = self.database.fetch(f"SELECT count(*) FROM {table}{sql}", sql.values)
        return int(count)

    def token_ids(self, prefix: str, instance_id: str | None, limit: int) -> list[tuple[str, str]]:
        sql = SqlCondition()
        if instance_id is None:
            table = self._with_prefix(sql, prefix, limit)
        else:  # through the instance: all tokens of the store may have the same prefix
            table = "token t"
            sql.add("t.instance = ?", self.find(instance_id)[0])
            sql.add("t.token_id || '' >= ? AND t.token_id || '' < ?", prefix, prefix + MAX_CHARACTER)
        rows = self.database.fetch(
            f"SELECT i.instance_id, t.token_id FROM {table} JOIN instance i ON i.pk = t.instance{sql}"
            " ORDER BY t.token_id, i.instance_id LIMIT ?",
            [*sql.values, limit],
        )
        return [(instance, token) for instance, token in rows]

    def _with_prefix(self, sql: SqlCondition, prefix: str, limit: int) -> str:  # noqa: ARG002 - a database may need it
        """Require an id with a prefix, of the first ``limit`` at least; returns the table to search, called ``t``."""
        sql.add("t.token_id >= ? AND t.token_id < ?", prefix, prefix + MAX_CHARACTER)
        return "token t"

    def _token_key(self, pk: int, token_id: str) -> SqlCondition:
        """Return the condition for a token of an instance."""
        sql = SqlCondition()
        sql.add("token_id = ? AND instance = ?", token_id, pk)
        return sql

    def token(self, instance_id: str, token_id: str) -> Token:
        pk, process_id = self.find(instance_id)
        key = self._token_key(pk, token_id)
        rows = self.database.fetch(f"SELECT {self.columns.token(Projection.TOKENS)} FROM token{key}", key.values)
        for row in rows:
            return read_token(row, instance_id, process_id)
        raise NotFoundError(f"no token '{token_id}' in instance '{instance_id}'.")

    def children(self, instance_id: str, token_id: str) -> list[str]:
        rows = self.query(
            "SELECT token_id FROM token WHERE instance = ? AND parent_token_id = ? ORDER BY created_at NULLS FIRST, pk",
            [self.find(instance_id)[0], token_id],
        )
        return [child for (child,) in rows]

    def tree_rows(self, instance_id: str) -> Iterator[TreeRow]:
        from tokctl.analysis.tree.forest import TreeRow

        rows = self.query_many(
            f"SELECT {self.columns.tree} FROM token WHERE instance = ? ORDER BY created_at NULLS FIRST, pk",
            [self.find(instance_id)[0]],
        )
        return map(partial(read_tree_row, TreeRow), rows)
