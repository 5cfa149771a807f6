"""``tokctl simulate``."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from tokctl.cli import options as opt
from tokctl.cli.app import STORE_PANEL, App, command
from tokctl.cli.progress import progress
from tokctl.documents.base import build_document
from tokctl.documents.store import ApproximationDocument, SimulationDocument, WaitingDocument
from tokctl.errors import InputError, NotFoundError, UsageError
from tokctl.model.time_expressions import parse_time_or_age
from tokctl.model.times import format_time
from tokctl.render.result import Detail
from tokctl.render.text import count
from tokctl.render.views.simulation import show_simulation
from tokctl.simulation.limits import RunLimits
from tokctl.simulation.scenario import Scenario, parse_scenario
from tokctl.simulation.simulate import SimulationResult, read_models, simulate
from tokctl.store.sink import StoreSink

DEFAULT_START = datetime(2025, 1, 1, tzinfo=UTC)  # the same seed gives the same store, whenever it is run
COMMIT_EVERY = 20_000  # tokens
DEFAULT_LIMITS = RunLimits()


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
    all_processes: Annotated[
        bool,
        opt.flag(
            "--all-processes",
            "Run all processes of the model together, with the messages that they send to each other.",
        ),
    ] = False,
    called: Annotated[
        list[str] | None, opt.path("FILE.bpmn", "Processes that the model calls (repeatable).", "--with")
    ] = None,
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
    trust_scripts: Annotated[
        bool, opt.flag("--trust-scripts", "Run Python of the model as it is. Use this only for models that you trust.")
    ] = False,
    max_call_depth: Annotated[
        int, opt.option("N", "Maximum depth of nested calls.", min=1)
    ] = DEFAULT_LIMITS.call_depth,
    max_steps: Annotated[int, opt.option("N", "Maximum number of steps of an instance.", min=1)] = DEFAULT_LIMITS.steps,
) -> Detail:
    """Run a BPMN model in SpiffWorkflow on a virtual clock and record its tokens in the store.

    Without a scenario, one instance runs, every task takes one second, and user tasks are completed. The same seed
    gives the same result. Nothing of the model is executed: conditions and scripts are evaluated as far as they are
    simple and safe, and otherwise decided by the scenario or by chance. docs/simulate.md describes scenarios.
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
    files, others = read_models(map(Path, models)), read_models(map(Path, called or ()))
    store = app.store(write=True, create=True)
    with StoreSink(store, batch_size=COMMIT_EVERY) as sink, progress("Simulating", plan.count) as step:
        done = simulate(
            files,
            plan,
            sink,
            called=others,
            all_processes=all_processes,
            start=begin,
            end=stop,
            progress=lambda *_: step(1),
            limits=RunLimits(max_call_depth, max_steps),
            trust_scripts=trust_scripts,
        )
    _notify(app, done, sink, instances, max_steps)
    return show_simulation(
        SimulationDocument(
            instances=done.instances,
            tokens=done.tokens,
            added=sink.added,
            updated=sink.updated,
            unchanged=sink.unchanged,
            started_at=format_time(done.start),
            ended_at=format_time(done.end),
            newest_instance_id=done.newest,
            approximations=[build_document(ApproximationDocument, one) for one in done.approximations],
            waiting=[build_document(WaitingDocument, one) for one in done.waiting],
            stopped_at_step_limit=done.exhausted,
        ),
        app.out,
    )


def _notify(app: App, done: SimulationResult, sink: StoreSink, instances: int | None, max_steps: int) -> None:
    if instances is not None and done.instances < instances:
        app.notify(
            f"The simulation ended before all {instances:,} instances started. Set a later 'until' in the scenario."
        )
    if done.exhausted:
        app.notify(
            f"{count(done.exhausted, 'instance')} stopped after {max_steps:,} steps."
            " Set 'until' in the scenario, or a higher --max-steps."
        )
    if done.not_executable:
        app.notify(f"Marked as not executable in the model: {', '.join(done.not_executable)}.")
    if done.unused:
        app.notify(f"These parts of the scenario match nothing in the model: {', '.join(done.unused)}.")
    if done.tokens and not sink.added:
        app.notify(
            "Nothing changed: the store already has these tokens."
            if not sink.updated
            else "Tokens in the store were updated."
        )


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
        "tokctl simulate pizza.bpmn --all-processes",
    ),
)
