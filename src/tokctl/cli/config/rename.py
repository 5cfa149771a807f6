"""``tokctl config rename``."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.config.common import change_detail, find_context
from tokctl.config.editing import rename_context
from tokctl.config.keys import name
from tokctl.errors import UsageError
from tokctl.render.result import Detail


def rename(
    app: App,  # noqa: ARG001 - every command has one
    context: opt.ConfigContext,
    new: Annotated[str, typer.Argument(metavar="NEW", help="New name.", show_default=False)],
) -> Detail:
    """Rename a context. The current context stays current."""
    configuration = find_context(context)
    if name(new) in configuration.contexts:
        raise UsageError(f"the context '{new}' exists already.", "Delete it first, or choose another name.")
    current = configuration.current == context
    file = rename_context(os.environ, context, new, current=current)
    return change_detail(f"Renamed {context} to {new}", file, context=new)


app = command(rename, shared_options=opt.OUTPUT, configured=False, examples=("tokctl config rename prod production",))
