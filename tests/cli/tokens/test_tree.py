"""``tokens tree --follow-calls`` over instances that call each other."""

from __future__ import annotations

import json

import pytest

from support.fake_camunda import FakeCamunda
from support.paths import RECORDINGS


@pytest.fixture
def server():
    with FakeCamunda(RECORDINGS / "operaton") as server:
        yield server


def tree(tokctl, server, *options):
    ran = tokctl(
        *("tokens", "tree", server.cases["nested1"], "--server", server.url + server.root),
        *("--engine-kind", "camunda7", "-o", "json", *options),
    )
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def test_the_tokens_of_called_instances_are_below_the_call(tokctl, server):
    alone, followed = tree(tokctl, server), tree(tokctl, server, "--follow-calls")
    ids = {line["token_id"] for line in alone["tree"]}
    more = [line for line in followed["tree"] if line["token_id"] not in ids]
    assert [(line["element_id"], line["state"]) for line in more] == [("start", "COMPLETED"), ("invoice", "FAILED")]
    bill = next(line for line in followed["tree"] if line["element_id"] == "bill")
    assert more[0]["tree_parent_id"] == bill["token_id"]
    assert followed["contradictions"]["total"] == 0


def test_a_called_instance_that_was_deleted_is_left_out(tokctl, server):
    called = server.cases["child_of_nested1"]
    for name in ("instances", "runtime"):
        server.tables[name].pop(called, None)
    assert tree(tokctl, server, "--follow-calls")["tree"] == tree(tokctl, server)["tree"]


def test_a_stack_trace_has_a_section_of_its_own(tokctl, server):
    job = next(row for row in server.tables["jobs"].values() if row["processInstanceId"] == server.cases["order4"])
    ran = tokctl(
        *("tokens", "show", server.cases["order4"], f"ship:{job['id']}"),
        *("--server", server.url + server.root, "--engine-kind", "camunda7"),
    )
    assert ran.code == 0, ran.err
    assert "Stack trace\n" in ran.out
    assert any(line.strip().startswith("at org.operaton.bpm") for line in ran.out.splitlines())
    assert "\\n" not in ran.out
