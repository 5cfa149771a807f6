"""CSV (RFC 4180), safe to open in a spreadsheet."""

from __future__ import annotations

import csv
from typing import Any

from tokctl.render.human import SafeStream
from tokctl.render.result import Detail, Output, Result, pick_columns, plain

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def emit(result: Result, out: Output) -> None:
    """Write a header and a row for each item."""
    writer = csv.writer(SafeStream(out.stream) if out.tty else out.stream, lineterminator="\n")
    if isinstance(result, Detail):
        writer.writerow(result.document)
        writer.writerow(map(cell, result.document.values()))
        return
    columns = pick_columns(result, out)
    writer.writerow([column.key for column in columns])
    writer.writerows([cell(column.value(item)) for column in columns] for item in result.items)


def cell(value: Any) -> str:
    """A value as a cell. Text that a spreadsheet would run as a formula gets a ' in front (OWASP)."""
    text = plain(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text
