"""``tokctl tokens watch``."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import msgspec

from tokctl.analysis.changes import WatchEvent
from tokctl.cli import options as opt
from tokctl.cli import polling_options
from tokctl.cli.app import App, command
from tokctl.cli.completion import complete_instance
from tokctl.cli.filters import build_token_filter, check_patterns
from tokctl.engines.ids import resolve_instances
from tokctl.engines.protocol import ChangeSignal, Engine
from tokctl.errors import UsageError
from tokctl.model.filters import InstanceFilter
from tokctl.render.text import DataStream, count
from tokctl.services import polling
from tokctl.services.polling import Poll
from tokctl.services.watch import InstanceWatcher, watch_instances

DEFAULT_INTERVAL = "5s"

if TYPE_CHECKING:
    from tokctl.cli.screen import Screen
    from tokctl.render.result import Output


def watch_tokens(
    app: App,
    instances: Annotated[
        list[str] | None,
        opt.argument(
            "[INSTANCE]...",
            "Instance ids, beginnings of ids, or @latest (default: the only instance, or all that have not ended).",
            complete=complete_instance,
        ),
    ] = None,
    process: Annotated[
        list[str] | None,
        opt.option(
            "GLOB", "Watch the instances of processes whose id matches this pattern (repeatable).", "-p --process"
        ),
    ] = None,
    interval: Annotated[
        str, opt.option("DURATION", "Time between two polls. PostgreSQL stores tell of changes at once.")
    ] = DEFAULT_INTERVAL,
    until: Annotated[str | None, opt.option("TIME", "Stop at this time, or after a duration from now.")] = None,
    events: Annotated[bool, opt.flag("--events", "Print events as JSON lines, even on a terminal.")] = False,
    limit: Annotated[
        int, opt.option("N", "Maximum number of instances to watch if none is given.", "-n --limit", min=1)
    ] = 100,
    state: opt.States = None,
    type_: opt.Types = None,
    element: opt.Elements = None,
    worker: opt.Workers = None,
    live: opt.Live = False,
    no_completed: opt.NoCompleted = False,
) -> int:
    """Watch the tokens of process instances live.

    On a terminal a dashboard is shown; press q or Ctrl-C to stop. Into a pipe, or with --events, each event is a JSON
    line: watching, tokens_updated, tokens_timeout, instance_updated, ended, error, recovered. The command ends when all
    given instances have ended. If the store or server is unavailable, it keeps trying.

    + marks a new token, ~ a changed one, ! one past its timeout.
    """
    polling_options.reject_file_source(app)
    seconds = polling_options.parse_interval(interval, "--interval")
    end = polling_options.parse_end(until, app.now) if until is not None else None
    if process and instances:
        raise UsageError("INSTANCE and --process cannot be used together.", "Use only one of them.")
    tokens = build_token_filter(
        app, state=state, types=type_, elements=element, workers=worker, live=live, no_completed=no_completed
    )
    where = InstanceFilter(open=True, processes=check_patterns(process, "--process"))
    engine = app.engine
    ids = resolve_instances(engine, instances or ())
    if not ids and not process and len(only := engine.instance_ids("", 2)) == 1:
        ids = only
    watcher = InstanceWatcher(ids, where, limit=limit, clock=app.clock, tokens=tokens)
    run_watch(app, engine, watcher, seconds, end=end, events=events)
    return 0


def run_watch(
    app: App, engine: Engine, watcher: InstanceWatcher, seconds: float, *, end: datetime | None, events: bool
) -> None:
    """Poll every ``seconds`` and show what happens: as a dashboard on a terminal, else (or with ``events``) as JSON."""
    is_dumb = os.environ.get("TERM", "dumb") == "dumb"
    with closing(polling_options.create_poller(app, engine, seconds)) as poller:
        if events or not app.out.tty or is_dumb or app.out.format not in {"table", "wide"}:
            if app.out.tty and is_dumb:
                app.notify("This terminal (TERM=dumb) cannot show the dashboard. Events follow as JSON lines.")
            watch_instances(watcher, poller, JsonLinesDisplay(app), end=end)
        else:
            from rich.segment import Segment

            from tokctl.cli.screen import Screen

            with Screen(app.out) as screen:
                screen.paint([[Segment("Reading tokens")]])
                display = DashboardDisplay(screen, app.out, app.clock, seconds)
                watch_instances(watcher, poller, display, end=end)


class JsonLinesDisplay:
    """Writes a JSON line for each event."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._out = msgspec.structs.replace(app.out, format="ndjson")
        self._stream = DataStream(self._out)
        self._more = 0

    def show(self, watcher: InstanceWatcher, poll: Poll, events: list[WatchEvent]) -> None:  # noqa: ARG002
        """Write the events, and flush them."""
        for event in events:
            for document in event.documents():
                self._stream.write(msgspec.json.encode(document).decode() + "\n")
        self._out.stream.flush()
        if watcher.more and not self._more:
            self._app.notify(
                f"{count(watcher.more, 'more open instance')} not watched. Increase --limit, or give instances."
            )
        self._more = watcher.more

    def wait(self, seconds: float, signal: ChangeSignal | None = None) -> bool:
        """Wait; the reader ends the watch by closing the pipe."""
        polling.pause(seconds, self._out.stream, signal)
        return False


class DashboardDisplay:
    """Paints a dashboard on the terminal."""

    def __init__(self, screen: Screen, out: Output, clock: Callable[[], datetime], interval: float) -> None:
        from tokctl.render.views.watch import Dashboard

        self._screen = screen
        self._out = out
        self._clock = clock
        self._interval = interval
        self._dashboard = Dashboard(clock(), out)
        self._paint: Callable[[], None] = lambda: None

    def show(self, watcher: InstanceWatcher, poll: Poll, events: list[WatchEvent]) -> None:
        """Paint the dashboard; ``wait`` repaints it."""
        from tokctl.render.views.watch import DashboardState

        self._dashboard.add_events(events)

        def paint() -> None:
            columns, lines = self._screen.size
            state = DashboardState(
                watched=tuple(watcher.watched.values()),
                now=self._clock(),
                polled_at=watcher.polled_at,
                interval=self._interval,
                more=watcher.more,
                error=poll.error.message if poll.error else "",
                next_poll_at=poll.next_at,
            )
            out = msgspec.structs.replace(self._out, width=columns, now=state.now)
            # One line less than the terminal has, so that all of it stays visible at the end.
            self._screen.paint(self._dashboard.render_lines(state, out, lines - 1))

        self._paint = paint
        paint()

    def wait(self, seconds: float, signal: ChangeSignal | None = None) -> bool:
        """Wait, and repaint as ages grow and the terminal's size changes."""
        return self._screen.wait(seconds, self._paint, signal)


app = command(
    watch_tokens,
    shared_options=opt.ENGINE,
    examples=(
        "tokctl tokens watch @latest",
        "tokctl tokens watch ord-1001 ord-1002 --interval 1s",
        "tokctl tokens watch --process 'order-*' --until 1h",
        "tokctl tokens watch @latest --events | jq -r 'select(.event==\"tokens_timeout\").tokens[].token_id'",
    ),
)
