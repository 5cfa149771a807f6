"""The questions that an SQLite store answers: the SQL behind ``process.engine.Engine``."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import msgspec

from tokctl.errors import NotFoundError
from tokctl.process.engine import AtHand
from tokctl.process.model import FAMILIES, Definition, Instance, Summary, Token, canonical_type, summarize, to_micros
from tokctl.process.query import EVERYTHING, RECORDED, InstanceFilter, Order, TokenFilter
from tokctl.process.status import InstanceStatus
from tokctl.process.tree import TreeRow
from tokctl.process.visit import Visit
from tokctl.store.base import Revisions
from tokctl.store.faults import explain
from tokctl.store.rows import (
    FLOWS,
    INSTANCE_COLUMNS,
    READ_STAY,
    READ_TOKEN,
    READ_TREE,
    READ_VISIT,
    STATUS_COLUMNS,
    read_status,
    read_token,
    read_tree_row,
    read_visit,
)
from tokctl.store.schema import LIVE, OPEN

if TYPE_CHECKING:
    from tokctl.process.performance import Stays

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
LAST = "\U0010ffff"  # behind every other character: the end of a range of prefixes
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
    RECORDED: "pk",
}
_INSTANCES = f"SELECT {', '.join((*INSTANCE_COLUMNS, *STATUS_COLUMNS))} FROM instance"


class Where:
    """A condition in SQL, grown part by part."""

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


def token_where(instance: int, where: TokenFilter) -> Where:
    """Return a token filter as SQL."""
    sql = Where()
    sql.add("instance = ?", instance)
    sql.any_of([("state = ?", state) for state in where.states])
    if where.live:
        sql.add(LIVE)
    if not where.include_completed:
        sql.add("state != 'COMPLETED'")
    types: list[tuple[str, Any]] = []
    for kind in where.types:
        types.append(("element_type = ?", canonical_type(kind)))
        if kind in FAMILIES:
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


def instance_where(where: InstanceFilter) -> Where:
    """Return an instance filter as SQL."""
    sql = Where()
    sql.any_of([(f"{_STATUS} = ?", status) for status in where.statuses])
    sql.any_of([("matches(process_id, ?)", glob) for glob in where.processes])
    if where.live:
        sql.add("live_tokens > 0")
    if where.open:
        sql.add(OPEN)
    if where.version is not None:
        sql.add("version = ?", where.version)
    if where.since is not None:
        sql.add(f"{_UPDATED} >= ?", to_micros(where.since))
    if where.until is not None:
        sql.add(f"{_STARTED} < ?", to_micros(where.until))
    return sql


def _matches(value: str | None, glob: str) -> bool:
    return value is not None and fnmatchcase(value, glob)


def _page(limit: int | None, offset: int) -> str:
    return f" LIMIT {-1 if limit is None else int(limit)} OFFSET {int(offset)}"


class Questions(AtHand):
    """What can be asked of an SQLite store."""

    def __init__(self, connection: sqlite3.Connection, location: str) -> None:
        self.connection = connection
        self.location = location
        connection.create_function("matches", 2, _matches, deterministic=True)

    def ask(self, sql: str, values: list[Any] | tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of an answer as they are found."""
        try:
            yield from self.connection.execute(sql, values)
        except sqlite3.Error as error:
            raise explain(error, self.location) from error

    # --- changes ---

    def revisions(self) -> Revisions:
        """The last transactions that changed the store."""
        return Revisions(**dict(self.ask("SELECT kind, number FROM revision")))

    def revision_of(self, instance_id: str) -> tuple[int, int]:
        """Return an instance's row number, and the number of the last transaction that changed it."""
        for pk, revision in self.ask("SELECT pk, revision FROM instance WHERE instance_id = ?", [instance_id]):
            return pk, revision
        raise self._unknown(instance_id)

    # --- instances ---

    def find(self, instance_id: str) -> tuple[int, str | None]:
        """Return an instance's row number and its process id. Raises NotFoundError."""
        for pk, process_id in self.ask("SELECT pk, process_id FROM instance WHERE instance_id = ?", [instance_id]):
            return pk, process_id
        raise self._unknown(instance_id)

    def _unknown(self, instance_id: str) -> NotFoundError:
        return NotFoundError(f"no process instance '{instance_id}' in the store.", "See 'tokctl instances list'.")

    def instances(
        self, where: InstanceFilter, order: Order, *, limit: int | None = None, offset: int = 0
    ) -> Iterator[InstanceStatus]:
        """Instances in order."""
        sql = instance_where(where)
        by = f" ORDER BY {_INSTANCE_ORDER[order.column]}{' DESC' * order.descending}, instance_id"
        for row in self.ask(f"{_INSTANCES}{sql}{by}{_page(limit, offset)}", sql.values):
            yield read_status(row)

    def count_instances(self, where: InstanceFilter) -> int:
        """How many instances match."""
        sql = instance_where(where)
        ((count,),) = self.ask(f"SELECT count(*) FROM instance{sql}", sql.values)
        return int(count)

    def instance(self, instance_id: str) -> InstanceStatus:
        """One instance."""
        pk, _ = self.find(instance_id)
        return next(map(read_status, self.ask(f"{_INSTANCES} WHERE pk = ?", [pk])))

    def instance_ids(self, prefix: str, limit: int) -> list[str]:
        """Ids of instances that begin with a prefix, in order."""
        rows = self.ask(
            "SELECT instance_id FROM instance WHERE instance_id >= ? AND instance_id < ? ORDER BY 1 LIMIT ?",
            [prefix, prefix + LAST, limit],
        )
        return [instance_id for (instance_id,) in rows]

    def all_instance_ids(self) -> Iterator[str]:
        """Every instance's id, in order."""
        for (instance_id,) in self.ask("SELECT instance_id FROM instance ORDER BY instance_id"):
            yield instance_id

    def latest_instance_id(self) -> str | None:
        """The id of the instance that started last."""
        for (instance_id,) in self.ask(
            f"SELECT instance_id FROM instance ORDER BY {_STARTED} DESC, instance_id DESC LIMIT 1"
        ):
            return str(instance_id)
        return None

    # --- tokens ---

    def summary(self, instance_id: str) -> Summary:
        """Totals of a whole instance, from an index alone."""
        return summarize(
            self.ask(
                "SELECT state, element_type, count(*) FROM token WHERE instance = ? GROUP BY state, element_type",
                [self.find(instance_id)[0]],
            )
        )

    def tokens(
        self, instance_id: str, where: TokenFilter, order: Order, *, limit: int | None = None, offset: int = 0
    ) -> Iterator[Token]:
        """Tokens of an instance in order."""
        pk, process_id = self.find(instance_id)
        sql = token_where(pk, where)
        ties = "pk" if order.column == "created" else "created_at, pk"  # named twice, the index would not do
        by = f"{_TOKEN_ORDER[order.column]}{' DESC' * order.descending}, {ties}"
        rows = self.ask(
            f"SELECT {', '.join(READ_TOKEN)} FROM token{sql} ORDER BY {by}{_page(limit, offset)}", sql.values
        )
        for row in rows:
            yield read_token(row, instance_id, process_id)

    def visits(self, instance_id: str, where: TokenFilter = EVERYTHING, *, flows: bool = False) -> Iterator[Visit]:
        """What the analyses read of an instance's tokens, in order of creation."""
        pk, process_id = self.find(instance_id)
        return self._visits(pk, instance_id, process_id, where, flows=flows)

    def _visits(
        self, pk: int, instance_id: str, process_id: str | None, where: TokenFilter, *, flows: bool
    ) -> Iterator[Visit]:
        sql = token_where(pk, where)
        columns = ", ".join((*READ_VISIT, FLOWS if flows else "NULL"))
        rows = self.ask(f"SELECT {columns} FROM token{sql} ORDER BY created_at, pk", sql.values)
        return (read_visit(row, instance_id, process_id) for row in rows)

    def all_visits(
        self, instances: InstanceFilter, where: TokenFilter = EVERYTHING, *, flows: bool = False
    ) -> Iterator[tuple[InstanceStatus, Iterator[Visit]]]:
        """The same of every instance that matches, in the order in which they came to be known."""
        sql = instance_where(instances)
        columns = ", ".join(("pk", *INSTANCE_COLUMNS, *STATUS_COLUMNS))
        for pk, *row in self.ask(f"SELECT {columns} FROM instance{sql} ORDER BY pk", sql.values):
            status = read_status(tuple(row))
            instance = status.instance
            yield status, self._visits(pk, instance.instance_id, instance.process_id, where, flows=flows)

    def visit_durations(
        self, process_id: str | None, elements: Collection[str] | None, instances: int
    ) -> Iterator[tuple[str, str, float]]:
        """(instance id, element id, ms) of the COMPLETED visits of elements in the last instances of a process."""
        took = "coalesce(t.duration_ms, (t.finished_at - t.created_at) / 1000.0)"
        only = "" if elements is None else "AND t.element_id IN (SELECT value FROM json_each(?))"
        named = [] if elements is None else [msgspec.json.encode(list(elements)).decode()]
        return self.ask(
            f"""SELECT i.instance_id, t.element_id, {took}
                FROM (SELECT pk, instance_id FROM instance WHERE process_id IS ? ORDER BY pk DESC LIMIT ?) i
                CROSS JOIN token t ON t.instance = i.pk
                WHERE t.state = 'COMPLETED' AND {took} IS NOT NULL {only}""",
            [process_id, instances, *named],
        )

    def stays(
        self, instances: InstanceFilter | str, where: TokenFilter = EVERYTHING
    ) -> Iterator[tuple[Instance, Iterator[Stays]]]:
        """How long tokens stood where, of every instance that matches or of a single one."""
        if isinstance(instances, str):
            sql = Where()
            sql.add("pk = ?", self.find(instances)[0])
        else:
            sql = instance_where(instances)
        if where.since is not None:
            sql.add("last_at >= ?", to_micros(where.since))
        if where.until is not None:
            sql.add("first_at < ?", to_micros(where.until))
        columns = "pk, instance_id, process_id, version"
        for pk, *named in self.ask(f"SELECT {columns} FROM instance{sql} ORDER BY pk", sql.values):
            instance_id, process_id, version = named
            yield Instance(instance_id=instance_id, process_id=process_id, version=version), self._stays(pk, where)

    def _stays(self, pk: int, where: TokenFilter) -> Iterator[Stays]:
        from tokctl.process.performance import CHUNK, Stays

        columns = ", ".join(READ_STAY)
        wanted = token_where(pk, where)
        if where != EVERYTHING:
            columns += f", {' AND '.join(wanted.parts)}"
        values = [pk] if where == EVERYTHING else [*wanted.values, pk]
        try:
            rows = self.connection.execute(f"SELECT {columns} FROM token WHERE instance = ?", values)
            while chunk := rows.fetchmany(CHUNK):
                yield Stays(*zip(*chunk, strict=True))
        except sqlite3.Error as error:
            raise explain(error, self.location) from error

    def count_tokens(self, instance_id: str, where: TokenFilter) -> int:
        """How many tokens of an instance match."""
        sql = token_where(self.find(instance_id)[0], where)
        ((count,),) = self.ask(f"SELECT count(*) FROM token{sql}", sql.values)
        return int(count)

    def token_ids(self, prefix: str, instance_id: str | None, limit: int) -> list[tuple[str, str]]:
        """(instance id, token id) of tokens whose id begins with a prefix, in order."""
        join = "SELECT i.instance_id, t.token_id FROM token t JOIN instance i ON i.pk = t.instance WHERE "
        if instance_id is None:
            condition, values = "t.token_id >= ? AND t.token_id < ?", []
        else:  # by way of the instance: a prefix may be common to all the tokens of the store
            condition, values = (
                "t.instance = ? AND +t.token_id >= ? AND +t.token_id < ?",
                [self.find(instance_id)[0]],
            )
        rows = self.ask(
            f"{join}{condition} ORDER BY t.token_id, i.instance_id LIMIT ?",
            [*values, prefix, prefix + LAST, limit],
        )
        return [(instance, token) for instance, token in rows]

    def token(self, instance_id: str, token_id: str) -> Token:
        """One token."""
        pk, process_id = self.find(instance_id)
        rows = self.ask(
            f"SELECT {', '.join(READ_TOKEN)} FROM token WHERE token_id = ? AND instance = ?", [token_id, pk]
        )
        for row in rows:
            return read_token(row, instance_id, process_id)
        raise NotFoundError(f"no token '{token_id}' in instance '{instance_id}'.")

    def children(self, instance_id: str, token_id: str) -> list[str]:
        """Ids of the tokens that name a token as their parent, in order of creation."""
        rows = self.ask(
            "SELECT token_id FROM token WHERE instance = ? AND parent_token_id = ? ORDER BY created_at, pk",
            [self.find(instance_id)[0], token_id],
        )
        return [child for (child,) in rows]

    def tree_rows(self, instance_id: str) -> Iterator[TreeRow]:
        """What a tree needs of each token, in order of creation."""
        rows = self.ask(
            f"SELECT {', '.join(READ_TREE)} FROM token WHERE instance = ? ORDER BY created_at, pk",
            [self.find(instance_id)[0]],
        )
        return map(read_tree_row, rows)

    # --- definitions ---

    def definition(self, process_id: str, version: int | None) -> Definition | None:
        """A process model, the newest version unless one is named."""
        rows = self.ask(
            "SELECT document FROM definition WHERE process_id = ? AND version = coalesce(?, version)"
            " ORDER BY version DESC LIMIT 1",
            [process_id, version],
        )
        for (document,) in rows:
            return msgspec.json.decode(document, type=Definition)
        return None

    def definitions(self) -> Iterator[Definition]:
        """Every definition, by process id and version."""
        for (document,) in self.ask("SELECT document FROM definition ORDER BY process_id, version"):
            yield msgspec.json.decode(document, type=Definition)
