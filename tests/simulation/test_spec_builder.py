"""Constructs of BPMN in small models: the elements that run, in order, with the states of those not completed."""

import pytest

from support.random_models import RandomModel, make_scenario
from support.small_models import END, HEAD, START_EVENT, around, chain, event, flow, play, process, timer
from tokctl.errors import InputError

SLOW = "tasks: {x: {takes: 20s}}"
ERROR, ESCALATION = '<error id="er" errorCode="E1"/>', '<escalation id="er" escalationCode="E1"/>'
BAD = '<endEvent id="bad"><errorEventDefinition errorRef="er"/></endEvent>'
STOP = '<{0}EventDefinition {0}Ref="m"/>'
CATCH_ERROR = '<errorEventDefinition errorRef="er"/>'
UNDO = '<task id="undo" isForCompensation="true"/><association id="as" sourceRef="b" targetRef="undo"/>'
COMPENSATE = "<compensateEventDefinition/>"


def many(content="", attributes=""):
    return around(
        f'<userTask id="x"><multiInstanceLoopCharacteristics {attributes}>{content}</multiInstanceLoopCharacteristics>'
        "</userTask>"
    )


def loop(attributes, condition=""):
    inner = f"<loopCondition>{condition}</loopCondition>" if condition else ""
    loops = f"<standardLoopCharacteristics {attributes}>{inner}</standardLoopCharacteristics>"
    return around(f'<task id="x">{loops}</task>')


def event_process(kind, *, interrupts=True):
    """An event sub-process."""
    attribute = "" if interrupts else ' isInterrupting="false"'
    inner = f'<startEvent id="begin"{attribute}>{kind}</startEvent><task id="h"/>{chain("begin", "h")}'
    return f'<subProcess id="es" triggeredByEvent="true">{inner}</subProcess>'


CARDINALITY = "<loopCardinality>{}</loopCardinality>"
ENOUGH = "<completionCondition>nrOfCompletedInstances &gt;= 2</completionCondition>"
ZEEBE = (
    '<extensionElements><zeebe:loopCharacteristics inputCollection="= [1, 2]" inputElement="i"/></extensionElements>'
)
LINK = '<{0} id="{1}"><linkEventDefinition name="L"/></{0}>'
CATCH = '<intermediateCatchEvent id="x">{}</intermediateCatchEvent>'
WHEN = "<conditionalEventDefinition><condition>{}</condition></conditionalEventDefinition>"

