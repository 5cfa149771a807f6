"""Failed work: what an operator finds with nothing but the address of the engine."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from live.scenarios import CASES, NO_MONEY


def test_failed_tokens_are_the_engines_incidents(live):
    failed = live.ask("tokens", "list", "-A", "--state", "FAILED")["tokens"]
    found = sorted((one["instance_id"], one["element_id"], one["execution_context"]["error_message"]) for one in failed)
    assert found == [tuple(trouble) for trouble in live.raw.troubles()]
    assert all(one["execution_context"]["retries_left"] == 0 for one in failed if one["element_id"] != "call")


def test_incidents_are_the_engines(live):
    listed = live.ask("incidents", "list")["incidents"]
    assert sorted((one["instance_id"], one["element_id"], one["error"]) for one in listed) == [
        tuple(trouble) for trouble in live.raw.troubles()
    ]


def test_debug_finds_all_failed_tokens(live):
    """Those with the same message together."""
    report = live.ask("debug")
    failed = [
        one
        for issue in report["issues"]
        if issue["type"] in {"FAILED_TOKENS", "FAILED_CALLS"}
        for one in issue["tokens"]
    ]
    assert sorted((one["instance_id"], one["element_id"]) for one in failed) == sorted(
        (trouble.instance, trouble.element) for trouble in live.raw.troubles()
    )
    (suspended,) = (issue for issue in report["issues"] if issue["type"] == "SUSPENDED_TOKENS")
    assert {one["instance_id"] for one in suspended["tokens"]} == {
        live.cases[name] for name, case in CASES.items() if case.status == "SUSPENDED"
    }


def test_debug_finds_the_join_that_waits_for_ever(live):
    report = live.ask("debug", live.cases["joining-for-ever"], "--skip", "STUCK_GATEWAY_TOKENS")  # after five minutes
    assert {issue["type"] for issue in report["issues"]} == {"DEADLOCKED_JOIN"}
    for healthy in JOINING:
        assert "DEADLOCKED_JOIN" not in {issue["type"] for issue in live.ask("debug", live.cases[healthy])["issues"]}


PATIENT = (
    *("approval-new", "approval-refused", "approval-of-tenant", "waiting-message", "waiting-signal", "waiting-receive"),
    *("choosing-open", "choosing-answered", "guarded-armed", "signing-first", "signing-last", "inspecting-new"),
    *("nested-through", "calling-waiting", "changing-recalled", "ending-new", "looping", "moving-migrated"),
)
"""Cases in which people, messages, signals and later times are waited for, and nothing else."""


@pytest.mark.parametrize("words", [("debug",), ("instances", "list", "--stuck")])
def test_patience_is_no_trouble(live, tokctl, words):
    """Three hours later, in lists over all instances and of each."""
    later = datetime.now(UTC) + timedelta(hours=3)
    patient = {live.cases[name] for name in PATIENT} | {live.cases["calling-waiting/called"]}
    report = json.loads(tokctl(*words, "--server", live.url, "-o", "json", now=later).out)
    found = report["instances"] if "instances" in report else [t for one in report["issues"] for t in one["tokens"]]
    assert found
    assert {one["instance_id"] for one in found} & patient == set()
    for instance in patient if words == ("debug",) else ():
        done = tokctl("debug", instance, "--server", live.url, "--fail-on", "low", now=later)
        assert done.code == 0, done.out


JOINING = ("joining-one", "joining-two", "nested-half", "including-half")
"""Cases in which a join waits for a user task."""


def test_a_join_that_a_token_can_still_reach_is_not_stuck(live, tokctl):
    """Three hours later; the document's check, on request, finds it."""
    later = datetime.now(UTC) + timedelta(hours=3)
    for name in JOINING:
        words = ("debug", live.cases[name], "--rule", "STUCK_GATEWAY_TOKENS", "--server", live.url)
        assert "No problems found" in tokctl(*words, now=later).out, name
        found = tokctl(*words, "-T", "waiting_joins=1", now=later).out
        assert ("can continue when tokens arrive on" in found) or name == "including-half", name


