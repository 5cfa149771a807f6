"""``tokctl config use``."""

from __future__ import annotations

import os

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.configuring import changed, find_context
from tokctl.config.writing import set_values
from tokctl.render.result import Detail


def use(app: App, context: opt.ConfigContext) -> Detail:  # noqa: ARG001 - every command has one
    """Make a context the current one: what commands look at unless they are told."""
    find_context(context)
    return changed(f"Set current_context to {context}", set_values(os.environ, {("current_context",): context}),
                   current_context=context)  # fmt: skip


app = command(use, takes=opt.OUTPUT, configured=False, examples=("tokctl config use prod",))
