"""A store as the sink of a recorder."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from tokctl.process.model import Definition, Instance, Token
from tokctl.store.base import Batch, Store


class StoreSink:
    """Implements ``recorder.base.Sink``: writes what it is given into a store.

    With ``every`` 0 each ``put`` is a transaction of its own, seen by others at once; otherwise one
    is committed when it has so many tokens. Use it in a ``with`` block: leaving it commits the rest,
    after an error, too, for what was recorded has happened.
    """

    def __init__(self, store: Store, *, every: int = 0) -> None:
        self.store = store
        self.every = every
        self.added = self.updated = self.unchanged = 0
        self._stack = ExitStack()
        self._batch: Batch | None = None
        self._size = 0

    def put_definition(self, definition: Definition) -> None:
        """Keep a process model."""
        self._open().put_definition(definition)
        self._commit_if_full(0)

    def put(self, instance: Instance, tokens: Iterable[Token]) -> None:
        """Keep an instance as it now stands, with those of its tokens that are new or changed."""
        tokens = list(tokens)
        self._open().put(instance, tokens)
        self._commit_if_full(len(tokens))

    def _open(self) -> Batch:
        if self._batch is None:
            self._batch = self._stack.enter_context(self.store.write())
        return self._batch

    def _commit_if_full(self, more: int) -> None:
        self._size += more
        if self._size >= self.every:
            self.commit()

    def commit(self) -> None:
        """End the transaction that is open."""
        if self._batch is not None:
            report, self._batch, self._size = self._batch.report, None, 0
            self._stack.close()
            self.added += report.added
            self.updated += report.updated
            self.unchanged += report.unchanged

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.commit()
