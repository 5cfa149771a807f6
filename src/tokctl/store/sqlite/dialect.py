"""The SQL of SQLite, and the functions that connections add to it."""

from __future__ import annotations

import sqlite3
from fnmatch import fnmatchcase

import msgspec

from tokctl.model.filters import matches_glob
from tokctl.model.variables import Searchable
from tokctl.store.sql.dialect import Dialect
from tokctl.store.sql.rows import read_error, read_is_running, read_waits_for_event

SQLITE = Dialect(
    differs="IS NOT",
    no_limit="-1",
    matches="matches({}, ?)",
    pattern=str,
    ends_with="{} GLOB '*{}'",
    in_list="{} IN (SELECT value FROM json_each(?))",
    list_value=lambda values: msgspec.json.encode(values).decode(),
    as_bytes="CAST({} AS BLOB)",
    name_list="json_group_array(name)",
    keeps_join_order=True,
    now_ms="CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
    largest="max",
    tell_of_change="",
    count_unrevoked="SELECT number FROM api_token_count",
    variable_matches="matches_value(value, ?)",
    variable_pattern=str,
    variable_value=lambda value: value,
    error_message="error_message(execution_context)",
    is_running="is_running(state, execution_context)",
    waits_for_event="waits_for_event(execution_context)",
    hops="CASE WHEN json_valid(flow_history) THEN json_array_length(flow_history) ELSE 0 END",
    certainty="CASE WHEN json_valid(flow_history) THEN json_extract(flow_history, '$[#-1].certainty') END",
    entry_is_unknown="CASE WHEN instr(execution_context, 'entered_by') AND json_valid(execution_context)"
    " THEN coalesce(json_extract(execution_context, '$.entered_by') = 'unknown', 0) ELSE 0 END",
)


def add_functions(connection: sqlite3.Connection) -> None:
    """Add the functions of the dialect to a connection."""
    connection.create_function("matches", 2, matches_glob, deterministic=True)
    connection.create_function("error_message", 1, read_error, deterministic=True)
    connection.create_function("is_running", 2, read_is_running, deterministic=True)
    connection.create_function("waits_for_event", 1, read_waits_for_event, deterministic=True)
    connection.create_function("matches_value", 2, _matches_value, deterministic=True)


def _matches_value(value: Searchable, glob: str) -> bool:
    return fnmatchcase(str(value), glob)
