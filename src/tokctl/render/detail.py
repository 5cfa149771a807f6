"""The picture of one thing: its fields as a Rich table, its lists and blocks below."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tokctl.render.human import safe, safe_lines
from tokctl.render.result import Detail, Output, Section
from tokctl.render.table import join_line, paint, write_listing


def emit_detail(detail: Detail, out: Output) -> None:
    """Write the sections one below the other; a section with nothing in it is left out."""
    out.stream.write(join_line(detail.title, out) + "\n")
    for section in detail.sections:
        if not section.fields and not section.block and section.listing is None:
            continue
        out.stream.write("\n")
        if section.title:
            out.stream.write(paint(section.title, "bold", out) + "\n")
        if section.fields:
            _fields(section, out)
        if section.block:
            lines = safe_lines(section.block).splitlines()
            out.stream.write("".join(f"  {line}\n" for line in lines))
        if section.listing is not None and not write_listing(section.listing, out, indent="  "):
            out.stream.write(f"  {section.listing.empty}\n")


def _fields(section: Section, out: Output) -> None:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim" if out.color else "")
    table.add_column(overflow="fold")
    for label, cell in section.fields:
        table.add_row(Text(f"  {label}"), Text(safe(cell.text), style=cell.style if out.color else ""))
    console = Console(
        file=out.stream,
        width=out.width,
        force_terminal=out.color,
        no_color=not out.color,
        color_system="standard" if out.color else None,
        highlight=False,
        legacy_windows=False,
    )
    console.print(table)
