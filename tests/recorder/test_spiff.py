"""Workflows of a program's own: its own parser, its own way of driving tasks, any number at once."""

import copy
import logging
import subprocess
import sys
from datetime import timedelta

import msgspec
import pytest
from SpiffWorkflow.bpmn.parser import BpmnParser
from SpiffWorkflow.bpmn.serializer import BpmnWorkflowSerializer
from SpiffWorkflow.bpmn.serializer.config import DEFAULT_CONFIG
from SpiffWorkflow.bpmn.serializer.default.task_spec import BpmnTaskSpecConverter
from SpiffWorkflow.bpmn.specs.defaults import ServiceTask
from SpiffWorkflow.bpmn.workflow import BpmnWorkflow
from SpiffWorkflow.task import Task
from SpiffWorkflow.util.task import TaskState
from SpiffWorkflow.workflow import Workflow

from support.recording import MODELS, START, MemorySink, check, validate_states
from tokctl.bpmn.parser import read_definitions
from tokctl.errors import TokctlError
from tokctl.recorder.spiff import SpiffRecorder

OWN = MODELS / "own.bpmn"
METHODS = (Task._set_state, Task._child_added_notify, Workflow._remove_task)


class Clock:
    """A second later each time that something happens."""

    def __init__(self):
        self.now = START

    def __call__(self):
        self.now += timedelta(seconds=1)
        return self.now


def own_workflow(name="own", *others):
    parser = BpmnParser()
    parser.add_bpmn_files([str(MODELS / f"{file}.bpmn") for file in (name, *others)])
    return BpmnWorkflow(parser.get_spec(name), parser.get_subprocess_specs(name))


def own_serializer():
    # The stock one does not know the stock service task.
    return BpmnWorkflowSerializer(
        BpmnWorkflowSerializer.configure({**DEFAULT_CONFIG, ServiceTask: BpmnTaskSpecConverter})
    )


def do(workflow, name, **data):
    """Do a task by hand, as a program does: a service task is completed when it has been run."""
    workflow.do_engine_steps()
    (task,) = workflow.get_tasks(spec_name=name, state=TaskState.READY | TaskState.STARTED)
    task.data.update(data)
    if task.state == TaskState.STARTED:
        task.complete()
    else:
        task.run()
    workflow.do_engine_steps()


def recorded(workflow, sink, **options):
    return SpiffRecorder(workflow, sink, clock=Clock(), **options)


def check_all(sink, name="own"):
    definitions = read_definitions((MODELS / f"{name}.bpmn").read_bytes())
    for tokens in sink.tokens.values():
        check(tokens, definitions)
    validate_states(sink)


def states(sink, number=0):
    return [(token.element_id, token.state) for token in sink.of(number)]


def context(token):
    return msgspec.json.decode(token.execution_context)


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    yield
    assert (Task._set_state, Task._child_added_notify, Workflow._remove_task) == METHODS


def test_a_program_that_drives_its_tasks_by_hand():
    workflow, sink = own_workflow(), MemorySink()
    with recorded(workflow, sink, instance_id="order-17") as recorder:
        workflow.do_engine_steps()
        recorder.flush()
        assert states(sink) == [("start", "COMPLETED"), ("ask", "ACTIVE")]
        assert sink.instance.status == "ACTIVE"
        do(workflow, "ask", answer="both")
        recorder.flush()
        assert states(sink)[2:] == [
            ("choose", "COMPLETED"),
            ("split", "COMPLETED"),
            ("left", "ACTIVE"),
            ("right", "ACTIVE"),
            ("third", "ACTIVE"),
        ]
        for name in ("right", "left"):
            do(workflow, name)
            recorder.flush()
        assert states(sink)[-2:] == [("join", "WAITING"), ("join", "WAITING")]
        do(workflow, "third")
    assert states(sink)[-4:] == [("join", "COMPLETED")] * 3 + [("end", "COMPLETED")]
    assert sink.instance.status == "COMPLETED"
    assert sink.instance.instance_id == "order-17"
    assert list(sink.definitions) == ["own"]  # read from the file that the spec names
    decision = context(sink.one("choose"))["gateway_decision"]
    assert decision["condition_evaluated"] == "answer == 'both'"
    assert decision["selected_flow"] == "f-both"
    assert decision["evaluation_time_ms"] > 0
    ask = sink.one("ask")
    assert (ask.element_type, ask.element_name) == ("userTask", "Ask")
    assert ask.created_at < ask.completed_at
    assert msgspec.json.decode(ask.variables) == {"answer": "both"}
    assert {sink.one("third").element_type, sink.one("right").element_type} == {"serviceTask", "manualTask"}
    check_all(sink)


