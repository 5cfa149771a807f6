"""``tokctl config view``."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.config.common import list_effective_settings, list_file_settings, settings_listing
from tokctl.config.file import read_configuration
from tokctl.config.paths import config_file
from tokctl.render.result import Cell, Listing


def view(
    app: App,
    origin: Annotated[bool, typer.Option("--origin", help="Show where each value comes from.")] = False,
    all_: Annotated[bool, typer.Option("--all", help="Show all contexts, not only the current one.")] = False,
) -> Listing:
    """Show the settings in effect, from the command line, the environment and the configuration file.

    Secrets are never shown: of a credential, only the place is shown.
    """
    configuration = read_configuration(os.environ)
    shown = list_effective_settings(app.settings, configuration)
    if all_:
        shown += [
            setting
            for setting in list_file_settings(configuration)
            if setting.key.startswith(("contexts.", "current_"))
        ]
    file = configuration.path or config_file(os.environ)
    made = settings_listing(shown, origin=origin)
    made.headline = (
        Cell(str(file), "bold"),
        Cell("" if configuration.path else "  (does not exist; these are the defaults)"),
    )
    made.head = {"file": str(file), "exists": configuration.path is not None}
    made.tail = lambda: {"contexts": list(configuration.contexts)}
    others = [name for name in configuration.contexts if name != app.settings.context]
    made.notes = lambda _: [f"Other contexts: {', '.join(others)}."] if others and not all_ else []
    return made


app = command(
    view,
    shared_options=(*opt.ENGINE, "registry_kind", *opt.OUTPUT),
    examples=("tokctl config view --origin", "tokctl config view --context prod -o yaml"),
)
