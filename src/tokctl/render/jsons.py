"""JSON and NDJSON. A list is written as it is read: it is never in memory as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec

from tokctl.render.human import DataStream
from tokctl.render.result import Detail, Document, Listing, Output, Result, item_document

_encode = msgspec.json.encode
_BATCH = 500


def emit(result: Result, out: Output) -> None:
    """Write JSON: indented on a terminal, on one line elsewhere; or a line for each item (NDJSON)."""
    write = DataStream(out).write
    if isinstance(result, Detail):
        write(_text(result.document, out, 0) + "\n")
    elif out.format == "ndjson":
        document = item_document(result, out)
        for batch in _batches(_encode(document(item)) for item in result.items):
            write("\n".join(batch) + "\n")
    else:
        _emit_listing(result, out, write)


def _emit_listing(listing: Listing, out: Output, write: Any) -> None:
    document = item_document(listing, out)
    newline, gap, colon = ("\n  ", "\n    ", ": ") if out.tty else ("", "", ":")
    members = _members(listing.head, out)
    write("{" + newline + "".join(member + "," + newline for member in members))
    write(f'"{listing.key}"{colon}[')
    items = (_text(document(item), out, 4).encode() if out.tty else _encode(document(item)) for item in listing.items)
    first = True
    for batch in _batches(items):
        write((gap if first else "," + gap) + ("," + gap).join(batch))
        first = False
    write(("" if first else newline) + "]")
    for member in _members(listing.tail(), out):
        write("," + newline + member)
    write("\n}\n" if out.tty else "}\n")


def _members(document: Document, out: Output) -> list[str]:
    colon = ": " if out.tty else ":"
    return [f"{_encode(key).decode()}{colon}{_text(value, out, 2)}" for key, value in document.items()]


def _text(value: Any, out: Output, indent: int) -> str:
    data = _encode(value)
    if not out.tty:
        return data.decode()
    return msgspec.json.format(data, indent=2).decode().replace("\n", "\n" + " " * indent)


def _batches(lines: Iterator[bytes]) -> Iterator[list[str]]:
    while batch := [line.decode() for line in islice(lines, _BATCH)]:
        yield batch
