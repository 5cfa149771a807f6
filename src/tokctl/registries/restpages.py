"""All pages of a list, whatever the server makes of their numbers, and whatever moves between them meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tokctl.access.model import ApiToken
from tokctl.client.answers import WRONG_PLACE
from tokctl.errors import InputError
from tokctl.registries.restwire import Page

SIZE = 100
PASSES = 5
MOST = 1_000_000  # API tokens that a server has


def every(fetch: Callable[[int, int], Page]) -> Iterator[ApiToken]:
    """Yield what stands on all pages, each id once.

    Args:
        fetch: reads a page by its number and size; the server may look at neither, and its total may be wrong.

    Raises:
        InputError: it does not come to an end, or the server does not give out all.
    """
    seen: set[str] = set()
    for _ in range(PASSES):
        totals = []
        for page in _pages(fetch):
            totals.append(page.total or 0)
            for token in page.tokens:
                if str(token.id) not in seen:
                    seen.add(str(token.id))
                    yield token
        if sorted(totals) == totals:
            return
        # Some were taken away meanwhile: those behind have moved to a page that had been read by then.


def _pages(fetch: Callable[[int, int], Page]) -> Iterator[Page]:
    read = repeated = 0
    before: list[int | str] = []
    for number in range(1, MOST // SIZE + 1):
        page = fetch(number, SIZE)
        yield page
        if not page.tokens:
            return
        read += len(page.tokens)
        if page.size == SIZE > len(page.tokens) and page.total == read:
            return
        ids = [token.id for token in page.tokens]
        repeated = repeated + 1 if ids == before else 0
        before = ids
        if repeated == 2:  # once could be because as many were created meanwhile
            yield from _at_once(fetch, page)
            return
    raise InputError(f"the list of API tokens does not come to an end: it has more than {read:,}.", WRONG_PLACE)


def _at_once(fetch: Callable[[int, int], Page], page: Page) -> Iterator[Page]:
    """What a server has that gives out the same page for every number."""
    total = page.total or 0
    if len(page.tokens) < total:
        page = fetch(1, min(total, MOST))
        yield page
    if len(page.tokens) < total:
        raise InputError(f"the server gives out {len(page.tokens):,} of {total:,} API tokens, whichever page it is "
                         "asked for.", "The others cannot be listed.")  # fmt: skip
