"""Operaton where it records less than all: history levels ``activity`` and ``none``, and a history cleaned up."""

from __future__ import annotations

import json
import re

import pytest

from live.live_engines import LiveEngine
from live.scenarios import BELOW_FULL, CALLED, CASES, CLEANED
from live.test_same_trees import shape_of_tokens
from tokctl.model.states import FAILED, FINAL_STATES

NO_HISTORY = "warning: The engine has no history of live instances"
LIVE_CASES = [name for name in BELOW_FULL if CASES[name].live]
LOST = "joining-failed"
"""A live instance whose history was cleaned up."""


@pytest.fixture
def activity(operatons) -> LiveEngine:
    """An engine that records visits and tasks, no variables, attempts and incidents."""
    return operatons["activity"]


@pytest.fixture
def none(operatons) -> LiveEngine:
    """An engine that records nothing."""
    return operatons["none"]


@pytest.fixture
def cleaned(operatons) -> LiveEngine:
    """An engine that has removed the history of some instances."""
    return operatons["cleaned"]


def leaves(live: LiveEngine, name: str) -> list[tuple[str, str]]:
    return [(token["element_id"], token["state"]) for token in live.live_leaves(name)]


@pytest.mark.parametrize("level", ["activity", "none"])
def test_live_tokens_are_the_same_as_at_level_full(operatons, level):
    engine = operatons[level]
    for name in LIVE_CASES:
        assert leaves(engine, name) == sorted(CASES[name].live), name
    for name in CALLED.keys() & set(BELOW_FULL):
        assert leaves(engine, f"{name}/called") == sorted(CALLED[name]), name


@pytest.mark.parametrize("level", ["activity", "none"])
def test_failed_work_is_found_and_explained(operatons, level):
    """Incidents are no history while they are open."""
    engine = operatons[level]
    troubles = engine.raw.troubles()
    assert len(troubles) > 5
    for words, key in ((("incidents", "list"), "incidents"), (("tokens", "list", "-A", "--state", FAILED), "tokens")):
        found = engine.ask(*words)[key]
        assert sorted((one["instance_id"], one["element_id"]) for one in found) == [
            (trouble.instance, trouble.element) for trouble in troubles
        ]
    (failed,) = (issue for issue in engine.ask("debug")["issues"] if issue["type"] == "FAILED_TOKENS")
    assert len(failed["tokens"]) == len(troubles)
    for trouble in troubles:
        done = engine.run("explain", trouble.instance)
        assert trouble.message.split("\n")[0] in re.sub(r"\s+", " ", done.out)


def test_trees_and_paths_need_no_more_than_level_activity(activity, operaton):
    for name in BELOW_FULL:
        trees = [shape_of_tokens(engine.tokens[engine.cases[name]]) for engine in (activity, operaton)]
        assert trees[0] == trees[1], name
    assert {one["business_key"]: one["status"] for one in activity.listed if one["business_key"]} == {
        name: CASES[name].status for name in BELOW_FULL
    }


@pytest.mark.parametrize("level", ["activity", "none"])
def test_variables_and_attempts_are_unknown_below_their_level(operatons, operaton, level):
    def attempts(engine: LiveEngine) -> int | None:
        (token,) = engine.live_leaves("worker-retried")
        shown = engine.ask("tokens", "show", token["instance_id"], token["token_id"])
        assert shown["execution_context"]["retries_left"] == 2
        return shown["execution_context"].get("retries_used")

    assert (attempts(operaton), attempts(operatons[level])) == (1, None)
    shown = operatons[level].ask("instances", "show", operatons[level].cases["approval-new"])
    assert shown["variables"] is None
    for condition in ("name~*", "name=x"):
        done = operatons[level].run("instances", "list", "--var", condition)
        assert (done.code, "keeps no variables at history level" in done.err) == (0, True), done


