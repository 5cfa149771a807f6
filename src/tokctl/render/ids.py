"""Ids, one a line, for pipes."""

from __future__ import annotations

from tokctl.render.human import DataStream, safe
from tokctl.render.result import Detail, Output, Result


def emit(result: Result, out: Output) -> None:
    """Write an id a line; one with a line break in it is written with an escape.

    An item without an id, such as the count of what a tree hides, is left out.
    """
    write = DataStream(out).write
    if isinstance(result, Detail):
        write(safe(result.ident) + "\n")
        return
    for ident in map(result.ident, result.items):
        if ident:
            write(safe(ident) + "\n")
