"""Removes instances from a PostgreSQL store: tables of tokens are dropped rather than emptied."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime

from psycopg.errors import LockNotAvailable

from tokctl.errors import StoreError
from tokctl.store.postgresql.database import PostgreSQLDatabase
from tokctl.store.postgresql.partitions import find_partitions, first_instance, month_of
from tokctl.store.sql.database import Values
from tokctl.store.sql.pruning import Pruning

KEPT_TOKENS = 50_000
"""How many tokens are copied to a new table, to drop the old one. That takes about a second."""
LOCK_TIMEOUT_MS = 500
"""How long dropping a table waits for readers; new readers wait for it in the meantime."""
LOCK_RETRIES = 10  # for all partitions together
PAUSE_SECONDS = 0.5  # before each of them
LEFT_OVER_INSTANCES = 100  # whose tokens are removed in one transaction

_LEFT_OVER = """
    WITH RECURSIVE known (pk) AS (
        SELECT min(instance) FROM token WHERE instance >= ? AND instance < ?
        UNION ALL
        SELECT (SELECT min(instance) FROM token WHERE instance > known.pk AND instance < ?)
        FROM known WHERE pk IS NOT NULL
    )
    SELECT pk FROM known WHERE pk IS NOT NULL AND NOT EXISTS (SELECT FROM instance WHERE instance.pk = known.pk)"""
"""One search of the index for each instance that has tokens: DISTINCT would read the whole index."""


class PostgreSQLPruning(Pruning):
    """Removes instances.

    The tokens of an instance are removed with it, unless its partition will have few tokens: then it is compacted in
    the end. Until then no query finds the tokens of removed instances.
    """

    database: PostgreSQLDatabase

    def __init__(self, database: PostgreSQLDatabase, moment: datetime, *, incidents: bool) -> None:
        super().__init__(database, moment, incidents=incidents)
        self._is_compacted: dict[int, bool] = {}
        """Months, and whether their partitions are compacted in the end."""
        self._retries_left = LOCK_RETRIES

    def remove(self, pks: Sequence[int]) -> None:
        self._remove_tokens([pk for pk in pks if not self._compacts(month_of(pk))])
        self.database.execute("DELETE FROM instance WHERE pk = ANY(?)", [list(pks)])

    def _compacts(self, month: int) -> bool:
        """Tell whether a month gets no more instances, and few tokens stay."""
        if month not in self._is_compacted:
            is_past = month < self._present_month()
            self._is_compacted[month] = is_past and self._is_small(month, f"{self.condition} IS NOT TRUE", self.values)
        return self._is_compacted[month]

    def _present_month(self) -> int:
        ((month,),) = self.database.fetch("SELECT token_month()")
        return int(month)

    def _is_small(self, month: int, condition: str = "true", values: Values = ()) -> bool:
        """Tell whether the instances of a month that meet a condition have few tokens."""
        ((tokens,),) = self.database.fetch(
            f"SELECT coalesce(sum(total_tokens), 0) FROM instance WHERE pk >= ? AND pk < ? AND {condition}",
            [first_instance(month), first_instance(month + 1), *values],
        )
        return bool(tokens <= KEPT_TOKENS)

    def _remove_tokens(self, pks: Sequence[int]) -> None:
        if pks:
            self.database.execute("DELETE FROM token WHERE instance = ANY(?)", [list(pks)])

    def finish(self) -> None:
        present = self._present_month()
        for month in (one for one in find_partitions(self.database) if one < present):
            left_over = self._left_over(month)
            if self._is_small(month):
                if left_over or not self._has_instances(month):
                    self._compact(month)
                continue
            for start in range(0, len(left_over), LEFT_OVER_INSTANCES):
                with self.database.transaction("process"):
                    self._remove_tokens(left_over[start : start + LEFT_OVER_INSTANCES])

    def _has_instances(self, month: int) -> bool:
        query = "SELECT EXISTS (SELECT FROM instance WHERE pk >= ? AND pk < ?)"
        ((found,),) = self.database.fetch(query, [first_instance(month), first_instance(month + 1)])
        return bool(found)

    def _compact(self, month: int) -> None:
        """Let a partition have only the tokens that are shown. If readers do not end, it is left to the next run."""
        while True:
            try:
                with self.database.transaction("process"):
                    self.database.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
                    self.database.fetch("SELECT compact_token_partition(?)", [month])
            except StoreError as error:
                if not isinstance(error.__cause__, LockNotAvailable):
                    raise
                if self._retries_left <= 0:
                    return
                self._retries_left -= 1
                time.sleep(PAUSE_SECONDS)
            else:
                return

    def _left_over(self, month: int) -> list[int]:
        """Return the pks of removed instances whose tokens are there."""
        begin, end = first_instance(month), first_instance(month + 1)
        return [pk for (pk,) in self.database.fetch(_LEFT_OVER, [begin, end, end])]
