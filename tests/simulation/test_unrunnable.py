"""What ran badly or not at all: what is said of it, and what is recorded."""

from datetime import timedelta

import pytest

from support.recording import MODELS, START, MemorySink, run
from support.small_models import END, START_EVENT, around, chain, flow, play, process
from tokctl.errors import InputError
from tokctl.simulation.limits import RunLimits
from tokctl.simulation.simulate import read_models, simulate

SECOND = timedelta(seconds=1)
JS = "var total = order.items.length * 3; return {total};"
JS_MODEL = process(
    f'{START_EVENT}<scriptTask id="x" scriptFormat="javascript"><script>{JS}</script></scriptTask>'
    f'<exclusiveGateway id="g" default="g-e"/>{END}<endEvent id="e2"/>{chain("s", "x", "g", "e")}'
    + flow("g", "e2", "total === 3")
)
CHOICE = f'{START_EVENT}<exclusiveGateway id="x" default="x-e"/>{END}<task id="y"/>{chain("s", "x", "e")}'

# (model, scenario, elements with their states, the elements with a note and how it begins)
HARDLY = [
    (process(CHOICE + flow("x", "y", "amount &gt; 3 and")), "flows: {x-y: never}", "s x e", {}),
    (process(CHOICE + flow("x", "y", "amount == 3")), "flows: {x-y: always}", "s x y", {}),
    (process(CHOICE + flow("x", "y", '${f("a") == 1}')), "flows: {x-y: 100%}", "s x y", {}),
    (
        process(CHOICE + flow("x", "y", "= if amount &gt; 5 then true else false")),
        "variables: {amount: 9}",
        "s x y",
        {},
    ),
    (
        process(CHOICE + flow("x", "y", "${execution.getVariable('amount') gt 5 and not empty customer}")),
        "variables: {amount: 9, customer: Ann}",
        "s x y",
        {},
    ),
    (process(CHOICE.replace(' default="x-e"', "") + flow("x", "y", "")), "flows: {x-y: never}", "s x e", {}),
    (JS_MODEL, "tasks: {x: {sets: {total: 3}}}", "s x g e2", {"x": "its script is replaced by the variables"}),
    (JS_MODEL, "flows: {g-e: always}", "s x g e", {"x": "its script is skipped: "}),
    (
        around('<callActivity id="x" calledElement="q"/>'),
        "tasks: {x: {takes: 5s}}",
        "s x e",
        {"x": "calls 'q', which is in none"},
    ),
    (process('<task id="x"/>'), "", "x", {}),
    (process(f'{START_EVENT}<task id="x"/>{chain("s", "x")}'), "", "s x", {}),
    (process(f'{START_EVENT}<task id="x"/>{chain("s", "x")}'), "tasks: {x: {fails: true}}", "s x!", {}),
    (
        process(f'{START_EVENT}<exclusiveGateway id="x"/><task id="y"/>{chain("s", "x")}' + flow("x", "y", "False")),
        "",
        "s x!",
        {},
    ),
    (
        around('<task id="x"><dataOutputAssociation id="do"><targetRef>ds</targetRef></dataOutputAssociation></task>'),
        "",
        "s x e",
        {"x": "its data associations are ignored"},
    ),
]


@pytest.mark.parametrize(("model", "scenario", "elements", "notes"), HARDLY)
def test_what_can_hardly_be_run_runs_as_the_scenario_says(model, scenario, elements, notes):
    played = play(model, scenario)
    assert played.ids == elements
    assert played.status == ("ACTIVE" if "!" in elements else "COMPLETED")
    assert played.notes.keys() == notes.keys()
    assert all(played.notes[element].startswith(start) for element, start in notes.items())


ENDLESS = (
    f'{START_EVENT}<exclusiveGateway id="x" default="c"/><exclusiveGateway id="y"/>{chain("s", "x")}'
    f"{flow('x', 'y', name='c')}{chain('y', 'x')}"
)
REFUSED = [
    (process(""), "", "no process has an element."),
    (process(ENDLESS), "", "is in an endless loop"),
    (around(f'<task id="x"/>{flow("x", "x")}'), "tasks: {x: {takes: 0}}", "'x' is in an endless loop"),
    (
        process(f'{START_EVENT}<eventBasedGateway id="x"/><task id="y"/>{chain("s", "x", "y")}'),
        "",
        "eventBasedGateway 'x' leads to 'y', which waits for no event.",
    ),
    (
        process(START_EVENT, '<process id="q"/>').replace("<startEvent", "<task"),
        "process: r",
        "no process 'r': it has p, q.",
    ),
    (
        process(
            '<startEvent id="s"><messageEventDefinition messageRef="m"/></startEvent>', '<message id="m" name="Order"/>'
        ),
        "trigger: Paid",
        "Process 'p' has no start event 'Paid': it has Order, s.",
    ),
]


@pytest.mark.parametrize(("model", "scenario", "message"), REFUSED)
def test_what_cannot_be_run_is_named_in_one_line(model, scenario, message):
    with pytest.raises(InputError) as caught:
        play(model, scenario, limits=RunLimits(steps=2000))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_was_recorded_before_an_error_stays():
    sink = MemorySink()
    with pytest.raises(InputError, match="endless loop"):
        play(process(ENDLESS), sink=sink)
    assert [token.state for token in sink.at("s")] == ["COMPLETED"]


def test_a_chain_of_thousands_of_elements():
    names = [f"t{number}" for number in range(3000)]
    played = play(process(START_EVENT + "".join(f'<task id="{name}"/>' for name in names) + chain("s", *names)))
    assert (played.result.tokens, played.result.end) == (3001, START + 3000 * SECOND)


def test_several_processes():
    models = read_models([MODELS / "exclusive.bpmn", MODELS / "parallel.bpmn"])
    with pytest.raises(InputError, match=r"has several processes: exclusive, parallel\. Choose one with --process"):
        simulate(models, None, MemorySink(), start=START)
    sink = run("exclusive parallel", "process: parallel")
    assert sink.instance.process_id == "parallel"
    with pytest.raises(InputError, match="no process 'other': it has exclusive, parallel"):
        run("exclusive parallel", "process: other")


def test_of_several_processes_the_only_executable_one_runs():
    draft = '<process id="q" isExecutable="false"><task id="y"/></process>'
    assert play(process('<task id="x"/>', draft)).ids == "x"
    played = play(process('<task id="x"/>', draft), "process: q")
    assert (played.ids, played.result.not_executable) == ("y", ("q",))


def test_each_instance_of_a_receive_task_waits():
    many = "<multiInstanceLoopCharacteristics><loopCardinality>2</loopCardinality></multiInstanceLoopCharacteristics>"
    played = play(around(f'<receiveTask id="x" name="told">{many}</receiveTask>'))
    assert [token.state for token in played.sink.at("x")] == ["ACTIVE", "WAITING", "WAITING"]
