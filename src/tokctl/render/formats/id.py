"""Ids, one per line, for pipes."""

from __future__ import annotations

from tokctl.render.result import Detail, Output, Result
from tokctl.render.text import DataStream, escape_controls


def emit(result: Result, out: Output) -> None:
    """Write one id per line; line breaks in ids are escaped.

    Items without an id are left out, such as the line of a tree with the number of hidden tokens.
    """
    write = DataStream(out).write
    if isinstance(result, Detail):
        write(escape_controls(result.ident) + "\n")
        return
    for ident in map(result.ident, result.items):
        if ident:
            write(escape_controls(ident) + "\n")
