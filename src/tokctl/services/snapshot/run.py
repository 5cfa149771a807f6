"""Copies instances into a store, once or until they have ended: for ``tokctl snapshot``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from msgspec import Struct

from tokctl.analysis.changes import EndDetector
from tokctl.engines.protocol import MAX_CONSECUTIVE_FAILURES, Engine
from tokctl.errors import InputError, NotFoundError, StoreError, TokctlError
from tokctl.model.filters import InstanceFilter, SortOrder
from tokctl.model.instance_status import InstanceStatus
from tokctl.services.polling import EnginePoller, notify_outage, poll_repeatedly
from tokctl.services.snapshot.writer import Observation, SnapshotWriter, WriteResult, read_observations

_OPEN = InstanceFilter(open=True)


class SnapshotRow(Struct, kw_only=True):
    """The outcome of one instance: the numbers of written tokens, or why it could not be read.

    ``added`` and ``updated`` count all polls together, ``unchanged`` the last one.
    """

    instance_id: str
    status: InstanceStatus | None = None
    tokens: int = 0
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    taken_at: datetime | None = None
    error: str | None = None


def list_live_instances(engine: Engine) -> list[str]:
    """Return the ids of the instances that have not ended, in order of their start."""
    found = engine.instances(_OPEN, SortOrder("started"))
    return list(dict.fromkeys(status.instance.instance_id for status in found))


class SnapshotRun:
    """Instances that are copied into a store, and the outcome of each in ``rows``.

    ``endings`` has an entry for each instance that has not ended yet. With ``all_live`` instances that start during a
    watch are added, and those that disappear are dropped. Instances of a ``remote`` engine are read concurrently.
    """

    def __init__(
        self,
        writer: SnapshotWriter,
        ids: list[str],
        *,
        clock: Callable[[], datetime],
        all_live: bool = False,
        remote: bool = False,
    ) -> None:
        self._clock = clock
        self.writer = writer
        self.rows = {instance_id: SnapshotRow(instance_id=instance_id) for instance_id in ids}
        self.endings = {instance_id: EndDetector() for instance_id in ids}
        self._all_live = all_live
        self._remote = remote
        self._failed: TokctlError | None = None

    def take_all(self, engine: Engine, ids: list[str], step: Callable[[float], None] = lambda _: None) -> None:
        """Copy each instance; one that cannot be read does not stop the others. ``step`` is called after each.

        Raises:
            StoreError: the store cannot be written.
            TokctlError: none could be read.
        """
        consecutive_failures = 0
        for instance_id, get in read_observations(engine, ids, self._clock, remote=self._remote):
            row = self.rows[instance_id]
            try:
                seen = get()
                _add_observation(row, seen, self.writer.store_observation(engine, seen, always=True))
                consecutive_failures = 0
            except StoreError:
                raise
            except TokctlError as error:
                if self._all_live and isinstance(error, NotFoundError):
                    del self.rows[instance_id]  # it was live, and has disappeared since
                else:
                    consecutive_failures += 1
                    row.error, self._failed = str(error), error
            step(1)
            if consecutive_failures >= MAX_CONSECUTIVE_FAILURES:
                break
        for row in self.rows.values():
            if row.taken_at is None and row.error is None:
                row.error = f"skipped: {MAX_CONSECUTIVE_FAILURES} consecutive instances could not be read."
        if self._failed is not None and all(row.error for row in self.rows.values()):
            raise self._failed

    def read(self, engine: Engine, changed: bool) -> None:
        """Copy the instances that have not ended, if something may have changed."""
        if not changed:
            for instance_id, ending in list(self.endings.items()):
                status = self.rows[instance_id].status
                if status is not None and ending.reached(status, changed=False):
                    del self.endings[instance_id]
            return
        if self._all_live:
            for instance_id in list_live_instances(engine):
                self.rows.setdefault(instance_id, SnapshotRow(instance_id=instance_id))
                self.endings.setdefault(instance_id, EndDetector())
        for instance_id, get in read_observations(engine, list(self.endings), self._clock, remote=self._remote):
            row = self.rows[instance_id]
            try:
                seen = get()
                kept = self.writer.store_observation(engine, seen, always=row.taken_at is None)
            except NotFoundError as error:
                self._record_missing(row, error)
            except InputError as error:
                if len(self.endings) == 1 and row.taken_at is None:
                    raise
                row.error = str(error)
            else:
                _add_observation(row, seen, kept)
                if self.endings[instance_id].reached(seen.status, changed=kept.changed):
                    del self.endings[instance_id]

    def _record_missing(self, row: SnapshotRow, error: NotFoundError) -> None:
        del self.endings[row.instance_id]
        if row.taken_at is None and not self._all_live:
            raise error
        if row.taken_at is None:
            del self.rows[row.instance_id]
        elif not self._all_live:
            row.error = f"{error.message} It existed before."

    def watch(
        self,
        poller: EnginePoller,
        *,
        end: datetime | None = None,
        give_up: datetime | None = None,
        notify: Callable[[str], object] = lambda _: None,
    ) -> bool:
        """Poll until all instances have ended, or one of two deadlines has passed; polling continues during an outage.

        To reach ``end`` is a success, to reach ``give_up`` is not: then the result is False. ``notify`` receives a
        message when an outage begins and when it ends.

        Raises:
            StoreError: the store cannot be written.
            TokctlError: the first poll of the only instance failed, and the error is not transient.
        """
        deadline = min((time for time in (end, give_up) if time is not None), default=None)
        for poll in poll_repeatedly(poller, self.read, deadline=deadline):
            notify_outage(poll, notify)
            if (poll.succeeded and not self.endings) or (end is not None and poll.at >= end):
                return True
        return False


def _add_observation(row: SnapshotRow, seen: Observation, kept: WriteResult) -> None:
    """Add the written tokens of an instance to its row."""
    row.status, row.taken_at, row.error = seen.status, seen.at, None
    row.tokens, row.unchanged = kept.tokens, kept.unchanged
    row.added += kept.added
    row.updated += kept.updated
