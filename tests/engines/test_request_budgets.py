"""How many requests each inspection command may send to a server of each kind, with few and with many instances.

The numbers are maxima: a change that needs fewer requests lowers them. They are for a server whose kind is known; what
detection needs is tested in ``test_detection``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import count
from typing import NamedTuple

import pytest

from support.budget_servers import FAILED, SERVERS, BudgetServer
from support.commandline import Ran

SMALL, LARGE = 3, 120
"""Numbers of instances; equally many of them have failed."""


class Budget(NamedTuple):
    """The maximum number of requests to a server of each kind.

    ``per_instance`` has the kinds that need more for each instance, and how many.
    """

    rest: int
    atomd: int
    camunda7: int
    flowable: int
    per_instance: Mapping[str, int] = {}

    def limit(self, kind: str, instances: int) -> int:
        fixed: int = getattr(self, kind)
        return fixed + self.per_instance.get(kind, 0) * instances


BUDGETS = {
    "instances list": Budget(2, 1, 3, 2),
    "instances list --failed": Budget(1, 7 + 2 * FAILED, 2, 2 + FAILED),
    "instances list --process p* --limit 0 -o json": Budget(1, 1, 1, 2),
    "instances show INSTANCE": Budget(2, 3, 7, 8),
    "tokens list INSTANCE": Budget(2, 3, 7, 8),
    "tokens list INSTANCE --state FAILED": Budget(2, 3, 7, 8),
    "tokens list --all-instances --state FAILED": Budget(2, 7 + 2 * FAILED, 8, 3 + 3 * FAILED),
    "tokens show INSTANCE TOKEN": Budget(2, 3, 8, 9),
    "tokens show TOKEN": Budget(3, 4, 10, 10),
    "tokens tree INSTANCE": Budget(2, 3, 6, 7),
    "tokens tree @latest": Budget(2, 4, 6, 9),
    "tokens history INSTANCE TOKEN": Budget(3, 3, 7, 8),
    "tokens trace INSTANCE": Budget(3, 3, 6, 7),
    "incidents list": Budget(2, 7 + 2 * FAILED, 8, 3 + 3 * FAILED),
    "incidents list --by error": Budget(2, 7 + 2 * FAILED, 8, 3 + 3 * FAILED),
    "debug": Budget(6, 9 + FAILED, 17, 27, {"rest": 1}),
    "debug INSTANCE": Budget(3, 4, 10, 11),
    "explain INSTANCE": Budget(4, 4, 7, 10),
    "explain INSTANCE TOKEN": Budget(3, 4, 7, 9),
    "flow INSTANCE": Budget(2, 3, 6, 7),
    "perf": Budget(1, 4, 13, 20, {"rest": 1, "atomd": 1}),
    "perf INSTANCE": Budget(2, 3, 6, 7),
}


@pytest.fixture(scope="module", params=[(kind, size) for kind in SERVERS for size in (SMALL, LARGE)], ids=str)
def place(request, tmp_path_factory) -> tuple[str, int, BudgetServer]:
    """The kind of a server, the number of its instances, and the server."""
    kind, size = request.param
    with SERVERS[kind](tmp_path_factory.mktemp(kind), size) as server:
        yield kind, size, server


@pytest.fixture
def run(tokctl, monkeypatch, tmp_path, place):
    """Run a command on the server, without process models from an earlier command."""
    kind, _, server = place
    numbers = count()

    def call(*words: str) -> Ran:
        monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path / str(next(numbers))))
        monkeypatch.setenv("ENGINE_LOGIN", server.secret)
        monkeypatch.setenv("TOKCTL_CREDENTIAL", "env:ENGINE_LOGIN")
        return tokctl(*words, "--server", server.url, "--engine-kind", kind, "-v")

    return call


def find_failed_token(run, instance_id: str) -> str:
    tokens = json.loads(run("tokens", "list", instance_id, "-o", "json").out)["tokens"]
    return next(one["token_id"] for one in tokens if one["state"] == "FAILED")


@pytest.mark.parametrize("line", BUDGETS)
def test_a_command_stays_within_its_budget(run, place, line):
    kind, size, server = place
    token_id = find_failed_token(run, server.instance_id) if "TOKEN" in line else ""
    words = [{"INSTANCE": server.instance_id, "TOKEN": token_id}.get(word, word) for word in line.split()]
    before = len(server.asked())
    ran = run(*words)
    sent = server.asked()[before:]
    assert ran.code in {0, 1}, ran.err
    assert len(sent) <= BUDGETS[line].limit(kind, size), sent
    assert f"tokctl: {len(sent)} request" in ran.err  # it says so itself


@pytest.fixture(params=["camunda7", "flowable"])
def received(request, tokctl, monkeypatch, tmp_path):
    """Run a command on a server with a number of instances; return the kilobytes that it says it received."""
    numbers = count()

    def call(size: int, line: str) -> float:
        state = tmp_path / str(next(numbers))
        monkeypatch.setenv("TOKCTL_STATE_DIR", str(state))
        with SERVERS[request.param](state, size) as server:
            monkeypatch.setenv("ENGINE_LOGIN", server.secret)
            monkeypatch.setenv("TOKCTL_CREDENTIAL", "env:ENGINE_LOGIN")
            ran = tokctl(*line.split(), "--server", server.url, "--engine-kind", request.param, "-v")
        assert ran.code in {0, 1}, ran.err
        told = re.search(r"requests?, ([0-9.]+) kB, ", ran.err)
        assert told, ran.err
        return float(told[1])

    return call


@pytest.mark.parametrize("line", ["incidents list", "tokens list -A --state FAILED", "instances list --failed"])
def test_healthy_instances_add_no_bytes(received, line):
    """What has failed is found by its failure, not among all instances."""
    assert received(LARGE, line) <= received(SMALL, line) * 1.05