# construct → (model, scenario, elements)
CONSTRUCTS = {
    "instances, plain": (many(CARDINALITY.format(2), 'isSequential="true"'), "", "s x x x e"),
    "instances, Camunda": (
        many("", 'camunda:collection="orders" camunda:elementVariable="order"'),
        "variables: {orders: [1, 2, 3]}",
        "s x x x x e",
    ),
    "instances, Zeebe": (many(ZEEBE), "", "s x x x e"),
    "instances, of the scenario": (many(CARDINALITY.format(5)), "tasks: {x: {instances: 2}}", "s x x x e"),
    "no instances": (many(CARDINALITY.format(0)), "", "s x e"),
    "completion, sequential": (many(CARDINALITY.format(5) + ENOUGH, 'isSequential="true"'), "", "s x x x e"),
    "completion, parallel": (
        many(CARDINALITY.format(4) + ENOUGH),
        "tasks: {x: {takes: {uniform: [1, 9]}}}",
        "s x x x x- x- e",
    ),
    "loop, maximum": (loop('loopMaximum="3"'), "", "s x x x x e"),
    "loop, condition": (loop("", "loopCounter &lt; 2"), "", "s x x x e"),
    "loop, tested before": (loop('testBefore="true"', "false"), "", "s x e"),
    "event sub-process, timer": (around('<task id="x"/>' + event_process(timer("PT5S"))), SLOW, "s x- es begin h"),
    "event sub-process, not triggered": (around('<task id="x"/>' + event_process(timer("PT5S"))), "", "s x e"),
    "event sub-process, not interrupting": (
        around('<task id="x"/>' + event_process(timer("PT5S"), interrupts=False)),
        SLOW,
        "s x es begin h e",
    ),
    **{
        f"event sub-process, {kind}": (
            around('<task id="x"/>' + event_process(STOP.format(kind)), f'<{kind} id="m" name="stop"/>'),
            f"{{{SLOW}, messages: {{stop: 3s}}}}",
            "s x- es begin h",
        )
        for kind in ("message", "signal")
    },
    "event sub-process, condition": (
        around('<task id="x"/>' + event_process(WHEN.format("go"))),
        f"{{variables: {{go: false}}, {SLOW}, messages: {{begin: 3s}}}}",
        "s x- es begin h",
    ),
    "event sub-process, error": (
        around(
            f'<subProcess id="x"><task id="t"/>{BAD}{chain("t", "bad")}{event_process(CATCH_ERROR)}</subProcess>',
            ERROR,
        ),
        "",
        "s x t bad es begin h e",
    ),
    "event sub-process, escalation": (
        around(
            '<subProcess id="x"><task id="t"/><intermediateThrowEvent id="up"><escalationEventDefinition'
            f' escalationRef="er"/></intermediateThrowEvent>{chain("t", "up")}'
            + event_process('<escalationEventDefinition escalationRef="er"/>', interrupts=False)
            + "</subProcess>",
            ESCALATION,
        ),
        "",
        "s x t up es begin h e",
    ),
    "event sub-process, nested": (
        around(f'<subProcess id="x"><task id="t"/>{event_process(timer("PT2S"))}</subProcess>'),
        "tasks: {t: {takes: 9s}}",
        "s x t- es begin h e",
    ),
    "error end, caught": (
        around(
            f'<subProcess id="x">{BAD}</subProcess>' + event(CATCH_ERROR, target="y"),
            ERROR,
        ),
        "",
        "s x- bad b y",
    ),
    "escalation end, caught": (
        around(
            '<subProcess id="x"><endEvent id="up"><escalationEventDefinition escalationRef="er"/></endEvent>'
            "</subProcess>" + event('<escalationEventDefinition escalationRef="er"/>', target="y", interrupts=False),
            ESCALATION,
        ),
        "",
        "s x up b y e",
    ),
    **{
        f"{kind} end": (
            process(f'{START_EVENT}<endEvent id="e"><{kind}EventDefinition/></endEvent>{chain("s", "e")}'),
            "",
            "s e",
        )
        for kind in ("signal", "message", "escalation")
    },
    "link": (
        process(
            START_EVENT
            + LINK.format("intermediateThrowEvent", "out")
            + LINK.format("intermediateCatchEvent", "in")
            + END
            + chain("s", "out")
            + chain("in", "e")
        ),
        "",
        "s out in e",
    ),
    "compensation": (
        process(
            f'{START_EVENT}<task id="x"/>{event(COMPENSATE)}{UNDO}<endEvent id="e">{COMPENSATE}</endEvent>'
            + chain("s", "x", "e")
        ),
        "",
        "s x e undo",
    ),
    "compensation of what did not run": (
        process(
            f'{START_EVENT}<task id="x"/>{event(COMPENSATE)}{UNDO}<endEvent id="e">{COMPENSATE}</endEvent>'
            + chain("s", "e")
        ),
        "",
        "s e",
    ),
    "transaction, cancelled": (
        around(
            f'<transaction id="x"><task id="w"/>{event(COMPENSATE, on="w")}{UNDO}'
            f'<endEvent id="no"><cancelEventDefinition/></endEvent>{chain("w", "no")}</transaction>'
            + event("<cancelEventDefinition/>", "caught", target="y")
        ),
        "",
        "s x- w no undo caught y",
    ),
    "terminate": (
        process(
            f'{START_EVENT}<task id="x"/><task id="y"/><endEvent id="e"><terminateEventDefinition/></endEvent>'
            + chain("s", "x", "e")
            + chain("s", "y")
        ),
        "tasks: {y: {takes: 9s}}",
        "s x y- e",
    ),
    "no start event": (process(f'<task id="x"/><task id="y"/>{END}{chain("x", "e")}'), "", "x y e"),
    "implicit split": (
        process(f'{START_EVENT}<task id="x"/><task id="y"/><task id="z"/>{chain("s", "x", "y")}{chain("x", "z")}'),
        "",
        "s x y z",
    ),
    **{
        f"conditional flow, n = {n}": (
            process(
                f'{START_EVENT}<task id="x" default="x-z"/><task id="y"/><task id="z"/>{chain("s", "x", "z")}'
                + flow("x", "y", "n &gt; 1")
            ),
            f"variables: {{n: {n}}}",
            f"s x {target}",
        )
        for n, target in ((2, "y"), (0, "z"))
    },
    "condition that is met": (around(CATCH.format(WHEN.format("n &gt; 1"))), "variables: {n: 2}", "s x e"),
    "condition that is not met": (around(CATCH.format(WHEN.format("n &gt; 1"))), "variables: {n: 0}", "s x?"),
    "start by message": (
        process(
            '<startEvent id="other"/><startEvent id="s"><messageEventDefinition messageRef="t:m"/></startEvent>'
            + END
            + chain("s", "e"),
            '<message id="m" name="Order"/>',
        ),
        "trigger: Order",
        "s e",
    ),
    "references with a prefix": (
        process(
            '<startEvent id="s"/><userTask id="x"/><sequenceFlow id="a" sourceRef="t:s" targetRef="t:x"/>'
            + event(timer("PT0.2S"), on="t:x", target="y")
        ),
        "",
        "s x- b y",
    ),
    "flows without ids": (
        process('<startEvent id="s"/><task id="x"/><sequenceFlow sourceRef="s" targetRef="x"/>'),
        "",
        "s x",
    ),
}


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_a_construct_runs_as_the_standard_says(name):
    model, scenario, elements = CONSTRUCTS[name]
    played = play(model, scenario)
    assert played.ids == elements
    assert played.notes == {}
    assert played.status == ("ACTIVE" if "?" in elements else "COMPLETED")


