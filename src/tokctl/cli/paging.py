"""How much of a list is shown, and the note that says so."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from tokctl.errors import UsageError
from tokctl.render.human import count

TABLE_LIMIT = 100
"""Rows of a table unless told otherwise: what a person can look over."""

_MOST = 2**61  # what a database takes for a number, and the sum of two as well


class Slice(Struct, frozen=True):
    """Which part of a list: ``limit`` None is all of it."""

    limit: int | None
    offset: int

    @property
    def empty(self) -> str:
        """What to say of a page without items; nothing of the first, which means that nothing matches."""
        return "This page is empty." if self.offset else ""

    def notes(self, total: Callable[[], int], thing: str) -> Callable[[int], list[str]]:
        """Return what to say once so many items are out. Counting is left until it is needed."""

        def say(shown: int) -> list[str]:
            if self.limit is None or (shown < self.limit and not self.offset):
                return []
            everything = total()
            if everything == shown:
                return []
            first = self.offset + 1
            where = f"{first:,} to {self.offset + shown:,}" if shown else "none"
            return [f"Showing {where} of {count(everything, thing)}: --page for others, --limit 0 for all."]

        return say


def part(limit: int | None, page: int, output_format: str) -> Slice:
    """Work out the part of a list from ``--limit`` and ``--page``.

    Raises:
        UsageError: a further page of everything.
    """
    if limit is None and (output_format in {"table", "wide"} or page > 1):
        limit = TABLE_LIMIT
    if not limit:
        if page > 1:
            raise UsageError(f"--limit 0 is all of it: there is no page {page}.", "Leave one out.")
        return Slice(None, 0)
    return Slice(min(limit, _MOST), min((page - 1) * limit, _MOST))
