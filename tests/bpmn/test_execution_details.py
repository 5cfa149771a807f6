"""What is read from a model to run it."""

from tokctl.bpmn.execution_details import Expression, read_execution_model

HEAD = (
    '<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL" xmlns:camunda="http://camunda.org/schema/1.0/bpmn"'
    ' xmlns:zeebe="http://camunda.org/schema/zeebe/1.0" expressionLanguage="urn:default">'
)
MULTI = "multiInstanceLoopCharacteristics"


def read(body):
    return read_execution_model(f'{HEAD}<process id="p">{body}</process></definitions>')


def loop(body):
    return read(f'<task id="x">{body}</task>').elements["x"].loop


def test_scripts_and_conditions_have_the_language_that_the_model_states():
    model = read(
        '<scriptTask id="x" scriptFormat="groovy"><script> a = 1 </script></scriptTask><scriptTask id="y"/>'
        '<sequenceFlow id="f"><conditionExpression>a</conditionExpression></sequenceFlow>'
        '<sequenceFlow id="g"><conditionExpression language="juel">b</conditionExpression></sequenceFlow>'
        '<sequenceFlow id="h"><conditionExpression> </conditionExpression></sequenceFlow>'
    )
    assert model.elements["x"].script == Expression("a = 1", "groovy")
    assert "y" not in model.elements
    assert model.conditions == {"f": Expression("a", "urn:default"), "g": Expression("b", "juel")}


def test_loops_of_each_vendor():
    plain = loop(f"<{MULTI}><loopCardinality>3</loopCardinality><completionCondition>c</completionCondition></{MULTI}>")
    assert (plain.count.text, plain.condition.text, plain.collection, plain.item) == ("3", "c", None, None)
    camunda = loop(f'<{MULTI} camunda:collection="orders" camunda:elementVariable="order"/>')
    assert (camunda.collection.text, camunda.item) == ("orders", "order")
    zeebe = loop(
        f'<{MULTI}><extensionElements><zeebe:loopCharacteristics inputCollection="= orders" inputElement="order"/>'
        f"</extensionElements></{MULTI}>"
    )
    assert (zeebe.collection.text, zeebe.item) == ("= orders", "order")
    bpmn = loop(f'<{MULTI}><loopDataInputRef>orders</loopDataInputRef><inputDataItem id="order"/></{MULTI}>')
    assert (bpmn.collection.text, bpmn.item) == ("orders", "order")
    standard = loop(
        '<standardLoopCharacteristics loopMaximum="4" testBefore="true"><loopCondition>c</loopCondition>'
        "</standardLoopCharacteristics>"
    )
    assert (standard.count.text, standard.condition.text, standard.test_before) == ("4", "c", True)


def test_called_processes_of_each_vendor():
    model = read(
        '<callActivity id="x" calledElement="q"/><callActivity id="z"><extensionElements>'
        '<zeebe:calledElement processId="r"/></extensionElements></callActivity><callActivity id="n"/>'
    )
    assert {key: one.called_process for key, one in model.elements.items()} == {"x": "q", "z": "r"}


def test_references_that_the_document_does_not_define():
    model = read_execution_model(
        f'{HEAD}<message id="m"/><process id="p"><receiveTask id="x" messageRef="tns:m"/>'
        '<receiveTask id="y" messageRef="gone"/><endEvent id="e"><errorEventDefinition errorRef="lost"/></endEvent>'
        "</process></definitions>"
    )
    assert {key: one.undefined_references for key, one in model.elements.items()} == {"y": ("gone",), "e": ("lost",)}


def test_message_flows_between_elements_and_participants():
    model = read_execution_model(
        f'{HEAD}<collaboration id="c"><participant id="a" processRef="tns:p"/><participant id="b"/>'
        '<messageFlow id="f" sourceRef="x" targetRef="a"/><messageFlow id="g" sourceRef="b" targetRef="tns:x"/>'
        '</collaboration><process id="p" isExecutable="false"/></definitions>'
    )
    assert [(one.id, one.source, one.target) for one in model.message_flows] == [("f", "x", "p"), ("g", "b", "x")]
    assert model.not_executable == {"p"}


def test_compensation_handlers_and_data():
    model = read(
        '<task id="x"><dataInputAssociation/></task><boundaryEvent id="bd" attachedToRef="x" parallelMultiple="true"/>'
        '<association sourceRef="bd" targetRef="tns:undo"/>'
    )
    assert model.compensations == {"bd": "undo"}
    assert model.elements["x"].uses_data
    assert model.elements["bd"].all_events
