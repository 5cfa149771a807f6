"""A store as the sink of a recorder."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from typing import Self

from tokctl.model.definitions import Definition
from tokctl.model.instances import Instance
from tokctl.model.tokens import Token
from tokctl.store.protocol import Batch, Store


class StoreSink:
    """Implements ``recorder.lifecycle.Sink``: writes instances and tokens into a store.

    With ``batch_size`` 0 each ``put`` is a transaction of its own, visible to others immediately; otherwise a
    transaction is committed when it has this number of tokens. Use it in a ``with`` block: leaving it commits the rest,
    even after an error, because the recorded events have happened.
    """

    def __init__(self, store: Store, *, batch_size: int = 0) -> None:
        self.store = store
        self.batch_size = batch_size
        self.added = self.updated = self.unchanged = 0
        self._stack = ExitStack()
        self._batch: Batch | None = None
        self._size = 0

    def put_definition(self, definition: Definition) -> None:
        """Write a process model."""
        self._open().put_definition(definition)
        self._commit_if_full(0)

    def put(self, instance: Instance, tokens: Iterable[Token]) -> None:
        """Write the current state of an instance, and its new or changed tokens."""
        tokens = list(tokens)
        self._open().put(instance, tokens)
        self._commit_if_full(len(tokens))

    def _open(self) -> Batch:
        if self._batch is None:
            self._batch = self._stack.enter_context(self.store.write())
        return self._batch

    def _commit_if_full(self, more: int) -> None:
        self._size += more
        if self._size >= self.batch_size:
            self.commit()

    def commit(self) -> None:
        """Commit the open transaction."""
        if self._batch is not None:
            report, self._batch, self._size = self._batch.report, None, 0
            self._stack.close()
            self.added += report.added
            self.updated += report.updated
            self.unchanged += report.unchanged

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.commit()
