"""``tokctl simulate``."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from tokctl.cli import options as opt
from tokctl.cli.app import STORE_PANEL, App, command
from tokctl.cli.progress import progress
from tokctl.documents.store import SimulationDocument
from tokctl.errors import InputError, NotFoundError, UsageError
from tokctl.model.time_expressions import parse_time_or_age
from tokctl.model.times import format_time
from tokctl.render.result import Cell, Detail, Section
from tokctl.render.text import count
from tokctl.simulation.scenario import Scenario, parse_scenario
from tokctl.simulation.simulate import read_models, simulate
from tokctl.store.sink import StoreSink

DEFAULT_START = datetime(2025, 1, 1, tzinfo=UTC)  # the same seed gives the same store, whenever it is run
COMMIT_EVERY = 20_000  # tokens


def simulate_model(
    app: App,
    models: Annotated[
        list[str],
        opt.argument(
            "MODEL.bpmn...", "BPMN files: the process, and the processes that it calls.", click_type=opt.FILE_NAME
        ),
    ],
    scenario: Annotated[
        str | None, opt.path("FILE.yaml", "Scenario: durations, failures, and number of instances.")
    ] = None,
    process: Annotated[str | None, opt.option("ID", "Process to run, if the model has several.")] = None,
    instances: Annotated[
        int | None, opt.option("N", "Number of instances (default: as in the scenario, or 1).", "-n --instances", min=1)
    ] = None,
    seed: Annotated[int | None, opt.option("N", "Seed of the random numbers.")] = None,
    start: Annotated[
        str | None,
        opt.option("TIME", "Start of the first instance: a time, an age such as 3h, or now (default: 2025-01-01)."),
    ] = None,
    end: Annotated[
        str | None, opt.option("TIME", "End of the simulation. It starts earlier by the time 'until' of the scenario.")
    ] = None,
) -> Detail:
    """Run a BPMN model in SpiffWorkflow on a virtual clock and record its tokens in the store.

    Without a scenario, one instance runs, every task takes one second, and user tasks are completed. The same seed
    gives the same result. docs/simulate.md describes scenarios.
    """
    if start is not None and end is not None:
        raise UsageError(
            "--start and --end cannot be used together: the scenario has the duration.", "Use only one of them."
        )
    plan = _load_scenario(scenario, process, instances, seed)
    begin = parse_time_or_age(start, app.now) if start is not None else None
    stop = parse_time_or_age(end, app.now) if end is not None else None
    if begin is not None or stop is not None:
        plan = replace(plan, start=None)
    elif plan.start is None:
        begin = DEFAULT_START
    files = read_models(map(Path, models))
    store = app.store(write=True, create=True)
    with StoreSink(store, batch_size=COMMIT_EVERY) as sink, progress("Simulating", plan.count) as step:
        done = simulate(files, plan, sink, start=begin, end=stop, progress=lambda *_: step(1))
    if instances is not None and done.instances < instances:
        app.notify(
            f"The simulation ended before all {instances:,} instances started. Set a later 'until' in the scenario."
        )
    if done.unused:
        app.notify(f"The scenario has tasks that are not in the model: {', '.join(done.unused)}.")
    if done.tokens and not sink.added:
        app.notify(
            "Nothing changed: the store already has these tokens."
            if not sink.updated
            else "Tokens in the store were updated."
        )
    said = f"Simulated {count(done.instances, 'instance')} with {count(done.tokens, 'token')}."
    document = SimulationDocument(
        instances=done.instances,
        tokens=done.tokens,
        added=sink.added,
        updated=sink.updated,
        unchanged=sink.unchanged,
        started_at=format_time(done.start),
        ended_at=format_time(done.end),
        newest_instance_id=done.newest,
    )
    look = Section(block=f"tokctl tokens tree {done.newest}" if done.newest else "")
    return Detail(ident=done.newest or "", document=document, title=(Cell(said),), sections=(look,))


def _load_scenario(path: str | None, process: str | None, instances: int | None, seed: int | None) -> Scenario:
    plan = Scenario()
    if path is not None:
        try:
            plan = parse_scenario(Path(path).read_bytes(), path)
        except FileNotFoundError:
            raise NotFoundError(f"no such file: {path}.") from None
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}.") from None
    if process is not None:
        plan = replace(plan, process=process)
    if instances is not None:
        plan = replace(plan, count=instances)
    return plan if seed is None else replace(plan, seed=seed)


app = command(
    simulate_model,
    shared_options=(*opt.STORE, *opt.OUTPUT),
    panel=STORE_PANEL,
    examples=(
        "tokctl simulate model.bpmn",
        "tokctl simulate order.bpmn --scenario busy.yaml --seed 7 --end now",
        "tokctl simulate order.bpmn -n 100000 --store load.db",
    ),
)