ZEEBE_CALL = '<extensionElements><zeebe:calledElement processId="q"/></extensionElements>'
QUEUE = process('<task id="qt"/>', name="q")


@pytest.mark.parametrize(
    "call",
    [
        '<callActivity id="x" calledElement="q"/>',
        '<callActivity id="x" calledElement="t:q"/>',
        f'<callActivity id="x">{ZEEBE_CALL}</callActivity>',
    ],
)
def test_a_called_process_of_another_file(call):
    assert play(process(call), "", QUEUE).ids == "x qt"
    missing = play(process(call))
    assert (missing.ids, list(missing.notes)) == ("x", ["x"])


# what runs differently, or could not run → (model, elements, the element that is noted and a part of the note)
APPROXIMATIONS = [
    (
        process(
            f'{START_EVENT}<task id="x"/><task id="y"/><complexGateway id="c"/>{END}{chain("s", "x", "c", "e")}'
            + chain("s", "y", "c")
        ),
        "s x y c c e",
        ("c", "inclusive gateway"),
    ),
    (around('<adHocSubProcess id="x"><task id="m"/><task id="n"/></adHocSubProcess>'), "s x m n e", ("x", "once")),
    (
        around('<task id="x"><dataInputAssociation id="di"><targetRef>x</targetRef></dataInputAssociation></task>'),
        "s x e",
        ("x", "data associations are ignored"),
    ),
    (around('<callActivity id="x"/>'), "s x e", ("x", "runs as a task")),
    (around('<task id="x"/><boundaryEvent id="b" attachedToRef="x"/>'), "s x e", ("x", "'b' has no trigger")),
    (
        around(f'<exclusiveGateway id="x"/>{event(timer("PT0S"))}'),
        "s x e",
        ("x", "'b' never fires"),
    ),
    (
        around(f'<subProcess id="x"><task id="y"/></subProcess>{event(timer("PT0S"), on="y")}'),
        "s x y e",
        ("y", "'b' never fires"),
    ),
    (
        around(CATCH.format('<messageEventDefinition messageRef="gone"/>')),
        "s x?",
        ("x", "'gone', which the model does not define"),
    ),
    (
        process(f"{START_EVENT}{LINK.format('intermediateThrowEvent', 'x')}{chain('s', 'x')}"),
        "s x",
        ("x", "leads nowhere"),
    ),
    (
        process(f'{START_EVENT}<endEvent id="e"><errorEventDefinition/></endEvent>{chain("s", "e")}'),
        "s e",
        ("e", "not caught"),
    ),
    (many("", 'camunda:collection="orders"'), "s x x e", ("x", "has one instance: 'orders' is not defined")),
    (loop(""), "s x x e", ("x", "loops once: the model does not say how often")),
    (loop('loopMaximum="${m}"'), "s x x e", ("x", "loops once: 'm' is not defined")),
]


