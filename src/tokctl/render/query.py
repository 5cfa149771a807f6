"""``--query``: a JMESPath expression, applied to the document that ``-o json`` would write."""

from __future__ import annotations

import re
from typing import Any

import jmespath
import msgspec
from jmespath.exceptions import JMESPathError

from tokctl.errors import UsageError
from tokctl.model.json_values import decode_value
from tokctl.render.formats.csv import write_rows
from tokctl.render.result import Cell, Column, Detail, Listing, Output, Result, format_value
from tokctl.render.text import DataStream, escape_controls
from tokctl.text import suggest

_PREAMBLE = re.compile("^(Invalid|Bad) jmespath expression: ", re.IGNORECASE)


def apply_query(result: Result, out: Output) -> Result | None:
    """Return the answer as a result, or write it and return None if it is a plain value.

    In the formats for people, a list of objects becomes a table; other values are written one per line.

    Raises:
        UsageError: the expression is invalid, or ``--columns`` does not fit its answer.
    """
    expression = parse_query(out.query or "")
    try:
        answer = expression.search(_build_document(result))
    except JMESPathError as error:
        raise _invalid_query(error) from None
    if out.columns is not None:
        answer = _select_members(answer, out.columns)
    if out.format in {"json", "yaml"}:
        return Detail(ident="", document=answer, title=())
    items = answer if isinstance(answer, list) else [answer]
    write = DataStream(out).write
    if out.format == "ndjson":
        for item in items:
            write(msgspec.json.encode(item).decode() + "\n")
    elif items and all(isinstance(item, dict) for item in items):
        return _build_table(items)
    elif out.format == "csv":
        write_rows([item if isinstance(item, list) else [item] for item in items if item is not None], out)
    else:
        for item in items:
            if item is not None:
                write(escape_controls(format_value(item)) + "\n")
    return None


def parse_query(text: str) -> jmespath.parser.ParsedResult:
    """Parse an expression. Raises UsageError if it is invalid."""
    try:
        return jmespath.compile(text)
    except JMESPathError as error:
        raise _invalid_query(error) from None


def _invalid_query(error: JMESPathError) -> UsageError:
    reason = _PREAMBLE.sub("", str(error)).partition("\n")[0].removesuffix(", for expression:").rstrip(".:")
    return UsageError(f"invalid --query: {reason}.", "See jmespath.org for the syntax.")


def _select_members(answer: Any, columns: tuple[str, ...]) -> Any:
    """Reduce each object to the requested members."""
    items = answer if isinstance(answer, list) else [answer]
    if not all(isinstance(item, dict) for item in items):
        raise UsageError("--columns needs objects, but --query returns other values.", "Remove one of them.")
    known = dict.fromkeys(key for item in items for key in item)
    for key in columns:
        if items and key not in known:
            raise UsageError(f"unknown column '{key}'{suggest(key, known)}.", f"Valid: {', '.join(known)}.")
    picked = [{key: item.get(key) for key in columns} for item in items]
    return picked if isinstance(answer, list) else picked[0]


def _build_document(result: Result) -> Any:
    if isinstance(result, Detail):
        document = result.document
    else:
        document = {**result.head, result.key: [*map(result.document, result.items)], **result.tail()}
    return decode_value(msgspec.json.encode(document, enc_hook=list))


def _build_table(items: list[dict[str, Any]]) -> Listing:
    keys = list(dict.fromkeys(key for item in items for key in item))

    def column(rank: int, key: str) -> Column:
        return Column(
            key,
            key.upper(),
            lambda item: item.get(key),
            show=lambda item: Cell(format_value(item.get(key))),
            fold=True,
            rank=rank,
        )

    return Listing(
        key="items",
        items=items,
        columns=tuple(column(rank, key) for rank, key in enumerate(keys)),
        ident=lambda item: format_value(next(iter(item.values()), "")),
        document=lambda item: item,
    )
