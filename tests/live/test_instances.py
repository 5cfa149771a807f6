"""``tokctl instances`` against the engines' own lists."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

import pytest

from live.scenarios import CASES
from tokctl.model.states import FINAL_STATES


def time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def test_instances_are_those_of_the_engine(live):
    listed = {
        one["instance_id"]: (
            one["process_id"],
            one["version"],
            one["business_key"],
            one["status"],
            time(one["started_at"]),
            time(one["completed_at"] or one["cancelled_at"]),
        )
        for one in live.listed
    }
    assert listed == {instance: tuple(raw) for instance, raw in live.instances.items()}


def test_the_newest_come_first(live):
    started = [one["started_at"] for one in live.listed]
    assert started == sorted(started, reverse=True)


def test_numbers_of_tokens_are_those_of_the_list_of_tokens(live):
    """The list of instances need not tell them: that would take more requests."""
    failed = Counter()
    for one in live.listed:
        states = Counter(token["state"] for token in live.tokens[one["instance_id"]])
        live_tokens = sum(number for state, number in states.items() if state not in FINAL_STATES)
        assert one["total_tokens"] in {None, sum(states.values())}
        assert one["live_tokens"] in {None, live_tokens}
        assert one["failed_tokens"] in {None, states["FAILED"]}
        failed[one["instance_id"]] = states["FAILED"]
    (instance, count) = failed.most_common(1)[0]
    assert live.ask("instances", "show", instance)["failed_tokens"] == count == 1


def test_tenants(live):
    tenants = {one["instance_id"]: one["tenant_id"] for one in live.listed}
    assert {tenant: instance for instance, tenant in tenants.items() if tenant} == {
        "acme": live.cases["approval-of-tenant"]
    }


FILTERS = {
    "--status SUSPENDED": lambda case: case.status == "SUSPENDED",
    "--status CANCELLED": lambda case: case.status == "CANCELLED",
    "--status completed": lambda case: case.status == "COMPLETED",
    "--process worker": lambda case: case.process == "worker",
    "--process *ing": lambda case: case.process.endswith("ing"),
    "--business-key guarded-*": lambda case: case.process == "guarded",
    "--business-key joining-for-ever": lambda case: case is CASES["joining-for-ever"],
    "--live": lambda case: case.status not in FINAL_STATES,
    "--var count=3": lambda case: "count" in case.variables,
    "--var name~Ümit*": lambda case: "name" in case.variables,
}


@pytest.mark.parametrize("words", FILTERS)
def test_filters(live, words):
    names = {instance: name for name, instance in live.cases.items()}
    found = {names[one["instance_id"]] for one in live.ask("instances", "list", *words.split())["instances"]}
    assert found & CASES.keys() == {name for name, case in CASES.items() if FILTERS[words](case)}


def test_failed_instances(live):
    found = {one["instance_id"] for one in live.ask("instances", "list", "--failed")["instances"]}
    assert found == {trouble.instance for trouble in live.raw.troubles()}


def test_members_of_json_variables(flowable):
    found = {one["business_key"] for one in flowable.ask("instances", "list", "--var", "order.to=A")["instances"]}
    assert found == {name for name, case in CASES.items() if "order" in case.variables}
