"""The queries of an SQLite store: in SQL, for every generic method of an engine."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from tokctl.engines.instance_tokens import InstanceTokens
from tokctl.engines.projection import Projection
from tokctl.errors import NotFoundError
from tokctl.model.definitions import Definition
from tokctl.model.element_types import TYPE_FAMILIES, canonical_type
from tokctl.model.filters import (
    ALL_TOKENS,
    RECORDED_ORDER,
    InstanceFilter,
    SortOrder,
    StuckLimits,
    TokenFilter,
    asks_for_live,
    matches_glob,
)
from tokctl.model.instance_status import InstanceStatus
from tokctl.model.instances import Instance, Summary, summarize
from tokctl.model.states import FAILED as FAILED_STATE
from tokctl.model.times import to_micros
from tokctl.model.tokens import Token
from tokctl.model.visits import Visit
from tokctl.store.protocol import Revisions, Store
from tokctl.store.sqlite.connection import LimitedConnection, translate_errors
from tokctl.store.sqlite.rows import (
    READ_STATUS,
    READ_STAY,
    READ_TOTALS,
    READ_TREE,
    read_error,
    read_is_running,
    read_status,
    read_token,
    read_tree_row,
    read_visit,
    read_waits_for_event,
    token_columns,
    visit_columns,
)
from tokctl.store.sqlite.schema import FAILED, LIVE, OPEN
from tokctl.store.sqlite.variables import MAX_CHARACTER, is_literal, matches_value, variable_sql

if TYPE_CHECKING:
    from tokctl.analysis.performance.visits import VisitBatch
    from tokctl.analysis.tree.forest import TreeRow

_TOKEN_ORDER = {
    "created": "created_at",
    "updated": "updated_at",
    "finished": "finished_at",
    "duration": "coalesce(duration_ms, (finished_at - created_at) / 1000.0)",
    "element": "element_id",
    "type": "element_type",
    "state": "state",
    "worker": "worker_id",
    "retries": "retries_used",
}
_STARTED = "coalesce(started_at, first_at)"
_UPDATED = "coalesce(updated_at, last_at)"
_STATUS = "coalesce(status, derived_status)"
_INSTANCE_ORDER = {
    "started": _STARTED,
    "updated": _UPDATED,
    "status": _STATUS,
    "process": "process_id",
    "tokens": "total_tokens",
    "live": "live_tokens",
    RECORDED_ORDER: "pk",
}


class SqlCondition:
    """A condition in SQL, built part by part."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.values: list[Any] = []

    def add(self, condition: str, *values: Any) -> None:
        """Require a condition."""
        self.parts.append(condition)
        self.values += values

    def any_of(self, conditions: list[tuple[str, Any]]) -> None:
        """Require one of several (condition, value) pairs."""
        if conditions:
            self.add(f"({' OR '.join(c for c, _ in conditions)})", *(v for _, v in conditions))

    def __str__(self) -> str:
        return f" WHERE {' AND '.join(self.parts)}" if self.parts else ""


def token_where(instance: int | None, where: TokenFilter) -> SqlCondition:
    """Return a filter of an instance's tokens as SQL; None: of the tokens of all instances."""
    sql = SqlCondition()
    if instance is not None:
        sql.add("instance = ?", instance)
    if where.states == (FAILED_STATE,):  # these literals are what the partial indexes are found by
        sql.add(FAILED)
    else:
        sql.any_of([("state = ?", state) for state in where.states])
        if asks_for_live(where):
            sql.add(LIVE)
        elif instance is None:
            _add_instances_of_period(sql, where)
    if not where.include_completed:
        sql.add("state != 'COMPLETED'")
    types: list[tuple[str, Any]] = []
    for kind in where.types:
        types.append(("element_type = ?", canonical_type(kind)))
        if kind in TYPE_FAMILIES:
            types.append(("element_type GLOB ?", f"*{kind.capitalize()}"))
    sql.any_of(types)
    names: list[tuple[str, Any]] = []
    for glob in where.elements:
        names += [("matches(element_id, ?)", glob), ("matches(nullif(element_name, ''), ?)", glob)]
    sql.any_of(names)
    sql.any_of([("matches(worker_id, ?)", glob) for glob in where.workers])
    if where.since is not None:
        sql.add("coalesce(updated_at, created_at) >= ?", to_micros(where.since))
    if where.until is not None:
        sql.add("created_at < ?", to_micros(where.until))
    return sql


