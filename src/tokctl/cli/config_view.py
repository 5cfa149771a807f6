"""``tokctl config view``."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.configuring import effective, in_file, listing
from tokctl.config.file import config_file, read_configuration
from tokctl.render.result import Cell, Listing


def view(
    app: App,
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value comes from.")] = False,
    all_: Annotated[
        bool, typer.Option("--all", help="Show all contexts of the file, not only the one in use.")
    ] = False,
) -> Listing:
    """Show the settings that hold here: of the line, the environment and the configuration file.

    A secret is never among them: a credential is the name of the place where it is.
    """
    configuration = read_configuration(os.environ)
    shown = effective(app.settings, configuration)
    if all_:
        shown += [setting for setting in in_file(configuration) if setting.key.startswith(("contexts.", "current_"))]
    file = configuration.path or config_file(os.environ)
    made = listing(shown, origin=origin)
    made.headline = (
        Cell(str(file), "bold"),
        Cell("" if configuration.path else "  not there; these are the usual ones"),
    )
    made.head = {"file": str(file), "exists": configuration.path is not None}
    made.tail = lambda: {"contexts": list(configuration.contexts)}
    others = [name for name in configuration.contexts if name != app.settings.context]
    made.notes = lambda _: [f"Other contexts: {', '.join(others)}."] if others and not all_ else []
    return made


app = command(
    view,
    takes=(*opt.ENGINE, *opt.OUTPUT),
    examples=("tokctl config view --origin", "tokctl config view --context prod -o yaml"),
)
