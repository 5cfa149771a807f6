"""Models that try to run code, to use up time and memory, or to confuse: a result or one clear line, within seconds."""

import json
import subprocess
import sys

import pytest

from support.paths import TESTS
from support.small_models import END, HEAD, START_EVENT, around, chain, event, flow, play, process, timer
from tokctl.errors import InputError
from tokctl.simulation.limits import RunLimits

CODE = [
    "__import__('intruder')",
    "().__class__.__base__.__subclasses__()",
    "exec('import intruder')",
    "open('intruded', 'w')",
    "import intruder",
    "import os\nos.system('touch intruded')",
    "${''.getClass().forName('java.lang.Runtime').getRuntime().exec('touch intruded')}",
    "#{execution.engineServices.runtimeService}",
    "= __import__('intruder')",
    "java.lang.Runtime.getRuntime().exec('touch intruded');",
    "new Function('return process')().exit(1)",
    '"touch intruded".execute()',
    "eval(compile('1', 'x', 'eval'))",
    "(lambda: 0).__globals__",
    "f'{().__class__}'",
]
MANY = "multiInstanceLoopCharacteristics"


def escape(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


def everywhere(code):
    """A model with this text wherever a model may have an expression."""
    text = escape(code)
    tasks = "".join(
        f'<scriptTask id="script-{number}" scriptFormat="{language}"><script>{text}</script></scriptTask>'
        for number, language in enumerate(("python", "javascript", "groovy", "feel", "juel", "", "text/x-unknown"))
    )
    ids = ["s", *(f"script-{number}" for number in range(7))]
    after = [
        "cardinality",
        "collection",
        "enough",
        "loop",
        "maximum",
        "zeebe",
        "items",
        "call",
        "wait",
        "date",
        "cycle",
    ]
    body = (
        f'{START_EVENT}{tasks}{END}{chain(*ids, "gate")}<exclusiveGateway id="gate"/>'
        + "".join(
            f'<sequenceFlow id="way-{number}" sourceRef="gate" targetRef="split">'
            f'<conditionExpression language="{language}">{text}</conditionExpression></sequenceFlow>'
            for number, language in enumerate(("", "python", "juel", "feel", "groovy", "javascript"))
        )
        + f'<inclusiveGateway id="split"/>{flow("split", after[0], text)}{flow("split", after[1], text)}'
        + f'<task id="cardinality"><{MANY}><loopCardinality>{text}</loopCardinality></{MANY}></task>'
        + f'<task id="collection"><{MANY} camunda:collection="{text}" camunda:elementVariable="{text}"/></task>'
        + f'<task id="enough"><{MANY}><loopCardinality>2</loopCardinality><completionCondition>{text}'
        f"</completionCondition></{MANY}></task>"
        + f'<task id="loop"><standardLoopCharacteristics><loopCondition>{text}</loopCondition>'
        "</standardLoopCharacteristics></task>"
        + f'<task id="maximum"><standardLoopCharacteristics loopMaximum="{text}"/></task>'
        + f'<task id="zeebe"><{MANY}><extensionElements><zeebe:loopCharacteristics inputCollection="{text}"'
        f' inputElement="{text}"/></extensionElements></{MANY}></task>'
        + f'<task id="items"><{MANY}><loopDataInputRef>{text}</loopDataInputRef><inputDataItem id="{text}"/>'
        f"</{MANY}></task>"
        + f'<callActivity id="call" calledElement="{text}"/>'
        + "".join(
            f'<intermediateCatchEvent id="{name}">{timer(text, kind)}</intermediateCatchEvent>'
            for name, kind in (("wait", "timeDuration"), ("date", "timeDate"), ("cycle", "timeCycle"))
        )
        + event(f"<conditionalEventDefinition><condition>{text}</condition></conditionalEventDefinition>", on="call")
        + chain(*after, "e")
        + f'<serviceTask id="unused" camunda:expression="{text}" camunda:class="{text}"/>'
    )
    return process(body)


def test_nothing_of_a_model_is_executed(tmp_path):
    (tmp_path / "intruder.py").write_text("open('intruded', 'w').close()")
    models = [everywhere("n"), *map(everywhere, CODE)]
    done = subprocess.run(
        [sys.executable, "-m", "support.hostile_models"],
        input=json.dumps(models),
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={"PYTHONPATH": f"{TESTS}:{tmp_path}", "PATH": "/usr/bin:/bin"},
        timeout=100,
    )
    outcomes = json.loads(done.stdout)
    for code, (outcome, seconds, events) in zip(["n", *CODE], outcomes, strict=True):
        assert events == [], code
        assert outcome.get("tokens", 0) > 25, (code, outcome)
        assert seconds < 5, code
    assert [path.name for path in tmp_path.iterdir()] == ["intruder.py"]


def calling(*names):
    """Processes that call each other in a ring."""
    ring = zip(names, (*names[1:], names[0]), strict=True)
    return (
        HEAD
        + "".join(
            f'<process id="{one}"><startEvent id="s{one}"/><callActivity id="c{one}" calledElement="{other}"/>'
            f"{chain(f's{one}', f'c{one}')}</process>"
            for one, other in ring
        )
        + "</definitions>"
    )


def nested(levels, inside='<task id="t"/>', loop=""):
    return process(
        START_EVENT
        + "".join(f'<subProcess id="p{level}">' for level in range(levels))
        + inside
        + f"{loop}</subProcess>" * levels
        + chain("s", "p0")
    )


TWICE = (
    f'{START_EVENT}<parallelGateway id="g"/><callActivity id="a" calledElement="p"/>'
    '<callActivity id="b" calledElement="p"/>' + chain("s", "g", "a") + chain("g", "b")
)
DOUBLING = (
    f'{START_EVENT}<exclusiveGateway id="x"/><parallelGateway id="g"/>{chain("s", "x", "g")}'
    + flow("g", "x", name="one")
    + flow("g", "x", name="two")
)
NOTHING = f'<startEvent id="in"/><endEvent id="out"/>{chain("in", "out")}'

REFUSED = {
    "entities": ('<!DOCTYPE d [<!ENTITY a "b"><!ENTITY c "&a;&a;">]>' + process("&c;"), "DOCTYPE is not allowed"),
    "external entity": ('<!DOCTYPE d SYSTEM "file:///etc/passwd">' + process(START_EVENT), "DOCTYPE is not allowed"),
    "control character": (process(START_EVENT.replace("s", "\x01")), "not well-formed XML"),
    "empty": (process(""), "no process has an element"),
    "a ring of calls": (calling("a", "b", "c"), "calls are nested more than 20 deep: process 'a' → call activity 'ca'"),
    "calls itself": (calling("p"), "calls are nested more than 20 deep"),
    "calls itself twice": (process(TWICE), "while simulated time did not advance"),
    "doubles without time": (process(DOUBLING), "simulated time did not advance"),
    "loops without time": (
        around(f'<subProcess id="x">{NOTHING}<standardLoopCharacteristics loopMaximum="1000000000"/></subProcess>'),
        "while simulated time did not advance",
    ),
    "sub-processes, deep": (nested(220), "nested more than 200 deep"),
    "flows to a boundary event": (
        around(f'<task id="x"/>{event(timer("PT1S"))}{flow("s", "b")}'),
        "leads to 'b', which no flow from there can start",
    ),
    "flows into a sub-process": (
        around(f'<subProcess id="x"><task id="y"/></subProcess>{flow("s", "y")}'),
        "leads to 'y', which no flow from there can start",
    ),
    "3,000 flows": (
        process(START_EVENT + END + "".join(flow("s", "e", name=f"f{n}") for n in range(2000))),
        "'s' has more than 1,000 incoming or outgoing sequence flows",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_simulated_is_one_clear_line(name):
    model, message = REFUSED[name]
    with pytest.raises(InputError) as caught:
        play(model, "process: a" if "ring" in name else "", limits=RunLimits(call_depth=20, steps=300))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("m.bpmn")
    assert len(str(caught.value)) < 400


def diamonds(kind, number):
    """Forks and joins in a row, each of two branches."""
    parts, flows, last = [], [], "s"
    for n in range(number):
        parts.append(f'<{kind} id="x{n}"/><task id="a{n}"/><task id="b{n}"/><{kind} id="j{n}"/>')
        flows.append(chain(last, f"x{n}", f"a{n}", f"j{n}") + chain(f"x{n}", f"b{n}", f"j{n}"))
        last = f"j{n}"
    return process(START_EVENT + "".join(parts) + "".join(flows))


INSTANCES = "<{0} isSequential='{1}'><loopCardinality>{2}</loopCardinality></{0}>"
LONG = "n" * 10_000_000
# model → (tokens, a part of what is noted)
RUNS = {
    **{f"40 {kind}s in a row": (diamonds(kind, 40), 201, "") for kind in ("parallelGateway", "inclusiveGateway")},
    "1,000 elements in a row": (
        process(
            START_EVENT
            + "".join(f'<exclusiveGateway id="x{n}"/>' for n in range(1000))
            + chain("s", *(f"x{n}" for n in range(1000)))
        ),
        1001,
        "",
    ),
    "billion instances": (around(f'<task id="x">{INSTANCES.format(MANY, "false", 10**9)}</task>'), 4, "not from 0 to"),
    "1,000 instances": (around(f'<task id="x">{INSTANCES.format(MANY, "false", 1000)}</task>'), 1003, ""),
    "instances of instances": (
        nested(3, '<task id="t"/>', INSTANCES.format(MANY, "false", 200)),
        3192,
        "more than 1,000 in all",
    ),
    "long name": (process(f'<startEvent id="s" name="{LONG}"/>'), 1, ""),
    "long condition": (
        process(f'{START_EVENT}<exclusiveGateway id="x"/>{END}{chain("s", "x", "e")}{flow("x", "e", LONG, "c")}'),
        3,
        "is too long",
    ),
    "attached to itself": (around('<task id="x"/>' + event(timer("PT0S"), on="b")), 3, ""),
    "attached to each other": (
        around('<task id="x"/>' + event(timer("PT0S"), on="c") + event(timer("PT0S"), "c", on="b")),
        3,
        "",
    ),
    "contains itself by reference": (
        around('<subProcess id="x"><callActivity id="y" calledElement="x"/></subProcess>'),
        4,
        "in none of the files",
    ),
    "compensates itself": (
        around(f'<task id="x"/>{event("<compensateEventDefinition/>")}<association sourceRef="b" targetRef="x"/>'),
        3,
        "",
    ),
    "a flow to itself": (around(f'<parallelGateway id="x"/>{flow("x", "x")}'), 2, ""),
    "unknown elements, deep": (process("<x>" * 5000 + "</x>" * 5000 + START_EVENT), 1, ""),
    "a terminal's control sequence": (process('<startEvent id="&#x9b;31m&#10;"/>'), 1, ""),
    **{
        f"timer {value}": (
            around(f'<intermediateCatchEvent id="x">{timer(value, kind)}</intermediateCatchEvent>'),
            3,
            note,
        )
        for kind, value, note in (
            ("timeDuration", "P999999999999Y", "not within the years 1 to 9999"),
            ("timeDuration", f"PT{'9' * 30}S", "not within the years 1 to 9999"),
            ("timeDuration", "NaN", "fires after the duration of a task"),
            ("timeDuration", "PT0S", ""),
            ("timeDate", "99999-01-01T00:00:00Z", "fires after the duration of a task"),
            ("timeDate", "0001-01-01T00:00:00+14:00", "not within the years 1 to 9999"),
            ("timeCycle", "R/PT0S", "fires after the duration of a task"),
            ("timeCycle", f"R{'9' * 30}/PT1S", ""),
        )
    },
}


@pytest.mark.parametrize("name", RUNS)
def test_what_is_odd_or_large_runs(name):
    model, tokens, note = RUNS[name]
    played = play(model, limits=RunLimits(steps=1000))
    assert played.result.tokens == tokens
    assert note in " ".join(played.notes.values())
    assert bool(note) <= bool(played.notes)


def test_a_timer_that_repeats_for_ever_ends_at_the_limit_of_steps():
    model = around(f'<task id="x"/>{event(timer("R/PT1S", "timeCycle"), interrupts=False)}')
    played = play(model, "tasks: {x: {hangs: true}}", limits=RunLimits(steps=1000))
    assert played.result.exhausted == 1
