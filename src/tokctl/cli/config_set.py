"""``tokctl config set``."""

from __future__ import annotations

from typing import Annotated

import typer

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.complete import complete_setting
from tokctl.cli.configuring import changed, set_in_file
from tokctl.render.result import Detail


def set_(
    app: App,  # noqa: ARG001 - every command has one
    key: opt.ConfigKey,
    value: Annotated[
        str,
        typer.Argument(metavar="VALUE", help="What it shall be.", show_default=False, autocompletion=complete_setting),
    ],
) -> Detail:
    """Set a setting in the configuration file; the file and a context are made where there is none.

    A secret has no place there: 'tokctl auth login' puts one into the keyring, and a credential such as
    env:NAME, file:PATH or 'command:pass show tokctl' says where another is.
    """
    return changed(f"Set {key}", set_in_file(key, value), key=key)


app = command(
    set_,
    takes=opt.OUTPUT,
    configured=False,
    examples=(
        "tokctl config set contexts.prod.server https://engine.example:27555",
        "tokctl config set contexts.prod.credential 'command:pass show engine'",
        "tokctl config set debug.long_running 30m",
    ),
)
