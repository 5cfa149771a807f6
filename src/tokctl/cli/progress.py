"""Progress bars on stderr, on a terminal only; and reports of instances that could not be read."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from time import monotonic
from typing import Protocol, TypeVar

import click

from tokctl.cli.app import App
from tokctl.engines.protocol import Engine, UnreadInstance
from tokctl.errors import UnreachableError
from tokctl.render.result import Listing
from tokctl.render.text import count, escape_controls
from tokctl.verbose_log import TRAFFIC

MAX_REASONS_SHOWN = 5
"""Number of unreadable instances that are reported one by one."""
DELAY = 0.5  # s; faster operations show no bar
READING_DELAY = 1.0  # s; the same for reading a server
READING, REQUESTING = "Reading instances", "Requests"
T = TypeVar("T")


@contextmanager
def progress(what: str, total: float | None, *, octets: bool = False) -> Iterator[Callable[[float], None]]:
    """Show a bar while the block runs, if that takes a while; yields a function to call with each step's size.

    ``total`` is the sum of all steps, None if unknown; ``octets`` tells that steps are bytes.
    """
    if not sys.stderr.isatty() or _is_quiet():
        yield lambda _: None
        return
    begin = monotonic()
    done = 0.0
    move: Callable[[str, float, float | None], None] | None = None
    with ExitStack() as stack:

        def step(size: float) -> None:
            nonlocal done, move
            done += size
            if move is None and monotonic() - begin >= DELAY:
                move = stack.enter_context(_bar(what, total, octets=octets))
            if move is not None:
                move(what, done, total)

        yield step


def _is_quiet() -> bool:
    """Tell whether the command runs with ``--quiet``."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.obj.flags.get("quiet"))


@contextmanager
def _bar(what: str, total: float | None, *, octets: bool) -> Iterator[Callable[[str, float, float | None], None]]:
    """Show a bar; yields a function to call with what it is about, the progress and the total."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn() if octets else MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(escape_controls(what), total=total)
        yield lambda what, done, total: bar.update(task, description=escape_controls(what), completed=done, total=total)


class ReadingProgress:
    """A bar while a server is read for more than ``READING_DELAY``: instances read, and their total if it is known.

    As long as no instance has been read, it shows the number of requests. Instances may be read several times, also
    nested; the bar never moves backwards. ``hide`` removes the bar before anything else is written to the terminal;
    reading on may show it again. The bar appears even while the program waits for one long response.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._bar: ExitStack | None = None
        self._update: Callable[[str, float, float | None], None] = lambda _what, _done, _total: None
        self._requests = self._done = 0
        self._total: int | None = None

    def count_request(self) -> None:
        """Count a request. The first call starts the time until the bar is shown."""
        with self._lock:
            self._requests += 1
            self._refresh()

    def advance(self, done: int, total: int | None) -> None:
        """Take note of the instances read so far. The first call starts the time until the bar is shown."""
        with self._lock:
            self._done, self._total = max(self._done, done), total if total is not None else self._total
            self._refresh()

    def _refresh(self) -> None:
        if self._bar is not None:
            if self._done or not self._requests:
                self._update(READING, self._done, self._total)
            else:
                self._update(REQUESTING, self._requests, None)
        elif self._timer is None:
            self._timer = threading.Timer(READING_DELAY, self._show)
            self._timer.daemon = True
            self._timer.start()

    def _show(self) -> None:
        with self._lock:
            if self._timer is None or self._bar is not None:
                return
            self._bar = ExitStack()
            self._update = self._bar.enter_context(_bar(REQUESTING, None, octets=False))
            self._refresh()

    def hide(self) -> None:
        """Remove the bar."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            if self._bar is not None:
                self._bar.close()
            self._timer = self._bar = None

    def hide_before_each(self, items: Iterable[T]) -> Iterator[T]:
        """Yield items that are written to the terminal; the bar is shown only while the next one is read."""
        for item in items:
            self.hide()
            yield item
        self.hide()


def watch_reading(engine: Engine) -> ReadingProgress | None:
    """Show how far an engine has read, if stderr is a terminal; the caller has to hide the bar."""
    if not sys.stderr.isatty() or _is_quiet():
        return None
    shown = ReadingProgress()
    engine.watch_progress(shown.advance)
    TRAFFIC.on_request = shown.count_request
    return shown


class InstanceSource(Protocol):
    """What reads instances, such as an engine."""

    @property
    def unread(self) -> Sequence[UnreadInstance]:
        """The instances that could not be read."""


def report_unread(app: App, source: InstanceSource) -> int:
    """Report on stderr which instances could not be read; return the exit code of a command without findings."""
    unread = {one.instance_id: one.message for one in source.unread}
    if not unread:
        return 0
    reasons = [f"{instance_id}: {message}" for instance_id, message in list(unread.items())[:MAX_REASONS_SHOWN]]
    app.warn(
        f"Cannot read {count(len(unread), 'instance')}: {' '.join(reasons)}{' …' * (len(unread) > MAX_REASONS_SHOWN)}"
    )
    return UnreachableError.exit_code


def report_unread_afterwards(app: App, engine: Engine, listing: Listing) -> None:
    """Report unreadable instances after a streamed list has been written."""
    notes = listing.notes

    def report(shown: int) -> list[str]:
        listing.exit_code = listing.exit_code or report_unread(app, engine)
        return notes(shown)

    listing.notes = report