@pytest.mark.parametrize(("model", "elements", "note"), APPROXIMATIONS)
def test_what_runs_differently_is_noted_at_the_element(model, elements, note):
    played = play(model)
    assert played.ids == elements
    assert list(played.notes) == [note[0]]
    assert note[1] in played.notes[note[0]]


def test_loops_of_gateways_and_events_do_not_repeat_them():
    loops = "<standardLoopCharacteristics/>"
    assert play(around(f'<exclusiveGateway id="x">{loops}</exclusiveGateway>')).ids == "s x e"


NASTY = ("Start", "End", "Root", "p.EndJoin", "EndJoin", "spec-1", "spec-2", "x.BoundaryEventSplit", "p.EndJoin.1")


@pytest.mark.parametrize("seed", range(12))
def test_ids_have_no_meaning(seed):
    """Ids that SpiffWorkflow or the builder use themselves give the same tokens as any others."""
    xml = RandomModel(seed).xml
    names = [part.partition('"')[0] for part in xml.split(' id="')[1:]][1:]
    nasty = dict(zip(names, [*NASTY, *(f"spec-{number}" for number in range(3, len(names) + 3))], strict=False))
    renamed = xml
    for name, other in nasty.items():
        renamed = renamed.replace(f'"{name}"', f'"\0{other}"')
    renamed = renamed.replace("\0", "")
    scenario = make_scenario(seed, "{uniform: [1, 3]}")
    plain, other = play(xml, scenario), play(renamed, scenario)
    recorded = [
        [
            [
                (
                    token.element_id,
                    token.state,
                    token.created_at,
                    [(hop.from_element, hop.via_flow) for hop in token.hops],
                )
                for token in tokens.values()
            ]
            for tokens in one.sink.tokens.values()
        ]
        for one in (plain, other)
    ]
    expected = [
        [
            (nasty.get(element, element), state, at, [(nasty.get(a, a), nasty.get(b, b)) for a, b in hops])
            for element, state, at, hops in tokens
        ]
        for tokens in recorded[0]
    ]
    assert recorded[1] == expected


def test_two_documents_may_not_define_the_same_process():
    with pytest.raises(InputError, match=r"called0\.bpmn: the process id 'p' is already used in m\.bpmn\."):
        play(process('<task id="x"/>'), "", process('<task id="y"/>'))


def test_a_document_with_several_processes():
    both = f'{HEAD}<process id="p"><task id="a"/></process><process id="q"><task id="b"/></process></definitions>'
    assert play(both, "process: q").ids == "b"
    assert play(both, all_processes=True).by_process == {"p": "a", "q": "b"}
