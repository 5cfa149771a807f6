"""Runs a BPMN model in SpiffWorkflow, on a virtual clock, and records what its tokens do.

``simulate`` is what `tokctl simulate` and `tokctl demo` are made of. Instances do not touch each
other, so they run one after the other, each with its own queue of what falls due: memory holds one
instance at a time, however many there are.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

from tokctl.errors import InputError, NotFoundError, UsageError
from tokctl.process.bpmn import read_definitions
from tokctl.process.model import Definition
from tokctl.recorder.base import Sink
from tokctl.recorder.scenario import Scenario

Progress = Callable[[int, int], None]
"""Is told how many instances are done, and of how many."""

_RECURSION = 200_000
_STACK = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Simulated:
    """What came of a simulation: when the clock started and stopped, and how much was recorded.

    ``unused`` are the names among the scenario's tasks that fit no element of the model.
    """

    start: datetime
    end: datetime
    instances: int
    tokens: int
    newest: str | None
    unused: tuple[str, ...] = ()


def read_models(paths: Iterable[Path]) -> list[tuple[str, bytes]]:
    """Read BPMN files as the (name, XML) pairs that ``simulate`` takes."""
    models = []
    for path in paths:
        try:
            models.append((str(path), path.read_bytes()))
        except FileNotFoundError:
            raise NotFoundError(f"There is no file '{path}'.") from None
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}.") from None
    return models


def simulate(
    models: Sequence[tuple[str, str | bytes]],
    scenario: Scenario | None,
    sink: Sink,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    progress: Progress | None = None,
) -> Simulated:
    """Run a model's instances as a scenario says and record them into the sink.

    ``models`` are (name, XML) pairs: the process, and in any order those that it calls. Without a
    scenario there is one instance in which every task takes a second. The scenario's own ``start``
    goes before ``start``; with ``end`` instead the clock stops then, and started ``until`` before.
    Each instance reaches the sink once, when it has ended, has nothing left to wait for or the
    clock stops, in the order in which they start; ``progress`` is told after each. Both are called
    from a thread of the simulation's own, while the caller's waits.

    Raises ``InputError``, naming the element or construct, for a model that SpiffWorkflow cannot
    run, a condition or script that fails and a loop in which no time passes; ``UsageError`` where
    no start can be told or SpiffWorkflow is not installed. What was recorded before stays.
    """
    scenario = scenario or Scenario()
    begin = _start(scenario, start, end)
    definitions = [d for name, xml in models for d in read_definitions(xml, name)]
    texts = _texts(models, definitions)
    stopping = threading.Event()
    outcome: list[Simulated] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            import_module("tokctl.recorder.spiff")  # says what to install where SpiffWorkflow is missing
            from tokctl.recorder.instances import Simulation

            simulation = Simulation(texts, definitions, scenario, sink, stopping)
            outcome.append(_run(simulation, scenario, begin, progress))
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
            failure.append(error)

    _with_deep_stack(work, stopping)
    if failure:
        raise failure[0]
    return outcome[0]


def starts(scenario: Scenario, begin: datetime) -> Iterable[tuple[int, datetime]]:
    """Return when each instance starts, with its number, earliest first; memory stays bounded.

    Only the instances that a case gives a time of their own are held back until it comes.
    """
    random = Random(f"{scenario.seed}/arrivals")  # noqa: S311 - a simulation needs no secrets
    moved = sorted(
        (begin + case.starts, number)
        for number, case in scenario.cases.items()
        if case.starts is not None and number <= scenario.count
    )
    held = deque(moved)
    skipped = {number for _, number in moved}
    time = begin
    for number in range(1, scenario.count + 1):
        if number > 1 and scenario.rate is not None:
            gap = scenario.rate.gap
            gap = random.expovariate(1 / gap) if scenario.poisson else gap
            time += timedelta(milliseconds=round(gap * 1000))
        while held and held[0][0] <= time:
            at, early = held.popleft()
            yield early, at
        if number not in skipped:
            yield number, time
    for at, number in held:
        yield number, at


def _start(scenario: Scenario, start: datetime | None, end: datetime | None) -> datetime:
    if scenario.start is not None:
        return scenario.start
    if end is not None:
        if scenario.until is None:
            raise UsageError("A simulation that ends at a given time needs 'until' in its scenario.")
        return end - scenario.until
    if start is None:
        raise UsageError("A simulation needs a start time.")
    return start


def _texts(models: Sequence[tuple[str, str | bytes]], definitions: Sequence[Definition]) -> list[tuple[str, str]]:
    """Return the models as text: a definition has kept it, decoded."""
    texts = dict.fromkeys(definition.xml or "" for definition in definitions)
    return list(zip([name for name, _ in models], texts, strict=False))


def _run(simulation: Any, scenario: Scenario, begin: datetime, progress: Progress | None) -> Simulated:
    stop = None if scenario.until is None else begin + scenario.until
    done = tokens = 0
    end, newest = begin, None
    for number, at in starts(scenario, begin):
        if simulation.stopping.is_set() or (stop is not None and at > stop):
            break
        run = simulation.run(number, at, stop)
        end, newest = max(end, run.now), run.instance_id
        done += 1
        tokens += run.tokens
        if progress is not None:
            progress(done, scenario.count)
    return Simulated(begin, stop or end, done, tokens, newest, simulation.unused)


def _with_deep_stack(work: Callable[[], None], stopping: threading.Event) -> None:
    """Run it in a thread in which it can recurse deeply; an interrupt here stops it there.

    SpiffWorkflow follows a chain of elements by recursion, in parsing as in running: some hundred
    elements in a row are more than Python allows by itself.
    """
    limit, size = sys.getrecursionlimit(), threading.stack_size(_STACK)
    sys.setrecursionlimit(max(limit, _RECURSION))
    done = threading.Event()  # an interrupted join takes the thread for ended (until Python 3.13)

    def run() -> None:
        try:
            work()
        finally:
            done.set()

    try:
        threading.Thread(target=run, name="simulation").start()
        try:
            done.wait()
        except BaseException:
            stopping.set()
            done.wait()
            raise
    finally:
        threading.stack_size(size)
        sys.setrecursionlimit(limit)
