"""Simulates models in a process of its own, so that a hang or a crash of one is seen as such.

As a program it reads one request a line from stdin and writes one answer a line to stdout, both JSON.
"""

from __future__ import annotations

import json
import os
import resource
import select
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from support.paths import ROOT, TESTS

RAN, APPROXIMATED, REFUSED, INCOMPLETE, CRASHED, HUNG = (
    "ran",
    "approximated",
    "refused",
    "incomplete",
    "crashed",
    "hung",
)
OUTCOMES = (RAN, APPROXIMATED, REFUSED, INCOMPLETE, CRASHED, HUNG)
"""Best first."""
TIME_LIMIT = 20.0
MAX_STEPS = 2500
"""Of a run: models that never end would take most of the time, and tell no more by 10,000 steps."""
MEMORY_LIMIT = 4 * 1024**3


@dataclass(frozen=True, slots=True)
class Run:
    """One process of a model to be simulated with one seed; None: all of its processes together."""

    file: str
    process: str | None
    seed: int


@dataclass(slots=True)
class RunResult:
    """What became of a run; ``reason`` says why it did not run, ``problems`` what is wrong with its tokens."""

    run: Run
    outcome: str
    reason: str = ""
    problems: list[str] = field(default_factory=list)
    approximations: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return it with the fields of the run beside its own."""
        document = asdict(self)
        return {**document.pop("run"), **document}


def run_all(runs: Sequence[Run], *, workers: int = 2, time_limit: float = TIME_LIMIT) -> Iterator[RunResult]:
    """Simulate models in ``workers`` processes, each run within ``time_limit`` seconds; in the order of the runs."""
    idle: SimpleQueue[Worker] = SimpleQueue()
    started = [Worker(time_limit) for _ in range(workers)]
    for worker in started:
        idle.put(worker)

    def work(run: Run) -> RunResult:
        worker = idle.get()
        try:
            return worker.work(run)
        finally:
            idle.put(worker)

    try:
        with ThreadPoolExecutor(workers) as pool:
            yield from pool.map(work, runs)
    finally:
        for worker in started:
            worker.close()


class Worker:
    """A process that simulates one model after the other; a new one takes over from one that hangs or dies."""

    def __init__(self, time_limit: float) -> None:
        self.time_limit = time_limit
        self._process: subprocess.Popen[bytes] | None = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - close() closes it

    def work(self, run: Run) -> RunResult:
        """Simulate a model and return what became of it."""
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        began = time.monotonic()
        process.stdin.write(json.dumps(asdict(run)).encode() + b"\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], self.time_limit)
        answer = process.stdout.readline() if ready else b""
        seconds = time.monotonic() - began
        if answer:
            return RunResult(run, **json.loads(answer), seconds=seconds)
        self.stop()
        if not ready:
            return RunResult(run, HUNG, f"no result within {self.time_limit:g} s", seconds=seconds)
        return RunResult(
            run, CRASHED, f"the process ended with code {process.returncode}: {self._last_error()}", seconds=seconds
        )

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def close(self) -> None:
        """End the process and forget what it has written."""
        self.stop()
        self._errors.close()

    def _start(self) -> subprocess.Popen[bytes]:
        self._errors.truncate(0)
        environment = {**os.environ, "PYTHONPATH": str(TESTS)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "corpus.worker"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        return self._process

    def _last_error(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "")


def simulate_one(run: Run) -> dict[str, Any]:
    """Simulate one process of a model; returns the fields of a ``RunResult``."""
    from support.recording import START, MemorySink
    from tokctl.errors import TokctlError
    from tokctl.simulation.limits import RunLimits
    from tokctl.simulation.scenario import Scenario
    from tokctl.simulation.simulate import read_models, simulate

    sink = MemorySink()
    try:
        scenario = Scenario(process=run.process, seed=run.seed)
        models, limits = read_models([Path(run.file)]), RunLimits(steps=MAX_STEPS)
        result = simulate(models, scenario, sink, start=START, limits=limits, all_processes=run.process is None)
    except TokctlError as error:
        return {"outcome": REFUSED, "reason": str(error).replace(run.file, "FILE")}
    except Exception as error:  # noqa: BLE001 - any other exception would be a bug in tokctl
        return _describe_crash(error)
    return judge(Path(run.file).read_bytes(), sink, run.process, result.approximations, exhausted=result.exhausted > 0)


def judge(
    xml: bytes, sink: Any, process: str | None, approximations: Sequence[Any], *, exhausted: bool = False
) -> dict[str, Any]:
    """Play the recorded tokens; returns the fields of a ``RunResult``. Those of an ``exhausted`` run may be in work."""
    from support.token_player import play

    problems, unchecked = [], []
    approximated = {one.element_id for one in approximations}
    for instance_id, recorded in sink.tokens.items():
        tokens = list(recorded.values())
        instance = sink.instances[instance_id]
        played = process or instance.process_id
        report = play([xml], tokens, process=played, status=instance.status, approximated=approximated)
        problems += [*report.problems, *([] if exhausted else _stuck(tokens))]
        unchecked += report.unchecked
    outcome = INCOMPLETE if problems else APPROXIMATED if approximations else RAN
    return {
        "outcome": outcome,
        "problems": problems,
        "unchecked": unchecked,
        "approximations": [f"{one.element_type} '{one.element_id}': {one.what}" for one in approximations],
        "tokens": sum(map(len, sink.tokens.values())),
    }


def _stuck(tokens: Sequence[Any]) -> list[str]:
    """Name the activities that nothing holds up and that have not ended: there is no scenario in which they hang."""
    holders = {token.parent_token_id for token in tokens if token.live}
    return [
        f"{token.element_type} '{token.element_id}' is ACTIVE to the end, though it waits for nothing"
        for token in tokens
        if token.state == "ACTIVE" and token.token_id not in holders and not token.child_tokens
    ]


def _describe_crash(error: Exception) -> dict[str, Any]:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "tokctl" in frame.filename]
    place = f" ({Path(frames[-1].filename).name}, {frames[-1].name})" if frames else ""
    return {"outcome": CRASHED, "reason": f"{type(error).__name__}: {error}{place}"}


def main() -> None:
    """Answer requests until stdin ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a script prints is no answer
    for line in sys.stdin:
        answers.write(json.dumps(simulate_one(Run(**json.loads(line)))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
