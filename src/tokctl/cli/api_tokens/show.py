"""``tokctl api-tokens show``."""

from __future__ import annotations

from contextlib import suppress

from tokctl.cli import options as opt
from tokctl.cli.api_tokens import options as ropt
from tokctl.cli.app import App, command
from tokctl.errors import NotFoundError
from tokctl.render.result import Detail
from tokctl.render.views.api_tokens import api_token_detail
from tokctl.services.api_tokens.lookup import find_api_token
from tokctl.services.api_tokens.succession import Successions


def show(app: App, token: ropt.TokenArgument) -> Detail:
    """Show the details of an API token, without its secret.

    'tokctl api-tokens secret' prints a saved secret. An id takes precedence over a name that is the same number. After
    a rotation a name means the newest API token.
    """
    registry = app.open_registry()
    found = find_api_token(registry, token)
    successions = Successions(registry)
    old, predecessor = successions.of(found).rotated_from, None
    if old is not None:
        with suppress(NotFoundError):
            predecessor = registry.get(old)
    return api_token_detail(found, app.now, successions, predecessor)


app = command(
    show,
    shared_options=(*opt.STORE, *opt.SERVER, *opt.OUTPUT),
    examples=(
        "tokctl api-tokens show 7",
        "tokctl api-tokens show grafana -o json --query expiresAt",
    ),
)