@pytest.mark.parametrize(
    "words", ["tokens list", "tokens tree", "tokens trace", "explain", "debug", "flow", "perf", "instances show"]
)
def test_no_history_is_told(none, words):
    """With every command, and whatever it shows."""
    done = none.run(*words.split(), none.cases["joining-failed"])
    assert (done.code, done.err.startswith(NO_HISTORY)) == (0, True), done
    named = {"Bill"} if words == "debug" else {"Bill", "Check", "join"}
    assert named <= set(re.findall(r"\w+", done.out))


def test_without_history_only_the_present_is_known(none):
    listed = none.run("instances", "list", "-o", "json")
    assert listed.err.startswith(NO_HISTORY)
    assert {one["instance_id"]: one["started_at"] for one in json.loads(listed.out)["instances"]} == {
        row["id"]: None for row in none.driver.get("/process-instance")
    }
    for name in LIVE_CASES:
        for token in none.tokens[none.cases[name]]:
            assert token["state"] == FAILED or token["state"] not in FINAL_STATES
            # the job of an activity that has not begun tells when it was created
            assert token["created_at"] is None or token["token_id"].startswith("compute:"), token
            assert not token["flow_history"]
    (bill,) = (token for token in none.live_leaves("joining-failed") if token["element_id"] == "bill")
    assert none.run("tokens", "history", bill["instance_id"], bill["token_id"]).code == 0
    done = none.run("tokens", "list", none.cases["approval-done"])
    assert (done.code, "no process instance" in done.err) == (3, True)


def test_a_join_without_history_is_no_deadlock(none):
    """Which of its flows the tokens came by is unknown; so no flow is said to be missing for ever."""
    for name in ("joining-two", "nested-half"):
        assert none.ask("debug", none.cases[name])["issues"] == []
    (join,) = (
        one for one in none.ask("explain", none.cases["joining-failed"])["explanations"] if one["element_id"] == "join"
    )
    assert "unknown" in " ".join(join["sentences"])


def test_what_was_cleaned_up_is_gone(cleaned):
    for name in ("approval-done", "calling-waiting/called"):
        done = cleaned.run("tokens", "list", cleaned.cases[name])
        assert (done.code, "no process instance" in done.err) == (3, True)
    assert {one["business_key"] for one in cleaned.listed if one["business_key"]} == set(BELOW_FULL) - set(CLEANED)


def test_live_instances_without_history_are_not_lost_from_sight(cleaned):
    """The engine removes the history of live instances, too. What has failed there is found by its incident."""
    lost = cleaned.cases[LOST]
    for words, key in (
        (("incidents", "list"), "incidents"),
        (("tokens", "list", "-A", "--state", FAILED), "tokens"),
        (("instances", "list", "--failed"), "instances"),
    ):
        done = cleaned.run(*words, "-o", "json")
        assert done.err.startswith(NO_HISTORY)
        assert sorted({one["instance_id"] for one in json.loads(done.out)[key]}) == sorted(
            {trouble.instance for trouble in cleaned.raw.troubles()}
        )
    (failed,) = (issue for issue in cleaned.ask("debug")["issues"] if issue["type"] == "FAILED_TOKENS")
    assert lost in {one["instance_id"] for one in failed["tokens"]}
    for name in (LOST, "approval-again"):
        done = cleaned.run("tokens", "list", cleaned.cases[name], "-o", "json")
        assert done.err.startswith(NO_HISTORY)
        tokens = json.loads(done.out)["tokens"]
        assert sorted((one["element_id"], one["state"]) for one in tokens) == sorted(CASES[name].live)


def test_a_caller_outlives_the_history_of_what_it_called(cleaned):
    instance = cleaned.cases["calling-waiting"]
    tree = cleaned.run("tokens", "tree", instance, "--follow-calls")
    assert (tree.code, "Call" in tree.out) == (0, True), tree
    called = next(one for one in cleaned.tokens[instance] if one["element_id"] == "call")
    assert called["execution_context"]["called_instance_id"] == cleaned.cases["calling-waiting/called"]
