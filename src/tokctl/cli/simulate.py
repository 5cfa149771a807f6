"""``tokctl simulate``."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from tokctl.cli import options as opt
from tokctl.cli.app import FILL, App, command
from tokctl.cli.progress import progress
from tokctl.errors import InputError, NotFoundError, UsageError
from tokctl.process.model import format_time
from tokctl.process.query import parse_moment
from tokctl.recorder.scenario import Scenario, read_scenario
from tokctl.recorder.simulate import read_models, simulate
from tokctl.render.human import count
from tokctl.render.result import Cell, Detail, Section
from tokctl.store.sink import StoreSink

START = datetime(2025, 1, 1, tzinfo=UTC)  # the same seed gives the same store, whenever it is run
COMMIT_EVERY = 20_000  # tokens


def simulate_model(
    app: App,
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL.bpmn...",
            show_default=False,
            help="The process, and the files of processes that it calls.",
        ),
    ],
    scenario: Annotated[
        str | None,
        typer.Option(metavar="FILE.yaml", help="How long tasks take, what fails and hangs, how many instances come."),
    ] = None,
    process: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Which process is to run, where the model has several.", show_default=False),
    ] = None,
    instances: Annotated[
        int | None,
        typer.Option("-n", "--instances", min=1, metavar="N", help="So many instances.", show_default=False),
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="The seed of all chance.", show_default=False)] = None,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="When the first instance starts: a time, a span before now, or now; 2025-01-01 unless told.",
            show_default=False,
        ),
    ] = None,
    end: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="When the clock stops; the start is the scenario's 'until' before it."),
    ] = None,
) -> Detail:
    """Run a BPMN model in SpiffWorkflow on a virtual clock, and record its tokens in the store.

    Without a scenario there is one instance, every task takes a second, and user tasks are done.
    The same seed gives the same store. The README describes scenarios.
    """  # fmt: skip
    if start is not None and end is not None:
        raise UsageError("--start and --end exclude each other: the scenario says how long the clock runs.")
    plan = _scenario(scenario, process, instances, seed)
    begin = parse_moment(start, app.now) if start is not None else None
    stop = parse_moment(end, app.now) if end is not None else None
    if begin is not None or stop is not None:
        plan = replace(plan, start=None)
    elif plan.start is None:
        begin = START
    files = read_models(map(Path, models))
    store = app.store(write=True, create=True)
    with StoreSink(store, every=COMMIT_EVERY) as sink, progress("Simulating", plan.count) as step:
        done = simulate(files, plan, sink, start=begin, end=stop, progress=lambda *_: step(1))
    if instances is not None and done.instances < instances:
        app.tell(f"The scenario's clock stopped before more of the {instances:,} could start.")
    if done.unused:
        app.tell(f"The scenario names tasks that the model has not: {', '.join(done.unused)}.")
    if done.tokens and not sink.added:
        app.tell("Nothing changed: the store had all of it." if not sink.updated else "They were in the store before.")
    said = f"Simulated {count(done.instances, 'instance')} with {count(done.tokens, 'token')}."
    document = {
        "instances": done.instances,
        "tokens": done.tokens,
        "added": sink.added,
        "updated": sink.updated,
        "unchanged": sink.unchanged,
        "started_at": format_time(done.start),
        "ended_at": format_time(done.end),
        "newest_instance_id": done.newest,
    }
    look = Section(block=f"tokctl tokens tree {done.newest}" if done.newest else "")
    return Detail(ident=done.newest or "", document=document, title=(Cell(said),), sections=(look,))


def _scenario(path: str | None, process: str | None, instances: int | None, seed: int | None) -> Scenario:
    plan = Scenario()
    if path is not None:
        try:
            plan = read_scenario(Path(path).read_bytes(), path)
        except FileNotFoundError:
            raise NotFoundError(f"there is no file {path}.") from None
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    if process is not None:
        plan = replace(plan, process=process)
    if instances is not None:
        plan = replace(plan, count=instances)
    return plan if seed is None else replace(plan, seed=seed)


app = command(
    simulate_model,
    takes=(*opt.STORE, *opt.OUTPUT),
    panel=FILL,
    examples=(
        "tokctl simulate model.bpmn",
        "tokctl simulate order.bpmn --scenario busy.yaml --seed 7 --end now",
        "tokctl simulate order.bpmn -n 100000 --store load.db",
    ),
)
