"""What happened on a model, over one instance and over several."""

from __future__ import annotations

from support.builders import at, token
from tokctl.analysis.flow.critical_path import FlowAnalysis
from tokctl.analysis.flow.model_activity import ModelActivity
from tokctl.bpmn.graph import ProcessGraph
from tokctl.model.definitions import Definition, Element, SequenceFlow
from tokctl.model.visits import Visit

FLOWS = {"ab": ("a", "b"), "ac": ("a", "c"), "bd": ("b", "d"), "cd": ("c", "d"), "cd2": ("c", "d")}
GRAPH = ProcessGraph(
    Definition(
        process_id="p",
        elements={key: Element(id=key, type="task") for key in "abcd"},
        flows={key: SequenceFlow(id=key, source=one, target=other) for key, (one, other) in FLOWS.items()},
    )
)


def step(element, begin, end, *hops, **fields):
    """A token at an element from one second to another, that came over hops (element, flow[, certainty])."""
    names = ("from_element", "via_flow", "certainty")
    history = [{name: value for name, value in zip(names, hop, strict=False) if value is not None} for hop in hops]
    ended = {"completed_at": at(end)} if end is not None else {"state": "FAILED", "updated_at": at(begin)}
    return token(
        **{"token_id": f"{element}{begin}", "element_id": element, "created_at": at(begin), "flow_history": history}
        | ended
        | fields
    )


def activity(*instances, critical_path=False):
    found = ModelActivity(GRAPH)
    for tokens in instances:
        visits = [Visit.from_token(one, flows=True) for one in tokens]
        found.add(FlowAnalysis(visits, at(100)), critical_path=critical_path)
    return found


FIRST = [step("a", 0, 2), step("b", 2, 5, ("a", "ab")), step("d", 5, None, ("b", "bd"))]


def test_visits_live_tokens_time_and_flows_are_added_up():
    found = activity(FIRST, FIRST)
    assert found.instances == 2
    assert found.visits == {"a": 2, "b": 2, "d": 2}
    assert found.flows == {"ab": 2, "bd": 2}
    assert {key: dict(states) for key, states in found.live.items()} == {"d": {"FAILED": 2}}
    assert found.spent_ms == {"a": 4000, "b": 6000, "d": 190_000}
    assert not found.reconstructed | found.uncertain | found.critical_elements | found.critical_flows


def test_the_critical_path_is_that_of_the_flow_analysis():
    aside = step("c", 2, 3, ("a", "ac"))
    found = activity([*FIRST, aside], critical_path=True)
    assert found.critical_elements == {"a", "b", "d"}
    assert found.critical_flows == {"ab", "bd"}


def test_a_token_without_flow_history_took_the_only_flow_between_its_parent_and_itself():
    found = activity([step("a", 0, 2), step("b", 2, 5, parent_token_id="a0")])
    assert found.flows == {"ab": 1}
    assert found.reconstructed == {"ab"}


def test_one_of_several_flows_is_not_guessed():
    found = activity([step("c", 0, 2), step("d", 2, 5, parent_token_id="c0")])
    assert found.flows == {}
    assert found.reconstructed == set()


def test_reconstructed_and_ambiguous_flows_are_told_apart():
    found = activity([step("b", 2, 5, ("a", "ab", "reconstructed")), step("d", 5, 6, (None, None, "ambiguous"))])
    assert found.flows == {"ab": 1}
    assert found.reconstructed == {"ab"}
    assert found.uncertain == {"bd", "cd", "cd2"}


def test_elements_that_a_token_only_passed_are_visited():
    found = activity([step("d", 0, 9, (None, None), ("a", "ab"), ("b", "bd"))])
    assert found.visits == {"d": 1, "a": 1, "b": 1}
    assert found.flows == {"ab": 1, "bd": 1}


def test_tokens_that_the_model_does_not_have_are_counted():
    assert activity([step("z", 0, 2), step("z", 3, 4)]).unknown == {"z": 2}
