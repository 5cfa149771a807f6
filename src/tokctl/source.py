"""Opens what a user names as input: a path or ``-`` for stdin, compressed by gzip or not."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from tokctl.errors import InputError, NotAllowedError, NotFoundError

CHUNK = 1 << 18
_GZIP = b"\x1f\x8b"


def input_name(path: str) -> str:
    """What to call an input in messages."""
    return "standard input" if path == "-" else path


def is_same_file(one: str, other: str) -> bool:
    """Tell whether two paths lead to the same file, by whatever names."""
    try:
        return Path(one).is_file() and Path(one).samefile(other)
    except OSError:
        return False


def input_size(path: str) -> int | None:
    """Bytes of an input, None where nobody can know beforehand."""
    file = Path(path)
    return file.stat().st_size if path != "-" and file.is_file() else None


def read_chunks(path: str, progress: Callable[[int], object] | None = None) -> Iterator[bytes]:
    """Read an input piece by piece, decompressed.

    ``progress`` is told how many bytes, as they stand in the file, each piece took.

    Raises:
        NotFoundError: there is no such file.
        NotAllowedError: its rights forbid it.
        InputError: it cannot be read, or its compressed data is damaged or cut short.
    """
    name = input_name(path)
    try:
        if path == "-":
            yield from _decompressed(sys.stdin.buffer, name, progress)
        else:
            with Path(path).open("rb") as stream:
                yield from _decompressed(stream, name, progress)
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {path}.") from None
    except PermissionError:
        raise NotAllowedError(f"{name} may not be read.", "Check the file's rights.") from None
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}.") from None


def _decompressed(stream: BinaryIO, name: str, progress: Callable[[int], object] | None) -> Iterator[bytes]:
    pieces = _pieces(stream, progress)
    first = b""
    while len(first) < len(_GZIP) and (piece := next(pieces, b"")):
        first += piece
    if not first.startswith(_GZIP):
        yield first
        yield from pieces
        return
    unzip = zlib.decompressobj(wbits=31)
    piece = first
    while piece:
        try:
            yield unzip.decompress(piece, CHUNK)
            while unzip.unconsumed_tail:
                yield unzip.decompress(unzip.unconsumed_tail, CHUNK)
        except zlib.error as error:
            raise InputError(f"{name}: damaged gzip data: {error}.") from None
        if unzip.eof:  # files may be joined: another member may follow
            piece = unzip.unused_data.lstrip(b"\0") or next(pieces, b"")
            unzip = zlib.decompressobj(wbits=31)
        else:
            piece = next(pieces, b"")
            if not piece:
                raise InputError(f"{name}: the gzip data is cut short.")


def _pieces(stream: BinaryIO, progress: Callable[[int], object] | None) -> Iterator[bytes]:
    read = getattr(stream, "read1", stream.read)  # what a pipe has, as soon as it has it
    while piece := read(CHUNK):
        if progress:
            progress(len(piece))
        yield piece
