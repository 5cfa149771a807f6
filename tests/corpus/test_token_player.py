"""The token player agrees with complete legal runs, and finds what is missing or wrong in others."""

from __future__ import annotations

from datetime import timedelta
from random import Random

import pytest
from msgspec.structs import replace

from support.paths import MODELS, TESTS
from support.random_models import RandomModel, make_scenario
from support.recording import START, MemorySink, run
from support.token_player import play
from support.token_records import definitions, flows, records
from tokctl.simulation.scenario import parse_scenario
from tokctl.simulation.simulate import simulate

SIMULATED = (
    ("sequence", "variables: {price: 21}"),
    ("sequence", "{variables: {price: 1}, tasks: {check: {fails: true}}}"),
    ("exclusive", "variables: {amount: 5}"),
    ("inclusive", "variables: {gift: true, fast: true}"),
    ("inclusive", "variables: {gift: false, fast: true}"),
    ("inclusive", "variables: {gift: false, fast: false}"),
    ("parallel", "tasks: {b: {takes: 5s}, c: {takes: 3s}}"),
    ("parallel", "tasks: {b: {hangs: true}, c: {takes: 3s}}"),
    ("parallel", "{tasks: {b: {hangs: true}}, cancel: 5s}"),
    ("terminate", "tasks: {quick: {takes: 5s}, slow: {hangs: true}, last: {takes: 2s}}"),
    ("subprocess", ""),
    ("calling called", ""),
    ("multiple", ""),
    ("loop", "variables: {n: 0, rounds: 0}"),
    ("boundary", "tasks: {slow: {takes: 3h}}"),
    ("boundary", "tasks: {slow: {takes: 12m}}"),
    ("boundary", "tasks: {charge: {throws: {error: E-DECLINED}}}"),
    ("interrupted", "tasks: {each: {hangs: true}, part: {hangs: true}}"),
    ("interrupted", "tasks: {each: {takes: 90s}, part: {takes: 90s}, later: {takes: 5m}}"),
    ("events", "messages: {open: 3s}"),
    ("double", "variables: {x: 12}"),
)
STRUCTURED = ("task", "sequence", "choice", "loop", "parallel", "scope", "multiple", "boundary")
"""Blocks with one token in and one out."""


def simulated(models, scenario):
    """Run models of the recorder's tests; returns their XML, the tokens of the first instance and its status."""
    sink = run(models, scenario)
    instance_id, tokens = next(iter(sink.tokens.items()))
    xml = [(MODELS / f"{name}.bpmn").read_bytes() for name in models.split()]
    return xml, list(tokens.values()), sink.instances[instance_id].status


def without_end(token):
    return replace(token, state="WAITING", completed_at=None)


def mutations(tokens):
    """Return (what, tokens) for each change of one token that no complete legal run can have."""
    types = {token.element_id: token.element_type for token in tokens}
    random = Random(len(tokens))
    for number, token in enumerate(tokens):
        others = tokens[:number], tokens[number + 1 :]

        def put(*changed, others=others):
            return [*others[0], *changed, *others[1]]

        name = f"{token.element_id} ({number})"
        yield f"{name} doubled", put(token, replace(token, token_id="other", child_tokens=()))
        if token.state == "COMPLETED":
            yield f"{name} removed", put()
            yield f"{name} not completed", put(without_end(token))
            cancelled = replace(token, state="CANCELLED", completed_at=None, cancelled_at=token.completed_at)
            yield f"{name} cancelled", put(cancelled)
        if token.parent_token_id is not None:
            yield f"{name} before its time", put(replace(token, created_at=token.created_at - timedelta(days=9)))
            for element_id in random.sample(sorted(types), min(3, len(types))):
                if element_id != token.element_id:
                    moved = replace(token, element_id=element_id, element_type=types[element_id])
                    yield f"{name} moved to {element_id}", put(moved)


@pytest.mark.parametrize(("models", "scenario"), SIMULATED)
def test_recorded_runs_agree_and_no_change_of_a_token_does(models, scenario):
    xml, tokens, status = simulated(models, scenario)
    assert play(xml, tokens, status=status).problems == []
    assert play(xml, tokens, status=status).unchecked == []
    assert [what for what, changed in mutations(tokens) if not play(xml, changed, status=status).problems] == []


