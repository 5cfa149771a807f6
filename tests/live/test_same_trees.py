"""The same model run on SpiffWorkflow, Operaton and Flowable gives the same tree, names of ids aside."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any

import pytest

from live.driving import MODELS
from live.scenarios import CASES

SIMULATED: dict[str, dict[str, Any]] = {
    "approval-done": {"variables": {"approved": True}},
    "joining-new": {"tasks": {"*": {"hangs": True}}},
    "joining-one": {"tasks": {"bill": {"hangs": True}, "check": {"hangs": True}}},
    "joining-joined": {"variables": {"drop": False}, "tasks": {"send": {"hangs": True}}},
    "joining-for-ever": {"variables": {"drop": True}},
    "nested-half": {"tasks": {"fetch": {"hangs": True}}},
    "nested-through": {"tasks": {"use": {"hangs": True}}},
    "including-two": {"variables": {"n": 2}, "tasks": {"*": {"hangs": True}}},
    "ending-stopped": {"tasks": {"slow": {"hangs": True}}},
    "waiting-message": {},
    "worker-done": {},
    "worker-refused": {"tasks": {"pay": {"throws": {"error": "REFUSED"}}, "ask": {"hangs": True}}},
}
"""What the simulation is told so that it does the same as the scenario of the case."""
SIMULATED_MULTI_INSTANCE: dict[str, dict[str, Any]] = {
    "signing-done": {},
    "picking-picked": {"tasks": {"pack": {"hangs": True}}},
    "inspecting-done": {},
}
LIVE = ("ACTIVE", "WAITING")
"""A task that hangs in a simulation is ACTIVE, a user task of an engine WAITING."""


def shape(document: dict[str, Any]) -> list:
    """Return a tree without ids and times: nested (element, type, state), in order."""
    children = defaultdict(list)
    for row in document["tree"]:
        children[row["tree_parent_id"]].append(row)

    def below(parent: str | None) -> list:
        return sorted(
            [
                row["element_id"],
                row["element_type"],
                "live" if row["state"] in LIVE else row["state"],
                below(row["token_id"]),
            ]
            for row in children[parent]
        )

    return below(None)


def shape_of_tokens(tokens: list[dict[str, Any]]) -> list:
    """Return the same of a list of tokens, by their parents: nested (element, state, flows that led to it)."""
    children = defaultdict(list)
    for token in tokens:
        children[token["parent_token_id"]].append(token)

    def flows(token: dict[str, Any]) -> list[str]:
        return [hop["via_flow"] for hop in token["flow_history"] or () if hop.get("via_flow")]

    def below(parent: str | None) -> list:
        return sorted([one["element_id"], one["state"], flows(one), below(one["token_id"])] for one in children[parent])

    return below(None)


@pytest.fixture
def simulated(tokctl, tmp_path):
    """Run a case in SpiffWorkflow; returns its tree."""

    def run(*words: str) -> str:
        done = tokctl(*words, "--store", tmp_path / "simulated.db")
        assert done.code == 0, done.err
        return done.out

    def simulate(name: str, scenario: dict[str, Any]) -> dict[str, Any]:
        settings = tmp_path / "scenario.yaml"
        settings.write_text(json.dumps({"until": "1h"} | scenario), encoding="utf-8")
        run("simulate", MODELS / f"{CASES[name].process}.bpmn", "--scenario", settings)
        return json.loads(run("tokens", "tree", "@latest", "-o", "json"))

    return simulate


@pytest.mark.parametrize("name", SIMULATED)
def test_trees_are_the_same(live, name, simulated):
    tree = live.ask("tokens", "tree", live.cases[name])
    assert shape(tree) == shape(simulated(name, SIMULATED[name]))


@pytest.mark.parametrize("name", SIMULATED_MULTI_INSTANCE)
def test_trees_of_multi_instance_activities_are_the_same(operaton, name, simulated):
    tree = operaton.ask("tokens", "tree", operaton.cases[name])
    assert shape(tree) == shape(simulated(name, SIMULATED_MULTI_INSTANCE[name]))


@pytest.mark.parametrize("name", SIMULATED_MULTI_INSTANCE)
def test_flowable_has_the_instances_of_multi_instance_activities_without_their_body(flowable, operaton, name):
    def visits(engine):
        return Counter((token["element_id"], token["state"]) for token in engine.tokens[engine.cases[name]])

    bodies = visits(operaton) - visits(flowable)
    assert visits(flowable) <= visits(operaton)
    assert bodies.total() == 1


def test_operaton_and_flowable_give_the_same_trees(operaton, flowable):
    """Of all cases, but where Flowable records another thing; see ``Case``.

    The flows that tokctl reconstructs for Operaton are those that Flowable has recorded.
    """
    others = {"choosing", "signing", "picking", "inspecting"}
    names = [name for name in operaton.cases if name.split("-")[0] not in others and name != "calling-failed"]
    assert len(names) > 60
    trees = [
        {name: shape_of_tokens(engine.tokens[engine.cases[name]]) for name in names} for engine in (operaton, flowable)
    ]
    assert trees[0] == trees[1]
