"""The process graph: neighbours, nesting, reachability, and paths compared with all simple paths of small graphs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokctl.bpmn.graph import ProcessGraph
from tokctl.model.definitions import Definition, Element, SequenceFlow


def graph(flows: str, **elements: tuple[str, dict[str, str]] | str) -> ProcessGraph:
    """Build a graph from ``a>b b>c``; elements are tasks unless given as a type, or a type with further fields."""
    pairs = [pair.split(">") for pair in flows.split()]
    known = {name: Element(name, "task") for pair in pairs for name in pair}
    for name, given_ in elements.items():
        kind, fields = (given_, {}) if isinstance(given_, str) else given_
        known[name] = Element(name, kind, **fields)
    found = {f"{a}-{b}": SequenceFlow(f"{a}-{b}", a, b) for a, b in pairs}
    return ProcessGraph(Definition(process_id="p", elements=known, flows=found))


def certain(known: ProcessGraph, source: str, target: str) -> list[str]:
    return [flow.id for flow in known.find_certain_flows(source, target)]


def test_without_a_definition_the_graph_is_empty():
    empty = ProcessGraph(None)
    assert (empty.elements, empty.flows, empty.joins, empty.process_id) == ({}, {}, {}, None)
    assert empty.outgoing_flows("a") == empty.flows_between("a", "b") == empty.successors("a") == []
    assert empty.find_certain_flows("a", "b") == ()


def test_neighbours_come_from_the_flows_whatever_the_elements_list():
    elements = {"a": Element("a", "TASK", outgoing=("gone",)), "b": Element("b", "parallelGateway", incoming=())}
    flows = {key: SequenceFlow(key, "a", "b") for key in ("f1", "f2")} | {"lost": SequenceFlow("lost", "a", "nowhere")}
    known = ProcessGraph(Definition(process_id="p", elements=elements, flows=flows))
    assert known.elements["a"].outgoing == known.elements["b"].incoming == ("f1", "f2")
    assert known.elements["a"].type == "task"
    assert [flow.id for flow in known.flows_between("a", "b")] == ["f1", "f2"]
    assert known.flows_between("b", "a") == []
    assert known.joins.keys() == {"b"}
    assert "lost" not in known.flows


def test_boundary_events_and_links_lead_on_without_a_flow():
    known = graph(
        "a>b late>c",
        late=("boundaryEvent", {"attached_to": "a"}),
        throw="intermediateThrowEvent",
        catch="intermediateCatchEvent",
        inner=("intermediateCatchEvent", {"parent": "sub"}),
        sub="subProcess",
    )
    assert known.successors("a") == ["b", "late"]
    assert [event.id for event in known.boundary_events("a")] == ["late"]
    assert known.successors("throw") == ["catch"]  # links do not cross levels
    assert known.predecessors("catch") == ["throw"]
    assert known.predecessors("late") == ["a"]


def test_sub_processes_contain_elements():
    known = graph("a>sub sub>b x>y", x=("task", {"parent": "sub"}), y=("task", {"parent": "sub"}), sub="subProcess")
    assert known.containers == {"sub"}
    assert certain(known, "a", "y") == ["a-sub", "x-y"]
    assert certain(known, "x", "b") == ["sub-b"]  # how the inside was left is not certain
    assert certain(known, "b", "a") == []


def test_upstream_of_a_join_does_not_lead_through_it():
    known = graph("a>j b>j j>c c>b", j="parallelGateway")
    assert known.upstream_elements("j", "a-j") == {"a"}
    assert known.upstream_elements("j", "b-j") == {"b", "c"}


@pytest.mark.parametrize(
    ("live", "arrived", "reachable"),
    [
        ({"a"}, set(), {"a-j"}),  # the join lacks the other flow
        ({"a"}, {"b-j"}, {"a-j", "j-c"}),
        ({"a", "b"}, set(), {"a-j", "b-j", "j-c"}),
        ({"j"}, set(), {"j-c"}),  # a token that the join has let through
    ],
)
def test_a_parallel_join_passes_only_once_all_flows_are_there(live, arrived, reachable):
    known = graph("a>j b>j j>c", j="parallelGateway")
    assert known.find_reachable_flows(None, frozenset(live), frozenset(arrived)) == reachable


def test_what_has_no_incoming_flow_can_start_at_any_time_in_an_ad_hoc_sub_process():
    known = graph("x>y", x=("task", {"parent": "sub"}), y=("task", {"parent": "sub"}), sub="adHocSubProcess")
    assert known.find_reachable_flows("sub", frozenset(), frozenset()) == {"x-y"}
    assert known.find_reachable_flows(None, frozenset(), frozenset()) == frozenset()


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("abcde")), max_size=9, unique=True))
def test_certain_flows_are_those_on_every_path(pairs):
    known = graph(" ".join(f"{a}>{b}" for a, b in pairs), a="task", e="task")

    def paths(here: str, taken: tuple[str, ...]) -> list[tuple[str, ...]]:
        found = []
        for flow in known.outgoing_flows(here):
            if flow.id not in taken:
                way = (*taken, flow.id)
                found += [way] if flow.target == "e" else paths(flow.target, way)
        return found

    every = paths("a", ())
    expected = set.intersection(*map(set, every)) if every else set()
    assert set(certain(known, "a", "e")) == expected
    if every:
        assert certain(known, "a", "e") == [flow for flow in min(every, key=len) if flow in expected]
