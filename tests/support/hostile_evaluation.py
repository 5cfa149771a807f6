"""Evaluates hostile texts as a program of its own, and prints what came of each and what the interpreter did for it.

Reads a JSON list of [language, text] from standard input. Prints a JSON list of {reason or value, events, seconds} for
each text as an expression, as a script and as a timer, and the growth of memory in MiB.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tokctl.simulation.safe_evaluation import CannotEvaluate, evaluate, evaluate_timer, run_script

events: list[str] = []


class Secret:
    """An object that is not plain data; using it in any way fails."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)

    __eq__ = __len__ = __call__ = __hash__ = None  # type: ignore[assignment]


def fail() -> None:
    raise AssertionError


VARIABLES = {"name": "Ann", "order": {"items": [1, 2, 3]}, "secret": Secret()}
FUNCTIONS = {"now": lambda: datetime(2025, 1, 1, tzinfo=UTC), "fails": fail}


def attempt(action: Callable[[], Any]) -> dict[str, Any]:
    events.clear()
    started = time.process_time()
    try:
        found = {"value": str(action())[:200]}
    except CannotEvaluate as error:
        found = {"reason": str(error)}
    return {**found, "seconds": time.process_time() - started, "events": sorted(set(events))}


def attempt_all(language: str | None, text: str) -> dict[str, Any]:
    return {
        "expression": attempt(lambda: evaluate(text, VARIABLES, language=language, functions=FUNCTIONS)),
        "script": attempt(lambda: run_script(text, VARIABLES, language=language)),
        "timer": attempt(lambda: evaluate_timer(text, VARIABLES, FUNCTIONS, language=language)),
    }


def listen() -> None:
    """Note what the interpreter does from now on."""
    sys.addaudithook(lambda event, _: events.append(event))


def run_all() -> None:
    texts = json.load(sys.stdin)
    attempt(lambda: evaluate("1", {}))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    listen()
    outcomes = [attempt_all(language, text) for language, text in texts]
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    json.dump({"outcomes": outcomes, "growth": growth}, sys.stdout)


if __name__ == "__main__":
    # As deep as a simulation lets the interpreter go: the evaluator must bound itself.
    sys.setrecursionlimit(200_000)
    threading.stack_size(512 * 1024 * 1024)
    thread = threading.Thread(target=run_all)
    thread.start()
    thread.join()
