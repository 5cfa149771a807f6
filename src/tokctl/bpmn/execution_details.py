"""What only running a model requires: scripts, conditions with their language, loop counts, message flows.

It is read from the XML of a definition. Camunda (7 and 8), Flowable and Activiti write some of it as attributes and
extension elements of their own, which are read here too. Nothing is evaluated.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec import Struct

from tokctl.bpmn.parser import local_name, read_root

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element as XmlElement


class Expression(Struct, frozen=True):
    """The text of an expression or script, and its language as the model says it (a name or URI), if it does."""

    text: str
    language: str | None = None


class LoopDetails(Struct, frozen=True):
    """How often an activity is repeated.

    ``count`` is the cardinality of a multi-instance activity or the maximum of a loop, ``collection`` the list that
    has an instance for each item, which is in the variable ``item``. ``condition`` ends a multi-instance activity, and
    continues a loop, which tests it before the activity if ``test_before``.
    """

    count: Expression | None = None
    collection: Expression | None = None
    item: str | None = None
    condition: Expression | None = None
    test_before: bool = False


class ExecutionDetails(Struct, frozen=True):
    """What running one element requires.

    ``called_process`` is what a call activity calls: the id of a process, or an expression. ``all_events``: an event
    with several definitions needs all of them. ``uses_data``: it reads or writes data objects or data stores.
    ``undefined_references`` are messages, signals, errors and escalations that it names, but no document defines.
    """

    script: Expression | None = None
    loop: LoopDetails | None = None
    called_process: str | None = None
    all_events: bool = False
    uses_data: bool = False
    undefined_references: tuple[str, ...] = ()


class MessageFlow(Struct, frozen=True):
    """A message flow of a collaboration, between elements or participants; a process stands for its participant."""

    id: str
    source: str
    target: str


class ExecutionModel(Struct, frozen=True):
    """What running the processes of a document requires: by element id, and by flow id."""

    elements: dict[str, ExecutionDetails]
    conditions: dict[str, Expression]
    message_flows: tuple[MessageFlow, ...] = ()
    compensations: dict[str, str] = {}
    """The handler of each compensation boundary event, by the id of the event."""
    not_executable: frozenset[str] = frozenset()
    """The ids of the processes that are marked as not executable."""


_NOTHING = ExecutionDetails()
_REFERENCES = ("messageRef", "signalRef", "errorRef", "escalationRef")
_DATA = frozenset({"dataInputAssociation", "dataOutputAssociation"})


def read_execution_model(xml: str) -> ExecutionModel:
    """Read what running the processes of a document requires. Raises InputError like ``read_definitions``."""
    root = read_root(xml)
    elements: dict[str, ExecutionDetails] = {}
    conditions: dict[str, Expression] = {}
    compensations: dict[str, str] = {}
    default_language = root.get("expressionLanguage")
    defined = {node_id for node in root if (node_id := node.get("id"))}
    for node in root.iter():
        kind, node_id = local_name(node.tag), node.get("id")
        if kind == "association":
            ends = (node.get("sourceRef", ""), node.get("targetRef", ""))
            source, target = (end.rpartition(":")[2] for end in ends)
            compensations[source] = target
        elif node_id and kind == "sequenceFlow":
            if condition := _child_expression(node, "conditionExpression", default_language):
                conditions[node_id] = condition
        elif node_id and (details := _read_element(node, kind, default_language, defined)) != _NOTHING:
            elements[node_id] = details
    not_executable = {
        node.get("id", "")
        for node in root
        if local_name(node.tag) == "process" and node.get("isExecutable", "true") == "false"
    }
    flows = tuple(_message_flows(root))
    return ExecutionModel(elements, conditions, flows, compensations, frozenset(not_executable))


def _read_element(node: XmlElement, kind: str, default_language: str | None, defined: set[str]) -> ExecutionDetails:
    children = [local_name(child.tag) for child in node]
    script = _child_expression(node, "script", node.get("scriptFormat")) if kind == "scriptTask" else None
    return ExecutionDetails(
        Expression(script.text, node.get("scriptFormat")) if script else None,
        next((loop for child in node if (loop := _loop(child, default_language))), None),
        _called_process(node) if kind == "callActivity" else None,
        node.get("parallelMultiple") == "true",
        not _DATA.isdisjoint(children),
        tuple(_undefined_references(node, defined)),
    )


def _undefined_references(node: XmlElement, defined: set[str]) -> Iterator[str]:
    for one in (node, *(child for child in node if local_name(child.tag).endswith("EventDefinition"))):
        for name in _REFERENCES:
            reference = one.get(name)
            if reference and reference.rpartition(":")[2] not in defined:
                yield reference


def _called_process(node: XmlElement) -> str | None:
    called = node.get("calledElement")
    if called is None:  # Camunda 8
        called = next((one.get("processId") for one in node.iter() if local_name(one.tag) == "calledElement"), None)
    return called or None


def _loop(node: XmlElement, default_language: str | None) -> LoopDetails | None:
    kind = local_name(node.tag)
    if kind == "standardLoopCharacteristics":
        maximum = node.get("loopMaximum")
        return LoopDetails(
            count=Expression(maximum) if maximum else None,
            condition=_child_expression(node, "loopCondition", default_language),
            test_before=node.get("testBefore") == "true",
        )
    if kind != "multiInstanceLoopCharacteristics":
        return None
    vendor = {local_name(name): value for one in node.iter() for name, value in one.attrib.items() if "}" in name}
    vendor |= {
        name: value
        for one in node.iter()
        if local_name(one.tag) == "loopCharacteristics"  # Camunda 8
        for name, value in one.attrib.items()
    }
    collection = vendor.get("collection") or vendor.get("inputCollection")
    items = _child(node, "loopDataInputRef")
    input_item = _child(node, "inputDataItem")
    if not collection and items is not None:
        collection = (items.text or "").strip()
    item = vendor.get("elementVariable") or vendor.get("inputElement")
    if item is None and input_item is not None:
        item = input_item.get("id") or input_item.get("name")
    return LoopDetails(
        count=_child_expression(node, "loopCardinality", default_language),
        collection=Expression(collection) if collection else None,
        item=item,
        condition=_child_expression(node, "completionCondition", default_language),
    )


def _message_flows(root: XmlElement) -> Iterator[MessageFlow]:
    participants = {
        node.get("id"): process.rpartition(":")[2]
        for node in root.iter()
        if local_name(node.tag) == "participant" and (process := node.get("processRef"))
    }
    for node in root.iter():
        if local_name(node.tag) == "messageFlow":
            ends = (node.get("sourceRef", ""), node.get("targetRef", ""))
            source, target = (end.rpartition(":")[2] for end in ends)
            yield MessageFlow(node.get("id", ""), participants.get(source, source), participants.get(target, target))


def _child(node: XmlElement, name: str) -> XmlElement | None:
    return next((child for child in node if local_name(child.tag) == name), None)


def _child_expression(node: XmlElement, name: str, default_language: str | None) -> Expression | None:
    child = _child(node, name)
    text = "" if child is None else "".join(child.itertext()).strip()
    return Expression(text, child.get("language") or default_language) if child is not None and text else None
