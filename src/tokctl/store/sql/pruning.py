"""Removes instances that have ended from a store, in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from tokctl.errors import StoreError
from tokctl.model.times import to_micros
from tokctl.store.sql.database import Database
from tokctl.store.sql.dialect import FINAL

BATCH_INSTANCES = 500
BATCH_TOKENS = 10_000
"""The size of a batch, which is a transaction, ends at either; it has one instance at least."""

_FINISHED = (
    "(live_tokens = 0 AND coalesce(completed_at, cancelled_at, end_at) < ?"
    f" AND coalesce(status, derived_status, 'COMPLETED') IN ({FINAL}))"  # without a status, an end is enough
)
_FAILED = (
    "(failed_tokens > 0 AND live_tokens = failed_tokens AND coalesce(completed_at, cancelled_at) < ?"
    f" AND coalesce(status, 'FAILED') IN ({FINAL}, 'FAILED'))"
)


class Pruning:
    """Removes the instances that ended before a moment; see ``Store.prune``.

    Other writers write between two batches. Whenever it is interrupted, each instance is there with all its tokens, or
    is not found any more.
    """

    def __init__(self, database: Database, moment: datetime, *, incidents: bool) -> None:
        self.database = database
        conditions = [_FINISHED, _FAILED] if incidents else [_FINISHED]
        self.condition = f"({' OR '.join(conditions)})"
        self.values = [to_micros(moment)] * len(conditions)

    def count(self) -> tuple[int, int]:
        """Return how many instances would be removed, and their tokens."""
        ((instances, tokens),) = self.database.fetch(
            f"SELECT count(*), CAST(coalesce(sum(total_tokens), 0) AS BIGINT) FROM instance WHERE {self.condition}",
            self.values,
        )
        return instances, tokens

    def run(self, step: Callable[[float], None]) -> tuple[int, int]:
        """Remove them; returns how many instances, and how many tokens they had."""
        last, instances, tokens = -1, 0, 0
        try:
            while batch := self._remove_batch(last):
                last = batch[-1][0]
                instances += len(batch)
                tokens += sum(size for _, size in batch)
                step(len(batch))
                self.pause()
            self.finish()
        except StoreError as error:
            if not instances:
                raise
            message = f"{error.message} Instances removed before that: {instances}."
            raise type(error)(message, error.hint or "Run the same command again.") from error
        return instances, tokens

    def _remove_batch(self, last: int) -> list[tuple[int, int]]:
        """Remove the next instances behind a pk; returns their pks, in order, and the numbers of their tokens."""
        with self.database.transaction("process"):
            found = self.database.fetch(
                f"SELECT pk, total_tokens FROM instance WHERE pk > ? AND {self.condition}"
                f" ORDER BY pk LIMIT {BATCH_INSTANCES}",
                [last, *self.values],
            )
            size = 0
            batch: list[tuple[int, int]] = []
            for pk, tokens in found:
                size += tokens
                if batch and size > BATCH_TOKENS:
                    break
                batch.append((pk, tokens))
            if batch:
                self.database.increment_revision("process")
                self.remove([pk for pk, _ in batch])
        return batch

    def remove(self, pks: Sequence[int]) -> None:
        """Remove instances with all that belongs to them."""
        self.database.execute_many("DELETE FROM instance WHERE pk = ?", [(pk,) for pk in pks])

    def pause(self) -> None:
        """Let other writers write, if the database does not do so by itself."""

    def finish(self) -> None:
        """Remove what the batches, and those of an interrupted earlier run, have left over."""
