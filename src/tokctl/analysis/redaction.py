"""Redacts values of tokens and instances that match patterns, before they are passed on.

A pattern is a path with dots in which each part may be a glob: ``variables.card.number``, ``variables.*``,
``*.password``. ``**`` stands for any number of parts; the items of a list are named by their index. A matching value is
replaced with ``"[redacted]"`` as a whole; its name stays. A name that contains dots is matched as one part and as
several. JSON that cannot be read is redacted as a whole if a pattern might match something inside it.

Ids, states, times and links are needed by a store: a pattern that matches one of them is rejected.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import reduce
from typing import Any, TypeVar

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from tokctl.errors import UsageError
from tokctl.model.instances import Instance
from tokctl.model.tokens import NULL, Token
from tokctl.text import suggest

REDACTED = "[redacted]"
ORIGIN_FIELD = "snapshot"
"""The field of an instance in which tokctl records its origin; never redacted."""

_RAW = Raw(msgspec.json.encode(REDACTED))
_ANY_DEPTH = "**"
_TOKEN_FIELDS = ("element_name", "variables", "execution_context", "flow_history")
_INSTANCE_FIELDS = ("process_key", "business_key", "tenant_id", "variables")
_HOP = ("from_element", "via_flow", "timestamp", "certainty")
_REQUIRED_FIELDS = (
    *("token_id", "instance_id", "process_id", "version", "element_id", "element_type", "state", "status"),
    *("created_at", "updated_at", "started_at", "completed_at", "cancelled_at"),
    *("parent_token_id", "child_tokens", "flow_history", ORIGIN_FIELD),
)
_HOPS = ((), *((name,) for name in _HOP))

_object_decoder = msgspec.json.Decoder(dict[str, Raw])
_list_decoder = msgspec.json.Decoder(list[Raw])

PatternPositions = frozenset[tuple[int, int]]
"""A set of (pattern, part): the parts that the next name of a path may match, as in the states of an NFA."""

T = TypeVar("T", Token, Instance)


class _PatternMatcher:
    """Matches paths against several patterns at once, name by name.

    The patterns are a nondeterministic automaton whose states are ``PatternPositions``: a part that is not ``**``
    matches one name, and ``**`` matches any number of names.
    """

    def __init__(self, patterns: list[tuple[str, ...]]) -> None:
        self._patterns = patterns
        self.begin: PatternPositions = frozenset((number, 0) for number in range(len(patterns)))

    def advance(self, places: PatternPositions, name: str) -> PatternPositions:
        """Return the positions after a name, taken as one part and as the parts between its dots."""
        found = self._step(places, name)
        if "." in name:
            several = reduce(self._step, name.split("."), places)
            found |= several
        return found

    def _step(self, places: PatternPositions, part: str) -> PatternPositions:
        found: set[tuple[int, int]] = set()
        for number, begin in places:
            parts, at = self._patterns[number], begin
            while at < len(parts):
                if parts[at] != _ANY_DEPTH:
                    if fnmatchcase(part, parts[at]):
                        found.add((number, at + 1))
                    break
                found.add((number, at))  # it matches this name, and may match the next
                if at + 1 == len(parts):
                    found.add((number, at + 1))
                at += 1  # or it matches no name
        return frozenset(found)

    def find_complete_matches(self, places: PatternPositions) -> set[int]:
        """Return the numbers of the patterns that match completely."""
        return {number for number, at in places if at == len(self._patterns[number])}


class Redactor:
    """Redacts tokens and instances; ``match_counts`` is the number of matches of each pattern.

    Raises:
        UsageError: a pattern is invalid, starts with a misspelled field, or matches a field that is needed.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns = tuple(dict.fromkeys(patterns))
        self.match_counts: Counter[str] = Counter()
        parts = [_split_pattern(pattern) for pattern in self.patterns]
        self._paths = _PatternMatcher(parts)
        for pattern, several in zip(self.patterns, parts, strict=True):
            _reject_required_fields(pattern, several)
            _reject_misspelled_field(pattern, several[0])

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def token(self, token: Token) -> Token:
        """Return a token with matching values redacted; JSON on the path to these is written without white space."""
        return self._redact(token, _TOKEN_FIELDS)

    def instance(self, instance: Instance) -> Instance:
        """Return an instance with matching values redacted."""
        return self._redact(instance, _INSTANCE_FIELDS)

    def _redact(self, one: T, fields: tuple[str, ...]) -> T:
        changes = self._redact_fields({name: getattr(one, name) for name in fields})
        extra = self._redact_fields({name: raw for name, raw in one.extra.items() if name != ORIGIN_FIELD})
        if extra:
            changes["extra"] = one.extra | extra
        return replace(one, **changes) if changes else one

    def _redact_fields(self, fields: Mapping[str, Raw | str | None]) -> dict[str, Any]:
        """Return the new values of the fields that change."""
        changed: dict[str, Any] = {}
        for name, value in fields.items():
            if value is None or value == NULL:
                continue
            places = self._paths.advance(self._paths.begin, name)
            if isinstance(value, str):
                if self._matches(places) and value != REDACTED:
                    changed[name] = REDACTED
            elif (new := self._redact_value(value, places)) != value:
                changed[name] = new
        return changed

    # --- values ---

    def _redact_value(self, raw: Raw, places: PatternPositions) -> Raw:
        """Redact a value as a whole if a pattern matches completely, else the values inside it.

        An object that a pattern leads into is decoded and encoded again. If it has a name twice, only the last value
        is left, as for every reader.
        """
        if not places or raw == _RAW:
            return raw
        if self._matches(places):
            return _RAW
        sign = bytes(raw).lstrip()[:1]
        try:
            if sign == b"{":
                fields = _object_decoder.decode(raw).items()
                inner = {name: self._redact_value(value, self._paths.advance(places, name)) for name, value in fields}
                return Raw(msgspec.json.encode(inner))
            if sign == b"[":
                items = enumerate(_list_decoder.decode(raw))
                return Raw(
                    msgspec.json.encode([self._redact_value(v, self._paths.advance(places, str(n))) for n, v in items])
                )
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            return _RAW
        return raw

    def _matches(self, places: PatternPositions) -> bool:
        hit = self._paths.find_complete_matches(places)
        self.match_counts.update(self.patterns[number] for number in hit)
        return bool(hit)


