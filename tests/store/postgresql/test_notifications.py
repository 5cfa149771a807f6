"""Who watches a store is told of changes: every command that polls, long before its interval has passed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from support.commandline import clean_environment
from support.pgbouncer import pooled_url, pooling
from support.terminal import Terminal
from support.watchers import live, put
from tokctl.store import open_store


def run(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tokctl", *words]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=clean_environment()
    )


@pytest.fixture
def place(postgresql) -> str:
    url = postgresql.new_schema()
    put(url, live("a"))
    return url


def change_and_end(place: str, watching: subprocess.Popen[str]) -> list[str]:
    """Change an instance step by step, each when the step before was told of; returns the events."""
    events = [json.loads(watching.stdout.readline())["event"]]
    put(place, live("b"))
    events.append(json.loads(watching.stdout.readline())["event"])
    put(place, *(live(one, state="COMPLETED") for one in "ab"), status="COMPLETED")
    events += [json.loads(line)["event"] for line in watching.stdout]
    assert watching.wait(30) == 0
    return events


def test_watch_does_not_wait_for_its_interval(place):
    with run("tokens", "watch", "i1", "--events", "--interval", "1h", "--store", place) as running:
        assert change_and_end(place, running) == [
            "watching",
            "tokens_updated",
            "tokens_updated",
            "instance_updated",
            "ended",
        ]


def test_wait_does_not_wait_for_its_interval(place):
    with Terminal("tokens", "wait", "i1", "--for", "no-live", "--interval", "1h", "--store", place) as seen:
        seen.until("1 live")
        put(place, live("a", state="COMPLETED"), status="COMPLETED")
        assert seen.end() == 0


def test_the_dashboard_does_not_wait_for_its_interval(place):
    with Terminal("tokens", "watch", "i1", "--interval", "1h", "--store", place) as seen:
        seen.until("ACTIVE")
        put(place, live("another"))
        seen.until("another")


def test_a_change_between_two_waits_is_not_missed(place):
    with open_store(place) as reader:
        reader.release()
        assert reader.listen().is_set  # there may have been a change before it listened
        reader.refresh()
        put(place, live("b"))
        reader.release()  # receives the notification
        assert reader.listen().is_set
        assert reader.refresh()
        reader.release()
        assert not reader.listen().is_set


def test_through_a_pooler_it_polls(postgresql):
    with pooling(postgresql) as pooler:
        place = pooled_url(pooler, postgresql.new_database())
        put(place, live("a"))
        with open_store(place) as reader:
            reader.release()
            assert reader.listen() is None
        with run("tokens", "watch", "i1", "--events", "--interval", "100ms", "--store", place) as running:
            assert change_and_end(place, running)[-1] == "ended"
