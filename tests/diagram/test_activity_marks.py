"""What happened on a model, in its picture."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from support.builders import at, token
from support.diagrams import SVG, document, edge, groups, shape
from tokctl.analysis.flow.critical_path import FlowAnalysis
from tokctl.analysis.flow.model_activity import ModelActivity
from tokctl.bpmn.graph import ProcessGraph
from tokctl.bpmn.parser import read_definitions
from tokctl.diagram.activity_marks import HEAT_STEPS, Heat
from tokctl.diagram.drawing import draw
from tokctl.diagram.icons import STATES, UNKNOWN_STATE
from tokctl.diagram.model import convert_model
from tokctl.model.visits import Visit

XML = document(
    '<task id="a"/><subProcess id="s"><task id="b"/></subProcess><task id="c"/>'
    '<sequenceFlow id="as" sourceRef="a" targetRef="s"/><sequenceFlow id="sc" sourceRef="s" targetRef="c"/>',
    shape("a") + shape("s", 200, more='isExpanded="false"') + shape("c", 400)
    + edge("as", (100, 40), (200, 40)) + edge("sc", (300, 40), (400, 40)),
)  # fmt: skip


def picture(*instances, heat=None, critical_path=False, xml=XML):
    (definition,) = read_definitions(xml)
    model, activity = convert_model(definition), ModelActivity(ProcessGraph(definition))
    for tokens in instances:
        visits = [Visit.from_token(one, flows=True) for one in tokens]
        activity.add(FlowAnalysis(visits, at(100)), critical_path=critical_path)
    return ET.fromstring(draw(model.planes, model.elements, activity=activity, heat=heat).svg)


def step(element, begin, end=None, before=None, via=None, state="ACTIVE"):
    history = [{"from_element": before, "via_flow": via}] if before else []
    ended = {"completed_at": at(end)} if end is not None else {"state": state}
    return token(f"{element}{begin}", element_id=element, created_at=at(begin), flow_history=history, **ended)


def kinds(picture):
    return {key: set(group.get("class").split()) for key, group in groups(picture).items()}


def counts(picture):
    return [text[0].text for text in picture.iter(f"{SVG}text") if text.get("class") == "count"]


def badges(picture):
    """The class, the sign and the text of each badge that is not in the legend."""
    found = [group for group in picture.iter(f"{SVG}g") if (group.get("class") or "").startswith("badge")]
    parts = [(group.get("class").split()[1], group[1].get("d"), group[2][0].text) for group in found]
    return [part for part in parts if part[2].isdigit()]


def test_visited_elements_taken_flows_and_the_rest_can_be_told_apart():
    found = kinds(picture([step("a", 0, 2), step("s", 2, None, "a", "as")]))
    assert found == {
        "a": {"element", "visited"},
        "s": {"element", "visited", "live", "state-ACTIVE"},
        "c": {"element", "unreached"},
        "as": {"edge", "taken"},
        "sc": {"edge", "unreached"},
    }


def test_an_expanded_sub_process_has_no_tint_and_marked_elements_not_the_colours_of_the_model():
    xml = XML.replace('isExpanded="false"', 'isExpanded="true" bioc:fill="#ff0000" bioc:stroke="#00ff00"')
    xml = xml.replace('bpmnElement="a"', 'bpmnElement="a" bioc:fill="#ff0000" bioc:stroke="#00ff00"')
    shown = picture([step("a", 0, 2), step("s", 2, 3, "a", "as")], xml=xml)
    assert kinds(shown)["s"] == {"element"}
    assert [groups(shown)[key].get("style") for key in ("a", "s")] == [None, "color:#00ff00"]


@pytest.mark.parametrize("state", [*STATES, "Läuft<"])
def test_states_have_a_colour_and_a_sign(state):
    sign = STATES.get(state, UNKNOWN_STATE)
    name = state if state in STATES else "other"
    assert badges(picture([step("a", 0, state=state)])) == [(f"state-{name}", sign, "1")]


def test_the_most_severe_state_colours_the_element():
    shown = picture([step("a", 0), step("a", 1), step("a", 2, state="FAILED")])
    assert "state-FAILED" in kinds(shown)["a"]
    assert [(kind, text) for kind, _, text in badges(shown)] == [("state-FAILED", "1"), ("state-ACTIVE", "2")]


def test_counts_of_one_are_shown_for_several_instances_only():
    once = [step("a", 0, 2), step("s", 2, 3, "a", "as")]
    assert counts(picture(once)) == []
    assert counts(picture(once, [step("a", 0, 2)])) == ["×1", "×2", "×1"]
    assert counts(picture([step("a", 0, 2), step("a", 3, 4)])) == ["×2"]


def test_tokens_in_a_collapsed_sub_process_are_at_the_sub_process():
    shown = picture([step("b", 2, state="FAILED")])
    assert kinds(shown)["s"] == {"element", "visited", "live", "state-FAILED"}
    assert [(kind, text) for kind, _, text in badges(shown)] == [("state-FAILED", "1")]


@pytest.mark.parametrize(("heat", "hot", "cold"), [(Heat.TIME, "c", "a"), (Heat.VISITS, "a", "c")])
def test_heat(heat, hot, cold):
    tokens = [*(step("a", n, n + 1) for n in range(0, 90, 3)), step("c", 0, 99)]
    found = kinds(picture(tokens, heat=heat))
    assert f"heat-{HEAT_STEPS}" in found[hot]
    assert found[cold] & {f"heat-{n}" for n in range(1, HEAT_STEPS)}
    assert not any(kind.startswith("heat") for kind in found["s"])


def test_taken_flows_are_in_front_of_others():
    shown = picture([step("s", 2, 4), step("c", 4, 9, "s", "sc")])
    assert [key for key in groups(shown) if key in {"as", "sc"}] == ["as", "sc"]
    shown = picture([step("a", 0, 2), step("s", 2, 3, "a", "as")])
    assert [key for key in groups(shown) if key in {"as", "sc"}] == ["sc", "as"]


def test_the_critical_path_is_marked():
    tokens = [step("a", 0, 2), step("s", 2, 4, "a", "as"), step("c", 4, 9, "s", "sc")]
    found = kinds(picture(tokens, critical_path=True))
    assert all("critical" in found[key] for key in ("a", "s", "c", "as", "sc"))
    assert not any("critical" in kind for kind in kinds(picture(tokens)).values())


def test_flows_that_tokens_may_have_taken_are_marked_as_such():
    unsure = token("c", element_id="c", created_at=at(1), flow_history=[{"certainty": "ambiguous"}])
    shown = picture([unsure])
    assert counts(shown) == ["?"]
    assert kinds(shown)["sc"] == {"edge"}


def test_the_legend_explains_only_what_is_used():
    def legend(shown):
        return {text[0].text for text in shown.iter(f"{SVG}text") if "small" in (text.get("class") or "")}

    tokens = [step("a", 0, 2), step("s", 2, 3, "a", "as")]
    assert legend(picture(tokens)) == {"flow taken", "not reached"}
    assert "critical path" in legend(picture(tokens, critical_path=True))
    assert "visits, little to much" in legend(picture(tokens, heat=Heat.VISITS))
