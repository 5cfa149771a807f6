"""Finds encoded parts of a text and decodes them: base64, percent-encoding, and the escapes of JSON strings."""

from __future__ import annotations

import re
from base64 import b64encode
from binascii import a2b_base64
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import NamedTuple

BASE64, PERCENT, JSON = "base64", "percent", "json"
TEXT_ENCODINGS = frozenset({BASE64, PERCENT, JSON})
MIN_BASE64_LENGTH = 48
"""Base64 of the shortest secret; a line of longer base64 text must have as many characters, except for the last."""

_BASE64_CHARS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"
_MARKS = bytes(97 if code in _BASE64_CHARS else 32 for code in range(256))
_LONG_RUN = b"a" * MIN_BASE64_LENGTH
_NEXT_LINE = rb"[\"']?+\r?\n[ \t]*+[\"']?+[A-Za-z0-9+/_-]"  # also of a string in source code
_MORE_LINES = re.compile(
    rb"(?:%b{%d,}+)*+" % (_NEXT_LINE, MIN_BASE64_LENGTH)
    + rb"(?:%b{1,%d}+(?=[=\"']|[ \t]*+\r?(?:\n|\Z)))?" % (_NEXT_LINE, MIN_BASE64_LENGTH - 1)
)
_LONG_BASE64_LENGTH = 1 << 10
_TO_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_BETWEEN_LINES = b" \t\r\n\"'"

_PERCENT_ESCAPE = re.compile(rb"%[0-9A-Fa-f]{2}")
# \n and \/ are in most strings: they matter in base64 text.
_JSON_ESCAPE = re.compile(rb"\\(?:u00[0-7][0-9A-Fa-f]|(?<=[A-Za-z0-9+/_-]{16}\\))")
_ENDLESS = 1 << 62
# In a form, a query or an object, a value begins after the name of its field.
_FIELD_NAMES = re.compile(rb".*[=:,;&]", re.DOTALL)
_JSON_CHARS = bytes(code for code in range(0x21, 0x7F) if code != ord('"'))
_PERCENT_CHARS = bytes(code for code in _JSON_CHARS if code not in b"'<>`\\")
_WORDS = {PERCENT: _PERCENT_CHARS, JSON: _JSON_CHARS}
_REST = {kind: re.compile(rb"[%b]*+" % re.escape(chars)) for kind, chars in _WORDS.items()}
_JSON_ESCAPES = re.compile(rb"\\(?:u([0-9A-Fa-f]{4})|([\"\\/bfnrt]))")
_JSON_CONTROLS = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}


class EncodedPart(NamedTuple):
    """A part of a text that looks encoded: from ``begin`` to ``end``."""

    kind: str
    begin: int
    end: int


def may_contain(data: bytes) -> bool:
    """Return whether some bytes may contain an encoded part. Fast, and never wrong if it says no."""
    return (
        (b"%" in data and _PERCENT_ESCAPE.search(data) is not None)
        or (b"\\" in data and _JSON_ESCAPE.search(data) is not None)
        or _LONG_RUN in data.translate(_MARKS)
    )


