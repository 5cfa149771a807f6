"""``--query``: a JMESPath expression over the document that ``-o json`` would write."""

from __future__ import annotations

import re
from typing import Any

import jmespath
import msgspec
from jmespath.exceptions import JMESPathError

from tokctl.errors import UsageError
from tokctl.process.query import suggest
from tokctl.render.csvs import write_rows
from tokctl.render.human import DataStream, safe
from tokctl.render.result import Cell, Column, Detail, Listing, Output, Result, plain

_PREAMBLE = re.compile("^(Invalid|Bad) jmespath expression: ", re.IGNORECASE)


def apply_query(result: Result, out: Output) -> Result | None:
    """Return the answer as a result, or None when it is a plain value that has been written.

    In the formats for people a list of objects becomes a table and a list of values a line each.

    Raises:
        UsageError: the expression is none.
    """
    expression = read_query(out.query or "")
    try:
        answer = expression.search(_document(result))
    except JMESPathError as error:
        raise _unreadable(error) from None
    if out.columns is not None:
        answer = _pick(answer, out.columns)
    if out.format in {"json", "yaml"}:
        return Detail(ident="", document=answer, title=())
    items = answer if isinstance(answer, list) else [answer]
    write = DataStream(out).write
    if out.format == "ndjson":
        for item in items:
            write(msgspec.json.encode(item).decode() + "\n")
    elif items and all(isinstance(item, dict) for item in items):
        return _table(items)
    elif out.format == "csv":
        write_rows([item if isinstance(item, list) else [item] for item in items if item is not None], out)
    else:
        for item in items:
            if item is not None:
                write(safe(plain(item)) + "\n")
    return None


def read_query(text: str) -> jmespath.parser.ParsedResult:
    """Read an expression. Raises UsageError: it is none."""
    try:
        return jmespath.compile(text)
    except JMESPathError as error:
        raise _unreadable(error) from None


def _unreadable(error: JMESPathError) -> UsageError:
    reason = _PREAMBLE.sub("", str(error)).partition("\n")[0].removesuffix(", for expression:").rstrip(".:")
    return UsageError(f"--query cannot be read: {reason}.", "See jmespath.org for the language.")


def _pick(answer: Any, columns: tuple[str, ...]) -> Any:
    """Leave of each object the members that were asked for."""
    items = answer if isinstance(answer, list) else [answer]
    if not all(isinstance(item, dict) for item in items):
        raise UsageError("--columns picks from objects, and --query finds other things.", "Leave one out.")
    known = dict.fromkeys(key for item in items for key in item)
    for key in columns:
        if items and key not in known:
            raise UsageError(f"unknown column '{key}'{suggest(key, known)}.", f"Valid: {', '.join(known)}.")
    picked = [{key: item.get(key) for key in columns} for item in items]
    return picked if isinstance(answer, list) else picked[0]


def _document(result: Result) -> Any:
    if isinstance(result, Detail):
        document = result.document
    else:
        document = {**result.head, result.key: [*map(result.document, result.items)], **result.tail()}
    return msgspec.json.decode(msgspec.json.encode(document, enc_hook=list))


def _table(items: list[dict[str, Any]]) -> Listing:
    keys = list(dict.fromkeys(key for item in items for key in item))

    def column(rank: int, key: str) -> Column:
        return Column(
            key=key,
            title=key.upper(),
            value=lambda item: item.get(key),
            show=lambda item: Cell(plain(item.get(key))),
            fold=True,
            rank=rank,
        )

    return Listing(
        key="items",
        items=items,
        columns=tuple(column(rank, key) for rank, key in enumerate(keys)),
        ident=lambda item: plain(next(iter(item.values()), "")),
        document=lambda item: item,
    )
