"""``tokctl tokens watch``."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Protocol

import msgspec
import typer

from tokctl.cli import options as opt
from tokctl.cli import watching
from tokctl.cli.app import App, command
from tokctl.cli.complete import complete_instance
from tokctl.cli.filters import patterns
from tokctl.cli.watching import Poll
from tokctl.engines.ids import resolve_instance
from tokctl.errors import NotFoundError, UsageError
from tokctl.process.engine import Engine
from tokctl.process.monitor import Event, Watched
from tokctl.process.query import EVERYTHING, InstanceFilter, Order
from tokctl.render.human import DataStream, count

if TYPE_CHECKING:
    from tokctl.cli.screen import Screen
    from tokctl.render.result import Output

_SHARE = 5  # of the interval that passes at least before a timeout brings the next look forward


def watch_tokens(
    app: App,
    instances: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[INSTANCE]...",
            autocompletion=complete_instance,
            show_default=False,
            help="Process instances: ids, the beginnings of ids, or @latest. Without any, the only one there is, "
            "or all that are open.",
        ),
    ] = None,
    process: Annotated[
        list[str] | None,
        typer.Option("-p", "--process", metavar="GLOB", help="Open instances of processes whose id fits this pattern."),
    ] = None,
    interval: Annotated[str, typer.Option(metavar="SPAN", help="Time between two looks.")] = "5s",
    until: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="End then: a time, or a span from now.", show_default=False),
    ] = None,
    events: Annotated[bool, typer.Option("--events", help="One JSON line for each event, as into a pipe.")] = False,
    limit: Annotated[
        int, typer.Option("-n", "--limit", min=1, metavar="N", help="At most so many of the open instances at a time.")
    ] = 100,
) -> int:
    """Watch what happens to the tokens of process instances, as it happens.

    On a terminal a picture that stays up to date: q or Ctrl-C ends it. Into a pipe, or with --events, a
    JSON line for each event: watching, tokens_updated, tokens_timeout, instance_updated, ended, error,
    recovered. Ends when the instances that were named have ended. A store that goes away is waited for.

    + marks a token that is new, ~ one that has changed, ! one whose timeout has passed.
    """  # fmt: skip
    watching.refuse_file(app)
    seconds = watching.seconds_of(interval, "--interval")
    end = watching.end_of(until, app.now) if until is not None else None
    if process and instances:
        raise UsageError("--process chooses among all instances, and some are named.", "Leave one out.")
    where = InstanceFilter(open=True, processes=patterns(process, "--process"))
    engine = app.engine
    ids = list(dict.fromkeys(resolve_instance(engine, given) for given in instances or ()))
    if not ids and not process and len(only := engine.instance_ids("", 2)) == 1:
        ids = only
    watch = Watch(ids, where, limit=limit, clock=app.clock)
    poll = Poll(app, engine, interval=seconds)
    try:
        if events or not app.out.tty or os.environ.get("TERM", "dumb") == "dumb":
            _follow(watch, poll, Lines(app), end)
        else:
            from tokctl.cli.screen import Screen

            with Screen(app.out.stream) as screen:
                screen.paint(["Looking."])  # the first look at very many tokens takes a while
                _follow(watch, poll, Picture(screen, app.out, app.clock), end)
    finally:
        poll.close()
    return 0


class Watch:
    """Looks at instances, and collects what has happened since the last look.

    With ``ids`` it watches those. Without, it watches open ones, new ones among them, up to the limit, and
    lets go of them when they have ended: what it keeps is bounded by what is open.
    """

    def __init__(self, ids: list[str], where: InstanceFilter, *, limit: int, clock: Callable[[], datetime]) -> None:
        self.watched = {instance_id: Watched(instance_id) for instance_id in ids}
        self.more = 0
        self.looked_at: datetime | None = None
        self._named = bool(ids)
        self._where = where
        self._limit = limit
        self.clock = clock
        self._room = False  # for one that is open and was not watched
        self._events: list[Event] = []

    def look(self, poll: Poll) -> list[Event]:
        """Look once; returns what has happened, errors and their end included."""
        before, since = poll.error and poll.error.message, poll.failing_since
        worked = poll.look(self._read)
        now = self.clock()
        if worked:
            self.looked_at = now
            if since is not None:
                self._events.insert(0, _recovered(since, now))
        elif poll.error is not None and before != poll.error.message:
            retry = (poll.next(now) - now) / timedelta(milliseconds=1)
            facts = {"message": poll.error.message, "retry_in_ms": retry}
            self._events.append(Event(event="error", at=now, facts=facts))
        events, self._events = self._events, []
        return events

    def _read(self, engine: Engine, changed: bool) -> None:
        now = self.clock()
        if not (changed or self._room):
            for one in self.watched.values():
                self._events += one.rest(now)
        elif self._named:
            for one in self.watched.values():
                self._read_one(engine, one, now)
        else:
            self._read_open(engine, now)
        if not self._named:
            for one in [one for one in self.watched.values() if one.ended]:
                if one.missing_since or not (one.status and self._where.matches(one.status)):
                    del self.watched[one.instance_id]
            self._room = self.more > 0 and len(self.watched) < self._limit

    def _read_one(self, engine: Engine, one: Watched, now: datetime) -> None:
        try:
            status = engine.instance(one.instance_id)
            tokens = engine.tokens(one.instance_id, EVERYTHING, Order("created"))
            happened = one.look(status, tokens, now)
        except NotFoundError as error:
            if one.missing_since is None:
                one.missing_since = now
                facts = {"message": f"{error.message} It was there before."}
                self._events.append(Event(event="error", at=now, instance_id=one.instance_id, facts=facts))
            return
        if one.missing_since is not None:
            self._events.append(_recovered(one.missing_since, now, one.instance_id))
            one.missing_since = None
        self._events += happened

    def _read_open(self, engine: Engine, now: datetime) -> None:
        found = engine.instances(self._where, Order("started", descending=True), limit=self._limit)
        ids = [status.instance.instance_id for status in found]
        for instance_id in ids:
            if len(self.watched) < self._limit and instance_id not in self.watched:
                self.watched[instance_id] = Watched(instance_id)
        for one in self.watched.values():
            self._read_one(engine, one, now)
            if one.missing_since is not None:
                one.ended = True
                facts = {"status": None, "ended_at": None}
                self._events[-1] = Event(event="ended", at=now, instance_id=one.instance_id, facts=facts)
        self.more = max(engine.count_instances(self._where) - len(self.watched), 0) if len(ids) == self._limit else 0

    @property
    def over(self) -> bool:
        """Whether all that was named has ended."""
        return self._named and all(one.ended for one in self.watched.values())

    @property
    def next_timeout(self) -> datetime | None:
        """When the next timeout passes."""
        return min((due for one in self.watched.values() if (due := one.next_timeout) is not None), default=None)


def _recovered(since: datetime, now: datetime, instance_id: str | None = None) -> Event:
    facts = {"after_ms": (now - since) / timedelta(milliseconds=1)}
    return Event(event="recovered", at=now, instance_id=instance_id, facts=facts)


# --- where events go --------------------------------------------------------------------------------------


class Sink(Protocol):
    """Shows what happens."""

    def show(self, watch: Watch, poll: Poll, events: list[Event], wake: datetime) -> None:
        """Show what a look has brought; the next is at ``wake``."""

    def wait(self, seconds: float) -> bool:
        """Wait; True when someone wants it to end."""


def _follow(watch: Watch, poll: Poll, sink: Sink, end: datetime | None) -> None:
    """Look, show and wait until all has ended, or someone ends it."""
    while True:
        events = watch.look(poll)
        now = watch.clock()
        wake = poll.next(now)
        due = watch.next_timeout
        if not poll.failures and due is not None and due < wake:
            wake = max(due, now + timedelta(seconds=poll.interval / _SHARE))
        if end is not None:
            wake = min(wake, end)
        sink.show(watch, poll, events, wake)
        if watch.over or (end is not None and now >= end):
            return
        if sink.wait(max((wake - now).total_seconds(), 0)):
            return


class Lines:
    """A JSON line for each event."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._out = msgspec.structs.replace(app.out, format="ndjson")
        self._stream = DataStream(self._out)
        self._more = 0

    def show(self, watch: Watch, poll: Poll, events: list[Event], wake: datetime) -> None:  # noqa: ARG002
        """Write the events, so that they are there at once."""
        for event in events:
            for document in event.documents():
                self._stream.write(msgspec.json.encode(document).decode() + "\n")
        self._out.stream.flush()
        if watch.more and not self._more:
            self._app.tell(f"{count(watch.more, 'more open instance')} not watched: raise --limit, or name some.")
        self._more = watch.more

    def wait(self, seconds: float) -> bool:
        """Wait; nobody can say here that it is enough, except by reading no more."""
        watching.pause(seconds, self._out.stream)
        return False


