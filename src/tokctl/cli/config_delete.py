"""``tokctl config delete``."""

from __future__ import annotations

import os

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.configuring import changed, find_context
from tokctl.config.writing import unset
from tokctl.render.result import Detail


def delete(app: App, context: opt.ConfigContext) -> Detail:
    """Delete a context. If it is the current one, there is none after that.

    A credential that the keyring holds for its server stays there; 'tokctl auth logout' removes that.
    """
    configuration = find_context(context)
    gone: list[tuple[str, ...]] = [("contexts", context)]
    current = configuration.current == context
    if current:
        gone.append(("current_context",))
    file = unset(os.environ, *gone)
    if current:
        app.tell(f"{context} was the current context; now there is none. See 'tokctl config use'.")
    return changed(f"Deleted the context {context}", file, context=context)


app = command(delete, takes=opt.OUTPUT, configured=False, examples=("tokctl config delete prod",))
