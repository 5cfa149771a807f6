"""``tokctl config path``."""

from __future__ import annotations

import os

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.config.file import config_file
from tokctl.render.result import Cell, Detail


def path(app: App) -> Detail:  # noqa: ARG001 - every command has one
    """Tell where the configuration file is, or would be."""
    file = config_file(os.environ)
    return Detail(ident=str(file), document={"file": str(file), "exists": file.is_file()}, title=(Cell(str(file)),))


app = command(
    path, takes=opt.OUTPUT, configured=False, examples=("tokctl config path", "$EDITOR $(tokctl config path)")
)
