"""PM4Py reads exported event logs, and its figures are those of tokctl."""

from __future__ import annotations

import json
from collections import Counter, defaultdict

import pytest

from live.process_mining_program import mine
from support.builders import NOON
from support.random_models import RandomModel, make_scenario
from tokctl.simulation.scenario import parse_scenario
from tokctl.simulation.simulate import simulate
from tokctl.store import open_store
from tokctl.store.sink import StoreSink


@pytest.fixture(scope="module")
def store_of_runs(tmp_path_factory):
    """A store with instances of random models."""
    path = tmp_path_factory.mktemp("runs") / "runs.db"
    with open_store(str(path), write=True, create=True) as store, StoreSink(store, batch_size=1000) as sink:
        for seed in range(12):
            xml = RandomModel(seed).xml.replace('id="p"', f'id="p{seed}"')
            simulate([("model", xml)], parse_scenario(make_scenario(seed, "{uniform: [1s, 9s]}")), sink, start=NOON)
    return path


def test_figures_of_process_mining_are_those_of_tokctl(tokctl, store_of_runs, tmp_path):
    def told(*words):
        ran = tokctl(*words, "--store", store_of_runs, "-o", "json")
        assert ran.code == 0, ran.err
        return json.loads(ran.out)

    log = tmp_path / "log.xes"
    assert tokctl("export", "-p", "*", "-f", "xes", "--out", log, "--store", store_of_runs).code == 0
    found = mine(log)
    instances = [one["instance_id"] for one in told("instances", "list", "--limit", "0")["instances"]]
    assert found["cases"] == sorted(instances)

    actions, variants = Counter(), Counter()
    for instance in instances:
        events = told("tokens", "trace", instance)["execution_timeline"]
        actions.update(event["action"] for event in events)
        variants[tuple(event["element_id"] for event in events if event["action"] == "TOKEN_COMPLETED")] += 1
    assert len(variants) > 12
    assert {tuple(variant): count for variant, count in found["variants"]} == variants
    assert {name: found["transitions"][name] for name in ("start", "complete")} == {
        "start": actions["TOKEN_CREATED"],
        "complete": actions["TOKEN_COMPLETED"],
    }

    seconds, expected = defaultdict(float), defaultdict(float)
    for element, took in found["seconds"]:
        seconds[element] += took
    for group in told("perf", "--limit", "0")["groups"]:
        expected[group["element_id"]] += group["total_ms"] / 1000
    assert len(expected) > 50
    for element, total in expected.items():
        assert seconds[element] == pytest.approx(total, abs=0.01), element
