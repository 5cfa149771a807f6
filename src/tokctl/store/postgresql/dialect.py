"""The SQL of PostgreSQL, and patterns as its regular expressions."""

from __future__ import annotations

from collections.abc import Iterator

from tokctl.model.variables import Searchable
from tokctl.store.sql.dialect import Dialect

CHANNEL = "tokctl_"
"""The channel of the changes of a store, without the oid of its table ``revision``."""


def translate_pattern(glob: str) -> str:
    """Return the regular expression of a pattern; it matches the texts that ``fnmatch.fnmatchcase`` matches."""
    return f"^(?:{''.join(_parts(glob))})$"


def _translate_filter(glob: str) -> str:
    return f"^(?:{''.join(map(_literal, glob))}|{''.join(_parts(glob))})$"


def _variable_value(value: Searchable) -> str:
    """Return a text that tells texts and numbers apart."""
    return f"s{value}" if isinstance(value, str) else f"n{value}"


POSTGRESQL = Dialect(
    differs="IS DISTINCT FROM",
    no_limit="ALL",
    matches="{} ~ ?",
    pattern=_translate_filter,
    ends_with="{} LIKE '%{}'",
    in_list="{} = ANY(?)",
    list_value=list,
    as_bytes="convert_to({}, 'UTF8')",
    name_list="CAST(json_agg(name) AS text)",
    keeps_join_order=False,
    now_ms="CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
    largest="greatest",
    tell_of_change=f" RETURNING pg_notify('{CHANNEL}' || tableoid, '')",
    count_unrevoked="SELECT count(*) FROM api_token WHERE revoked_at IS NULL",
    variable_matches="substr(value, 2) ~ ?",
    variable_pattern=translate_pattern,
    variable_value=_variable_value,
    error_message="error_message",
    is_running="is_running",
    waits_for_event="waits_for_event",
    hops="hops",
    certainty="certainty",
    entry_is_unknown="entry_is_unknown",
)


def _parts(glob: str) -> Iterator[str]:
    position = 0
    while position < len(glob):
        character = glob[position]
        position += 1
        if character == "*":
            yield ".*"
        elif character == "?":
            yield "."
        elif character == "[" and (end := _find_end(glob, position)) >= 0:
            yield _bracket(glob[position:end])
            position = end + 1
        else:
            yield _literal(character)


def _find_end(glob: str, start: int) -> int:
    """Return the position of the ``]`` of a set; a first one, also behind ``!``, is in the set. -1: there is none."""
    first = start + 1 if glob.startswith("!", start) else start
    return glob.find("]", first + 1)


def _bracket(members: str) -> str:
    """Return a set of characters and ranges; a range from a higher to a lower character is empty."""
    inverted = members.startswith("!")
    members = members[inverted:]
    found, position = "", 0
    while position < len(members):
        low = high = members[position]
        if members[position + 1 : position + 2] == "-" and position + 2 < len(members):
            high = members[position + 2]
            position += 2
        position += 1
        if low <= high:
            found += _literal(low) if low == high else f"{_literal(low)}-{_literal(high)}"
    if not found:
        return "." if inverted else "$."  # any character, or none: nothing follows the end
    return f"[{'^' * inverted}{found}]"


def _literal(character: str) -> str:
    return character if character.isascii() and character.isalnum() else f"\\U{ord(character):08x}"
