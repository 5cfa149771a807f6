"""``tokctl config use``."""

from __future__ import annotations

import os

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.config.common import change_detail, find_context
from tokctl.config.editing import set_values
from tokctl.render.result import Detail


def use(app: App, context: opt.ConfigContext) -> Detail:  # noqa: ARG001 - every command has one
    """Set the current context, which commands use by default."""
    find_context(context)
    return change_detail(
        f"Set current_context to {context}",
        set_values(os.environ, {("current_context",): context}),
        current_context=context,
    )


app = command(use, shared_options=opt.OUTPUT, configured=False, examples=("tokctl config use prod",))
