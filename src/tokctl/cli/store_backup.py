"""``tokctl store backup``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.render.human import size


def backup(
    app: App,
    target: Annotated[str, typer.Argument(metavar="FILE", help="A file that does not exist.", show_default=False)],
) -> None:
    """Copy the store into a new file while it is in use.

    The copy is a store itself, and shows one moment.
    """
    path = Path(target)
    app.store().backup(path)
    app.tell(f"{path}: {size(path.stat().st_size)}.")


app = command(backup, takes=opt.STORE, examples=("tokctl store backup ~/tokctl-$(date +%F).db",))
