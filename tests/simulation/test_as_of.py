"""What a past moment looks like, worked out from a finished recording, against one that was taken step by step."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.examples import scaled
from support.recording import MODELS, START, MemorySink
from tokctl.engines.as_of import AsOfEngine
from tokctl.model.filters import ALL_TOKENS, InstanceFilter, SortOrder
from tokctl.model.tokens import NULL
from tokctl.simulation import instance_run as simulated
from tokctl.simulation.scenario import parse_scenario
from tokctl.simulation.simulate import read_models, simulate
from tokctl.store import open_store

ALL = [
    "sequence",
    "exclusive",
    "inclusive",
    "parallel",
    "subprocess",
    "calling called",
    "multiple",
    "loop",
    "boundary",
    "interrupted",
    "terminate",
    "events",
]
BUSY = """
seed: {seed}
instances: {{count: 6, rate: 30/min, arrival: poisson}}
variables: {{n: 0, rounds: 0, gift: {{choice: [true, false]}}, fast: {{choice: [true, false]}}, price: 2,
            amount: {{range: [0, 200]}}, items: [a, b]}}
tasks: {{default: {{takes: {{lognormal: {{median: 3s, sigma: 1}}}}, fails: 20%, retries: {{max: 2, backoff: 1s}},
         timeout: 5s, hangs: 3%, worker: [w1, w2], sets: {{done: true}}}},
         charge: {{throws: {{error: E-DECLINED, probability: 0.5}}}}, slow: {{takes: {{uniform: [1m, 2h]}}}}}}
messages: {{open: {{after: {{exponential: 10s}}, probability: 90%}},
           paid: {{after: {{uniform: [1m, 2h]}}, sets: {{paid: true}}}}, shipped: 1s}}
cancel: {{after: 5s, probability: 15%}}
suspend: {{after: 4s, lasts: 7s, probability: 40%}}
"""
ALWAYS_KNOWN = (
    "token_id",
    "instance_id",
    "element_id",
    "element_type",
    "element_name",
    "state",
    "created_at",
    "completed_at",
    "cancelled_at",
    "parent_token_id",
    "child_tokens",
    "hops",
    "live",
    "finished_at",
)


class Steps(MemorySink):
    """Keeps, for each instance, what it was after everything that happened at a moment."""

    def __init__(self):
        super().__init__()
        self.steps = {}

    def step(self, instance_id, moment):
        copy = self.instances[instance_id], dict(self.tokens[instance_id])
        self.steps.setdefault(instance_id, {})[moment] = copy


class SteppedRun(simulated.InstanceRun):
    """Hands over to the sink whenever nothing more happens at a moment."""

    def _settle(self):
        super()._settle()
        self.recorder.flush()
        self.simulation.sink.step(self.instance_id, self.now)


def record(models, scenario):
    """Simulate twice: step by step, and in one go into a store. Returns the steps, the end and the store."""
    given = read_models(MODELS / f"{name}.bpmn" for name in models.split()), parse_scenario(scenario)
    sink, end = Steps(), MemorySink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulated, "InstanceRun", SteppedRun)
        simulate(*given, sink, start=START)
    simulate(*given, end, start=START)
    store = open_store(":memory:", write=True, create=True)
    with store.write() as batch:
        for definition in end.definitions.values():
            batch.put_definition(definition)
        for instance_id, tokens in end.tokens.items():
            batch.put(end.instances[instance_id], list(tokens.values()))
    return sink, end, store


def moments(steps):
    """Each moment at which something happened and one after it, with what stood then."""
    times = [*steps, list(steps)[-1] + timedelta(hours=1)]
    for time, following in pairwise(times):
        yield time, *steps[time]
        yield time + (following - time) / 2, *steps[time]


def check_token(then, snapshot, end, moment):
    for name in ALWAYS_KNOWN:
        assert getattr(then, name) == getattr(snapshot, name), name
    context, recorded = (msgspec.json.decode(one.execution_context) for one in (then, snapshot))
    if end.updated_at <= moment:  # nothing has happened to it since: all is known
        assert (then.updated_at, then.extra) == (end.updated_at, {})
        assert (then.variables, context) == (snapshot.variables, recorded)
    else:
        assert (then.updated_at, then.variables) == (None, NULL)
        assert context.items() <= recorded.items()


@settings(max_examples=scaled(0.3), deadline=None)
@given(st.sampled_from(ALL), st.integers(0, 10**6))
def test_a_recording_taken_step_by_step_is_what_its_end_tells_of_the_past(models, seed):
    sink, end, store = record(models, BUSY.format(seed=seed))
    for instance_id, steps in sink.steps.items():
        for moment, instance, tokens in moments(steps):
            engine = AsOfEngine(store, moment)
            found = {one.token_id: one for one in engine.tokens(instance_id, ALL_TOKENS, SortOrder("created"))}
            assert found.keys() == tokens.keys()
            for token_id, snapshot in tokens.items():
                check_token(found[token_id], snapshot, end.tokens[instance_id][token_id], moment)
            status = engine.instance(instance_id)
            assert status.status == instance.status
            assert status.started_at == instance.started_at
            assert status.instance.completed_at == instance.completed_at
            assert status.instance.cancelled_at == instance.cancelled_at
            assert (status.total_tokens, status.live_tokens) == (len(tokens), sum(t.live for t in tokens.values()))
            begun = {one for one, theirs in sink.steps.items() if min(theirs) <= moment}
            assert set(engine.instance_ids("", 99)) == begun
            assert {one.instance.instance_id for one in engine.instances(InstanceFilter(), SortOrder("live"))} == begun
    store.close()
