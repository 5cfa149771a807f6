"""``tokctl store backup``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.documents.store import BackupDocument
from tokctl.errors import UsageError
from tokctl.render.result import Cell, Detail
from tokctl.render.text import size
from tokctl.store.protocol import SupportsBackup


def backup(
    app: App,
    target: Annotated[str, opt.argument("FILE", "File to create. It must not exist.", click_type=opt.FILE_NAME)],
) -> Detail:
    """Copy the store to a new file, even while it is in use.

    The copy is a consistent store.
    """
    path = Path(target)
    store = app.store()
    if not isinstance(store, SupportsBackup):
        raise UsageError(
            "this kind of store has no backup.", "Use the database's own tool (pg_dump), or 'tokctl store export'."
        )
    store.backup(path)
    octets = path.stat().st_size
    document = BackupDocument(file=target, size_bytes=octets)
    return Detail(ident=target, document=document, title=(Cell(f"Saved a copy in {target} ({size(octets)})."),))


app = command(
    backup,
    shared_options=(*opt.STORE_OR_CONTEXT, *opt.OUTPUT),
    examples=("tokctl store backup ~/tokctl-$(date +%F).db",),
)
