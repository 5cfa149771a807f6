"""Small BPMN models as text, and their simulation: what happened, in short."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from support.recording import START, MemorySink
from tokctl.simulation.scenario import parse_scenario
from tokctl.simulation.simulate import SimulationResult, simulate

HEAD = (
    '<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL" id="d" targetNamespace="http://t"'
    ' xmlns:camunda="http://camunda.org/schema/1.0/bpmn" xmlns:zeebe="http://camunda.org/schema/zeebe/1.0"'
    ' xmlns:t="http://t">'
)
START_EVENT, END = '<startEvent id="s"/>', '<endEvent id="e"/>'


def flow(source: str, target: str, condition: str = "", name: str = "") -> str:
    """Return a sequence flow; its id names its ends unless it has one."""
    inner = f"<conditionExpression>{condition}</conditionExpression>" if condition else ""
    ends = f'sourceRef="{source}" targetRef="{target}"'
    return f'<sequenceFlow id="{name or f"{source}-{target}"}" {ends}>{inner}</sequenceFlow>'


def chain(*ids: str) -> str:
    """Return sequence flows through elements."""
    return "".join(flow(one, other) for one, other in pairwise(ids))


def process(body: str, rest: str = "", *, name: str = "p", more: str = "") -> str:
    """Return a document with one process; ``rest`` is beside it."""
    return f'{HEAD}<process id="{name}"{more}>{body}</process>{rest}</definitions>'


def around(element: str, rest: str = "") -> str:
    """Return a document with the element ``x`` between a start and an end."""
    return process(f"{START_EVENT}{element}{END}{chain('s', 'x', 'e')}", rest)


def event(kind: str, name: str = "b", *, on: str = "x", target: str = "", interrupts: bool = True) -> str:
    """Return a boundary event with this definition, and the task that follows it, if it is named."""
    cancel = "" if interrupts else ' cancelActivity="false"'
    after = f'<task id="{target}"/>{flow(name, target)}' if target else ""
    return f'<boundaryEvent id="{name}" attachedToRef="{on}"{cancel}>{kind}</boundaryEvent>{after}'


def timer(value: str, kind: str = "timeDuration") -> str:
    """Return a timer event definition."""
    return f"<timerEventDefinition><{kind}>{value}</{kind}></timerEventDefinition>"


@dataclass(slots=True)
class Played:
    """A simulation with what was recorded."""

    result: SimulationResult
    sink: MemorySink

    @property
    def ids(self) -> str:
        """The elements of the first instance in order; those that were not completed with their states."""
        if not self.sink.tokens:
            return ""
        marks = {"COMPLETED": "", "CANCELLED": "-", "WAITING": "?", "ACTIVE": "*", "FAILED": "!", "SUSPENDED": "="}
        return " ".join(f"{one.element_id}{marks[one.state]}" for one in self.sink.of())

    @property
    def by_process(self) -> dict[str, str]:
        """The same of each instance, by its process."""
        marks = {"COMPLETED": "", "CANCELLED": "-", "WAITING": "?", "ACTIVE": "*", "FAILED": "!", "SUSPENDED": "="}
        return {
            f"{instance.process_id}{f'.{number}' if number > 1 else ''}": " ".join(
                f"{one.element_id}{marks[one.state]}" for one in self.sink.tokens[instance.instance_id].values()
            )
            for instance, number in self._numbered()
        }

    def _numbered(self):
        seen: dict[str, int] = {}
        for instance in self.sink.instances.values():
            seen[instance.process_id] = seen.get(instance.process_id, 0) + 1
            yield instance, seen[instance.process_id]

    @property
    def notes(self) -> dict[str, str]:
        """What ran differently, by element."""
        return {one.element_id: one.what for one in self.result.approximations}

    @property
    def waiting(self) -> dict[str, str]:
        """What instances wait for, by element."""
        return {one.element_id: one.reason for one in self.result.waiting}

    @property
    def status(self) -> str:
        """The state of the only instance."""
        return self.sink.instance.status

    @property
    def seconds(self) -> float:
        """The simulated time."""
        return (self.result.end - START).total_seconds()


def play(model: str, scenario: str = "", *called: str, sink: MemorySink | None = None, **options) -> Played:
    """Simulate a model; ``called`` are documents with called processes."""
    sink = sink or MemorySink()
    others = [(f"called{number}.bpmn", text) for number, text in enumerate(called)]
    result = simulate([("m.bpmn", model)], parse_scenario(scenario), sink, start=START, called=others, **options)
    return Played(result, sink)
