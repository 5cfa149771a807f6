"""Reading many instances: how far it has come, and what could not be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tokctl.cli.app import App
from tokctl.cli.progress import progress
from tokctl.errors import UnreachableError
from tokctl.process.engine import Engine
from tokctl.render.human import count

TOLD = 5
"""Instances that could not be read, of which it is said why."""


@contextmanager
def shown_progress(engine: Engine) -> Iterator[None]:
    """Show a bar while instances are read one after another, if that takes a while.

    A question may need several readings of the same instances, one of them within another: what has been
    reached once stays reached.
    """
    with ExitStack() as stack:
        step: Callable[[float], None] | None = None
        reached = 0

        def moved(done: int, total: int | None) -> None:
            nonlocal step, reached
            if step is None:
                step = stack.enter_context(progress("Reading instances", total))
            if done > reached:
                step(done - reached)
                reached = done

        engine.watch_progress(moved)
        try:
            yield
        finally:
            engine.watch_progress(lambda _done, _total: None)


def tell_unread(app: App, engine: Engine) -> int:
    """Say on stderr which instances could not be read; returns the exit code of a command that has found nothing."""
    unread = {one.instance_id: one.message for one in engine.unread}
    if not unread:
        return 0
    reasons = [f"{instance_id}: {message}" for instance_id, message in list(unread.items())[:TOLD]]
    app.tell(f"{count(len(unread), 'instance')} could not be read: {' '.join(reasons)}{' …' * (len(unread) > TOLD)}")
    return UnreachableError.exit_code
