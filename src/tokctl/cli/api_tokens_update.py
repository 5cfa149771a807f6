"""``tokctl api-tokens update``."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from tokctl.access.model import FULL_ACCESS, LONGEST_NAME, ApiToken
from tokctl.access.scopes import EVERY, check_scopes
from tokctl.cli import options as opt
from tokctl.cli import registry_options as ropt
from tokctl.cli.app import App, command
from tokctl.cli.complete import complete_api_token_type, complete_permission
from tokctl.cli.filters import words
from tokctl.errors import UsageError
from tokctl.render import check_output
from tokctl.render.result import Detail
from tokctl.render.views.api_tokens import update_detail


def update(
    app: App,
    token: ropt.Key,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Call it so from now on.")] = None,
    description: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What it is for; '' takes away what is there.")
    ] = None,
    type_: Annotated[
        str | None,
        typer.Option(
            "--type",
            metavar="TYPE",
            help="read-only, or full-access to change things, too.",
            autocompletion=complete_api_token_type,
        ),
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PERMISSION",
            autocompletion=complete_permission,
            help="All that it is to allow, in place of what it does now; may be repeated.",
        ),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="WHEN", help="A span from now such as 90d, a date, or never.")
    ] = None,
) -> Detail:
    """Change what is given of an API token, and nothing else; its secret stays the same.

    Says what it was before and what it is now. What lets the token do more than before is told on stderr.
    """
    changes = _changes(app.now, name, description, type_, scope, expires)
    check_output(app.out)
    registry = ropt.open_to_change(app)
    before = ropt.find(registry, token)
    if "name" in changes and (others := [one.id for one in registry.named(changes["name"]) if one.id != before.id]):
        raise UsageError(f"there is an API token named '{changes['name']}' already: {others[0]}.",
                         "Choose another name.")  # fmt: skip
    after = registry.update(str(before.id), changes)
    if wider := _wider(before, after):
        app.tell(f"It may do more than before: {'; '.join(wider)}.")
    return update_detail(before, after, app.now)


def _changes(
    now: datetime,
    name: str | None,
    description: str | None,
    type_: str | None,
    scope: list[str] | None,
    expires: str | None,
) -> dict[str, Any]:
    """The members that were given. Raises UsageError for none, and for what cannot mean anything."""
    changes: dict[str, Any] = {}
    if name is not None:
        changes["name"] = ropt.check_text(name, "--name", LONGEST_NAME)
        if not changes["name"]:
            raise UsageError("--name is empty.", "Give one that says who uses the API token.")
    if description is not None:
        changes["description"] = ropt.check_text(description, "--description") or None
    if type_ is not None:
        changes["type"] = ropt.check_type(type_)
    if scope is not None:
        changes["scopes"] = check_scopes(words(scope, "--scope"))
    if expires is not None:
        changes["expires_at"] = ropt.parse_expiry(expires, now)
    if not changes:
        raise UsageError("nothing is to be changed.",
                         "Give --name, --description, --type, --scope or --expires.")  # fmt: skip
    return changes


def _wider(before: ApiToken, after: ApiToken) -> list[str]:
    """What an API token may do now that it could not do before."""
    wider = []
    if after.type == FULL_ACCESS != before.type:
        wider.append("it has full access")
    had, has = before.scopes or (), after.scopes or ()
    if EVERY not in had and (more := [scope for scope in has if scope not in had]):
        wider.append(f"it allows {', '.join(more)}")
    if before.expires_at is not None and (after.expires_at is None or after.expires_at > before.expires_at):
        wider.append("it never expires" if after.expires_at is None else "it expires later")
    return wider


app = command(
    update,
    takes=(*opt.STORE, *opt.SERVER, *opt.OUTPUT),
    examples=(
        "tokctl api-tokens update grafana --expires 90d",
        "tokctl api-tokens update 7 --name grafana-prod --description 'dashboards, by the ops team'",
        "tokctl api-tokens update ci --type read-only --scope process,token",
    ),
)
