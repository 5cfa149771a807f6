"""CSV (RFC 4180), safe to open in a spreadsheet."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import Any

from msgspec import Raw

from tokctl.documents.base import members
from tokctl.model.json_values import decode_value
from tokctl.render.result import Detail, Output, Result, format_value, select_columns
from tokctl.render.text import DataStream

_FORMULA_PREFIXES = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r", "\n")


def emit(result: Result, out: Output) -> None:
    """Write a header and a row for each item; one object is one row. Without ``out.headers`` there is no header."""
    if isinstance(result, Detail):
        document = members(result.document)
        write_rows([*([document] if out.headers else []), document.values()], out)
        return
    columns = select_columns(result, out)
    if out.headers:
        write_rows([[column.key for column in columns]], out)
    write_rows(([column.value(item) for column in columns] for item in result.items), out)


def write_rows(rows: Iterable[Iterable[Any]], out: Output) -> None:
    """Write rows of values."""
    csv.writer(_LineFeedStream(out), lineterminator="\r\n").writerows(map(format_cell, row) for row in rows)


class _LineFeedStream(DataStream):
    """Ends rows with a line feed. The CSV writer ends them with CR LF, as it quotes only the characters it uses."""

    def write(self, text: str) -> int:
        """Write a row."""
        return super().write(text.removesuffix("\r\n") + "\n")


def format_cell(value: Any) -> str:
    """Return a value as a cell. Text that a spreadsheet would run as a formula is prefixed with ' (OWASP)."""
    if isinstance(value, Raw):
        value = decode_value(value)
    text = format_value(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA_PREFIXES) else text
