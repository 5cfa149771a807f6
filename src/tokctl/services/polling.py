"""Polls an engine through times when it cannot be reached: for ``watch``, ``wait`` and ``snapshot --watch``."""

from __future__ import annotations

import errno
import select
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from tokctl.engines.protocol import ChangeSignal, Engine
from tokctl.errors import StoreError, TokctlError, UnreachableError, WrongStoreError

MAX_BACKOFF_SECONDS = 30.0
"""The longest time between two attempts during an outage."""
RATE_LIMIT_WINDOW_SECONDS = 60.0
"""The time until the next attempt if a server accepts no more requests and does not tell for how long."""
MAX_WAIT_SECONDS = 1e8
"""The longest interval and timeout; longer ones would overflow system timers."""
MIN_WAIT_FRACTION = 5
"""A due event brings the next poll forward; the minimum distance is the interval divided by this."""
MAX_SIGNAL_DELAY_SECONDS = 1.0
"""The longest time between a change that an engine tells of and the poll, as changes come in groups."""
_MAX_SYSTEM_POLL_MS = 2**31 - 1

ReadEngine = Callable[[Engine, bool], None]
"""Reads data from an engine; its argument tells whether anything may have changed since the last successful poll."""


def pause(seconds: float, stream: Any = None, signal: ChangeSignal | None = None) -> None:
    """Sleep until a time has passed, or there is a signal.

    Raises BrokenPipeError as soon as the stream has no reader any more.
    """
    if signal is not None and signal.is_set:
        return
    begin = time.monotonic()
    try:
        poller = select.poll()
        if signal is not None:
            poller.register(signal.fileno(), select.POLLIN)
        if stream is not None:
            poller.register(stream.fileno(), 0)
    except (AttributeError, OSError, ValueError):
        time.sleep(seconds)
        return
    for descriptor, happened in poller.poll(min(seconds * 1000, _MAX_SYSTEM_POLL_MS)):
        if signal is not None and descriptor == signal.fileno():
            return
        if happened & (select.POLLERR | select.POLLHUP):
            raise BrokenPipeError(errno.EPIPE, "the output has no reader")
    time.sleep(max(begin + seconds - time.monotonic(), 0))  # some systems cannot watch some streams


class Poll(Struct, frozen=True, kw_only=True):
    """One poll: when it ended, how it went, and when the next one is.

    ``next_at`` is limited by the deadline, ``retry_at`` is not. ``error`` is why the poll failed, ``is_new_error``
    whether the poll before did not fail for the same reason. ``outage_since`` is when an outage began that this poll
    ended. ``is_last`` tells that the deadline has passed.
    """

    at: datetime
    next_at: datetime
    retry_at: datetime
    error: TokctlError | None = None
    is_new_error: bool = False
    outage_since: datetime | None = None
    is_last: bool = False

    @property
    def succeeded(self) -> bool:
        """Whether the engine could be read."""
        return self.error is None


