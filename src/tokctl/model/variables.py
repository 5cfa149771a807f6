"""Variables to search by: the values of an instance's variables by name, and conditions on them.

Searchable are texts, numbers, booleans and null, also inside objects, where the name is a path such as
``customer.id``. Elements of lists and values of more than MAX_SEARCHED_CHARACTERS characters are not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import msgspec
from msgspec import Raw, Struct

from tokctl.errors import UsageError
from tokctl.model.json_values import decode_value

MAX_SEARCHED_CHARACTERS = 255
_INT64 = range(-(1 << 63), 1 << 63)

Searchable = str | int | float
"""A value to search for. Booleans, null and numbers beyond 64 bits are the text of their JSON."""


def searchable_variables(variables: Raw) -> Iterator[tuple[str, Searchable]]:
    """Yield (name, value) of the variables that can be searched by; nothing if they are unknown or not an object."""
    try:
        decoded = decode_value(variables)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return
    pending: list[tuple[str, Any]] = [("", decoded)] if isinstance(decoded, dict) else []
    while pending:
        prefix, members = pending.pop()
        for key, value in members.items():
            name = prefix + key
            if isinstance(value, dict):
                pending.append((f"{name}.", value))
            elif not isinstance(value, list):
                found = _to_searchable(value)
                if not isinstance(found, str) or len(found) <= MAX_SEARCHED_CHARACTERS:
                    yield name, found


def _to_searchable(value: Any) -> Searchable:
    """Return equal values for equal numbers: 12 for 12.0."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Raw):
        text = bytes(value).decode()
        value = float(text)
        if not math.isfinite(value) or not value:
            return text
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, float) or value in _INT64 else str(value)


class VariableCondition(Struct, frozen=True):
    """A condition on a variable: ``NAME=VALUE``, or ``NAME~PATTERN`` with the wildcards * ? [a-z].

    A value is compared as text and as JSON: 12 finds the number 12 and the text "12". A pattern is compared with
    the text of the value. If several variables have the name, one that matches is enough.
    """

    name: str
    value: str
    is_pattern: bool = False

    def __str__(self) -> str:
        return f"{self.name}{'~' if self.is_pattern else '='}{self.value}"

    @property
    def values(self) -> tuple[Searchable, ...]:
        """The values that are equal to ``value``: its text, and the number that it is."""
        try:
            number = decode_value(self.value)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return (self.value,)
        if isinstance(number, bool) or not isinstance(number, int | float | Raw):
            return (self.value,)
        return (self.value, _to_searchable(number))

    def matches(self, variables: Raw) -> bool:
        """Tell whether an instance with these variables matches."""
        found = [value for name, value in searchable_variables(variables) if name == self.name]
        if self.is_pattern:
            return any(fnmatchcase(str(value), self.value) for value in found)
        return any(value in self.values for value in found)


def parse_variable_condition(text: str) -> VariableCondition:
    """Parse ``NAME=VALUE`` or ``NAME~PATTERN``; the first = or ~ ends the name.

    Raises:
        UsageError: there is neither = nor ~, or no name.
    """
    position = min((at for at in map(text.find, "=~") if at >= 0), default=0)
    if position < 1:
        raise UsageError(f"invalid variable '{text}'.", "Use NAME=VALUE or NAME~PATTERN, for example orderId=ORD-13.")
    return VariableCondition(text[:position], text[position + 1 :], text[position] == "~")
