"""The engine is stopped and started again while tokctl watches; and it ends with the last process that uses it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from live.conftest import ENGINES
from live.driving import DRIVERS, MODELS
from live.engine_programs import make_pipe, need_java, start
from support.commandline import clean_environment


class OwnEngine:
    """An engine of one test, with its database in a file."""

    def __init__(self, name: str, folder: Path) -> None:
        need_java()
        self.name = name
        self.folder = folder
        self.users, self._stdin = make_pipe(folder / "users.pipe")
        self.process, self.url = self._start(None)
        self.port = httpx.URL(self.url).port

    def _start(self, port: int | None) -> tuple[subprocess.Popen, str]:
        database = f"--spring.datasource.url=jdbc:h2:file:{self.folder}/engine"
        return start(self.name, self._stdin, self.folder, database, port=port)

    def stop(self) -> None:
        """Tell it to end, and wait until it has."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)

    def restart(self) -> None:
        """Start it at the same address."""
        self.process, _ = self._start(self.port)

    def leave(self) -> None:
        """Close the only pipe that keeps it running."""
        os.close(self._stdin)
        os.close(self.users)


@contextmanager
def watching(engine: OwnEngine, instance: str, folder: Path) -> Iterator[Iterator[dict]]:
    """Watch an instance; the events as they come."""
    words = ("tokens", "watch", instance, "--events", "--interval", "1s", "--server", engine.url)
    process = subprocess.Popen(
        [sys.executable, "-m", "tokctl", *words],
        env=clean_environment({"TOKCTL_STATE_DIR": str(folder / "state")}),
        stdout=subprocess.PIPE,
        stderr=(folder / "watch.err").open("wb"),
        stdin=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield (json.loads(line) for line in process.stdout)
        assert process.wait(timeout=30) == 0, (folder / "watch.err").read_text()
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("name", ENGINES)
def test_watch_outlives_a_restart_of_the_engine(name, tmp_path):
    engine = OwnEngine(name, tmp_path)
    try:
        driver = DRIVERS[name](engine.url)
        driver.deploy("moving.bpmn", (MODELS / "moving.bpmn").read_text(encoding="utf-8"))
        instance = driver.start("moving", "watched")
        with watching(engine, instance, tmp_path) as events:
            assert next(event for event in events if event["event"] == "tokens_updated")
            engine.stop()
            assert next(event for event in events if event["event"] == "error")
            engine.restart()
            assert next(event for event in events if event["event"] == "recovered")
            driver.complete(instance, "first")
            assert next(event for event in events if event["event"] == "tokens_updated")
            driver.complete(instance, "second")
            assert next(event for event in events if event["event"] == "ended")
    finally:
        engine.leave()
    assert engine.process.wait(timeout=20) == 0
