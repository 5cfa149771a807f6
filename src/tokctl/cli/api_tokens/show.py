"""``tokctl api-tokens show``."""

from __future__ import annotations

from tokctl.cli import options as opt
from tokctl.cli.api_tokens import options as ropt
from tokctl.cli.app import App, command
from tokctl.render.result import Detail
from tokctl.render.views.api_tokens import api_token_detail
from tokctl.services.api_tokens.lookup import find_api_token


def show(app: App, token: ropt.TokenArgument) -> Detail:
    """Show the details of an API token, without its secret.

    'tokctl api-tokens secret' prints a saved secret. An id takes precedence over a name that is the same number.
    """
    return api_token_detail(find_api_token(app.open_registry(), token), app.now)


app = command(
    show,
    shared_options=(*opt.STORE, *opt.SERVER, *opt.OUTPUT),
    examples=(
        "tokctl api-tokens show 7",
        "tokctl api-tokens show grafana -o json --query expiresAt",
    ),
)
