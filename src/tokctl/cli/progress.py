"""Progress bars on stderr: on a terminal, and only there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from time import monotonic

from tokctl.render.human import safe

DELAY = 0.5  # s; what is done sooner needs no bar


@contextmanager
def progress(what: str, total: float | None, *, octets: bool = False) -> Iterator[Callable[[float], None]]:
    """Show a bar while the block runs, if that takes a while; yields what to call with each step's size.

    Args:
        what: what is being done.
        total: the sum of all steps; None where nobody knows.
        octets: whether steps are bytes.
    """
    if not sys.stderr.isatty():
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


@contextmanager
def _bar(what: str, total: float | None, *, octets: bool) -> Iterator[Callable[[float], None]]:
    """Show a bar; yields what to call with how far it is."""
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
        task = bar.add_task(safe(what), total=total)
        yield lambda done: bar.update(task, completed=done)
