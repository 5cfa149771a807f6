"""CSV (RFC 4180), safe to open in a spreadsheet."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw

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
    csv.writer(_Lines(out), lineterminator="\r\n").writerows(map(cell, row) for row in rows)


class _Lines(DataStream):
    """Ends rows with a line feed. The writer ends them with both signs, for it quotes only those that it uses."""

    def write(self, text: str) -> int:
        """Write a row."""
        return super().write(text.removesuffix("\r\n") + "\n")


def cell(value: Any) -> str:
    """A value as a cell. Text that a spreadsheet would run as a formula gets a ' in front (OWASP)."""
    if isinstance(value, Raw):
        value = msgspec.json.decode(value)
    text = plain(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text
