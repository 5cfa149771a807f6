"""Which compensation handlers run, how often, and in which order; the token player checks each run."""

import pytest

from support.recording import START, MemorySink
from support.token_player import play
from support.token_records import definitions, flows
from tokctl.simulation.scenario import parse_scenario
from tokctl.simulation.simulate import simulate

TWICE = "<multiInstanceLoopCharacteristics><loopCardinality>2</loopCardinality></multiInstanceLoopCharacteristics>"
SIGNAL = '<signalEventDefinition signalRef="x"/>'


def activity(name, content="", kind="task"):
    """An activity with a compensation handler ``undo-NAME``."""
    return (
        f'<{kind} id="{name}">{content}</{kind}>'
        f'<boundaryEvent id="on-{name}" attachedToRef="{name}"><compensateEventDefinition/></boundaryEvent>'
        f'<task id="undo-{name}" isForCompensation="true"/>'
        f'<association id="to-{name}" sourceRef="on-{name}" targetRef="undo-{name}"/>'
    )


def sub_process(content, name="sub"):
    return f'<subProcess id="{name}"><startEvent id="s-{name}"/>{content}</subProcess>'


def throw(of="", name="throw"):
    reference = f' activityRef="{of}"' if of else ""
    kind = "intermediateThrowEvent"
    return f'<{kind} id="{name}"><compensateEventDefinition{reference}/></{kind}>'


def compensated(body, scenario="", notes=()):
    """Simulate a process; returns the handlers in the order in which they began."""
    model = definitions(f'<startEvent id="s"/>{body}').replace(b"<process", b'<signal id="x" name="x"/><process', 1)
    sink = MemorySink()
    result = simulate([("m", model)], parse_scenario(scenario), sink, start=START)
    assert [(one.element_id, one.what) for one in result.approximations] == list(notes)
    assert play([model], sink.of(), status=sink.instance.status).problems == []
    return [token.element_id.removeprefix("undo-") for token in sink.of() if token.element_id.startswith("undo-")]


A_B = activity("a") + activity("b")
IN_SUB = sub_process(A_B + flows("i1:s-sub>a i2:a>b"))


@pytest.mark.parametrize(
    ("body", "handlers"),
    [
        (A_B + throw() + flows("f1:s>b f2:b>a f3:a>throw"), "a b"),
        (A_B + throw("b") + flows("f1:s>b f2:b>a f3:a>throw"), "b"),
        (A_B + throw() + flows("f1:s>a f2:a>throw"), "a"),
        (A_B + throw() + throw(name="again") + flows("f1:s>a f2:a>throw f3:throw>b f4:b>again"), "a b"),
        (activity("a", TWICE) + activity("b") + throw() + flows("f1:s>b f2:b>a f3:a>throw"), "a a b"),
        (IN_SUB + activity("c") + throw() + flows("f1:s>c f2:c>sub f3:sub>throw"), "b a c"),
        (IN_SUB + activity("c") + throw("sub") + flows("f1:s>c f2:c>sub f3:sub>throw"), "b a"),
        (
            activity("sub", f'<startEvent id="is"/>{A_B}{flows("i1:is>a i2:a>b")}', kind="subProcess")
            + throw()
            + flows("f1:s>sub f2:sub>throw"),
            "sub",
        ),
        (
            activity("a")
            + sub_process(activity("b") + throw() + flows("i1:s-sub>b i2:b>throw"))
            + flows("f1:s>a f2:a>sub"),
            "b",
        ),
    ],
    ids=[
        "in reverse order",
        "only the named activity",
        "only what was completed",
        "only once",
        "each instance",
        "what is in a sub-process",
        "a named sub-process",
        "a sub-process by its own handler",
        "nothing around a sub-process",
    ],
)
def test_handlers_run_in_reverse_order(body, handlers):
    assert compensated(body) == handlers.split()


def test_an_event_sub_process_compensates_what_is_around_it():
    inner = activity("b") + throw() + flows("i1:es>b i2:b>throw")
    event = f'<startEvent id="es">{SIGNAL}</startEvent>{inner}'
    body = activity("a") + f'<task id="c"/><subProcess id="event" triggeredByEvent="true">{event}</subProcess>'
    signal = f'<intermediateThrowEvent id="signal">{SIGNAL}</intermediateThrowEvent>'
    links = flows("f1:s>a f2:a>signal f3:signal>c")
    assert compensated(body + signal + links) == ["b", "a"]


def test_a_compensation_event_sub_process_is_not_run_and_that_is_noted():
    event = '<startEvent id="es"><compensateEventDefinition/></startEvent>'
    inner = A_B + f'<subProcess id="event" triggeredByEvent="true">{event}</subProcess>' + flows("i1:s-sub>a i2:a>b")
    body = sub_process(inner) + throw() + flows("f1:s>sub f2:sub>throw")
    note = ("sub", "is compensated by what is in it, without its event sub-process 'event'")
    assert compensated(body, notes=[note]) == ["b", "a"]


def test_what_is_completed_during_compensation_is_not_compensated():
    body = activity("late") + activity("a") + throw() + flows("f1:s>a f2:a>throw f3:s>late")
    assert compensated(body, "tasks: {late: {takes: 1500ms}, undo-a: {takes: 1h}}") == ["a"]


def test_a_handler_that_waits_holds_up_the_event():
    body = activity("a").replace('task id="undo-a"', 'receiveTask id="undo-a"')
    assert compensated(f'{body}{throw()}<endEvent id="e"/>{flows("f1:s>a f2:a>throw f3:throw>e")}') == ["a"]


def test_a_cancelled_transaction_withdraws_what_is_left_before_it_compensates():
    cancel = '<endEvent id="no"><cancelEventDefinition/></endEvent>'
    inner = f'<startEvent id="is"/>{A_B}{cancel}{flows("i1:is>a i2:a>no i3:is>b")}'
    caught = '<boundaryEvent id="cancelled" attachedToRef="tx"><cancelEventDefinition/></boundaryEvent>'
    body = f'<transaction id="tx">{inner}</transaction>{caught}<endEvent id="e"/>{flows("f1:s>tx f2:cancelled>e")}'
    assert compensated(body, "tasks: {b: {takes: 1500ms}, undo-a: {takes: 1h}}") == ["a"]
