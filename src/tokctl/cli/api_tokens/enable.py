"""``tokctl api-tokens enable``."""

from __future__ import annotations

from tokctl.cli import options as opt
from tokctl.cli.api_tokens import options as ropt
from tokctl.cli.app import App, command
from tokctl.render.result import Detail


def enable(app: App, token: ropt.TokenArgument) -> Detail:
    """Enable an API token that was disabled, with the same secret, rights and expiry as before."""
    return ropt.set_disabled(app, token, disabled=False)


app = command(
    enable,
    shared_options=(*opt.STORE, *opt.SERVER, *opt.OUTPUT),
    examples=("tokctl api-tokens enable grafana",),
)
