"""``tokctl store export``."""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, cast

import typer

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.complete import complete_instance
from tokctl.engines.ids import resolve_instance
from tokctl.errors import StoreError, UsageError
from tokctl.process.model import Definition
from tokctl.store import holds
from tokctl.store.exporting import documented, ndjson


def export(
    app: App,
    instances: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[INSTANCE]...",
            help="Which ones; all of them if none is named.",
            autocompletion=complete_instance,
            show_default=False,
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write to this file, compressed if its name ends in .gz, not to stdout."),
    ] = None,
) -> None:
    """Export instances in the documented shape, or as NDJSON with -o ndjson.

    The documented shape is one answer of the API a line. Importing an export gives an equal store.
    """  # fmt: skip
    make = {None: documented, "json": documented, "ndjson": ndjson}.get(app.settings.output)
    if make is None and "output" not in app.settings.said:  # TOKCTL_OUTPUT is about what is looked at
        make = documented
    if make is None:
        raise UsageError(f"an export cannot be {app.settings.output}.", "Valid with -o: json, ndjson.")
    if to is not None and holds(app.settings.store_location, to):
        raise UsageError(f"--to {to} would overwrite the store.", "Name another file.")
    store = app.store()
    if instances:
        ids: Iterable[str] = [resolve_instance(store, given) for given in instances]
        models: Iterable[Definition] = ()
    else:
        ids, models = store.all_instance_ids(), store.definitions()
    pieces = cast("Generator[bytes, None, None]", make(store, ids, models))
    with _target(to) as stream, closing(pieces):
        for piece in pieces:
            stream.write(piece)


@contextmanager
def _target(path: str | None) -> Iterator[BinaryIO]:
    """Open where the export goes; a file appears under its name only when it is whole."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if Path(path).exists() and not Path(path).is_file():  # a device or a pipe: it takes what comes
        with _cannot_write(path), Path(path).open("wb") as stream:
            yield stream
        return
    target = Path(path).resolve()
    partial = target.with_name(f"{target.name}.{os.getpid()}.part")
    with _cannot_write(path), ExitStack() as stack:
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
def _cannot_write(path: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}.", "Name another file.") from None


app = command(
    export,
    takes=(*opt.STORE, "output"),
    examples=(
        "tokctl store export @latest > evidence.json",
        "tokctl store export -o ndjson --to all.ndjson.gz",
    ),
)
