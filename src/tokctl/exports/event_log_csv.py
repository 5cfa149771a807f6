"""An event log as CSV: one row for each token, with its start and its end."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from tokctl.exports.export_format import ExportFormat, InstanceExport, TokenExport
from tokctl.model.times import format_time
from tokctl.render.formats.csv import format_cell

COLUMNS = (
    *("case_id", "activity", "start", "end", "resource", "state", "element_id", "element_type", "token_id"),
    *("parents", "process_id", "version", "business_key", "duration_ms", "failed_at", "error", "certainty"),
)


def write(instances: Iterable[InstanceExport], now: datetime) -> Iterator[str]:  # noqa: ARG001 - open ends stay empty
    """Yield the header and the rows. What is unknown is empty."""
    yield _format_row(COLUMNS)
    for instance in instances:
        for token in instance.tokens:
            yield _format_row(_values(instance, token))


def _values(instance: InstanceExport, token: TokenExport) -> Iterator[Any]:
    about, visit = instance.read.status.instance, token.visit
    values = token.facts() | {
        "case_id": instance.instance_id,
        "activity": visit.name,
        "start": format_time(token.start),
        "end": format_time(token.end),
        "parents": " ".join(token.parents),
        "process_id": about.process_id,
        "version": about.version,
        "business_key": about.business_key,
        "failed_at": format_time(token.failed_at),
        "certainty": " ".join(f"{name}={how}" for name, how in token.certainty.items()),
    }
    return map(values.get, COLUMNS)


def _format_row(values: Iterable[Any]) -> str:
    row = io.StringIO()
    csv.writer(row, lineterminator="\r\n").writerow(map(format_cell, values))
    return row.getvalue().removesuffix("\r\n") + "\n"


FORMAT = ExportFormat(write=write)
