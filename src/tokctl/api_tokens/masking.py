"""Masks secrets in a stream of bytes: those of API tokens, and JSON Web Tokens (JWT), in UTF-8 and in UTF-16.

It masks too much rather than too little: ``xvc_`` followed by 16 characters or more, and a JWT from its header on. The
first 8 characters stay. UTF-16 of both byte orders is recognized by the secrets themselves, anywhere in the stream: it
needs no byte order mark, and the rest of the stream stays as it is. The result does not depend on how the stream is
cut into pieces. Memory does not grow with the length of a secret: only the beginning of a possible secret is held back,
from its 9th character on.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

from tokctl.api_tokens.secrets import MASK_LENGTH, PREFIX

MAX_JWT_HEADER_LENGTH = 1 << 14
"""Characters of a JWT's header that are searched; servers refuse longer ones."""

_BASE64URL_CHARS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_ENCODED_JSON_START = b"eyJ"  # how base64url of a JSON object begins


class _SecretPattern(ABC):
    """A kind of secret, whose characters are separated by ``gap``: nothing in UTF-8, a NUL in UTF-16.

    In UTF-16, a secret is searched from the first byte that is not NUL to the last one, in both byte orders.
    """

    continuation: re.Pattern[bytes]
    """Matches the rest of a secret."""

    def __init__(self, gap: bytes) -> None:
        self.gap = gap
        self.step = 1 + len(gap)
        self.shown = MASK_LENGTH * self.step - len(gap)  # bytes of a secret that stay
        self.dots = (gap + b".") * 3

    @abstractmethod
    def find_spans(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Yield the begin and the end of each secret."""

    @abstractmethod
    def find_open(self, data: bytes, done: int) -> int:
        """Return where, from ``done`` on, an incomplete secret may begin; the length of the data if nowhere."""

    def _spread(self, text: bytes) -> bytes:
        return self.gap.join(text[i : i + 1] for i in range(len(text)))


class _ApiToken(_SecretPattern):
    def __init__(self, gap: bytes) -> None:
        super().__init__(gap)
        self._prefix = prefix = self._spread(PREFIX.encode())
        # With underscores, as another secret may follow directly.
        self.continuation = re.compile(rb"(?:%b[0-9A-Za-z_])*+" % gap)
        self._secret = re.compile(rb"%b(?:%b[0-9A-Za-z]){16}(?:%b[0-9A-Za-z_])*+" % (prefix, gap, gap))
        open_secret = rb"(?:%b[0-9A-Za-z]){0,15}+(?:%b)?" % (gap, gap)
        for i in range(len(prefix) - 1, 0, -1):
            open_secret = rb"(?:%b%b)?+" % (prefix[i : i + 1], open_secret)
        self._open = re.compile(rb"x%b\Z" % open_secret)
        self._max_open_length = (len(PREFIX) + 15) * self.step

    def find_spans(self, data: bytes) -> Iterator[tuple[int, int]]:
        first = data.find(self._prefix)  # many times faster than the pattern if there is none
        if first >= 0:
            for match in self._secret.finditer(data, first):
                yield match.span()

    def find_open(self, data: bytes, done: int) -> int:
        found = self._open.search(data, max(done, len(data) - self._max_open_length))
        return found.start() if found else len(data)


class _Jwt(_SecretPattern):
    def __init__(self, gap: bytes) -> None:
        super().__init__(gap)
        self.continuation = re.compile(rb"(?:%b[0-9A-Za-z_.-])*+" % gap)
        self._chars = _BASE64URL_CHARS + gap
        self._start = self._spread(_ENCODED_JSON_START)
        self._payload = self._spread(b"." + _ENCODED_JSON_START)
        self._max_header = MAX_JWT_HEADER_LENGTH * self.step

    def find_spans(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Payloads are searched first, as they are rarer than words that may be headers."""
        done = 0
        at = data.find(self._payload)
        while at >= 0:
            begin = self._find_header(data, max(done, at - self._max_header), at)
            if at - begin >= self.shown:
                done = _find_match_end(self.continuation, data, at + 1)
                yield begin, done
            else:
                done = at + 1
            at = data.find(self._payload, done)

    def find_open(self, data: bytes, done: int) -> int:
        end = len(data) - _count_open_bytes(data, self._payload, 0)
        if end < len(data):
            begin = self._find_header(data, max(done, end - self._max_header), end)
            if begin < end:
                return begin
        begin = self._find_header(data, max(done, len(data) - self._max_header), len(data))
        if begin == len(data):
            begin -= _count_open_bytes(data, self._start, done)
        return begin

    def _find_header(self, data: bytes, low: int, end: int) -> int:
        """Return where a header begins, from ``low`` on, that ends at ``end``; ``end`` if there is none."""
        word = len(data[low:end].rstrip(self._chars)) + low
        begin = data.find(self._start, word, end)
        return end if begin < 0 else begin


_NARROW = (_Jwt(b""), _ApiToken(b""))
_WIDE = (_Jwt(b"\0"), _ApiToken(b"\0"))


def mask_secrets(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the pieces of a stream with every secret masked, as soon as their content is decided."""
    for kind in (*_NARROW, *_WIDE):
        pieces = _mask_pattern(pieces, kind)
    return iter(pieces)


def mask_text(text: str) -> str:
    """Return a text with every secret in it masked."""
    return b"".join(mask_secrets([text.encode(errors="replace")])).decode()


def _mask_pattern(pieces: Iterable[bytes], kind: _SecretPattern) -> Iterator[bytes]:
    pending, shown, inside = b"", 0, False  # what may begin a secret, and how much of it has been yielded
    for piece in pieces:
        if not piece:
            continue
        if kind.gap and not pending and not inside and kind.gap not in piece and not piece.endswith((b"x", b"e")):
            yield piece  # nearly all text: this costs next to nothing
            continue
        data, done = pending + piece, 0
        out: list[bytes] = []
        if inside:
            done = _find_match_end(kind.continuation, data, 0)
            inside = data[done:] in {b"", kind.gap}
            data = data[done:]
            done = 0
        if not inside:
            for begin, end in kind.find_spans(data):
                out += data[shown : begin + kind.shown], kind.dots
                done = shown = end
            inside = done > 0 and data[done:] in {b"", kind.gap}
        open_start = done if inside else kind.find_open(data, done)
        pending = data[open_start:]
        until = open_start if inside else min(open_start + kind.shown, len(data))
        out.append(data[shown:until])
        shown = until - open_start
        if ready := b"".join(out):
            yield ready
    if shown < len(pending):
        yield pending[shown:]


def _count_open_bytes(data: bytes, word: bytes, low: int) -> int:
    """Return how many bytes of a word the data ends with, if not the whole word."""
    return next((size for size in range(len(word) - 1, 0, -1) if data.endswith(word[:size], low)), 0)


def _find_match_end(continuation: re.Pattern[bytes], data: bytes, at: int) -> int:
    match = continuation.match(data, at)
    return match.end() if match else at
