"""Reads compressed data and archives piece by piece: gzip, bzip2, xz, tar and zip. Nothing is written to a path.

Archives are hostile: names are only texts, links are not followed, and no declared size is believed. Who consumes the
pieces decides how much is decoded.
"""

from __future__ import annotations

import re
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import IO, Any, NamedTuple, cast

PIECE_BYTES = 1 << 18
HEAD_BYTES = 512
"""Bytes from the beginning of a stream that show what it is."""
MAX_SPOOL_BYTES = 1 << 28
"""The longest zip archive that is read from a stream, which cannot be read from its end as a file can."""

GZIP, BZIP2, XZ, TAR, ZIP = "gzip", "bzip2", "xz", "tar", "zip"
COMPRESSIONS = frozenset({GZIP, BZIP2, XZ})

# A gzip header has 3 reserved flags and a list of operating systems (RFC 1952): few other bytes look the same.
_MAGIC = re.compile(
    rb"(?P<gzip>\x1f\x8b\x08[\0-\x1f][\0-\xff]{4}[\0\x02\x04][\0-\r\xff])|(?P<bzip2>BZh[1-9](?:1AY&SY|\x17rE8P\x90))"
    rb"|(?P<xz>\xfd7zXZ\0)|(?P<zip>PK(?:\x03\x04|\x05\x06)|#![ -~]+\nPK\x03\x04)|(?P<tar>[\0-\xff]{257}ustar[\0 ])",
    re.DOTALL,
)
_CLOSED_MAGIC = re.compile(
    rb"(?P<zstd>\x28\xb5\x2f\xfd)|(?P<lz4>\x04\x22\x4d\x18)|(?P<lzip>LZIP\x01)|(?P<compress>\x1f\x9d\x90)"
    rb"|(?P<sevenzip>7z\xbc\xaf\x27\x1c)|(?P<rar>Rar!\x1a\x07)|(?P<rpm>\xed\xab\xee\xdb)|(?P<cab>MSCF\0\0\0\0)"
    rb"|(?P<deb>!<arch>\ndebian-binary)|(?P<zip>PK\x07\x08PK)"
)
BEGINNINGS = (
    *(b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ", b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08", b"#!", b"\x28\xb5\x2f\xfd"),
    *(b"\x04\x22\x4d\x18", b"LZIP", b"\x1f\x9d\x90", b"7z\xbc\xaf", b"Rar!", b"\xed\xab\xee\xdb", b"MSCF", b"!<arch>"),
)
"""How streams begin that ``identify`` and ``identify_unsupported`` may know, tar archives excepted."""
_NAMES = {"sevenzip": "7z", "compress": "compress (.Z)", "deb": "Debian package", "zip": "split zip"}

_MAX_DIRECTORY_BYTES = 1 << 23  # of a zip archive: about 100,000 files
_MAX_HEADER_BYTES = 1 << 16  # of a file in a tar archive
_XZ_MEMORY_BYTES = 1 << 27  # 'xz -9' needs 65 MiB
_READ_COST = 256  # bytes that are decoded in the time of a call
_ENCRYPTED = 0x1
_ZIP_METHODS = {0, 8}  # stored and deflated; the decoders of others have no limits on memory


class ArchiveError(Exception):
    """An archive that cannot be read, or only in part; the text is the reason."""


class Member(NamedTuple):
    """A file of an archive: its name, and its content, or why that cannot be read."""

    name: str | bytes
    pieces: Iterator[bytes]
    fault: str = ""


def identify(head: bytes) -> str | None:
    """Return how a stream is compressed or archived, from its beginning; None if it is not."""
    match = _MAGIC.match(head)
    return match.lastgroup if match else None


def identify_unsupported(head: bytes) -> str | None:
    """Return the name of a format that this module cannot read, from the beginning of a stream; None for others."""
    match = _CLOSED_MAGIC.match(head)
    return None if match is None or match.lastgroup is None else _NAMES.get(match.lastgroup, match.lastgroup)


# --- compressed data ---


