"""``tokctl tokens wait``."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Annotated, Any

import typer

from tokctl.cli import options as opt
from tokctl.cli import watching
from tokctl.cli.app import App, command
from tokctl.cli.watching import Poll
from tokctl.engines.ids import resolve_instance
from tokctl.errors import AmbiguousIdError, NotFoundError
from tokctl.process.conditions import Condition, Facts, judge, parse_condition
from tokctl.process.engine import Engine
from tokctl.process.monitor import Ending
from tokctl.process.query import TokenFilter, parse_span
from tokctl.process.status import InstanceStatus
from tokctl.render.human import span, state_cell
from tokctl.render.result import Cell, Detail, Field, Section

EXIT_CODES = {"held": 0, "impossible": 1, "timed_out": 5}


def wait_for_instance(
    app: App,
    conditions: Annotated[
        list[str],
        typer.Option(
            "--for",
            metavar="WHAT",
            show_default=False,
            help="state=COMPLETED (or several, between commas), element=ID, no-live or finding=HIGH; all of them, if "
            "there are several.",
        ),
    ],
    instance: opt.Instance = None,
    timeout: Annotated[
        str | None,
        typer.Option(
            metavar="SPAN", help="Give up after that; 0s looks once. For ever unless told.", show_default=False
        ),
    ] = None,
    interval: Annotated[str, typer.Option(metavar="SPAN", help="Time between two looks.")] = "1s",
    appear: Annotated[bool, typer.Option("--appear", help="Wait for the instance, too, where there is none.")] = False,
) -> Detail:
    """Wait until a process instance is in a state, has come to an element, or is in trouble.

    element=ID holds once a token has come to the element with that id or name (a pattern will do), finding=HIGH
    once debug finds something of that severity or worse. Exit code 0 when it holds, 5 when the time ran out,
    1 when it can no longer hold. A store that goes away is waited for.
    """  # fmt: skip
    watching.refuse_file(app)
    wanted = tuple(map(parse_condition, conditions))
    seconds = watching.seconds_of(interval, "--interval")
    allowed = min(parse_span(timeout).total_seconds(), watching.AGES) if timeout is not None else None
    wait = Wait(app, instance, wanted, appear=appear)
    engine = None
    if not appear:
        engine = app.engine
        wait.instance_id = resolve_instance(engine, instance)
    poll = Poll(app, engine, interval=seconds)
    try:
        outcome = _wait(app, wait, poll, allowed)
    finally:
        poll.close()
    return wait_detail(wait, outcome, app.clock() - app.now, poll, unicode=app.out.unicode)


def _wait(app: App, wait: Wait, poll: Poll, allowed: float | None) -> str:
    begin = app.now
    told = ""
    while True:
        worked = poll.look(wait.read)
        now = app.clock()
        over = allowed is not None and (now - begin).total_seconds() >= allowed
        if poll.error is not None and told != poll.error.message:
            told = poll.error.message
            app.tell(told if over else f"{told} Waiting for it.")
        elif worked and told:
            told = ""
            app.tell("There again.")
        if worked and wait.outcome:
            return wait.outcome
        if over:
            return "timed_out"
        wait.say_once()
        wake = poll.next(now)
        if allowed is not None:
            wake = min(wake, begin + timedelta(seconds=allowed))
        watching.pause(max((wake - now).total_seconds(), 0))


class Wait:
    """What is waited for, and how the instance stood at the last look."""

    def __init__(self, app: App, given: str | None, wanted: tuple[Condition, ...], *, appear: bool) -> None:
        self.given = given
        self.wanted = wanted
        self.instance_id: str | None = None
        self.status: InstanceStatus | None = None
        self.verdicts: tuple[bool | None, ...] = (None,) * len(wanted)
        self._app = app
        self._appear = appear
        self._ending = Ending()
        self._said = False

    @property
    def outcome(self) -> str | None:
        """How it came out; None as long as it may come out either way."""
        if all(self.verdicts):
            return "held"
        return "impossible" if False in self.verdicts else None

    def read(self, engine: Engine, changed: bool) -> None:
        """Look at the instance where it may have changed: findings also come with time alone."""
        try:
            if self.instance_id is None:
                self.instance_id = resolve_instance(engine, self.given)
            if changed or self.status is None:
                self.status = engine.instance(self.instance_id)
        except AmbiguousIdError:
            raise
        except NotFoundError:
            if not self._appear:
                raise
            self.status = None
            return
        over = self._ending.reached(self.status, changed=changed)
        if changed or over or any(condition.kind == "finding" for condition in self.wanted):
            self.verdicts = self._judge(engine, self.instance_id, self.status, over=over)

    def _judge(
        self, engine: Engine, instance_id: str, status: InstanceStatus, *, over: bool
    ) -> tuple[bool | None, ...]:
        def reached(pattern: str) -> bool:
            return engine.count_tokens(instance_id, TokenFilter(elements=(pattern,))) > 0

        def severity() -> str | None:
            from tokctl.cli.examine import Question, examine

            question = Question(configured=self._app.settings.debug)
            return examine(engine, instance_id, self._app.clock(), question).severity

        facts = Facts(
            status=status.status,
            total_tokens=status.total_tokens,
            live_tokens=status.live_tokens,
            over=over,
            reached=reached,
            severity=severity,
        )
        return tuple(judge(condition, facts) for condition in self.wanted)

    def say_once(self) -> None:
        """Say to someone at a terminal what is waited for."""
        if self._said or not sys.stderr.isatty():
            return
        self._said = True
        what = " and ".join(condition.text for condition in self.wanted)
        who = self.instance_id or self.given or "an instance"
        status = self.status
        now = f"{status.status or '?'}, {status.live_tokens:,} live" if status else "not there yet"
        self._app.tell(f"Waiting for {what} of {who} (now {now}). Ctrl-C ends it.")


def wait_detail(wait: Wait, outcome: str, took: timedelta, poll: Poll, *, unicode: bool) -> Detail:
    """How it came out; exit code 0, 1 or 5."""
    status = wait.status
    verdicts = [verdict is True for verdict in wait.verdicts]
    name = wait.instance_id or wait.given or ""
    error = poll.error.message if poll.error else None
    document: dict[str, Any] = {
        "instance_id": wait.instance_id or wait.given,
        "outcome": outcome,
        "held": outcome == "held",
        "after_ms": took / timedelta(milliseconds=1),
        "conditions": [
            {"condition": condition.text, "held": held} for condition, held in zip(wait.wanted, verdicts, strict=True)
        ],
        "status": status.status if status else None,
        "total_tokens": status.total_tokens if status else None,
        "live_tokens": status.live_tokens if status else None,
        "error": error,
    }
    after = span(took.total_seconds())
    said = {
        "held": Cell("Holds", "bold green"),
        "timed_out": Cell("Time ran out", "bold red"),
        "impossible": Cell("Can no longer hold", "bold red"),
    }[outcome]
    fields = [
        Field(condition.text, Cell("holds" if held else "does not hold", "" if held else "red"))
        for condition, held in zip(wait.wanted, verdicts, strict=True)
    ]
    if status is not None:
        fields.append(Field("status", state_cell(status.status, unicode=unicode, derived=status.status_derived)))
        fields.append(Field("live tokens", Cell(f"{status.live_tokens:,} of {status.total_tokens:,}")))
    else:
        fields.append(Field("status", Cell("no such instance", "red")))
    if error:
        fields.append(Field("last error", Cell(error, "red")))
    return Detail(
        ident=name,
        document=document,
        title=(said, Cell(f" after {after}:  "), Cell(name, "bold")),
        sections=(Section(fields=tuple(fields)),),
        exit_code=EXIT_CODES[outcome],
    )


app = command(
    wait_for_instance,
    takes=(*opt.ENGINE, *opt.OUTPUT),
    examples=(
        "tokctl tokens wait @latest --for state=COMPLETED --timeout 5m",
        "tokctl tokens wait ord-1001 --for element=ship --for no-live",
        "tokctl tokens wait ord-1001 --for finding=HIGH && page-someone",
    ),
)
