"""``tokctl api-tokens list``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated

import typer

from tokctl.access.model import ApiToken
from tokctl.cli import options as opt
from tokctl.cli import registry_options as ropt
from tokctl.cli.app import App, command
from tokctl.errors import UsageError
from tokctl.render.human import count
from tokctl.render.result import Document, Listing
from tokctl.render.views.api_tokens import token_listing

PAGE_SIZE = 10
_PAGES = "How many"


def list_tokens(
    app: App,
    expired: ropt.Expired = False,
    expiring: ropt.Expiring = None,
    unused: ropt.Unused = None,
    type_: ropt.Type = None,
    scope: ropt.Scopes = None,
    created_by: ropt.CreatedBy = None,
    name: ropt.Name = None,
    page: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Which page.", rich_help_panel=_PAGES, show_default=False),
    ] = None,
    page_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=100,
            metavar="N",
            rich_help_panel=_PAGES,
            show_default=False,
            help="So many on a page, 100 at most; 10 unless told.",
        ),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Show all of them, not a page.", rich_help_panel=_PAGES)] = False,
    fail_if_any: Annotated[
        bool, typer.Option("--fail-if-any", help="Exit with 1 if there is one to be shown: for checks.")
    ] = False,
) -> Listing:
    """List API tokens, the newest first; revoked ones are gone.

    A table shows one page of them; --all shows all, and so do filters and the other formats. Of a secret the first 8
    characters are shown.
    """
    where = ropt.api_token_filter(
        expired=expired, expiring=expiring, unused=unused, type_=type_, scope=scope, created_by=created_by, name=name
    )
    paged = page is not None or page_size is not None
    if paged and (all_ or not where.asks_for_all):
        what = "--all" if all_ else "A filter"
        raise UsageError(f"{what} shows all that there are: it has no pages.", "Leave out --page and --page-size.")
    registry = app.open_registry()
    for_people = app.out.format in {"table", "wide"} and app.out.query is None
    if paged or (for_people and where.asks_for_all and not all_):
        listing = _page(registry.page(page or 1, page_size or PAGE_SIZE), page or 1, page_size or PAGE_SIZE, app)
    else:
        listing = _all(ropt.matching(registry.list(), where, app.now), app)
        if where.asks_for_all:
            listing.empty = NONE
    if fail_if_any:
        listing.items = _failing(listing.items, listing)
    return listing


NONE = "There are no API tokens. 'tokctl api-tokens create NAME' makes one."


def _page(found: tuple[Iterable[ApiToken], int], page: int, size: int, app: App) -> Listing:
    tokens, total = found
    first = (page - 1) * size + 1

    def notes(shown: int) -> list[str]:
        if shown == total or not shown:
            return []
        other = f"--page {page + 1} for the next" if first + shown <= total else f"--page {page - 1} for those before"
        return [f"Showing {first:,} to {first + shown - 1:,} of {count(total, 'API token')}: {other}, --all for all."]

    pages = -(-total // size)
    behind = f"There is no page {page:,}: {count(total, 'API token')} make {count(pages, 'page')}." if total else NONE
    return token_listing(tokens, app.now, tail=lambda: _meta(page, size, total), notes=notes, empty=behind)


def _all(tokens: Iterable[ApiToken], app: App) -> Listing:
    shown = 0

    def counted() -> Iterator[ApiToken]:
        nonlocal shown
        for token in tokens:
            shown += 1
            yield token

    return token_listing(counted(), app.now, tail=lambda: _meta(1, shown, shown))


def _meta(page: int, size: int, total: int) -> Document:
    return {"meta": {"pagination": {"page": page, "pageSize": size, "total": total}}}


def _failing(tokens: Iterable[ApiToken], listing: Listing) -> Iterator[ApiToken]:
    for token in tokens:
        listing.exit_code = 1
        yield token


app = command(
    list_tokens,
    takes=(*opt.STORE, *opt.SERVER, *opt.OUTPUT),
    examples=(
        "tokctl api-tokens list",
        "tokctl api-tokens list --unused 90d -o wide",
        "tokctl api-tokens list --expiring 30d --fail-if-any",
        "tokctl api-tokens list --server https://cms.example -o json --query 'data[].name'",
    ),
)