def decompress(kind: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the decompressed data, at most PIECE_BYTES at once. Raises ArchiveError: it is damaged or incomplete."""
    import lzma

    create = _decoder_factory(kind)
    decoder = create()
    for piece in pieces:
        data = piece
        while data or not (decoder.eof or decoder.needs_input):
            if decoder.eof:  # another stream may follow, after padding
                data = data.lstrip(b"\0")
                if not data:
                    break
                decoder = create()
            try:
                decoded = decoder.decompress(data, PIECE_BYTES)
            except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:
                raise ArchiveError(f"damaged {kind} data ({error})") from None
            yield decoded
            data = decoder.unused_data if decoder.eof else b""
    if not decoder.eof:
        raise ArchiveError(f"the {kind} data is incomplete")


def _decoder_factory(kind: str) -> Callable[[], Any]:
    if kind == BZIP2:
        import bz2

        return bz2.BZ2Decompressor
    if kind == XZ:
        import lzma

        return partial(lzma.LZMADecompressor, format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)
    return _GzipDecompressor


class _GzipDecompressor:
    """zlib with the methods of the other two: what it has not decoded stays in it."""

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(wbits=31)
        self._left, self._full = b"", False

    def decompress(self, data: bytes, size: int) -> bytes:
        decoded = self._decoder.decompress(self._left + data, size)
        self._left = self._decoder.unconsumed_tail
        self._full = len(decoded) == size
        return decoded

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._left and not self._full


# --- tar ---
# Not by the module tarfile: it holds headers of any length in memory, and reads some in quadratic time.

_BLOCK_BYTES = 512
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL, _OLD_SPARSE = b"L", b"K", b"x", b"g", b"S"
_NO_CONTENT = frozenset({b"1", b"2", b"3", b"4", b"5", b"6"})  # links, devices, directories, named pipes


def read_tar(pieces: Iterable[bytes]) -> Iterator[Member]:
    """Yield the files of an archive; each must be read before the next (POSIX.1-2017, pax; GNU extensions).

    Raises ArchiveError, also for data after the end of the archive.
    """
    stream = _Stream(pieces)
    extended: dict[bytes, bytes] = {}
    while (header := stream.read(_BLOCK_BYTES)).strip(b"\0"):
        kind = header[156:157]
        if sum(header[:148]) + 8 * 32 + sum(header[156:]) != _parse_number(header[148:156]):
            raise ArchiveError("damaged tar archive (a wrong checksum)")
        size = _parse_number(extended.get(b"size", header[124:136]), 10 if b"size" in extended else 8)
        if kind in {_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL}:
            text = stream.read(min(size, _MAX_HEADER_BYTES))
            size -= len(text)
            if kind == _PAX:
                extended |= _parse_records(text)
            elif kind == _LONG_NAME:
                extended[b"path"] = text.rstrip(b"\0")
        else:
            more = kind == _OLD_SPARSE and header[482] != 0
            while more:
                more = stream.read(_BLOCK_BYTES)[504] != 0
            if kind not in _NO_CONTENT:
                folder, name = header[345:500] if header[257:263] == b"ustar\0" else b"", header[:100]
                path = b"/".join(part.partition(b"\0")[0] for part in (folder, name) if part.strip(b"\0"))
                content = stream.pieces(size)
                yield Member(extended.get(b"path", path), content)
                size = sum(0 for _ in content)  # what was not read
            extended = {}
        stream.skip(size)
        stream.skip(-stream.offset % _BLOCK_BYTES)
    if stream.has_data():
        raise ArchiveError("data follows the end of the tar archive")


def _parse_number(field: bytes, base: int = 8) -> int:
    """Return a number in digits, or in binary if the first bit is set."""
    if field[0] & 0x80:
        number = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:])
    else:
        text = field.partition(b"\0")[0].strip()
        if len(text) > 20 or (text and not text.isdigit()):
            raise ArchiveError("damaged tar archive (not a number)")
        number = int(text or b"0", base)
    return number


def _parse_records(text: bytes) -> dict[bytes, bytes]:
    records = {}
    begin = 0
    while begin < len(text):
        digits, space, _ = text[begin : begin + 8].partition(b" ")
        if not space or not digits.isdigit() or int(digits) <= len(digits) + 1:
            raise ArchiveError("damaged tar archive (an extended header)")
        name, _, value = text[begin + len(digits) + 1 : begin + int(digits) - 1].partition(b"=")
        if value:
            records[name] = value
        begin += int(digits)
    return records


class _Stream:
    """The pieces of a stream, read in parts. Raises ArchiveError where it ends too early."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.offset = 0
        self._source = iter(pieces)
        self._data = b""

    def read(self, size: int) -> bytes:
        """Return ``size`` bytes."""
        return b"".join(self.pieces(size))

    def skip(self, size: int) -> None:
        """Skip ``size`` bytes."""
        for _ in self.pieces(size):
            pass

    def pieces(self, size: int) -> Iterator[bytes]:
        """Yield ``size`` bytes."""
        while size > 0:
            if not self._data:
                self._data = next(self._source, b"")
                if not self._data:
                    raise ArchiveError("the tar archive is incomplete")
            piece = self._data[:size]
            self._data = self._data[size:] if size < len(self._data) else b""
            self.offset += len(piece)
            size -= len(piece)
            yield piece

    def has_data(self) -> bool:
        """Return whether anything but NULs follows."""
        return any(piece.strip(b"\0") for piece in (self._data, *self._source))


# --- zip ---


def read_zip(file: IO[bytes], charge: Callable[[int], object]) -> Iterator[Member]:
    """Yield the files of an archive; each must be read before the next.

    ``charge`` is called with the number of bytes of each read: entries may overlap, and be read many times. Raises
    ArchiveError; that of one file comes from its pieces.
    """
    from zipfile import BadZipFile, ZipFile  # takes long to import

    try:
        archive = ZipFile(cast("IO[bytes]", _MeteredFile(file, charge)))
    except (BadZipFile, *_ZIP_FAULTS) as error:
        raise ArchiveError(f"damaged zip archive ({error})") from None
    with archive:
        for info in archive.infolist():
            if info.flag_bits & _ENCRYPTED:
                yield Member(info.filename, iter(()), "it is encrypted")
            elif info.compress_type not in _ZIP_METHODS:
                yield Member(info.filename, iter(()), f"compression method {info.compress_type} is not supported")
            elif info.file_size or not info.is_dir():
                yield Member(info.filename, _read_zip_member(archive, info))


_ZIP_FAULTS = (
    zlib.error,
    OSError,
    EOFError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
    struct.error,
)


def _read_zip_member(archive: Any, info: Any) -> Iterator[bytes]:
    from zipfile import BadZipFile

    try:
        with archive.open(info) as stream:
            yield from iter(partial(stream.read, PIECE_BYTES), b"")
    except (BadZipFile, *_ZIP_FAULTS) as error:
        raise ArchiveError(f"damaged ({error})") from None


class _MeteredFile:
    """A file that counts what is read, and refuses to read much at once."""

    def __init__(self, file: IO[bytes], charge: Callable[[int], object]) -> None:
        self._file = file
        self._charge = charge
        self._size = file.seek(0, 2)
        self.tell = file.tell
        self.seek = file.seek

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        left = max(self._size - self._file.tell(), 0)
        wanted = left if size < 0 else min(size, left)
        if wanted > _MAX_DIRECTORY_BYTES:
            raise ValueError("its list of files is too long")
        self._charge(wanted + _READ_COST)
        return self._file.read(wanted)


def spool(pieces: Iterable[bytes]) -> IO[bytes]:
    """Copy a stream into a temporary file without a name. Raises ArchiveError: it is too long."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > MAX_SPOOL_BYTES:
            file.close()
            raise ArchiveError(f"a zip archive of more than {MAX_SPOOL_BYTES >> 20} MiB is only opened in a file")
        file.write(piece)
    return cast("IO[bytes]", file)
