"""``tokctl config current-context``."""

from __future__ import annotations

import os

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.config.file import read_configuration
from tokctl.config.settings import VARIABLES
from tokctl.documents.setup import CurrentContext
from tokctl.errors import NotFoundError
from tokctl.render.result import Cell, Detail


def current_context(app: App) -> Detail:
    """Print the name of the current context."""
    name = find_current_context(app)
    if not name:
        raise NotFoundError("there is no current context.", "Set one with 'tokctl config use CONTEXT'.")
    return Detail(ident=name, document=CurrentContext(current_context=name), title=(Cell(name),))


def find_current_context(app: App) -> str | None:
    """Return the context that commands use: that of ``--context``, the environment, or the configuration file."""
    configuration = read_configuration(os.environ)
    return app.flags.get("context") or os.environ.get(VARIABLES["context"]) or configuration.current


app = command(
    current_context,
    shared_options=("context", *opt.OUTPUT),
    examples=("tokctl config current-context",),
)
