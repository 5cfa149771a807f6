"""``tokctl api-tokens update``."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from tokctl.cli import options as opt
from tokctl.cli.api_tokens import options as ropt
from tokctl.cli.app import App, command
from tokctl.cli.completion import complete_api_token_type, complete_permission
from tokctl.errors import UsageError
from tokctl.model.api_tokens import FULL_ACCESS, MAX_NAME_LENGTH, ApiToken
from tokctl.model.networks import ANY_ADDRESS, find_networks_outside
from tokctl.model.scopes import WILDCARD_SCOPE
from tokctl.render import validate_query
from tokctl.render.result import Detail
from tokctl.render.views.api_tokens import update_detail
from tokctl.services.api_tokens.lookup import check_text, find_api_token


def update(
    app: App,
    token: ropt.TokenArgument,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="New name.")] = None,
    description: Annotated[str | None, typer.Option(metavar="TEXT", help="New description, '' to remove it.")] = None,
    type_: Annotated[
        str | None,
        typer.Option(
            "--type",
            metavar="TYPE",
            help="New type: read-only, full-access, or custom (Strapi).",
            autocompletion=complete_api_token_type,
        ),
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCOPE",
            autocompletion=complete_permission,
            help="New scopes, instead of all current ones (repeatable).",
        ),
    ] = None,
    allowed_cidr: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NETWORK",
            help="New networks from which the token may be used, instead of all current ones, or any (repeatable).",
        ),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="WHEN", help="New expiry: a duration from now such as 90d, a date, or never.")
    ] = None,
) -> Detail:
    """Change properties of an API token. The other properties and the secret stay the same.

    The output shows the old and the new values.
    If the API token has more rights than before, a note on stderr lists them.
    """
    from tokctl.api_tokens.custody.ledger import Ledger

    changes = _changes(app.now, name, description, type_, scope, allowed_cidr, expires)
    validate_query(app.out)
    registry = ropt.open_for_update(app)
    if "type" in changes:
        registry.check_type(changes["type"])
    if "scopes" in changes:
        changes["scopes"] = registry.check_scopes(changes["scopes"])
    before = find_api_token(registry, token)
    if "name" in changes and (
        others := [one.id for one in registry.find_by_name(changes["name"]) if one.id != before.id]
    ):
        raise UsageError(f"the name '{changes['name']}' is in use by API token {others[0]}.", "Choose another name.")
    after = registry.update(str(before.id), changes)
    if after.name != before.name:
        Ledger().rename(registry, before, after.name)
    if wider := _describe_widening(before, after):
        app.notify(f"The API token has more rights than before: {'; '.join(wider)}.")
    return update_detail(before, after, app.now)


def _changes(
    now: datetime,
    name: str | None,
    description: str | None,
    type_: str | None,
    scope: list[str] | None,
    allowed_cidr: list[str] | None,
    expires: str | None,
) -> dict[str, Any]:
    """Return the fields to change. Raises UsageError: there are none, or a value is invalid."""
    changes: dict[str, Any] = {}
    if name is not None:
        changes["name"] = check_text(name, "--name", MAX_NAME_LENGTH)
        if not changes["name"]:
            raise UsageError("--name is empty.", "Give a name that says who uses the API token.")
    if description is not None:
        changes["description"] = check_text(description, "--description") or None
    if type_ is not None:
        changes["type"] = ropt.check_type(type_)
    if scope is not None:
        changes["scopes"] = ropt.parse_scopes(scope)
    if allowed_cidr is not None:
        changes["allowed_cidrs"] = ropt.parse_networks(allowed_cidr)
    if expires is not None:
        changes["expires_at"] = ropt.parse_expiry(expires, now)
    if not changes:
        raise UsageError(
            "nothing to change.", "Give --name, --description, --type, --scope, --allowed-cidr or --expires."
        )
    return changes


def _describe_widening(before: ApiToken, after: ApiToken) -> list[str]:
    """Return the rights that an API token has gained."""
    wider = []
    if after.type == FULL_ACCESS != before.type:
        wider.append("it has full access")
    had, has = before.scopes or (), after.scopes or ()
    if WILDCARD_SCOPE not in had and (more := [scope for scope in has if scope not in had]):
        wider.append(f"it allows {', '.join(more)}")
    if before.allowed_cidrs and (
        more := find_networks_outside(after.allowed_cidrs or ANY_ADDRESS, before.allowed_cidrs)
    ):
        wider.append(f"it may be used from {', '.join(more)}")
    if before.expires_at is not None and (after.expires_at is None or after.expires_at > before.expires_at):
        wider.append("it never expires" if after.expires_at is None else "it expires later")
    return wider


app = command(
    update,
    shared_options=(*opt.STORE, *opt.SERVER, *opt.OUTPUT),
    examples=(
        "tokctl api-tokens update grafana --expires 90d",
        "tokctl api-tokens update 7 --name grafana-prod --description 'dashboards, by the ops team'",
        "tokctl api-tokens update ci --type read-only --scope process,token",
    ),
)
