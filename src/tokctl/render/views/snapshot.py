"""Outcomes of saving instances to a store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tokctl.documents.store import SnapshotInstance
from tokctl.model.times import format_time
from tokctl.render.result import Cell, Column, Listing
from tokctl.render.text import moment_cell, state_cell
from tokctl.services.snapshot.run import SnapshotRow


def encode_snapshot_row(row: SnapshotRow) -> SnapshotInstance:
    """Return the document of a row."""
    status = row.status
    return SnapshotInstance(
        instance_id=row.instance_id,
        process_id=status.instance.process_id if status else None,
        status=status.status if status else None,
        status_derived=bool(status and status.status_derived),
        tokens=row.tokens,
        live_tokens=status.live_tokens if status else 0,
        added=row.added,
        updated=row.updated,
        unchanged=row.unchanged,
        taken_at=format_time(row.taken_at),
        error=row.error,
    )


def snapshot_listing(
    rows: Sequence[SnapshotRow], *, head: dict[str, Any], notes: list[str], exit_code: int, now: datetime
) -> Listing:
    """Return a list of the instances; if any failed, it has a column for errors."""

    def number(key: str, title: str, *, rank: int = 0) -> Column:
        return Column(key, title, right=True, rank=rank)

    def status_cell(row: SnapshotRow) -> Cell:
        if row.status is None:
            return Cell("")
        return state_cell(row.status.status, derived=row.status.status_derived)

    return Listing(
        key="instances",
        items=rows,
        columns=(
            Column("instance_id", "INSTANCE"),
            Column(
                "process_id", "PROCESS", lambda row: row.status and row.status.instance.process_id, fold=True, rank=4
            ),
            Column("status", "STATUS", lambda row: row.status and row.status.status, show=status_cell),
            number("tokens", "TOKENS"),
            number("added", "ADDED", rank=1),
            number("updated", "UPDATED", rank=1),
            number("unchanged", "UNCHANGED", rank=2),
            Column(
                "taken_at",
                "TAKEN AT",
                lambda row: format_time(row.taken_at),
                show=lambda row: moment_cell(row.taken_at, now),
                wide=True,
                rank=5,
            ),
            Column("error", "ERROR", fold=True, wide=not any(row.error for row in rows)),
        ),
        ident=lambda row: row.instance_id,
        document=encode_snapshot_row,
        head=head,
        notes=lambda _: notes,
        empty="No process instances to save.",
        exit_code=exit_code,
    )
