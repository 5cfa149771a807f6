"""What the elements of a BPMN document are, as far as a picture shows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from tokctl.bpmn.element_details import EVENT_KINDS, read_details
from tokctl.bpmn.parser import MODEL_NAMESPACE
from tokctl.model.definitions import Definition
from tokctl.model.element_types import ELEMENT_TYPES, SUB_PROCESS_TYPES, canonical_type

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element as XmlElement

CHOREOGRAPHY_ACTIVITIES = frozenset({"choreographyTask", "subChoreography", "callChoreography"})
CONVERSATION_NODES = frozenset({"conversation", "subConversation", "callConversation"})
_EXPANDABLE = SUB_PROCESS_TYPES | {"subChoreography"}
CONTAINERS = _EXPANDABLE | {
    *("process", "collaboration", "choreography", "globalChoreographyTask", "globalConversation", "subConversation"),
}
"""Elements that contain those that name them as their parent."""
FLOW_NODES = frozenset(ELEMENT_TYPES) | CHOREOGRAPHY_ACTIVITIES
SHAPE_KINDS = (
    FLOW_NODES
    | CONVERSATION_NODES
    | {
        *("participant", "lane", "group", "textAnnotation", "message", "dataStore", "dataStoreReference"),
        *("dataObject", "dataObjectReference", "dataInput", "dataOutput"),
    }
)
DATA_ASSOCIATIONS = frozenset(("dataInputAssociation", "dataOutputAssociation"))
EDGE_KINDS = DATA_ASSOCIATIONS | {"sequenceFlow", "messageFlow", "conversationLink", "association"}
_PREFIX = f"{{{MODEL_NAMESPACE}}}"
_CALLS = ("calledElement", "calledChoreographyRef", "calledCollaborationRef")
_CHOREOGRAPHY_LOOPS = {
    "Standard": "loop",
    "MultiInstanceSequential": "sequential",
    "MultiInstanceParallel": "parallel",
}


class DiagramElement(Struct, frozen=True, kw_only=True):
    """An element of a model: a node, a flow, a pool, a lane or an artifact.

    ``kind`` is the name of its XML element, ``parent`` the process, sub-process, choreography … that contains it.
    ``events`` are the kinds of its event definitions; an event sub-process has the events of its start event, and is
    ``interrupting`` as that is. ``source`` and ``target`` are the ends of a flow; ``default`` and ``conditional`` tell
    how a sequence flow starts. ``loop`` is ``parallel``, ``sequential`` or ``loop``. ``called`` is the kind of the
    element that it calls, if the document has that.
    ``process`` is the process of a pool, ``members`` are the flow nodes of a lane, ``lanes`` the lanes in it.
    ``direction`` is that of an association: ``None``, ``One`` or ``Both``. ``data_associations`` are the ids of those
    of a flow node, ``categories`` those of the category values of an element or a group.
    ``participants`` are those of a choreography activity, ``initiator`` the one that initiates it, ``message_flows``
    the flows of a choreography task; ``message`` is the message of a message flow.
    """

    id: str
    kind: str
    name: str = ""
    parent: str | None = None
    events: tuple[str, ...] = ()
    parallel: bool = False  # an event that waits for all of its definitions; an event-based gateway for all events
    interrupting: bool = True
    loop: str | None = None
    for_compensation: bool = False
    event_sub_process: bool = False
    instantiates: bool = False
    collection: bool = False
    attached_to: str | None = None
    source: str | None = None
    target: str | None = None
    default: bool = False
    conditional: bool = False
    process: str | None = None
    direction: str = "None"
    called: str | None = None
    participants: tuple[str, ...] = ()
    initiator: str | None = None
    message_flows: tuple[str, ...] = ()
    message: str | None = None
    members: tuple[str, ...] = ()
    lanes: tuple[str, ...] = ()
    data_associations: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()

    @property
    def is_container(self) -> bool:
        """Whether it is an activity that contains other elements."""
        return self.kind in _EXPANDABLE


def read_elements(root: XmlElement) -> dict[str, DiagramElement]:
    """Return the elements of a document by id. ``root`` is its ``definitions`` element."""
    nodes = {key: (node, parent) for node, parent in _walk(root) if (key := node.get("id"))}
    definitions = {key: kind for key, (node, _) in nodes.items() if (kind := EVENT_KINDS.get(_local_name(node)))}
    defaults = {node.get("default") for node, _ in nodes.values()}
    categories = {key: node.get("value", "") for key, (node, _) in nodes.items()}
    found = {}
    for key, (node, parent) in nodes.items():
        element = _read_element(node, parent)
        references = _references(_find_trigger(node), "eventDefinitionRef")
        events = (*element.events, *(definitions[one] for one in references if one in definitions))
        stored = nodes.get(_reference(node.get("dataObjectRef")))
        called = next((nodes[one] for name in _CALLS if (one := _reference(node.get(name))) in nodes), None)
        found[key] = replace(
            element,
            events=events,
            called=None if called is None else _local_name(called[0]),
            default=key in defaults,
            name=categories.get(_reference(node.get("categoryValueRef")), "") or element.name,
            collection=element.collection or (stored is not None and stored[0].get("isCollection") == "true"),
        )
    return found


def convert_definition(definition: Definition) -> dict[str, DiagramElement]:
    """Return the elements of a definition without XML, with its process."""
    process = DiagramElement(id=definition.process_id, kind="process", name=definition.name or "")
    defaults = {element.default_flow for element in definition.elements.values()}
    nodes = {
        one.id: DiagramElement(
            id=one.id,
            kind=canonical_type(one.type),
            name=one.name or "",
            parent=one.parent or process.id,
            attached_to=one.attached_to,
        )
        for one in definition.elements.values()
    }
    flows = {
        one.id: DiagramElement(
            id=one.id,
            kind="sequenceFlow",
            name=one.name or "",
            parent=nodes[one.source].parent if one.source in nodes else process.id,
            source=one.source,
            target=one.target,
            default=one.id in defaults,
            conditional=one.condition is not None,
        )
        for one in definition.flows.values()
    }
    return {process.id: process} | nodes | flows


def _walk(root: XmlElement) -> Iterator[tuple[XmlElement, str | None]]:
    """Yield all elements of the model with the id of the one that contains them, in document order."""
    pending: list[tuple[XmlElement, str | None]] = [(root, None)]
    while pending:
        node, parent = pending.pop()
        yield node, parent
        inner = node.get("id") if _local_name(node) in CONTAINERS else parent
        pending += [(child, inner) for child in reversed(node) if child.tag.startswith(_PREFIX)]


def _read_element(node: XmlElement, parent: str | None) -> DiagramElement:
    kind, details = _local_name(node), read_details(node, {})
    trigger = _find_trigger(node)
    caught = details if trigger is node else read_details(trigger, {})
    texts = {_local_name(child): child for child in node}
    source, target = (node.get(name) or _text(texts.get(name)) for name in ("sourceRef", "targetRef"))
    name = node.get("name") or (_text(texts.get("text")) if kind == "textAnnotation" else "")
    if (state := texts.get("dataState")) is not None and state.get("name"):
        name = f"{name}\n[{state.get('name')}]".strip()
    loop = details.loop or _CHOREOGRAPHY_LOOPS.get(node.get("loopType", ""))
    if (several := texts.get("participantMultiplicity")) is not None and several.get("maximum") != "1":
        loop = "parallel"
    return DiagramElement(
        id=node.attrib["id"],
        kind=kind,
        name=name,
        parent=parent,
        events=tuple(event.kind for event in caught.events) if kind.endswith("Event") or trigger is not node else (),
        parallel=trigger.get("parallelMultiple") == "true" or node.get("eventGatewayType") == "Parallel",
        interrupting=trigger.get("isInterrupting") != "false" and caught.interrupting,
        loop=loop,
        for_compensation=details.compensation_handler,
        event_sub_process=details.event_sub_process,
        instantiates=node.get("instantiate") == "true",
        collection=node.get("isCollection") == "true",
        attached_to=_reference(node.get("attachedToRef")) or None,
        source=_reference(source) or None,
        target=_reference(target) or None,
        conditional="conditionExpression" in texts,
        process=_reference(node.get("processRef")) or None,
        direction=node.get("associationDirection", "None"),
        initiator=_reference(node.get("initiatingParticipantRef")) or None,
        participants=_references(node, "participantRef"),
        message_flows=_references(node, "messageFlowRef"),
        message=_reference(node.get("messageRef")) or None,
        members=_references(node, "flowNodeRef"),
        lanes=tuple(lane.get("id", "") for lane in texts.get("childLaneSet", ()) if _local_name(lane) == "lane"),
        data_associations=tuple(child.get("id", "") for child in node if _local_name(child) in DATA_ASSOCIATIONS),
        categories=tuple(
            filter(None, (_reference(node.get("categoryValueRef")), *_references(node, "categoryValueRef")))
        ),
    )


def _find_trigger(node: XmlElement) -> XmlElement:
    """Return the element with the event definitions: for an event sub-process its start event."""
    if node.get("triggeredByEvent") != "true":
        return node
    return next((child for child in node if _local_name(child) == "startEvent"), node)


def _text(node: XmlElement | None) -> str:
    return "" if node is None else "".join(node.itertext()).strip()


def _reference(text: str | None) -> str:
    """Return the id in a reference, which may have the prefix of its namespace."""
    return (text or "").strip().rpartition(":")[2]


def _references(node: XmlElement, name: str) -> tuple[str, ...]:
    """Return the ids in the children with a name."""
    return tuple(_reference(child.text) for child in node if _local_name(child) == name)


def _local_name(node: XmlElement) -> str:
    return node.tag.rpartition("}")[2]
