"""``tokctl tokens wait``."""

from __future__ import annotations

import sys
from contextlib import closing
from datetime import timedelta
from typing import Annotated

from tokctl.analysis.wait_conditions import parse_condition
from tokctl.cli import options as opt
from tokctl.cli import polling_options
from tokctl.cli.app import App, command
from tokctl.documents.watch import ConditionDocument, WaitDocument
from tokctl.engines.ids import resolve_instance
from tokctl.render.result import Cell, Detail, Field, Section
from tokctl.render.text import format_duration, state_cell
from tokctl.services.wait import InstanceWait, WaitResult, wait_until

EXIT_CODES = {"held": 0, "impossible": 1, "timed_out": 5}


def wait_for_instance(
    app: App,
    conditions: Annotated[
        list[str],
        opt.option(
            "WHAT",
            "Condition: state=COMPLETED, element=ID, no-live or finding=HIGH (repeatable; all must hold). Several "
            "states are separated by commas.",
            "--for",
        ),
    ],
    instance: opt.Instance = None,
    timeout: Annotated[str | None, opt.option("DURATION", "Timeout. 0s checks once (default: no timeout).")] = None,
    interval: Annotated[str, opt.option("DURATION", "Time between two polls.")] = "1s",
    appear: Annotated[bool, opt.flag("--appear", "If the instance does not exist yet, wait for it.")] = False,
) -> Detail:
    """Wait until an instance is in a state, reaches an element, or has a problem.

    element=ID is true when a token has reached the element with this id or name (or pattern), finding=HIGH when debug
    finds a problem of this severity or higher. Exit codes: 0 condition met, 5 timeout, 1 the condition cannot be met
    any more. If the store or server is unavailable, the command keeps trying.
    """
    polling_options.reject_file_source(app)
    wanted = tuple(map(parse_condition, conditions))
    seconds = polling_options.parse_interval(interval, "--interval")
    limit = None if timeout is None else timedelta(seconds=polling_options.parse_timeout(timeout))
    wait = InstanceWait(instance, wanted, clock=app.clock, appear=appear, thresholds=app.settings.debug)
    engine = None
    if not appear:
        engine = app.engine
        wait.instance_id = resolve_instance(engine, instance)
    with closing(polling_options.create_poller(app, engine, seconds)) as poller:
        result = wait_until(
            wait,
            poller,
            clock=app.clock,
            timeout=limit,
            notify=app.warn,
            on_first_wait=lambda wait: _announce(app, wait),
        )
    return wait_detail(wait, result)


def _announce(app: App, wait: InstanceWait) -> None:
    """Show on a terminal what the command waits for."""
    if not sys.stderr.isatty():
        return
    what = " and ".join(condition.text for condition in wait.conditions)
    who = wait.instance_id or wait.given or "an instance"
    status = wait.status
    now = f"{status.status or '?'}, {status.live_tokens:,} live" if status else "does not exist yet"
    app.notify(f"Waiting for {what} of {who} (now {now}). Press Ctrl-C to stop.")


def wait_detail(wait: InstanceWait, result: WaitResult) -> Detail:
    """Show how a wait ended; the exit code is 0, 1 or 5."""
    status, outcome, took = wait.status, result.outcome, result.took
    verdicts = [verdict is True for verdict in wait.verdicts]
    name = wait.instance_id or wait.given or ""
    error = result.error.message if result.error else None
    document = WaitDocument(
        instance_id=wait.instance_id or wait.given,
        outcome=outcome,
        held=outcome == "held",
        after_ms=took / timedelta(milliseconds=1),
        conditions=[
            ConditionDocument(condition=condition.text, held=held)
            for condition, held in zip(wait.conditions, verdicts, strict=True)
        ],
        status=status.status if status else None,
        total_tokens=status.total_tokens if status else None,
        live_tokens=status.live_tokens if status else None,
        error=error,
    )
    after = format_duration(took.total_seconds())
    said = {
        "held": Cell("Condition met", "bold green"),
        "timed_out": Cell("Timed out", "bold red"),
        "impossible": Cell("Condition cannot be met any more", "bold red"),
    }[outcome]
    fields = [
        Field(condition.text, Cell("met" if held else "not met", "" if held else "red"))
        for condition, held in zip(wait.conditions, verdicts, strict=True)
    ]
    if status is not None:
        fields.append(Field("status", state_cell(status.status, derived=status.status_derived)))
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
    shared_options=(*opt.ENGINE, *opt.OUTPUT),
    examples=(
        "tokctl tokens wait @latest --for state=COMPLETED --timeout 5m",
        "tokctl tokens wait ord-1001 --for element=ship --for no-live",
        "tokctl tokens wait ord-1001 --for finding=HIGH && page-someone",
    ),
)
