"""Queries of many instances in one statement: a statement for each instance would take an exchange with the server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from operator import itemgetter
from typing import TYPE_CHECKING

from tokctl.model.instances import Instance
from tokctl.store.sql.conditions import SqlCondition
from tokctl.store.sql.database import Row, Values
from tokctl.store.sql.store import SqlStore

if TYPE_CHECKING:
    from tokctl.analysis.performance.visits import VisitBatch

_ABOUT = ("owner", "instance_id", "process_id", "version")


class PostgreSQLQueries(SqlStore):
    """The queries of a PostgreSQL store that differ from those of SQLite."""

    def _visit_batches(
        self, instances: SqlCondition, columns: str, values: Values
    ) -> Iterator[tuple[Instance, Iterator[VisitBatch]]]:
        rows = self.query(
            f"""SELECT {", ".join(_ABOUT)}, {columns}
                FROM (SELECT pk AS owner, instance_id, process_id, version FROM instance{instances}) AS owners
                LEFT JOIN token ON instance = owner ORDER BY owner, created_at NULLS FIRST, pk""",
            [*values, *instances.values],
        )
        for (_, instance_id, process_id, version), several in groupby(rows, itemgetter(slice(len(_ABOUT)))):
            instance = Instance(instance_id=instance_id, process_id=process_id, version=version)
            yield instance, _read_batches(several)


def _read_batches(rows: Iterable[Row]) -> Iterator[VisitBatch]:
    from tokctl.analysis.performance.visits import BATCH_SIZE, VisitBatch

    found = (row[len(_ABOUT) :] for row in rows)
    tokens = (row for row in found if row[0] is not None)  # an instance without tokens has one row
    while batch := list(islice(tokens, BATCH_SIZE)):
        yield VisitBatch(*zip(*batch, strict=True))
