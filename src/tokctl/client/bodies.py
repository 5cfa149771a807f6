"""Decompresses the bodies of responses as they arrive, and limits their size."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from tokctl.input_files import decompress
from tokctl.text import one_line


class BodyError(Exception):
    """An unusable body; the sender converts it into one of ``tokctl.errors``."""


class TruncatedBodyError(BodyError):
    """The compressed body ended too early."""


class BodyTooLargeError(BodyError):
    """The body is larger than the limit."""


class CorruptBodyError(BodyError):
    """The body does not match the response's headers."""


def decode_body(raw: Iterable[bytes], encoding: str, max_bytes: int, *, declared: int = 0) -> Iterator[bytes]:
    """Yield a body in pieces, decompressed, as they arrive. Raises BodyError.

    ``encoding`` is the value of the header Content-Encoding, ``declared`` the bytes that Content-Length promises, 0 if
    there is none; ``max_bytes`` is the limit of the decompressed size.
    """
    if declared > max_bytes:
        raise BodyTooLargeError
    name = encoding.strip().lower()
    if name in {"", "identity"}:
        pieces: Iterable[bytes] = raw
    elif name in {"gzip", "x-gzip", "deflate"}:
        pieces = decompress(raw)
    else:
        raise CorruptBodyError(f"is compressed as '{one_line(name, 80)}', which was not requested")
    total = 0
    try:
        for piece in pieces:
            total += len(piece)
            if total > max_bytes:
                raise BodyTooLargeError
            yield piece
    except zlib.error:
        raise CorruptBodyError("is damaged: it cannot be decompressed") from None
    except EOFError:
        raise TruncatedBodyError from None
