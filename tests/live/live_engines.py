"""A running engine as the tests see it: its raw answers, and what tokctl reads of it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from functools import cached_property
from typing import Any

from live.driving import DRIVERS
from live.raw_answers import ANSWERS, RawInstance
from support.commandline import Ran, clean_environment
from tokctl.model.states import FINAL_STATES

Json = dict[str, Any]


class LiveEngine:
    """A running engine and the ids of the instances of all cases."""

    def __init__(self, name: str, url: str, cases: dict[str, str]) -> None:
        self.name = name
        self.url = url
        self.cases = cases
        self.driver = DRIVERS[name](url)
        self.raw = ANSWERS[name](self.driver)

    @cached_property
    def instances(self) -> dict[str, RawInstance]:
        """All instances, as the engine tells of them."""
        return self.raw.instances()

    def call(self, *words: str) -> Ran:
        """Run a command line in a process of its own; tests replace this by one that takes less time."""
        with tempfile.TemporaryDirectory() as state:
            done = subprocess.run(
                [sys.executable, "-m", "tokctl", *words],
                env=clean_environment({"TOKCTL_STATE_DIR": state}),
                capture_output=True,
                text=True,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        return Ran(done.returncode, done.stdout, done.stderr)

    def run(self, *words: str) -> Ran:
        """Run tokctl on the engine with nothing but its address, as on the first day."""
        return self.call(*words, "--server", self.url)

    def ask(self, *words: str, code: int = 0) -> Any:
        """Return the JSON that a command line prints."""
        done = self.run(*words, "-o", "json")
        assert done.code == code, (words, done)
        return json.loads(done.out)

    @cached_property
    def listed(self) -> list[Json]:
        """All instances that tokctl lists."""
        return self.ask("instances", "list")["instances"]

    @cached_property
    def tokens(self) -> dict[str, list[Json]]:
        """All tokens that tokctl lists, by instance."""
        found: dict[str, list[Json]] = {instance: [] for instance in self.cases.values()}
        for token in self.ask("tokens", "list", "-A")["tokens"]:
            found[token["instance_id"]].append(token)
        return found

    def live_leaves(self, case: str) -> list[Json]:
        """Return the live tokens of a case, but for sub-processes and bodies of multi-instance activities."""
        return sorted(
            (
                token
                for token in self.tokens[self.cases[case]]
                if token["state"] not in FINAL_STATES
                and (token["element_type"] == "callActivity" or not (token["execution_context"] or {}).get("is_scope"))
            ),
            key=lambda token: (token["element_id"], token["state"]),
        )
