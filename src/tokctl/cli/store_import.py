"""``tokctl store import``."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.progress import progress
from tokctl.errors import InputError, TokctlError, UsageError
from tokctl.process.reader import Reject, read_records
from tokctl.render.human import count
from tokctl.render.result import Column, Listing
from tokctl.source import input_name, input_size, is_same_file, read_chunks
from tokctl.store import file_of, holds, open_store
from tokctl.store.base import Store
from tokctl.store.importing import import_records

SHOWN = 5  # refused tokens that are told of one by one


class Imported(msgspec.Struct, kw_only=True):
    """What became of one input."""

    file: str
    instances: int = 0
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    definitions: int = 0
    rejected: int = 0


def import_files(
    app: App,
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="Files to read, gzip or not; '-' is stdin.", show_default=False),
    ],
    rejects: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Keep what is no token in this file (NDJSON), and import the rest."),
    ] = None,
    instance: Annotated[str | None, typer.Option(metavar="ID", help="The instance of tokens that name none.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")] = False,
) -> Listing:
    """Import tokens into the store.

    Reads answers of the API, lists of tokens and NDJSON, of any size. Each file is imported as a
    whole or not at all, and importing it again changes nothing. A token replaces the stored one of
    the same id unless its updated_at is older.
    """
    with ExitStack() as stack:
        keep = _Rejects(app, rejects, files, stack)
        done: list[Imported] = []
        for path in files:
            try:
                done.append(_import(_open(app, dry_run=dry_run), path, instance, keep, dry_run=dry_run))
            except TokctlError:
                if done and not dry_run:
                    app.tell(f"Imported before that: {', '.join(one.file for one in done)}.")
                raise
    return _report(done, dry_run=dry_run)


def _open(app: App, *, dry_run: bool) -> Store:
    location = app.settings.store_location
    if dry_run and (file := file_of(location)) is not None and not file.exists():
        return open_store(":memory:", write=True, create=True)
    return app.store(write=True, create=not dry_run)


class _Rejects:
    """Keeps refused tokens in a file, and says the first of them."""

    def __init__(self, app: App, path: str | None, inputs: list[str], stack: ExitStack) -> None:
        self.app = app
        self.path = path
        self.count = 0
        self.stream = None
        if path is not None:
            if holds(app.settings.store_location, path) or any(is_same_file(path, one) for one in inputs):
                raise UsageError(f"--rejects {path} would overwrite what is to be read or written.",
                                 "Name another file.")  # fmt: skip
            try:
                descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
            except OSError as error:
                raise UsageError(f"--rejects {path} cannot be written: {error.strerror}.") from None
            self.stream = stack.enter_context(os.fdopen(descriptor, "wb"))

    def flush(self) -> None:
        """Write what was refused, before the rest is committed: on a full disk neither is done."""
        if self.stream is not None:
            self.stream.flush()

    def refuse(self, name: str, reject: Reject) -> None:
        if self.stream is None:
            raise InputError(
                f"{name}: {reject}.",
                "Nothing of it was imported; --rejects FILE keeps such tokens and imports the rest.",
            )
        self.stream.write(msgspec.json.encode({"file": name, **msgspec.structs.asdict(reject)}) + b"\n")
        self.count += 1
        if self.count <= SHOWN:
            self.app.tell(f"refused: {name}: {reject}")


def _import(store: Store, path: str, instance: str | None, keep: _Rejects, *, dry_run: bool) -> Imported:
    name = input_name(path)
    before = keep.count
    with progress(f"Importing {Path(name).name}", input_size(path), octets=True) as step:
        records = read_records(read_chunks(path, step), name=name, instance_id=instance)
        with store.write(keep=not dry_run) as batch:
            report = batch.report
            import_records(batch, records, lambda reject: keep.refuse(name, reject))
            keep.flush()
    return Imported(
        file=name,
        instances=report.instances,
        added=report.added,
        updated=report.updated,
        unchanged=report.unchanged,
        definitions=report.definitions,
        rejected=keep.count - before,
    )


def _report(done: list[Imported], *, dry_run: bool) -> Listing:
    def column(key: str, title: str, *, rank: int = 0) -> Column:
        return Column(key=key, title=title, value=lambda item: getattr(item, key), right=True, rank=rank)

    changed = sum(item.added + item.updated + item.instances + item.definitions for item in done)
    rejected = sum(item.rejected for item in done)

    def notes(_: int) -> list[str]:
        said = []
        if dry_run:
            said.append("This was a dry run: nothing was changed.")
        elif not changed:
            said.append("Nothing changed: the store had all of it.")
        if rejected:
            said.append(f"{count(rejected, 'record was', 'records were')} refused and kept apart.")
        return said

    return Listing(
        key="files",
        items=done,
        columns=(
            Column(key="file", title="FILE", value=lambda item: item.file, fold=True),
            column("instances", "INSTANCES", rank=2),
            column("added", "ADDED"),
            column("updated", "UPDATED"),
            column("unchanged", "UNCHANGED", rank=1),
            column("definitions", "MODELS", rank=3),
            column("rejected", "REFUSED"),
        ),
        ident=lambda item: item.file,
        document=msgspec.structs.asdict,
        head={"dry_run": dry_run},
        notes=notes,
    )


app = command(
    import_files,
    takes=(*opt.STORE, *opt.OUTPUT),
    examples=(
        "tokctl store import answer.json tokens.ndjson.gz",
        "curl $URL | tokctl store import -",
        "tokctl store import --rejects refused.ndjson dump.ndjson",
    ),
)