def compile_prefixes(beginnings: Iterable[bytes]) -> re.Pattern[bytes]:
    """Return a pattern for base64 text of bytes that begin so, as ``find_parts`` needs it."""
    words = [b64encode(begin)[: len(begin) * 8 // 6] for begin in beginnings]
    words += [word.translate(_TO_URL_SAFE) for word in words]
    return re.compile(rb"[A-Za-z0-9+/_-]{0,3}(?:%b)" % b"|".join(re.escape(word) for word in words))


def find_parts(data: bytes, may_matter: Callable[[bytes], bool], prefixes: re.Pattern[bytes]) -> list[EncodedPart]:
    """Return the parts that look encoded, in their order; parts of several kinds may overlap.

    Most base64 text is something else, such as long names and hashes. It is left out unless it is long, begins with
    ``prefixes``, or ``may_matter`` says that decoded bytes may contain anything of interest. That is asked about the
    base64 text of many parts at once, which is fast.
    """
    clear: list[tuple[int, int]] = []
    unclear: list[tuple[int, int]] = []
    for begin, end in _find_base64(data):
        is_clear = end - begin >= _LONG_BASE64_LENGTH or prefixes.match(data, begin, end)
        (clear if is_clear else unclear).append((begin, end))
    if unclear:
        clear += _filter_base64(data, unclear, may_matter)
    parts = [*_find_words(data, PERCENT, _PERCENT_ESCAPE)] if b"%" in data else []
    if b"\\" in data:
        parts += _find_words(data, JSON, _JSON_ESCAPE)
    if clear:  # what is encoded twice is whole only after the first decoding
        words = sorted((begin, end) for _, begin, end in parts)
        parts += (EncodedPart(BASE64, *one) for one in clear if not _is_within(one, words))
    parts.sort(key=attrgetter("begin"))
    return parts


def _is_within(part: tuple[int, int], words: list[tuple[int, int]]) -> bool:
    at = bisect_right(words, (part[0], _ENDLESS))
    return any(part[1] <= end for _, end in words[max(at - 2, 0) : at])  # a word of each kind


def _find_base64(data: bytes) -> Iterator[tuple[int, int]]:
    marks = data.translate(_MARKS)
    begin = marks.find(_LONG_RUN)
    while begin >= 0:
        end = marks.find(b" ", begin)
        if end < 0:
            end = len(data)
        elif end < len(data) and data[end] in b"\r\n\"'":
            end = _match_end(_MORE_LINES, data, end)
        yield begin, end
        begin = marks.find(_LONG_RUN, end)


def _filter_base64(
    data: bytes, parts: list[tuple[int, int]], may_matter: Callable[[bytes], bool]
) -> list[tuple[int, int]]:
    if not any(map(may_matter, _decode_together(data, parts))):
        return []
    if len(parts) == 1:
        return parts
    half = len(parts) // 2
    return _filter_base64(data, parts[:half], may_matter) + _filter_base64(data, parts[half:], may_matter)


def _decode_together(data: bytes, parts: list[tuple[int, int]]) -> Iterator[bytes]:
    texts = [data[begin:end].translate(_TO_STANDARD, _BETWEEN_LINES) for begin, end in parts]
    joined = b"AAAA".join([text + b"A" * (-len(text) % 4) for text in texts])
    for shift in range(4):
        yield a2b_base64(b"A" * shift + joined + b"A" * (-shift % 4))


def _find_words(data: bytes, kind: str, escape: re.Pattern[bytes]) -> Iterator[EncodedPart]:
    done = 0
    while match := escape.search(data, done):
        begin = done + len(data[done : match.start()].rstrip(_WORDS[kind]))
        begin += _match_end(_FIELD_NAMES, data[begin : match.start()], 0)
        done = _match_end(_REST[kind], data, match.start())
        # What is before a quote may not be an escape of this level.
        end = begin + len(data[begin:done].rstrip(b"\\"))
        if kind == PERCENT or _JSON_ESCAPES.search(data, begin, end):
            yield EncodedPart(kind, begin, end)


def decode_part(kind: str, text: bytes) -> Iterator[bytes]:
    """Yield what a part may mean. Base64 may begin at each of the first four characters."""
    if kind == BASE64:
        text = text.translate(_TO_STANDARD, _BETWEEN_LINES)
        for begin in range(4):
            extra = (len(text) - begin) % 4
            yield a2b_base64(text[begin : len(text) - (extra == 1)] + b"=" * (-extra % 4 if extra > 1 else 0))
    elif kind == PERCENT:
        from urllib.parse import unquote_to_bytes

        yield unquote_to_bytes(text)
    else:
        yield _JSON_ESCAPES.sub(_decode_escape, text)


def _decode_escape(match: re.Match[bytes]) -> bytes:
    code, letter = match.groups()
    return _JSON_CONTROLS.get(letter, letter) if code is None else chr(int(code, 16)).encode(errors="replace")


def _match_end(pattern: re.Pattern[bytes], data: bytes, at: int) -> int:
    match = pattern.match(data, at)
    return match.end() if match else at
