import codecs

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


@pytest.mark.parametrize(
    "encoding",
    ["iso-8859-1", "utf-8", "utf-16", "utf-16-le", "utf-32", "GB18030", "Shift_JIS", "Big5", "EUC-KR", "windows-1252"],
)
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8], ids=["plain", "mark"])
def test_encodings(encoding, mark):
    name = {"iso-8859-1": "Köln", "windows-1252": "Köln", "EUC-KR": "주문"}.get(encoding, "注文")
    text = f'<?xml version="1.0" encoding="{encoding}"?>{HEAD}<process id="p" name="{name}"/></definitions>'
    # A mark has precedence: editors that convert a file leave its declaration as it was.
    (definition,) = read_definitions(mark + text.encode() if mark else text.encode(encoding))
    assert definition.name == name
    assert definition.xml == text


def test_references_are_qnames():
    body = (
        '<startEvent id="s"/><sequenceFlow id="a" sourceRef="tns:s" targetRef="tns:x"/><task id="x" default="tns:b"/>'
        '<sequenceFlow id="b" sourceRef="x" targetRef=" e "/><endEvent id="e"/>'
        '<boundaryEvent id="bd" attachedToRef="tns:x"/>'
    )
    (definition,) = read(f'<process id="p">{body}</process>')
    assert [(flow.source, flow.target) for flow in definition.flows.values()] == [("s", "x"), ("x", "e")]
    assert (definition.elements["x"].default_flow, definition.elements["bd"].attached_to) == ("b", "x")
    with pytest.raises(InputError, match="leads to 'tns:y', which does not exist"):
        read('<process id="p"><task id="x"/><sequenceFlow id="a" sourceRef="x" targetRef="tns:y"/></process>')


def test_sequence_flows_without_ids_get_ids_of_their_ends():
    flow = '<sequenceFlow sourceRef="x" targetRef="y"/>'
    (definition,) = read(f'<process id="p"><task id="x"/><task id="y"/>{flow}{flow}</process>')
    assert [*definition.flows] == ["x->y", "x->y#2"]
    assert definition.elements["y"].incoming == ("x->y", "x->y#2")


def test_processes_that_are_not_executable():
    body = '<process id="a"/><process id="b" isExecutable="false"/>'
    found = read_definitions(f"{HEAD}{body}</definitions>", executable_only=False)
    assert [definition.process_id for definition in found] == ["a", "b"]
    with pytest.raises(InputError, match=r"no process found\."):
        read_definitions(f"{HEAD}</definitions>", executable_only=False)
