"""Watches instances: events of their tokens, for ``tokctl tokens watch``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from tokctl.analysis.changes import InstanceWatch, WatchEvent
from tokctl.engines.protocol import ChangeSignal, Engine
from tokctl.errors import NotFoundError
from tokctl.model.filters import ALL_TOKENS, InstanceFilter, SortOrder, TokenFilter
from tokctl.services.polling import EnginePoller, Poll, poll_repeatedly


class InstanceWatcher:
    """Compares instances from poll to poll, and collects events.

    With ``ids`` it watches those. Without, it watches open instances that match ``where``, new ones included, at most
    ``limit`` of them, and forgets each when it has ended: memory is bounded by what is open. Events are about tokens
    that match ``tokens``.

    ``watched`` holds the instances by id, ``more`` how many open ones are not watched, ``polled_at`` the time of the
    last successful poll.
    """

    def __init__(
        self,
        ids: list[str],
        where: InstanceFilter,
        *,
        limit: int,
        clock: Callable[[], datetime],
        tokens: TokenFilter = ALL_TOKENS,
    ) -> None:
        self.watched = {instance_id: InstanceWatch(instance_id, tokens) for instance_id in ids}
        self._tokens = tokens
        self.more = 0
        self.polled_at: datetime | None = None
        self._named = bool(ids)
        self._where = where
        self._limit = limit
        self.clock = clock
        self._has_capacity = False  # room for an open instance that was not watched
        self._events: list[WatchEvent] = []

    def collect_events(self, poll: Poll) -> list[WatchEvent]:
        """Return the events since the last poll, including the beginning and end of an outage."""
        if poll.error is None:
            self.polled_at = poll.at
            if poll.outage_since is not None:
                self._events.insert(0, _recovered_event(poll.outage_since, poll.at))
        elif poll.is_new_error:
            facts = {
                "message": poll.error.message,
                "retry_in_ms": (poll.retry_at - poll.at) / timedelta(milliseconds=1),
            }
            self._events.append(WatchEvent(event="error", at=poll.at, facts=facts))
        events, self._events = self._events, []
        return events

    def read(self, engine: Engine, changed: bool) -> None:
        """Read the instances, and keep the events until ``collect_events``."""
        now = self.clock()
        if not (changed or self._has_capacity):
            for one in self.watched.values():
                self._events += one.tick(now)
        elif self._named:
            for one in self.watched.values():
                self._read_one(engine, one, now)
        else:
            self._read_open(engine, now)
        if not self._named:
            for one in [one for one in self.watched.values() if one.ended]:
                if one.missing_since or not (one.status and self._where.matches(one.status)):
                    del self.watched[one.instance_id]
            self._has_capacity = self.more > 0 and len(self.watched) < self._limit

    def _read_one(self, engine: Engine, one: InstanceWatch, now: datetime) -> None:
        try:
            status = engine.instance(one.instance_id)
            tokens = engine.tokens(one.instance_id, ALL_TOKENS, SortOrder("created"))
            happened = one.update(status, tokens, now)
        except NotFoundError as error:
            if one.missing_since is None:
                one.missing_since = now
                facts = {"message": f"{error.message} It existed before."}
                self._events.append(WatchEvent(event="error", at=now, instance_id=one.instance_id, facts=facts))
            return
        if one.missing_since is not None:
            self._events.append(_recovered_event(one.missing_since, now, one.instance_id))
            one.missing_since = None
        self._events += happened

    def _read_open(self, engine: Engine, now: datetime) -> None:
        found = engine.instances(self._where, SortOrder("started", descending=True), limit=self._limit)
        ids = [status.instance.instance_id for status in found]
        for instance_id in ids:
            if len(self.watched) < self._limit and instance_id not in self.watched:
                self.watched[instance_id] = InstanceWatch(instance_id, self._tokens)
        for one in self.watched.values():
            self._read_one(engine, one, now)
            if one.missing_since is not None:
                one.ended = True
                facts = {"status": None, "ended_at": None}
                self._events[-1] = WatchEvent(event="ended", at=now, instance_id=one.instance_id, facts=facts)
        self.more = max(engine.count_instances(self._where) - len(self.watched), 0) if len(ids) == self._limit else 0

    @property
    def is_finished(self) -> bool:
        """Whether all given instances have ended."""
        return self._named and all(one.ended for one in self.watched.values())

    @property
    def next_timeout(self) -> datetime | None:
        """When the next timeout of a live token passes."""
        return min((due for one in self.watched.values() if (due := one.next_timeout) is not None), default=None)


def _recovered_event(since: datetime, now: datetime, instance_id: str | None = None) -> WatchEvent:
    facts = {"after_ms": (now - since) / timedelta(milliseconds=1)}
    return WatchEvent(event="recovered", at=now, instance_id=instance_id, facts=facts)


class WatchDisplay(Protocol):
    """Shows events, and waits."""

    def show(self, watcher: InstanceWatcher, poll: Poll, events: list[WatchEvent]) -> None:
        """Show the events of a poll."""

    def wait(self, seconds: float, signal: ChangeSignal | None = None) -> bool:
        """Wait until the next poll, or for a signal; True ends the watch."""


def watch_instances(
    watcher: InstanceWatcher, poller: EnginePoller, display: WatchDisplay, *, end: datetime | None = None
) -> None:
    """Poll and show events until all given instances have ended, the end time has passed, or the display ends it."""
    polls = poll_repeatedly(
        poller, watcher.read, deadline=end, next_due=lambda: watcher.next_timeout, wait=display.wait
    )
    for poll in polls:
        display.show(watcher, poll, watcher.collect_events(poll))
        if watcher.is_finished:
            return
