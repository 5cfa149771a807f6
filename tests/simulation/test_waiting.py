"""What is said of instances that did not end."""

import pytest

from support.small_models import START_EVENT, around, chain, event, play, process, timer

CATCH = '<intermediateCatchEvent id="x">{}</intermediateCatchEvent>'
MESSAGE, SIGNAL = '<message id="m" name="Paid"/>', '<signal id="m" name="Go"/>'
JOIN = process(
    f'{START_EVENT}<task id="a"/><task id="b"/><parallelGateway id="j"/>{chain("s", "a", "j")}{chain("s", "b", "j")}'
)

# (model, scenario, element, parts of the reason)
REASONS = [
    (around(CATCH.format('<messageEventDefinition messageRef="m"/>'), MESSAGE), "", "x", ["message 'Paid'"]),
    (around(CATCH.format('<signalEventDefinition signalRef="m"/>'), SIGNAL), "", "x", ["signal 'Go'"]),
    (around('<receiveTask id="x" name="Payment"/>'), "", "x", ["message 'Payment'"]),
    (around(CATCH.format(timer("P1D"))), "until: 1h", "x", ["timer", "2025-01-12T10:00:00", "after the end"]),
    (around('<task id="x"/>'), "tasks: {x: {hangs: true}}", "x", ["never ends", "scenario"]),
    (around('<task id="x"/>'), "{until: 5s, tasks: {x: {takes: 9s}}}", "x", ["job ends at 2025-01-11T10:00:09"]),
    (
        around('<task id="x"/>'),
        "{until: 5s, tasks: {x: {fails: true, retries: {max: 3, backoff: 1h}}}}",
        "x",
        ["job is retried at 2025-01-11T11:00:01", "after the end of the simulation"],
    ),
    (around('<task id="x"/>'), "tasks: {x: {fails: true}}", "x", ["failed: no retries left"]),
    (around('<task id="x"/>'), "{tasks: {x: {takes: 9s}}, suspend: 5s}", "x", ["suspended"]),
    (JOIN, "tasks: {b: {hangs: true}}", "j", ["other incoming flows"]),
    (
        around(CATCH.format("<conditionalEventDefinition><condition>false</condition></conditionalEventDefinition>")),
        "",
        "x",
        ["its condition"],
    ),
    (
        around('<subProcess id="x"><receiveTask id="in" name="Inner"/></subProcess>'),
        "",
        "in",
        ["message 'Inner'"],
    ),
    (around(f'<task id="x"/>{event(timer("P1D"))}'), "{until: 1h, tasks: {x: {hangs: true}}}", "b", ["timer is due"]),
    (
        process(
            f'{START_EVENT}<eventBasedGateway id="g"/><receiveTask id="m1" name="One"/>'
            '<receiveTask id="m2" name="Two"/>' + chain("s", "g", "m1") + chain("g", "m2")
        ),
        "",
        "g",
        ["message 'One' or waits for message 'Two'"],
    ),
]


@pytest.mark.parametrize(("model", "scenario", "element", "parts"), REASONS)
def test_the_reason_why_an_instance_did_not_end(model, scenario, element, parts):
    played = play(model, scenario)
    assert played.status in {"ACTIVE", "SUSPENDED"}
    assert all(part in played.waiting[element] for part in parts), played.waiting


def test_instances_that_ended_wait_for_nothing():
    assert play(around('<task id="x"/>'), "{instances: 3, cancel: {after: 0.5s, probability: 50%}}").waiting == {}


def test_instances_are_counted_by_reason():
    played = play(
        around('<task id="x"/>'), "{instances: 5, cases: {2: {tasks: {x: {hangs: true}}}}, tasks: {x: {takes: 1s}}}"
    )
    assert [(one.element_id, one.instances) for one in played.result.waiting] == [("x", 1)]


def test_an_instance_that_was_stopped_at_the_limit_of_steps_says_so():
    from tokctl.simulation.limits import RunLimits

    played = play(
        around('<task id="x"><standardLoopCharacteristics loopMaximum="9"/></task>'), limits=RunLimits(steps=4)
    )
    assert played.result.exhausted == 1
    assert "after the end" not in played.waiting["x"]
    assert play(around('<task id="x"/>'), limits=RunLimits(steps=1)).result.exhausted == 0
