"""Content negotiation: ``Accept-Encoding``, ``If-None-Match``, and gzip."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import lru_cache

COMPRESSION_LEVEL = 5
MIN_COMPRESSED_BYTES = 860  # a shorter body fits into one packet anyway
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # no name, no time: equal bodies compress to equal bytes
_RAW = -15  # deflate without a frame
_WORD = 0xFFFF_FFFF


@lru_cache(maxsize=256)
def accepts_gzip(accepted: bytes) -> bool:
    """Return whether an ``Accept-Encoding`` accepts gzip (RFC 9110, section 12.5.3): named, and not with q=0."""
    star = False
    for part in accepted.decode("latin-1").lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        if name not in {"gzip", "x-gzip", "*"}:
            continue
        wanted = all(_parse_quality(parameter) > 0 for parameter in parameters)
        if name != "*":
            return wanted
        star = wanted
    return star


def _parse_quality(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def matches_etag(tag: bytes, known: bytes) -> bool:
    """Return whether an ``If-None-Match`` has the tag, by weak comparison (RFC 9110, section 13.1.2), or is ``*``."""
    if known.strip() == b"*":
        return True
    bare = tag.removeprefix(b"W/")
    return any(one.strip().removeprefix(b"W/") == bare for one in known.split(b","))


class CompressedBody:
    """A body without its end, compressed once. The end, which differs in each response, is stored uncompressed.

    Compressing a response of a thousand tokens takes longer than making it.
    """

    def __init__(self, data: bytes) -> None:
        compressor = zlib.compressobj(COMPRESSION_LEVEL, wbits=_RAW)
        self.blocks = _HEADER + compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
        self.checksum = zlib.crc32(data)
        self.size = len(data)

    def to_gzip(self, end: bytes) -> bytes:
        """Return the body with its end as gzip (RFC 1952); the end has at most 65,535 bytes."""
        length = len(end)
        return b"".join(
            (
                self.blocks,
                b"\x01",
                length.to_bytes(2, "little"),
                (length ^ 0xFFFF).to_bytes(2, "little"),
                end,
                zlib.crc32(end, self.checksum).to_bytes(4, "little"),
                ((self.size + length) & _WORD).to_bytes(4, "little"),
            )
        )


def compress_pieces(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Compress pieces, each flushed, so that the client can read it before the next one is made."""
    compressor = zlib.compressobj(COMPRESSION_LEVEL, wbits=16 + 15)
    for piece in pieces:
        yield compressor.compress(piece) + compressor.flush(zlib.Z_SYNC_FLUSH)
    yield compressor.flush()