@pytest.mark.parametrize("seed", range(8))
def test_random_runs_agree_and_no_change_of_a_token_does(seed):
    model = RandomModel(seed, blocks=STRUCTURED)
    sink = MemorySink()
    scenario = parse_scenario(make_scenario(seed, "{uniform: [1s, 5s]}"))
    simulate([("m", model.xml)], scenario, sink, start=START)
    for instance_id, recorded in sink.tokens.items():
        tokens, status = list(recorded.values()), sink.instances[instance_id].status
        assert play([model.xml.encode()], tokens, status=status).problems == []
        changes = list(mutations(tokens))
        changes = Random(seed).sample(changes, min(40, len(changes)))
        assert [w for w, changed in changes if not play([model.xml.encode()], changed, status=status).problems] == []


@pytest.mark.parametrize("models", ["multiple", "boundary", "parallel", "subprocess"])
def test_any_record_is_judged(models):
    """Whatever the parents, elements and states of tokens are, the answer is a list of problems."""
    xml, tokens, status = simulated(models, "")
    random = Random(models)
    for _ in range(40):
        changed = [
            replace(
                token,
                parent_token_id=random.choice([*(other.token_id for other in tokens), "none", None]),
                element_id=random.choice(tokens).element_id,
                state=random.choice(("COMPLETED", "WAITING", "FAILED", token.state)),
            )
            for token in random.sample(tokens, len(tokens) // 2 + 1)
        ]
        assert play(xml, changed, status=status).problems


EVENT = {
    "link": '<linkEventDefinition name="l"/>',
    "compensate": "<compensateEventDefinition/>",
    "error": "<errorEventDefinition/>",
    "signal": "<signalEventDefinition/>",
    "timer": "<timerEventDefinition><timeDuration>PT1S</timeDuration></timerEventDefinition>",
    "terminate": "<terminateEventDefinition/>",
}
LINKS = definitions(
    '<startEvent id="s"/>'
    f'<intermediateThrowEvent id="out">{EVENT["link"]}</intermediateThrowEvent>'
    f'<intermediateCatchEvent id="in">{EVENT["link"]}</intermediateCatchEvent><endEvent id="e"/>'
    + flows("f1:s>out f2:in>e")
)
COMPENSATION = definitions(
    '<startEvent id="s"/><task id="book"/><task id="undo" isForCompensation="true"/><endEvent id="e"/>'
    f'<boundaryEvent id="b" attachedToRef="book">{EVENT["compensate"]}</boundaryEvent>'
    '<association id="a" sourceRef="b" targetRef="undo"/>'
    f'<intermediateThrowEvent id="throw">{EVENT["compensate"]}</intermediateThrowEvent>'
    + flows("f1:s>book f2:book>throw f3:throw>e")
)
EVENT_SUB_PROCESS = definitions(
    '<startEvent id="s"/><task id="work"/><endEvent id="e"/>'
    '<subProcess id="event" triggeredByEvent="true">'
    f'<startEvent id="es">{EVENT["signal"]}</startEvent><endEvent id="ee"/>{flows("f3:es>ee")}</subProcess>'
    + flows("f1:s>work f2:work>e")
)
NOT_INTERRUPTING = EVENT_SUB_PROCESS.replace(b'id="es"', b'id="es" isInterrupting="false"')
CONDITIONS = definitions(
    '<startEvent id="s"/><task id="t" default="d"/><endEvent id="e1"/><endEvent id="e2"/><endEvent id="e3"/>'
    + flows("f1:s>t c1:t>e1? c2:t>e2? d:t>e3")
)
IMPLICIT = definitions('<startEvent id="s"/><task id="t"/><task id="u"/>' + flows("f1:s>t f2:s>u"))
NO_START = definitions('<task id="t"/><task id="u"/><endEvent id="e"/>' + flows("f1:u>e"))
TWO_STARTS = definitions('<startEvent id="s"/><startEvent id="z"/><endEvent id="e"/>' + flows("f1:s>e f2:z>e"))
EVENT_GATEWAY = definitions(
    '<startEvent id="s"/><eventBasedGateway id="g"/><receiveTask id="r"/><endEvent id="e"/>'
    f'<intermediateCatchEvent id="i">{EVENT["timer"]}</intermediateCatchEvent>'
    + flows("f1:s>g f2:g>r f3:g>i f4:r>e f5:i>e")
)
INCLUSIVE = definitions(
    '<startEvent id="s"/><inclusiveGateway id="g" default="d"/><task id="a"/><task id="b"/><task id="c"/>'
    '<inclusiveGateway id="j"/><endEvent id="e"/>' + flows("f:s>g fa:g>a? fb:g>b? d:g>c ja:a>j jb:b>j jc:c>j fe:j>e")
)
PARALLEL = definitions(
    '<startEvent id="s"/><parallelGateway id="g"/><task id="a"/><task id="b"/><parallelGateway id="j"/>'
    '<endEvent id="e"/>' + flows("f:s>g fa:g>a fb:g>b ja:a>j jb:b>j fe:j>e")
)
ERROR = definitions(
    f'<startEvent id="s"/><subProcess id="sub"><startEvent id="is"/><endEvent id="ie">{EVENT["error"]}</endEvent>'
    f'{flows("i1:is>ie")}</subProcess><endEvent id="e"/><endEvent id="failed"/>'
    f'<boundaryEvent id="b" attachedToRef="sub">{EVENT["error"]}</boundaryEvent>'
    + flows("f1:s>sub f2:sub>e f3:b>failed")
)
CAUGHT = definitions(
    f'<startEvent id="s"/><endEvent id="e">{EVENT["error"]}</endEvent><task id="t"/>'
    f'<subProcess id="event" triggeredByEvent="true"><startEvent id="es">{EVENT["error"]}</startEvent><task id="u"/>'
    f"{flows('f3:es>u')}</subProcess>" + flows("f1:s>e f2:s>t")
)
UNCAUGHT = definitions(
    f'<startEvent id="s"/><subProcess id="sub"><startEvent id="is"/><endEvent id="ie">{EVENT["error"]}</endEvent>'
    f'{flows("i1:is>ie")}</subProcess><task id="t"/>' + flows("f1:s>sub f2:s>t")
)
IN_SUB = definitions(
    '<startEvent id="s"/><subProcess id="sub"><startEvent id="is"/><task id="a"/><task id="b"/>'
    f'<boundaryEvent id="on-a" attachedToRef="a">{EVENT["compensate"]}</boundaryEvent><task id="undo-a"/>'
    f'<boundaryEvent id="on-b" attachedToRef="b">{EVENT["compensate"]}</boundaryEvent><task id="undo-b"/>'
    f"{flows('i1:is>a i2:a>b')}</subProcess>"
    f'<intermediateThrowEvent id="throw">{EVENT["compensate"]}</intermediateThrowEvent><endEvent id="e"/>'
    '<association id="1" sourceRef="on-a" targetRef="undo-a"/><association id="2" sourceRef="on-b" targetRef="undo-b"/>'
    + flows("f1:s>sub f2:sub>throw f3:throw>e")
)
TERMINATE = definitions(
    f'<startEvent id="s"/><task id="a"/><task id="b"/><endEvent id="stop">{EVENT["terminate"]}</endEvent>'
    + flows("f1:s>a f2:s>b f3:a>stop")
)
CALL = definitions('<startEvent id="s"/><callActivity id="c" calledElement="x:q"/>' + flows("f1:s>c"))
CALLED = definitions('<startEvent id="qs"/><endEvent id="qe"/>' + flows("q1:qs>qe")).replace(b'id="p"', b'id="q"')
NO_FLOW_IDS = definitions('<startEvent id="s"/><endEvent id="e"/><sequenceFlow sourceRef="s" targetRef="e"/>')
AD_HOC = definitions('<startEvent id="s"/><adHocSubProcess id="h"><task id="t"/></adHocSubProcess>' + flows("f:s>h"))
COMPLEX = PARALLEL.replace(b"parallelGateway", b"complexGateway")
TRANSACTION = definitions(
    '<startEvent id="s"/><transaction id="tx"><startEvent id="ts"/><task id="book"/><task id="pay"/>'
    f'<boundaryEvent id="b" attachedToRef="book">{EVENT["compensate"]}</boundaryEvent>'
    '<subProcess id="undo" isForCompensation="true"><startEvent id="us"/></subProcess>'
    '<association id="a" sourceRef="b" targetRef="undo"/>'
    f'<endEvent id="no"><cancelEventDefinition/></endEvent>{flows("t1:ts>book t2:book>no t3:ts>pay")}</transaction>'
    '<boundaryEvent id="cancelled" attachedToRef="tx"><cancelEventDefinition/></boundaryEvent><endEvent id="e"/>'
    + flows("f1:s>tx f2:cancelled>e")
)
TWICE = definitions(
    '<startEvent id="s"/><task id="t" completionQuantity="2"/><endEvent id="e"/>' + flows("f1:s>t f2:t>e")
)
PARALLEL_ITEMS = definitions(
    '<startEvent id="s"/><task id="t"><multiInstanceLoopCharacteristics><loopCardinality>2</loopCardinality>'
    f"</multiInstanceLoopCharacteristics></task>{flows('f:s>t')}"
    f'<boundaryEvent id="b" attachedToRef="t">{EVENT["timer"]}</boundaryEvent>'
)
LOOP = definitions(
    '<startEvent id="s"/><task id="t"><standardLoopCharacteristics loopMaximum="2"/></task>' + flows("f:s>t")
)

MODELS_BY_NAME = {name: value for name, value in globals().items() if isinstance(value, bytes)}


def written_cases():
    """Return (model, tokens, what is wrong) by name, from the file beside this one."""
    cases = {}
    for block in (TESTS / "corpus" / "records.txt").read_text(encoding="utf-8").split("\n\n"):
        lines = [line for line in block.splitlines() if not line.startswith("#")]
        if lines:
            model, _, name = lines[0].partition(": ")
            wrong = [line.removeprefix("! ") for line in lines if line.startswith("!")]
            text = "; ".join(line for line in lines[1:] if not line.startswith("!"))
            assert name not in cases
            cases[name] = (MODELS_BY_NAME[model], text, *wrong)
    return cases


CASES = written_cases()


@pytest.mark.parametrize("case", [name for name, case in CASES.items() if len(case) == 2])
def test_legal_runs(case):
    model, text = CASES[case]
    assert play([model], records(model, text)).problems == []


@pytest.mark.parametrize("case", [name for name, case in CASES.items() if len(case) == 3])
def test_illegal_runs(case):
    model, text, expected = CASES[case]
    problems = play([model], records(model, text)).problems
    assert any(expected in problem for problem in problems), problems


def test_a_called_process_runs_in_the_same_instance():
    both = [CALL, CALLED]
    tokens = records(CALL, "s 0-0; c 0-0 <s f1") + records(CALLED, "qs 0-0 <c; qe 0-0 <qs q1")
    assert play(both, tokens).problems == []
    assert play(both, tokens[:2]).problems == [
        "callActivity 'c' is COMPLETED, but the process that it calls has no token"
    ]
    assert play([CALL], tokens[:2], approximated={"c"}).problems == []


def test_what_cannot_be_checked_is_named():
    report = play([AD_HOC], records(AD_HOC, "s 0-0; h 0-1 <s f; t 0-1 <h"))
    assert report.problems == []
    assert report.unchecked == ["which activities of an ad-hoc sub-process run, in adHocSubProcess 'h'"]
    tokens = "s 0-0; g 0-0 <s f; a 0-1 <g fa; j 1-1 <a ja; e 1-1 <j fe"
    report = play([COMPLEX], records(COMPLEX, tokens))
    assert (report.problems, report.unchecked) == ([], ["complexGateway 'j': when it joins"])


@pytest.mark.parametrize(
    ("status", "text"), [("COMPLETED", "s 0-0; t 0- <s f1; u 0-1 <s f2"), ("ACTIVE", "s 0-0; t 0-1 <s f1; u 0-2 <s f2")]
)
def test_the_status_is_that_of_the_tokens(status, text):
    assert play([IMPLICIT], records(IMPLICIT, text), status=status).problems
    assert not play([IMPLICIT], records(IMPLICIT, text)).problems


def test_no_token_is_no_run():
    assert play([IMPLICIT], []).problems == ["there is no token"]
