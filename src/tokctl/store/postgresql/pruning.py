"""Removes instances from a PostgreSQL store: partitions of tokens are dropped rather than emptied."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import datetime

from psycopg.errors import LockNotAvailable

from tokctl.errors import StoreError
from tokctl.store.postgresql.database import PostgreSQLDatabase
from tokctl.store.postgresql.partitions import find_partitions, first_instance, month_of
from tokctl.store.sql.pruning import Pruning

DROP_TIMEOUT_MS = 500
"""How long dropping a partition waits for readers; new readers wait for it in the meantime."""
DROP_RETRIES = 10  # for all partitions together
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

    The tokens of an instance are removed with it, unless all instances of its partition are: then the partition is
    dropped in the end. Until then no query finds them.
    """

    database: PostgreSQLDatabase

    def __init__(self, database: PostgreSQLDatabase, moment: datetime, *, incidents: bool) -> None:
        super().__init__(database, moment, incidents=incidents)
        self._is_emptied: dict[int, bool] = {}
        self._retries_left = DROP_RETRIES

    def remove(self, pks: Sequence[int]) -> None:
        self._remove_tokens([pk for pk in pks if not self._empties(month_of(pk))])
        self.database.execute("DELETE FROM instance WHERE pk = ANY(?)", [list(pks)])

    def _empties(self, month: int) -> bool:
        """Tell whether no instance of a month stays, and no new ones are added to it."""
        if month not in self._is_emptied:
            ((is_emptied,),) = self.database.fetch(
                "SELECT token_month() > ? AND NOT EXISTS (SELECT FROM instance"
                f" WHERE pk >= ? AND pk < ? AND {self.condition} IS NOT TRUE)",
                [month, first_instance(month), first_instance(month + 1), *self.values],
            )
            self._is_emptied[month] = is_emptied
        return self._is_emptied[month]

    def _remove_tokens(self, pks: Sequence[int]) -> None:
        if pks:
            self.database.execute("DELETE FROM token WHERE instance = ANY(?)", [list(pks)])

    def finish(self) -> None:
        ((present,),) = self.database.fetch("SELECT token_month()")
        for month in (one for one in find_partitions(self.database) if one < present):
            if self._has_instances(month):
                for pks in self._left_over(month):
                    with self.database.transaction("process"):
                        self._remove_tokens(pks)
            else:
                self._drop(month)

    def _has_instances(self, month: int) -> bool:
        query = "SELECT EXISTS (SELECT FROM instance WHERE pk >= ? AND pk < ?)"
        ((found,),) = self.database.fetch(query, [first_instance(month), first_instance(month + 1)])
        return bool(found)

    def _drop(self, month: int) -> None:
        """Drop a partition. If readers do not end in time, it is left to the next run."""
        while True:
            try:
                with self.database.transaction("process"):
                    self.database.execute(f"SET LOCAL lock_timeout = {DROP_TIMEOUT_MS}")
                    self.database.fetch("SELECT drop_token_partition(?)", [month])
            except StoreError as error:
                if not isinstance(error.__cause__, LockNotAvailable):
                    raise
                if self._retries_left <= 0:
                    return
                self._retries_left -= 1
                time.sleep(PAUSE_SECONDS)
            else:
                return

    def _left_over(self, month: int) -> Iterator[list[int]]:
        """Yield the pks of removed instances whose tokens an interrupted run has left over."""
        begin, end = first_instance(month), first_instance(month + 1)
        pks = [pk for (pk,) in self.database.fetch(_LEFT_OVER, [begin, end, end])]
        for start in range(0, len(pks), LEFT_OVER_INSTANCES):
            yield pks[start : start + LEFT_OVER_INSTANCES]
