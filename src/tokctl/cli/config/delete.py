"""``tokctl config delete``."""

from __future__ import annotations

import os

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.config.common import change_detail, find_context
from tokctl.config.editing import unset
from tokctl.render.result import Detail


def delete(app: App, context: opt.ConfigContext) -> Detail:
    """Delete a context. If it is the current context, no context is current afterwards.

    The credential of its server stays in the keyring. Remove it with 'tokctl auth logout'.
    """
    configuration = find_context(context)
    gone: list[tuple[str, ...]] = [("contexts", context)]
    current = configuration.current == context
    if current:
        gone.append(("current_context",))
    file = unset(os.environ, *gone)
    if current:
        app.notify(f"{context} was the current context. Choose another one with 'tokctl config use'.")
    return change_detail(f"Deleted the context {context}", file, context=context)


app = command(delete, shared_options=opt.OUTPUT, configured=False, examples=("tokctl config delete prod",))
