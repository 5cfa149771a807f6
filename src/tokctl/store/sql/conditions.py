"""Filters of tokens and instances as conditions in SQL."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from tokctl.model.element_types import TYPE_FAMILIES, canonical_type
from tokctl.model.filters import InstanceFilter, StuckLimits, TokenFilter, asks_for_live
from tokctl.model.states import FAILED as FAILED_STATE
from tokctl.model.times import to_micros
from tokctl.store.sql.dialect import FAILED, LIVE, OPEN, Dialect
from tokctl.store.sql.variables import is_literal, variable_sql

STARTED = "coalesce(started_at, first_at)"
UPDATED = "coalesce(updated_at, last_at)"
STATUS = "coalesce(status, derived_status)"


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


class Conditions:
    """Makes conditions in the SQL of a dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect

    def _matches(self, column: str, globs: Iterable[str]) -> list[tuple[str, Any]]:
        return [(self.dialect.matches.format(column), self.dialect.pattern(glob)) for glob in globs]

    def tokens(self, instance: int | None, where: TokenFilter, *, by_totals: bool = True) -> SqlCondition:
        """Return a filter of an instance's tokens as SQL; None: of the tokens of all instances.

        ``by_totals``: let the totals of instances tell which of them have no token in the period.
        """
        sql = SqlCondition()
        if instance is not None:
            sql.add("instance = ?", instance)
        if where.states == (FAILED_STATE,):  # these literals are what the partial indexes are found by
            sql.add(FAILED)
        else:
            sql.any_of([("state = ?", state) for state in where.states])
            if asks_for_live(where):
                sql.add(LIVE)
            elif instance is None and by_totals:
                _add_instances_of_period(sql, where)
        if not where.include_completed:
            sql.add("state != 'COMPLETED'")
        self._add_types(sql, where)
        names: list[tuple[str, Any]] = []
        for glob in where.elements:
            names += self._matches("element_id", [glob]) + self._matches("nullif(element_name, '')", [glob])
        sql.any_of(names)
        sql.any_of(self._matches("worker_id", where.workers))
        if where.since is not None:
            sql.add("coalesce(updated_at, created_at) >= ?", to_micros(where.since))
        if where.until is not None:
            sql.add("created_at < ?", to_micros(where.until))
        return sql

    def _add_types(self, sql: SqlCondition, where: TokenFilter) -> None:
        conditions, values = [], []
        for kind in where.types:
            conditions.append("element_type = ?")
            values.append(canonical_type(kind))
            if kind in TYPE_FAMILIES:
                conditions.append(self.dialect.ends_with.format("element_type", kind.capitalize()))
        if conditions:
            sql.add(f"({' OR '.join(conditions)})", *values)

    def _is_stuck(self, limits: StuckLimits) -> tuple[str, list[Any]]:
        """Return the condition on instances that a token is stuck."""
        now, dialect = to_micros(limits.now), self.dialect
        older_than = [now - (age // timedelta(microseconds=1)) for age in (limits.long_running, limits.stuck_gateway)]
        is_gateway = f"(element_type = 'gateway' OR {dialect.ends_with.format('element_type', 'Gateway')})"
        condition = f"""live_tokens > 0 AND EXISTS (
            SELECT 1 FROM token WHERE token.instance = instance.pk AND {LIVE} AND state != 'FAILED' AND (
                timeout_at < ? OR (created_at < ? AND {dialect.is_running})
                OR (state = 'WAITING' AND created_at < ? AND {is_gateway} AND NOT {dialect.waits_for_event})))"""
        return condition, [now, *older_than]

    def instances(self, where: InstanceFilter) -> SqlCondition:
        """Return an instance filter as SQL."""
        sql = SqlCondition()
        for condition in where.variables:
            text, values = variable_sql(condition, self.dialect)
            sql.add(text, *values)
        keys: list[tuple[str, Any]] = []
        for key in where.business_keys:
            keys += [("business_key = ?", key)] if is_literal(key) else self._matches("business_key", [key])
        sql.any_of(keys)
        if where.stuck is not None:
            text, values = self._is_stuck(where.stuck)
            sql.add(text, *values)
        sql.any_of([(f"{STATUS} = ?", status) for status in where.statuses])
        sql.any_of(self._matches("process_id", where.processes))
        if where.live:
            sql.add("live_tokens > 0")
        if where.failed:
            sql.add("failed_tokens > 0")
        if where.open:
            sql.add(OPEN)
        if where.version is not None:
            sql.add("version = ?", where.version)
        if where.since is not None:
            sql.add(f"{UPDATED} >= ?", to_micros(where.since))
        if where.until is not None:
            sql.add(f"{STARTED} < ?", to_micros(where.until))
        return sql


def _add_instances_of_period(sql: SqlCondition, where: TokenFilter) -> None:
    """Leave out instances without a token in the period: their totals tell."""
    for condition, moment in (("last_at >= ?", where.since), ("first_at < ?", where.until)):
        if moment is not None:
            sql.add(f"instance IN (SELECT pk FROM instance WHERE {condition})", to_micros(moment))
