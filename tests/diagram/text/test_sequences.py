"""Straight sequences in which there is nothing to see."""

from __future__ import annotations

from itertools import pairwise

import pytest

from support.builders import at, token
from support.diagrams import document
from support.drawn_text import draw, find_activity, text_of

IDS = "abcdefgh"


def chain(*more: str) -> str:
    """A sequence of tasks from a to h."""
    tasks = "".join(f'<task id="{one}" name="Task {one}"/>' for one in IDS)
    flows = (f'<sequenceFlow id="{one}{other}" sourceRef="{one}" targetRef="{other}"/>' for one, other in pairwise(IDS))
    return document(tasks + "".join(flows) + "".join(more))


def sequences(drawing):
    return {key: "".join(one.id for one in sequence) for key, sequence in drawing.sequences.items()}


def test_a_sequence_is_one_box():
    drawing = draw(chain(), folded=True)
    assert sequences(drawing) == {"b": "bcdefg"}
    assert text_of(drawing).splitlines() == [
        "┌─task───┐   ┌─6 elements──┐   ┌─task───┐",
        "│ Task a ├──▶│ Task b      ├──▶│ Task h │",
        "└────────┘   │ … Task g    │   └────────┘",
        "             └─────────────┘",
    ]
    assert drawing.places["d"] == drawing.places["b"]
    assert not draw(chain()).sequences


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ('<boundaryEvent id="x" attachedToRef="e"/>', {"b": "bcd"}),
        ('<task id="x"/><sequenceFlow id="y" sourceRef="d" targetRef="x"/>', {"e": "efg"}),
        ('<sequenceFlow id="y" sourceRef="h" targetRef="d"/>', {"e": "efgh"}),
    ],
    ids=["boundary event", "branch", "loop"],
)
def test_what_ends_a_sequence(more, expected):
    assert sequences(draw(chain(more), folded=True)) == expected


def test_a_named_flow_ends_a_sequence():
    xml = chain().replace('id="de"', 'id="de" name="if paid"')
    drawing = draw(xml, folded=True)
    assert sequences(drawing) == {"b": "bcd", "e": "efg"}
    assert "if paid" in text_of(drawing)


def test_live_tokens_and_visits_end_a_sequence():
    xml = chain()
    about = {"process_id": "p", "instance_id": "i"}
    tokens = [
        token(f"t{n}", element_id=one, created_at=at(n), completed_at=at(n + 1), **about)
        for n, one in enumerate("abcd")
    ]
    tokens.append(token("t4", element_id="e", created_at=at(4), state="FAILED", **about))
    drawing = draw(xml, folded=True, activity=find_activity(xml, tokens))
    assert "e" not in "".join(sequences(drawing).values())
    assert "FAILED:1" in text_of(drawing)
