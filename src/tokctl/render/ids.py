"""Ids, one a line, for pipes."""

from __future__ import annotations

from tokctl.render.human import DataStream, safe
from tokctl.render.result import Detail, Output, Result


def emit(result: Result, out: Output) -> None:
    """Write an id a line; one with a line break in it is written with an escape."""
    write = DataStream(out).write
    if isinstance(result, Detail):
        write(safe(result.ident) + "\n")
        return
    for item in result.items:
        write(safe(result.ident(item)) + "\n")
