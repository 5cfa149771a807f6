"""What a client says of the answer that it wants: gzip or not, and which version it has already."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import lru_cache

LEVEL = 5
LEAST = 860  # bytes; what is shorter fits into a packet anyhow
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # no name, no time: the same bytes for the same answer
_RAW = -15  # deflate without a frame
_WORD = 0xFFFF_FFFF


@lru_cache(maxsize=256)
def takes_gzip(accepted: bytes) -> bool:
    """Tell whether an ``Accept-Encoding`` takes gzip (RFC 9110, section 12.5.3): named, and not with q=0."""
    star = False
    for part in accepted.decode("latin-1").lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        if name not in {"gzip", "x-gzip", "*"}:
            continue
        wanted = all(_quality(parameter) > 0 for parameter in parameters)
        if name != "*":
            return wanted
        star = wanted
    return star


def _quality(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def is_known(tag: bytes, known: bytes) -> bool:
    """Tell whether an ``If-None-Match`` names a tag, compared weakly (RFC 9110, section 13.1.2), or is ``*``."""
    if known.strip() == b"*":
        return True
    bare = tag.removeprefix(b"W/")
    return any(one.strip().removeprefix(b"W/") == bare for one in known.split(b","))


class Deflated:
    """A body but for its end, compressed once; each answer has its own end, stored as it is.

    Compressing an answer of a thousand tokens takes longer than making it.
    """

    def __init__(self, data: bytes) -> None:
        squeeze = zlib.compressobj(LEVEL, wbits=_RAW)
        self.blocks = _HEADER + squeeze.compress(data) + squeeze.flush(zlib.Z_SYNC_FLUSH)
        self.checksum = zlib.crc32(data)
        self.size = len(data)

    def with_end(self, end: bytes) -> bytes:
        """The whole as gzip (RFC 1952); the end has at most 65,535 bytes."""
        length = len(end)
        return b"".join((
            self.blocks,
            b"\x01", length.to_bytes(2, "little"), (length ^ 0xFFFF).to_bytes(2, "little"), end,
            zlib.crc32(end, self.checksum).to_bytes(4, "little"),
            ((self.size + length) & _WORD).to_bytes(4, "little"),
        ))  # fmt: skip


def gzipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Compress pieces; each comes out whole, so that who reads them need not wait for the next."""
    squeeze = zlib.compressobj(LEVEL, wbits=16 + 15)
    for piece in pieces:
        yield squeeze.compress(piece) + squeeze.flush(zlib.Z_SYNC_FLUSH)
    yield squeeze.flush()
