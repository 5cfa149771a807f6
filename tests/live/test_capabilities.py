"""docs/engines.md is true: what ``tokctl engines`` promises of an engine is there, and what it denies is not.

Each feature has a proof: ``told`` is whether tokctl tells it, ``recorded`` whether the engine has it in its own
answers, and ``missing`` whether some of it is not told. From these follows how far the feature goes, and the table has
to say the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import unquote

import pytest

from live.conftest import ENGINES
from live.live_engines import LiveEngine
from live.scenarios import CALLED, CASES, NO_MONEY
from support.reverse_proxy import Forwarded, reverse_proxy
from tokctl.capabilities import Support
from tokctl.engines.capabilities import FEATURES, load_capabilities
from tokctl.model.states import FAILED

DUE = "2031-12-24T12:00:00.000Z"
MILLISECOND = timedelta(milliseconds=1)
KINDS = {"operaton": "camunda7", "camunda": "camunda7", "flowable": "flowable"}


@pytest.fixture(params=(*ENGINES, "camunda"))
def every_engine(request) -> LiveEngine:
    """Operaton, Flowable and Camunda 7."""
    return request.getfixturevalue(request.param)


def yes(_: LiveEngine) -> bool:
    return True


def no(_: LiveEngine) -> bool:
    return False


class Proof(NamedTuple):
    """What shows how far a feature goes."""

    told: Callable[[LiveEngine], bool]
    recorded: Callable[[LiveEngine], bool] = yes
    missing: Callable[[LiveEngine], bool] = no

    def support(self, live: LiveEngine) -> Support:
        """Return how far the feature goes."""
        if not self.told(live):
            return Support.NO
        if self.missing(live):
            return Support.PARTLY
        return Support.YES if self.recorded(live) else Support.DERIVED


# --- what tokctl tells --------------------------------------------------------------------------------


def context(live: LiveEngine, name: str) -> dict[str, Any]:
    """The execution context of the only live token of a case."""
    (token,) = live.live_leaves(name)
    return token["execution_context"]


def shown(live: LiveEngine, name: str) -> dict[str, Any]:
    """The execution context of the only live token of a case, as ``tokens show`` has it."""
    (token,) = live.live_leaves(name)
    return live.ask("tokens", "show", live.cases[name], token["token_id"])["execution_context"]


def all_have(live: LiveEngine, case: str, field: str) -> bool:
    """Whether every token of a case that is not the start event has a value in a field."""
    return all(one[field] for one in live.tokens[live.cases[case]] if one["element_type"] != "startEvent")


def variables(live: LiveEngine) -> dict[str, Any]:
    """Of an instance with a number, and an object that Flowable serializes."""
    return live.ask("instances", "show", live.cases["worker-halfway"])["variables"]


def states(live: LiveEngine) -> bool:
    return {token["state"] for tokens in live.tokens.values() for token in tokens} == {
        *("ACTIVE", "WAITING", "SUSPENDED", "COMPLETED", "CANCELLED", "FAILED")
    } and {one["status"] for one in live.listed} == {"ACTIVE", "SUSPENDED", "COMPLETED", "CANCELLED"}


def models(live: LiveEngine) -> bool:
    """Elements that the instance has never visited are in the diagram."""
    return "thank" in live.run("flow", live.cases["choosing-open"], "-o", "mermaid").out


def cancellation(live: LiveEngine) -> bool:
    return {one["state"] for one in live.tokens[live.cases["ending-stopped"]] if one["element_id"] == "slow"} == {
        "CANCELLED"
    }


def called_instances(live: LiveEngine) -> bool:
    """From the caller to what it has called, as commands follow it."""
    tree = live.ask("tokens", "tree", live.cases["calling-waiting"], "--follow-calls")["tree"]
    called = live.cases["calling-waiting/called"]
    own = context(live, "calling-waiting")["called_instance_id"] == called
    below = {row["token_id"] for row in tree}
    return own and below >= {one["token_id"] for one in live.tokens[called]}


def state_at(live: LiveEngine, name: str, element: str, at: datetime) -> str | None:
    """The state that a token had; None if it is not shown."""
    tokens = live.ask("tokens", "list", live.cases[name], "--at", at.isoformat())["tokens"]
    return next((one["state"] for one in tokens if one["element_id"] == element), None)


def past_state(live: LiveEngine) -> bool:
    """Whether a task that is completed now is live at the time before, and what came later is not shown."""
    (review,) = (one for one in live.tokens[live.cases["approval-done"]] if one["element_id"] == "review")
    at = datetime.fromisoformat(review["completed_at"]) - MILLISECOND
    review_then, end_then = (state_at(live, "approval-done", element, at) for element in ("review", "end"))
    return review_then in {"ACTIVE", "WAITING"} and end_then is None


def misses_past_failures(live: LiveEngine) -> bool:
    """Whether a task that had failed when its instance was cancelled is not shown as failed at the time before."""
    cancelled = live.instances[live.cases["failing-cancelled"]].ended_at
    return state_at(live, "failing-cancelled", "compute", cancelled - MILLISECOND) != FAILED


# --- what the engine itself has -----------------------------------------------------------------------


def raw_rows(live: LiveEngine, name: str) -> list[dict[str, Any]]:
    """The engine's rows of the visits of a case."""
    instance = live.cases[name]
    if live.name == "flowable":
        return live.driver.rows("/history/historic-activity-instances", processInstanceId=instance)
    return live.driver.get("/history/activity-instance", processInstanceId=instance)


