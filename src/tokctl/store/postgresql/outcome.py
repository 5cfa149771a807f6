"""Finds out what became of a transaction if the connection was lost before the answer to its COMMIT."""

from __future__ import annotations

import time

from msgspec import Struct
from psycopg import errors

from tokctl.errors import StoreError
from tokctl.store.postgresql.connection import connect, translate_errors

FIND_OUT_SECONDS = 10.0
"""Seconds in which a database has to answer again."""
_SERVER_START = "CAST(extract(epoch FROM pg_postmaster_start_time()) * 1000000 AS BIGINT)"
IDENTITY = f"CAST(pg_current_xact_id() AS text), {_SERVER_START}"
"""SQL for the columns of a ``TransactionIdentity``."""

_PAUSE_SECONDS = 0.1
_END = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE backend_xid = CAST(CAST($1 AS xid8) AS xid) AND wait_event IS DISTINCT FROM 'SyncRep'"""
"""Ends the session that still waits for its client, unless it has committed and waits for a standby."""


class TransactionIdentity(Struct, frozen=True):
    """The id of a transaction that writes, and when the server was started that it ran on, in microseconds."""

    xid: str
    server_start: int


def find_outcome(url: str, transaction: TransactionIdentity) -> bool | None:
    """Return whether a transaction was committed; None if the database does not tell within FIND_OUT_SECONDS.

    After a failover the number of a transaction that was lost may be that of another one: then it is unknown, too.
    """
    deadline = time.monotonic() + FIND_OUT_SECONDS
    while True:
        try:
            status, is_same_server = _ask(url, transaction)
        except StoreError:  # it starts, or a standby is being promoted
            status, is_same_server = "unreachable", False
        if status == "committed":
            return True if is_same_server else None
        if status in {"aborted", "not known"}:
            return False
        if time.monotonic() > deadline:
            return None
        time.sleep(_PAUSE_SECONDS)


def _ask(url: str, transaction: TransactionIdentity) -> tuple[str, bool]:
    """Return the status of a transaction, and whether the server was not restarted since. Raises StoreError."""
    with translate_errors("of the transaction"), connect(url) as connection:
        if connection.execute("SELECT pg_is_in_recovery()").fetchone() != (False,):
            return "standby", False
        try:
            row = connection.execute(
                f"SELECT pg_xact_status(CAST($1 AS xid8)), {_SERVER_START} = $2",
                [transaction.xid, transaction.server_start],
            ).fetchone()
        except errors.InvalidParameterValue:  # no transaction has had this number yet
            return "not known", False
        status, is_same_server = row or (None, False)
        if status == "in progress":
            connection.execute(_END, [transaction.xid])
        return str(status), bool(is_same_server)