class Picture:
    """A picture on the terminal."""

    def __init__(self, screen: Screen, out: Output, clock: Callable[[], datetime]) -> None:
        from tokctl.render.views.watch import Board

        self._screen = screen
        self._out = out
        self._clock = clock
        self._board = Board(clock(), unicode=out.unicode)
        self._paint: Callable[[], None] = lambda: None

    def show(self, watch: Watch, poll: Poll, events: list[Event], wake: datetime) -> None:
        """Paint, and do so again until there is something new."""
        from tokctl.render.views.watch import Look

        self._board.take(events)

        def paint() -> None:
            columns, lines = self._screen.size
            look = Look(
                watched=tuple(watch.watched.values()),
                now=self._clock(),
                looked_at=watch.looked_at,
                interval=poll.interval,
                more=watch.more,
                error=poll.error.message if poll.error else "",
                next_look=wake,
            )
            out = msgspec.structs.replace(self._out, width=columns, now=look.now)
            self._screen.paint(self._board.frame(look, out, lines - 1))  # so that all of it stays in sight in the end

        self._paint = paint
        paint()

    def wait(self, seconds: float) -> bool:
        """Wait, with ages that grow and a size that may change."""
        return self._screen.wait(seconds, self._paint)


app = command(
    watch_tokens,
    takes=opt.ENGINE,
    examples=(
        "tokctl tokens watch @latest",
        "tokctl tokens watch ord-1001 ord-1002 --interval 1s",
        "tokctl tokens watch --process 'order-*' --until 1h",
        "tokctl tokens watch @latest --events | jq -r 'select(.event==\"tokens_timeout\").tokens[].token_id'",
    ),
)
