"""``tokctl api-tokens verify``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tokctl.cli import options as opt
from tokctl.cli.api_tokens import options as ropt
from tokctl.cli.app import App, command
from tokctl.cli.completion import complete_permission
from tokctl.cli.prompts import ask_secret
from tokctl.model.api_tokens import VALID
from tokctl.render.result import Detail
from tokctl.render.views.api_tokens import verification_detail


def verify(
    app: App,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCOPE",
            help="Check that the token has this scope (repeatable).",
            autocompletion=complete_permission,
        ),
    ] = None,
) -> Detail:
    """Check whether a secret belongs to a valid API token, and show its scopes. The secret is not shown.

    Type the secret at the prompt, or pass it on stdin. Exit code 1: the token is expired, revoked or unknown, or lacks
    a requested scope. If possible, the check does not count as a use of the API token.
    """
    wanted = ropt.parse_scopes(scope)
    registry = app.open_registry()
    verdict = registry.verify(ask_secret("Secret of the API token", stdin=not sys.stdin.isatty()))
    allowed = {name: verdict.token is not None and verdict.token.allows(name) for name in wanted}
    good = verdict.state == VALID and all(allowed.values())
    return verification_detail(verdict.state, verdict.token, allowed, app.now, good=good)


app = command(
    verify,
    shared_options=(*opt.STORE, *opt.SERVER, *opt.OUTPUT),
    examples=(
        "tokctl api-tokens verify < secret",
        "printenv API_TOKEN | tokctl api-tokens verify --scope process -o json",
    ),
)
