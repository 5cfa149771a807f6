"""CSV (RFC 4180), safe to open in a spreadsheet."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import Any

from tokctl.render.human import DataStream
from tokctl.render.result import Detail, Output, Result, pick_columns, plain

_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r", "\n")


def emit(result: Result, out: Output) -> None:
    """Write a header and a row for each item."""
    if isinstance(result, Detail):
        write_rows([result.document, result.document.values()], out)
        return
    columns = pick_columns(result, out)
    write_rows([[column.key for column in columns]], out)
    write_rows(([column.value(item) for column in columns] for item in result.items), out)


def write_rows(rows: Iterable[Iterable[Any]], out: Output) -> None:
    """Write rows of values."""
    csv.writer(DataStream(out), lineterminator="\n").writerows(map(cell, row) for row in rows)


def cell(value: Any) -> str:
    """A value as a cell. Text that a spreadsheet would run as a formula gets a ' in front (OWASP)."""
    text = plain(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text
