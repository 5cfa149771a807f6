"""``tokctl api-tokens disable``."""

from __future__ import annotations

from tokctl.cli import options as opt
from tokctl.cli.api_tokens import options as ropt
from tokctl.cli.app import App, command
from tokctl.render.result import Detail


def disable(app: App, token: ropt.TokenArgument) -> Detail:
    """Disable an API token. Servers reject its secret until it is enabled again.

    The response to its requests has the status 401 and says that it is disabled. Its expiry stays the same. The audit
    log has the time, and the last use. To end it for good, use 'tokctl api-tokens revoke'.
    """
    return ropt.set_disabled(app, token, disabled=True)


app = command(
    disable,
    shared_options=(*opt.STORE, *opt.SERVER, *opt.OUTPUT),
    examples=("tokctl api-tokens disable grafana", "tokctl api-tokens disable 7 --server https://cms.example"),
)
