"""A model that hangs or that kills its process is seen as such, and the next one runs."""

from __future__ import annotations

import os
import threading
import time
from types import SimpleNamespace

import pytest

from corpus.report import Model, group, share_that_runs
from corpus.worker import APPROXIMATED, CRASHED, HUNG, INCOMPLETE, RAN, REFUSED, Run, RunResult, Worker, judge, run_all
from support.bpmn_reading import has_several_processes
from support.paths import MODELS
from support.recording import run as simulate_model
from support.token_records import definitions, flows
from tokctl.simulation.limits import RunLimits

pytestmark = pytest.mark.slow
GOOD = Run(str(MODELS / "parallel.bpmn"), "parallel", 1)


@pytest.fixture
def pipe(tmp_path):
    """A file that has no end: reading it hangs."""
    os.mkfifo(tmp_path / "pipe")
    return Run(str(tmp_path / "pipe"), "p", 1)


def test_outcomes_of_runs(pipe, tmp_path):
    (tmp_path / "bad.bpmn").write_bytes(definitions('<startEvent id="s"/>')[:-5])
    bad = Run(str(tmp_path / "bad.bpmn"), "p", 1)
    results = list(run_all([GOOD, bad, GOOD], workers=1))
    assert [result.outcome for result in results] == [RAN, REFUSED, RAN]
    assert results[0].tokens == 10
    assert results[1].reason.startswith("FILE")
    assert results[0].to_json()["file"] == GOOD.file


def test_a_run_that_hangs(pipe):
    worker = Worker(0.2)
    try:
        assert worker.work(pipe).outcome == HUNG
        worker.time_limit = 60
        assert worker.work(GOOD).outcome == RAN
    finally:
        worker.close()


def test_a_process_that_dies(pipe):
    worker = Worker(60)

    def kill():
        while worker._process is None:
            time.sleep(0.05)
        worker._process.kill()

    try:
        killer = threading.Thread(target=kill)
        killer.start()
        result = worker.work(pipe)
        killer.join()
        assert (result.outcome, "code -9" in result.reason) == (CRASHED, True)
        assert worker.work(GOOD).outcome == RAN
    finally:
        worker.close()


def test_tokens_are_played():
    sink = simulate_model("parallel")
    xml = (MODELS / "parallel.bpmn").read_bytes()
    assert judge(xml, sink, "parallel", ())["outcome"] == RAN
    approximation = SimpleNamespace(element_id="a", element_type="serviceTask", what="its result is open", count=2)
    answer = judge(xml, sink, "parallel", [approximation])
    assert (answer["outcome"], answer["approximations"]) == (APPROXIMATED, ["serviceTask 'a': its result is open"])
    tokens = next(iter(sink.tokens.values()))
    tokens.popitem()
    assert judge(xml, sink, "parallel", ())["outcome"] == INCOMPLETE


def test_a_run_that_was_stopped_may_have_work_left():
    sink = simulate_model("parallel", limits=RunLimits(steps=1))
    xml = (MODELS / "parallel.bpmn").read_bytes()
    assert judge(xml, sink, None, ())["outcome"] == INCOMPLETE
    assert judge(xml, sink, None, (), exhausted=True)["outcome"] == RAN


def test_processes_run_alone_and_together(tmp_path):
    first, second = (
        f'<startEvent id="{name}s"/><endEvent id="{name}e"/>{flows(f"{name}f:{name}s>{name}e")}' for name in "pq"
    )
    path = tmp_path / "two.bpmn"
    path.write_bytes(definitions(f'{first}</process><process id="q">{second}'))
    model = Model("a", path, ("p", "q"), has_collaboration=has_several_processes(path.read_bytes()))
    results = list(run_all(model.runs(1), workers=1))
    assert [(result.run.process, result.outcome, result.tokens) for result in results] == [
        ("p", RAN, 2),
        ("q", RAN, 2),
        (None, RAN, 4),
    ]


def test_reasons_are_grouped():
    texts = {
        "task 'a': name 'b' is not defined.",
        "task 'it''s': name 'x' is not defined.",
        "task \"q\": name 'z' is not defined.",
    }
    assert {group(text) for text in texts} == {"task '…': name '…' is not defined."}
    assert group("no result within 20 s") == "no result within N s"


def test_a_model_runs_if_all_of_its_processes_run(tmp_path):
    def model(*outcomes):
        return Model("a", tmp_path, ("p",), [RunResult(GOOD, outcome) for outcome in outcomes])

    models = [model(RAN, RAN), model(RAN, REFUSED), model(REFUSED, HUNG), model(RAN)]
    assert [one.outcome for one in models] == [RAN, REFUSED, HUNG, RAN]
    assert share_that_runs([*models, Model("a", tmp_path, ())]) == 0.5