def test_without_the_file_types_and_names_come_from_the_specs():
    parser, sink = BpmnParser(), MemorySink()
    parser.add_bpmn_str(OWN.read_bytes())
    workflow = BpmnWorkflow(parser.get_spec("own"))
    with recorded(workflow, sink):
        do(workflow, "ask", answer=5)
    assert [token.element_type for token in sink.of()] == [
        "startEvent",
        "userTask",
        "exclusiveGateway",
        "scriptTask",
        "endEvent",
    ]
    assert [hop.from_element for token in sink.of() for hop in token.hops] == [
        "start",
        "ask",
        "choose",
        "compute",
    ]
    assert not any(hop.via_flow for token in sink.of() for hop in token.hops)
    parser, sink = BpmnParser(), MemorySink()
    parser.add_bpmn_str(OWN.read_bytes())
    workflow = BpmnWorkflow(parser.get_spec("own"))
    with recorded(workflow, sink, definitions=read_definitions(OWN.read_bytes())):
        do(workflow, "ask", answer=5)
    assert [hop.via_flow for token in sink.of() for hop in token.hops] == ["f1", "f2", "f-none", "f4"]


def test_two_workflows_of_one_spec_do_not_mix():
    first, sink = own_workflow(), MemorySink()
    second = BpmnWorkflow(first.spec)
    silent = BpmnWorkflow(first.spec)
    with recorded(first, sink, instance_id="a"), recorded(second, sink, instance_id="b"):
        do(silent, "ask", answer="both")
        do(first, "ask", answer="both")
        do(second, "ask", answer=2)
        do(first, "left")
    assert sink.instances["a"].status == "ACTIVE"
    assert sink.instances["b"].status == "COMPLETED"
    assert {token.instance_id for token in sink.of(0)} != {token.instance_id for token in sink.of(1)}
    assert sorted(len(tokens) for tokens in sink.tokens.values()) == [5, 8]
    check_all(sink)


def test_two_recorders_of_one_workflow():
    workflow, one, other = own_workflow(), MemorySink(), MemorySink()
    with recorded(workflow, one), recorded(workflow, other):
        do(workflow, "ask", answer=2)
    assert states(one) == states(other)
    assert [t.token_id for t in one.of()] == [t.token_id for t in other.of()]


def test_after_detach_nothing_is_recorded():
    workflow, sink = own_workflow(), MemorySink()
    recorder = recorded(workflow, sink).attach()
    workflow.do_engine_steps()
    recorder.detach()
    recorder.detach()
    do(workflow, "ask", answer=2)
    recorder.flush()
    assert states(sink) == [("start", "COMPLETED"), ("ask", "ACTIVE")]


def test_the_programs_logging_is_left_alone(caplog):
    root, spiff = logging.getLogger(), logging.getLogger("spiff.task")
    before = [(one.level, list(one.handlers), list(one.filters), one.disabled) for one in (root, spiff)]
    workflow, sink = own_workflow(), MemorySink()
    logging.disable(logging.CRITICAL)
    try:
        with recorded(workflow, sink):
            during = [(one.level, list(one.handlers), list(one.filters), one.disabled) for one in (root, spiff)]
            do(workflow, "ask", answer=2)
    finally:
        logging.disable(logging.NOTSET)
    assert during == before
    assert sink.one("end").state == "COMPLETED"
    assert caplog.records == []


def test_an_error_of_the_program_leaves_what_was_recorded():
    workflow, sink = own_workflow(), MemorySink()
    with pytest.raises(Exception, match="ZeroDivisionError"), recorded(workflow, sink):
        do(workflow, "ask", answer=0)
    compute = sink.one("compute")
    assert compute.state == "FAILED"
    assert "ZeroDivisionError" in context(compute)["error_message"]
    assert sink.instance.status == "ACTIVE"
    check_all(sink)


def test_a_task_that_failed_and_is_reset_is_retried_with_the_same_token():
    workflow, sink = own_workflow(), MemorySink()
    with recorded(workflow, sink) as recorder:
        with pytest.raises(Exception, match="ZeroDivisionError"):
            do(workflow, "ask", answer=0)
        recorder.flush()
        assert (sink.one("compute").state, sink.instance.status) == ("FAILED", "ACTIVE")
        (task,) = workflow.get_tasks(spec_name="compute")
        task.parent.data["answer"] = 5
        workflow.reset_from_task_id(task.id)
        workflow.do_engine_steps()
    done = sink.one("compute")
    assert (done.state, done.context.retries_used) == ("COMPLETED", 1)
    assert done.parent_token_id == sink.one("choose").token_id
    check_all(sink)


def test_going_back_cancels_what_had_begun():
    workflow, sink = own_workflow(), MemorySink()
    with recorded(workflow, sink):
        do(workflow, "ask", answer="both")
        (ask,) = workflow.get_tasks(spec_name="ask")
        workflow.reset_from_task_id(ask.id)
        do(workflow, "ask", answer=2)
    assert {token.state for name in ("left", "right", "third") for token in sink.at(name)} == {"CANCELLED"}
    assert [token.state for token in sink.at("ask")] == ["COMPLETED", "COMPLETED"]
    assert sink.instance.status == "COMPLETED"
    check_all(sink)


