"""Models that cannot be run, or hardly, and what is said of them."""

from datetime import timedelta

import msgspec
import pytest

from support.recording import MODELS, START, MemorySink, run
from tokctl.errors import InputError
from tokctl.simulation.scenario import parse_scenario
from tokctl.simulation.simulate import read_models, simulate

SECOND = timedelta(seconds=1)
HEAD = '<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL" id="d"><process id="p">'
X = '<startEvent id="s"/><sequenceFlow id="a" sourceRef="s" targetRef="x"/>'
END = '<sequenceFlow id="b" sourceRef="x" targetRef="e"/><endEvent id="e"/>'
CHOICE = (
    '<exclusiveGateway id="x" default="b"/><sequenceFlow id="c" sourceRef="x" targetRef="y">'
    "<conditionExpression>{}</conditionExpression></sequenceFlow><task id='y'/>"
)


def simulate_text(body, scenario="", sink=None):
    models = [("m.bpmn", f"{HEAD}{body}</process></definitions>")]
    return simulate(models, parse_scenario(scenario), sink or MemorySink(), start=START)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (f'{X}<complexGateway id="x"/>{END}', "SpiffWorkflow cannot run complexGateway 'x'."),
        (
            f'{X}<intermediateCatchEvent id="x"><linkEventDefinition name="l"/></intermediateCatchEvent>{END}',
            "cannot run intermediateCatchEvent 'x': its linkEventDefinition is not supported.",
        ),
        (
            f'{X}<intermediateCatchEvent id="x"><timerEventDefinition/></intermediateCatchEvent>{END}',
            "cannot run intermediateCatchEvent 'x': its timer has no date, duration or cycle.",
        ),
        (
            (
                f'{X}<intermediateCatchEvent id="x"><timerEventDefinition><timeDuration>P1X</timeDuration>'
                f"</timerEventDefinition></intermediateCatchEvent>{END}"
            ),
            "intermediateCatchEvent 'x': cannot evaluate ''P1X'': ",
        ),
        (
            f'{X}<callActivity id="x" calledElement="q"/>{END}',
            "callActivity 'x' calls the process 'q', which is in none of the files.",
        ),
        (
            X + CHOICE.format("amount > 3 and".replace(">", "&gt;")) + END,
            "exclusiveGateway 'x', flow 'c': cannot evaluate 'amount > 3 and': ",
        ),
        (
            X + CHOICE.format("amount == 3") + END,
            "exclusiveGateway 'x', flow 'c': cannot evaluate 'amount == 3': ",
        ),
        (
            (
                f'{X}<exclusiveGateway id="x"/><sequenceFlow id="c" sourceRef="x" targetRef="y">'
                '<conditionExpression>False</conditionExpression></sequenceFlow><task id="y"/>'
            ),
            "SpiffWorkflow stopped at 'x': ",
        ),
        (
            f'{X}<scriptTask id="x"><script>1 / 0</script></scriptTask>{END}',
            "scriptTask 'x': cannot evaluate the script: ZeroDivisionError: ",
        ),
        (
            f'{X}<task id="x"/>{END}<sequenceFlow id="b2" sourceRef="x" targetRef="e2"/><endEvent id="e2"/>',
            "SpiffWorkflow cannot run task 'x': ",
        ),
        (
            (
                f'{X}<exclusiveGateway id="x" default="d"/><sequenceFlow id="c" sourceRef="x" targetRef="y">'
                '<conditionExpression>${f("a") == 1}</conditionExpression></sequenceFlow><task id="y"/>'
                '<sequenceFlow id="d" sourceRef="x" targetRef="y"/>'
            ),
            "exclusiveGateway 'x', flow 'c': cannot evaluate '${f(\"a\") == 1}': ",
        ),
        (
            f'{X}<adHocSubProcess id="x"><task id="y"/></adHocSubProcess>{END}',
            "SpiffWorkflow cannot run adHocSubProcess 'x'.",
        ),
        ('<task id="x"/>', "SpiffWorkflow cannot run process 'p': "),
        (
            (
                f'{X}<exclusiveGateway id="x" default="c"/><sequenceFlow id="c" sourceRef="x" targetRef="y"/>'
                '<exclusiveGateway id="y"/><sequenceFlow id="d" sourceRef="y" targetRef="x"/>'
            ),
            "is in an endless loop",
        ),
    ],
)
def test_what_cannot_be_run_is_named_in_one_line(body, message):
    with pytest.raises(InputError) as caught:
        simulate_text(body)
    assert message in str(caught.value)
    assert str(caught.value).startswith("m.bpmn: ")
    assert "\n" not in str(caught.value)


def test_a_loop_of_tasks_that_take_no_time_ends_in_an_error():
    body = (
        f'{X}<task id="x"/><sequenceFlow id="b" sourceRef="x" targetRef="y"/>'
        '<exclusiveGateway id="y"/><sequenceFlow id="d" sourceRef="y" targetRef="x"/>'
    )
    with pytest.raises(InputError, match="endless loop"):
        simulate_text(body, "tasks: {x: {takes: 0}}")


def test_what_was_recorded_before_an_error_stays():
    sink = MemorySink()
    with pytest.raises(InputError):
        simulate_text(f'{X}<scriptTask id="x"><script>1 / 0</script></scriptTask>{END}', sink=sink)
    assert sink.one("x").state == "FAILED"
    with pytest.raises(ZeroDivisionError) as python:
        _ = 1 / 0
    assert str(python.value) in msgspec.json.decode(sink.one("x").execution_context)["error_message"]


def test_a_chain_of_thousands_of_elements():
    body, last = '<startEvent id="s"/>', "s"
    for number in range(3000):
        body += f'<task id="t{number}"/><sequenceFlow id="f{number}" sourceRef="{last}" targetRef="t{number}"/>'
        last = f"t{number}"
    result = simulate_text(body)
    assert (result.tokens, result.end) == (3001, START + 3000 * SECOND)


def test_several_processes():
    models = read_models([MODELS / "exclusive.bpmn", MODELS / "parallel.bpmn"])
    with pytest.raises(InputError, match=r"has several processes: exclusive, parallel\. Choose one with --process"):
        simulate(models, None, MemorySink(), start=START)
    sink = run("exclusive parallel", "process: parallel")
    assert sink.instance.process_id == "parallel"
    with pytest.raises(InputError, match="no process 'other': it has exclusive, parallel"):
        run("exclusive parallel", "process: other")


def test_a_process_without_an_end_event_ends_with_its_last_task():
    sink = MemorySink()
    simulate_text(f'{X}<task id="x"/>', sink=sink)
    assert sink.instance.status == "COMPLETED"
    sink = MemorySink()
    simulate_text(f'{X}<task id="x"/>', "tasks: {x: {fails: true}}", sink=sink)
    assert (sink.one("x").state, sink.instance.status) == ("FAILED", "ACTIVE")


def test_each_instance_of_a_receive_task_waits():
    sink = MemorySink()
    many = "<multiInstanceLoopCharacteristics><loopCardinality>2</loopCardinality></multiInstanceLoopCharacteristics>"
    event = '<messageEventDefinition id="m"/>'
    simulate_text(f'{X}<receiveTask id="x" name="told">{many}{event}</receiveTask>{END}', sink=sink)
    assert [token.state for token in sink.at("x")] == ["ACTIVE", "WAITING", "WAITING"]
