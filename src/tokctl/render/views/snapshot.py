"""What has become of the instances that were taken into a store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from tokctl.process.model import format_time
from tokctl.process.status import InstanceStatus
from tokctl.render.human import state_cell
from tokctl.render.result import Cell, Column, Document, Listing


class Taken(Struct, kw_only=True):
    """An instance, and what became of its tokens in the store; with ``error`` it could not be read to the end.

    ``added`` and ``updated`` are of all looks together, ``unchanged`` of the last one.
    """

    instance_id: str
    status: InstanceStatus | None = None
    tokens: int = 0
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    taken_at: datetime | None = None
    error: str | None = None

    def document(self) -> dict[str, Any]:
        """What programs see of it."""
        status = self.status
        return {
            "instance_id": self.instance_id,
            "process_id": status.instance.process_id if status else None,
            "status": status.status if status else None,
            "status_derived": bool(status and status.status_derived),
            "tokens": self.tokens,
            "live_tokens": status.live_tokens if status else 0,
            "added": self.added,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "taken_at": format_time(self.taken_at),
            "error": self.error,
        }


def taken_listing(rows: Sequence[Taken], *, head: Document, notes: list[str], exit_code: int, unicode: bool) -> Listing:
    """A list of them; what went wrong has a column where something did."""

    def number(key: str, title: str, *, rank: int = 0) -> Column:
        return Column(key=key, title=title, value=lambda row: getattr(row, key), right=True, rank=rank)

    def status_cell(row: Taken) -> Cell:
        if row.status is None:
            return Cell("")
        return state_cell(row.status.status, unicode=unicode, derived=row.status.status_derived)

    return Listing(
        key="instances",
        items=rows,
        columns=(
            Column(key="instance_id", title="INSTANCE", value=lambda row: row.instance_id),
            Column(key="process_id", title="PROCESS", value=lambda row: row.status and row.status.instance.process_id,
                   fold=True, rank=4),
            Column(key="status", title="STATUS", value=lambda row: row.status and row.status.status, show=status_cell),
            number("tokens", "TOKENS"),
            number("added", "ADDED", rank=1),
            number("updated", "UPDATED", rank=1),
            number("unchanged", "UNCHANGED", rank=2),
            Column(key="taken_at", title="TAKEN AT", value=lambda row: format_time(row.taken_at), wide=True, rank=5),
            Column(key="error", title="ERROR", value=lambda row: row.error, fold=True,
                   wide=not any(row.error for row in rows)),
        ),
        ident=lambda row: row.instance_id,
        document=Taken.document,
        head=head,
        notes=lambda _: notes,
        empty="No process instances to take.",
        exit_code=exit_code,
    )  # fmt: skip
