"""A window on the text of a long input, and a scanner for single JSON values in it.

The window handles JSON syntax; ``stream`` interprets the values.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable

import msgspec
from msgspec import Raw

from tokctl.errors import InputError

MAX_MEMBER_CHARACTERS = 1 << 28
"""The longest member of an object that is read, such as a string. It has to be in memory as a whole."""

_SPACE = re.compile(r"[ \t\r\n]*")
_scan_value = json.JSONDecoder().raw_decode
_raw_decoder = msgspec.json.Decoder(Raw)


class ValueTooLong(Exception):  # noqa: N818 - a signal, not an error
    """A value is longer than the limit that ``TextWindow.scan`` was given."""


class TextWindow:
    """The part of the input's text that is in memory: ``buffer``, whose first ``offset`` characters are read.

    ``ended`` tells that the buffer reaches to the end of the input, ``line`` is the line number of its first
    character. Lengths are in characters.
    """

    def __init__(self, chunks: Iterable[bytes], name: str) -> None:
        self.name = name
        self.buffer = ""
        self.offset = 0
        self.ended = False
        self.line = 1
        self._chunks = iter(chunks)
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()

    @property
    def available(self) -> int:
        """The number of characters that are in memory and not yet read."""
        return len(self.buffer) - self.offset

    def read_chunk(self) -> bool:
        """Append the next piece of the input; False at its end."""
        return self.fill(self.available + 1)

    def fill(self, size: int) -> bool:
        """Read until at least ``size`` unread characters are in memory, or the input ends; False if it had ended.

        Raises:
            InputError: the input is not UTF-8.
        """
        available = self.available
        if available >= size or self.ended:
            return not self.ended
        pieces = [self.buffer[self.offset :]]
        while available < size and not self.ended:
            chunk = next(self._chunks, None)  # an empty piece is not the end: gzip headers unpack to nothing
            try:
                pieces.append(self._decoder.decode(chunk or b"", final=chunk is None))
            except UnicodeDecodeError as error:
                line = self.line + sum(piece.count("\n") for piece in (self.buffer[: self.offset], *pieces))
                line += error.object.count(b"\n", 0, error.start)
                raise InputError(f"{self.name}: line {line}: not UTF-8 text: {error.reason}.") from None
            available += len(pieces[-1])
            self.ended = chunk is None
        if self.buffer.find("\n", 0, self.offset) >= 0:  # searching is ten times as fast as counting
            self.line += self.buffer.count("\n", 0, self.offset)
        self.buffer = "".join(pieces)
        self.offset = 0
        return True

    def peek(self) -> str:
        """Skip white space and return the next character without reading it; '' at the end of the input."""
        while True:
            match = _SPACE.match(self.buffer, self.offset)
            self.offset = match.end() if match else self.offset
            if self.offset < len(self.buffer):
                return self.buffer[self.offset]
            if not self.read_chunk():
                return ""

    def expect(self, character: str) -> None:
        """Read a character, after white space. Raises InputError if another one comes."""
        if self.peek() != character:
            at_end = self.ended and self.offset >= len(self.buffer)
            raise self.syntax_error("unexpected end of input" if at_end else f"expected '{character}'")
        self.offset += 1

    def find_line_end(self, start: int, limit: int) -> int:
        """Return the position of the next line break from ``start`` on; -1 if there is none within ``limit``."""
        return self.buffer.find("\n", start, start + limit + 1)

    def syntax_error(self, reason: str, offset: int | None = None) -> InputError:
        """Return an error with the line and column of a place in the buffer, by default of the next character."""
        offset = self.offset if offset is None else offset
        line = self.line + self.buffer.count("\n", 0, offset)
        column = offset - self.buffer.rfind("\n", 0, offset)
        return InputError(f"{self.name}: line {line}, column {column}: {reason}.")

    def scan(self, limit: int) -> str:
        """Read one JSON value and return its text.

        The value may be JSON for the standard library only; see ``is_strict_json``.

        Raises:
            ValueTooLong: the value is longer than ``limit``; nothing has been read.
            InputError: it is not JSON, or the input ends in the middle of it.
        """
        if self._is_longer_than(limit):
            raise ValueTooLong
        more = 0
        while True:
            try:
                _, end = _scan_value(self.buffer, self.offset)
            except json.JSONDecodeError as error:
                # A value that is cut off fails near its end, or at the quote that opens its last string.
                is_cut = error.pos >= len(self.buffer) - 16 or error.msg.startswith("Unterminated string")
                if self.ended and is_cut:
                    raise self.syntax_error("unexpected end of input", error.pos) from None
                if not is_cut:
                    raise self.syntax_error(f"not JSON: {error.msg}", error.pos) from None
            except RecursionError:
                raise self.syntax_error("nested too deeply") from None
            except ValueError:  # of Python's conversion to int
                raise self.syntax_error("a number has too many digits") from None
            else:
                if self.ended or self.buffer[end : end + 1] not in ".eE":  # a number at the end may continue
                    if end - self.offset > limit:
                        raise ValueTooLong
                    text = self.buffer[self.offset : end]
                    self.offset = end
                    return text
            if self.available > limit:
                raise ValueTooLong
            more = max(2 * more, 1 << 16)  # doubled, because each try scans from the start of the value
            self.fill(self.available + more)

    def scan_member(self) -> str:
        """Read one JSON value of an object and return its text. Raises InputError, also for one that is too long."""
        try:
            return self.scan(MAX_MEMBER_CHARACTERS)
        except ValueTooLong:
            raise self.syntax_error(f"a value is longer than {MAX_MEMBER_CHARACTERS:,} characters") from None

    def skip_line(self, kept: int) -> str:
        """Read to the end of the line, however long it is, and return its first ``kept`` characters."""
        beginning = self.buffer[self.offset : self.offset + kept]
        while (end := self.buffer.find("\n", self.offset)) < 0:
            self.offset = len(self.buffer)
            if not self.read_chunk():
                return beginning
        self.offset = end + 1
        return beginning

    def _is_longer_than(self, limit: int) -> bool:
        """Tell whether the next value is longer than ``limit``, by decoding that much of it (which is fast)."""
        if limit > self.available:
            return False
        try:
            _raw_decoder.decode(self.buffer[self.offset : self.offset + limit])
        except msgspec.DecodeError as error:
            return "truncated" in str(error)
        except (UnicodeError, RecursionError):
            pass
        return False


def scan_prefix(text: str, start: int) -> int:
    """Return where the JSON value that starts in a text ends. Raises json.JSONDecodeError and RecursionError."""
    return _scan_value(text, start)[1]


def is_strict_json(text: str) -> bool:
    """Tell whether a value that the standard library takes for JSON is JSON: no ``NaN``, no half surrogate pair."""
    try:
        _raw_decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeError):
        return False
    return True
