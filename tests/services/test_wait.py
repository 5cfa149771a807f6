"""Waiting as a program does it: without a terminal, with callbacks."""

from __future__ import annotations

from datetime import timedelta

import pytest

from support.builders import at, token
from support.commandline import NOW
from support.watchers import Clock, live, put
from tokctl.analysis.wait_conditions import parse_condition
from tokctl.errors import NotFoundError
from tokctl.services.polling import EnginePoller
from tokctl.services.wait import InstanceWait, WaitResult, wait_until
from tokctl.store import open_store


@pytest.fixture
def wait_for(clock: Clock, store_path):
    """Wait for conditions on an instance of the test's store; returns the result and the messages."""

    def call(*conditions: str, appear: bool = False, **options) -> tuple[WaitResult, list[str]]:
        said: list[str] = []
        wait = InstanceWait("i1", list(map(parse_condition, conditions)), clock=clock, appear=appear)
        poller = EnginePoller(lambda: open_store(str(store_path)), clock, interval=1)
        on_first_wait = lambda wait: said.append(f"waiting for {wait.conditions[0].text}")  # noqa: E731
        try:
            result = wait_until(wait, poller, clock=clock, notify=said.append, on_first_wait=on_first_wait, **options)
        finally:
            poller.close()
        return result, said

    return call


def test_it_holds_at_once(wait_for, store_path):
    put(store_path, live("a"))
    assert wait_for("state=ACTIVE") == (WaitResult(outcome="held", took=timedelta()), [])


def test_it_comes(wait_for, clock, store_path):
    put(store_path, live("a"))
    clock.at(3, lambda: put(store_path, token("a", updated_at=at(3)), status="COMPLETED"))
    result, said = wait_for("state=COMPLETED", "no-live")
    assert result == WaitResult(outcome="held", took=timedelta(seconds=3))
    assert said == ["waiting for state=COMPLETED"]


def test_the_time_runs_out_during_an_outage(wait_for, clock, store_path):
    put(store_path, live("a"))
    clock.at(2, store_path.unlink)
    result, said = wait_for("no-live", timeout=timedelta(seconds=30))
    assert (result.outcome, result.took) == ("timed_out", timedelta(seconds=30))
    assert "no store found" in str(result.error)
    assert [text.endswith("Retrying.") for text in said] == [False, True]


def test_an_instance_that_is_not_there(wait_for, clock, store_path):
    put(store_path, live("x", "other"), instance_id="other")
    with pytest.raises(NotFoundError):
        wait_for("no-live")
    clock.at(2, lambda: put(store_path, token("a"), status="COMPLETED"))
    result, _ = wait_for("no-live", appear=True)
    assert result.outcome == "held"
    assert clock.now - NOW == timedelta(seconds=2)
