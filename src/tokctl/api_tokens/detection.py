"""Finds the secrets of API tokens in any bytes, and says how certain each finding is. Decodes only UTF-16."""

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
MIN_BUFFER_BYTES = 1 << 14  # a smaller file is scanned at once
_OVERLAP = 2 * (len(PREFIX) + _MAX_SECRET_LENGTH)
_HEXADECIMAL = re.compile(r"xvc_[0-9a-f]{64}")
_ZERO_WIDTH_BYTES = bytes(range(0x80, 0xC0)) + b"\0"  # continuation bytes of UTF-8, and the other half in UTF-16


class SecretMatch(NamedTuple):
    """A secret, its offset in bytes, and its line and column, from 1. Columns count characters.

    ``encodings`` are what it was decoded from, the outermost first, and ``member`` is the file of an archive that it is
    in, ``outer.zip!/inner`` for an archive within an archive. The position is then that of the encoded text in this
    file.
    """

    offset: int
    line: int
    column: int
    secret: str
    form: str
    member: str | None = None
    encodings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"SecretMatch(offset={self.offset}, secret={mask(self.secret)!r}, form={self.form!r})"


class Position(NamedTuple):
    """The offset of some bytes in a stream, and the line and the column there, as in ``SecretMatch``."""

    offset: int = 0
    line: int = 1
    column: int = 1

    def advance(self, data: bytes, begin: int, end: int) -> Position:
        """Return the position at ``end``, given that this one is at ``begin``."""
        _, line, column = self
        offset = self.offset + end - begin
        lines = data.count(b"\n", begin, end)
        if lines:
            line, column, begin = line + lines, 1, data.rfind(b"\n", begin, end) + 1
        return Position(offset, line, column + len(data[begin:end].translate(None, _ZERO_WIDTH_BYTES)))


class SecretFinder:
    """Finds the secrets in a stream in their order, however it is cut into pieces. Holds a few pieces in memory."""

    def __init__(self) -> None:
        self._data, self._position = b"", Position()

    def feed(self, piece: bytes) -> list[SecretMatch]:
        """Take the next piece; return the secrets that are certain to be complete."""
        data = self._data = self._data + piece
        if len(data) < MIN_BUFFER_BYTES:
            return []
        limit = len(data) - _OVERLAP
        found = match_secrets(data, limit, self._position)
        self._position = self._position.advance(data, 0, limit)
        self._data = data[limit:]
        return found

    def finish(self) -> list[SecretMatch]:
        """Return the secrets at the end of the stream."""
        data, self._data = self._data, b""
        return match_secrets(data, len(data), self._position)


def find_secrets(pieces: Iterable[bytes]) -> Iterator[SecretMatch]:
    """Yield the secrets in a stream in their order."""
    finder = SecretFinder()
    for piece in pieces:
        yield from finder.feed(piece)
    yield from finder.finish()


def has_secret(data: bytes) -> bool:
    """Return whether some bytes may contain a secret. Fast, and never wrong if it says no."""
    return _PREFIX in data or (b"\0" in data and _WIDE_PREFIX in data)


def match_secrets(data: bytes, limit: int, position: Position) -> list[SecretMatch]:
    """Return the secrets that begin before ``limit``. ``position`` is that of the data's beginning."""
    seen = 0
    found = []
    for begin, secret, form in _candidates(data):
        if begin >= limit:
            break
        position = position.advance(data, seen, begin)
        seen = begin
        found.append(SecretMatch(*position, secret, form))
    return found


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
