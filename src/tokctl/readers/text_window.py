"""A window on the text of a long input, and a scanner for single JSON values in it.

The window handles JSON syntax; ``stream`` interprets the values.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable
from itertools import chain

import msgspec
from msgspec import Raw

from tokctl.errors import InputError
from tokctl.readers.encodings import detect_encoding, encoding_name
from tokctl.readers.foreign_formats import MAGIC_BYTES, ForeignFormat, detect_magic
from tokctl.readers.json_faults import TRUNCATED, find_fault

MAX_MEMBER_CHARACTERS = 1 << 28
"""The longest member of an object that is read, such as a string. It has to be in memory as a whole."""

MAX_EXPLAINED_CHARACTERS = 8 << 20
"""How far into a value the reason is searched for why it is not JSON; it takes a second for each million."""

RECORD_SEPARATOR = "\x1e"
"""Begins each record of a JSON text sequence (RFC 7464)."""

_SPACE = re.compile(r"[ \t\r\n]*")
_scan_value = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode  # numbers of any size
_raw_decoder = msgspec.json.Decoder(Raw)


class ValueTooLong(Exception):  # noqa: N818 - a signal, not an error
    """A value is longer than the limit that ``TextWindow.scan`` was given."""


class TextWindow:
    """The part of the input's text that is in memory: ``buffer``, whose first ``offset`` characters are read.

    ``ended`` tells that the buffer reaches to the end of the input, ``line`` and ``column`` are those of its first
    character, counted from 1. Lengths are in characters. The encoding is detected. In a JSON text sequence (RFC 7464),
    the record separators become spaces: JSON cannot contain them.
    """

    def __init__(self, chunks: Iterable[bytes], name: str) -> None:
        self.name = name
        self.buffer = ""
        self.offset = 0
        self.ended = False
        self.line = 1
        self.column = 1
        self._chunks = iter(chunks)
        self._encoding = ""
        """Empty until the first bytes are read."""
        self._decoder: codecs.IncrementalDecoder = codecs.getincrementaldecoder("utf-8")()
        self._is_sequence: bool | None = None
        """Whether the input is a JSON text sequence; None until its first character is known."""

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
            InputError: the input is binary data, or text in an unknown encoding.
        """
        available = self.available
        if available >= size or self.ended:
            return not self.ended
        if not self._encoding:
            self._detect_encoding()
        pieces = [self.buffer[self.offset :]]
        while available < size and not self.ended:
            chunk = next(self._chunks, None)  # an empty piece is not the end: gzip headers unpack to nothing
            try:
                piece = self._decoder.decode(chunk or b"", final=chunk is None)
            except UnicodeDecodeError as error:
                raise self._encoding_error(error, pieces) from None
            if self._is_sequence is None and (first := piece.lstrip(" \t\r\n")[:1]):
                self._is_sequence = first == RECORD_SEPARATOR
            pieces.append(piece.replace(RECORD_SEPARATOR, " ") if self._is_sequence else piece)
            available += len(pieces[-1])
            self.ended = chunk is None
        if (line_break := self.buffer.rfind("\n", 0, self.offset)) >= 0:  # searching is ten times as fast as counting
            self.line += self.buffer.count("\n", 0, self.offset)
            self.column = self.offset - line_break
        else:
            self.column += self.offset
        self.buffer = "".join(pieces)
        self.offset = 0
        return True

    def _detect_encoding(self) -> None:
        beginning = b""
        while len(beginning) < MAGIC_BYTES and (chunk := next(self._chunks, None)) is not None:
            beginning += chunk
        if foreign := detect_magic(beginning):
            raise self.foreign_format_error(foreign)
        self._encoding, mark = detect_encoding(beginning)
        self._chunks = chain([beginning[mark:]], self._chunks)
        self._decoder = codecs.getincrementaldecoder(self._encoding)()

    def _encoding_error(self, error: UnicodeDecodeError, pieces: list[str]) -> InputError:
        good = error.object[: error.start].decode(self._encoding)
        line = self.line + sum(text.count("\n") for text in (self.buffer[: self.offset], *pieces, good))
        name = encoding_name(self._encoding)
        return InputError(
            f"{self.name}: line {line}: not {name} text: {error.reason}.",
            "The input is damaged, binary data, or text in another encoding: save it as UTF-8.",
        )

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
            raise self.syntax_error(TRUNCATED if at_end else f"expected '{character}'")
        self.offset += 1

    def has_next(self, close: str, *, first: bool) -> bool:
        """Read what comes before the next item of a container: a comma, or the sign that closes it; False if so."""
        if self.peek() == close:
            self.offset += 1
            return False
        if not first:
            self.expect(",")
            if self.peek() == close:
                raise self.syntax_error(f"remove the comma before '{close}'")
        return True

    def find_line_end(self, start: int, limit: int) -> int:
        """Return the position of the next line break from ``start`` on; -1 if there is none within ``limit``."""
        return self.buffer.find("\n", start, start + limit + 1)

    def place(self, offset: int) -> str:
        """Return the line and the column of a place in the buffer, for messages."""
        line_break = self.buffer.rfind("\n", 0, offset)
        column = offset - line_break if line_break >= 0 else self.column + offset
        return f"line {self.line + self.buffer.count(chr(10), 0, offset)}, column {column}"

    def syntax_error(self, reason: str, offset: int | None = None, hint: str = "") -> InputError:
        """Return an error with the line and column of a place in the buffer, by default of the next character."""
        return InputError(f"{self.name}: {self.place(self.offset if offset is None else offset)}: {reason}.", hint)

    def foreign_format_error(self, foreign: ForeignFormat) -> InputError:
        """Return the error for an input that is something else than JSON."""
        return self.syntax_error(str(foreign), hint=foreign.hint)

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
                if self.ended or not is_cut:
                    raise self._fault(error) from None
            except RecursionError:
                raise self.syntax_error("nested too deeply") from None
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

    def _fault(self, error: json.JSONDecodeError) -> InputError:
        """Return the error for the next value, in which the standard library found a fault."""
        fault = find_fault(self.buffer[self.offset :]) if error.pos - self.offset < MAX_EXPLAINED_CHARACTERS else None
        if fault is None:
            return self.syntax_error("not JSON", error.pos)
        return self.syntax_error(fault.reason, self.offset + fault.offset)

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
