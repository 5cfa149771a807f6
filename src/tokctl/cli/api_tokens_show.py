"""``tokctl api-tokens show``."""

from __future__ import annotations

from tokctl.cli import options as opt
from tokctl.cli import registry_options as ropt
from tokctl.cli.app import App, command
from tokctl.render.result import Detail
from tokctl.render.views.api_tokens import token_detail


def show(app: App, token: ropt.Key) -> Detail:
    """Show everything known of one API token, but for its secret: 'tokctl api-tokens secret' prints one that was kept.

    An id wins over a name that is the same number.
    """
    return token_detail(ropt.find(app.open_registry(), token), app.now)


app = command(
    show,
    takes=(*opt.STORE, *opt.SERVER, *opt.OUTPUT),
    examples=(
        "tokctl api-tokens show 7",
        "tokctl api-tokens show grafana -o json --query expiresAt",
    ),
)
