"""Simulates hostile models as a program of its own, and prints what the interpreter did for each.

Reads a JSON list of models from standard input. Prints a JSON list of [outcome, seconds, events]: events are what a
model must not cause, such as running code, importing, writing files or connecting.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from support.recording import START, MemorySink
from tokctl.errors import TokctlError
from tokctl.simulation.scenario import parse_scenario
from tokctl.simulation.simulate import simulate

BAD = (
    "exec",
    "compile",
    "import",
    "os.",
    "subprocess.",
    "socket.",
    "shutil.",
    "ctypes.",
    "pty.",
    "marshal.",
    "pickle.",
)
SCENARIO = "{variables: {n: 1}, tasks: {default: {takes: 1s}}, until: 1h}"

events: list[str] = []
listening = False


def hear(event: str, arguments: tuple[Any, ...]) -> None:
    if not listening:
        return
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes or event.startswith(BAD):
        events.append(f"{event} {str(arguments)[:100]}")


def attempt(model: str) -> list[Any]:
    global listening  # noqa: PLW0603 - a hook cannot be removed
    events.clear()
    started = time.process_time()
    listening = True
    try:
        result = simulate([("m.bpmn", model)], parse_scenario(SCENARIO), MemorySink(), start=START)
        outcome = {"tokens": result.tokens}
    except TokctlError as error:
        outcome = {"error": str(error)}
    finally:
        listening = False
    return [outcome, time.process_time() - started, list(events)]


if __name__ == "__main__":
    models = json.load(sys.stdin)
    attempt(models[0])  # imports what is imported lazily
    sys.addaudithook(hear)
    json.dump([attempt(model) for model in models], sys.stdout)