def _add_instances_of_period(sql: SqlCondition, where: TokenFilter) -> None:
    """Leave out instances without a token in the period: their totals tell."""
    for condition, moment in (("last_at >= ?", where.since), ("first_at < ?", where.until)):
        if moment is not None:
            sql.add(f"instance IN (SELECT pk FROM instance WHERE {condition})", to_micros(moment))


def _stuck_condition(limits: StuckLimits) -> tuple[str, list[Any]]:
    """Return the condition on instances that a token is stuck."""
    now = to_micros(limits.now)
    older_than = [now - (age // timedelta(microseconds=1)) for age in (limits.long_running, limits.stuck_gateway)]
    is_gateway = "(element_type = 'gateway' OR element_type GLOB '*Gateway')"
    condition = f"""live_tokens > 0 AND EXISTS (
        SELECT 1 FROM token WHERE token.instance = instance.pk AND {LIVE} AND state != 'FAILED' AND (
            timeout_at < ? OR (created_at < ? AND is_running(state, execution_context))
            OR (state = 'WAITING' AND created_at < ? AND {is_gateway}
                AND NOT waits_for_event(execution_context))))"""
    return condition, [now, *older_than]


def instance_where(where: InstanceFilter) -> SqlCondition:
    """Return an instance filter as SQL."""
    sql = SqlCondition()
    for condition in where.variables:
        text, values = variable_sql(condition)
        sql.add(text, *values)
    keys = [("business_key = ?" if is_literal(key) else "matches(business_key, ?)", key) for key in where.business_keys]
    sql.any_of(keys)
    if where.stuck is not None:
        text, values = _stuck_condition(where.stuck)
        sql.add(text, *values)
    sql.any_of([(f"{_STATUS} = ?", status) for status in where.statuses])
    sql.any_of([("matches(process_id, ?)", glob) for glob in where.processes])
    if where.live:
        sql.add("live_tokens > 0")
    if where.failed:
        sql.add("failed_tokens > 0")
    if where.open:
        sql.add(OPEN)
    if where.version is not None:
        sql.add("version = ?", where.version)
    if where.since is not None:
        sql.add(f"{_UPDATED} >= ?", to_micros(where.since))
    if where.until is not None:
        sql.add(f"{_STARTED} < ?", to_micros(where.until))
    return sql


def _all_tokens_table(where: TokenFilter) -> str:
    """Return the table to search for tokens of all instances: by the index of FAILED or live ones, if they are enough.

    The planner does not know how small these indexes are.
    """
    if where.states == (FAILED_STATE,):
        return "token INDEXED BY token_failed"
    return "token INDEXED BY token_live" if asks_for_live(where) else "token"


def _instance_table(where: InstanceFilter) -> str:
    """Return the table to search instances in, by the small index of those with a FAILED or live token."""
    if where.variables or where.business_keys:
        return "instance"
    if where.failed:
        return "instance INDEXED BY instance_failed"
    return "instance INDEXED BY instance_live" if where.stuck is not None else "instance"


def _page(limit: int | None, offset: int) -> str:
    return f" LIMIT {-1 if limit is None else int(limit)} OFFSET {int(offset)}"


class SQLiteInstanceQueries(Store):
    """Queries about instances, changes and definitions."""

    def __init__(self, connection: LimitedConnection, location: str) -> None:
        self.location = location
        self._use(connection)

    def _use(self, connection: LimitedConnection) -> None:
        """Read from this connection from now on."""
        connection.create_function("matches", 2, matches_glob, deterministic=True)
        connection.create_function("error_message", 1, read_error, deterministic=True)
        connection.create_function("is_running", 2, read_is_running, deterministic=True)
        connection.create_function("waits_for_event", 1, read_waits_for_event, deterministic=True)
        connection.create_function("matches_value", 2, matches_value, deterministic=True)
        self.connection = connection

    def query(self, sql: str, values: list[Any] | tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a result as they are found."""
        with translate_errors(self.location):
            yield from self.connection.rows(sql, values)

    # --- changes ---

    def revisions(self) -> Revisions:
        return Revisions(**dict(self.query("SELECT kind, number FROM revision")))

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
        for row in self.query(f"SELECT {columns} FROM instance WHERE instance_id = ?", [instance_id]):
            return row
        raise NotFoundError(f"no process instance '{instance_id}' in the store.", "See 'tokctl instances list'.")

    def instances(
        self, where: InstanceFilter, order: SortOrder, *, limit: int | None = None, offset: int = 0
    ) -> Iterator[InstanceStatus]:
        sql = instance_where(where)
        by = f" ORDER BY {_INSTANCE_ORDER[order.column]}{' DESC' * order.descending}, instance_id"
        query = f"SELECT {', '.join(READ_STATUS)} FROM {_instance_table(where)}{sql}{by}{_page(limit, offset)}"
        return map(read_status, self.query(query, sql.values))

    def count_instances(self, where: InstanceFilter) -> int:
        sql = instance_where(where)
        ((count,),) = self.query(f"SELECT count(*) FROM {_instance_table(where)}{sql}", sql.values)
        return int(count)

    def instance(self, instance_id: str) -> InstanceStatus:
        return read_status(self._find(", ".join(READ_STATUS), instance_id))

    def instance_totals(self, instance_id: str) -> InstanceStatus:
        return read_status(self._find(", ".join(READ_TOTALS), instance_id))

    def scan_instances(self, where: InstanceFilter) -> Iterator[InstanceStatus]:
        return self.instances(where, SortOrder(RECORDED_ORDER))

    def instance_ids(self, prefix: str, limit: int) -> list[str]:
        rows = self.query(
            "SELECT instance_id FROM instance WHERE instance_id >= ? AND instance_id < ? ORDER BY 1 LIMIT ?",
            [prefix, prefix + MAX_CHARACTER, limit],
        )
        return [instance_id for (instance_id,) in rows]

    def all_instance_ids(self) -> Iterator[str]:
        return (instance_id for (instance_id,) in self.query("SELECT instance_id FROM instance ORDER BY instance_id"))

    def latest_instance_id(self) -> str | None:
        rows = self.query(f"SELECT instance_id FROM instance ORDER BY {_STARTED} DESC, instance_id DESC LIMIT 1")
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


class SQLiteQueries(SQLiteInstanceQueries):
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
            self.query(
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
        sql = token_where(pk, where)
        ties = "pk" if order.column == "created" else "created_at, pk"  # named twice, the index would not be used
        by = f"{_TOKEN_ORDER[order.column]}{' DESC' * order.descending}, {ties}"
        rows = self.query(
            f"SELECT {token_columns(projection)} FROM token{sql} ORDER BY {by}{_page(limit, offset)}", sql.values
        )
        for row in rows:
            yield read_token(row, instance_id, process_id)

    def _all_tokens(
        self, where: TokenFilter, order: SortOrder, *, limit: int | None, offset: int, projection: Projection
    ) -> Iterator[Token]:
        """Yield tokens of all instances; in recorded order without sorting, in others only row numbers are sorted."""
        sql = token_where(None, where)
        if order.column == RECORDED_ORDER:
            direction = " DESC" * order.descending
            by = f"instance{direction}, created_at{direction}, pk{direction}"
        else:
            by = f"{_TOKEN_ORDER[order.column]}{' DESC' * order.descending}, created_at, instance, pk"
        page = f"SELECT pk AS token_pk FROM {_all_tokens_table(where)}{sql} ORDER BY {by}{_page(limit, offset)}"
        rows = self.query(
            f"""SELECT instance_id, process_id, {token_columns(projection)} FROM ({page})
                CROSS JOIN token ON token.pk = token_pk
                CROSS JOIN (SELECT pk AS instance_pk, instance_id, process_id FROM instance)
                ON instance_pk = instance""",
            sql.values,
        )
        for instance_id, process_id, *row in rows:
            yield read_token(tuple(row), instance_id, process_id)

    def visits(self, instance_id: str, where: TokenFilter = ALL_TOKENS, *, flows: bool = False) -> Iterator[Visit]:
        pk, process_id = self.find(instance_id)
        return self._visits(pk, instance_id, process_id, where, flows=flows)

    def _visits(
        self, pk: int, instance_id: str, process_id: str | None, where: TokenFilter, *, flows: bool
    ) -> Iterator[Visit]:
        sql = token_where(pk, where)
        rows = self.query(f"SELECT {visit_columns(flows=flows)} FROM token{sql} ORDER BY created_at, pk", sql.values)
        return (read_visit(row, instance_id, process_id) for row in rows)

    def all_visits(
        self, instances: InstanceFilter, where: TokenFilter = ALL_TOKENS, *, flows: bool = False
    ) -> Iterator[tuple[InstanceStatus, Iterator[Visit]]]:
        sql = instance_where(instances)
        columns = ", ".join((*READ_TOTALS, "pk"))
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
        took = "coalesce(t.duration_ms, (t.finished_at - t.created_at) / 1000.0)"
        only = "" if elements is None else "AND t.element_id IN (SELECT value FROM json_each(?))"
        named = [] if elements is None else [msgspec.json.encode(list(elements)).decode()]
        return self.query(
            f"""SELECT i.instance_id, t.element_id, {took}
                FROM (SELECT pk, instance_id FROM instance WHERE process_id IS ? ORDER BY pk DESC LIMIT ?) i
                CROSS JOIN token t ON t.instance = i.pk
                WHERE t.state = 'COMPLETED' AND {took} IS NOT NULL {only}""",
            [process_id, instances, *named],
        )

    def visit_batches(
        self, instances: InstanceFilter | str, where: TokenFilter = ALL_TOKENS
    ) -> Iterator[tuple[Instance, Iterator[VisitBatch]]]:
        if isinstance(instances, str):
            sql = SqlCondition()
            sql.add("pk = ?", self.find(instances)[0])
        else:
            sql = instance_where(instances)
        if where.since is not None:
            sql.add("last_at >= ?", to_micros(where.since))
        if where.until is not None:
            sql.add("first_at < ?", to_micros(where.until))
        rows = self.query(f"SELECT pk, instance_id, process_id, version FROM instance{sql} ORDER BY pk", sql.values)
        for pk, instance_id, process_id, version in rows:
            instance = Instance(instance_id=instance_id, process_id=process_id, version=version)
            yield instance, self._visit_batches(pk, where)

    def _visit_batches(self, pk: int, where: TokenFilter) -> Iterator[VisitBatch]:
        from tokctl.analysis.performance.visits import BATCH_SIZE, VisitBatch

        columns, values = READ_STAY, [pk]
        if where != ALL_TOKENS:
            wanted = token_where(pk, where)
            columns, values = f"{columns}, {' AND '.join(wanted.parts)}", [*wanted.values, pk]
        with translate_errors(self.location):
            rows = self.connection.execute(f"SELECT {columns} FROM token WHERE instance = ?", values)
            while chunk := rows.fetchmany(BATCH_SIZE):
                yield VisitBatch(*zip(*chunk, strict=True))
                self.connection.limit.has_row = True

    def count_tokens(self, instance_id: str | None, where: TokenFilter) -> int:
        table, pk = (_all_tokens_table(where), None) if instance_id is None else ("token", self.find(instance_id)[0])
        sql = token_where(pk, where)
        ((count,),) = self.query(f"SELECT count(*) FROM {table}{sql}", sql.values)
        return int(count)

    def token_ids(self, prefix: str, instance_id: str | None, limit: int) -> list[tuple[str, str]]:
        values: list[Any] = [prefix, prefix + MAX_CHARACTER, limit]
        condition = "t.token_id >= ? AND t.token_id < ?"
        if instance_id is not None:  # through the instance: all tokens of the store may have the same prefix
            condition = "t.instance = ? AND +t.token_id >= ? AND +t.token_id < ?"
            values.insert(0, self.find(instance_id)[0])
        rows = self.query(
            "SELECT i.instance_id, t.token_id FROM token t JOIN instance i ON i.pk = t.instance"
            f" WHERE {condition} ORDER BY t.token_id, i.instance_id LIMIT ?",
            values,
        )
        return [(instance, token) for instance, token in rows]

    def token(self, instance_id: str, token_id: str) -> Token:
        pk, process_id = self.find(instance_id)
        rows = self.query(
            f"SELECT {token_columns(Projection.TOKENS)} FROM token WHERE token_id = ? AND instance = ?", [token_id, pk]
        )
        for row in rows:
            return read_token(row, instance_id, process_id)
        raise NotFoundError(f"no token '{token_id}' in instance '{instance_id}'.")

    def children(self, instance_id: str, token_id: str) -> list[str]:
        rows = self.query(
            "SELECT token_id FROM token WHERE instance = ? AND parent_token_id = ? ORDER BY created_at, pk",
            [self.find(instance_id)[0], token_id],
        )
        return [child for (child,) in rows]

    def tree_rows(self, instance_id: str) -> Iterator[TreeRow]:
        from tokctl.analysis.tree.forest import TreeRow

        rows = self.query(
            f"SELECT {READ_TREE} FROM token WHERE instance = ? ORDER BY created_at, pk", [self.find(instance_id)[0]]
        )
        return map(partial(read_tree_row, TreeRow), rows)
