"""Finds the secrets of API tokens in bytes of any kind, and tells how certain it is that they are some."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tokctl.access.secret import CHECKSUM, PREFIX, RANDOM, is_ours, mask

CERTAIN = "certain"
LIKELY = "likely"
POSSIBLE = "possible"
CERTAINTIES = (CERTAIN, LIKELY, POSSIBLE)

TOKCTL = "tokctl"
XIVERCMS = "xivercms"
WRONG_CHECKSUM = "wrong-checksum"
OTHER = "other"
FORMS = {TOKCTL: CERTAIN, XIVERCMS: LIKELY, WRONG_CHECKSUM: POSSIBLE, OTHER: POSSIBLE}
"""Form of a secret → how certain it is that something of that form is one."""

_OURS = len(PREFIX) + RANDOM + CHECKSUM
_LONGEST = 256  # characters after the prefix; nobody's are longer
_PREFIX = PREFIX.encode()
_SECRET = re.compile(rb"xvc_[0-9A-Za-z]{32,%d}+" % _LONGEST)
_WIDE_PREFIX = b"\0".join(b"xvc_"[i : i + 1] for i in range(4))  # UTF-16 of either order
_WIDE_SECRET = re.compile(rb"x\0v\0c\0_(?:\0[0-9A-Za-z]){32,%d}+" % _LONGEST)
_AT_ONCE = 1 << 14  # bytes at least, so that a small file is gone through once
_OVERLAP = 2 * (len(PREFIX) + _LONGEST)
_HEXADECIMAL = re.compile(r"xvc_[0-9a-f]{64}")
_NO_COLUMNS = bytes(range(0x80, 0xC0)) + b"\0"  # what goes on a character of UTF-8, or is half a one of UTF-16


class Found(NamedTuple):
    """A secret and where it stands: its offset in bytes, line and column from 1; the column counts characters."""

    offset: int
    line: int
    column: int
    secret: str
    form: str

    def __repr__(self) -> str:
        return f"Found(offset={self.offset}, secret={mask(self.secret)!r}, form={self.form!r})"


def find_secrets(pieces: Iterable[bytes]) -> Iterator[Found]:
    """Find them in a stream, in their order, wherever it is cut into pieces. A few pieces are in memory at most."""
    data, start, line, column = b"", 0, 1, 1  # where ``data`` starts
    for piece in pieces:
        data += piece
        if len(data) < _AT_ONCE:
            continue
        limit = len(data) - _OVERLAP
        yield from _found(data, limit, start, line, column)
        line, column = _moved(data, 0, limit, line, column)
        data, start = data[limit:], start + limit
    yield from _found(data, len(data), start, line, column)


def _found(data: bytes, limit: int, start: int, line: int, column: int) -> Iterator[Found]:
    """Those that begin before ``limit``; no other begins within one. ``data`` starts at the place that is given."""
    seen = 0
    for begin, secret, form in _candidates(data):
        if begin >= limit:
            return
        line, column = _moved(data, seen, begin, line, column)
        seen = begin
        yield Found(start + begin, line, column, secret, form)


def _candidates(data: bytes) -> Iterator[tuple[int, str, str]]:
    """Where each begins, the secret, its form."""
    narrow = _of_width(data, _SECRET, 1) if _PREFIX in data else ()
    wide = _of_width(data, _WIDE_SECRET, 2) if b"\0" in data and _WIDE_PREFIX in data else ()
    if narrow and wide:
        from heapq import merge

        return merge(narrow, wide)
    return iter(narrow or wide)


def _of_width(data: bytes, pattern: re.Pattern[bytes], width: int) -> Iterator[tuple[int, str, str]]:
    after = 0
    while match := pattern.search(data, after):
        secret, form = _told(match[0].replace(b"\0", b"").decode())
        after = match.start() + len(secret) * width - (width - 1)
        yield match.start(), secret, form


def _told(run: str) -> tuple[str, str]:
    """The secret that a run of characters begins with, and its form: in a binary file more may follow at once."""
    if is_ours(run[:_OURS]):
        return run[:_OURS], TOKCTL
    if hexadecimal := _HEXADECIMAL.match(run):
        return hexadecimal[0], XIVERCMS
    return run, WRONG_CHECKSUM if len(run) == _OURS else OTHER


def _moved(data: bytes, begin: int, end: int, line: int, column: int) -> tuple[int, int]:
    """The line and the column at ``end``, from those at ``begin``."""
    lines = data.count(b"\n", begin, end)
    if lines:
        line, column, begin = line + lines, 1, data.rfind(b"\n", begin, end) + 1
    return line, column + len(data[begin:end].translate(None, _NO_COLUMNS))
