"""``tokctl store copy``."""

from __future__ import annotations

from typing import Annotated

import msgspec

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.progress import progress
from tokctl.documents.store import CopiedPartDocument
from tokctl.errors import UsageError
from tokctl.render.result import Column, Listing
from tokctl.store import is_temporary
from tokctl.store.copying import copy_store, count_steps

_FINISHED = "The copy is equal to the original. From now on, use only one of them."
_PREPARED = (
    "The copy is equal to the original, but unfinished. Stop what writes to the original,"
    " and run the command without --prepare."
)


def copy(
    app: App,
    original: Annotated[str, opt.argument("FROM", "Store to copy: a file, or a URL.", click_type=opt.FILE_NAME)],
    target: Annotated[
        str,
        opt.argument(
            "TO",
            "Store to fill: a file, or a URL. It is created, is empty or an unfinished copy.",
            click_type=opt.FILE_NAME,
        ),
    ],
    *,
    prepare: Annotated[bool, opt.flag("--prepare", "Leave the copy unfinished, to copy later changes, too.")] = False,
) -> Listing:
    """Copy a whole store to an empty one, also between SQLite and PostgreSQL.

    The copy has the API tokens with their last use and the audit log, too. At the end it is compared with the original.
    Afterwards use only the copy: both accept the same API tokens, but a change of one store does not change the other.

    Writers can use the original in the meantime, but what they write is not copied. To move a store with little
    downtime, copy it with --prepare while it is in use; then stop what writes, and copy it without --prepare. Only
    instances, API tokens and definitions that have changed since are copied again. In the same way, a copy that was
    stopped is continued. Until a copy is finished, other commands refuse it.
    """
    if is_temporary(target):
        raise UsageError(f"the store {target} is deleted when the command ends.", "Name a file, or a URL.")
    source = app.store(original)
    filled = app.store(target, write=True, create=True, unfinished=True)
    with progress("Copying", count_steps(source)) as step:
        copied = copy_store(source, filled, step, finish=not prepare)
    if copied.is_outdated and not prepare:
        app.warn("warning: the original was changed during the copy. These changes are not in the copy.")
    return Listing(
        key="parts",
        items=copied.parts,
        columns=(
            Column("part", "PART"),
            Column("records", "RECORDS", right=True),
            Column("copied", "COPIED", right=True),
            Column("checksum", "CHECKSUM"),
        ),
        ident=lambda part: part.part,
        document=lambda part: CopiedPartDocument(**msgspec.structs.asdict(part)),
        notes=lambda _: [_PREPARED if prepare else _FINISHED],
    )


app = command(
    copy,
    shared_options=opt.OUTPUT,
    examples=(
        "tokctl store copy tokctl.db 'postgresql://tokctl_owner@db.example/tokctl'",
        "tokctl store copy 'postgresql://tokctl_owner@db.example/tokctl' tokctl.db",
        "tokctl store copy --prepare tokctl.db 'postgresql://tokctl_owner@db.example/tokctl'",
    ),
)
