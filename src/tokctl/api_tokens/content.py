"""Searches a stream for secrets, also in what is encoded, compressed or archived in it, in bounded time and memory."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import IO, NamedTuple

from tokctl.api_tokens import archives, encodings
from tokctl.api_tokens.archives import COMPRESSIONS, TAR, ZIP, ArchiveError, Member
from tokctl.api_tokens.detection import (
    MIN_BUFFER_BYTES,
    Position,
    SecretFinder,
    SecretMatch,
    has_secret,
    match_secrets,
)
from tokctl.api_tokens.encodings import EncodedPart
from tokctl.api_tokens.masking import mask_secrets

MAX_DEPTH = 8
"""Encodings, compressions and archives within each other. A tar.gz file is two."""
MAX_DECODED_BYTES = 1 << 30
"""What one file may be decoded to, and MAX_DECODED_RATIO times its size."""
MAX_DECODED_BYTES_IN_ALL = 1 << 32
"""What all files may be decoded to, and MAX_DECODED_RATIO times their size."""
MAX_DECODED_RATIO = 16
MAX_ENCODED_BYTES = 1 << 22
"""A longer base64 text is decoded in parts of this size, so that compressed data in it counts as incomplete."""

_UTF16 = "utf-16"
_UTF16_LE, _UTF16_BE = "utf-16-le", "utf-16-be"
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_UTF16_TEXT = re.compile(rb"\0[\x01-\x7f]\0[\x01-\x7f]\0[\x01-\x7f]\0")
_PACKED = encodings.compile_prefixes(archives.BEGINNINGS)
_OVERLAP = 1 << 12  # characters of the longest encoded secret
_MEMBER_COST = 1 << 11  # bytes that are decoded in the time that a small file of an archive takes
_PIECE_COST = 1 << 9
_MAX_NAME_LENGTH = 500


OpenFile = Callable[[], IO[bytes]]


class DecodingLimitError(Exception):
    """More has been decoded than is allowed."""


class _Layer(NamedTuple):
    """What some content was decoded from: see ``SecretMatch``. ``place`` is the position of the last encoded text."""

    encodings: tuple[str, ...] = ()
    member: str | None = None
    place: str | None = None

    @property
    def depth(self) -> int:
        return len(self.encodings)

    def enter(self, encoding: str, place: str | None = None) -> _Layer:
        return self._replace(encodings=(*self.encodings, encoding), place=place or self.place)

    def enter_member(self, name: str | bytes) -> _Layer:
        shown = format_path(name)
        if len(shown) > _MAX_NAME_LENGTH:
            shown = shown[:_MAX_NAME_LENGTH] + "…"
        parts = (self.member, self.place, shown.lstrip("/"))
        return self._replace(member="!/".join(part for part in parts if part is not None), place=None)


def format_path(path: str | bytes) -> str:
    """Return a path as text: secrets are masked, and bytes that are not UTF-8 are escaped."""
    encoded = path.encode(errors="surrogateescape") if isinstance(path, str) else path
    return b"".join(mask_secrets([encoded])).decode("utf-8", "backslashreplace")


class ContentSearch:
    """Searches one stream after the other."""

    def __init__(self) -> None:
        self._left_in_all = MAX_DECODED_BYTES_IN_ALL
        self._left = 0
        self._decodes = True
        self._report: Callable[[str | None, str], object] = lambda _member, _why: None

    def search(
        self, pieces: Iterable[bytes], skip: Callable[[str | None, str], object], file: OpenFile | None = None
    ) -> Iterator[SecretMatch]:
        """Yield the secrets in a stream, and read it to its end.

        Args:
            pieces: the stream.
            skip: called with the file of an archive (None: all of the stream) that is not searched, and the reason.
            file: opens the same data as a file that can be read from any offset, if there is one.
        """
        self._report = skip
        self._left = MAX_DECODED_BYTES
        self._decodes = True
        yield from self._search(self._count(pieces), _Layer(), file)

    def _search(self, pieces: Iterable[bytes], layer: _Layer, file: OpenFile | None = None) -> Iterator[SecretMatch]:
        pieces = iter(pieces)
        head = next(pieces, b"")
        while len(head) < archives.HEAD_BYTES and (more := next(pieces, None)) is not None:
            head += more
        kind = archives.identify(head) or _identify_utf16(head)
        whole = chain((head,), pieces)
        if kind is not None and layer.depth < MAX_DEPTH:
            yield from self._search_packed(kind, whole, layer, file)
            return
        if kind is not None:
            self._report(layer.member, f"nested more than {MAX_DEPTH} deep")
        elif (closed := archives.identify_unsupported(head)) is not None:
            self._report(layer.member, f"{closed} is not opened")
        yield from self._search_text(whole, layer)

    # --- compressed data and archives ---

    def _search_packed(
        self, kind: str, pieces: Iterator[bytes], layer: _Layer, file: OpenFile | None
    ) -> Iterator[SecretMatch]:
        """Yield the secrets in what is decoded, and then those that are only in the bytes themselves."""
        finder = SecretFinder()
        outer: list[SecretMatch] = []
        inner = set()

        def read() -> Iterator[bytes]:
            for piece in pieces:
                outer.extend(finder.feed(piece))
                yield piece

        reading = read()
        try:
            for hit in self._unpack(kind, reading, layer.enter(kind), file):
                inner.add(hit.secret)
                yield hit
        except ArchiveError as error:
            self._report(layer.member, str(error))
        except DecodingLimitError as error:
            if layer.depth:
                raise
            self._report(None, str(error))
        for _ in reading:
            pass
        outer += finder.finish()
        for hit in outer:
            if hit.secret not in inner:
                yield hit._replace(member=layer.member, encodings=layer.encodings)

    def _unpack(
        self, kind: str, pieces: Iterator[bytes], layer: _Layer, file: OpenFile | None
    ) -> Iterator[SecretMatch]:
        if kind in COMPRESSIONS:
            yield from self._search(self._charge_pieces(archives.decompress(kind, pieces)), layer)
        elif kind == TAR:
            yield from self._search_members(archives.read_tar(pieces), layer)
        elif kind == ZIP:
            with archives.spool(pieces) if file is None else file() as whole:
                yield from self._search_members(archives.read_zip(whole, self._charge), layer)
        else:
            yield from self._search(self._charge_pieces(_transcode(kind, pieces)), layer)

    def _search_members(self, members: Iterator[Member], layer: _Layer) -> Iterator[SecretMatch]:
        for member in members:
            self._charge(_MEMBER_COST)
            inner = layer.enter_member(member.name)
            if member.fault:
                self._report(inner.member, member.fault)
                continue
            try:
                yield from self._search(self._charge_pieces(member.pieces), inner)
            except ArchiveError as error:
                self._report(inner.member, str(error))

    # --- text ---

    def _search_text(self, pieces: Iterable[bytes], layer: _Layer) -> Iterator[SecretMatch]:
        data, position, needed = b"", Position(), MIN_BUFFER_BYTES
        known: list[tuple[int, int, str]] = []  # begin, end and secret of what was found
        for piece in chain(pieces, (None,)):
            data += piece or b""
            if piece is not None and len(data) < needed:
                continue
            parts = encodings.find_parts(data, _may_contain, _PACKED) if self._decodes else []
            limit = len(data)
            if piece is not None:
                limit -= _OVERLAP
                # What reaches to the end may go on.
                begin = min((part.begin for part in parts if part.end > limit), default=limit)
                if len(data) - begin < MAX_ENCODED_BYTES:
                    limit = min(begin, limit)
            found = match_secrets(data, limit, position)
            known += ((hit.offset, hit.offset + 1, hit.secret) for hit in found)
            for hit in self._search_parts(data, (part for part in parts if part.begin < limit), position, layer):
                if not any(
                    hit.secret == secret and begin < hit.end and hit.begin < end for begin, end, secret in known
                ):
                    known.append((hit.begin, hit.end, hit.secret))
                    found.append(hit.match)
            found.sort(key=lambda hit: hit.offset)
            for match in found:
                yield match if match.encodings else match._replace(member=layer.member, encodings=layer.encodings)
            if piece is None:
                return
            position = position.advance(data, 0, limit)
            known = [one for one in known if one[1] > position.offset]
            data = data[limit:]
            needed = max(MIN_BUFFER_BYTES, 2 * len(data))

    def _search_parts(
        self, data: bytes, parts: Iterable[EncodedPart], position: Position, layer: _Layer
    ) -> Iterator[_PartHit]:
        start, seen = position.offset, 0
        try:
            for kind, begin, end in parts:
                text = data[begin:end]
                for decoded in encodings.decode_part(kind, text):
                    self._charge(len(decoded))
                    if decoded == text or not _may_hold(decoded):
                        continue
                    if layer.depth == MAX_DEPTH:
                        self._report(layer.member, f"encoded more than {MAX_DEPTH} times")
                        continue
                    position, seen = position.advance(data, seen, begin), begin
                    inner = layer.enter(kind, f"{position.line}:{position.column}")
                    for hit in self._search((decoded,), inner):
                        placed = hit if hit.member != layer.member else hit._replace(**position._asdict())
                        yield _PartHit(start + begin, start + end, hit.secret, placed)
        except DecodingLimitError as error:
            if layer.depth:
                raise
            self._decodes = False
            self._report(None, str(error))

    # --- limits ---

    def _count(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            if piece[:1] != b"\0" or piece.strip(b"\0"):  # what is not stored costs nothing
                self._left += MAX_DECODED_RATIO * len(piece)
                self._left_in_all += MAX_DECODED_RATIO * len(piece)
            yield piece

    def _charge_pieces(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._charge(len(piece) + _PIECE_COST)
            yield piece

    def _charge(self, size: int) -> None:
        self._left -= size
        self._left_in_all -= size
        if self._left < 0:
            limit = f"{MAX_DECODED_BYTES >> 30} GiB"
            raise DecodingLimitError(f"it decodes to more than {limit} and {MAX_DECODED_RATIO} times its size")
        if self._left_in_all < 0:
            limit = f"{MAX_DECODED_BYTES_IN_ALL >> 30} GiB"
            raise DecodingLimitError(f"all files decode to more than {limit} and {MAX_DECODED_RATIO} times their size")


class _PartHit(NamedTuple):
    """A secret in an encoded part; ``begin`` and ``end`` are those of the part in the stream."""

    begin: int
    end: int
    secret: str
    match: SecretMatch


def _may_contain(decoded: bytes) -> bool:
    """Return whether some bytes may contain a secret that is not compressed. It is never wrong if it says no."""
    return (
        has_secret(decoded)
        or encodings.may_contain(decoded)
        or (b"\0" in decoded and _UTF16_TEXT.search(decoded) is not None)
    )


def _may_hold(decoded: bytes) -> bool:
    """Return whether some bytes may hold a secret in any form. It is never wrong if it says no."""
    return (
        _may_contain(decoded)
        or archives.identify(decoded) is not None
        or archives.identify_unsupported(decoded) is not None
    )


def _identify_utf16(head: bytes) -> str | None:
    """Return the encoding if it is certain: by the byte order mark, or because nearly every other byte is NUL."""
    if head.startswith(_UTF16_MARKS):
        return _UTF16
    if b"\0" not in head[:2]:
        return None
    even, odd = head[: archives.HEAD_BYTES : 2], head[1 : archives.HEAD_BYTES : 2]
    for zeros, characters, name in ((odd, even, _UTF16_LE), (even, odd, _UTF16_BE)):
        if b"\0" not in characters and zeros.count(b"\0") * 4 >= len(zeros) * 3:
            return name
    return None


def _transcode(kind: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(kind)(errors="replace")
    for piece in pieces:
        yield decoder.decode(piece).encode(errors="replace")
    yield decoder.decode(b"", final=True).encode(errors="replace")
