"""``tokctl api-tokens audit``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from tokctl.access.audit import Checked, check_chain
from tokctl.cli import options as opt
from tokctl.cli import registry_options as ropt
from tokctl.cli.app import App, command
from tokctl.errors import UsageError
from tokctl.render.result import Detail, Listing
from tokctl.render.views.audit import audit_listing, checked_detail

if TYPE_CHECKING:
    from tokctl.registries.base import Registry

VERIFY = "verify"
SHOWN = 50
"""Entries in a table unless told otherwise."""
TRIES = 3

_HASH = re.compile("[0-9a-f]{8,64}")


def audit(
    app: App,
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[verify]",
            help="Look the whole chain through, rather than show it.",
            show_default=False,
            autocompletion=lambda: [VERIFY],
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN",
            help="Only what was done to this API token: its id, also of a revoked one, or its name.",
            autocompletion=ropt.complete_api_token,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--limit",
            min=0,
            max=(1 << 63) - 1,
            metavar="N",
            show_default=False,
            help="At most so many; 0 for all. Tables show 50 unless told, other formats all.",
        ),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="All of them: the same as --limit 0.")] = False,
    head: Annotated[
        str | None,
        typer.Option(
            metavar="HASH",
            help="With verify: a hash that was noted before, which has to be in the chain; "
            "its first 8 digits are enough.",
        ),
    ] = None,
) -> Detail | Listing:
    """Show who did what to which API token when, and from where: the newest first.

    Each entry holds a hash over itself and the one before: 'audit verify' finds one that was changed, or is missing. It
    prints the hash at the end of the chain. Note it elsewhere: against --head, even a chain that was made anew shows.
    """
    if what is not None:
        if what != VERIFY:
            raise UsageError(f"'{what}' means nothing here.", "Say 'audit verify', or --token for an API token.")
        if token is not None or limit is not None or all_:
            raise UsageError("the whole chain is looked through.", "Leave out --token, --limit and --all.")
        return checked_detail(_check(app.open_registry(), None if head is None else _noted(head)))
    if head is not None:
        raise UsageError("--head is for 'audit verify'.", "Leave it out, or say verify.")
    return _entries(app, app.open_registry(), token, 0 if all_ else limit)


def _entries(app: App, registry: Registry, token: str | None, limit: int | None) -> Listing:
    if limit is None:
        for_people = app.out.format in {"table", "wide"} and app.out.query is None
        limit = SHOWN if for_people else 0
    number = token if token is None or ropt.is_number(token) else str(ropt.find(registry, token).id)
    if not limit:
        return audit_listing(registry.audit(token_id=number, newest=True))
    found = [*registry.audit(token_id=number, limit=limit + 1, newest=True)]
    notes = [f"Showing the newest {limit:,}: --limit for more, --all for all."] if len(found) > limit else []
    return audit_listing(found[:limit], notes=lambda _: notes)


def _check(registry: Registry, noted: str | None) -> Checked:
    """Look the chain through; once more where entries came in the meantime."""
    head = registry.audit_head()
    for _ in range(TRIES):
        checked = check_chain(registry.audit(), head, noted)
        now = registry.audit_head()
        if not checked.fault or now == head:
            break
        head = now
    return checked


def _noted(text: str) -> str:
    found = text.strip().lower()
    if not _HASH.fullmatch(found):
        raise UsageError(f"--head {text} is no hash of the audit.", "Give at least the first 8 digits of one.")
    return found


app = command(
    audit,
    takes=(*opt.STORE, *opt.SERVER, *opt.OUTPUT),
    examples=(
        "tokctl api-tokens audit --token grafana",
        "tokctl api-tokens audit --all -o ndjson > audit.ndjson",
        "tokctl api-tokens audit verify --head 3f1c88a2",
    ),
)
