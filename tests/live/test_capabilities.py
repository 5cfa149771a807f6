"""What ``tokctl engines`` promises of an engine is there, and what it denies is not."""

from __future__ import annotations

from typing import Any

import pytest

from live.live_engines import LiveEngine
from tokctl.capabilities import Support
from tokctl.engines.capabilities import load_capabilities

KINDS = {"operaton": "camunda7", "flowable": "flowable"}


def context(live: LiveEngine, name: str) -> dict[str, Any]:
    """The execution context of the only live token of a case."""
    (token,) = live.live_leaves(name)
    return token["execution_context"]


def stack_trace(live: LiveEngine) -> bool:
    (token,) = live.live_leaves("failing-1")
    shown = live.ask("tokens", "show", live.cases["failing-1"], token["token_id"])
    return "Exception" in shown["execution_context"]["stack_trace"]


def has(live: LiveEngine, case: str, field: str) -> bool:
    """Whether every token of a case that is not the start event has a value in a field."""
    return all(one[field] for one in live.tokens[live.cases[case]] if one["element_type"] != "startEvent")


SEEN = {
    "states": lambda live: (
        {token["state"] for tokens in live.tokens.values() for token in tokens}
        == {"ACTIVE", "WAITING", "SUSPENDED", "COMPLETED", "CANCELLED", "FAILED"}
    ),
    "errors": lambda live: bool(context(live, "worker-failed").get("error_message")),
    "stack_traces": stack_trace,
    "retries": lambda live: context(live, "worker-retried").get("retries_left") == 2,
    "workers": lambda live: context(live, "worker-locked").get("worker_id") == "worker-1",
    "jobs": lambda live: context(live, "worker-free").keys() >= {"job_key", "job_type"},
    "timers": lambda live: "due_at" in context(live, "waiting-timer"),
    "user_tasks": lambda live: context(live, "approval-new").keys() >= {"assignee", "due_at"},
    "messages": lambda live: context(live, "waiting-message").get("waiting_for") == "message:paid",
    "variables": lambda live: bool(live.ask("instances", "show", live.cases["approval-new"])["variables"]),
    "elements": lambda live: has(live, "nested-broken", "element_type"),
    "models": lambda live: "thank" in live.run("flow", live.cases["choosing-open"], "-o", "mermaid").out,
    "parents": lambda live: has(live, "looping", "parent_token_id"),
    "flows": lambda live: has(live, "looping", "flow_history"),
    "cancellation": lambda live: any(
        token["state"] == "CANCELLED" for token in live.tokens[live.cases["ending-stopped"]]
    ),
    "called_instances": lambda live: "called_instance_id" in context(live, "calling-waiting"),
}
"""Feature → whether it is seen. Those about requests and past states have tests of their own."""


@pytest.mark.parametrize("feature", SEEN)
def test_the_table_of_capabilities_is_true(live, feature):
    promised = load_capabilities(KINDS[live.name])[feature].support is not Support.NO
    assert SEEN[feature](live) == promised
