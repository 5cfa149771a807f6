import pytest

from support.recording import MODELS
from tokctl.bpmn.parser import read_definitions
from tokctl.errors import InputError

HEAD = '<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL" id="d">\n'


def read(body):
    return read_definitions(f"{HEAD}{body}</definitions>", "m.bpmn")


def test_elements_and_flows():
    (definition,) = read_definitions((MODELS / "exclusive.bpmn").read_bytes())
    assert definition.process_id == "exclusive"
    gateway = definition.elements["size"]
    assert (gateway.type, gateway.name, gateway.default_flow) == ("exclusiveGateway", "How much?", "f-small")
    assert (gateway.incoming, gateway.outgoing) == (("f1",), ("f-large", "f-small", "f-none"))
    assert definition.flows["f-large"].condition == "${amount > 100}"
    assert definition.flows["f-small"].condition is None
    assert definition.xml == (MODELS / "exclusive.bpmn").read_text()


def test_nested_sub_processes_and_boundary_events():
    (definition,) = read_definitions((MODELS / "subprocess.bpmn").read_bytes())
    parents = {element.id: element.parent for element in definition.elements.values()}
    assert parents["outer"] is None
    assert parents["inner"] == parents["o-start"] == "outer"
    assert parents["work"] == "inner"
    (definition,) = read_definitions((MODELS / "boundary.bpmn").read_bytes())
    assert definition.elements["late"].attached_to == "slow"


def test_every_model_of_these_tests():
    for file in MODELS.glob("*.bpmn"):
        assert read_definitions(file.read_bytes(), file.name)


def test_all_executable_processes_and_no_others():
    body = '<process id="a"/><process id="b" isExecutable="false"/><process id="c" isExecutable="true"/>'
    assert [definition.process_id for definition in read(body)] == ["a", "c"]
    with pytest.raises(InputError, match="no executable process found; 'b' has isExecutable"):
        read('<process id="b" isExecutable="false"/>')
    with pytest.raises(InputError, match="no executable process"):
        read("")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: not well-formed XML: "),
        ("{}", "line 1: not well-formed XML"),
        ("<definitions>\n<process", "line 2: not well-formed XML"),
        ("<html/>", "line 1: not BPMN 2.0: the root element is 'html'"),
        ("<definitions/>", "not BPMN 2.0: the root element is 'definitions', not"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', "line 1: DOCTYPE"),
        (b'<?xml version="1.0" encoding="none-such"?><x/>', "m.bpmn"),
        (b"<x>\xff</x>", "cannot decode the text"),
    ],
)
def test_what_is_no_bpmn_is_refused(text, message):
    with pytest.raises(InputError, match=r"m\.bpmn.*") as caught:
        read_definitions(text, "m.bpmn")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('<task id="x"/>\n<task id="x"/>', "line 3: the id 'x' is already used in line 2"),
        ('<task id="x"/><task id="x"/>', "line 2: the id 'x' is already used in line 2"),
        ('<task name="x"/>', "line 2: a task has no id"),
        (
            '<task id="x"/><sequenceFlow id="f" sourceRef="x" targetRef="y"/>',
            "sequence flow 'f' leads to 'y', which does not exist",
        ),
        (
            '<task id="x"/><sequenceFlow id="f" sourceRef="y" targetRef="x"/>',
            "sequence flow 'f' comes from 'y', which does not exist",
        ),
        ('<task id="x"/><sequenceFlow id="f" sourceRef="x"/>', "sequence flow 'f' has no targetRef"),
        (
            '<exclusiveGateway id="x" default="f"/>',
            "the default flow 'f' of 'x' does not start at it",
        ),
        (
            '<boundaryEvent id="b" attachedToRef="x"/>',
            "'b' is attached to 'x', which does not exist",
        ),
    ],
)
def test_what_hangs_in_the_air_is_named(body, message):
    with pytest.raises(InputError) as caught:
        read(f'<process id="p">{body}</process>')
    assert message in str(caught.value)


def test_other_encodings():
    text = f'<?xml version="1.0" encoding="iso-8859-1"?>{HEAD}<process id="p" name="Köln"/></definitions>'
    (definition,) = read_definitions(text.encode("latin-1"))
    assert definition.name == "Köln"
    assert "Köln" in definition.xml
