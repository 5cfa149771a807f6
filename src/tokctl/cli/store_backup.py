"""``tokctl store backup``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.render.human import size
from tokctl.render.result import Cell, Detail


def backup(
    app: App,
    target: Annotated[str, typer.Argument(metavar="FILE", help="A file that does not exist.", show_default=False)],
) -> Detail:
    """Copy the store into a new file while it is in use.

    The copy is a store itself, and shows one moment.
    """
    path = Path(target)
    app.store().backup(path)
    octets = path.stat().st_size
    document = {"file": target, "size_bytes": octets}
    return Detail(ident=target, document=document, title=(Cell(f"Copied into {target}: {size(octets)}."),))


app = command(backup, takes=(*opt.STORE, *opt.OUTPUT), examples=("tokctl store backup ~/tokctl-$(date +%F).db",))
