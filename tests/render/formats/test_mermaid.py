"""The way taken as a Mermaid flowchart."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given

from support.builders import at, token
from support.strategies import texts, token_sets
from tokctl.analysis.flow.critical_path import FlowAnalysis
from tokctl.model.definitions import Definition, Element, SequenceFlow
from tokctl.model.visits import Visit
from tokctl.render.formats.mermaid import escape_label, write_mermaid

NOW = at(100)
LABEL = r'"(?:[^\W_]|[ ,?!/()=%\'+.×-]|(?<=[^\W_])_(?=[^\W_])|#\d+;)*"'
NODE = re.compile(rf"n\d+(?:\[{LABEL}\]|\[\[{LABEL}\]\]|\{{{LABEL}\}}|\(\({LABEL}\)\)|\(\(\({LABEL}\)\)\))")
EDGE = re.compile(rf"(n\d+) (?:-->|==>|-\.->|--o)\|{LABEL}\| (n\d+)")
CLASS = re.compile(r"classDef \w+ [\w:#,. -]+|class n\d+(?:,n\d+)* \w+")


def chart(tokens, definition=None):
    """The lines of the flowchart of tokens."""
    flow = FlowAnalysis([Visit.from_token(one, flows=True) for one in tokens], NOW)
    return "".join(write_mermaid(flow, definition)).splitlines()


def step(name, begin, end, *, before=None, via="f", **fields):
    """A token that came from an element."""
    hops = [{"from_element": before, "via_flow": via}] if before else []
    times = {"created_at": at(begin)} | ({"completed_at": at(end)} if end is not None else {"state": "ACTIVE"})
    return token(**{"token_id": f"{name}-{begin}", "element_id": name, "flow_history": hops} | times | fields)


def told(label):
    """A label as Mermaid shows it."""
    return re.sub(r"#(\d+);", lambda match: chr(int(match[1])), label)


@given(texts)
@example('"]; click n0 "javascript:alert(1)"')
@example("end")
@example("#quot;")
@example("#35;")
@example("`**bold**`")
@example("1. first")
@example("- item")
@example("<b>&lt;</b>")
@example("%%{init: {}}%%")
@example("a\nb\tc")
@example("__init__")
def test_a_label_shows_the_text_and_nothing_else(label):
    escaped = escape_label(label)
    assert re.fullmatch(LABEL, f'"{escaped}"')
    shown = " ".join("".join(sign if sign.isprintable() else " " for sign in label).split())
    assert told(escaped) == (shown or "\u200b")


def test_what_looks_like_a_list_is_none():
    assert escape_label("1. first") == "1#46; first"
    assert escape_label("12) twelfth") == "12#41; twelfth"
    assert escape_label("- item") == "#45; item"
    assert escape_label("v1.5 - flow_8_goods") == "v1.5 - flow_8_goods"


@given(token_sets())
def test_whatever_the_names_every_line_is_of_the_grammar(tokens):
    first, *lines = chart(tokens)
    assert first == "flowchart TD"
    nodes = [line for line in lines if NODE.fullmatch(line)]
    edges = [match for line in lines if (match := EDGE.fullmatch(line))]
    classes = [line for line in lines if CLASS.fullmatch(line)]
    assert len(nodes) + len(edges) + len(classes) == len(lines)
    known = {re.match(r"n\d+", line)[0] for line in nodes}
    assert len(known) == len(nodes) >= len({one.element_id for one in tokens})
    assert {end for match in edges for end in match.groups()} <= known


def test_the_way_taken():
    tokens = [
        step("start", 0, 0, element_type="startEvent"),
        step("split", 0, 0, before="start", via="f1", element_type="parallelGateway", parent_token_id="start-0"),
        step("pay", 0, 5, before="split", via="to pay", parent_token_id="split-0", element_name='Pay "now"'),
        step("pack", 0, 9, before="split", via="to pack", parent_token_id="split-0"),
        step("pay", 11, 12, before="pay", via="again", parent_token_id="pay-0", state="FAILED"),
        step("sub", 9, None, before="pack", via="f2", parent_token_id="pack-0", element_type="subProcess"),
        step("in", 10, None, parent_token_id="sub-9", element_type="userTask"),
    ]
    lines = chart(tokens)
    assert lines[1:7] == [
        'n0(("start"))',
        'n1{"split"}',
        'n2["Pay #34;now#34; ×2"]',
        'n3["pack"]',
        'n4[["sub"]]',
        'n5["in"]',
    ]
    assert lines[7:13] == [
        'n0 ==>|"f1 ×1"| n1',
        'n1 -->|"to pay ×1"| n2',
        'n1 ==>|"to pack ×1"| n3',
        'n3 ==>|"f2 ×1"| n4',
        'n4 ==>|"×1"| n5',
        'n2 -->|"again ×1"| n2',
    ]
    assert lines[-2:] == ["class n4,n5 live", "class n2 failed"]


def test_flows_not_taken_are_dotted():
    definition = Definition(
        process_id="p",
        elements={name: Element(name, "task") for name in ("a", "b", "c")}
        | {"end": Element("end", "endEvent", "Done")},
        flows={name: SequenceFlow(name, *name.split("-")) for name in ("a-b", "a-c", "c-end")},
    )
    lines = chart([step("a", 0, 1), step("b", 1, 2, before="a", via="a-b", parent_token_id="a-0")], definition)
    assert lines[1:5] == ['n0["a"]', 'n1["b"]', 'n2["c"]', 'n3((("Done")))']
    assert lines[5:8] == ['n0 ==>|"a-b ×1"| n1', 'n0 -.->|"a-c"| n2', 'n2 -.->|"c-end"| n3']
    assert lines[-1] == "class n2,n3 untaken"


@pytest.mark.parametrize("known", [True, False])
def test_one_token_that_moved_on(known):
    hops = [{"from_element": "a", "via_flow": "f"}, {"from_element": "b", "via_flow": "g"}]
    flows = {"f": SequenceFlow("f", "a", "b"), "g": SequenceFlow("g", "b", "c")}
    moved = token(element_id="c", created_at=at(0), completed_at=at(1), flow_history=hops)
    lines = chart([moved], Definition(process_id="p", flows=flows) if known else None)
    assert lines[1:6] == ['n0["c"]', 'n1["a"]', 'n2["b"]', 'n1 -->|"f ×1"| n2', 'n2 -->|"g ×1"| n0']


def test_a_flow_that_begins_elsewhere_does_not_tell_where_it_led():
    definition = Definition(process_id="p", flows={"f": SequenceFlow("f", "x", "y")})
    lines = chart([step("a", 0, 1), step("b", 1, 2, before="a", parent_token_id="a-0")], definition)
    assert 'n0 ==>|"f ×1"| n1' in lines


def test_a_round_end_leads_into_a_sub_process():
    tokens = [
        step("sub", 0, 9, element_type="subProcess"),
        step("quick", 0, 1, parent_token_id="sub-0"),
        step("slow", 1, 9, parent_token_id="sub-0"),
    ]
    assert chart(tokens)[4:6] == ['n0 --o|"×1"| n1', 'n0 ==>|"×1"| n2']


def test_without_flow_histories_the_links_tell_the_way():
    tokens = [step("a", 0, 1), token("x", element_id="b", parent_token_id="a-0", created_at=at(1), completed_at=at(2))]
    assert chart(tokens)[3] == 'n0 ==>|"×1"| n1'


def test_reconstructed_edges_are_marked_and_ambiguous_ones_are_not_drawn_as_taken():
    names = ("a", "b", "c")
    definition = Definition(
        process_id="p",
        elements={name: Element(name, "task") for name in names},
        flows={
            f"{source}{target}": SequenceFlow(f"{source}{target}", source, target)
            for source, target in ("ab", "ac", "bc")
        },
    )

    def reached(name, begin, source, flow, certainty, **fields):
        history = [{"from_element": source, "via_flow": flow, "certainty": certainty}]
        return step(name, begin, begin + 1, flow_history=history, **fields)

    lines = chart(
        [
            step("a", 0, 1),
            reached("b", 1, "a", "ab", "reconstructed"),
            reached("c", 2, None, None, "ambiguous", parent_token_id="b-1"),
        ],
        definition,
    )
    edges = [line for line in lines if "|" in line]
    assert [line.split("|")[1] for line in edges] == ['"ab ≈×1"', '"ac ?"', '"bc ?"']
    assert [" -.->" in line for line in edges] == [False, True, True]
