"""``tokctl store migrate``."""

from __future__ import annotations

from typing import Annotated

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.documents.store import MigrationDocument
from tokctl.render.result import Cell, Detail
from tokctl.render.text import count
from tokctl.store import schema_versions


def migrate(
    app: App,
    dry_run: Annotated[bool, opt.flag("--dry-run", "Show the pending migrations, without running them.")] = False,
) -> Detail:
    """Upgrade the schema of the store to the one of this version of tokctl.

    Other commands do so when they open the store. Exit code 1: with --dry-run, migrations are pending.
    """
    app.require_store()
    version, latest = schema_versions(app.settings.store_location)
    pending = list(range(version + 1, latest + 1))
    if not (dry_run and pending):  # opening upgrades; it also refuses what no command can use
        app.store(write=not dry_run)
    if version > latest:
        said = f"Nothing to do: the store has schema {version}, which this version of tokctl (schema {latest}) can use."
    elif not pending:
        said = f"Nothing to do: the store has the latest schema, {latest}."
    else:
        migrations = f"{count(len(pending), 'migration')}, from schema {version} to {latest}"
        said = f"Pending: {migrations}." if dry_run else f"Ran {migrations}."
    document = MigrationDocument(schema_version=version, latest_version=latest, pending=pending, dry_run=dry_run)
    return Detail(ident=str(latest), document=document, title=(Cell(said),), exit_code=1 if dry_run and pending else 0)


app = command(
    migrate,
    shared_options=(*opt.STORE_OR_CONTEXT, *opt.OUTPUT),
    examples=("tokctl store migrate --dry-run", "tokctl store migrate"),
)
