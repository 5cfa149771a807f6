"""From a stream of records into a store."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tokctl.process.model import Definition, Instance, Token
from tokctl.process.reader import Record, Reject
from tokctl.store.base import Batch

_CHUNK = 1000


def import_records(batch: Batch, records: Iterable[Record], refuse: Callable[[Reject], None]) -> None:
    """Put every record of an input into a transaction; what is no token goes to ``refuse``."""
    tokens: list[Token] = []
    for record in records:
        if isinstance(record, Token):
            tokens.append(record)
            if len(tokens) == _CHUNK:
                batch.put_tokens(tokens)
                tokens.clear()
        elif isinstance(record, Instance):
            batch.put(record, ())
        elif isinstance(record, Definition):
            batch.put_definition(record)
        else:
            refuse(record)
    batch.put_tokens(tokens)
