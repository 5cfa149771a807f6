from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokctl.model.states import STATES, TRANSITIONS
from tokctl.model.tokens import FlowHop
from tokctl.recorder.lifecycle import Lifecycle, TransitionError

START = datetime(2025, 1, 11, 10, tzinfo=UTC)


class Clock:
    def __init__(self):
        self.now = START

    def __call__(self):
        return self.now

    def tick(self, seconds=1):
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lifecycle(clock):
    return Lifecycle("srv1-a", clock)


WAYS = {
    "ACTIVE": [],
    "WAITING": ["WAITING"],
    "SUSPENDED": ["SUSPENDED"],
    "COMPLETED": ["COMPLETED"],
    "CANCELLED": ["CANCELLED"],
    "FAILED": ["FAILED"],
}


@pytest.mark.parametrize("before", STATES)
@pytest.mark.parametrize("after", STATES)
def test_only_documented_transitions_pass(before, after, clock, lifecycle):
    token = lifecycle.create("t", "pay", "serviceTask")
    for state in WAYS[before]:
        lifecycle.change_state(token, state)
    (was,) = lifecycle.drain()
    clock.tick()
    if after in TRANSITIONS[before]:
        lifecycle.change_state(token, after)
        (now,) = lifecycle.drain()
        assert (now.state, now.updated_at) == (after, clock.now)
    else:
        with pytest.raises(TransitionError, match=f"from {before} to {after}"):
            lifecycle.change_state(token, after)
        assert lifecycle.drain() == []
        lifecycle.set_variables(token, b'{"x": 1}')
        (now,) = lifecycle.drain()
        assert msgspec.structs.replace(now, variables=was.variables) == was


def test_a_token_is_created_once(lifecycle):
    lifecycle.create("t", "pay", "serviceTask")
    with pytest.raises(TransitionError, match="already exists"):
        lifecycle.create("t", "pay", "serviceTask")


def test_each_change_takes_its_time_from_the_clock(clock, lifecycle):
    token = lifecycle.create("t", "pay", "serviceTask", via=FlowHop("gate", "f1"))
    lifecycle.annotate(token, {"job_key": "j", "retries_left": 3, "timeout_at": START + timedelta(minutes=2)})
    (live,) = lifecycle.drain()
    assert msgspec.json.decode(live.execution_context) == {
        "job_key": "j",
        "retries_left": 3,
        "timeout_at": "2025-01-11T10:02:00.000Z",
    }
    assert msgspec.json.decode(live.flow_history) == [
        {"from_element": "gate", "via_flow": "f1", "timestamp": "2025-01-11T10:00:00.000Z"}
    ]
    clock.tick(1.5)
    lifecycle.change_state(token, "COMPLETED")
    (done,) = lifecycle.drain()
    assert (done.created_at, done.updated_at, done.completed_at) == (START, clock.now, clock.now)
    assert msgspec.json.decode(done.execution_context) == {"job_key": "j", "duration_ms": 1500}


def test_times_do_not_run_back_with_the_clock(clock, lifecycle):
    token = lifecycle.create("t", "pay", "serviceTask")
    clock.tick(-60)
    lifecycle.change_state(token, "CANCELLED")
    (done,) = lifecycle.drain()
    assert done.cancelled_at == done.created_at == START


def test_which_live_states_a_token_was_in_is_kept_where_it_was_in_several(clock, lifecycle):
    token = lifecycle.create("t", "pay", "serviceTask")

    def history(*states):
        for state in states:
            lifecycle.change_state(token, state)
        clock.tick()
        changes = lifecycle.drain()[0].context.state_history
        return None if changes is None else [(change.state, (change.at - START).seconds) for change in changes]

    assert history("SUSPENDED", "WAITING", "ACTIVE") is None  # all in no time
    assert history("WAITING") == [("WAITING", 1)]
    assert history("ACTIVE", "SUSPENDED", "WAITING") == [("WAITING", 1)]
    assert history("SUSPENDED") == [("WAITING", 1), ("SUSPENDED", 3)]
    assert history("ACTIVE") == [("WAITING", 1), ("SUSPENDED", 3), ("ACTIVE", 4)]
    assert history("COMPLETED") == [("WAITING", 1), ("SUSPENDED", 3), ("ACTIVE", 4)]
    plain = lifecycle.create("u", "pay", "serviceTask")
    lifecycle.change_state(plain, "COMPLETED")
    assert b"state_history" not in bytes(lifecycle.drain()[0].execution_context)


def test_variables_of_a_live_token_change_with_a_time_where_it_is_wanted(clock, lifecycle):
    token = lifecycle.create("t", "pay", "serviceTask")
    clock.tick()
    lifecycle.set_variables(token, b"{}", updates_time=True)
    assert lifecycle.drain()[0].updated_at == START  # the same
    lifecycle.set_variables(token, b'{"x":1}', updates_time=True)
    assert lifecycle.drain()[0].updated_at == clock.now


def test_only_what_changed_is_drained(clock, lifecycle):
    parent = lifecycle.create("p", "split", "parallelGateway")
    other = lifecycle.create("o", "split", "parallelGateway")
    assert [token.token_id for token in lifecycle.drain()] == ["p", "o"]
    child = lifecycle.create("c", "pay", "serviceTask", parent=parent)
    assert {token.token_id for token in lifecycle.drain()} == {"p", "c"}
    lifecycle.add_join_child(other, child)
    lifecycle.add_join_child(other, child)
    (linked,) = lifecycle.drain()
    assert linked.child_tokens == ("c",)
    assert linked.updated_at == START


@given(st.lists(st.sampled_from(STATES), max_size=20))
def test_no_sequence_leaves_the_lifecycle(states):
    clock = Clock()
    lifecycle = Lifecycle("srv1-a", clock)
    token = lifecycle.create("t", "pay", "serviceTask")
    reached = ["ACTIVE"]
    for state in states:
        clock.tick()
        try:
            lifecycle.change_state(token, state)
        except TransitionError:
            continue
        assert state in TRANSITIONS[reached[-1]]
        reached.append(state)
    assert token.state == reached[-1]
