"""Reconstruction from the recorded answers of real engines."""

from __future__ import annotations

from collections import Counter

import pytest

from support.engine_visits import list_cases, read_camunda_models, read_camunda_visits, read_flowable_case
from tokctl.bpmn.reconstruction import Certainty, EnteredBy, reconstruct_entries

CAMUNDA = ("camunda7", "operaton")
FLOWLESS = {  # visits that no flow led to, other than starts and first visits in a scope, by case and element
    ("nested9", "late"): (EnteredBy.BOUNDARY_EVENT, "prepare"),
    ("waiting3", "bad"): (EnteredBy.BOUNDARY_EVENT, "each"),
    ("trip0", "cancel_hotel"): (EnteredBy.COMPENSATION, "back"),
    ("order12", "approve"): (EnteredBy.MODIFICATION, None),
}


def reconstruct_camunda(engine, case):
    visits = read_camunda_visits(engine, case)
    return {visit.visit_id: visit for visit in visits}, reconstruct_entries(visits, read_camunda_models(engine))


@pytest.mark.parametrize("engine", CAMUNDA)
def test_every_visit_of_camunda_is_explained(engine):
    explained = {}
    for case in list_cases(engine):
        visits, entries = reconstruct_camunda(engine, case)
        for visit in visits.values():
            entry = entries[visit.visit_id]
            parent = visits.get(entry.parent)
            if entry.entered_by is EnteredBy.FLOW:
                (hop,) = entry.hops
                assert hop.certainty is Certainty.RECONSTRUCTED
                assert (hop.from_visit, hop.from_element) == (entry.parent, parent.element_id)
            elif entry.entered_by is EnteredBy.START:
                assert (visit.element_id, parent) == ("start", None)
            elif entry.entered_by is EnteredBy.SCOPE:
                assert parent.visit_id == visit.scope_id
            else:
                explained[case, visit.element_id] = entry.entered_by, parent and parent.element_id
    assert explained == FLOWLESS


@pytest.mark.parametrize("engine", CAMUNDA)
def test_a_loop_within_a_millisecond_is_followed_in_order(engine):
    visits, entries = reconstruct_camunda(engine, "waiting3")
    element = {visit_id: visit.element_id for visit_id, visit in visits.items()}
    way = [(element.get(entry.parent), element[visit_id]) for visit_id, entry in entries.items()]
    assert way[2:10] == [
        ("which", "paid"),
        ("paid", "again"),
        ("again", "enough"),
        ("enough", "again"),
        ("again", "enough"),
        ("enough", "again"),
        ("again", "enough"),
        ("enough", "each"),
    ]
    assert len({entry.parent for entry in list(entries.values())[2:10]}) == 8  # each visit is left once


@pytest.mark.parametrize("engine", CAMUNDA)
def test_the_flow_into_a_visit_that_migrated_is_that_of_the_old_model(engine):
    visits, entries = reconstruct_camunda(engine, "order14")
    (pay,) = [visit for visit in visits.values() if visit.element_id == "pay"]
    models = read_camunda_models(engine)
    (hop,) = entries[pay.visit_id].hops
    (split,) = [visit for visit in visits.values() if visit.element_id == "split"]
    assert pay.definition != split.definition
    assert (hop.from_visit, hop.flow_id) == (split.visit_id, "f_split_pay")
    assert hop.flow_id in models[split.definition].flows


def test_the_flows_that_flowable_recorded_are_found_from_its_visits():
    counts = Counter()
    for case in list_cases("flowable"):
        graph, visits, recorded = read_flowable_case(case)
        entries = reconstruct_entries(visits, graph)
        for visit in visits:
            entry = entries[visit.visit_id]
            flows = [hop.flow_id for hop in entry.hops if hop.flow_id is not None]
            if visit.visit_id in recorded:
                counts["right" if flows == [recorded[visit.visit_id]] else "wrong"] += 1
                assert entry.hops[0].certainty is Certainty.RECONSTRUCTED
            elif graph.details(visit.element_id).loop is None:  # only one instance of several has a recorded flow
                assert flows == []
    assert counts == {"right": counts.total()}
    assert counts.total() == 51


def test_recorded_flows_are_given_as_recorded():
    graph, visits, recorded = read_flowable_case("waiting3")
    with_flows = [
        type(visit)(**{**{name: getattr(visit, name) for name in visit.__struct_fields__}, "entered_flows": flows})
        for visit in visits
        for flows in [(recorded[visit.visit_id],) if visit.visit_id in recorded else ()]
    ]
    entries = reconstruct_entries(with_flows, graph)
    assert {visit_id: entry.hops[0].flow_id for visit_id, entry in entries.items() if visit_id in recorded} == recorded
    assert {hop.certainty for visit_id in recorded for hop in entries[visit_id].hops} == {Certainty.RECORDED}
    assert all(entries[visit_id].parent is not None for visit_id in recorded)
