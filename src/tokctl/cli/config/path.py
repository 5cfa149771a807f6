"""``tokctl config path``."""

from __future__ import annotations

import os

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.config.paths import config_file
from tokctl.documents.setup import ConfigurationFile
from tokctl.render.result import Cell, Detail


def path(app: App) -> Detail:  # noqa: ARG001 - every command has one
    """Print the path of the configuration file, even if it does not exist."""
    file = config_file(os.environ)
    return Detail(
        ident=str(file), document=ConfigurationFile(file=str(file), exists=file.is_file()), title=(Cell(str(file)),)
    )


app = command(
    path, shared_options=opt.OUTPUT, configured=False, examples=("tokctl config path", "$EDITOR $(tokctl config path)")
)
