"""``tokctl simulate``: options, notes, JSON, and the interrupt key."""

import json
import signal
import subprocess
import sys
import time

import pytest

from support.commandline import clean_environment
from support.small_models import END, HEAD, START_EVENT, around, chain, flow, process

UNKNOWN = process(
    f'{START_EVENT}<exclusiveGateway id="g" default="g-e"/>{END}<task id="x"/>{chain("s", "g", "e")}'
    + flow("g", "x", "amount &gt; 5")
)
SELF = process(f'{START_EVENT}<callActivity id="again" calledElement="p"/>{chain("s", "again")}')
DRAFT = process('<task id="x"/>', more=' isExecutable="false"')
POOLS = (
    f'{HEAD}<process id="a"><sendTask id="send"/></process><process id="b"><receiveTask id="get"/></process>'
    '<collaboration id="c"><messageFlow id="m" sourceRef="send" targetRef="get"/></collaboration></definitions>'
)
WAITS = around('<receiveTask id="x" name="Payment"/>')


@pytest.fixture
def simulate(tokctl, tmp_path):
    def call(model, *words, called=None):
        (tmp_path / "m.bpmn").write_text(model)
        if called is not None:
            (tmp_path / "called.bpmn").write_text(called)
            words = (*words, "--with", tmp_path / "called.bpmn")
        return tokctl("simulate", tmp_path / "m.bpmn", "--store", tmp_path / "s.db", *words)

    return call


def test_the_summary_lists_differences_and_what_instances_wait_for(simulate, tokctl):
    ran = simulate(UNKNOWN, "-n", 3)
    assert ran.code == 0
    assert "Simulated 3 instances" in ran.out
    assert "'amount' is not defined" in ran.out
    next_command = ran.out.splitlines()[-1].split()
    assert (next_command[0], tokctl(*next_command[1:]).code) == ("tokctl", 0)  # in the same store
    waits = simulate(WAITS)
    assert "Instances that did not end" in waits.out
    assert "waits for message 'Payment'" in waits.out


def test_json_has_the_same(simulate):
    document = json.loads(simulate(UNKNOWN, "-n", 3, "-o", "json").out)
    (different,) = document["approximations"]
    assert (different["element_id"], different["element_type"], different["count"]) == ("g", "exclusiveGateway", 3)
    assert document["waiting"] == []
    (waiting,) = json.loads(simulate(WAITS, "-o", "json").out)["waiting"]
    assert waiting == {
        "element_id": "x",
        "element_type": "receiveTask",
        "instances": 1,
        "reason": "waits for message 'Payment'",
    }


def test_a_process_that_is_not_executable_runs_with_a_note(simulate):
    ran = simulate(DRAFT)
    assert (ran.code, "not executable" in ran.err) == (0, True)
    assert simulate(DRAFT, "--process", "p").code == 0


def test_called_processes_of_other_files(simulate):
    call = process('<callActivity id="x" calledElement="q"/>')
    assert "in none of the files" in simulate(call).out
    ran = simulate(call, called=process('<task id="y"/>', name="q"))
    assert "with 2 tokens" in ran.out
    assert "none of the files" not in ran.out


def test_all_processes(simulate):
    assert simulate(POOLS).code == 7
    ran = simulate(POOLS, "--all-processes")
    assert (ran.code, "Simulated 2 instances with 2 tokens" in ran.out) == (0, True)


def test_the_depth_of_calls_is_limited(simulate):
    ran = simulate(SELF, "--max-call-depth", 7)
    assert ran.code == 7
    assert "more than 7 deep: process 'p' → call activity 'again' → process 'p'" in ran.err
    assert "--max-call-depth" in ran.err
    assert "Traceback" not in ran.err


def test_the_number_of_steps_is_limited(simulate):
    ran = simulate(around(f'<task id="x"/>{flow("x", "x")}'), "--max-steps", 20, "-o", "json")
    assert ran.code == 0
    assert "1 instance stopped after 20 steps" in ran.err
    assert json.loads(ran.out)["stopped_at_step_limit"] == 1


def test_nothing_is_run_without_trust(simulate, tmp_path):
    target = tmp_path / "written"
    model = around(f'<scriptTask id="x"><script>open({str(target)!r}, "w")</script></scriptTask>')
    assert simulate(model).code == 0
    assert not target.exists()
    assert simulate(model, "--trust-scripts").code == 0
    assert target.exists()


BUSY = (
    # many instances; one instance that goes on and on; one step that creates many tokens
    (process('<task id="x"/>'), ("-n", "1000000")),
    (around(f'<task id="x"/>{flow("x", "x")}'), ("--max-steps", "100000000")),
    (
        process(
            f'{START_EVENT}<exclusiveGateway id="x"/><parallelGateway id="g"/>{chain("s", "x", "g")}'
            + flow("g", "x", name="one")
            + flow("g", "x", name="two")
        ),
        ("--max-steps", "100000000"),
    ),
)


@pytest.mark.parametrize(("model", "options"), BUSY)
def test_an_interrupt_ends_it_and_keeps_what_was_recorded(model, options, tmp_path, tokctl):
    (tmp_path / "m.bpmn").write_text(model)
    words = ["simulate", str(tmp_path / "m.bpmn"), "--store", str(tmp_path / "s.db"), *options]
    with subprocess.Popen(
        [sys.executable, "-m", "tokctl", *words],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        while not (tmp_path / "s.db").exists():
            time.sleep(0.01)
        time.sleep(0.5)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=20)
    assert running.returncode == 130
    assert b"Traceback" not in err
    listed = json.loads(tokctl("instances", "list", "--store", tmp_path / "s.db", "-o", "json").out)
    assert listed
