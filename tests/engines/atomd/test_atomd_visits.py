"""The visits of atomd's tokens: what is known is shown, and no edge is drawn that the model does not have."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.fake_atomd import RECORDED_SITUATIONS, SECRET, FakeAtomd, Recorded
from tokctl.bpmn.graph import ProcessGraph
from tokctl.client import Client, Connection
from tokctl.engines.atomd.engine import AtomdEngine
from tokctl.engines.projection import Projection
from tokctl.model.filters import ALL_TOKENS, InstanceFilter, SortOrder
from tokctl.model.states import COMPLETED
from tokctl.model.tokens import Token

SITUATIONS = Recorded(RECORDED_SITUATIONS)
IDS = SITUATIONS.index["ids"]


@pytest.fixture
def engine(monkeypatch, tmp_path) -> Iterator[AtomdEngine]:
    monkeypatch.setenv("TOKCTL_STATE_DIR", str(tmp_path / "state"))
    fake = FakeAtomd(SITUATIONS)
    client = Client(Connection(url=fake.url, credential=lambda: SECRET), sleep=lambda _: None)
    yield AtomdEngine(client, fake.url, Projection.TOKENS)
    fake.close()


def visits(engine: AtomdEngine, instance_id: str) -> dict[str, Token]:
    """Return the visits of an instance by element; none has two of an element."""
    found = list(engine.tokens(instance_id, ALL_TOKENS, SortOrder("created")))
    assert len({one.element_id for one in found}) == len(found)
    return {one.element_id: one for one in found}


def test_edges_are_those_of_the_model(engine):
    """Each visit follows its parent over flows of the model, or is inside of it, or has no parent."""
    edges = 0
    for status in list(engine.instances(InstanceFilter(), SortOrder("started"))):
        instance = status.instance
        graph = ProcessGraph(engine.definition(instance.process_id, instance.version))
        found = list(engine.tokens(instance.instance_id, ALL_TOKENS, SortOrder("created")))
        by_id = {one.token_id: one for one in found}
        for one in found:
            if one.parent_token_id is None:
                continue
            parent = by_id[one.parent_token_id]
            assert parent.created_at <= one.created_at
            assert one.token_id in parent.child_tokens
            if graph.elements[one.element_id].parent == parent.element_id:
                assert one.context.entered_by == "scope"
                continue
            flows = [graph.flows[hop.via_flow] for hop in one.hops]
            assert {parent.element_id} & {flows[0].source, graph.elements[flows[0].source].attached_to}
            assert flows[-1].target == one.element_id
            assert all(hop.certainty == "reconstructed" for hop in one.hops)
            edges += 1
    assert edges >= 15


def test_the_token_was_at_pay_between_fork_and_join(engine):
    found = visits(engine, IDS["split"][0])
    pay, join = found["pay"], found["join"]
    assert pay.parent_token_id == found["fork"].token_id
    assert (join.parent_token_id, join.token_id) == (pay.token_id, pay.token_id.partition("@")[0])
    assert (pay.state, pay.completed_at, pay.context.worker_id) == (COMPLETED, join.created_at, "payer-1")
    assert found["mail"].context.waiting_for.startswith("job:")
    assert found["mail"].context.worker_id is None


def test_what_was_before_the_present_visit_is_unknown(engine):
    """The token was at a timer for 20 s, which no job tells."""
    (end,) = visits(engine, IDS["timer"][1]).values()
    assert (end.element_id, end.context.entered_by) == ("end", "unknown")
    assert (end.parent_token_id, end.hops) == (None, [])
    assert (end.completed_at - end.created_at).total_seconds() < 0.001, "not since the token was created"


def test_a_job_that_was_interrupted(engine):
    found = visits(engine, IDS["boundary"][1])
    assert (found["risky"].state, found["risky"].cancelled_at) == ("CANCELLED", found["escalate"].created_at)
    assert [hop.from_element for hop in found["escalate"].hops] == ["late"], "the boundary event"
    assert found["risky"].context.error is None
    thrown = visits(engine, IDS["boundary"][2])["risky"]
    assert (thrown.state, thrown.error) == ("CANCELLED", "BPMN Error E-STOCK: none left")


def test_a_failed_and_a_deferred_job(engine):
    (failed,) = visits(engine, IDS["failing"][0]).values()
    assert (failed.state, failed.error) == ("FAILED", "card service answered HTTP 503")
    assert failed.completed_at is None, "it has not ended: a retry revives it"
    assert failed.finished_at == failed.updated_at
    assert failed.created_at < failed.updated_at
    (deferred,) = visits(engine, IDS["failing"][1]).values()
    assert deferred.context.waiting_for == f"retry:{deferred.context.job_key}"
    assert (deferred.context.worker_id, deferred.error) == (None, "first failure: connection refused")


@pytest.mark.parametrize(
    ("process", "element", "waiting_for"),
    [
        ("timer", "wait1h", "timer:atom-HzbNK25cSAY-bGRigm"),
        ("msg", "paid", "message:payment-received"),
        ("evgw", "came", "message:answer"),
        ("recv", "get", "message:confirm"),
        ("user", "start", "user_task:review"),
        ("caller", "callseq", "call_activity:atom-s181fkY5Wy_IYm0NcT"),
    ],
)
def test_what_tokens_wait_for(engine, process, element, waiting_for):
    found = visits(engine, IDS[process][0])[element]
    assert found.context.waiting_for == waiting_for
    assert (found.context.due_at is not None) == (process == "timer")
    assert (found.context.called_instance_id is not None) == (process == "caller")


def test_tokens_inside_a_sub_process(engine):
    found = visits(engine, IDS["sub"][0])
    inner, box = found["inner_task"], found["box"]
    assert (inner.parent_token_id, box.parent_token_id) == (box.token_id, None)
    assert box.created_at <= inner.created_at
