"""Says what is wrong with a text that is not JSON (RFC 8259), and where.

Decoders find out faster that something is wrong, but say it in their own words, and some accept more than JSON.
"""

from __future__ import annotations

import re

import msgspec
from msgspec import Struct

from tokctl.text import one_line, shorten

TRUNCATED = "unexpected end of input: the document is truncated"

_SPACE = re.compile(r"[ \t\r\n]*")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]+|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+')  # without the quote at the end
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_WORD = re.compile(r"[-+.\w]+")
_SCALAR = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null")
_INCOMPLETE = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.|(?:\.[0-9]+)?[eE][+-]?))?|t(?:ru?)?|f(?:a(?:ls?)?)?|n(?:ul?)?")
_REPLACEMENTS = {"True": "true", "False": "false", "None": "null", "undefined": "null"}
_NOT_FINITE = frozenset({"nan", "inf", "infinity"})
_PLAIN_KEY = re.compile(r"[^\s.\[\]]+")
_CLOSING = {"[": "]", "{": "}"}


class JsonFault(Struct, frozen=True):
    """Where and why a text is not JSON.

    ``offset`` is in characters, ``path`` the field, such as ``variables.x``; '' for the document itself.
    """

    offset: int
    path: str
    reason: str


def find_fault(text: str) -> JsonFault | None:
    """Return the first fault of a text that should be one JSON value; None if it has none."""
    try:
        _Scanner(text).scan()
    except _FaultFound as found:
        return found.fault
    return None


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """Return the line and the column of a place in a text, both counted from 1."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


class _FaultFound(Exception):  # noqa: N818 - a signal, not an error
    def __init__(self, fault: JsonFault) -> None:
        super().__init__(fault)
        self.fault = fault


class _Scanner:
    """Reads a text by the grammar of JSON, without recursion. ``keys`` has the index or the name in each container."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.offset = 0
        self.containers: list[str] = []
        self.keys: list[str | int] = []

    def scan(self) -> None:
        """Raise _FaultFound at the first fault."""
        self._read_value()
        while self.containers:
            container = self.containers[-1]
            if self._next() == ",":
                self.offset += 1
                if self._next() == _CLOSING[container]:
                    raise self._fault(f"remove the comma before '{_CLOSING[container]}'")
                self._read_member()
            elif self._next() == _CLOSING[container]:
                self._close()
            else:
                raise self._fault(f"expected ',' or '{_CLOSING[container]}'")
        if self.offset < len(self.text) and (after := self._next()):
            raise self._fault("a second JSON value starts here" if after in '{["' else "expected the end of the JSON")

    def _read_value(self) -> None:
        """Read a value; of a container only the beginning, up to its first item that is not a container."""
        while (first := self._next()) in _CLOSING and first:
            self.containers.append(first)
            self.keys.append(-1)
            self.offset += 1
            if self._next() == _CLOSING[first]:
                self._close()
                return
            self._begin_member()
        if first == '"':
            self._read_string()
        else:
            self._read_scalar()

    def _read_member(self) -> None:
        self._begin_member()
        self._read_value()

    def _begin_member(self) -> None:
        """Read what comes before the value of a member: nothing in an array, its name in an object."""
        key = self.keys[-1]
        if self.containers[-1] == "[":
            self.keys[-1] = key + 1 if isinstance(key, int) else 0
            return
        self.keys[-1] = -1
        first = self._next()
        if first != '"':
            raise self._fault("names must be in double quotes" if first else TRUNCATED)
        start = self.offset
        self._read_string()
        self.keys[-1] = msgspec.json.decode(self.text[start : self.offset], type=str)
        if self._next() != ":":
            raise self._fault("expected ':'")
        self.offset += 1

    def _close(self) -> None:
        self.offset += 1
        self.containers.pop()
        self.keys.pop()

    def _read_string(self) -> None:
        found = _STRING.match(self.text, self.offset)
        end = self.offset + 1 if found is None else found.end()
        after = self.text[end : end + 1]
        if not after or (after == "\\" and len(self.text) - end < 6 and '"' not in self.text[end + 2 :]):
            raise self._fault(TRUNCATED, len(self.text))
        if after == "\\":
            raise self._fault(f"invalid escape '{one_line(self.text[end : end + 2])}'", end)
        if after != '"':
            reason = "a line break within a string: write \\n" if after in "\r\n" else "a control character in a string"
            raise self._fault(reason, end)
        self._check_surrogates(end)
        self.offset = end + 1

    def _check_surrogates(self, end: int) -> None:
        high_end = -1
        for escape in _ESCAPE.finditer(self.text, self.offset, end):
            code = int(escape[1] or "0", 16)
            completes = 0xDC00 <= code < 0xE000 and escape.start() == high_end
            if (high_end >= 0 or 0xDC00 <= code < 0xE000) and not completes:
                raise self._fault(
                    "half a surrogate pair: not a character", escape.start() if high_end < 0 else high_end - 6
                )
            high_end = escape.end() if 0xD800 <= code < 0xDC00 else -1
        if high_end >= 0:
            raise self._fault("half a surrogate pair: not a character", high_end - 6)

    def _read_scalar(self) -> None:
        word = _WORD.match(self.text, self.offset)
        if word and _SCALAR.fullmatch(word[0]):
            self.offset = word.end()
            return
        if word and word.end() == len(self.text) and _INCOMPLETE.fullmatch(word[0]):
            raise self._fault(TRUNCATED, len(self.text))
        if word and word[0].lower().lstrip("+-") in _NOT_FINITE:
            raise self._fault(f'{word[0]} is not JSON: write null, or text such as "{word[0]}"')
        if word and word[0] in _REPLACEMENTS:
            raise self._fault(f"{word[0]} is not JSON: write {_REPLACEMENTS[word[0]]}")
        if word and word[0][0] in "+-.0123456789":
            raise self._fault(f"invalid number '{shorten(word[0])}'")
        after = self._next()
        reasons = {"": TRUNCATED, "'": "strings must be in double quotes", "/": "JSON has no comments"}
        raise self._fault(
            reasons.get(after, f"expected a JSON value, not '{shorten(one_line(word[0] if word else after))}'")
        )

    def _next(self) -> str:
        """Skip white space, and return the next character; '' at the end."""
        space = _SPACE.match(self.text, self.offset)
        self.offset = space.end() if space else self.offset
        return self.text[self.offset : self.offset + 1]

    def _fault(self, reason: str, offset: int | None = None) -> _FaultFound:
        offset = self.offset if offset is None else offset
        if offset >= len(self.text):
            reason, offset = TRUNCATED, len(self.text)
        path = "".join(f"[{key}]" if isinstance(key, int) else _member(key) for key in self.keys if key != -1)
        return _FaultFound(JsonFault(offset, shorten(path.removeprefix("."), 200), reason))


def _member(key: str) -> str:
    plain = one_line(key)
    return f".{plain}" if _PLAIN_KEY.fullmatch(plain) else f'."{plain}"'
