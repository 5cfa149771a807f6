"""``tokctl api-tokens list``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokctl.cli import options as opt
from tokctl.cli.api_tokens import options as ropt
from tokctl.cli.app import App, command
from tokctl.documents.api_tokens import ApiTokenOverviewMeta, ListedPage
from tokctl.errors import UsageError
from tokctl.model.api_tokens import ApiToken
from tokctl.render.result import Listing
from tokctl.render.text import count
from tokctl.render.views.api_tokens import api_token_listing
from tokctl.services.api_tokens.succession import Successions

if TYPE_CHECKING:
    from tokctl.api_tokens.registries.protocol import Registry

PAGE_SIZE = 10
EMPTY_MESSAGE = "There are no API tokens. Create one with 'tokctl api-tokens create NAME'."
_pages = partial(typer.Option, rich_help_panel="How many", show_default=False)


def list_tokens(
    app: App,
    expired: ropt.Expired = False,
    expiring: ropt.Expiring = None,
    unused: ropt.Unused = None,
    type_: ropt.Type = None,
    scope: ropt.Scopes = None,
    created_by: ropt.CreatedBy = None,
    name: ropt.Name = None,
    page: Annotated[int | None, _pages(min=1, metavar="N", help="Page number.")] = None,
    page_size: Annotated[
        int | None, _pages(min=1, max=100, metavar="N", help="Tokens per page, at most 100 (default: 10).")
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Show all tokens, without pages.", rich_help_panel="How many")
    ] = False,
    fail_if_any: Annotated[
        bool, typer.Option("--fail-if-any", help="Exit with code 1 if there are any tokens to show.")
    ] = False,
) -> Listing:
    """List API tokens, newest first. Revoked API tokens are not listed.

    Tables show one page. With --all, with filters, and in other output formats, all tokens are shown. Only the first
    8 characters of secrets are shown.
    """
    where = ropt.api_token_filter(
        expired=expired, expiring=expiring, unused=unused, type_=type_, scope=scope, created_by=created_by, name=name
    )
    paged = page is not None or page_size is not None
    if paged and (all_ or not where.is_empty):
        what = "--all" if all_ else "A filter"
        raise UsageError(f"{what} shows all tokens, without pages.", "Remove --page and --page-size.")
    registry = app.open_registry()
    for_people = app.out.format in {"table", "wide"} and app.out.query is None
    if paged or (for_people and where.is_empty and not all_):
        listing = _page(registry, page or 1, page_size or PAGE_SIZE, app)
    else:
        matching = (token for token in registry.list() if where.matches(token, app.now))
        listing = _all(matching, app, Successions(registry))
        if where.is_empty:
            listing.empty = EMPTY_MESSAGE
    if fail_if_any:
        listing.items = _fail_if_any(listing.items, listing)
    return listing


def _page(registry: Registry, page: int, size: int, app: App) -> Listing:
    tokens, total = registry.page(page, size)
    first = (page - 1) * size + 1

    def notes(shown: int) -> list[str]:
        if shown == total or not shown:
            return []
        other = (
            f"--page {page + 1} for the next page"
            if first + shown <= total
            else f"--page {page - 1} for the previous page"
        )
        return [
            f"Showing {first:,} to {first + shown - 1:,} of {count(total, 'API token')}. Use {other}, --all for all."
        ]

    pages = count(-(-total // size), "page")
    behind = f"There is no page {page:,}: {count(total, 'API token')} on {pages}." if total else EMPTY_MESSAGE
    return api_token_listing(
        tokens,
        app.now,
        successions=Successions(registry),
        tail=lambda: _meta(page, size, total),
        notes=notes,
        empty=behind,
    )


def _all(tokens: Iterable[ApiToken], app: App, successions: Successions) -> Listing:
    shown = 0

    def counted() -> Iterator[ApiToken]:
        nonlocal shown
        for token in tokens:
            shown += 1
            yield token

    return api_token_listing(counted(), app.now, successions=successions, tail=lambda: _meta(1, shown, shown))


def _meta(page: int, size: int, total: int) -> dict[str, Any]:
    return {"meta": ApiTokenOverviewMeta(pagination=ListedPage(page=page, page_size=size, total=total))}


def _fail_if_any(tokens: Iterable[ApiToken], listing: Listing) -> Iterator[ApiToken]:
    for token in tokens:
        listing.exit_code = 1
        yield token


app = command(
    list_tokens,
    shared_options=(*opt.STORE, *opt.SERVER, *opt.OUTPUT),
    examples=(
        "tokctl api-tokens list",
        "tokctl api-tokens list --unused 90d -o wide",
        "tokctl api-tokens list --expiring 30d --fail-if-any",
        "tokctl api-tokens list --server https://cms.example -o json --query 'data[].name'",
    ),
)
