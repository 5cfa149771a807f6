"""Choreography activities: the bands of their participants, their marks, and their messages."""

from __future__ import annotations

import pytest

from support.diagrams import SVG, classes, document, draw_document, groups, place, shape, written
from tokctl.diagram.model import read_model

PARTICIPANTS = (
    '<participant id="A" name="Builder"/>'
    '<participant id="B" name="Quarry"><participantMultiplicity maximum="3"/></participant>'
    '<participant id="C" name="Haulage"><participantMultiplicity maximum="1"/></participant>'
    '<messageFlow id="f" sourceRef="A" targetRef="B" messageRef="t:m"/>'
    '<messageFlow id="g" sourceRef="B" targetRef="A" messageRef="n"/>'
)
MESSAGES = '<message id="m" name="Order"/><message id="n" name="Confirmation"/>'
TASK = (
    '<choreographyTask id="t" name="Buy" initiatingParticipantRef="A">'
    "<messageFlowRef>f</messageFlowRef><messageFlowRef>g</messageFlowRef></choreographyTask>"
)


def band(participant, y, kind="", *, more="", height=20):
    kind = f'participantBandKind="{kind}"' if kind else ""
    return shape(participant, 0, y, 100, height, f'choreographyActivityShape="s" {kind} {more}')


def make(activity, *bands, more="", called=""):
    choreography = f'<choreography id="c" name="Purchase">{PARTICIPANTS}{activity}</choreography>'
    diagram = shape("t", 0, 0, 100, 120, f'id="s" {more}') + "".join(bands)
    return document("", diagram, around=MESSAGES + called + choreography)


def bands_of(picture):
    """Return the place of each band, its name, and the classes of its signs, in drawing order."""
    found = groups(picture)["t"].findall(f"{SVG}g[{SVG}title]")
    return [(place(one), written(one)[0], [kind for kind in classes(one) if kind != "small"]) for one in found]


@pytest.mark.parametrize("kinds", [("top_initiating", "bottom_non_initiating"), ("", "")])
def test_bands_are_where_the_diagram_says_and_shaded_unless_they_initiate(kinds):
    """A diagram that does not say who initiates leaves that to the model."""
    picture = draw_document(make(TASK, band("A", 0, kinds[0]), band("C", 100, kinds[1])))
    assert bands_of(picture) == [((0, 0), "Builder", ["hollow"]), ((0, 100), "Haulage", ["shaded"])]
    assert groups(picture).keys() == {"t"}


def test_the_lower_participant_can_initiate():
    picture = draw_document(make(TASK, band("C", 0, "top_non_initiating"), band("A", 100, "bottom_initiating")))
    assert [kinds for _, _, kinds in bands_of(picture)] == [["shaded"], ["hollow"]]


def test_several_participants_have_bands_between_those_at_the_sides():
    xml = make(TASK, band("A", 0), band("C", 80, "middle_non_initiating"), band("B", 100, "bottom_non_initiating"))
    assert [name for _, name, _ in bands_of(draw_document(xml))] == ["Builder", "Haulage", "Quarry"]


@pytest.mark.parametrize("height", [20, 40])
def test_a_participant_that_stands_for_several_is_marked(height):
    xml = make(TASK, band("B", 0, "top_initiating", height=height), band("C", 100, "bottom_non_initiating"))
    assert [kinds for _, _, kinds in bands_of(draw_document(xml))] == [["hollow", "bars"], ["shaded"]]