def _split_pattern(pattern: str) -> tuple[str, ...]:
    parts = tuple(pattern.strip().split("."))
    if not all(parts):
        raise UsageError(
            f"--redact '{pattern}' is not a path.", "Use a path such as variables.card.number or variables.*."
        )
    return parts


def _reject_required_fields(pattern: str, parts: tuple[str, ...]) -> None:
    """Raise UsageError if a pattern matches a field that a store needs."""
    paths = _PatternMatcher([parts])
    numbers = [*map(str, range(10)), *filter(str.isdigit, parts)]
    below = (path for n in numbers for path in (("child_tokens", n), *(("flow_history", n, *hop) for hop in _HOPS)))
    for path in (*((name,) for name in _REQUIRED_FIELDS), *below):
        if paths.find_complete_matches(reduce(paths.advance, path, paths.begin)):
            raise UsageError(
                f"--redact '{pattern}' would remove {path[0]}, which the store requires.",
                "Redact values, such as variables.*, execution_context.* or **.password.",
            )


def _reject_misspelled_field(pattern: str, first: str) -> None:
    """Raise UsageError if the first part of a pattern is a misspelled field: it would match nothing."""
    known = (*_TOKEN_FIELDS, *_INSTANCE_FIELDS)
    if not re.search(r"[*?\[]", first) and first not in known and (hint := suggest(first, known)):
        raise UsageError(f"--redact '{pattern}': unknown field '{first}'{hint}.")
