"""``tokctl store export``."""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, cast

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.completion import complete_instance
from tokctl.engines.ids import resolve_instance
from tokctl.errors import StoreError, UsageError
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
    with _open_target(to) as stream, closing(pieces):
        for piece in pieces:
            stream.write(piece)


@contextmanager
def _open_target(path: str | None) -> Iterator[BinaryIO]:
    """Open the target of the export; a file gets its name only when it is complete."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if Path(path).exists() and not Path(path).is_file():  # a device or a pipe: written to directly
        with _convert_write_errors(path), Path(path).open("wb") as stream:
            yield stream
        return
    target = Path(path).resolve()
    partial = target.with_name(f"{target.name}.{os.getpid()}.part")
    with _convert_write_errors(path), ExitStack() as stack:
        stack.callback(partial.unlink, missing_ok=True)
        descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as raw:
            if path.endswith(".gz"):
                with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as zipped:
                    yield cast("BinaryIO", zipped)
            else:
                yield raw
        partial.replace(target)


@contextmanager
def _convert_write_errors(path: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}.", "Name another file.") from None


app = command(
    export,
    shared_options=(*opt.STORE, "output"),
    examples=(
        "tokctl store export @latest > evidence.json",
        "tokctl store export -o ndjson --to all.ndjson.gz",
    ),
)