def raw_states(live: LiveEngine) -> bool:
    """Whether an instance has a state, and a visit tells whether it was cancelled."""
    path = "historic-process-instances" if live.name == "flowable" else "process-instance"
    return "state" in live.driver.get(f"/history/{path}/{live.cases['ending-stopped']}") and raw_cancellation(live)


def raw_cancellation(live: LiveEngine) -> bool:
    return all("canceled" in row for row in raw_rows(live, "ending-stopped"))


def raw_parents(live: LiveEngine) -> bool:
    """Whether the row of a visit names the visit before it."""
    parents = {one["token_id"]: one["parent_token_id"] for one in live.tokens[live.cases["looping"]]}
    return any(parents.get(row["id"]) in row.values() for row in raw_rows(live, "looping") if parents.get(row["id"]))


def raw_flows(live: LiveEngine) -> bool:
    taken = {hop["via_flow"] for one in live.tokens[live.cases["looping"]] for hop in one["flow_history"]}
    return taken <= {row["activityId"] for row in raw_rows(live, "looping")}


# --- what is requested --------------------------------------------------------------------------------


def requests_of(live: LiveEngine, *words: str) -> list[Forwarded]:
    """Run a command through a proxy; return its requests."""
    with reverse_proxy(live.url, {"": ""}) as proxy:
        done = live.call(*words, "--server", proxy.url, "-o", "json")
        assert done.code == 0, done.err
        json.loads(done.out)
    return proxy.forwarded


FILTERS = {
    "--process worker": {"camunda7": "processDefinitionKey", "flowable": "processDefinitionKey"},
    "--business-key guarded-armed": {"camunda7": "processInstanceBusinessKey", "flowable": "businessKey"},
    "--live": {"camunda7": "unfinished", "flowable": "finished"},
    "--status CANCELLED": {"camunda7": "finished", "flowable": "finished"},
    "--until 1h": {"camunda7": "startedBefore", "flowable": "startedBefore"},
}
"""Words of ``instances list`` → the parameter of the engine's list of instances."""


def filters_instances(live: LiveEngine) -> bool:
    """Whether the parameters are sent, and the engine sends less for them."""
    path = "/history/historic-process-instances?" if live.name == "flowable" else "/history/process-instance?"

    def lists(words: str) -> list[Forwarded]:
        return [one for one in requests_of(live, "instances", "list", *words.split()) if path in one.target]

    whole = sum(one.size for one in lists(""))
    return all(
        f"{names[KINDS[live.name]]}=" in one.target and one.size < whole
        for words, names in FILTERS.items()
        for one in lists(words)
    )


def filters_not_all(live: LiveEngine) -> bool:
    """Elements of tokens are looked for by tokctl."""
    requests = requests_of(live, "tokens", "list", "-A", "--element", "review")
    return not any("review" in one.target for one in requests)


