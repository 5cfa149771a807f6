"""Models that can be drawn."""

from __future__ import annotations

import pytest

from support.diagrams import document, shape
from tokctl.bpmn.parser import read_definitions
from tokctl.diagram.model import LAID_OUT, convert_model, read_model
from tokctl.errors import InputError

OTHER = '<process id="q"><task id="b"/></process>'


def test_only_diagrams_of_the_process_are_drawn():
    xml = document('<task id="a"/>', shape("a"), around=OTHER)
    assert [one.element for plane in read_model(xml, "m", "p").planes for one in plane.shapes] == ["a"]
    model = read_model(xml, "m", "q")
    assert [one.element for plane in model.planes for one in plane.shapes] == ["b"]
    assert model.notes == (LAID_OUT,)


def test_elements_inside_sub_processes_belong_to_the_process():
    xml = document('<subProcess id="s"><task id="a"/></subProcess>', shape("a"))
    assert read_model(xml, "m", "p").notes == ()


def test_a_definition_is_drawn_from_its_xml_or_its_elements():
    (definition,) = read_definitions(document('<task id="a"/>', shape("a")))
    assert convert_model(definition).notes == ()
    bare = type(definition)(process_id="p", elements=definition.elements)
    assert convert_model(bare).notes == (LAID_OUT,)


@pytest.mark.parametrize("xml", [document(""), document("", shape("a")), document('<dataObject id="a"/>')])
def test_an_empty_model_is_an_error(xml):
    with pytest.raises(InputError, match="no element to draw"):
        read_model(xml, "m")


def test_groups_that_are_not_drawn_are_noted():
    model = read_model(document('<task id="a"/><group id="g"/>'), "m", "p")
    assert model.notes[0] == LAID_OUT
    assert model.notes[1].startswith("1 group left out: ")


def test_a_choreography_without_a_diagram_cannot_be_laid_out():
    xml = document("", around='<choreography id="c"><choreographyTask id="t"/></choreography>')
    with pytest.raises(InputError) as raised:
        read_model(xml, "m")
    assert "need BPMN diagram interchange" in raised.value.hint
