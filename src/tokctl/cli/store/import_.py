"""``tokctl store import``."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Annotated

import msgspec

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.progress import progress
from tokctl.documents.store import ImportedFile
from tokctl.errors import InputError, StoreError, TokctlError, UsageError
from tokctl.input_files import input_name, input_size, is_same_file, read_chunks
from tokctl.readers.stream import RejectedRecord, read_records
from tokctl.render.result import Column, Listing
from tokctl.render.text import count
from tokctl.store import is_store_file, open_store, store_file
from tokctl.store.importing import import_records
from tokctl.store.new_store import fill_new_store, is_empty_file
from tokctl.store.protocol import Store

MAX_REJECTS_SHOWN = 5  # rejected tokens that are reported one by one


class ImportResult(msgspec.Struct, kw_only=True):
    """The result of one input."""

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
        opt.argument("FILE...", "Files to import, plain, gzip or zstd. - reads stdin.", click_type=opt.FILE_NAME),
    ],
    rejects: Annotated[
        str | None, opt.path("FILE", "Write invalid records to this file (NDJSON), and import the others.")
    ] = None,
    instance: Annotated[str | None, opt.option("ID", "Instance id for tokens without one.")] = None,
    dry_run: Annotated[bool, opt.flag("--dry-run", "Show what would change, without changing it.")] = False,
) -> Listing:
    """Import tokens into the store.

    Input can be API responses, lists of tokens or NDJSON, in UTF-8 or UTF-16, of any size. Each file is imported
    completely or not at all. Importing a file again changes nothing. A token replaces the stored token with the same
    id, unless its updated_at is older.
    """
    with ExitStack() as stack:
        keep = _RejectLog(app, rejects, files, stack)
        done: list[ImportResult] = []
        for path in files:
            try:
                with _open(app, dry_run=dry_run) as store:
                    done.append(_import(store, path, instance, keep, dry_run=dry_run))
            except TokctlError:
                if done and not dry_run:
                    app.notify(f"Imported before that: {', '.join(one.file for one in done)}.")
                raise
    return _report(done, dry_run=dry_run)


def _open(app: App, *, dry_run: bool) -> AbstractContextManager[Store]:
    """Open the store. A new one is created only when the import succeeds, and for a dry run in memory."""
    app.require_store()
    file = store_file(app.settings.store_location)
    if file is None or not is_empty_file(file):
        return nullcontext(app.store(write=True, create=not dry_run))
    return open_store(":memory:", write=True, create=True) if dry_run else fill_new_store(file)


class _RejectLog:
    """Writes rejected tokens to a file, and reports the first of them."""

    def __init__(self, app: App, path: str | None, inputs: list[str], stack: ExitStack) -> None:
        self.app = app
        self.path = path
        self.count = 0
        self.stream = None
        if path is not None:
            if is_store_file(app.settings.store_location, path) or any(is_same_file(path, one) for one in inputs):
                raise UsageError(f"--rejects {path} would overwrite an input file or the store.", "Name another file.")
            try:
                descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
            except OSError as error:
                raise UsageError(f"cannot write --rejects {path}: {error.strerror}.") from None
            self.stream = stack.enter_context(os.fdopen(descriptor, "wb"))

    def flush(self) -> None:
        """Write the rejected records before the rest is committed, so that a full disk prevents both."""
        if self.stream is None:
            return
        try:
            self.stream.flush()
        except OSError as error:
            self.stream.raw.close()  # the buffered data is not written again
            raise StoreError(f"cannot write --rejects {self.path}: {error.strerror}.", "Name another file.") from None

    def log_reject(self, name: str, reject: RejectedRecord) -> None:
        if self.stream is None:
            raise InputError(
                f"{name}: {reject}.",
                "Nothing of this file was imported. Use --rejects FILE to skip invalid records.",
            )
        self.stream.write(msgspec.json.encode({"file": name, **msgspec.structs.asdict(reject)}) + b"\n")
        self.count += 1
        if self.count <= MAX_REJECTS_SHOWN:
            self.app.warn(f"rejected: {name}: {reject}")


def _import(store: Store, path: str, instance: str | None, keep: _RejectLog, *, dry_run: bool) -> ImportResult:
    name = input_name(path)
    before = keep.count
    with progress(f"Importing {Path(name).name}", input_size(path), octets=True) as step:
        records = read_records(read_chunks(path, step), name=name, instance_id=instance)
        with store.write(keep=not dry_run) as batch:
            report = batch.report
            import_records(batch, records, lambda reject: keep.log_reject(name, reject))
            keep.flush()
    return ImportResult(
        file=name,
        instances=report.instances,
        added=report.added,
        updated=report.updated,
        unchanged=report.unchanged,
        definitions=report.definitions,
        rejected=keep.count - before,
    )


def _report(done: list[ImportResult], *, dry_run: bool) -> Listing:
    def column(key: str, title: str, *, rank: int = 0) -> Column:
        return Column(key, title, right=True, rank=rank)

    changed = sum(item.added + item.updated + item.instances + item.definitions for item in done)
    rejected = sum(item.rejected for item in done)

    def notes(_: int) -> list[str]:
        said = []
        if dry_run:
            said.append("Dry run: nothing was changed.")
        elif not any(item.instances or item.unchanged or item.rejected for item in done) and not changed:
            said.append("Nothing imported: the input has no tokens.")
        elif not changed:
            said.append("Nothing changed: the store already has these tokens.")
        if rejected:
            said.append(f"{count(rejected, 'record was', 'records were')} rejected.")
        return said

    return Listing(
        key="files",
        items=done,
        columns=(
            Column("file", "FILE", fold=True),
            column("instances", "INSTANCES", rank=2),
            column("added", "ADDED"),
            column("updated", "UPDATED"),
            column("unchanged", "UNCHANGED", rank=1),
            column("definitions", "MODELS", rank=3),
            column("rejected", "REJECTED"),
        ),
        ident=lambda item: item.file,
        document=lambda item: ImportedFile(**msgspec.structs.asdict(item)),
        head={"dry_run": dry_run},
        notes=notes,
    )


app = command(
    import_files,
    shared_options=(*opt.STORE_OR_CONTEXT, *opt.OUTPUT),
    examples=(
        "tokctl store import answer.json tokens.ndjson.gz",
        "curl $URL | tokctl store import -",
        "tokctl store import --rejects refused.ndjson dump.ndjson",
    ),
)