def bounded_debug(live: LiveEngine) -> bool:
    """No request names a healthy instance alone; those that wait at a join are read like troubled ones."""
    troubled = {trouble.instance for trouble in live.raw.troubles()}
    joins = {"join", "meet", "all"}
    joining = {live.cases[name] for name, case in CASES.items() if joins & {element for element, _ in case.live}}
    healthy = {live.cases[name] for name, case in CASES.items() if case.live}
    healthy |= {live.cases[f"{name}/called"] for name in CALLED}
    healthy -= troubled | joining
    assert len(healthy) > 30
    targets = [unquote(request.target) for request in requests_of(live, "debug")]
    return not any(one in target and "," not in target for one in healthy for target in targets)


def sends_changes_only(live: LiveEngine) -> bool:
    requests = [one for _ in range(2) for one in requests_of(live, "tokens", "list", live.cases["nested-half"])]
    return any("ETag" in one.answer_headers or "If-None-Match" in one.headers for one in requests)


PROOFS = {
    "states": Proof(states, raw_states),
    "errors": Proof(lambda live: context(live, "worker-failed").get("error_message") == NO_MONEY),
    "stack_traces": Proof(lambda live: "Exception" in shown(live, "failing-1").get("stack_trace", "")),
    "retries": Proof(
        lambda live: shown(live, "worker-retried").get("retries_left") == 2,
        missing=lambda live: shown(live, "worker-retried").get("retries_used") != 1,
    ),
    "workers": Proof(lambda live: context(live, "worker-locked").get("worker_id") == "worker-1"),
    "jobs": Proof(
        lambda live: (
            context(live, "worker-free").get("job_type") == "pay"
            and bool(context(live, "worker-free").get("job_key"))
            and context(live, "retrying").get("waiting_for") == f"job:{context(live, 'retrying')['job_key']}"
        )
    ),
    "timers": Proof(lambda live: bool(context(live, "waiting-timer").get("due_at"))),
    "user_tasks": Proof(
        lambda live: context(live, "approval-new").items() >= {"assignee": "mary", "due_at": DUE}.items()
    ),
    "messages": Proof(
        lambda live: (
            context(live, "waiting-message").get("waiting_for") == "message:paid"
            and context(live, "waiting-signal").get("waiting_for") == "signal:go"
        )
    ),
    "variables": Proof(
        lambda live: variables(live)["paid"] == 12, missing=lambda live: "unknown" in variables(live)["parcels"]
    ),
    "elements": Proof(
        lambda live: (
            all_have(live, "nested-broken", "element_type")
            and {one["element_name"] for one in live.tokens[live.cases["nested-broken"]]} >= {"Fetch", "Repair"}
        )
    ),
    "models": Proof(models),
    "parents": Proof(lambda live: all_have(live, "looping", "parent_token_id"), raw_parents),
    "flows": Proof(lambda live: all_have(live, "looping", "flow_history"), raw_flows),
    "cancellation": Proof(cancellation, raw_cancellation),
    "called_instances": Proof(called_instances),
    "past_state": Proof(past_state, missing=misses_past_failures),
    "server_filters": Proof(filters_instances, missing=filters_not_all),
    "bounded_debug": Proof(bounded_debug),
    "changes": Proof(sends_changes_only),
}
"""Feature → its proof."""


def test_every_feature_has_a_proof():
    assert list(PROOFS) == list(FEATURES)


@pytest.mark.parametrize("feature", FEATURES)
def test_the_table_of_capabilities_is_true(every_engine, feature):
    promised = load_capabilities(KINDS[every_engine.name])[feature].support
    assert PROOFS[feature].support(every_engine) is promised


def test_derived_facts_are_marked(every_engine):
    """Ends that the engine does not tell, but for user tasks; and flows that it has not recorded."""
    live, promised = every_engine, load_capabilities(KINDS[every_engine.name])
    (fetch,) = (one for one in live.tokens[live.cases["nested-lapsed"]] if one["element_id"] == "fetch")
    assert fetch["state"] == "CANCELLED"
    assert bool(fetch["execution_context"].get("cancellation_derived")) is (
        promised.cancellation.support is Support.DERIVED
    )
    certainties = {
        hop.get("certainty", "recorded") for one in live.tokens[live.cases["looping"]] for hop in one["flow_history"]
    }
    assert certainties == {"recorded" if promised.flows.support is Support.YES else "reconstructed"}
