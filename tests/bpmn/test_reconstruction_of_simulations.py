"""What reconstruction says about executions whose flows are known: simulated ones, with the flows hidden."""

from __future__ import annotations

import sys
from collections import Counter

import pytest

from support.engine_visits import find_scopes, hide_flows, simulate_random_model, takes_exits_once
from support.random_models import BLOCKS
from tokctl.bpmn.reconstruction import Certainty, EnteredBy, reconstruct_entries

SEEDS = range(180)
TIMES = ("1s", "{uniform: [1s, 5s]}")  # all tasks end together, or each at its own time
ONE_TOKEN = tuple(block for block in BLOCKS if block != "merge")


@pytest.fixture(scope="module")
def instances():
    """Instances of random models: the graph, and the tokens by id."""
    found = []
    for seed in SEEDS:
        graph, runs = simulate_random_model(seed, TIMES[seed % 2], BLOCKS if seed % 3 else ONE_TOKEN)
        found += [(graph, tokens) for tokens in runs]
    return found


def compare(token, entry, parent):
    """Return how an entry agrees with what was recorded: right, ambiguous, unexplained or wrong."""
    recorded = [(hop.from_element, hop.via_flow) for hop in token.hops]
    if not entry.hops and recorded:
        return "unexplained"
    for hop, (element, flow) in zip(entry.hops, recorded, strict=True):
        if hop.certainty is Certainty.AMBIGUOUS:
            agrees = hop.from_element in {None, element} and hop.flow_id in {None, flow}
            return "ambiguous" if agrees and entry.parent in {None, parent} else "wrong"
        if (hop.from_element, hop.flow_id) != (element, flow) or entry.parent not in {None, parent}:
            return "wrong"
    return "right" if recorded or entry.parent == parent else "wrong"


def test_no_certain_hop_is_wrong_and_few_are_ambiguous(instances, capsys):
    counts = Counter()
    for graph, tokens in instances:
        entries = reconstruct_entries(hide_flows(tokens), graph)
        if not takes_exits_once(graph, tokens):  # no execution of BPMN: only what is claimed as certain is checked
            outcomes = [
                compare(token, entries[token.token_id], token.parent_token_id)
                for token in tokens.values()
                if entries[token.token_id].hops
            ]
            assert "wrong" not in outcomes
            continue
        counts.update(compare(one, entries[one.token_id], one.parent_token_id) for one in tokens.values() if one.hops)
    total = sum(counts.values())
    shares = ", ".join(f"{number / total:.1%} {outcome}" for outcome, number in counts.items())
    with capsys.disabled():
        sys.stdout.write(f"\nreconstruction of {total} hops: {shares}\n")
    assert counts["wrong"] == 0
    assert counts["unexplained"] <= total * 0.003  # SpiffWorkflow fires some joins with fewer tokens than flows
    assert counts["right"] >= total * 0.94
    assert total > 4000


def test_no_certain_hop_is_wrong_without_scopes(instances):
    counts = Counter()
    for graph, tokens in instances:
        scopes = find_scopes(tokens)
        for visit_id, entry in reconstruct_entries(hide_flows(tokens, scopes="hidden"), graph).items():
            token = tokens[visit_id]
            scope = tokens.get(scopes[visit_id])
            whole = scope if scope is not None and scope.element_id == token.element_id else token
            recorded = [(hop.from_element, hop.via_flow) for hop in whole.hops]
            for hop, expected in zip(entry.hops, recorded, strict=False):
                certain = hop.certainty is not Certainty.AMBIGUOUS
                counts["right" if certain else "ambiguous"] += 1
                if certain:
                    assert (hop.from_element, hop.flow_id) == expected
    assert counts["right"] >= 0.8 * counts.total()


def test_all_visits_without_a_flow_are_explained(instances):
    for graph, tokens in instances:
        if not takes_exits_once(graph, tokens):
            continue
        entries = reconstruct_entries(hide_flows(tokens), graph)
        for token in tokens.values():
            entry = entries[token.token_id]
            if token.hops:
                continue
            assert entry.parent == token.parent_token_id
            assert entry.entered_by is (EnteredBy.START if entry.parent is None else EnteredBy.SCOPE)
