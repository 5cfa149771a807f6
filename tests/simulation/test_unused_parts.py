"""Parts of a scenario that match nothing of the model, or cannot have an effect, are told."""

import pytest

from support.small_models import START_EVENT, around, chain, flow, play, process
from tokctl.errors import InputError
from tokctl.simulation.scenario import parse_scenario

PAID = '<message id="m" name="Paid"/>'
MODEL = process(
    f'{START_EVENT}<task id="t"/><exclusiveGateway id="g"/><task id="many"><multiInstanceLoopCharacteristics/></task>'
    '<intermediateCatchEvent id="wait"><messageEventDefinition messageRef="m"/></intermediateCatchEvent>'
    f'<endEvent id="e"/>{chain("s", "t", "g")}<sequenceFlow id="to-many" sourceRef="g" targetRef="many"/>'
    f'<sequenceFlow id="to-wait" sourceRef="g" targetRef="wait"/>{flow("many", "wait")}{flow("wait", "e")}',
    PAID,
)


@pytest.mark.parametrize(
    ("scenario", "unused"),
    [
        ("messages: {Paid: 1m}", ()),
        ("messages: {wait: 1m}", ()),
        ("messages: {Payed: 1m, t: 1m}", ("messages.Payed", "messages.t")),
        ("flows: {to-many: never}", ()),
        ("flows: {s-t: never, maybe: always}", ("flows.s-t", "flows.maybe")),
        ("tasks: {many: {instances: 3}, 't*': {takes: 2s}}", ()),
        ("tasks: {t: {instances: 3}, x: {hangs: true}}", ("tasks.t.instances", "tasks.x")),
        ("tasks: {'[a-z]*': {instances: 3}, default: {instances: 2}}", ()),
        ("cases: {1: {messages: {Payed: 1m}}}", ("messages.Payed",)),
    ],
)
def test_what_matches_nothing_in_the_model_is_told(scenario, unused):
    assert play(MODEL, scenario).result.unused == unused


def test_a_trigger_that_no_process_of_a_collaboration_has_is_told():
    assert play(MODEL, "trigger: nosuch", all_processes=True).result.unused == ("trigger",)
    assert play(MODEL, "trigger: s", all_processes=True).result.unused == ()


def test_an_error_of_the_scenario_that_nothing_catches_is_told():
    played = play(around('<task id="x"/>'), "tasks: {x: {throws: {error: E-1}}}")
    assert played.status == "COMPLETED"
    assert [(one.element_id, "'E-1'" in one.what) for one in played.result.approximations] == [("x", True)]


@pytest.mark.parametrize(
    "text",
    [
        "variables: &v {a: *v}",
        "variables:\n  a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]\n"
        + "".join(f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)),
    ],
)
def test_aliases_cannot_make_a_scenario_huge(text):
    with pytest.raises(InputError, match="more than 1,000,000 values"):
        parse_scenario(text)
