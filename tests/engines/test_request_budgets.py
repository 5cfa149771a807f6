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
    per_instance: tuple[tuple[str, int], ...] = ()

    def limit(self, kind: str, instances: int) -> int:
        fixed: int = getattr(self, kind)
        return fixed + dict(self.per_instance).get(kind, 0) * instances


BUDGETS = {
    "instances list": Budget(2, 1),
    "instances list --failed": Budget(1, 6 + FAILED),
    "instances list --process p* --limit 0 -o json": Budget(1, 1),
    "instances show INSTANCE": Budget(2, 3),
    "tokens list INSTANCE": Budget(2, 2),
    "tokens list INSTANCE --state FAILED": Budget(2, 2),
    "tokens list --all-instances --state FAILED": Budget(1, 6 + 3 * FAILED),
    "tokens show INSTANCE TOKEN": Budget(2, 2),
    "tokens show TOKEN": Budget(3, 4),
    "tokens tree INSTANCE": Budget(2, 2),
    "tokens tree @latest": Budget(2, 3),
    "tokens history INSTANCE TOKEN": Budget(3, 3),
    "tokens trace INSTANCE": Budget(3, 3),
    "incidents list": Budget(1, 6 + 3 * FAILED),
    "incidents list --by error": Budget(2, 6 + 3 * FAILED),
    "debug": Budget(6, 8 + FAILED, (("rest", 1),)),
    "debug INSTANCE": Budget(3, 3),
    "explain INSTANCE": Budget(4, 4),
    "explain INSTANCE TOKEN": Budget(3, 4),
    "flow INSTANCE": Budget(2, 3),
    "perf": Budget(1, 3, (("rest", 1), ("atomd", 1))),
    "perf INSTANCE": Budget(2, 2),
}


@pytest.fixture(scope="module", params=[(kind, size) for kind in SERVERS for size in (SMALL, LARGE)], ids=str)
def place(request, tmp_path_factory) -> tuple[str, int, BudgetServer]:
    """The kind of a server, the number of its instances, and the server."""
    kind, size = request.param
    with SERVERS[kind](tmp_path_factory.mktemp(kind), size) as server:
        yield kind, size, server


@pytest.fixture(autouse=True)
def _environment(monkeypatch, tmp_path):
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("line", BUDGETS)
def test_a_command_stays_within_its_budget(tokctl, monkeypatch, place, line):
    kind, size, server = place
    words = [{"INSTANCE": server.instance_id, "TOKEN": server.token_id}.get(word, word) for word in line.split()]
    before = len(server.asked())
    monkeypatch.setenv("ENGINE_LOGIN", server.secret)
    monkeypatch.setenv("TOKCTL_CREDENTIAL", "env:ENGINE_LOGIN")
    ran = tokctl(*words, "--server", server.url, "--engine-kind", kind, "-v")
    sent = server.asked()[before:]
    assert ran.code in {0, 1}, ran.err
    assert len(sent) <= BUDGETS[line].limit(kind, size), sent
    assert f"tokctl: {len(sent)} request" in ran.err  # it says so itself
