"""The body of an answer: decompressed in small steps, counted, and never believed to be whole before its end."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from tokctl.client.text import one_line

STEP = 1 << 18
"""Bytes that are decompressed at once: a body that is small on its way can be a thousand times as large."""

_EITHER = 32 + zlib.MAX_WBITS  # zlib looks itself whether it is gzip or (as "deflate") its own format


class BodyError(Exception):
    """A body that cannot be used; becomes one of ``tokctl.errors``."""


class TruncatedError(BodyError):
    """It ended too early."""


class OversizedError(BodyError):
    """It is larger than it may be."""


class GarbledError(BodyError):
    """It is not what its headers say."""


def decoded(raw: Iterable[bytes], encoding: str, largest: int, *, declared: int = 0) -> Iterator[bytes]:
    """Yield the pieces of a body as they are once decompressed, at most STEP or as large as they came.

    Args:
        raw: what came.
        encoding: the header Content-Encoding; empty for none.
        largest: how many bytes there may be, decompressed.
        declared: how many the headers say will come.

    Raises:
        BodyError: one of the above.
    """
    if declared > largest:
        raise OversizedError
    name = encoding.strip().lower()
    if name in {"", "identity"}:
        pieces: Iterable[bytes] = raw
    elif name in {"gzip", "x-gzip", "deflate"}:
        pieces = _inflated(raw)
    else:
        raise GarbledError(f"is compressed as '{one_line(name, 80)}', which was not asked for")
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > largest:
            raise OversizedError
        yield piece


def _inflated(raw: Iterable[bytes]) -> Iterator[bytes]:
    inflater = None
    for given in raw:
        rest = given
        while rest:  # output that is held back at a step's end comes later: a checksum always follows it
            inflater = inflater or zlib.decompressobj(_EITHER)
            try:
                piece = inflater.decompress(rest, STEP)
            except zlib.error:
                raise GarbledError("is damaged: it cannot be decompressed") from None
            rest = inflater.unconsumed_tail
            if inflater.eof:
                rest, inflater = inflater.unused_data, None  # gzip may be several, one after the other
            if piece:
                yield piece
    if inflater is not None:
        raise TruncatedError
