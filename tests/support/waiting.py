"""Short ways to make models and what waits in them, and to run them in the real engine."""

from __future__ import annotations

from datetime import UTC, datetime

from support.builders import at, token
from tokctl.bpmn.parser import read_definitions
from tokctl.model.visits import Visit
from tokctl.simulation.scenario import parse_scenario
from tokctl.simulation.simulate import simulate

START = datetime(2025, 1, 11, 10, tzinfo=UTC)


class Kept:
    """A sink that keeps the one instance and its tokens."""

    def __init__(self):
        self.instance = None
        self.tokens = {}

    def put_definition(self, definition):
        """Every test reads its model itself."""

    def put(self, instance, tokens):
        assert self.instance is None or self.instance.instance_id == instance.instance_id
        self.instance = instance
        self.tokens.update({one.token_id: one for one in tokens})


HEAD = """<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL" id="d" targetNamespace="urn:test">
<error id="e-stop" name="stop" errorCode="stop"/><message id="m-paid" name="paid"/><signal id="s-go" name="go"/>
<process id="p" isExecutable="true">"""
TAIL = "</process></definitions>"
KINDS = {
    "start": "startEvent",
    "end": "endEvent",
    "split": "parallelGateway",
    "join": "parallelGateway",
    "xor": "exclusiveGateway",
    "or": "inclusiveGateway",
    "user": "userTask",
    "complex": "complexGateway",
    "catch": "intermediateCatchEvent",
}


def kind_of(name):
    return KINDS.get(name.rstrip("0123456789"), "serviceTask")


def bpmn(ways, *more, conditions=None, defaults=None):
    """Make a model of ``a>b`` pairs, each a flow ``a-b``; an element's name tells its type.

    ``more`` is XML as it is; elements that it declares are not declared again.
    """
    pairs = [pair.split(">") for pair in ways.split()]
    text = "".join(more)
    xml = [HEAD, text]
    for name in dict.fromkeys(name for pair in pairs for name in pair):
        if f'id="{name}"' not in text:
            default = f' default="{defaults[name]}"' if name in (defaults or {}) else ""
            xml.append(f'<{kind_of(name)} id="{name}"{default}/>')
    for source, target in pairs:
        condition = (conditions or {}).get(f"{source}-{target}")
        inner = f"<conditionExpression>{condition}</conditionExpression>" if condition else ""
        xml.append(
            f'<sequenceFlow id="{source}-{target}" sourceRef="{source}" targetRef="{target}">{inner}</sequenceFlow>'
        )
    return "".join([*xml, TAIL])


def model(*given, **options):
    return read_definitions(bpmn(*given, **options))[0]


def play(xml, scenario, *called):
    """Simulate a model, and those that it calls; returns the sink with the tokens of the one instance."""
    sink = Kept()
    files = [("test.bpmn", xml), *((f"called{number}.bpmn", one) for number, one in enumerate(called))]
    simulate(files, parse_scenario(scenario), sink, start=START)
    return sink


def run(xml, scenario, *called):
    """Simulate; returns the visits of the one instance, and the definition."""
    sink = play(xml, scenario, *called)
    return [Visit.from_token(one, flows=True) for one in sink.tokens.values()], read_definitions(xml)[0]


def timer(name, attached_to, duration):
    """A boundary event with a timer."""
    return (
        f'<boundaryEvent id="{name}" attachedToRef="{attached_to}"><timerEventDefinition>'
        f"<timeDuration>{duration}</timeDuration></timerEventDefinition></boundaryEvent>"
    )


def visit(token_id, element, via=None, state="ACTIVE", seconds=0, **fields):
    hops = [] if via is None else [{"from_element": via.partition("-")[0], "via_flow": via}]
    known = {"element_type": kind_of(element), "created_at": at(seconds), "flow_history": hops} | fields
    if state not in {"ACTIVE", "WAITING", "SUSPENDED"}:
        known.setdefault("updated_at", at(seconds + 1))
    return Visit.from_token(token(token_id, element_id=element, state=state, **known), flows=True)
