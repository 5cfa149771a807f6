"""The demonstration shows every state and situation that the commands are about."""

from datetime import UTC, datetime, timedelta

import pytest

from support.recording import MemorySink, check
from tokctl.bpmn.parser import read_definitions
from tokctl.model.states import STATES
from tokctl.simulation.demo import load_demo
from tokctl.simulation.simulate import simulate

NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def demo():
    models, scenario = load_demo()
    sink = MemorySink()
    sink.simulated = simulate(models, scenario, sink, end=NOW)
    for tokens in sink.tokens.values():
        check(tokens, read_definitions(models[0][1]))
    return sink


def everything(demo):
    return [token for number in range(len(demo.tokens)) for token in demo.of(number)]


def test_every_state_shows_up(demo):
    assert {token.state for token in everything(demo)} == set(STATES)
    statuses = [instance.status for instance in demo.instances.values()]
    assert set(statuses) == {"ACTIVE", "COMPLETED", "CANCELLED", "SUSPENDED"}
    assert 12 <= len(statuses) <= 25


def test_every_situation_shows_up(demo):
    tokens = everything(demo)
    assert any(t.live and t.context.timeout_at and t.context.timeout_at < NOW for t in tokens)
    assert any((t.context.retries_used or 0) > 2 for t in tokens)
    assert any(t.state == "ACTIVE" and NOW - t.created_at > timedelta(minutes=10) for t in tokens)
    assert any(
        t.state == "WAITING" and t.element_type == "parallelGateway" and NOW - t.created_at > timedelta(minutes=5)
        for t in tokens
    )
    assert any(t.state == "WAITING" and t.element_type == "intermediateCatchEvent" for t in tokens)
    assert {"boundaryEvent", "userTask", "serviceTask", "exclusiveGateway"} <= {t.element_type for t in tokens}
    flows = {t.context.gateway_decision.selected_flow for t in tokens if t.element_id == "payment-gateway"}
    assert flows == {"flow_3_credit", "flow_3_invoice", "flow_3_review"}


def test_the_newest_instance_is_worth_a_look(demo):
    newest = list(demo.tokens[demo.simulated.newest].values())
    assert demo.instances[demo.simulated.newest].started_at == max(i.started_at for i in demo.instances.values())
    assert [token.element_id for token in newest if token.live] == ["send-invoice", "pack-items"]
    assert {token.element_id: token.context.retries_used for token in newest if token.context.retries_used} == {
        "process-payment": 2,
        "send-invoice": 4,
    }


def test_it_ends_when_the_caller_says(demo):
    assert demo.simulated.end == NOW
    assert all(token.updated_at <= NOW for token in everything(demo))


def test_it_is_the_same_every_time(demo):
    models, scenario = load_demo()
    again = MemorySink()
    simulate(models, scenario, again, end=NOW)
    assert again.tokens == demo.tokens
