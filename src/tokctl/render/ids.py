"""Ids, one a line, for pipes."""

from __future__ import annotations

from tokctl.render.human import safe
from tokctl.render.result import Detail, Output, Result


def emit(result: Result, out: Output) -> None:
    """Write an id a line; one with a line break in it is written with an escape."""
    if isinstance(result, Detail):
        out.stream.write(safe(result.ident) + "\n")
        return
    for item in result.items:
        out.stream.write(safe(result.ident(item)) + "\n")
