"""Events."""

from __future__ import annotations

import pytest

from support.diagrams import SVG, classes, document, draw_document, groups, shape

KINDS = (
    "message",
    "timer",
    "error",
    "escalation",
    "cancel",
    "compensate",
    "conditional",
    "link",
    "signal",
    "terminate",
)


def draw_event(xml):
    return groups(draw_document(document(f'<task id="t"/>{xml}', shape("a", width=36, height=36))))["a"]


@pytest.mark.parametrize(
    ("xml", "circles"),
    [
        ('<startEvent id="a"/>', ["shape"]),
        ('<startEvent id="a" isInterrupting="false"/>', ["shape dashed"]),
        ('<intermediateCatchEvent id="a"/>', ["shape", "line"]),
        ('<boundaryEvent id="a" attachedToRef="t"/>', ["shape", "line"]),
        ('<boundaryEvent id="a" attachedToRef="t" cancelActivity="false"/>', ["shape dashed", "line dashed"]),
        ('<endEvent id="a"/>', ["shape thick"]),
    ],
)
def test_circles(xml, circles):
    assert [circle.get("class") for circle in draw_event(xml).iter(f"{SVG}circle")] == circles


@pytest.mark.parametrize("kind", KINDS)
def test_signs_are_hollow_if_caught_and_filled_if_thrown(kind):
    definition = f"<{kind}EventDefinition/>"
    caught = classes(draw_event(f'<intermediateCatchEvent id="a">{definition}</intermediateCatchEvent>'))[2:]
    thrown = classes(draw_event(f'<intermediateThrowEvent id="a">{definition}</intermediateThrowEvent>'))[2:]
    assert caught[0] == ("solid" if kind == "terminate" else "line")
    assert thrown[0] == ("line" if kind in {"timer", "conditional"} else "solid")


def test_each_kind_has_its_own_sign():
    several = "<signalEventDefinition/><messageEventDefinition/>"
    inner = [f"<{kind}EventDefinition/>" for kind in KINDS] + [several]
    events = [f'<intermediateCatchEvent id="a">{one}</intermediateCatchEvent>' for one in inner]
    events.append(f'<intermediateCatchEvent id="a" parallelMultiple="true">{several}</intermediateCatchEvent>')
    signs = {"".join(path.get("d", "") for path in draw_event(one).iter(f"{SVG}path")) for one in events}
    assert len(signs) == len(events)
