"""The options of commands that poll: ``--interval``, ``--until``, ``--timeout``; and the poller."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial

from tokctl.cli.app import App
from tokctl.engines import open_engine
from tokctl.engines.projection import Projection
from tokctl.engines.protocol import Engine
from tokctl.errors import UsageError
from tokctl.model.durations import parse_duration
from tokctl.model.time_expressions import parse_time_or_age
from tokctl.services.polling import MAX_WAIT_SECONDS, EnginePoller


def parse_interval(text: str, option: str) -> float:
    """Parse a duration in seconds. Raises UsageError if it is invalid or zero."""
    seconds = parse_timeout(text)
    if not seconds:
        raise UsageError(f"{option} must be greater than 0.", "Give a duration such as 1s or 500ms.")
    return seconds


def parse_timeout(text: str) -> float:
    """Parse a duration in seconds, which may be zero. Raises UsageError if it is invalid."""
    return min(parse_duration(text).total_seconds(), MAX_WAIT_SECONDS)


def parse_end(text: str, now: datetime) -> datetime:
    """Parse ``--until``: a time, or a duration from now. Raises UsageError for a time that has passed."""
    try:
        return now + parse_duration(text)
    except UsageError:
        moment = parse_time_or_age(text, now)
    except OverflowError:
        raise UsageError(f"'{text}' is too far in the future.", "The last year is 9999.") from None
    if moment <= now:
        raise UsageError(f"--until {text} is in the past.", "Give a time in the future, or a duration from now.")
    return moment


def reject_file_source(app: App) -> None:
    """Raise UsageError for ``--file``: a file is read once and does not change."""
    if app.settings.file is not None:
        raise UsageError("--file does not apply: a file does not change.", "Use a store or a server.")


def create_poller(app: App, engine: Engine | None, interval: float) -> EnginePoller:
    """Create a poller of the engine that the settings name. ``engine`` is that engine, if it is open already."""
    app.stop_progress()
    reopen: Callable[[], Engine] = partial(open_engine, app.settings, Projection.TOKENS)
    return EnginePoller(reopen, app.clock, interval=interval, engine=engine)