class EnginePoller:
    """Reads an engine on demand, and reopens it after a transient error.

    If the server accepts no more requests (429), the interval is doubled, up to RATE_LIMIT_WINDOW_SECONDS.
    ``signal`` tells of changes after the last poll; None if the engine can only be polled.
    ``error`` is the error of the last poll, ``failures`` the number of failed polls in a row, ``failing_since`` when
    the first of them failed.
    """

    def __init__(
        self,
        open_engine: Callable[[], Engine],
        clock: Callable[[], datetime],
        *,
        interval: float,
        engine: Engine | None = None,
    ) -> None:
        """Use ``engine`` if it is already open. ``interval`` is in seconds."""
        self._open_engine = open_engine
        self._clock = clock
        self._engine = engine
        self._is_new = True
        self.interval = interval
        self.signal: ChangeSignal | None = None
        self.error: TokctlError | None = None
        self.failures = 0
        self.failing_since: datetime | None = None

    def poll(self, read: ReadEngine, deadline: datetime | None = None) -> Poll:
        """Read the engine once.

        Raises:
            TokctlError: an error that is not transient.
        """
        error_before, outage_since = self.error, self.failing_since
        self.signal = None
        try:
            self._read(read)
        except WrongStoreError:
            raise
        except (StoreError, UnreachableError) as error:
            self.close()
            self.failures += 1
            self.failing_since = self.failing_since or self._clock()
            self.error = error
            if _is_rate_limit(error):
                self.interval = max(self.interval, min(2 * self.interval, RATE_LIMIT_WINDOW_SECONDS))
        else:
            self.failures, self.error, self.failing_since = 0, None, None
        now = self._clock()
        next_at = self.next_at(now)
        return Poll(
            at=now,
            next_at=next_at if deadline is None else min(next_at, deadline),
            retry_at=next_at,
            error=self.error,
            is_new_error=self.error is not None
            and (error_before is None or error_before.message != self.error.message),
            outage_since=outage_since if self.error is None else None,
            is_last=deadline is not None and now >= deadline,
        )

    def _read(self, read: ReadEngine) -> None:
        if self._engine is None:
            self._engine = self._open_engine()
        changed = self._engine.refresh() or self._is_new
        try:
            read(self._engine, changed)
        finally:
            self._engine.release()
        self._is_new = False
        self.signal = self._engine.listen()

    @property
    def min_wait(self) -> float:
        """The shortest time between two polls, in seconds."""
        return self.interval / MIN_WAIT_FRACTION

    def next_at(self, now: datetime) -> datetime:
        """Return when to poll next: after the interval; during an outage with increasing delays."""
        seconds = self.interval
        if self.failures:
            seconds = min(min(seconds, 1.0) * 2 ** min(self.failures - 1, 32), max(MAX_BACKOFF_SECONDS, seconds))
        if _is_rate_limit(self.error):
            told = getattr(self.error, "retry_after", None)
            seconds = max(self.interval, RATE_LIMIT_WINDOW_SECONDS if told is None else min(told, MAX_WAIT_SECONDS))
        return now + timedelta(seconds=seconds)

    def close(self) -> None:
        """Close the engine."""
        engine, self._engine, self._is_new = self._engine, None, True
        if engine is not None:
            with suppress(TokctlError, OSError):
                engine.close()


def _is_rate_limit(error: TokctlError | None) -> bool:
    return isinstance(error, UnreachableError) and error.status == 429


def poll_repeatedly(
    poller: EnginePoller,
    read: ReadEngine,
    *,
    deadline: datetime | None = None,
    next_due: Callable[[], datetime | None] = lambda: None,
    wait: Callable[..., bool | None] | None = None,
) -> Iterator[Poll]:
    """Poll until the deadline has passed, yielding each poll; the caller stops when it has what it wants.

    The last poll is at the deadline. What becomes due at ``next_due()``, or a signal of the engine, brings the next
    poll forward. ``wait`` waits for some seconds between two polls, or for a signal, which is its second argument if
    there is one, and returns True to stop (default: ``pause``).
    """
    while True:
        poll = poller.poll(read, deadline)
        due = next_due() if poll.succeeded else None
        if due is not None and due < poll.next_at:
            earliest = poll.at + timedelta(seconds=poller.min_wait)
            poll = replace(poll, next_at=min(poll.next_at, max(due, earliest)))
        yield poll
        if poll.is_last or _wait_for_next(poll, poller, wait or _pause):
            return


def _pause(seconds: float, signal: ChangeSignal | None = None) -> None:
    if signal is None:
        pause(seconds)
    else:
        pause(seconds, signal=signal)


def _wait_for_next(poll: Poll, poller: EnginePoller, wait: Callable[..., bool | None]) -> bool | None:
    seconds = max((poll.next_at - poll.at).total_seconds(), 0)
    if poller.signal is None:
        return wait(seconds)
    first = min(seconds, poller.min_wait, MAX_SIGNAL_DELAY_SECONDS)
    return wait(first) or wait(seconds - first, poller.signal)


def notify_outage(poll: Poll, notify: Callable[[str], object]) -> None:
    """Report the beginning and the end of an outage, each once."""
    if poll.error is not None and poll.is_new_error:
        notify(poll.error.message if poll.is_last else f"{poll.error.message} Retrying.")
    elif poll.outage_since is not None:
        notify("Available again.")
