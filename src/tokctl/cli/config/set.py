"""``tokctl config set``."""

from __future__ import annotations

from typing import Annotated

import typer

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.completion import complete_setting
from tokctl.cli.config.common import change_detail, write_setting
from tokctl.render.result import Detail


def set_(
    app: App,  # noqa: ARG001 - every command has one
    key: opt.ConfigKey,
    value: Annotated[
        str,
        typer.Argument(metavar="VALUE", help="New value.", show_default=False, autocompletion=complete_setting),
    ],
) -> Detail:
    """Change a setting in the configuration file. The file and the context are created if they do not exist.

    Secrets are refused. Save them in the keyring with 'tokctl auth login', or set a credential to env:NAME, file:PATH
    or 'command:pass show tokctl'.
    """
    return change_detail(f"Set {key}", write_setting(key, value), key=key)


app = command(
    set_,
    shared_options=opt.OUTPUT,
    configured=False,
    examples=(
        "tokctl config set contexts.prod.server https://engine.example:27555",
        "tokctl config set contexts.prod.credential 'command:pass show engine'",
        "tokctl config set debug.long_running 30m",
    ),
)
