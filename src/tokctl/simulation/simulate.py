"""Runs a BPMN model in SpiffWorkflow on a virtual clock, and records its tokens.

`tokctl simulate` and `tokctl demo` use ``simulate``. Instances are independent, so they run one after the other, each
with its own event queue: only one instance is in memory at a time.
"""

from __future__ import annotations

import heapq
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import import_module
from operator import itemgetter
from pathlib import Path
from random import Random
from typing import Any

from tokctl.bpmn.parser import read_definitions
from tokctl.errors import InputError, NotFoundError, UsageError
from tokctl.recorder.lifecycle import Sink
from tokctl.simulation.limits import RunLimits
from tokctl.simulation.report import Approximation, Waiting
from tokctl.simulation.scenario import Scenario

Progress = Callable[[int, int], None]
"""Receives the number of finished instances, and the total."""

_RECURSION_LIMIT = 200_000
_STACK_BYTES = 512 * 1024 * 1024
_SECONDS_TO_STOP = 5.0


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """The result of a simulation: when the clock started and stopped, and how much was recorded.

    ``unused`` are the parts of the scenario that match nothing of the model, as paths. ``approximations``
    says what ran differently from the model, by element; ``waiting`` what the instances that did not end wait for.
    ``exhausted`` instances were stopped at the limit of steps. ``not_executable`` are the processes that ran although
    they are marked as not executable.
    """

    start: datetime
    end: datetime
    instances: int
    tokens: int
    newest: str | None
    unused: tuple[str, ...] = ()
    approximations: tuple[Approximation, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    exhausted: int = 0
    not_executable: tuple[str, ...] = ()


def read_models(paths: Iterable[Path]) -> list[tuple[str, bytes]]:
    """Read BPMN files as the (name, XML) pairs that ``simulate`` takes."""
    models = []
    for path in paths:
        try:
            models.append((str(path), path.read_bytes()))
        except FileNotFoundError:
            raise NotFoundError(f"{path} does not exist.") from None
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}.") from None
    return models


def simulate(  # noqa: PLR0913 - all but the first three are options
    models: Sequence[tuple[str, str | bytes]],
    scenario: Scenario | None,
    sink: Sink,
    *,
    called: Sequence[tuple[str, str | bytes]] = (),
    all_processes: bool = False,
    start: datetime | None = None,
    end: datetime | None = None,
    progress: Progress | None = None,
    limits: RunLimits | None = None,
    trust_scripts: bool = False,
) -> SimulationResult:
    """Run a model's instances by a scenario and record them into the sink.

    ``models`` are (name, XML) pairs: the process, and in any order those that it calls; ``called`` has only processes
    that are called. With ``all_processes`` an instance is one of each process, which exchange messages. Without a
    scenario there is one instance in which every task takes a second. The scenario's own ``start`` takes precedence
    over ``start``; with ``end`` instead, the clock stops then, and starts ``until`` before. Each instance is written to
    the sink once, when it has ended, has no scheduled event left, or the clock stops, in the order of their starts;
    ``progress`` is called after each. Both are called from a thread of the simulation, while the caller's thread waits.

    Nothing of the models is executed, unless ``trust_scripts``: then their Python is.

    Raises ``InputError``, naming the element or construct, for a model that cannot be run, calls that are nested too
    deeply and an endless loop; ``UsageError`` if the start is unknown, SpiffWorkflow is not installed, or the clock
    would leave the years 1 to 9999. Instances recorded before the error are kept.
    """
    scenario = scenario or Scenario()
    main = [(name, d) for name, xml in models for d in read_definitions(xml, name, executable_only=False)]
    others = [(name, d) for name, xml in called for d in read_definitions(xml, name, executable_only=False)]
    stop_requested = threading.Event()

    def work() -> SimulationResult:
        import_module("tokctl.recorder.spiff")  # says what to install where SpiffWorkflow is missing
        from tokctl.simulation.simulation import Models, Simulation

        simulation = Simulation(
            Models(main, others, all_processes),
            scenario,
            sink,
            stop_requested,
            limits=limits or RunLimits(),
            trust_scripts=trust_scripts,
        )
        try:
            return _run(simulation, scenario, _resolve_start(scenario, start, end), progress)
        except OverflowError:
            raise UsageError(
                "the simulation leaves the years 1 to 9999.", "Use shorter times or a higher rate in the scenario."
            ) from None

    return _run_with_deep_stack(work, stop_requested)


def starts(scenario: Scenario, begin: datetime) -> Iterable[tuple[int, datetime]]:
    """Return when each instance starts, with its number, earliest first; memory stays bounded.

    Only instances whose case sets a start are kept until then.
    """
    random = Random(f"{scenario.seed}/arrivals")  # noqa: S311 - a simulation needs no secrets
    moved = sorted(
        (begin + case.starts, number)
        for number, case in scenario.cases.items()
        if case.starts is not None and number <= scenario.count
    )
    skipped = {number for _, number in moved}

    def arrivals() -> Iterator[tuple[datetime, int]]:
        time = begin
        for number in range(1, scenario.count + 1):
            if number > 1 and scenario.rate is not None:
                gap = scenario.rate.gap
                gap = random.expovariate(1 / gap) if scenario.poisson else gap
                time += timedelta(milliseconds=round(gap * 1000))
            if number not in skipped:
                yield time, number

    return ((number, time) for time, number in heapq.merge(moved, arrivals(), key=itemgetter(0)))


def _resolve_start(scenario: Scenario, start: datetime | None, end: datetime | None) -> datetime:
    if scenario.start is not None:
        return scenario.start
    if end is not None:
        if scenario.until is None:
            raise UsageError("The scenario has no 'until', which a simulation that ends at a given time requires.")
        return end - scenario.until
    if start is None:
        raise UsageError("A simulation requires a start time.")
    return start


def _run(simulation: Any, scenario: Scenario, begin: datetime, progress: Progress | None) -> SimulationResult:
    stop = None if scenario.until is None else begin + scenario.until
    done = tokens = exhausted = 0
    end, newest = begin, None
    for number, at in starts(scenario, begin):
        if simulation.stop_requested.is_set() or (stop is not None and at > stop):
            break
        conversation = simulation.run(number, at, stop)
        end, newest = max(end, conversation.queue.now), conversation.runs[0].instance_id
        done += len(conversation.runs)
        tokens += conversation.tokens
        exhausted += conversation.steps_exhausted
        if progress is not None:
            progress(number, scenario.count)
    return SimulationResult(
        begin,
        stop or end,
        done,
        tokens,
        newest,
        simulation.unused,
        simulation.approximations.list(),
        simulation.waiting.list(),
        exhausted,
        simulation.not_executable,
    )


def _run_with_deep_stack(work: Callable[[], SimulationResult], stop_requested: threading.Event) -> SimulationResult:
    """Run it in a thread in which it can recurse deeply; an interrupt here stops it there.

    SpiffWorkflow follows a chain of elements by recursion: some hundred elements in a row are more than Python allows
    by itself. A trusted script that does not end cannot be stopped: after an interrupt, its thread is left behind.
    """
    limit, size = sys.getrecursionlimit(), threading.stack_size(_STACK_BYTES)
    outcome: Future[SimulationResult] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            outcome.set_exception(error)

    sys.setrecursionlimit(max(limit, _RECURSION_LIMIT))
    thread = threading.Thread(target=run, name="simulation", daemon=True)
    try:
        thread.start()
        try:
            return outcome.result()
        except BaseException:
            stop_requested.set()
            thread.join(_SECONDS_TO_STOP)
            raise
    finally:
        threading.stack_size(size)
        sys.setrecursionlimit(limit)
