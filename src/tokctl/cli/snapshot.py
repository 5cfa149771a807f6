"""``tokctl snapshot``."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from tokctl.analysis.redaction import Redactor
from tokctl.cli import options as opt
from tokctl.cli import polling_options
from tokctl.cli.app import STORE_PANEL, App, command
from tokctl.cli.progress import progress
from tokctl.engines.ids import resolve_instances
from tokctl.errors import UsageError
from tokctl.input_files import input_name, is_same_file
from tokctl.render.result import Listing
from tokctl.render.text import count
from tokctl.render.views.snapshot import snapshot_listing
from tokctl.services.snapshot.run import SnapshotRun, list_live_instances
from tokctl.services.snapshot.writer import SnapshotWriter, describe_source
from tokctl.store import is_temporary, open_store, store_file

DEFAULT_INTERVAL = "2s"
_EXIT_INCOMPLETE = 5


def snapshot(
    app: App,
    instances: opt.Instances = None,
    to: Annotated[str | None, opt.path("STORE", "Store to write to (default: the default store).")] = None,
    all_live: Annotated[bool, opt.flag("--all-live", "All instances that have not ended.")] = False,
    redact: opt.Redact = None,
    watch: Annotated[bool, opt.flag("--watch", "Keep polling until the instances have ended.")] = False,
    interval: Annotated[
        str | None, opt.option("DURATION", f"Time between two polls (default: {DEFAULT_INTERVAL}).")
    ] = None,
    until: Annotated[str | None, opt.option("TIME", "Stop --watch at this time, or after a duration from now.")] = None,
    timeout: Annotated[str | None, opt.option("DURATION", "Stop --watch after this time, with exit code 5.")] = None,
) -> Listing:
    """Copy instances from a server to a store, to inspect them without the server.

    The source can also be a file (--file) or another store (--store). Instances, tokens and process models are saved
    as they were sent, with their source and time. An instance is saved completely or not at all. Another snapshot
    updates it. Exit code 5: some instances could not be read.

    With --watch, snapshots are taken repeatedly, and the flow history and the earlier states of tokens, which some
    engines do not keep, are recorded. With --all-live, new instances are included.
    """
    settings = app.settings
    redaction = Redactor(redact or ())
    if not watch:
        for name, value in (("--interval", interval), ("--until", until), ("--timeout", timeout)):
            if value:
                raise UsageError(f"{name} needs --watch.", "Add --watch, or remove it.")
    if all_live and instances:
        raise UsageError("INSTANCE and --all-live cannot be used together.", "Use only one of them.")
    if watch:
        polling_options.reject_file_source(app)
    seconds = polling_options.parse_interval(interval or DEFAULT_INTERVAL, "--interval")
    span = timedelta(seconds=polling_options.parse_timeout(timeout)) if timeout is not None else None
    end = polling_options.parse_end(until, app.now) if until is not None else None
    location = _target_location(app, to)
    engine = app.engine
    ids = list_live_instances(engine) if all_live else resolve_instances(engine, instances or [None])
    with open_store(location, write=True, create=True) as store:
        writer = SnapshotWriter(store, source=_source(app), kind=describe_source(engine).kind, redaction=redaction)
        run = SnapshotRun(writer, ids, clock=app.clock, all_live=all_live, remote=settings.kind == "server")
        try:
            if watch:
                give_up = None if span is None else app.now + span
                with closing(polling_options.create_poller(app, engine, seconds)) as poller:
                    finished = run.watch(poller, end=end, give_up=give_up, notify=app.warn)
            else:
                finished = True
                app.stop_progress()
                with progress("Taking snapshots", len(ids)) as step:
                    run.take_all(engine, ids, step)
        except BaseException:
            _report_stored(app, run)
            raise
    return _listing(app, run, location, finished=finished)


def _target_location(app: App, to: str | None) -> str:
    """Return the store to write to. Raises UsageError if it is also the source, or does not last."""
    settings = app.settings
    if to == "":
        raise UsageError("--to is empty.", "Give a path, or remove it to use the default store.")
    location = settings.store_location if to is None else to
    file = store_file(location)
    if is_temporary(location):
        raise UsageError(f"cannot save a snapshot in {location}.", "Name a file with --to.")
    read = store_file(settings.store_location) if settings.kind == "store" else None
    if settings.kind == "file":
        read = Path(settings.file or "")
    is_same = settings.kind == "store" and location == settings.store_location
    if is_same or (file is not None and read is not None and is_same_file(str(file), str(read))):
        raise UsageError(
            f"source and target are the same store, {location}.",
            "Name another store with --to, or a server with --server.",
        )
    return location


def _source(app: App) -> str:
    settings = app.settings
    if settings.kind == "server":
        return settings.server or ""
    return input_name(settings.file or "") if settings.kind == "file" else settings.store_location


def _report_stored(app: App, run: SnapshotRun) -> None:
    kept = sum(row.taken_at is not None for row in run.rows.values())
    if kept:
        app.notify(f"Saved {count(kept, 'instance')} before the interruption.")


def _listing(app: App, run: SnapshotRun, location: str, *, finished: bool) -> Listing:
    rows, redaction = list(run.rows.values()), run.writer.redaction
    taken = [row for row in rows if row.taken_at is not None]
    failed = sum(1 for row in rows if row.error)
    said = []
    if taken:
        tokens = count(sum(row.tokens for row in taken), "token")
        said.append(f"Saved {count(len(taken), 'instance')} with {tokens} in {location}.")
    if failed:
        said.append(f"Cannot read {count(failed, 'instance')}.")
    if not finished:
        app.warn(f"Timed out: {count(len(run.endings), 'instance has', 'instances have')} not ended.")
    for pattern in redaction.patterns:
        if taken and not redaction.match_counts[pattern]:
            app.notify(f"--redact '{pattern}' matches nothing.")
    if run.writer.exposed:
        app.notify(
            "The store had values that are redacted now. Its file may still contain them in free pages. "
            "To share it, take the snapshot into a new store."
        )
    return snapshot_listing(
        rows,
        head={"store": location, **run.writer.source},
        notes=said,
        now=app.now,
        exit_code=_EXIT_INCOMPLETE if failed or not finished else 0,
    )


app = command(
    snapshot,
    shared_options=(*opt.ENGINE, *opt.OUTPUT),
    panel=STORE_PANEL,
    examples=(
        "tokctl snapshot @latest --server https://engine.example:27555",
        "tokctl snapshot ord-1001 --to evidence.db --redact 'variables.*'",
        "tokctl snapshot --all-live --context prod --to prod.db",
        "tokctl snapshot @latest --context prod --watch --interval 500ms",
    ),
)
