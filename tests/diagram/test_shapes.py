"""Shapes, with the signs and borders that BPMN 2.0 gives them, and where their names are."""

from __future__ import annotations

import pytest

from support.diagrams import SVG, classes, document, draw_document, groups, place, shape, written


def draw_one(xml, more="", **size):
    return draw_document(document(xml, shape("a", 10, 20, **size, more=more)))


def test_a_shape_is_where_the_diagram_says():
    group = groups(draw_one('<task id="a"/>', width=90, height=60))["a"]
    box = group.find(f"{SVG}rect")
    assert (*place(group), box.get("width"), box.get("height")) == (10, 20, "90", "60")


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        ('<task id="a"/>', ["shape"]),
        ('<manualTask id="a"/>', ["shape", "line"]),
        ('<sendTask id="a"/>', ["shape", "solid", "cut"]),
        ('<receiveTask id="a" instantiate="true"/>', ["shape", "line", "line", "line"]),
        ('<callActivity id="a" calledElement="other"/>', ["shape thick", "line"]),
        ('<subProcess id="a" triggeredByEvent="true"/>', ["shape dotted", "line"]),
        (
            (
                '<subProcess id="a" triggeredByEvent="true"><startEvent id="s" isInterrupting="false">'
                "<timerEventDefinition/></startEvent></subProcess>"
            ),
            ["shape dotted", "shape dashed", "line", "line"],
        ),
        ('<transaction id="a"/>', ["shape", "line", "line"]),
        ('<adHocSubProcess id="a"/>', ["shape", "line", "solid"]),
        ('<task id="a"><standardLoopCharacteristics/></task>', ["shape", "line"]),
        ('<task id="a"><multiInstanceLoopCharacteristics/></task>', ["shape", "bars"]),
        ('<exclusiveGateway id="a"/>', ["shape", "bold"]),
        ('<eventBasedGateway id="a"/>', ["shape", "line", "line", "line"]),
        ('<eventBasedGateway id="a" instantiate="true"/>', ["shape", "line", "line"]),
        ('<dataObject id="a" isCollection="true"/>', ["shape", "line", "bars"]),
        ('<dataInput id="a"/>', ["shape", "line", "line"]),
        ('<dataOutput id="a"/>', ["shape", "line", "solid"]),
        ('<dataStoreReference id="a"/>', ["shape", "line"]),
        ('<conversation id="a"/>', ["shape"]),
        ('<subConversation id="a"/>', ["shape", "line"]),
        ('<callConversation id="a" calledCollaborationRef="other"/>', ["shape thick", "line"]),
        ('<textAnnotation id="a"/>', ["empty", "line"]),
        ('<group id="a"/>', ["line dashdotted"]),
        ('<laneSet><lane id="a"/></laneSet>', ["shape pool"]),
    ],
)
def test_types_are_drawn_as_in_bpmn(xml, expected):
    assert classes(groups(draw_one(xml))["a"]) == expected


@pytest.mark.parametrize(
    ("around", "xml", "expected"),
    [
        ('<globalUserTask id="u"/>', '<callActivity id="a" calledElement="t:u"/>', ["shape thick", "line", "line"]),
        ('<globalTask id="u"/>', '<callActivity id="a" calledElement="u"/>', ["shape thick"]),
        ('<process id="u"/>', '<callActivity id="a" calledElement="u"/>', ["shape thick", "line"]),
        ('<globalConversation id="u"/>', '<callConversation id="a" calledCollaborationRef="u"/>', ["shape thick"]),
        ('<message id="a" name="Offer"/>', "", ["shape", "line"]),
        ('<dataStore id="a"/>', "", ["shape", "line"]),
    ],
)
def test_what_is_outside_processes_is_drawn_as_in_bpmn(around, xml, expected):
    picture = draw_document(document(xml, shape("a"), around=around))
    assert classes(groups(picture)["a"]) == expected


@pytest.mark.parametrize(("maximum", "shown"), [("", True), ('maximum="2"', True), ('maximum="1"', False)])
def test_a_pool_that_stands_for_several_participants_is_marked(maximum, shown):
    pool = f'<participant id="a"><participantMultiplicity {maximum}/></participant>'
    picture = draw_document(document("", shape("a"), around=f'<collaboration id="c">{pool}</collaboration>'))
    assert ("bars" in classes(groups(picture)["a"])) is shown


TASKS = ("service", "user", "script", "manual", "businessRule", "send", "receive")


def test_each_type_of_task_has_its_own_sign():
    pictures = [draw_one(f'<{one}Task id="a"/>') for one in TASKS]
    signs = {"".join(path.get("class") + path.get("d") for path in one.iter(f"{SVG}path")) for one in pictures}
    assert len(signs) == len(TASKS)


def test_each_gateway_has_its_own_sign():
    kinds = ("exclusive", "parallel", "inclusive", "complex", "eventBased")
    drawn = {kind: draw_one(f'<{kind}Gateway id="a"/>', width=50, height=50) for kind in kinds}
    signs = {"".join(path.get("d", "") for path in picture.iter(f"{SVG}path")) for picture in drawn.values()}
    assert len(signs) == len(kinds)


def test_the_sign_of_an_exclusive_gateway_can_be_hidden():
    assert classes(groups(draw_one('<exclusiveGateway id="a"/>', 'isMarkerVisible="false"'))["a"]) == ["shape"]


@pytest.mark.parametrize(("given", "shown"), [('isExpanded="true"', True), ('isExpanded="false"', False), ("", True)])
def test_what_is_in_a_collapsed_sub_process_is_not_drawn(given, shown):
    xml = (
        '<subProcess id="s"><task id="a"/><task id="b"/><sequenceFlow id="f" sourceRef="a" targetRef="b"/></subProcess>'
    )
    inner = shape("a", 20, 20, 40, 30) + shape("b", 120, 20, 40, 30)
    drawn = groups(draw_document(document(xml, shape("s", 0, 0, 200, 100, given) + inner)))
    assert drawn.keys() == ({"s", "a", "b"} if shown else {"s"})


@pytest.mark.parametrize(("given", "vertical"), [("", False), ('isHorizontal="false"', True)])
def test_pools_have_their_name_along_the_band(given, vertical):
    around = '<collaboration id="c"><participant id="a" name="Sales" processRef="p"/></collaboration>'
    picture = draw_document(document('<task id="t"/>', shape("a", 0, 0, 600, 250, given), around=around))
    turned = [group for group in picture.iter(f"{SVG}g") if "rotate" in group.get("transform", "")]
    assert written(picture) == ["Sales"]
    assert bool(turned) is not vertical


def test_names_of_events_are_outside_and_wrapped():
    picture = draw_one('<endEvent id="a" name="Order was rejected by the customer"/>', width=36, height=36)
    assert len(written(picture)) == 3
    assert "Order was rejected by the customer" in "".join(groups(picture)["a"].itertext())  # the tooltip
