"""Finds the secrets of API tokens in any bytes, and says how certain each finding is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tokctl.api_tokens.secrets import CHECKSUM_LENGTH, PREFIX, RANDOM_LENGTH, is_tokctl_secret, mask

CERTAIN = "certain"
LIKELY = "likely"
POSSIBLE = "possible"
CERTAINTIES = (CERTAIN, LIKELY, POSSIBLE)

TOKCTL = "tokctl"
XIVERCMS = "xivercms"
WRONG_CHECKSUM = "wrong-checksum"
OTHER = "other"
FORM_CERTAINTY = {TOKCTL: CERTAIN, XIVERCMS: LIKELY, WRONG_CHECKSUM: POSSIBLE, OTHER: POSSIBLE}
"""Form of a finding → how certain it is that it is a secret."""

_SECRET_LENGTH = len(PREFIX) + RANDOM_LENGTH + CHECKSUM_LENGTH
_MAX_SECRET_LENGTH = 256  # characters after the prefix; no known server has longer secrets
_PREFIX = PREFIX.encode()
_SECRET = re.compile(rb"xvc_[0-9A-Za-z]{32,%d}+" % _MAX_SECRET_LENGTH)
_WIDE_PREFIX = b"\0".join(b"xvc_"[i : i + 1] for i in range(4))  # UTF-16, of both byte orders
_WIDE_SECRET = re.compile(rb"x\0v\0c\0_(?:\0[0-9A-Za-z]){32,%d}+" % _MAX_SECRET_LENGTH)
_MIN_BUFFER_BYTES = 1 << 14  # a smaller file is scanned at once
_OVERLAP = 2 * (len(PREFIX) + _MAX_SECRET_LENGTH)
_HEXADECIMAL = re.compile(r"xvc_[0-9a-f]{64}")
_ZERO_WIDTH_BYTES = bytes(range(0x80, 0xC0)) + b"\0"  # continuation bytes of UTF-8, and the other half in UTF-16


class SecretMatch(NamedTuple):
    """A secret, its offset in bytes, and its line and column, from 1. Columns count characters."""

    offset: int
    line: int
    column: int
    secret: str
    form: str

    def __repr__(self) -> str:
        return f"SecretMatch(offset={self.offset}, secret={mask(self.secret)!r}, form={self.form!r})"


def find_secrets(pieces: Iterable[bytes]) -> Iterator[SecretMatch]:
    """Yield the secrets in a stream in their order, however it is cut into pieces. Holds a few pieces in memory."""
    data, start, line, column = b"", 0, 1, 1  # of the beginning of ``data``
    for piece in pieces:
        data += piece
        if len(data) < _MIN_BUFFER_BYTES:
            continue
        limit = len(data) - _OVERLAP
        yield from _scan_buffer(data, limit, start, line, column)
        line, column = _advance_position(data, 0, limit, line, column)
        data, start = data[limit:], start + limit
    yield from _scan_buffer(data, len(data), start, line, column)


def _scan_buffer(data: bytes, limit: int, start: int, line: int, column: int) -> Iterator[SecretMatch]:
    """Yield the secrets that begin before ``limit``. ``start``, ``line`` and ``column`` are those of ``data``."""
    seen = 0
    for begin, secret, form in _candidates(data):
        if begin >= limit:
            return
        line, column = _advance_position(data, seen, begin, line, column)
        seen = begin
        yield SecretMatch(start + begin, line, column, secret, form)


def _candidates(data: bytes) -> Iterator[tuple[int, str, str]]:
    """Yield the offset, the text and the form of each secret."""
    narrow = _find_encoded(data, _SECRET, 1) if _PREFIX in data else ()
    wide = _find_encoded(data, _WIDE_SECRET, 2) if b"\0" in data and _WIDE_PREFIX in data else ()
    if narrow and wide:
        from heapq import merge

        return merge(narrow, wide)
    return iter(narrow or wide)


def _find_encoded(data: bytes, pattern: re.Pattern[bytes], width: int) -> Iterator[tuple[int, str, str]]:
    after = 0
    while match := pattern.search(data, after):
        secret, form = _classify(match[0].replace(b"\0", b"").decode())
        after = match.start() + len(secret) * width - (width - 1)
        yield match.start(), secret, form


def _classify(run: str) -> tuple[str, str]:
    """Return the secret at the beginning of a run of characters, and its form. In binary files, more may follow."""
    if is_tokctl_secret(run[:_SECRET_LENGTH]):
        return run[:_SECRET_LENGTH], TOKCTL
    if hexadecimal := _HEXADECIMAL.match(run):
        return hexadecimal[0], XIVERCMS
    return run, WRONG_CHECKSUM if len(run) == _SECRET_LENGTH else OTHER


def _advance_position(data: bytes, begin: int, end: int, line: int, column: int) -> tuple[int, int]:
    """Return the line and the column at ``end``, given those at ``begin``."""
    lines = data.count(b"\n", begin, end)
    if lines:
        line, column, begin = line + lines, 1, data.rfind(b"\n", begin, end) + 1
    return line, column + len(data[begin:end].translate(None, _ZERO_WIDTH_BYTES))