def test_a_cancelled_workflow():
    workflow, sink = own_workflow(), MemorySink()
    with recorded(workflow, sink):
        do(workflow, "ask", answer="both")
        do(workflow, "left")
        workflow.cancel()
    assert sink.instance.status == "CANCELLED"
    assert [token.state for name in ("left", "right", "third", "join") for token in sink.at(name)] == [
        "COMPLETED",
        "CANCELLED",
        "CANCELLED",
        "CANCELLED",
    ]
    assert sink.at("end") == []
    check_all(sink)


@pytest.mark.parametrize("done", range(4))
def test_a_restored_workflow_goes_on_as_the_same_instance(done):
    names = ("left", "right", "third")
    workflow, sink = own_workflow(), MemorySink()
    with SpiffRecorder(workflow, sink):
        do(workflow, "ask", answer="both")
        for name in names[:done]:
            do(workflow, name)
    serializer = own_serializer()
    restored, second = serializer.deserialize_json(serializer.serialize_json(workflow)), MemorySink()
    with SpiffRecorder(restored, second) as recorder:
        recorder.flush()
        before, after = sink.tokens, second.tokens
        assert list(before) == list(after)
        ((_, before),), ((_, after),) = before.items(), after.items()
        assert set(before) == set(after)
        for token_id, token in before.items():
            again = after[token_id]
            assert (again.state, again.parent_token_id) == (token.state, token.parent_token_id)
            assert again.child_tokens == token.child_tokens
            assert [hop.via_flow for hop in again.hops] == [hop.via_flow for hop in token.hops]
            assert abs(again.updated_at - token.updated_at) < timedelta(seconds=1)
            assert abs(again.created_at - token.created_at) < timedelta(seconds=1)
        for name in names[done:]:
            do(restored, name)
    assert second.instance.status == "COMPLETED"
    assert {token.state for token in second.of()} == {"COMPLETED"}
    assert len(second.at("join")) == 3
    assert {token.child_tokens for token in second.at("join")} == {(second.one("end").token_id,)}
    check_all(second)


def test_a_workflow_can_be_copied_and_serialized_while_it_is_recorded():
    workflow, sink = own_workflow(), MemorySink()
    with recorded(workflow, sink, instance_id="a"):
        do(workflow, "ask", answer="both")
        serializer = own_serializer()
        assert serializer.deserialize_json(serializer.serialize_json(workflow)).spec.name == "own"
        copied = copy.deepcopy(workflow)
        do(copied, "left")
    assert sink.one("left").state == "ACTIVE"


def test_variables_that_json_cannot_hold():
    workflow, sink = own_workflow(), MemorySink()
    loop = []
    loop.append(loop)
    with recorded(workflow, sink):
        do(workflow, "ask", answer=2, big=10**30, odd={1, 2}, ring=loop, fine="ä")
    data = msgspec.json.decode(sink.one("ask").variables)
    assert data == {"answer": 2, "big": 10**30, "odd": [1, 2], "ring": "[[...]]", "fine": "ä"}


def test_a_program_may_tell_of_its_jobs():
    workflow, sink = own_workflow(), MemorySink()
    with recorded(workflow, sink) as recorder:
        workflow.do_engine_steps()
        (task,) = workflow.get_tasks(spec_name="ask")
        recorder.annotate(task, worker_id="anna", retries_left=2)
        recorder.flush()
        assert context(sink.one("ask")) == {"worker_id": "anna", "retries_left": 2}
        recorder.suspend()
        recorder.flush()
        assert (sink.one("ask").state, sink.instance.status) == ("SUSPENDED", "SUSPENDED")
        recorder.resume()
        recorder.flush()
        assert (sink.one("ask").state, sink.instance.status) == ("ACTIVE", "ACTIVE")
        recorder.suspend()
        do(workflow, "ask", answer=1)
    assert sink.one("ask").state == "COMPLETED"
    check_all(sink)


def test_without_spiffworkflow_the_error_says_what_to_install():
    code = (
        "import sys; sys.modules['SpiffWorkflow'] = None\n"
        "import tokctl.simulation.simulate, tokctl.simulation.demo, tokctl.simulation.scenario\n"
        "from datetime import datetime, UTC\n"
        "from tokctl.errors import UsageError\n"
        "models, scenario = tokctl.simulation.demo.load_demo()\n"
        "try: tokctl.simulation.simulate.simulate(models, scenario, None, end=datetime.now(UTC))\n"
        "except UsageError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'tokctl[spiff]'" in done.stdout


def test_importing_the_simulation_does_not_import_spiffworkflow():
    code = "import sys, tokctl.simulation.simulate, tokctl.simulation.demo; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"SpiffWorkflow", "lxml"} & set(done.stdout.split())


def test_the_errors_are_tokctls_own():
    from tokctl.recorder.lifecycle import TransitionError

    assert issubclass(TransitionError, TokctlError)
