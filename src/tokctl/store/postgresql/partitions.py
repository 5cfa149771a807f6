"""The partitions of the table ``token``: one for each month in which instances were first recorded.

``schema`` describes them. A month is a number, counted from 1970-01.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokctl.store.postgresql.database import PostgreSQLDatabase
from tokctl.store.postgresql.schema import MONTH_BITS


def month_of(pk: int) -> int:
    """Return the month of an instance."""
    return pk >> MONTH_BITS


def first_instance(month: int) -> int:
    """Return the lowest pk that an instance of a month can have."""
    return month << MONTH_BITS


def find_partitions(database: PostgreSQLDatabase) -> list[int]:
    """Return the months that have a partition, the earliest first."""
    rows = database.fetch(
        "SELECT CAST(split_part(relname, '_', 2) AS BIGINT) * 12 + CAST(split_part(relname, '_', 3) AS BIGINT)"
        " - 1970 * 12 - 1 FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
        " WHERE inhparent = CAST('token' AS regclass) ORDER BY 1"
    )
    return [month for (month,) in rows]


def add_partitions(database: PostgreSQLDatabase, pks: Iterable[int]) -> None:
    """Make the partitions that are missing for instances with known pks. Only the owner of the store may."""
    for month in sorted(set(map(month_of, pks)) - set(find_partitions(database))):
        database.fetch("SELECT add_token_partition(?)", [month])
