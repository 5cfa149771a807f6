"""Output of results: tables for people; JSON, NDJSON, YAML, CSV or ids for programs.

A command returns one result (``render.result``). Each format is a module with ``emit(result, out)``, imported only
when it is needed.
"""

from __future__ import annotations

from importlib import import_module

from tokctl.errors import InputError, UsageError
from tokctl.kinds import COMMAND_FORMATS, FORMATS
from tokctl.render.result import Detail, Output, Result, select_columns
from tokctl.text import suggest


def check_format(name: str | None) -> str:
    """Return the requested format (default: table). Raises UsageError if it is unknown."""
    chosen = (name or "table").lower()
    if chosen not in FORMATS and chosen not in COMMAND_FORMATS:
        raise UsageError(
            f"unknown output format '{name}'{suggest(chosen, (*FORMATS, *COMMAND_FORMATS))}.",
            f"Valid: {', '.join(FORMATS)}, and for some commands {', '.join(COMMAND_FORMATS)}.",
        )
    return chosen


def validate_query(out: Output) -> None:
    """Check the query before a command changes something that it could not report afterwards.

    Raises:
        UsageError: the query is invalid.
    """
    if out.query is not None:
        from tokctl.render.query import parse_query

        parse_query(out.query)


def emit(result: Result, out: Output) -> None:
    """Write a result in the format of the output.

    Raises:
        UsageError: a column does not exist, the query is invalid, or the result does not have this format.
        InputError: the data is nested too deeply for the format.
    """
    if out.format in COMMAND_FORMATS:
        _emit_command_format(result, out)
        return
    if out.query is not None:
        from tokctl.render.query import apply_query

        queried = apply_query(result, out)
        if queried is None:
            return
        result = queried
    elif out.columns is not None:
        if isinstance(result, Detail):
            raise UsageError("--columns applies only to lists.", "Use --query to select parts of an object.")
        select_columns(result, out)  # fail before anything is written
    try:
        import_module(FORMATS[out.format]).emit(result, out)
    except RecursionError:
        raise InputError(f"the data is nested too deeply for {out.format}.", "Use -o json.") from None


def _emit_command_format(result: Result, out: Output) -> None:
    if out.format not in result.custom_formats:
        raise UsageError(
            f"this command does not support -o {out.format}.",
            f"Valid: {', '.join((*FORMATS, *result.custom_formats))}.",
        )
    if out.columns is not None or out.query is not None:
        raise UsageError(
            f"--columns and --query do not apply to -o {out.format}.", "Remove them, or use another format."
        )
    from tokctl.render.text import DataStream

    write = DataStream(out).write
    for piece in result.custom_formats[out.format]():
        write(piece)
