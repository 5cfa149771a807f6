"""Filters and pages from command-line options."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from tokctl.cli.app import App
from tokctl.errors import UsageError
from tokctl.model.filters import TokenFilter, validate_states, validate_types
from tokctl.model.time_expressions import parse_period
from tokctl.render.result import Output
from tokctl.render.text import count

TABLE_LIMIT = 100
"""Rows of a table on a terminal, unless ``--limit`` says otherwise."""
_MAX_OFFSET = 2**61  # fits into a database integer, and so does the sum of two


def build_token_filter(
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
    """Return the token filter of the options. Raises UsageError for an invalid value."""
    begin, end = parse_period(since, until, app.now)
    return TokenFilter(
        states=validate_states(words(state, "--state"), include_completed=not no_completed),
        types=validate_types(words(types, "--type")),
        elements=check_patterns(elements, "--element"),
        workers=check_patterns(workers, "--worker"),
        since=begin,
        until=end,
        live=live,
        include_completed=not no_completed,
    )


def words(values: list[str] | None, option: str) -> list[str]:
    """Return the values of a repeatable option, which may also be separated by commas.

    Raises:
        UsageError: it is empty: an empty variable in a script must not select everything.
    """
    found = [word for value in values or () for word in value.split(",") if word.strip()]
    if values and not found:
        raise UsageError(f"{option} is empty.", "Give it a value, or remove it.")
    return found


def check_patterns(values: list[str] | None, option: str) -> tuple[str, ...]:
    """Return the patterns of a repeatable option. Raises UsageError for an empty one."""
    if values and not all(values):
        raise UsageError(f"{option} is empty.", "Give it a pattern, or remove it.")
    return tuple(values or ())


class PageRange(Struct, frozen=True):
    """The requested part of a list; ``limit`` None is all of it."""

    limit: int | None
    offset: int

    @property
    def empty(self) -> str:
        """The text for a page without items; empty for the first page, where nothing matches."""
        return "This page is empty." if self.offset else ""

    def notes(self, total: Callable[[], int], thing: str) -> Callable[[int], list[str]]:
        """Return the notes after a number of items has been written. Items are only counted if necessary."""

        def format_notes(shown: int) -> list[str]:
            if self.limit is None or (shown < self.limit and not self.offset):
                return []
            total_count = total()
            if total_count == shown:
                return []
            first = self.offset + 1
            where = f"{first:,} to {self.offset + shown:,}" if shown else "none"
            return [f"Showing {where} of {count(total_count, thing)}. Use --page for more, --limit 0 for all."]

        return format_notes


def page_range(limit: int | None, page: int, out: Output) -> PageRange:
    """Return the part of a list that ``--limit`` and ``--page`` request; without them TABLE_LIMIT rows on a terminal.

    Raises:
        UsageError: a further page of everything.
    """
    if limit is None and ((out.tty and out.format in {"table", "wide"}) or page > 1):
        limit = TABLE_LIMIT
    if not limit:
        if page > 1:
            raise UsageError(f"--limit 0 shows all rows: there is no page {page}.", "Remove --limit or --page.")
        return PageRange(None, 0)
    return PageRange(min(limit, _MAX_OFFSET), min((page - 1) * limit, _MAX_OFFSET))
