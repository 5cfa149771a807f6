"""Only activities around an error, an escalation or a cancellation catch it; the token player checks each run."""

import pytest

from support.recording import START, MemorySink
from support.token_player import play
from support.token_records import definitions, flows
from tokctl.simulation.scenario import parse_scenario
from tokctl.simulation.simulate import simulate

ERRORS = '<error id="E" errorCode="E-1"/><error id="F" errorCode="F-1"/>'
MANY = "<multiInstanceLoopCharacteristics><loopCardinality>3</loopCardinality></multiInstanceLoopCharacteristics>"


def event(kind, name, definition="error", more="", reference=""):
    return f'<{kind} id="{name}"{more}><{definition}EventDefinition{reference}/></{kind}>'


def boundary(of, name, definition="error", reference=""):
    return event("boundaryEvent", name, definition, f' attachedToRef="{of}"', reference)


def holder(name, content, kind="subProcess"):
    return f'<{kind} id="{name}"><startEvent id="s-{name}"/>{content}</{kind}>'


def failing(name, more=""):
    """A sub-process that throws an error at once."""
    return holder(name, f"{more}{event('endEvent', f'e-{name}')}{flows(f'f-{name}:s-{name}>e-{name}')}")


def simulated(body, scenario=""):
    model = definitions(f'<startEvent id="s"/>{body}').replace(b"<process", f"{ERRORS}<process".encode(), 1)
    sink = MemorySink()
    result = simulate([("m", model)], parse_scenario(scenario), sink, start=START)
    assert play([model], sink.of(), status=sink.instance.status).problems == []
    return sink, {one.what for one in result.approximations}


UNCAUGHT = {"its error is not caught, and ends the instance"}


def test_an_error_is_not_caught_beside_the_activity_that_throws_it():
    body = failing("a") + failing("b").replace("errorEvent", "messageEvent") + boundary("b", "caught")
    sink, notes = simulated(f'{body}<task id="t"/>{flows("f1:s>a f2:s>b f3:caught>t")}', "tasks: {b: {takes: 1h}}")
    assert (sink.at("caught"), sink.at("t"), notes) == ([], [], UNCAUGHT)
    sink, notes = simulated(f'<task id="t"/>{event("endEvent", "e")}{boundary("t", "caught")}{flows("f1:s>t f2:s>e")}')
    assert (sink.at("caught"), sink.one("t").state, notes) == ([], "CANCELLED", UNCAUGHT)


def test_an_error_is_caught_once_by_the_most_specific_event():
    starts = {"any": "", "other": ' errorRef="F"', "same": ' errorRef="E"'}
    events = "".join(
        f'<subProcess id="{name}" triggeredByEvent="true">'
        f"{event('startEvent', f's-{name}', reference=reference)}</subProcess>"
        for name, reference in starts.items()
    )
    sink, _ = simulated(events + event("endEvent", "e", reference=' errorRef="E"') + flows("f:s>e"))
    assert [token.element_id for token in sink.of()] == ["s", "e", "same", "s-same"]


def test_an_error_interrupts_before_others_are_thrown():
    many = failing("a").replace('id="a">', f'id="a">{MANY}')
    sink, notes = simulated(many + boundary("a", "caught") + f'<task id="t"/>{flows("f1:s>a f2:caught>t")}')
    assert (len(sink.at("t")), notes) == (1, set())
    assert sorted(token.state for token in sink.at("e-a")) == ["CANCELLED", "CANCELLED", "COMPLETED"]


@pytest.mark.parametrize("kind", ["error", "escalation"])
def test_it_goes_up_to_the_innermost_activity_that_catches_it(kind):
    inner = failing("b").replace("errorEvent", f"{kind}Event")
    middle = holder("a", inner + flows("fa:s-a>b"))
    outer = holder("o", middle + boundary("a", "caught", kind) + flows("fo:s-o>a"))
    sink, notes = simulated(outer + boundary("o", "not", kind) + flows("f:s>o"))
    assert (len(sink.at("caught")), sink.at("not"), notes) == (1, [], set())
    assert [sink.one(name).state for name in ("b", "a", "o")] == ["CANCELLED", "CANCELLED", "COMPLETED"]


def test_an_error_of_a_job_goes_up_too():
    body = holder("a", f'<serviceTask id="t"/>{flows("fa:s-a>t")}') + boundary("a", "caught", reference=' errorRef="E"')
    sink, _ = simulated(body + flows("f:s>a"), "tasks: {t: {throws: {error: E-1}}}")
    assert (sink.one("a").state, sink.one("t").state, len(sink.at("caught"))) == ("CANCELLED", "CANCELLED", 1)


def test_a_transaction_does_not_cancel_the_one_around_it():
    inner = holder("in", event("endEvent", "no", "cancel") + flows("fi:s-in>no"), kind="transaction")
    outer = holder("out", inner + flows("fo:s-out>in"), kind="transaction")
    sink, _ = simulated(outer + boundary("out", "cancelled", "cancel") + flows("f:s>out"))
    assert (sink.one("out").state, sink.at("cancelled")) == ("COMPLETED", [])


def test_boundary_events_are_withdrawn_each_time():
    inner = (
        f'<exclusiveGateway id="g"/><endEvent id="ok"/>{event("endEvent", "bad")}{flows("i1:s-a>g i2:g>bad i3:g>ok")}'
    )
    body = f'{holder("a", inner)}{boundary("a", "caught")}<task id="t"/>{flows("f1:s>a f2:caught>t f3:t>a")}'
    for seed in range(5):
        sink, _ = simulated(body, f"seed: {seed}")
        assert sink.instance.status == "COMPLETED"
