"""Turns a result into output: tables for people, JSON, NDJSON, YAML, CSV or ids for programs.

A command makes one result (``render.result``); each format is one module with
``emit(result, out)``, imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module

from tokctl.errors import InputError, UsageError
from tokctl.process.query import suggest
from tokctl.render.result import Detail, Output, Result, pick_columns

FORMATS = {
    "table": "tokctl.render.table",
    "wide": "tokctl.render.table",
    "json": "tokctl.render.jsons",
    "ndjson": "tokctl.render.jsons",
    "yaml": "tokctl.render.yamls",
    "csv": "tokctl.render.csvs",
    "id": "tokctl.render.ids",
}
"""Format → module."""

OWN_FORMATS = {"junit": "debug", "mermaid": "flow", "sarif": "scan"}
"""Formats that only some results have, and make themselves (``Listing.texts``): format → command."""


def check_format(name: str | None) -> str:
    """Return the format that was asked for, a table if none was. Raises UsageError."""
    chosen = (name or "table").lower()
    if chosen not in FORMATS and chosen not in OWN_FORMATS:
        raise UsageError(f"unknown output format '{name}'{suggest(chosen, (*FORMATS, *OWN_FORMATS))}.",
                         f"Valid: {', '.join(FORMATS)}; of one command each: {', '.join(OWN_FORMATS)}.")  # fmt: skip
    return chosen


def check_output(out: Output) -> None:
    """See beforehand that a command which changes something can tell of it. Raises UsageError."""
    if out.query is not None:
        from tokctl.render.query import read_query

        read_query(out.query)


def emit(result: Result, out: Output) -> None:
    """Write a result in its output's format.

    Raises:
        UsageError: a column or a query that does not exist or cannot be read.
    """
    if out.format in OWN_FORMATS:
        _emit_own(result, out)
        return
    if out.query is not None:
        from tokctl.render.query import apply_query

        queried = apply_query(result, out)
        if queried is None:
            return
        result = queried
    elif out.columns is not None:
        if isinstance(result, Detail):
            raise UsageError("--columns is for lists, and this is one thing.", "Say --query for a part of it.")
        pick_columns(result, out)  # before anything is written
    try:
        import_module(FORMATS[out.format]).emit(result, out)
    except RecursionError:
        raise InputError(f"the data is nested too deeply for {out.format}.", "Say -o json.") from None


def _emit_own(result: Result, out: Output) -> None:
    if out.format not in result.texts:
        raise UsageError(f"this command has no output as {out.format}.", f"Valid: {', '.join(FORMATS)}.")
    if out.columns is not None or out.query is not None:
        raise UsageError(f"{out.format} is the whole of it: --columns and --query pick from other formats.")
    from tokctl.render.human import DataStream

    write = DataStream(out).write
    for piece in result.texts[out.format]():
        write(piece)
