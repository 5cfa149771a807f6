"""``tokctl tokens wait``: what it waits for, how it comes out, in a terminal and against another process."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from support.builders import DOCUMENTED, at, raw, token
from support.commandline import NOW, Stream, clean_environment
from support.terminal import Terminal
from support.watchers import Clock, Writer, live, put, task
from tokctl.__main__ import run
from tokctl.store import open_store

pytestmark = pytest.mark.slow


@pytest.fixture
def wait(clock: Clock, store_path, monkeypatch):
    """Run ``tokens wait`` in this process; returns exit code, document, and stderr."""

    def call(*words: object, form: str = "json") -> tuple[int, dict, str]:
        out, err = Stream(), Stream()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            where = () if "--file" in words else ("--store", store_path)
            words = ("tokens", "wait", *words, *where, "-o", form)
            code = run([*map(str, words)], clock=clock)
        text = out.written()
        return code, json.loads(text) if form == "json" and text else text, err.written()

    return call


def test_a_state_that_comes(wait, clock, store_path):
    put(store_path, live("a"))
    clock.at(3, lambda: put(store_path, token("a"), status="COMPLETED"))
    code, document, err = wait("i1", "--for", "state=COMPLETED")
    assert (code, err) == (0, "")
    assert document == {
        "instance_id": "i1",
        "outcome": "held",
        "held": True,
        "after_ms": 3000.0,
        "conditions": [{"condition": "state=COMPLETED", "held": True}],
        "status": "COMPLETED",
        "total_tokens": 1,
        "live_tokens": 0,
        "error": None,
    }
    assert clock.waits == [1.0] * 3


@pytest.mark.parametrize(
    ("conditions", "status", "code", "waited"),
    [
        (["state=COMPLETED"], "CANCELLED", 1, 3),
        (["state=COMPLETED,FAILED"], "FAILED", 0, 3),
        (["state=ACTIVE"], "FAILED", 0, 0),
        (["element=task"], "COMPLETED", 0, 0),
        (["element=Tas*"], "COMPLETED", 1, 3),
        (["no-live"], "CANCELLED", 0, 3),
        (["no-live", "state=COMPLETED"], "COMPLETED", 0, 3),
        (["no-live", "element=nowhere"], "COMPLETED", 1, 3),
        (["finding=HIGH"], "COMPLETED", 1, 3),
    ],
)
def test_how_it_comes_out(wait, clock, store_path, conditions, status, code, waited):
    put(store_path, live("a", created_at=NOW))
    clock.at(3, lambda: put(store_path, token("a", created_at=NOW, completed_at=NOW), status=status))
    words = [word for condition in conditions for word in ("--for", condition)]
    ran, document, _ = wait(*words)
    assert (ran, len(clock.waits)) == (code, waited)
    assert document["outcome"] == {0: "held", 1: "impossible"}[code]
    assert document["held"] is (code == 0)


def test_time_that_runs_out(wait, clock, store_path):
    put(store_path, live("a", created_at=NOW))
    code, document, _ = wait("i1", "--for", "no-live", "--timeout", "2500ms")
    assert (code, document["outcome"], document["after_ms"]) == (5, "timed_out", 2500)
    assert clock.waits == [1, 1, 0.5]
    clock.waits.clear()
    assert wait("i1", "--for", "no-live", "--timeout", "0s")[0] == 5
    assert wait("i1", "--for", "state=ACTIVE", "--timeout", "0s")[0] == 0
    assert clock.waits == []


def test_a_finding_comes_with_time_alone(wait, clock, store_path):
    """Nobody writes: a token grows old, and is found when it is older than the rule allows."""
    put(store_path, live("a", created_at=NOW, updated_at=NOW, element_type="serviceTask"), started_at=NOW)
    code, document, _ = wait("i1", "--for", "finding=MEDIUM", "--interval", "10s", "--timeout", "1h")
    assert (code, document["held"]) == (0, True)
    assert timedelta(minutes=4) < timedelta(milliseconds=document["after_ms"]) < timedelta(minutes=11)


def test_an_unchanged_instance_is_not_asked_about(wait, clock, store_path, monkeypatch):
    from tokctl.store.sql.queries import TokenQueries

    asked = []
    ask = TokenQueries.query
    monkeypatch.setattr(TokenQueries, "query", lambda self, sql, values=(): asked.append(sql) or ask(self, sql, values))
    put(store_path, live("a"))
    wait("i1", "--for", "element=later", "--timeout", "60s")
    assert len(clock.waits) == 60
    assert len(asked) <= 6


def test_an_instance_that_is_not_there_yet(wait, clock, store_path):
    put(store_path, live("z", "other"), instance_id="other")
    code, document, err = wait("i1", "--for", "no-live")
    assert (code, document) == (3, "")
    assert "no process instance 'i1'" in err
    clock.at(4, lambda: put(store_path, token("a")))
    code, document, _ = wait("i1", "--for", "no-live", "--appear")
    assert (code, document["after_ms"]) == (0, 4000)
    code, document, _ = wait("i2", "--for", "no-live", "--appear", "--timeout", "1s")
    assert (code, document["instance_id"], document["status"]) == (5, "i2", None)


def test_a_store_that_is_not_there_yet(wait, clock, store_path):
    assert wait("i1", "--for", "no-live")[0] == 6
    clock.at(4, lambda: put(store_path, token("a")))
    code, _, err = wait("i1", "--for", "no-live", "--appear")
    assert code == 0
    assert err.splitlines() == [f"no store found at {store_path}. Retrying.", "Available again."]


def test_a_store_that_goes_away_and_comes_back(wait, clock, store_path):
    put(store_path, live("a"))
    away = store_path.with_name("away.db")
    clock.at(2, lambda: store_path.rename(away))

    def back() -> None:
        away.rename(store_path)
        put(store_path, token("a"))

    clock.at(9, back)
    code, _, err = wait("i1", "--for", "no-live")
    assert code == 0
    assert err.count("Retrying.") == 1
    assert clock.waits == [1, 1, 1, 2, 4]


def test_a_store_that_stays_away(wait, clock, store_path):
    put(store_path, live("a"))
    clock.at(2, store_path.unlink)
    code, document, _ = wait("i1", "--for", "no-live", "--timeout", "1m")
    assert code == 5
    assert document["error"].startswith("no store found at")


def test_a_derived_status_has_to_stay(wait, clock, store_path):
    """Between two steps every token may be finished: that is not yet the end."""
    put(store_path, live("a", element_id="first"), status=None)
    clock.at(1, lambda: put(store_path, token("a", element_id="first"), status=None))
    clock.at(2, lambda: put(store_path, live("b", element_id="second"), status=None))
    assert wait("i1", "--for", "element=second")[0] == 0
    clock.waits.clear()
    clock.at(5, lambda: put(store_path, token("b", element_id="second"), status=None))
    assert wait("i1", "--for", "element=third")[0] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["i1"], "missing option '--for'"),
        (["i1", "--for", "state=DONE"], "unknown state"),
        (["i1", "--for", "no-live", "--timeout", "soon"], "invalid duration"),
        (["i1", "--for", "no-live", "--interval", "0s"], "must be greater than 0"),
        (["i1", "--for", "no-live", "--file", DOCUMENTED], "a file does not change"),
    ],
)
def test_what_cannot_be_waited_for(wait, store_path, words, said):
    put(store_path, live("a"))
    code, document, err = wait(*words)
    assert (code, document) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_what_people_see(wait, store_path):
    put(store_path, live("a"))
    code, text, _ = wait("i1", "--for", "state=COMPLETED", "--timeout", "0s", form="table")
    assert code == 5
    assert text.startswith("Timed out after 0ms:  i1\n")
    assert "state=COMPLETED  not met" in text
    assert wait("i1", "--for", "state=ACTIVE", form="id")[1] == "i1\n"


# --- another process writes --------------------------------------------------------------------------------


def test_another_process_makes_it_hold(store_path: Path, writer: Writer):
    writer.put(task("a"))
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tokctl",
            "tokens",
            "wait",
            "i1",
            "--for",
            "element=ship",
            "--interval",
            "50ms",
            "--timeout",
            "60s",
            "-o",
            "json",
            "--store",
            str(store_path),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.7)
    writer.put(task("a", "COMPLETED"), task("b", element_id="ship"))
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert json.loads(out)["total_tokens"] == 2


def test_in_a_terminal_it_says_what_it_waits_for(store_path: Path, writer: Writer):
    writer.put(task("a"))
    words = ("tokens", "wait", "i1", "--for", "state=COMPLETED", "--interval", "50ms", "--store", store_path)
    with Terminal(*words, columns=100) as seen:
        seen.until("Waiting for state=COMPLETED of i1 (now ACTIVE, 1 live).")
        writer.put(task("a", "COMPLETED"), status="COMPLETED")
        assert seen.end() == 0
        assert "Condition met after" in seen.text
        assert seen.as_it_was
    writer.put(task("a"))
    with Terminal(*words) as seen:
        seen.until("Waiting for")
        seen.type("\x03")
        assert seen.end() == 130
        assert seen.as_it_was
        assert b"Traceback" not in seen.raw


def test_a_locked_store_is_no_obstacle(wait, store_path):
    put(store_path, live("a", variables=raw({"x": 1}), created_at=at(0)))
    with open_store(str(store_path), write=True) as store, store.write():
        assert wait("i1", "--for", "state=ACTIVE")[0] == 0
