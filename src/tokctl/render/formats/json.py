"""JSON and NDJSON. A list is written while it is read, and never kept in memory as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import msgspec

from tokctl.render.result import Detail, Listing, Output, Result, document_builder
from tokctl.render.text import DataStream

_encode = msgspec.json.encode
_BATCH = 500


def emit(result: Result, out: Output) -> None:
    """Write JSON, indented on a terminal and on one line elsewhere, or one line per item (NDJSON)."""
    write = DataStream(out).write
    if isinstance(result, Detail):
        write(_encode_text(result.document, out, 0) + "\n")
    elif out.format == "ndjson":
        document = document_builder(result, out)
        for batch in _batches(_encode(document(item)) for item in result.items):
            write("\n".join(batch) + "\n")
    else:
        _write_listing(result, out, write)


def _write_listing(listing: Listing, out: Output, write: Any) -> None:
    document = document_builder(listing, out)

    def members() -> Iterator[tuple[str, Any]]:
        yield from listing.head.items()
        yield listing.key, map(document, listing.items)
        yield from listing.tail().items()  # last, because it may depend on the items

    for piece in _encode_object(members(), out, 0):
        write(piece)
    write("\n")


def _encode_object(members: Iterable[tuple[str, Any]], out: Output, indent: int) -> Iterator[str]:
    """Yield an object in pieces. Iterators among its members, or theirs, are lists, written while they are read."""
    colon, end = (": ", "\n" + " " * indent) if out.tty else (":", "")
    gap = end + "  " * out.tty
    sign = "{"
    for key, value in members:
        yield f"{sign}{gap}{_encode(key).decode()}{colon}"
        if isinstance(value, Iterator):
            yield from _encode_array(value, out, indent + 2)
        elif isinstance(value, dict) and any(isinstance(inner, Iterator) for inner in value.values()):
            yield from _encode_object(value.items(), out, indent + 2)
        else:
            yield _encode_text(value, out, indent + 2)
        sign = ","
    yield end + "}"


def _encode_array(items: Iterator[Any], out: Output, indent: int) -> Iterator[str]:
    end = "\n" + " " * indent if out.tty else ""
    gap = end + "  " * out.tty
    sign = "["
    for batch in _batches(_encode_text(item, out, indent + 2).encode() if out.tty else _encode(item) for item in items):
        yield sign + gap + ("," + gap).join(batch)
        sign = ","
    yield "[]" if sign == "[" else end + "]"


def _encode_text(value: Any, out: Output, indent: int) -> str:
    data = _encode(value)
    if not out.tty:
        return data.decode()
    return msgspec.json.format(data, indent=2).decode().replace("\n", "\n" + " " * indent)


def _batches(lines: Iterator[bytes]) -> Iterator[list[str]]:
    while batch := [line.decode() for line in islice(lines, _BATCH)]:
        yield batch
