"""The other commands, on real engines: each runs, and its numbers are those of the engine."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from live.scenarios import CASES
from tokctl.model.states import FINAL_STATES


@pytest.mark.parametrize(
    "words",
    [
        ("tokens", "list"),
        ("tokens", "list", "--variables", "-o", "wide"),
        ("tokens", "tree"),
        ("tokens", "trace"),
        ("debug",),
        ("explain",),
        ("flow",),
        ("flow", "-o", "mermaid"),
        ("perf",),
        ("instances", "show"),
    ],
    ids="_".join,
)
def test_commands_work_on_every_instance(live, words):
    """In plain text, with no error and no warning; reconstructed steps are explained."""
    for name in ("approval-again", "joining-failed", "nested-half", "changing-recalled", "calling-failed", "looping"):
        done = live.run(*words, live.cases[name])
        notes = [line for line in done.err.splitlines() if line[:1] not in {"≈", "?"}]
        assert (done.code, notes) == (0, []), (name, done)
        assert done.out


def test_every_live_token_is_explained(live):
    for name in ("joining-two", "worker-failed", "waiting-timer", "waiting-signal", "guarded-nudged", "choosing-open"):
        explained = live.ask("explain", live.cases[name])["explanations"]
        assert {one["token_id"] for one in explained} == {
            token["token_id"] for token in live.tokens[live.cases[name]] if token["state"] not in FINAL_STATES
        }
        assert all(one["sentences"] for one in explained)


@pytest.mark.parametrize(
    ("name", "element", "said"),
    [
        ("waiting-message", "paid", r"paid"),
        ("waiting-signal", "go", r"\bgo\b"),
        ("waiting-timer", "pause", r"in 9d"),
        ("approval-new", "review", r"mary"),
        ("worker-locked", "pay", r"worker-1"),
        ("worker-retried", "pay", r"empty"),
        ("retrying", "compute", r"nosuchbean"),
        ("joining-one", "join", r"(Bill|Check)"),
    ],
)
def test_explanations_name_what_is_waited_for(live, name, element, said):
    explained = live.ask("explain", live.cases[name])["explanations"]
    (one,) = (one for one in explained if one["element_id"] == element)
    assert re.search(said, " ".join(one["sentences"])), one["sentences"]


def test_perf_counts_the_visits_of_the_engine(live):
    report = live.ask("perf")
    assert report["instances"] == len(live.instances)
    states = Counter(token["state"] for tokens in live.tokens.values() for token in tokens)
    assert report["total_tokens"] == states.total()
    assert {state: count for state, count in report["token_states"].items() if count} == states


def test_totals_of_the_tree(live):
    for name in CASES:
        tokens = live.tokens[live.cases[name]]
        if len(tokens) > 8:
            summary = live.ask("tokens", "tree", live.cases[name])["summary"]
            assert summary["total_tokens"] == len(tokens)


def test_a_single_token(live):
    for name in ("worker-failed", "approval-new", "guarded-nudged"):
        for token in live.tokens[live.cases[name]]:
            shown = live.ask("tokens", "show", live.cases[name], token["token_id"])
            for field in ("state", "element_id", "created_at", "parent_token_id", "element_type"):
                assert shown[field] == token[field]
    history = live.ask("tokens", "history", live.cases["looping"], live.live_leaves("looping")[0]["token_id"])
    assert history


def test_state_filters_find_the_same_tokens_in_all_instances(live):
    for state in ("WAITING", "SUSPENDED", "CANCELLED"):
        found = live.ask("tokens", "list", "-A", "--state", state)["tokens"]
        expected = {token["token_id"] for tokens in live.tokens.values() for token in tokens if token["state"] == state}
        assert {token["token_id"] for token in found} == expected


def test_a_snapshot_has_the_same_tokens(live, tokctl, tmp_path):
    done = live.run("snapshot", *live.instances, "--to", str(tmp_path / "taken.db"))
    assert done.code == 0, done.err
    taken = json.loads(tokctl("tokens", "list", "-A", "-o", "json", "--store", tmp_path / "taken.db").out)["tokens"]
    assert {(one["instance_id"], one["token_id"]): (one["state"], one["parent_token_id"]) for one in taken} == {
        (one["instance_id"], one["token_id"]): (one["state"], one["parent_token_id"])
        for tokens in live.tokens.values()
        for one in tokens
    }


def test_the_past(live):
    """A minute before the engine was filled, and between two steps of an instance."""
    first = min(raw.started_at for raw in live.instances.values())
    before = (first - timedelta(minutes=1)).isoformat()
    assert live.ask("instances", "list", "--at", before)["instances"] == []
    instance = live.cases["approval-done"]
    review = next(one for one in live.tokens[instance] if one["element_id"] == "review")
    created, completed = (datetime.fromisoformat(review[field]) for field in ("created_at", "completed_at"))
    then = (created + (completed - created) / 2).astimezone(UTC).isoformat()
    past = live.ask("tokens", "list", instance, "--at", then)["tokens"]
    live_then = [one["element_id"] for one in past if one["state"] not in FINAL_STATES]
    assert live_then == ["review"]


def test_doctor(live):
    done = live.run("doctor")
    assert done.code in {0, 1}, done.err
    assert {"operaton": "camunda7.", "flowable": "flowable."}[live.name] in done.out


def test_wait_ends_at_once_when_it_has_happened(live):
    done = live.run("tokens", "wait", live.cases["approval-new"], "--for", "element=review", "--timeout", "5s")
    assert done.code == 0, done.err


def test_requests_are_a_budget(live):
    """They do not grow with the healthy instances: two for each definition and troubled instance at most."""
    with_trouble = {trouble.instance for trouble in live.raw.troubles()}
    for words, most in (
        (("instances", "list"), 6),
        (("tokens", "list", live.cases["nested-half"]), 14),
        (("tokens", "list", "-A", "--state", "FAILED"), 30 + 2 * len(with_trouble) + 2 * 22),
        (("debug",), 30 + 2 * 22 + 3 * len(with_trouble)),
    ):
        done = live.run(*words, "-v")
        (requests,) = re.findall(r"tokctl: (\d+) requests?,", done.err)
        assert int(requests) <= most, (words, requests)
