"""The differences between the SQL of databases.

All other SQL of the queries is the same for each. A statement has ``?`` for each value.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from tokctl.errors import StoreError
from tokctl.model.states import FINAL_STATES
from tokctl.model.variables import Searchable

FINAL = ", ".join(f"'{state}'" for state in sorted(FINAL_STATES))
LIVE = f"state NOT IN ({FINAL})"
"""The condition of the partial index over live tokens: a query that repeats it can use the index."""
FAILED = "state = 'FAILED'"
"""The condition of the partial index over tokens that FAILED, which are also live."""
OPEN = f"(live_tokens > 0 OR coalesce(status, derived_status, 'COMPLETED') NOT IN ({FINAL}))"
"""The same for instances that have not ended, or have a live token."""
DURATION_MS = "coalesce(duration_ms, (finished_at - created_at) / CAST(1000 AS DOUBLE PRECISION))"


class Dialect(Struct, frozen=True, kw_only=True):
    """The SQL of a database where it differs. ``{}`` stands for a column."""

    differs: str
    """The operator that compares two values or rows, and takes NULL as a value."""
    no_limit: str
    """The LIMIT without a limit."""
    matches: str
    """The condition that a text matches a pattern."""
    pattern: Callable[[str], str]
    """Returns the value for ``matches`` of a pattern with ``*``, ``?`` and ``[a-z]``, which also matches itself."""
    ends_with: str
    """The condition that a text ends with another one, which is the second ``{}``."""
    in_list: str
    """The condition that a text is in a list."""
    list_value: Callable[[list[str] | list[int]], object]
    """Returns the value for ``in_list`` of a list."""
    as_bytes: str
    """A text in UTF-8."""
    name_list: str
    """The aggregation of ``name`` into a list in JSON."""
    keeps_join_order: bool
    """Whether a CROSS JOIN returns rows in the order of its left table, then of the index of the right one."""
    now_ms: str
    """The present time in ms since 1970."""
    largest: str
    """The function that returns the largest of its arguments."""
    tell_of_change: str
    """The end of the UPDATE of the revision of processes that wakes those who wait for changes; may be empty."""
    count_unrevoked: str
    """The query for the number of API tokens that are not revoked."""

    variable_matches: str
    """The condition that the value of a variable matches a pattern."""
    variable_pattern: Callable[[str], str]
    """Returns the value for ``variable_matches`` of a pattern."""
    variable_value: Callable[[Searchable], str | int | float]
    """Returns the value for the column ``value`` of the table ``variable``; texts sort as they do by themselves."""

    error_message: str
    """The error in the execution context of a token. This one and those below are columns or functions of columns."""
    is_running: str
    """Whether a token is ACTIVE, or waits for a job."""
    waits_for_event: str
    """Whether a token waits for known events."""
    hops: str
    """The number of the entries of the flow history."""
    certainty: str
    """The certainty of the last entry."""
    entry_is_unknown: str
    """Whether the engine does not tell where the token came from."""


SINGLE_ROWS = (
    ("revision", "kind = 'process'"),
    ("revision", "kind = 'access'"),
    ("audit_head", "one = 1"),
    ("identity", "one = 1"),
)
"""Rows that every store has: table and condition."""

FIND_COPY = "SELECT number FROM revision WHERE kind = 'copy'"
"""Finds the mark of an unfinished copy: the number of times that it was begun or continued.

It is in the table ``revision`` because everybody who can open a store can read that one.
"""


def unfinished_copy_error(location: str) -> StoreError:
    """Return the error for a store that cannot be used yet."""
    return StoreError(
        f"the store {location} is an unfinished copy.", "Finish it: run the same 'tokctl store copy' again."
    )