@pytest.mark.parametrize(
    ("activity", "more", "expected"),
    [
        ('<choreographyTask id="t"/>', "", ["shape"]),
        ('<choreographyTask id="t" loopType="None"/>', "", ["shape"]),
        ('<choreographyTask id="t" loopType="Standard"/>', "", ["shape", "line"]),
        ('<choreographyTask id="t" loopType="MultiInstanceSequential"/>', "", ["shape", "bars"]),
        ('<subChoreography id="t" loopType="MultiInstanceParallel"/>', "", ["shape", "bars", "line"]),
        ('<subChoreography id="t"/>', 'isExpanded="true"', ["shape"]),
        ('<callChoreography id="t" calledChoreographyRef="other"/>', "", ["shape thick", "line"]),
        ('<callChoreography id="t" calledChoreographyRef="u"/>', "", ["shape thick"]),
    ],
)
def test_activities_are_drawn_as_in_bpmn(activity, more, expected):
    called = '<globalChoreographyTask id="u"/>'
    assert classes(groups(draw_document(make(activity, more=more, called=called)))["t"]) == expected


def test_the_thick_border_of_a_call_is_in_front_of_the_bands():
    picture = draw_document(make('<callChoreography id="t"/>', band("A", 0, "top_initiating")))
    assert classes(groups(picture)["t"])[-1] == "line thick"


def test_names_and_markers_are_between_the_bands():
    xml = make('<subChoreography id="t" name="Buy"/>', band("A", 0, height=30), band("B", 20), band("C", 90, height=30))
    group = groups(draw_document(xml))["t"]
    top = next(float(span.get("y")) for span in group.iter(f"{SVG}tspan") if span.text == "Buy")
    marker = next(one for one in group.findall(f"{SVG}g") if one.find(f"{SVG}title") is None)
    assert 40 < top < 90
    assert 40 < place_of_marker(marker) < 90 - 14


def place_of_marker(group):
    return float(group.get("transform").split(")")[0].split(" ")[1])


def test_messages_are_beside_the_band_of_their_sender():
    shown = 'isMessageVisible="true"'
    bands = band("A", 0, "top_initiating", more=shown), band("B", 100, "bottom_non_initiating", more=shown)
    group = groups(draw_document(make(TASK, *bands)))["t"]
    lines = {span.text: float(span.get("y")) for span in group.iter(f"{SVG}tspan")}
    assert lines["Order"] < -20
    assert lines["Confirmation"] > 140
    envelopes = [path.get("class") for path in group.findall(f"{SVG}path") if path.get("class") in {"hollow", "shaded"}]
    assert envelopes == ["hollow", "shaded"]


def test_the_picture_has_room_for_messages():
    def size(more):
        return float(draw_document(make(TASK, band("A", 0, "top_initiating", more=more))).get("height"))

    assert size('isMessageVisible="true"') > size('isMessageVisible="false"') + 30


def test_a_band_has_the_colours_that_the_modeller_chose():
    xml = make(TASK, band("A", 0, more='bioc:stroke="#123456" bioc:fill="#abcdef"'), band("B", 100))
    group = groups(draw_document(xml))["t"]
    first, second = group.findall(f"{SVG}g[{SVG}title]")
    assert (first.get("style"), first.find(f"{SVG}path").get("style")) == ("color:#123456", "fill:#abcdef")
    assert second.get("style") is None


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (band("A", 0).replace('Shape="s"', 'Shape="z"'), "its choreography activity or its participant is not drawn"),
        (band("z", 0), "its choreography activity or its participant is not drawn"),
        (band("A", "nan"), "the coordinates are missing or invalid"),
    ],
)
def test_a_band_that_cannot_be_drawn_is_left_out_with_a_note(bad, why):
    model = read_model(make(TASK, bad), "model")
    assert model.notes == (f"1 participant band left out: {why}.",)
    assert model.planes[0].shapes[0].bands == ()


def test_what_is_in_a_collapsed_sub_choreography_is_not_drawn():
    xml = (
        '<subChoreography id="t"><choreographyTask id="a"/><choreographyTask id="b"/>'
        '<sequenceFlow id="x" sourceRef="a" targetRef="b"/></subChoreography>'
    )
    inner = shape("a", 10, 30, 20, 20) + shape("b", 60, 30, 20, 20)
    assert groups(draw_document(make(xml, inner, more='isExpanded="false"'))).keys() == {"t"}
    assert groups(draw_document(make(xml, inner))).keys() == {"t", "a", "b"}
