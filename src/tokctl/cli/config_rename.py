"""``tokctl config rename``."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.configuring import changed, find_context
from tokctl.config.keys import name
from tokctl.config.writing import rename_context
from tokctl.errors import UsageError
from tokctl.render.result import Detail


def rename(
    app: App,  # noqa: ARG001 - every command has one
    context: opt.ConfigContext,
    new: Annotated[str, typer.Argument(metavar="NEW", help="What to call it.", show_default=False)],
) -> Detail:
    """Give a context another name. If it is the current one, it stays that."""
    configuration = find_context(context)
    if name(new) in configuration.contexts:
        raise UsageError(f"there is a context '{new}' already.", "Delete it first, or choose another name.")
    current = configuration.current == context
    file = rename_context(os.environ, context, new, current=current)
    return changed(f"Renamed {context} to {new}", file, context=new)


app = command(rename, takes=opt.OUTPUT, configured=False, examples=("tokctl config rename prod production",))
