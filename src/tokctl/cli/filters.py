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
        states=check_states(words(state, "--state"), include_completed=not no_completed),
        types=check_types(words(types, "--type")),
        elements=patterns(elements, "--element"),
        workers=patterns(workers, "--worker"),
        since=begin,
        until=end,
        live=live,
        include_completed=not no_completed,
    )


def words(values: list[str] | None, option: str) -> list[str]:
    """The values of an option that may be repeated, or hold several between commas.

    Raises:
        UsageError: it was given, and names nothing: a script's empty variable must not show everything.
    """
    found = [word for value in values or () for word in value.split(",") if word.strip()]
    if values and not found:
        raise UsageError(f"{option} names nothing.", "Give it a value, or leave it out.")
    return found


def patterns(values: list[str] | None, option: str) -> tuple[str, ...]:
    """The patterns of an option that may be repeated. Raises UsageError for an empty one."""
    if values and not all(values):
        raise UsageError(f"{option} names nothing.", "Give it a pattern, or leave it out.")
    return tuple(values or ())
