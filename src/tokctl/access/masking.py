"""Hides secrets in a stream of bytes: those of API tokens, and JSON Web Tokens. It is not said whose they are.

Rather too much is hidden than too little: of ``xvc_`` and 16 characters or more, and of a JWT from its header on, the
first 8 characters stay. Wherever the stream is cut into pieces, the result is the same, and no secret has a length
that takes memory: nothing is held back but the beginning of what may yet become one, from its 9th character on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct

from tokctl.access.secret import PREFIX, SHOWN

LONGEST_HEADER = 1 << 14
"""Bytes of a JWT's header that are looked at; what is longer does not pass through any server."""

_PREFIX = PREFIX.encode()
_SECRET = re.compile(rb"xvc_[0-9A-Za-z]{16}[0-9A-Za-z_]*+")  # with the underscore, for another may follow at once
_OPEN_SECRET = re.compile(rb"x(?:v(?:c(?:_[0-9A-Za-z]{0,15}+)?+)?+)?+\Z")
_LONGEST_OPEN = len(PREFIX) + 15

_WEB = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"  # base64url
_JSON = b"eyJ"  # how base64url of a JSON object begins
_PAYLOAD = b"." + _JSON
_SECRET_GOES_ON = re.compile(rb"[0-9A-Za-z_]*+")
_JWT_GOES_ON = re.compile(rb"[0-9A-Za-z_.-]*+")


class _Kind(Struct, frozen=True):
    """A kind of secret: where some stand in bytes, from where on there may be the beginning of one, how one goes on."""

    spans: Callable[[bytes], Iterator[tuple[int, int]]]
    opens: Callable[[bytes, int], int]
    goes_on: re.Pattern[bytes]


def masked(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Pass pieces on with every secret in them masked, as soon as it is certain what a piece holds."""
    return _masked(_masked(pieces, _JWT), _API_TOKEN)


def masked_text(text: str) -> str:
    """Return a text with every secret in it masked."""
    return b"".join(masked([text.encode(errors="replace")])).decode()


def _masked(pieces: Iterable[bytes], kind: _Kind) -> Iterator[bytes]:
    held, shown, inside = b"", 0, False  # the beginning of what may be a secret, and how much of it is out already
    for piece in pieces:
        data = held + (piece[_end(kind.goes_on, piece, 0) :] if inside else piece)
        if len(data) == len(held):
            continue
        done = 0
        out: list[bytes] = []
        for begin, end in kind.spans(data):
            out += data[shown : begin + SHOWN], b"..."
            done = shown = end
        inside = 0 < done == len(data)
        opens = len(data) if inside else kind.opens(data, done)
        held, until = data[opens:], min(opens + SHOWN, len(data))
        out.append(data[shown:until])
        shown = until - opens
        if ready := b"".join(out):
            yield ready
    if shown < len(held):
        yield held[shown:]


def _secret_spans(data: bytes) -> Iterator[tuple[int, int]]:
    first = data.find(_PREFIX)  # many times as quick as the pattern is where there is none
    if first >= 0:
        for match in _SECRET.finditer(data, first):
            yield match.span()


def _open_secret(data: bytes, done: int) -> int:
    found = _OPEN_SECRET.search(data, max(done, len(data) - _LONGEST_OPEN))
    return found.start() if found else len(data)


def _jwt_spans(data: bytes) -> Iterator[tuple[int, int]]:
    """Each from the header, found backwards from the payload: there are few of these, and many words."""
    done = 0
    at = data.find(_PAYLOAD)
    while at >= 0:
        begin = _header(data, max(done, at - LONGEST_HEADER), at)
        if at - begin >= SHOWN:
            done = _end(_JWT_GOES_ON, data, at)
            yield begin, done
        else:
            done = at + 1
        at = data.find(_PAYLOAD, done)


def _open_jwt(data: bytes, done: int) -> int:
    for partial in (b".ey", b".e", b"."):
        if data.endswith(partial):
            end = len(data) - len(partial)
            begin = _header(data, max(done, end - LONGEST_HEADER), end)
            if begin < end:
                return begin
            break
    begin = _header(data, max(done, len(data) - LONGEST_HEADER), len(data))
    if begin == len(data):
        begin -= 2 * data.endswith(b"ey", done) or data.endswith(b"e", done)
    return begin


def _header(data: bytes, low: int, end: int) -> int:
    """Where a header begins that ends at ``end``, not before ``low``; ``end`` where there is none."""
    word = len(data[low:end].rstrip(_WEB)) + low
    begin = data.find(_JSON, word, end)
    return end if begin < 0 else begin


def _end(goes_on: re.Pattern[bytes], data: bytes, at: int) -> int:
    match = goes_on.match(data, at)
    return match.end() if match else at


_JWT = _Kind(_jwt_spans, _open_jwt, _JWT_GOES_ON)
_API_TOKEN = _Kind(_secret_spans, _open_secret, _SECRET_GOES_ON)