def test_debug_finds_no_contradictions(live):
    """What tokctl reconstructs is consistent by its own rules."""
    found = Counter(issue["type"] for issue in live.ask("debug")["issues"])
    assert {"BROKEN_LINKS", "ORPHANED_TOKENS", "TIME_ANOMALIES", "ZOMBIE_TOKENS"} & found.keys() == set()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("failing-1", "Unknown property used in expression: ${nosuchbean.fail()}"),
        ("worker-failed", NO_MONEY),
        ("picking-failed", "Not in stock"),
        ("joining-failed", "No paper"),
        ("calling-failed/called", "Unknown property used in expression"),
    ],
)
def test_explain_names_the_cause(live, name, message):
    done = live.run("explain", live.cases[name])
    assert done.code == 0, done.err
    assert message in re.sub(r"\s+", " ", done.out)


def test_explain_leads_to_the_called_instance(live):
    (explanation,) = live.ask("explain", live.cases["calling-failed"])["explanations"]
    assert any(live.cases["calling-failed/called"] in command for command in explanation["next"])


def cause(message: str) -> str:
    """The first line of an error message, whose other lines are a stack trace as a rule; wrapped as it may be."""
    return " ".join(message.partition("\n")[0].split())


def test_from_the_address_to_the_cause_with_two_commands(live, shell, tmp_path):
    """As on the first day: two command lines, each a process, and of the engine nothing is known but its address."""
    state = {"TOKCTL_STATE_DIR": str(tmp_path / "state")}
    first = shell("debug", "--server", live.url, env=state)
    assert (first.code, first.err.count("error")) == (0, 0), first
    (words,) = re.findall(r"Next: tokctl (.+)", first.out)
    second = shell(*words.split(), env=state)
    assert (second.code, second.err) == (0, ""), second
    (instance,) = {instance for instance in live.instances if instance in words}
    causes = {cause(one.message) for one in live.raw.troubles() if one.instance == instance}
    assert any(one in " ".join(second.out.split()) for one in causes), second.out


def test_the_cause_of_every_failed_instance_is_two_commands_away(live):
    """debug names each of them with its id; explain of this id ends at the message of the engine."""
    listed = live.run("debug", "--limit", "0").out
    for trouble in live.raw.troubles():
        rows = [[word for word in line.split() if word in live.instances] for line in listed.splitlines()]
        instance = next(named[0] for named in rows if named and named[0] == trouble.instance)
        explained = live.run("explain", instance)
        assert explained.code == 0
        assert cause(trouble.message) in " ".join(explained.out.split()), trouble


def test_retries(live):
    for name in ("retrying", "worker-retried"):
        ((element, (left, again)),) = live.raw.retries(live.cases[name]).items()
        (token,) = live.live_leaves(name)
        context = token["execution_context"]
        assert token["element_id"] == element
        assert context["retries_left"] == left == 2
        assert datetime.fromisoformat(context["retry_at"]) == again
        assert context["error_message"]


def test_stack_traces_of_single_tokens(live):
    for name, line in (("failing-1", "Exception"), ("worker-failed", "  at pay")):
        (token,) = live.live_leaves(name)
        shown = live.ask("tokens", "show", live.cases[name], token["token_id"])
        assert line in shown["execution_context"]["stack_trace"]


def test_nothing_failed_is_no_error(live):
    done = live.run("debug", live.cases["approval-done"], "--fail-on", "low")
    assert done.code == 0, done.out
    done = live.run("debug", live.cases["failing-1"], "--fail-on", "high")
    assert done.code == 1


def test_an_unknown_instance_is_an_error_in_one_line(live):
    done = live.run("tokens", "list", "00000000-0000-11f1-0000-000000000000")
    assert done.code == 3
    assert done.err.startswith("error: ")
    assert "Traceback" not in done.err
