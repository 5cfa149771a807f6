"""Progress bars on stderr, on a terminal only; and reports of instances that could not be read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from time import monotonic

import click

from tokctl.cli.app import App
from tokctl.engines.protocol import Engine
from tokctl.errors import UnreachableError
from tokctl.render.result import Listing
from tokctl.render.text import count, escape_controls

MAX_REASONS_SHOWN = 5
"""Number of unreadable instances that are reported one by one."""
DELAY = 0.5  # s; faster operations show no bar


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
    move: Callable[[float], None] | None = None
    with ExitStack() as stack:

        def step(size: float) -> None:
            nonlocal done, move
            done += size
            if move is None and monotonic() - begin >= DELAY:
                move = stack.enter_context(_bar(what, total, octets=octets))
            if move is not None:
                move(done)

        yield step


def _is_quiet() -> bool:
    """Tell whether the command runs with ``--quiet``."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.obj.flags.get("quiet"))


@contextmanager
def _bar(what: str, total: float | None, *, octets: bool) -> Iterator[Callable[[float], None]]:
    """Show a bar; yields a function to call with the progress."""
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
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def show_reading_progress(engine: Engine) -> Iterator[None]:
    """Show a bar while instances are read one after another, if that takes a while.

    Instances may be read several times, also nested; the bar never moves backwards.
    """
    with ExitStack() as stack:
        step: Callable[[float], None] | None = None
        reached = 0

        def advance(done: int, total: int | None) -> None:
            nonlocal step, reached
            if step is None:
                step = stack.enter_context(progress("Reading instances", total))
            if done > reached:
                step(done - reached)
                reached = done

        engine.watch_progress(advance)
        try:
            yield
        finally:
            engine.watch_progress(lambda _done, _total: None)


def report_unread(app: App, engine: Engine) -> int:
    """Report on stderr which instances could not be read; return the exit code of a command without findings."""
    unread = {one.instance_id: one.message for one in engine.unread}
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
