"""From filter options to filters."""

from __future__ import annotations

from datetime import datetime

from tokctl.cli.app import App
from tokctl.errors import UsageError
from tokctl.process.query import TokenFilter, check_states, check_types, parse_moment


def period(app: App, since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    """Read ``--since`` and ``--until``. Raises UsageError where nothing can lie between them."""
    begin = parse_moment(since, app.now) if since is not None else None
    end = parse_moment(until, app.now) if until is not None else None
    if begin and end and begin >= end:
        raise UsageError("--since is not before --until: nothing lies between them.")
    return begin, end


def token_filter(
    app: App,
    *,
    state: list[str] | None = None,
    types: list[str] | None = None,
    elements: list[str] | None = None,
    workers: list[str] | None = None,
    since: str | None = None,
    until: str | None = None,
    live: bool = False,
    no_completed: bool = False,
) -> TokenFilter:
    """Make a token filter of the options. Raises UsageError for what cannot mean anything."""
    begin, end = period(app, since, until)
    return TokenFilter(
        states=check_states(words(state), include_completed=not no_completed),
        types=check_types(words(types)),
        elements=tuple(elements or ()),
        workers=tuple(workers or ()),
        since=begin,
        until=end,
        live=live,
        include_completed=not no_completed,
    )


def words(values: list[str] | None) -> list[str]:
    """The values of an option that may be repeated, or hold several between commas."""
    return [word for value in values or () for word in value.split(",") if word.strip()]
