"""``tokctl api-tokens verify``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tokctl.access.model import VALID
from tokctl.access.scopes import check_scopes
from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.asking import ask_secret
from tokctl.cli.complete import complete_permission
from tokctl.cli.filters import words
from tokctl.render.result import Detail
from tokctl.render.views.api_tokens import verdict_detail


def verify(
    app: App,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PERMISSION",
            help="Tell whether it allows this; may be repeated.",
            autocompletion=complete_permission,
        ),
    ] = None,
) -> Detail:
    """Tell whether a secret is that of a valid API token, and what it allows. The secret is not shown.

    It is typed without echo, or read from stdin. Exit code 1 means that it is expired, revoked or unknown, or does not
    allow one of the permissions asked for. To ask is no use of the token where that can be helped.
    """
    wanted = check_scopes(words(scope, "--scope"))
    registry = app.open_registry()
    verdict = registry.verify(ask_secret("Secret of the API token", stdin=not sys.stdin.isatty()))
    allowed = {name: verdict.token is not None and verdict.token.allows(name) for name in wanted}
    good = verdict.state == VALID and all(allowed.values())
    return verdict_detail(verdict.state, verdict.token, allowed, good=good)


app = command(
    verify,
    takes=(*opt.STORE, *opt.SERVER, *opt.OUTPUT),
    examples=(
        "tokctl api-tokens verify < secret",
        "printenv API_TOKEN | tokctl api-tokens verify --scope process -o json",
    ),
)
