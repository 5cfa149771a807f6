"""Reads BPMN 2.0 XML by itself, so that what it says is independent of how tokctl reads a model."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

NAMESPACE = "{http://www.omg.org/spec/BPMN/20100524/MODEL}"
TASKS = frozenset(
    {
        *("task", "serviceTask", "userTask", "manualTask", "scriptTask", "sendTask", "receiveTask"),
        "businessRuleTask",
    }
)
SUB_PROCESSES = frozenset({"subProcess", "transaction", "adHocSubProcess"})
ACTIVITIES = TASKS | SUB_PROCESSES | {"callActivity"}
GATEWAYS = frozenset({"exclusiveGateway", "parallelGateway", "inclusiveGateway", "eventBasedGateway", "complexGateway"})
EVENTS = frozenset({"startEvent", "endEvent", "intermediateCatchEvent", "intermediateThrowEvent", "boundaryEvent"})
OTHER_FLOW_NODES = frozenset({"choreographyTask", "subChoreography", "callChoreography"})
FLOW_NODES = ACTIVITIES | GATEWAYS | EVENTS | OTHER_FLOW_NODES


@dataclass(slots=True, eq=False)
class Flow:
    """A sequence flow; its id may be missing."""

    id: str | None
    source: str
    target: str
    conditional: bool

    def __str__(self) -> str:
        return f"'{self.id}'" if self.id else f"from '{self.source}' to '{self.target}'"


@dataclass(slots=True)
class Loop:
    """How an activity is repeated: ``cardinality`` is None if it is no plain number."""

    parallel: bool = False
    multi_instance: bool = False
    cardinality: int | None = None
    maximum: int | None = None
    may_be_none: bool = True
    ends_early: bool = False


@dataclass(slots=True, eq=False)
class Node:
    """A flow node of a process or sub-process."""

    id: str
    type: str
    events: frozenset[str] = frozenset()
    outgoing: list[Flow] = field(default_factory=list)
    incoming: list[Flow] = field(default_factory=list)
    boundaries: list[Node] = field(default_factory=list)
    default: str | None = None
    attached_to: str | None = None
    interrupting: bool = True
    cyclic: bool = False
    instantiates: bool = False
    compensates: bool = False
    triggered: bool = False
    link: str | None = None
    activity_ref: str | None = None
    needs: int = 1
    leaves: int = 1
    called: str | None = None
    loop: Loop | None = None
    inner: Scope | None = None

    @property
    def starts_by_itself(self) -> bool:
        """Whether it is entered with its process or sub-process if that has no start event."""
        caught = self.type == "boundaryEvent" or (self.type == "intermediateCatchEvent" and "link" in self.events)
        return not (self.incoming or caught or self.compensates or self.triggered)


@dataclass(slots=True, eq=False)
class Scope:
    """The contents of a process or sub-process."""

    id: str
    nodes: dict[str, Node] = field(default_factory=dict)
    handlers: dict[str, Node] = field(default_factory=dict)
    """The compensation handlers, by their activities."""

    def start_nodes(self) -> list[Node]:
        """Return the start events, or else the nodes without incoming flows."""
        nodes = self.nodes.values()
        starts = [node for node in nodes if node.type == "startEvent"]
        return starts or [node for node in nodes if node.starts_by_itself]

    def find_handler(self, node_id: str) -> Node | None:
        """Return a compensation handler in it or in its sub-processes."""
        if node_id in self.nodes:
            node = self.nodes[node_id]
            return node if node.compensates else None
        inner = [node.inner.find_handler(node_id) for node in self.nodes.values() if node.inner is not None]
        return next((node for node in inner if node is not None), None)

    def reaching(self, flow: Flow, gateway: Node) -> set[str]:
        """Return the nodes from which a token can come to a flow without passing a gateway."""
        found: set[str] = set()
        left = [flow.source]
        while left:
            one = left.pop()
            node = self.nodes.get(one)
            if node is None or node is gateway or one in found:
                continue
            found.add(one)
            left += [incoming.source for incoming in node.incoming]
            if node.attached_to:
                left.append(node.attached_to)
            if node.link and node.type == "intermediateCatchEvent":
                left += [other.id for other in self.nodes.values() if other.link == node.link and other is not node]
        return found


def startable_processes(xml: bytes) -> list[str]:
    """Return the ids of the processes that have a start event of their own; none if it is no well-formed XML."""
    try:
        root = ET.fromstring(xml)
    except (ET.ParseError, ValueError, LookupError):
        return []
    processes = root.iter(f"{NAMESPACE}process")
    return [p.get("id", "") for p in processes if p.find(f"{NAMESPACE}startEvent") is not None]


def has_several_processes(xml: bytes) -> bool:
    """Tell whether a file has several processes with something in them."""
    try:
        root = ET.fromstring(xml)
    except (ET.ParseError, ValueError, LookupError):
        return False
    filled = [one for one in root.iter(f"{NAMESPACE}process") if one.find(f"{NAMESPACE}sequenceFlow") is not None]
    return len(filled) > 1


def read_processes(xmls: Iterable[bytes]) -> dict[str, Scope]:
    """Return the processes in BPMN files by their ids."""
    found: dict[str, Scope] = {}
    for xml in xmls:
        for process in ET.fromstring(xml).iter(f"{NAMESPACE}process"):
            scope = _read_scope(process)
            for association in process.iter(f"{NAMESPACE}association"):
                _read_handler(scope, association)
            found.setdefault(scope.id, scope)
    return found


def read_global_tasks(xmls: Iterable[bytes]) -> set[str]:
    """Return the ids of the global tasks in BPMN files, which a call activity can call."""
    return {one.get("id", "") for xml in xmls for one in ET.fromstring(xml) if one.tag.startswith(f"{NAMESPACE}global")}


def _read_scope(element: ET.Element) -> Scope:
    scope = Scope(element.get("id", ""))
    for child in element:
        tag = child.tag.removeprefix(NAMESPACE)
        if tag in FLOW_NODES and child.tag != tag:
            node = _read_node(child, tag)
            scope.nodes[node.id] = node
    for flow in element.findall(f"{NAMESPACE}sequenceFlow"):
        source, target = (_resolve(flow.get(name, ""), scope) for name in ("sourceRef", "targetRef"))
        read = Flow(flow.get("id"), source, target, flow.find(f"{NAMESPACE}conditionExpression") is not None)
        if source in scope.nodes and target in scope.nodes:
            scope.nodes[source].outgoing.append(read)
            scope.nodes[target].incoming.append(read)
    for node in scope.nodes.values():
        if node.attached_to is not None:
            node.attached_to = _resolve(node.attached_to, scope)
            if node.attached_to in scope.nodes:
                scope.nodes[node.attached_to].boundaries.append(node)
    return scope


def _read_handler(scope: Scope, association: ET.Element) -> None:
    """Read the association of a compensation boundary event with its handler, wherever it is in the process."""
    source, target = (_resolve(association.get(name, ""), scope) for name in ("sourceRef", "targetRef"))
    if source in scope.nodes and target in scope.nodes and "compensate" in scope.nodes[source].events:
        scope.handlers[scope.nodes[source].attached_to or ""] = scope.nodes[target]
        scope.nodes[target].compensates = True
    for node in scope.nodes.values():
        if node.inner is not None:
            _read_handler(node.inner, association)


def _read_node(element: ET.Element, tag: str) -> Node:
    definitions = list(_event_definitions(element))
    kinds = frozenset(kind for kind, _ in definitions)
    links = [one.get("name") for kind, one in definitions if kind == "link"]
    compensated = [one.get("activityRef") for kind, one in definitions if kind == "compensate"]
    return Node(
        id=element.get("id", ""),
        type=tag,
        events=kinds,
        default=_local(element.get("default")),
        attached_to=element.get("attachedToRef"),
        interrupting=element.get("cancelActivity" if tag == "boundaryEvent" else "isInterrupting", "true") != "false",
        cyclic=any(one.find(f"{NAMESPACE}timeCycle") is not None for _, one in definitions),
        instantiates=element.get("instantiate") == "true",
        compensates=element.get("isForCompensation") == "true",
        triggered=element.get("triggeredByEvent") == "true",
        link=links[0] if links else None,
        activity_ref=_local(compensated[0]) if compensated else None,
        needs=_number(element.get("startQuantity")) or 1,
        leaves=_number(element.get("completionQuantity")) or 1,
        called=_local(element.get("calledElement")),
        loop=_read_loop(element),
        inner=_read_scope(element) if tag in SUB_PROCESSES else None,
    )


def _event_definitions(element: ET.Element) -> Iterator[tuple[str, ET.Element]]:
    for child in element:
        if child.tag.startswith(NAMESPACE) and child.tag.endswith("EventDefinition"):
            yield child.tag.removeprefix(NAMESPACE).removesuffix("EventDefinition"), child


def _read_loop(element: ET.Element) -> Loop | None:
    loop = element.find(f"{NAMESPACE}standardLoopCharacteristics")
    if loop is not None:
        return Loop(maximum=_number(loop.get("loopMaximum")), may_be_none=loop.get("testBefore") == "true")
    loop = element.find(f"{NAMESPACE}multiInstanceLoopCharacteristics")
    if loop is None:
        return None
    return Loop(
        parallel=loop.get("isSequential", "false") == "false",
        multi_instance=True,
        cardinality=_number(loop.findtext(f"{NAMESPACE}loopCardinality")),
        ends_early=loop.find(f"{NAMESPACE}completionCondition") is not None,
    )


def _number(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() else None


def _resolve(name: str, scope: Scope) -> str:
    return name if name in scope.nodes else _local(name) or ""


def _local(name: str | None) -> str | None:
    """Return a qualified name without its prefix: ids have no colon."""
    return name if name is None or name.startswith(("$", "#", "=")) else name.strip().rpartition(":")[2]
