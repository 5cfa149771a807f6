"""A server whose clock is ten minutes from the local one: said once, and ages are those of the server's clock."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from support.builders import answer as answer_of
from support.builders import instance, token
from support.fake_atomd import SECRET, FakeAtomd, Made

NOW = datetime(2026, 11, 28, 18, 0, 30, tzinfo=UTC)
"""The server's time."""
APART = timedelta(minutes=10)
MODEL = """<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL" id="d">
<process id="order" isExecutable="true"><startEvent id="start"/><serviceTask id="pay" name="Pay"/><endEvent id="end"/>
<sequenceFlow id="f1" sourceRef="start" targetRef="pay"/><sequenceFlow id="f2" sourceRef="pay" targetRef="end"/>
</process></definitions>"""


def engine() -> Made:
    """An engine with three instances, which began 100 s ago."""
    made = Made(xml=MODEL)
    times = dict.fromkeys(("created_at", "updated_at", "started_at"), (NOW - timedelta(seconds=100)).isoformat())
    for number in range(3):
        instance_id, token_id = f"srv1-{number:018}", f"srv1-tok{number:015}"
        made.instances.append(
            {
                "instance_id": instance_id,
                "process_definition_id": "order",
                "process_key": "order:v1",
                "version": 1,
                "status": "ACTIVE",
                **times,
            }
        )
        token = {"token_id": token_id, "process_instance_id": instance_id, "element_id": "pay", "status": "WAITING"}
        made.tokens[instance_id] = [token | times]
        job = {"key": f"srv1-job{number:015}", "type": "charge", "process_instance_id": instance_id, "worker": "w"}
        job |= {"variables": {"_tokenID": token_id}, "retries": 2, "state": "RUNNING", "error_message": ""}
        made.jobs.append(job | {"created_at": int((NOW - timedelta(seconds=100)).timestamp())})
    return made


INSTANCE = "srv1-" + "0" * 18
AGE = re.compile(r"1m [345]\ds")
"""100 seconds, and how long a busy machine takes for the response that shows the server's clock."""


@pytest.fixture(params=[APART, -APART], ids=["ahead", "behind"])
def ask(request, tokctl, monkeypatch, tmp_path):
    """Run a command on a machine whose clock differs from that of the server."""
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("TOKCTL_API_KEY", SECRET)
    server = FakeAtomd(engine())
    server.clock_offset = request.param
    where = "ahead of" if request.param > timedelta() else "behind"

    def run(*words):
        ran = tokctl(
            *words, "--server", server.url, "--engine-kind", "atomd", now=NOW - request.param, width=200, tty=True
        )
        assert ran.code == 0, ran.err
        assert ran.err.count(f"The server's clock is about 10m {where} the local one") == 1, ran.err
        return ran

    yield run
    server.close()


def test_debug_finds_nothing_that_only_the_clocks_explain(ask):
    assert "No problems found" in ask("debug").out
    assert "No problems found" in ask("debug", INSTANCE).out
    assert "No problems found" in ask("debug", "--since", "5m").out
    assert AGE.search(ask("debug", "-T", "long_running=1m").out)
    assert AGE.search(ask("debug", "-T", "long_running=1m", "--since", "2m").out)
    assert "No problems found" in ask("debug", "-T", "long_running=1m", "--since", "1m").out
    summary = json.loads(ask("debug", "-o", "json").out)["summary"]
    assert summary["totalIssues"] == 0
    assert [note for note in summary["notes"] if "ages are measured with the server's clock" in note]
    assert "ages are measured with the server's clock" in ask("debug", "-o", "junit").out


@pytest.mark.parametrize(
    "words", [("tokens", "list", INSTANCE), ("tokens", "tree", INSTANCE), ("instances", "list"), ("explain", INSTANCE)]
)
def test_ages_are_those_of_the_servers_clock(ask, words):
    out = ask(*words).out
    assert AGE.search(out)
    assert "-8m" not in out


def test_a_list_of_stuck_and_recent_instances(ask):
    assert "srv1-0" not in ask("instances", "list", "--stuck").out
    assert "srv1-0" in ask("instances", "list", "--since", "2m").out
    assert "srv1-0" not in ask("instances", "list", "--since", "1m").out


@pytest.mark.parametrize("words", [("tokens", "list"), ("tokens", "tree"), ("flow",), ("tokens", "show", "future")])
def test_a_negative_duration_is_no_fact(tokctl, words):
    """As in a file of a machine whose clock is ahead."""
    times = {"created_at": NOW + APART, "updated_at": NOW + APART}
    backwards = token("back", state="COMPLETED", created_at=NOW, updated_at=NOW, completed_at=NOW - APART)
    several = [token("future", state="ACTIVE", **times), backwards]
    ran = tokctl(*words, "--file", "-", stdin=answer_of(instance(), several), now=NOW, width=200, tty=True)
    assert ran.code == 0, ran.err
    assert not re.search(r"[^\d]-\d+m", ran.out), ran.out
    assert "?" in ran.out
