"""``tokctl api-tokens create``."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from typing import Annotated, cast

import typer

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.filters import words
from tokctl.errors import UsageError
from tokctl.process.query import parse_moment, parse_span, suggest

LASTS = "90d"
NEVER = "never"


def create(
    app: App,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.", show_default=False)],
    description: Annotated[str | None, typer.Option(metavar="TEXT", help="What it is for.")] = None,
    type_: Annotated[
        str, typer.Option("--type", metavar="TYPE", help="read-only, or full-access to change things, too.")
    ] = "read-only",
    scope: Annotated[
        list[str] | None,
        typer.Option(metavar="PERMISSION", help="What it allows, such as process or token; may be repeated."),
    ] = None,
    expires: Annotated[str, typer.Option(metavar="WHEN", help="A span such as 90d, a date, or never.")] = LASTS,
    show_secret: Annotated[bool, typer.Option("--show-secret", help="Print the secret: now, and never again.")] = False,
) -> int:
    """Create an API token for the servers of a store.

    Its secret is printed alone, on stdout; the store keeps nothing that it could be made from.
    """
    from tokctl.access.audit import Actor
    from tokctl.access.model import TYPES, NewApiToken
    from tokctl.access.scopes import check_scopes
    from tokctl.access.secret import digest, generate, mask
    from tokctl.pepper import load_pepper

    if not name.strip():
        raise UsageError("the API token has no name.", "Give one that says who uses it.")
    if type_ not in TYPES:
        raise UsageError(f"there is no type '{type_}'{suggest(type_, TYPES)}.", f"Valid: {', '.join(TYPES)}.")
    scopes = check_scopes(words(scope, "--scope") or ["process"])
    until = _end(expires, app.now)
    if not show_secret:
        raise UsageError("nobody would ever see the secret.", "Say --show-secret to have it printed.")
    store = app.store(write=True, create=True)
    pepper = load_pepper(os.environ, create=True)
    secret = generate()
    made = store.api_tokens.create(
        NewApiToken(
            name=name.strip(),
            description=description,
            token=mask(secret),
            type="full-access" if type_ == "full-access" else "read-only",
            scopes=scopes,
            created_at=app.now,
            expires_at=until,
        ),
        digest(pepper.key, secret),
        pepper.id,
        by=Actor(kind="cli", id=""),
    )
    try:
        sys.stdout.write(f"{secret}\n")
        sys.stdout.flush()
    except OSError:
        store.api_tokens.revoke(cast(int, made.id), app.now, by=Actor(kind="cli", id=""))  # nobody has its secret
        raise
    lasts = "never expires" if until is None else f"expires at {until:%Y-%m-%d %H:%M} UTC"
    app.tell(f"API token {made.id} '{made.name}' ({made.token}), {made.type}, for {', '.join(scopes)}; it {lasts}.")
    return 0


def _end(text: str, now: datetime) -> datetime | None:
    """When a token expires. Raises UsageError for a time that is none, or past."""
    if text.strip().lower() == NEVER:
        return None
    try:
        return now + parse_span(text)
    except OverflowError:
        raise UsageError(f"--expires {text} lies behind the end of the calendar.", f"Say '{NEVER}'.") from None
    except UsageError:
        moment = parse_moment(text, now)
    if moment <= now:
        raise UsageError(f"--expires {text} is past.", f"Give a span such as 90d, a date to come, or '{NEVER}'.")
    return moment


app = command(
    create,
    takes=(*opt.STORE,),
    examples=(
        "tokctl api-tokens create grafana --show-secret",
        "tokctl api-tokens create ci --scope process,token --expires 30d --show-secret > secret",
    ),
)
