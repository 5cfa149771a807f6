"""The rules of reconstruction, one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from support.random_models import HEAD
from tokctl.bpmn.graph import ProcessGraph
from tokctl.bpmn.parser import read_definitions
from tokctl.bpmn.reconstruction import Certainty, EngineVisit, EnteredBy, VisitHop, reconstruct_entries

T0 = datetime(2025, 1, 11, 10, tzinfo=UTC)


def model(content):
    return ProcessGraph(read_definitions(f'{HEAD}<process id="p">{content}</process></definitions>')[0])


def flow(name, source, target, inner=""):
    return f'<sequenceFlow id="{name}" sourceRef="{source}" targetRef="{target}">{inner}</sequenceFlow>'


def visit(name, start, end=None, element=None, **fields):
    """A visit by its name, such as ``task2`` of ``task``; times are seconds."""
    return EngineVisit(
        visit_id=name,
        element_id=element or name.rstrip("0123456789"),
        started_at=T0 + timedelta(seconds=start),
        ended_at=None if end is None else T0 + timedelta(seconds=end),
        **fields,
    )


def reconstruct(graph, *visits):
    return reconstruct_entries(visits, graph)


def summarize(entries):
    """Where each visit came from, the flow, and how certain that is; or what else led to it."""
    return {
        visit_id: (hop.from_visit, hop.flow_id, hop.certainty.value)
        if (hop := next(iter(entry.hops), None))
        else (entry.parent, entry.entered_by.value)
        for visit_id, entry in entries.items()
    }


BRANCHES = model(
    '<startEvent id="start"/><parallelGateway id="split"/><task id="a"/><task id="b"/><exclusiveGateway id="merge"/>'
    '<task id="c"/>'
    + flow("f1", "start", "split")
    + flow("f2", "split", "a")
    + flow("f3", "split", "b")
    + flow("f4", "a", "merge")
    + flow("f5", "b", "merge")
    + flow("f6", "merge", "c")
)
BRANCHES_BEGIN = (visit("start", 0, 0), visit("split", 0, 0))


def test_tokens_that_come_one_after_the_other_are_told_apart():
    entries = reconstruct(
        BRANCHES,
        *BRANCHES_BEGIN,
        visit("a", 0, 1),
        visit("b", 0, 2),
        visit("merge1", 1, 1),
        visit("c1", 1, 5),
        visit("merge2", 2, 2),
        visit("c2", 2),
    )
    assert summarize(entries) == {
        "start": (None, "start"),
        "split": ("start", "f1", "reconstructed"),
        "a": ("split", "f2", "reconstructed"),
        "b": ("split", "f3", "reconstructed"),
        "merge1": ("a", "f4", "reconstructed"),
        "c1": ("merge1", "f6", "reconstructed"),
        "merge2": ("b", "f5", "reconstructed"),
        "c2": ("merge2", "f6", "reconstructed"),
    }


def test_tokens_that_come_at_the_same_time_are_ambiguous_and_only_what_is_certain_is_told():
    entries = reconstruct(
        BRANCHES,
        *BRANCHES_BEGIN,
        visit("a", 0, 1),
        visit("b", 0, 1),
        visit("merge1", 1, 1),
        visit("merge2", 1, 1),
        visit("c1", 1),
        visit("c2", 1),
    )
    assert entries["merge1"].hops == entries["merge2"].hops
    assert entries["merge1"].hops == (VisitHop(None, None, None, T0 + timedelta(seconds=1), Certainty.AMBIGUOUS),)
    assert entries["c1"].hops == (VisitHop(None, "merge", "f6", T0 + timedelta(seconds=1), Certainty.AMBIGUOUS),)
    assert {entry.parent for name, entry in entries.items() if name[0] in "mc"} == {None}
    assert entries["c1"].entered_by is EnteredBy.FLOW


def test_what_comes_later_can_make_an_earlier_hop_certain():
    graph = model(
        '<startEvent id="start"/><parallelGateway id="split"/><exclusiveGateway id="g"/><exclusiveGateway id="h"/>'
        '<task id="x"/><task id="y"/>'
        + flow("f1", "start", "split")
        + flow("f2", "split", "g")
        + flow("f3", "split", "h")
        + flow("gx", "g", "x")
        + flow("hx", "h", "x")
        + flow("hy", "h", "y")
    )
    begin = (visit("start", 0, 0), visit("split", 0, 0), visit("g", 0, 1), visit("h", 0, 1), visit("x", 1))
    assert summarize(reconstruct(graph, *begin))["x"] == (None, None, "ambiguous")
    later = summarize(reconstruct(graph, *begin, visit("y", 2)))
    assert (later["x"], later["y"]) == (("g", "gx", "reconstructed"), ("h", "hy", "reconstructed"))


def test_of_two_flows_between_the_same_elements_none_is_certain():
    graph = model(
        '<startEvent id="start"/><exclusiveGateway id="g"/><task id="x"/>'
        + flow("f", "start", "g")
        + flow("x1", "g", "x")
        + flow("x2", "g", "x")
    )
    entries = reconstruct(graph, visit("start", 0, 0), visit("g", 0, 0), visit("x", 0))
    assert entries["x"].hops[0] == VisitHop("g", "g", None, T0, Certainty.AMBIGUOUS)
    assert entries["x"].parent == "g"


LINE = '<startEvent id="start"/><task id="a"/>{}' + flow("f1", "start", "a") + flow("f2", "a", "b")


@pytest.mark.parametrize(
    ("task", "first"),
    [
        ('<task id="b"/>', ("a", "f2", "reconstructed")),
        ('<task id="b" x:asyncBefore="true"/>', (None, None, "ambiguous")),
    ],
)
def test_a_second_visit_is_a_modification_and_casts_doubt_on_a_first_one_that_may_have_waited(task, first):
    graph = model(LINE.format(task.replace("<task", '<task xmlns:x="urn:x"')))
    entries = reconstruct(graph, visit("start", 0, 0), visit("a", 0, 1), visit("b1", 1, 2), visit("b2", 5))
    assert summarize(entries)["b1"] == first
    assert summarize(entries)["b2"] == (None, "modification")


def test_without_a_start_an_unexplained_visit_is_not_called_a_modification():
    graph = model(LINE.format('<task id="b"/>'))
    assert summarize(reconstruct(graph, visit("b", 0))) == {"b": (None, "unknown")}
    assert summarize(reconstruct(graph, visit("other", 0))) == {"other": (None, "unknown")}
    assert summarize(reconstruct(ProcessGraph(None), visit("b", 0))) == {"b": (None, "unknown")}


def test_a_cancelled_visit_leads_nowhere_but_an_event_based_gateway_does():
    graph = model(
        '<startEvent id="start"/><eventBasedGateway id="which"/><task id="a"/><task id="b"/>'
        '<intermediateCatchEvent id="e"/><intermediateCatchEvent id="g"/>'
        + flow("f1", "start", "which")
        + flow("f2", "which", "e")
        + flow("f3", "which", "g")
        + flow("f4", "e", "a")
        + flow("f5", "a", "b")
    )
    entries = reconstruct(
        graph,
        visit("start", 0, 0),
        visit("which", 0, 3, cancelled=True),
        visit("e", 3, 3),
        visit("a", 3, 4, cancelled=True),
        visit("b", 4),
    )
    assert summarize(entries)["e"] == ("which", "f2", "reconstructed")
    assert summarize(entries)["b"] == (None, "modification")


def test_the_token_that_completes_a_parallel_join_leaves_it():
    graph = model(
        '<startEvent id="start"/><parallelGateway id="split"/><task id="a"/><task id="b"/><parallelGateway id="join"/>'
        '<task id="c"/>'
        + flow("f1", "start", "split")
        + flow("f2", "split", "a")
        + flow("f3", "split", "b")
        + flow("f4", "a", "join")
        + flow("f5", "b", "join")
        + flow("f6", "join", "c")
    )
    begin = (*BRANCHES_BEGIN, visit("a", 0, 1), visit("b", 0, 3))
    open_till_then = reconstruct(graph, *begin, visit("join1", 1, 3), visit("join2", 3, 3), visit("c", 3))
    ended_at_arrival = reconstruct(graph, *begin, visit("join1", 1, 1), visit("join2", 3, 3), visit("c", 3))
    for entries in (open_till_then, ended_at_arrival):
        found = summarize(entries)
        assert found["join1"] == ("a", "f4", "reconstructed")
        assert found["join2"] == ("b", "f5", "reconstructed")
        assert found["c"] == ("join2", "f6", "reconstructed")


def test_the_last_token_leaves_an_inclusive_join_even_if_the_visits_end_one_after_the_other():
    graph = model(
        '<startEvent id="start"/><parallelGateway id="split"/><task id="a"/><task id="b"/><inclusiveGateway id="join"/>'
        '<task id="c"/>'
        + flow("f1", "start", "split")
        + flow("f2", "split", "a")
        + flow("f3", "split", "b")
        + flow("f4", "a", "join")
        + flow("f5", "b", "join")
        + flow("f6", "join", "c")
    )
    begin = (*BRANCHES_BEGIN, visit("a", 0, 1), visit("b", 0, 3))
    visits = (*begin, visit("join1", 1, 3), visit("join2", 3, 3.001), visit("c1", 3.001, 4))
    found = summarize(reconstruct(graph, *visits, visit("c2", 9)))
    assert found["c1"] == ("join2", "f6", "reconstructed")
    assert found["c2"] == (None, "unknown")  # another token may have left the join


def test_a_branch_that_is_not_always_taken_is_certain_only_if_it_begins_at_once():
    graph = model(
        '<startEvent id="start"/><inclusiveGateway id="g"/><task id="a"/><task id="b"/>'
        + flow("f1", "start", "g")
        + flow("f2", "g", "a")
        + flow("f3", "g", "b")
    )
    entries = reconstruct(graph, visit("start", 0, 0), visit("g", 0, 0), visit("a", 0), visit("b", 60))
    assert summarize(entries)["a"] == ("g", "f2", "reconstructed")
    assert summarize(entries)["b"] == (None, None, "ambiguous")
    assert entries["b"].entered_by is EnteredBy.UNKNOWN


def test_scopes_are_kept_apart_and_derived_where_the_engine_does_not_tell():
    graph = model(
        '<startEvent id="start"/><subProcess id="sub"><startEvent id="s"/><task id="t"/>'
        + flow("f2", "s", "t")
        + "</subProcess>"
        + flow("f1", "start", "sub")
    )
    begin = (visit("start", 0, 0), visit("sub", 0))
    told = reconstruct(graph, *begin, visit("s", 0, 1, scope_id="sub"), visit("t", 1, scope_id="sub"))
    derived = reconstruct(graph, *begin, visit("s", 0, 1, scope_id="\0unknown"), visit("t", 1, scope_id="\0unknown"))
    elsewhere = reconstruct(graph, *begin, visit("s", 0, 1, scope_id="sub"), visit("t", 1, scope_id="other"))
    assert summarize(told) == summarize(derived)
    assert summarize(told)["s"] == ("sub", "scope")
    assert summarize(told)["t"] == ("s", "f2", "reconstructed")
    assert summarize(elsewhere)["t"] == (None, "modification")


def test_instances_of_a_multi_instance_activity_share_a_hop_if_they_have_no_visit_in_common():
    graph = model(
        '<startEvent id="start"/><task id="each"><multiInstanceLoopCharacteristics/></task><task id="after"/>'
        + flow("f1", "start", "each")
        + flow("f2", "each", "after")
    )
    entries = summarize(
        reconstruct(
            graph,
            visit("start", 0, 0),
            visit("each1", 0, 2),
            visit("each2", 0, 3),
            visit("each3", 0, 1),
            visit("after", 3),
        )
    )
    assert {entries[f"each{number}"] for number in (1, 2, 3)} == {("start", "f1", "reconstructed")}
    assert entries["after"] == ("each2", "f2", "reconstructed")


def test_events_without_a_flow_are_explained():
    graph = model(
        '<startEvent id="start"/><task id="a"/><boundaryEvent id="late" attachedToRef="a"/>'
        '<boundaryEvent id="again" attachedToRef="a" cancelActivity="false"/>'
        '<subProcess id="abort" triggeredByEvent="true"><startEvent id="s"><messageEventDefinition/></startEvent>'
        "</subProcess>" + flow("f1", "start", "a")
    )
    entries = reconstruct(
        graph,
        visit("start", 0, 0),
        visit("a", 0, 5, cancelled=True),
        visit("again", 3, 3),
        visit("late", 5, 5),
        visit("abort", 6),
        visit("s", 6, 6, scope_id="abort"),
    )
    assert [entries[name].parent for name in ("again", "late", "abort", "s")] == ["a", "a", None, "abort"]
    assert [entries[name].entered_by.value for name in ("again", "late", "abort", "s")] == [
        "boundary_event",
        "boundary_event",
        "event",
        "scope",
    ]


def test_a_boundary_event_of_one_of_two_visits_names_none():
    graph = model(
        '<startEvent id="start"/><task id="a"/><boundaryEvent id="late" attachedToRef="a" cancelActivity="false"/>'
        + flow("f1", "start", "a")
    )
    entries = reconstruct(graph, visit("start", 0, 0), visit("a1", 0), visit("a2", 0), visit("late", 1, 1))
    assert entries["late"].parent is None
    assert entries["late"].hops[0].from_element == "a"


def test_a_message_starts_an_instance_once():
    graph = model(
        '<startEvent id="start"><messageEventDefinition/></startEvent><task id="a"/>' + flow("f", "start", "a")
    )
    entries = summarize(
        reconstruct(graph, visit("start1", 0, 0), visit("a1", 0, 1), visit("start2", 9, 9), visit("a2", 9))
    )
    assert (entries["start1"], entries["start2"]) == ((None, "event"), (None, "modification"))
    assert (entries["a1"], entries["a2"]) == (("start1", "f", "reconstructed"), ("start2", "f", "reconstructed"))


LINKS = (
    '<startEvent id="start"/><intermediateThrowEvent id="to_x"><linkEventDefinition name="x"/></intermediateThrowEvent>'
    '<intermediateCatchEvent id="x"><linkEventDefinition name="x"/></intermediateCatchEvent>'
    '<intermediateCatchEvent id="y"><linkEventDefinition name="y"/></intermediateCatchEvent>'
    + flow("f", "start", "to_x")
)


def test_links_are_followed_by_their_names_whether_or_not_the_throwing_event_is_recorded():
    graph = model(LINKS)
    recorded = summarize(reconstruct(graph, visit("start", 0, 0), visit("to_x", 0, 0), visit("x", 0)))
    skipped = summarize(reconstruct(graph, visit("start", 0, 0), visit("x", 0)))
    assert recorded["x"] == ("to_x", None, "reconstructed")
    assert skipped["x"] == ("start", "f", "reconstructed")
    assert graph.linked_elements == {"x"}


def test_a_visit_of_another_model_that_began_anew_is_a_migration():
    graph = model(LINE.format('<task id="b"/>'))
    entries = reconstruct_entries(
        [
            visit("start", 0, 0, definition="v1"),
            visit("a1", 0, 2, definition="v1", cancelled=True),
            visit("a2", 2, definition="v2"),
        ],
        {"v1": graph, "v2": graph},
    )
    assert summarize(entries)["a2"] == ("a1", "migration")


def test_loops_of_thousands_of_visits():
    graph = model('<startEvent id="start"/><task id="a"/>' + flow("f", "start", "a") + flow("again", "a", "a"))
    loop = [visit(f"a{number}", number / 1000, (number + 1) / 1000) for number in range(10_000)]
    entries = reconstruct_entries([visit("start", 0, 0), *loop], graph)
    assert {entry.hops[0].certainty for name, entry in entries.items() if name != "start"} == {Certainty.RECONSTRUCTED}
    at_once = [visit(f"a{number}", 0, 1) for number in range(2_000)] + [
        visit(f"a{number}", 1) for number in range(2_000, 3_000)
    ]
    entries = reconstruct_entries([visit("start", 0, 0), *at_once], graph)
    assert {hop.certainty for entry in list(entries.values())[-1000:] for hop in entry.hops} == {Certainty.AMBIGUOUS}
