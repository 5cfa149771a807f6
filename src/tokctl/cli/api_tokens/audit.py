"""``tokctl api-tokens audit``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from tokctl.api_tokens.audit import ChainCheck, check_chain
from tokctl.cli import options as opt
from tokctl.cli.api_tokens import options as ropt
from tokctl.cli.app import App, command
from tokctl.errors import UsageError
from tokctl.render.result import Detail, Listing
from tokctl.render.views.audit import audit_listing, chain_check_detail
from tokctl.services.api_tokens.lookup import find_api_token, is_api_token_id

if TYPE_CHECKING:
    from tokctl.api_tokens.registries.protocol import Registry

VERIFY = "verify"
DEFAULT_TABLE_ROWS = 50
"""Default number of entries in a table."""
MAX_LIMIT = (1 << 63) - 2
"""Maximum number of entries: one more still fits into a database integer."""
MAX_CHAIN_READS = 3

_HASH = re.compile("[0-9a-f]{8,64}")


def audit(
    app: App,
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[verify]",
            help="Check the integrity of the whole audit log.",
            show_default=False,
            autocompletion=lambda: [VERIFY],
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN",
            help="Only entries about this API token: id (also of a revoked one) or name.",
            autocompletion=ropt.complete_api_token,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--limit",
            min=0,
            metavar="N",
            show_default=False,
            help="Maximum number of entries, 0 for all (default: 50 in tables, all in other formats).",
        ),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Show all entries, the same as --limit 0.")] = False,
    head: Annotated[
        str | None,
        typer.Option(
            metavar="HASH",
            help="With verify: a hash that you noted earlier and that must be in the chain. The first 8 digits are "
            "enough.",
        ),
    ] = None,
) -> Detail | Listing:
    """Show the audit log of API tokens: who did what, when and from where, newest first.

    Each entry contains a hash of itself and the entry before it. 'audit verify' detects changed and missing entries and
    prints the hash at the end of the chain. Note that hash elsewhere: with --head, 'audit verify' also detects a chain
    that was rebuilt.
    """
    if what is not None:
        if what != VERIFY:
            raise UsageError(f"unknown argument '{what}'.", "Use 'audit verify', or --token for an API token.")
        if token is not None or limit is not None or all_:
            raise UsageError("'audit verify' checks the whole chain.", "Remove --token, --limit and --all.")
        expected_hash = None if head is None else _parse_head_hash(head)
        return chain_check_detail(_check_audit_chain(app.open_registry(), expected_hash))
    if head is not None:
        raise UsageError("--head needs 'audit verify'.", "Remove it, or add verify.")
    return _entries(app, app.open_registry(), token, 0 if all_ else limit)


def _entries(app: App, registry: Registry, token: str | None, limit: int | None) -> Listing:
    if limit is None:
        limit = DEFAULT_TABLE_ROWS if app.out.format in {"table", "wide"} and app.out.query is None else 0
    number = token if token is None or is_api_token_id(token) else str(find_api_token(registry, token).id)
    if not limit:
        return audit_listing(registry.audit(token_id=number, newest=True), app.now)
    limit = min(limit, MAX_LIMIT)
    found = [*registry.audit(token_id=number, limit=limit + 1, newest=True)]
    notes = [f"Showing the newest {limit:,}: --limit for more, --all for all."] if len(found) > limit else []
    return audit_listing(found[:limit], app.now, notes=lambda _: notes)


def _check_audit_chain(registry: Registry, expected_hash: str | None) -> ChainCheck:
    """Check the chain; once more if entries were added in the meantime."""
    head = registry.audit_head()
    for _ in range(MAX_CHAIN_READS):
        checked = check_chain(registry.audit(), head, expected_hash)
        now = registry.audit_head()
        if not checked.fault or now == head:
            break
        head = now
    return checked


def _parse_head_hash(text: str) -> str:
    found = text.strip().lower()
    if not _HASH.fullmatch(found):
        raise UsageError(f"invalid --head '{text}': not a hash.", "Give at least the first 8 digits of a hash.")
    return found


app = command(
    audit,
    shared_options=(*opt.STORE, *opt.SERVER, *opt.OUTPUT),
    examples=(
        "tokctl api-tokens audit --token grafana",
        "tokctl api-tokens audit --all -o ndjson > audit.ndjson",
        "tokctl api-tokens audit verify --head 3f1c88a2",
    ),
)
