"""``tokctl snapshot``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from tokctl.cli import options as opt
from tokctl.cli import watching
from tokctl.cli.app import FILL, App, command
from tokctl.cli.complete import complete_instance
from tokctl.cli.progress import progress
from tokctl.cli.taking import Kept, Seen, Taker, read_each
from tokctl.cli.watching import Poll
from tokctl.engines.base import GIVE_UP
from tokctl.engines.ids import resolve_instance
from tokctl.errors import InputError, NotFoundError, StoreError, TokctlError, UsageError
from tokctl.process.engine import Engine
from tokctl.process.monitor import Ending
from tokctl.process.query import InstanceFilter, Order, parse_span
from tokctl.process.redact import Redaction
from tokctl.render.human import count
from tokctl.render.result import Listing
from tokctl.render.views.snapshot import Taken, taken_listing
from tokctl.source import input_name, is_same_file
from tokctl.store import file_of, open_store

if TYPE_CHECKING:
    from tokctl.engines.remote import RemoteEngine

INTERVAL = "2s"
_UNFINISHED = 5
_OPEN = InstanceFilter(open=True)


def snapshot(
    app: App,
    instances: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[INSTANCE]...",
            autocompletion=complete_instance,
            show_default=False,
            help="Process instances: ids, the beginnings of ids, or @latest. Not needed where there is just one.",
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(metavar="STORE", help="The store to keep them in; the usual one unless told.", show_default=False),
    ] = None,
    all_live: Annotated[
        bool, typer.Option("--all-live", help="All instances that have not come to their end.")
    ] = False,
    redact: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            show_default=False,
            help="Take out the values at such paths, as variables.*, variables.card.number or **.password; may be "
            "repeated.",
        ),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on looking until they have ended.")] = False,
    interval: Annotated[
        str | None, typer.Option(metavar="SPAN", help=f"Time between two looks; {INTERVAL} unless told.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="End the watch then: a time, or a span from now.")
    ] = None,
    timeout: Annotated[str | None, typer.Option(metavar="SPAN", help="Give up after that, with exit code 5.")] = None,
) -> Listing:
    """Take what a server says of process instances into a store, to look at it without the server.

    A file (--file) or another store (--store) can be taken from, too. Instance, tokens and process model are
    kept as they were sent, with where they come from and when.
    An instance is kept whole or not at all; taking it again changes only what is new. Exit code 5 says that
    some could not be read.

    With --watch, what an engine forgets is put together from one look to the next: the flow histories of
    tokens that move, and the states that they were in. With --all-live it takes in what starts meanwhile.
    """  # fmt: skip
    settings = app.settings
    redaction = Redaction(redact or ())
    if (
        not watch
        and (given := {"--interval": interval, "--until": until, "--timeout": timeout})
        and any(given.values())
    ):
        name = next(name for name, value in given.items() if value)
        raise UsageError(f"{name} is for --watch.", "Say --watch, too, or leave it out.")
    if all_live and instances:
        raise UsageError("--all-live takes all that are live, and some are named.", "Leave one out.")
    if watch:
        watching.refuse_file(app)
    seconds = watching.seconds_of(interval or INTERVAL, "--interval")
    span = min(parse_span(timeout).total_seconds(), watching.AGES) if timeout is not None else None
    end = watching.end_of(until, app.now) if until is not None else None
    location = _target(app, to)
    engine = app.engine
    ids = _live(engine) if all_live else _named(engine, instances or [None])
    with open_store(location, write=True, create=True) as store:
        taker = Taker(store, source=_source(app), kind=_kind(app, engine), redaction=redaction)
        take = _Take(app, taker, ids, all_live=all_live, remote=settings.kind == "server")
        finished = _watch(app, take, engine, seconds, end, span) if watch else _take(take, engine, ids)
    return _listing(app, take, location, finished=finished)


def _named(engine: Engine, given: list[str] | list[None]) -> list[str]:
    return list(dict.fromkeys(resolve_instance(engine, one) for one in given))


def _live(engine: Engine) -> list[str]:
    found = engine.instances(_OPEN, Order("started"))
    return list(dict.fromkeys(status.instance.instance_id for status in found))


def _target(app: App, to: str | None) -> str:
    """The store to write to. Raises UsageError where it is what is read, or would not last."""
    settings = app.settings
    if to == "":
        raise UsageError("--to names no file.", "Give a path, or leave it out for the usual store.")
    location = settings.store_location if to is None else to
    file = file_of(location)
    if file is None:
        raise UsageError(f"nothing would be left of a snapshot in {location}.", "Name a file with --to.")
    read = file_of(settings.store_location) if settings.kind == "store" else None
    if settings.kind == "file":
        read = Path(settings.file or "")
    if read is not None and is_same_file(str(file), str(read)):
        raise UsageError(f"the snapshot would go into {location}, which is what it is taken of.",
                         "Name another store with --to, or a server with --server.")  # fmt: skip
    return location


def _source(app: App) -> str:
    settings = app.settings
    if settings.kind == "server":
        return settings.server or ""
    return input_name(settings.file or "") if settings.kind == "file" else settings.store_location


def _kind(app: App, engine: Engine) -> str:
    """What was read: ``store``, ``file``, or the kind of server."""
    kind = app.settings.kind
    return cast("RemoteEngine", engine).kind if kind == "server" else kind


# --- once, and again and again ----------------------------------------------------------------------------


class _Take:
    """The instances that are taken, and what has become of each."""

    def __init__(self, app: App, taker: Taker, ids: list[str], *, all_live: bool, remote: bool) -> None:
        self.app = app
        self.taker = taker
        self.rows = {instance_id: Taken(instance_id=instance_id) for instance_id in ids}
        self.endings = {instance_id: Ending() for instance_id in ids}
        self._all_live = all_live
        self._remote = remote
        self._failed: TokctlError | None = None

    def once(self, engine: Engine, ids: list[str], step: Callable[[float], None]) -> None:
        """Take each of the instances; one that cannot be read does not stop the others.

        Raises:
            StoreError: the store cannot be written.
            TokctlError: none could be read.
        """
        in_a_row = 0
        for instance_id, get in read_each(engine, ids, self.app.clock, remote=self._remote):
            row = self.rows[instance_id]
            try:
                seen = get()
                _add(row, seen, self.taker.keep(engine, seen, always=True))
                in_a_row = 0
            except StoreError:
                raise
            except TokctlError as error:
                if self._all_live and isinstance(error, NotFoundError):
                    del self.rows[instance_id]  # it was live, and has gone meanwhile
                else:
                    in_a_row += 1
                    row.error, self._failed = str(error), error
            step(1)
            if in_a_row >= GIVE_UP:
                break
        for row in self.rows.values():
            if row.taken_at is None and row.error is None:
                row.error = f"not tried: {GIVE_UP} before it could not be read."
        if self._failed is not None and all(row.error for row in self.rows.values()):
            raise self._failed

    def look(self, engine: Engine, changed: bool) -> None:
        """Look at what has not ended, where something may have changed."""
        if not changed:
            for instance_id, ending in list(self.endings.items()):
                status = self.rows[instance_id].status
                if status is not None and ending.reached(status, changed=False):
                    del self.endings[instance_id]
            return
        if self._all_live:
            for instance_id in _live(engine):
                self.rows.setdefault(instance_id, Taken(instance_id=instance_id))
                self.endings.setdefault(instance_id, Ending())
        for instance_id, get in read_each(engine, list(self.endings), self.app.clock, remote=self._remote):
            row = self.rows[instance_id]
            try:
                seen = get()
                kept = self.taker.keep(engine, seen, always=row.taken_at is None)
            except NotFoundError as error:
                self._gone(row, error)
            except InputError as error:
                if len(self.endings) == 1 and row.taken_at is None:
                    raise
                row.error = str(error)
            else:
                _add(row, seen, kept)
                if self.endings[instance_id].reached(seen.status, changed=kept.changed):
                    del self.endings[instance_id]

    def _gone(self, row: Taken, error: NotFoundError) -> None:
        del self.endings[row.instance_id]
        if row.taken_at is None and not self._all_live:
            raise error
        if row.taken_at is None:
            del self.rows[row.instance_id]
        elif not self._all_live:
            row.error = f"{error.message} It was there before."


def _add(row: Taken, seen: Seen, kept: Kept) -> None:
    """Add a look to what is told of an instance."""
    row.status, row.taken_at, row.error = seen.status, seen.at, None
    row.tokens, row.unchanged = kept.tokens, kept.unchanged
    row.added += kept.added
    row.updated += kept.updated


def _take(take: _Take, engine: Engine, ids: list[str]) -> bool:
    try:
        with progress("Taking snapshots", len(ids)) as step:
            take.once(engine, ids, step)
    except (KeyboardInterrupt, StoreError):
        _tell_kept(take)
        raise
    return True


def _watch(app: App, take: _Take, engine: Engine, seconds: float, end: datetime | None, allowed: float | None) -> bool:
    """Look again and again; returns whether all has ended, or was to end now."""
    poll = Poll(app, engine, interval=seconds)
    begin, told = app.now, ""
    give_up = begin + timedelta(seconds=allowed) if allowed is not None else None
    try:
        while True:
            worked = poll.look(take.look)
            now = app.clock()
            if poll.error is not None and told != poll.error.message:
                told = poll.error.message
                app.tell(f"{told} Waiting for it.")
            elif worked and told:
                told = ""
                app.tell("There again.")
            if (worked and not take.endings) or (end is not None and now >= end):
                return True
            if give_up is not None and now >= give_up:
                return False
            wake = min(time for time in (poll.next(now), end, give_up) if time is not None)
            watching.pause(max((wake - now).total_seconds(), 0))
    except BaseException:
        _tell_kept(take)
        raise
    finally:
        poll.close()


def _tell_kept(take: _Take) -> None:
    kept = sum(row.taken_at is not None for row in take.rows.values())
    if kept:
        take.app.tell(f"{count(kept, 'instance is', 'instances are')} in the store as far as they were read.")


# --- what is shown ----------------------------------------------------------------------------------------


def _listing(app: App, take: _Take, location: str, *, finished: bool) -> Listing:
    rows, redaction = list(take.rows.values()), take.taker.redaction
    taken = [row for row in rows if row.taken_at is not None]
    failed = sum(1 for row in rows if row.error)
    said = []
    if taken:
        tokens = count(sum(row.tokens for row in taken), "token")
        said.append(f"Took {count(len(taken), 'instance')} with {tokens} into {location}.")
    if failed:
        said.append(f"{count(failed, 'instance')} could not be read.")
    if not finished:
        app.tell(f"Time ran out; {count(len(take.endings), 'instance has', 'instances have')} not ended.")
    for pattern in redaction.patterns:
        if taken and not redaction.hits[pattern]:
            app.tell(f"--redact '{pattern}' matched nothing.")
    if take.taker.exposed:
        app.tell("The store had held what is redacted now, and its file may still hold it in places that are free; "
                 "to hand it on, take the snapshot into a new store.")  # fmt: skip
    return taken_listing(
        rows,
        head={"store": location, **take.taker.source},
        notes=said,
        exit_code=_UNFINISHED if failed or not finished else 0,
        unicode=app.out.unicode,
    )


app = command(
    snapshot,
    takes=(*opt.ENGINE, *opt.OUTPUT),
    panel=FILL,
    examples=(
        "tokctl snapshot @latest --server https://engine.example:27555",
        "tokctl snapshot ord-1001 --to evidence.db --redact 'variables.*'",
        "tokctl snapshot --all-live --context prod --to prod.db",
        "tokctl snapshot @latest --context prod --watch --interval 500ms",
    ),
)
