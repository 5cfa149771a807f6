"""``--query``: a JMESPath expression over the document that ``-o json`` would write."""

from __future__ import annotations

from typing import Any

import jmespath
import msgspec
from jmespath.exceptions import JMESPathError

from tokctl.errors import UsageError
from tokctl.render.human import safe
from tokctl.render.result import Cell, Column, Detail, Listing, Output, Result, plain


def apply_query(result: Result, out: Output) -> Result | None:
    """Return the answer as a result, or None when it is a plain value that has been written.

    In the formats for people a list of objects becomes a table and a list of values a line each.

    Raises:
        UsageError: the expression is none.
    """
    try:
        expression = jmespath.compile(out.query or "")
        answer = expression.search(_document(result))
    except JMESPathError as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"--query cannot be read: {reason}.", "See jmespath.org for the language.") from None
    if out.format == "ndjson":
        for item in answer if isinstance(answer, list) else [answer]:
            out.stream.write(msgspec.json.encode(item).decode() + "\n")
        return None
    if out.format in {"json", "yaml"}:
        return Detail(ident="", document=answer, title=())
    if isinstance(answer, dict):
        answer = [answer]
    if isinstance(answer, list) and answer and all(isinstance(item, dict) for item in answer):
        return _table(answer)
    for item in answer if isinstance(answer, list) else [answer]:
        if item is not None:
            out.stream.write(safe(plain(item)) + "\n")
    return None


def _document(result: Result) -> Any:
    if isinstance(result, Detail):
        document = result.document
    else:
        document = {**result.head, result.key: [*map(result.document, result.items)], **result.tail()}
    return msgspec.json.decode(msgspec.json.encode(document))


def _table(items: list[dict[str, Any]]) -> Listing:
    keys = list(dict.fromkeys(key for item in items for key in item))

    def column(key: str) -> Column:
        return Column(
            key=key,
            title=key.upper(),
            value=lambda item: item.get(key),
            show=lambda item: Cell(plain(item.get(key))),
            fold=True,
        )

    return Listing(
        key="items",
        items=items,
        columns=tuple(map(column, keys)),
        ident=lambda item: plain(next(iter(item.values()), "")),
        document=lambda item: item,
    )
