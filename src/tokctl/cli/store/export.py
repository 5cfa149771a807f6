"""``tokctl store export``."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing
from typing import Annotated, cast

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.completion import complete_instance
from tokctl.cli.output_files import open_target
from tokctl.engines.ids import resolve_instance
from tokctl.errors import UsageError
from tokctl.model.definitions import Definition
from tokctl.store import is_store_file
from tokctl.store.exporting import documented, ndjson


def export(
    app: App,
    instances: Annotated[
        list[str] | None,
        opt.argument("[INSTANCE]...", "Instances to export (default: all).", complete=complete_instance),
    ] = None,
    to: Annotated[
        str | None, opt.path("FILE", "File to write (default: stdout). It is compressed if the name ends in .gz.")
    ] = None,
) -> None:
    """Export instances as JSON, or as NDJSON with -o ndjson.

    JSON has one line per instance, each an API response. Importing an export gives an equal store.
    """
    make = {None: documented, "json": documented, "ndjson": ndjson}.get(app.settings.output)
    if make is None and "output" not in app.settings.flag_names:  # TOKCTL_OUTPUT applies to views only
        make = documented
    if make is None:
        raise UsageError(f"cannot export as {app.settings.output}.", "Valid with -o: json, ndjson.")
    if to is not None and is_store_file(app.settings.store_location, to):
        raise UsageError(f"--to {to} would overwrite the store.", "Name another file.")
    store = app.store()
    if instances:
        ids: Iterable[str] = [resolve_instance(store, given) for given in instances]
        models: Iterable[Definition] = ()
    else:
        ids, models = store.all_instance_ids(), store.definitions()
    pieces = cast("Generator[bytes, None, None]", make(store, ids, models))
    with open_target(to) as stream, closing(pieces):
        for piece in pieces:
            stream.write(piece)


app = command(
    export,
    shared_options=(*opt.STORE_OR_CONTEXT, "output"),
    examples=(
        "tokctl store export @latest > evidence.json",
        "tokctl store export -o ndjson --to all.ndjson.gz",
    ),
)
