"""Columns of lists of tokens that are grouped by what they have in common."""

from __future__ import annotations

from tokctl.model.times import format_time
from tokctl.render.result import Cell, Column, Output
from tokctl.render.text import age_cell


def group_columns(by: str, out: Output) -> tuple[Column, ...]:
    """Return the columns of a group: its number of instances, what it has in common, since when, and an example."""
    return (
        Column("instances", "INSTANCES", right=True, rank=2),
        Column(
            "value",
            by.upper(),
            form=lambda value: Cell(value) if value is not None else Cell(f"no {by}", "dim"),
            fold=True,
            cut=True,
        ),
        Column("since", "SINCE", lambda g: format_time(g.since), show=lambda g: age_cell(g.since, out.now), right=True),
        Column(
            "instance_id",
            "EXAMPLE",
            form=lambda i: Cell(out.shorten_instance_id(i)),
            fold=out.cuts,
            cut=True,
            rank=1,
        ),
    )
