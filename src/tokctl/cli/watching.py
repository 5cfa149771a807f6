"""Looking at an engine again and again, through times when it cannot be reached."""

from __future__ import annotations

import errno
import select
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from tokctl.cli.app import App
from tokctl.engines import open_engine
from tokctl.engines.base import Reading
from tokctl.errors import StoreError, TokctlError, UnreachableError, UsageError, WrongStoreError
from tokctl.process.engine import Engine
from tokctl.process.query import parse_moment, parse_span

LONGEST = 30.0  # s between two attempts at what does not answer

AGES = 1e8  # s; nobody waits any longer
_POLLED = 2**31 - 1  # ms that a poll can take


def pause(seconds: float, stream: Any = None) -> None:
    """Sleep. Raises BrokenPipeError as soon as nobody reads from the stream any more."""
    try:
        poller = select.poll()
        poller.register(stream.fileno(), 0)
    except (AttributeError, OSError, ValueError):
        time.sleep(seconds)
        return
    begin = time.monotonic()
    for _, happened in poller.poll(min(seconds * 1000, _POLLED)):
        if happened & (select.POLLERR | select.POLLHUP):
            raise BrokenPipeError(errno.EPIPE, "nobody reads the output")
    time.sleep(max(begin + seconds - time.monotonic(), 0))  # some systems cannot watch some streams


def seconds_of(text: str, option: str) -> float:
    """Read a span of an option in seconds. Raises UsageError for none, and for one of no length."""
    seconds = parse_span(text).total_seconds()
    if not seconds:
        raise UsageError(f"{option} {text} is no time at all.", "Give one such as 1s or 500ms.")
    return min(seconds, AGES)


def end_of(text: str, now: datetime) -> datetime:
    """Read --until: a time, or a span from now. Raises UsageError for a time that has passed."""
    try:
        return now + parse_span(text)
    except UsageError:
        moment = parse_moment(text, now)
    except OverflowError:
        raise UsageError(f"'{text}' lies behind the end of the calendar.") from None
    if moment <= now:
        raise UsageError(f"--until {text} has passed already.")
    return moment


def refuse_file(app: App) -> None:
    """Raise UsageError for --file: what was read once stays as it is."""
    if app.settings.file is not None:
        raise UsageError("a file is read once, and nothing in it will change.", "Leave --file out to look at a store.")


class Poll:
    """Looks at an engine when it is told to; opens it anew after an error that waiting may mend.

    ``error`` is what stood in the way of the last look, ``failures`` how often in a row.
    """

    def __init__(self, app: App, engine: Engine | None, *, interval: float) -> None:
        self._settings = app.settings
        self._clock = app.clock
        self._engine = engine
        self._new = True
        self.interval = interval
        self.error: TokctlError | None = None
        self.failures = 0
        self.failing_since: datetime | None = None

    def look(self, read: Callable[[Engine, bool], None]) -> bool:
        """Look: ``read`` gets the engine, and whether anything may have changed since its last success.

        Returns whether that worked. Raises what no waiting mends.
        """
        try:
            self._read(read)
        except WrongStoreError:
            raise
        except (StoreError, UnreachableError) as error:
            self.close()
            self.failures += 1
            self.failing_since = self.failing_since or self._clock()
            self.error = error
            return False
        self.failures, self.error, self.failing_since = 0, None, None
        return True

    def _read(self, read: Callable[[Engine, bool], None]) -> None:
        if self._engine is None:
            self._engine = open_engine(self._settings, Reading.TOKENS)
        changed = self._engine.refresh() or self._new
        try:
            read(self._engine, changed)
        finally:
            self._engine.rest()
        self._new = False

    def next(self, now: datetime) -> datetime:
        """When to look next: after the interval; after an error soon, and then at ever greater distance."""
        seconds = self.interval
        if self.failures:
            seconds = min(min(seconds, 1.0) * 2 ** min(self.failures - 1, 32), max(LONGEST, seconds))
        return now + timedelta(seconds=seconds)

    def close(self) -> None:
        """Let go of the engine."""
        engine, self._engine, self._new = self._engine, None, True
        if engine is not None:
            with suppress(TokctlError, OSError):
                engine.close()
