"""Masks secrets in a stream of bytes: those of API tokens, and JSON Web Tokens (JWT).

It masks too much rather than too little: ``xvc_`` followed by 16 characters or more, and a JWT from its header on. The
first 8 characters stay. The result does not depend on how the stream is cut into pieces. Memory does not grow with the
length of a secret: only the beginning of a possible secret is held back, from its 9th character on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct

from tokctl.api_tokens.secrets import MASK_LENGTH, PREFIX

MAX_JWT_HEADER_BYTES = 1 << 14
"""Bytes of a JWT's header that are searched; servers refuse longer ones."""

_PREFIX = PREFIX.encode()
_SECRET = re.compile(rb"xvc_[0-9A-Za-z]{16}[0-9A-Za-z_]*+")  # with underscores, as another secret may follow directly
_OPEN_SECRET = re.compile(rb"x(?:v(?:c(?:_[0-9A-Za-z]{0,15}+)?+)?+)?+\Z")
_MAX_OPEN_LENGTH = len(PREFIX) + 15

_BASE64URL_CHARS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_ENCODED_JSON_START = b"eyJ"  # how base64url of a JSON object begins
_PAYLOAD = b"." + _ENCODED_JSON_START
_SECRET_CONTINUATION = re.compile(rb"[0-9A-Za-z_]*+")
_JWT_CONTINUATION = re.compile(rb"[0-9A-Za-z_.-]*+")


class _SecretPattern(Struct, frozen=True):
    """A kind of secret.

    ``find_spans`` yields the begin and end of each in bytes; ``open_start`` returns where, from an offset on, an
    incomplete one may begin (the length of the bytes if nowhere); ``continuation`` matches the rest of one.
    """

    find_spans: Callable[[bytes], Iterator[tuple[int, int]]]
    open_start: Callable[[bytes, int], int]
    continuation: re.Pattern[bytes]


def mask_secrets(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the pieces of a stream with every secret masked, as soon as their content is decided."""
    return _mask_pattern(_mask_pattern(pieces, _JWT), _API_TOKEN)


def mask_text(text: str) -> str:
    """Return a text with every secret in it masked."""
    return b"".join(mask_secrets([text.encode(errors="replace")])).decode()


def _mask_pattern(pieces: Iterable[bytes], kind: _SecretPattern) -> Iterator[bytes]:
    pending, shown, inside = b"", 0, False  # what may begin a secret, and how much of it has been yielded
    for piece in pieces:
        data = pending + (piece[_find_match_end(kind.continuation, piece, 0) :] if inside else piece)
        if len(data) == len(pending):
            continue
        done = 0
        out: list[bytes] = []
        for begin, end in kind.find_spans(data):
            out += data[shown : begin + MASK_LENGTH], b"..."
            done = shown = end
        inside = 0 < done == len(data)
        open_start = len(data) if inside else kind.open_start(data, done)
        pending, until = data[open_start:], min(open_start + MASK_LENGTH, len(data))
        out.append(data[shown:until])
        shown = until - open_start
        if ready := b"".join(out):
            yield ready
    if shown < len(pending):
        yield pending[shown:]


def _find_secret_spans(data: bytes) -> Iterator[tuple[int, int]]:
    first = data.find(_PREFIX)  # many times faster than the pattern if there is none
    if first >= 0:
        for match in _SECRET.finditer(data, first):
            yield match.span()


def _find_open_secret(data: bytes, done: int) -> int:
    found = _OPEN_SECRET.search(data, max(done, len(data) - _MAX_OPEN_LENGTH))
    return found.start() if found else len(data)


def _find_jwt_spans(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the span of each JWT. Payloads are searched first, as they are rarer than words that may be headers."""
    done = 0
    at = data.find(_PAYLOAD)
    while at >= 0:
        begin = _find_jwt_header(data, max(done, at - MAX_JWT_HEADER_BYTES), at)
        if at - begin >= MASK_LENGTH:
            done = _find_match_end(_JWT_CONTINUATION, data, at)
            yield begin, done
        else:
            done = at + 1
        at = data.find(_PAYLOAD, done)


def _find_open_jwt(data: bytes, done: int) -> int:
    for partial in (b".ey", b".e", b"."):
        if data.endswith(partial):
            end = len(data) - len(partial)
            begin = _find_jwt_header(data, max(done, end - MAX_JWT_HEADER_BYTES), end)
            if begin < end:
                return begin
            break
    begin = _find_jwt_header(data, max(done, len(data) - MAX_JWT_HEADER_BYTES), len(data))
    if begin == len(data):
        begin -= 2 * data.endswith(b"ey", done) or data.endswith(b"e", done)
    return begin


def _find_jwt_header(data: bytes, low: int, end: int) -> int:
    """Return where a header begins, from ``low`` on, that ends at ``end``; ``end`` if there is none."""
    word = len(data[low:end].rstrip(_BASE64URL_CHARS)) + low
    begin = data.find(_ENCODED_JSON_START, word, end)
    return end if begin < 0 else begin


def _find_match_end(continuation: re.Pattern[bytes], data: bytes, at: int) -> int:
    match = continuation.match(data, at)
    return match.end() if match else at


_JWT = _SecretPattern(_find_jwt_spans, _find_open_jwt, _JWT_CONTINUATION)
_API_TOKEN = _SecretPattern(_find_secret_spans, _find_open_secret, _SECRET_CONTINUATION)
