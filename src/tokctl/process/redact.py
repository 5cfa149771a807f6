"""Takes values out of tokens and instances by patterns over their paths, before they are handed on.

A pattern is a path with dots, of which each part may be a glob: ``variables.card.number``,
``variables.*``, ``*.password``; ``**`` stands for any number of parts, and a list's items go by their
number. The value in a matching place becomes ``"[redacted]"`` with all that it holds; its name stays. A name
that has dots in it is matched as one part and as several. What cannot be read is redacted as a whole where
a pattern might have matched something in it.

Ids, states, times and links are what a store works with: a pattern that matches one is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, TypeVar

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from tokctl.errors import UsageError
from tokctl.process.model import NULL, Instance, Token
from tokctl.process.query import suggest

REDACTED = "[redacted]"
KEPT = "snapshot"
"""The field of an instance that says where it came from: ours, and never redacted."""

_RAW = Raw(msgspec.json.encode(REDACTED))
_ANY_DEPTH = "**"
_TOKEN_VALUES = ("element_name", "variables", "execution_context", "flow_history")
_INSTANCE_VALUES = ("process_key", "tenant_id", "variables")
_HOP = ("from_element", "via_flow", "timestamp")
_NEEDED = (
    "token_id", "instance_id", "process_id", "version", "element_id", "element_type", "state", "status",
    "created_at", "updated_at", "started_at", "completed_at", "cancelled_at", "parent_token_id",
    "child_tokens", "flow_history", KEPT,
)  # fmt: skip
_HOPS = ((), *((name,) for name in _HOP))

_object = msgspec.json.Decoder(dict[str, Raw])
_list = msgspec.json.Decoder(list[Raw])

Places = frozenset[tuple[int, int]]
"""(pattern, part of it): how far into which patterns a path has come."""


T = TypeVar("T", Token, Instance)


class _Patterns:
    """Patterns in parts, and how a path goes through them."""

    def __init__(self, patterns: list[tuple[str, ...]]) -> None:
        self._patterns = patterns
        self.begin: Places = frozenset((number, 0) for number in range(len(patterns)))

    def advance(self, places: Places, name: str) -> Places:
        """How far they have come behind a name, taken as one part, and as those between its dots."""
        found = self._step(places, name)
        if "." in name:
            several = places
            for part in name.split("."):
                several = self._step(several, part)
            found |= several
        return found

    def _step(self, places: Places, part: str) -> Places:
        found: set[tuple[int, int]] = set()
        for number, begin in places:
            parts, at = self._patterns[number], begin
            while at < len(parts):
                if parts[at] != _ANY_DEPTH:
                    if fnmatchcase(part, parts[at]):
                        found.add((number, at + 1))
                    break
                found.add((number, at))  # it takes this part, and may take the next
                if at + 1 == len(parts):
                    found.add((number, at + 1))
                at += 1  # or it takes none
        return frozenset(found)

    def ended(self, places: Places) -> set[int]:
        """The patterns that match a place."""
        return {number for number, at in places if at == len(self._patterns[number])}


class Redaction:
    """Redacts by patterns; ``hits`` counts what each of them has matched.

    Raises:
        UsageError: a pattern is none, names nothing that there could be, or would redact what is needed.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns = tuple(dict.fromkeys(patterns))
        self.hits: Counter[str] = Counter()
        parts = [_parts(pattern) for pattern in self.patterns]
        self._paths = _Patterns(parts)
        for pattern, several in zip(self.patterns, parts, strict=True):
            _refuse_needed(pattern, several)
            _refuse_slip(pattern, several[0])

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def token(self, token: Token) -> Token:
        """Return a token without what the patterns match; what they lead to is written without white space."""
        return self._with(token, self._fields({name: getattr(token, name) for name in _TOKEN_VALUES}))

    def instance(self, instance: Instance) -> Instance:
        """Return an instance without what the patterns match."""
        return self._with(instance, self._fields({name: getattr(instance, name) for name in _INSTANCE_VALUES}))

    def _with(self, one: T, changes: dict[str, Any]) -> T:
        extra = self._fields({name: raw for name, raw in one.extra.items() if name != KEPT})
        if extra:
            changes["extra"] = one.extra | extra
        return replace(one, **changes) if changes else one

    def _fields(self, fields: Mapping[str, Raw | str | None]) -> dict[str, Any]:
        """Return those of the fields that are not as they were, as they are to be."""
        changed: dict[str, Any] = {}
        for name, value in fields.items():
            if value is None or value == NULL:
                continue
            places = self._paths.advance(self._paths.begin, name)
            if isinstance(value, str):
                if self._matches(places) and value != REDACTED:
                    changed[name] = REDACTED
            elif (new := self._value(value, places)) != value:
                changed[name] = new
        return changed

    # --- values ---

    def _value(self, raw: Raw, places: Places) -> Raw:
        """Redact a value: as a whole where a pattern has come to its end, else what lies in it.

        Where a pattern leads further, an object is written anew from what was read of it: of a name that
        stands in it twice only the last is left, as for everyone who reads it.
        """
        if not places or raw == _RAW:
            return raw
        if self._matches(places):
            return _RAW
        sign = bytes(raw).lstrip()[:1]
        try:
            if sign == b"{":
                fields = _object.decode(raw).items()
                inner = {name: self._value(value, self._paths.advance(places, name)) for name, value in fields}
                return Raw(msgspec.json.encode(inner))
            if sign == b"[":
                items = enumerate(_list.decode(raw))
                return Raw(msgspec.json.encode([self._value(v, self._paths.advance(places, str(n))) for n, v in items]))
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            return _RAW
        return raw

    def _matches(self, places: Places) -> bool:
        hit = self._paths.ended(places)
        self.hits.update(self.patterns[number] for number in hit)
        return bool(hit)


def _parts(pattern: str) -> tuple[str, ...]:
    parts = tuple(pattern.strip().split("."))
    if not all(parts):
        raise UsageError(f"--redact '{pattern}' is no path.", "Give one such as variables.card.number or variables.*.")
    return parts


def _refuse_needed(pattern: str, parts: tuple[str, ...]) -> None:
    """Raise UsageError for a pattern that matches what a store works with."""
    paths = _Patterns([parts])
    numbers = [*map(str, range(10)), *filter(str.isdigit, parts)]
    below = (path for n in numbers for path in (("child_tokens", n), *(("flow_history", n, *hop) for hop in _HOPS)))
    for path in (*((name,) for name in _NEEDED), *below):
        places = paths.begin
        for name in path:
            places = paths.advance(places, name)
        if paths.ended(places):
            raise UsageError(
                f"--redact '{pattern}' would take out {path[0]}, without which the store cannot work.",
                "Redact values, such as variables.*, execution_context.* or **.password.",
            )


def _refuse_slip(pattern: str, first: str) -> None:
    """Raise UsageError for what is nearly a field's name: it would match nothing, and hide nothing."""
    known = (*_TOKEN_VALUES, *_INSTANCE_VALUES)
    if not re.search(r"[*?\[]", first) and first not in known and (hint := suggest(first, known)):
        raise UsageError(f"--redact '{pattern}': there is no '{first}'{hint}.")
