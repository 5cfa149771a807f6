"""What the recorder's tests share: a sink that keeps everything, and what holds of every recording."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from support.paths import MODELS
from tokctl.bpmn.parser import read_definitions
from tokctl.model.states import TRANSITIONS
from tokctl.simulation.scenario import parse_scenario
from tokctl.simulation.simulate import read_models, simulate

START = datetime(2025, 1, 11, 10, tzinfo=UTC)


class MemorySink:
    """Keeps the last of everything, and each token's states in the order in which they came."""

    def __init__(self):
        self.definitions = {}
        self.instances = {}
        self.tokens = {}
        self.states = {}

    def put_definition(self, definition):
        self.definitions[definition.process_id] = definition

    def put(self, instance, tokens):
        self.instances[instance.instance_id] = instance
        kept = self.tokens.setdefault(instance.instance_id, {})
        for token in tokens:
            assert token.instance_id == instance.instance_id
            kept[token.token_id] = token
            seen = self.states.setdefault(token.token_id, [])
            if not seen or seen[-1] != token.state:
                seen.append(token.state)

    def of(self, number=0):
        """All tokens of an instance, in order of creation."""
        return list(list(self.tokens.values())[number].values())

    def at(self, element, number=0):
        """The tokens of an element."""
        return [token for token in self.of(number) if token.element_id == element]

    def one(self, element, number=0):
        (token,) = self.at(element, number)
        return token

    @property
    def instance(self):
        (instance,) = self.instances.values()
        return instance


def run(models, scenario="", *, start=START, sink=None, **options):
    """Simulate models by their names; every recording is checked."""
    sink = sink or MemorySink()
    files = read_models(MODELS / f"{name}.bpmn" for name in models.split())
    sink.simulated = simulate(files, parse_scenario(scenario), sink, start=start, **options)
    definitions = [d for name, xml in files for d in read_definitions(xml, name)]
    for tokens in sink.tokens.values():
        check(tokens, definitions)
    return sink


def check(tokens, definitions):
    """Check what holds of every instance, whatever it ran."""
    flows = {(d.process_id, f.id): f for d in definitions for f in d.flows.values()}
    types = {(e.id, e.type) for d in definitions for e in d.elements.values()}
    for token_id, token in tokens.items():
        assert token.token_id == token_id
        assert (token.element_id, token.element_type) in types
        check_times(token)
        if token.parent_token_id is not None:
            assert tokens[token.parent_token_id].child_tokens.count(token_id) == 1
            assert tokens[token.parent_token_id].created_at <= token.created_at
        for child_id in token.child_tokens:
            child = tokens[child_id]
            if child.parent_token_id != token_id:  # it joined: the child came from the same join
                assert [hop.from_element for hop in child.hops] == [token.element_id]
        for hop in token.hops:
            assert hop.timestamp == token.created_at
            if hop.via_flow is not None:
                ends = {(f.source, f.target) for (_, name), f in flows.items() if name == hop.via_flow}
                assert (hop.from_element, token.element_id) in ends
            else:
                assert token.element_type == "boundaryEvent"
    assert_no_cycle(tokens)


def check_times(token):
    assert token.created_at <= token.updated_at
    assert (token.completed_at is not None) == (token.state == "COMPLETED")
    assert (token.cancelled_at is not None) == (token.state == "CANCELLED")
    assert token.finished_at in {None, token.updated_at}
    if not token.live:
        assert token.context.duration_ms == (token.updated_at - token.created_at) / timedelta(milliseconds=1)
        assert token.context.retries_left is None
        assert token.context.timeout_at is None


def assert_no_cycle(tokens):
    for token_id in tokens:
        seen, above = set(), token_id
        while above is not None:
            assert above not in seen
            seen.add(above)
            above = tokens[above].parent_token_id


def validate_states(sink):
    """Check the states that a sink has seen; what lay between two flushes may have been passed through."""
    for states in sink.states.values():
        for before, after in pairwise(states):
            ways = TRANSITIONS[before]
            assert after in ways or any(after in TRANSITIONS[way] for way in ways), states
