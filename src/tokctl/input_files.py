"""Reads the input that a user names: a file, or ``-`` for standard input, compressed or not; decompresses data."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from tokctl.errors import InputError, NotAllowedError, NotFoundError

CHUNK = 1 << 18
"""Bytes that are read at once."""
MAX_PIECE_BYTES = 1 << 18
"""Bytes that are decompressed at once: compressed data can be a thousandth of what it decompresses to."""

_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_MODULES = ("compression.zstd", "backports.zstd")  # the standard library's from Python 3.14 on, with the same API
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS  # zlib detects which of the two formats it is


def input_name(path: str) -> str:
    """Return the name of an input for messages."""
    return "standard input" if path == "-" else path


def is_same_file(one: str, other: str) -> bool:
    """Tell whether two paths lead to the same regular file, also through links."""
    try:
        return Path(one).is_file() and Path(one).samefile(other)
    except OSError:
        return False


def input_size(path: str) -> int | None:
    """Return the size of an input in bytes; None for standard input and everything else that is not a regular file."""
    file = Path(path)
    return file.stat().st_size if path != "-" and file.is_file() else None


def read_chunks(path: str, progress: Callable[[int], object] | None = None) -> Iterator[bytes]:
    """Yield the bytes of a file (``-``: standard input) in chunks, decompressed.

    ``progress`` is called after each read with the number of bytes, as they are in the file.

    Raises:
        NotFoundError: there is no such file.
        NotAllowedError: its permissions forbid reading.
        InputError: it cannot be read, or its compressed data is damaged or truncated.
    """
    name = input_name(path)
    try:
        if path == "-":
            yield from _decompressed(sys.stdin.buffer, name, progress)
        else:
            with Path(path).open("rb") as stream:
                yield from _decompressed(stream, name, progress)
    except zlib.error as error:
        raise InputError(f"{name}: damaged gzip data: {error}.") from None
    except EOFError:
        raise InputError(f"{name}: the compressed data is truncated.") from None
    except FileNotFoundError:
        raise NotFoundError(f"{path} does not exist.") from None
    except PermissionError:
        raise NotAllowedError(f"cannot read {name}: permission denied.", "Check the permissions of the file.") from None
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror or error}.") from None


def _decompressed(stream: BinaryIO, name: str, progress: Callable[[int], object] | None) -> Iterator[bytes]:
    chunks = _raw_chunks(stream, progress)
    beginning = b""
    while len(beginning) < len(_ZSTD_MAGIC) and (chunk := next(chunks, b"")):
        beginning += chunk
    everything = chain([beginning], chunks)
    if beginning.startswith(_ZSTD_MAGIC):
        return decompress_zstd(everything, name)
    return decompress(everything) if beginning.startswith(_GZIP_MAGIC) else everything


def _raw_chunks(stream: BinaryIO, progress: Callable[[int], object] | None) -> Iterator[bytes]:
    read = getattr(stream, "read1", stream.read)  # a pipe's read1 returns what is there, without waiting for more
    while chunk := read(CHUNK):
        if progress:
            progress(len(chunk))
        yield chunk


def decompress(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the decompressed data, in pieces of at most ``MAX_PIECE_BYTES``.

    Several gzip members may follow each other, with NUL bytes as padding between them.

    Raises:
        zlib.error: the data is damaged.
        EOFError: the data is truncated.
    """
    inflater = None
    padding = b""  # of the member before
    for chunk in chunks:
        data = chunk
        while data:  # zlib may hold back output at the end of a step; a checksum that is still to come releases it
            if inflater is None:
                data = data.lstrip(padding)
                if not data:
                    break
                inflater = zlib.decompressobj(_GZIP_OR_ZLIB)
            piece = inflater.decompress(data, MAX_PIECE_BYTES)
            data = inflater.unconsumed_tail
            if inflater.eof:
                data, inflater, padding = inflater.unused_data, None, b"\0"
            if piece:
                yield piece
    if inflater is not None:
        raise EOFError("the compressed data is truncated")


def decompress_zstd(chunks: Iterable[bytes], name: str) -> Iterator[bytes]:
    """Yield the decompressed data, in pieces of at most ``MAX_PIECE_BYTES``. Several frames may follow each other.

    Raises:
        InputError: the data is damaged, or no module can decompress it.
        EOFError: the data is truncated.
    """
    zstd = _import_zstd(name)
    decoder = zstd.ZstdDecompressor()
    try:
        for chunk in chunks:
            data = chunk
            while data or not (decoder.eof or decoder.needs_input):
                if decoder.eof:
                    decoder = zstd.ZstdDecompressor()
                if piece := decoder.decompress(data, MAX_PIECE_BYTES):
                    yield piece
                data = decoder.unused_data if decoder.eof else b""
    except zstd.ZstdError as error:
        raise InputError(f"{name}: damaged zstd data: {error}.") from None
    if not decoder.eof:
        raise EOFError("the compressed data is truncated")


def _import_zstd(name: str) -> Any:
    for module in _ZSTD_MODULES:
        try:
            return import_module(module)
        except ImportError:
            continue
    raise InputError(
        f"{name}: zstd data needs the extra 'zstd'.",
        "Install it with 'pip install \"tokctl[zstd]\"', or decompress the input first, with 'zstd -d'.",
    )
