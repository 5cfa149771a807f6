"""Imports a stream of records into a store."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tokctl.model.definitions import Definition
from tokctl.model.instances import Instance
from tokctl.model.tokens import Token
from tokctl.readers.stream import Record, RejectedRecord
from tokctl.store.protocol import Batch


def import_records(batch: Batch, records: Iterable[Record], refuse: Callable[[RejectedRecord], None]) -> None:
    """Write every record of an input in a transaction; invalid tokens go to ``refuse``."""
    tokens: list[Token] = []
    for record in records:
        if isinstance(record, Token):
            tokens.append(record)
            if len(tokens) == batch.tokens_per_chunk:
                batch.put_tokens(tokens)
                tokens.clear()
        elif isinstance(record, Instance):
            batch.put(record, ())
        elif isinstance(record, Definition):
            batch.put_definition(record)
        else:
            refuse(record)
    batch.put_tokens(tokens)
