"""How many requests each inspection command may send to a server of each kind, with few and with many instances.

The numbers are maxima: a change that needs fewer requests lowers them. They are for a server whose kind is known; what
detection needs is tested in ``test_detection``.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from support.budget_servers import FAILED, SERVERS, BudgetServer

SMALL, LARGE = 3, 120
"""Numbers of instances; equally many of them have failed."""


class Budget(NamedTuple):
    """The maximum number of requests to each kind; ``per_instance`` names the kinds that need more for each instance.

    ``per_instance`` is the maximum for each further instance.
    """

    rest: int
    atomd: int
    camunda7: int
    per_instance: tuple[tuple[str, int], ...] = ()

    def limit(self, kind: str, instances: int) -> int:
        fixed: int = getattr(self, kind)
        return fixed + dict(self.per_instance).get(kind, 0) * instances


BUDGETS = {
    "instances list": Budget(2, 1, 3),
    "instances list --failed": Budget(1, 7 + FAILED, 2),
    "instances list --process p* --limit 0 -o json": Budget(1, 1, 1),
    "instances show INSTANCE": Budget(2, 3, 7),
    "tokens list INSTANCE": Budget(2, 3, 7),
    "tokens list INSTANCE --state FAILED": Budget(2, 3, 7),
    "tokens list --all-instances --state FAILED": Budget(1, 7 + 3 * FAILED, 8),
    "tokens show INSTANCE TOKEN": Budget(2, 3, 8),
    "tokens show TOKEN": Budget(3, 4, 10),
    "tokens tree INSTANCE": Budget(2, 3, 6),
    "tokens tree @latest": Budget(2, 4, 6),
    "tokens history INSTANCE TOKEN": Budget(3, 3, 7),
    "tokens trace INSTANCE": Budget(3, 3, 6),
    "incidents list": Budget(1, 7 + 3 * FAILED, 8),
    "incidents list --by error": Budget(2, 7 + 3 * FAILED, 8),
    "debug": Budget(6, 9 + FAILED, 17, (("rest", 1),)),
    "debug INSTANCE": Budget(3, 4, 10),
    "explain INSTANCE": Budget(4, 4, 7),
    "explain INSTANCE TOKEN": Budget(3, 4, 7),
    "flow INSTANCE": Budget(2, 3, 6),
    "perf": Budget(1, 4, 13, (("rest", 1), ("atomd", 1))),
    "perf INSTANCE": Budget(2, 3, 6),
}


@pytest.fixture(scope="module", params=[(kind, size) for kind in SERVERS for size in (SMALL, LARGE)], ids=str)
def place(request, tmp_path_factory) -> tuple[str, int, BudgetServer]:
    """The kind of a server, the number of its instances, and the server."""
    kind, size = request.param
    with SERVERS[kind](tmp_path_factory.mktemp(kind), size) as server:
        yield kind, size, server


@pytest.mark.parametrize("line", BUDGETS)
def test_a_command_stays_within_its_budget(tokctl, monkeypatch, tmp_path, place, line):
    kind, size, server = place
    words = [{"INSTANCE": server.instance_id, "TOKEN": server.token_id}.get(word, word) for word in line.split()]
    before = len(server.asked())
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path))  # without a model from an earlier command
    monkeypatch.setenv("ENGINE_LOGIN", server.secret)
    monkeypatch.setenv("TOKCTL_CREDENTIAL", "env:ENGINE_LOGIN")
    ran = tokctl(*words, "--server", server.url, "--engine-kind", kind, "-v")
    sent = server.asked()[before:]
    assert ran.code in {0, 1}, ran.err
    assert len(sent) <= BUDGETS[line].limit(kind, size), sent
    assert f"tokctl: {len(sent)} request" in ran.err  # it says so itself
