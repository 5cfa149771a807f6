"""What the elements of a document are, as far as a picture shows it."""

from __future__ import annotations

import pytest

from support.diagrams import document
from tokctl.bpmn.parser import read_definitions, read_root
from tokctl.diagram.elements import convert_definition, read_elements


def read(process, around=""):
    return read_elements(read_root(document(process, around=around)))


@pytest.mark.parametrize(
    ("xml", "fields"),
    [
        ('<task id="a" name="A&#10;B"/>', {"kind": "task", "name": "A\nB", "parent": "p"}),
        ('<startEvent id="a" isInterrupting="false"><timerEventDefinition/></startEvent>', {"events": ("timer",)}),
        ('<startEvent id="a" isInterrupting="false"/>', {"interrupting": False}),
        ('<boundaryEvent id="a" attachedToRef="t:b" cancelActivity="false"/>', {"interrupting": False}),
        ('<boundaryEvent id="a" attachedToRef="t:b"/>', {"interrupting": True, "attached_to": "b"}),
        ('<task id="a"><multiInstanceLoopCharacteristics isSequential="true"/></task>', {"loop": "sequential"}),
        ('<task id="a" isForCompensation="true"><standardLoopCharacteristics/></task>', {"for_compensation": True}),
        ('<eventBasedGateway id="a" eventGatewayType="Parallel" instantiate="true"/>', {"parallel": True}),
        ('<eventBasedGateway id="a" instantiate="true"/>', {"instantiates": True, "parallel": False}),
        ('<subProcess id="a" triggeredByEvent="true"/>', {"event_sub_process": True, "is_container": True}),
        ('<textAnnotation id="a"><text> why </text></textAnnotation>', {"name": "why"}),
        ('<dataObjectReference id="a" name="D"><dataState name="new"/></dataObjectReference>', {"name": "D\n[new]"}),
        (
            '<dataObject id="o" isCollection="true"/><dataObjectReference id="a" dataObjectRef="o"/>',
            {"collection": True},
        ),
        ('<sequenceFlow id="a" sourceRef="b" targetRef="c"/>', {"source": "b", "target": "c", "conditional": False}),
        (
            (
                '<task id="b" default="a"/>'
                '<sequenceFlow id="a" sourceRef="b" targetRef="c"><conditionExpression/></sequenceFlow>'
            ),
            {"default": True, "conditional": True},
        ),
        (
            (
                '<subProcess id="s"><dataInputAssociation id="a"><sourceRef>x</sourceRef></dataInputAssociation>'
                "</subProcess>"
            ),
            {"source": "x", "parent": "s"},
        ),
    ],
)
def test_details_are_read(xml, fields):
    element = read(xml)["a"]
    assert {name: getattr(element, name) for name in fields} == fields


def test_event_definitions_may_be_elsewhere():
    shared = '<signalEventDefinition id="s"/>'
    found = read('<endEvent id="a"><eventDefinitionRef>t:s</eventDefinitionRef></endEvent>', shared)
    assert found["a"].events == ("signal",)


def test_groups_have_the_name_of_their_category():
    category = '<category id="c"><categoryValue id="v" value="Legal"/></category>'
    assert read('<group id="a" categoryValueRef="v"/>', category)["a"].name == "Legal"


def test_lanes_data_and_categories_are_read():
    found = read(
        '<laneSet><lane id="a"><childLaneSet><lane id="b"/><lane id="c"/></childLaneSet></lane></laneSet>'
        '<task id="t"><categoryValueRef>n:v</categoryValueRef><dataInputAssociation id="i"/></task>'
    )
    assert found["a"].lanes == ("b", "c")
    assert found["t"].categories == ("v",)
    assert found["t"].data_associations == ("i",)


def test_a_definition_has_the_same_elements_as_its_document():
    xml = document(
        '<startEvent id="a"/><subProcess id="s" default="g"><task id="b" name="B"/>'
        '<boundaryEvent id="e" attachedToRef="b"/>'
        '<sequenceFlow id="h" sourceRef="e" targetRef="b"/></subProcess><endEvent id="z"/>'
        '<sequenceFlow id="f" sourceRef="a" targetRef="s"/><sequenceFlow id="g" sourceRef="s" targetRef="z"/>'
    )
    (definition,) = read_definitions(xml)
    assert convert_definition(definition) == read_elements(read_root(xml))
