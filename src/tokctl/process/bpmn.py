"""Reads BPMN 2.0 XML into definitions.

Only the part that a token can be in is read: flow nodes and sequence flows, with the sub-processes
that they lie in. Diagrams, data and collaborations are skipped. Nothing is executed here.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, NoReturn
from xml.etree.ElementTree import Element as XmlElement
from xml.etree.ElementTree import TreeBuilder
from xml.parsers import expat

from tokctl.errors import InputError
from tokctl.process.model import ELEMENT_TYPES, Definition, Element, SequenceFlow

MODEL_NAMESPACE = "http://www.omg.org/spec/BPMN/20100524/MODEL"
_PREFIX = f"{{{MODEL_NAMESPACE}}}"
_CONTAINERS = frozenset({"subProcess", "transaction", "adHocSubProcess"})
_FLOW_NODES = frozenset(ELEMENT_TYPES)


def read_definitions(xml: str | bytes, source: str = "BPMN model") -> list[Definition]:
    """Read the executable processes of a BPMN 2.0 document.

    A process counts as executable unless it says ``isExecutable="false"``. Elements of nested
    sub-processes stand in the same definition, with ``parent`` naming the sub-process. ``source``
    (a file's name) is what errors call the document. Each definition keeps the whole XML text.

    Raises ``InputError`` for text that is no XML or no BPMN, for a DOCTYPE (which could define
    entities), for missing or duplicate ids, for a sequence flow, default flow or boundary event
    that refers to nothing, and for a document without an executable process.
    """
    document = _parse(xml, source)
    reader = _Reader(document, source)
    processes = [node for node in document.root if node.tag == f"{_PREFIX}process"]
    executable = [node for node in processes if node.get("isExecutable", "true") != "false"]
    if not executable:
        named = ", ".join(f"'{node.get('id', '?')}'" for node in processes)
        detail = f'; {named} has isExecutable="false"' if named else ""
        raise InputError(f"{source}: no executable process in it{detail}.")
    return [reader.definition(process) for process in executable]


def read_root(xml: str | bytes, source: str = "BPMN model") -> XmlElement:
    """Read the ``definitions`` element of a BPMN 2.0 document. Raises ``InputError`` as ``read_definitions`` does."""
    return _parse(xml, source).root


@dataclass(slots=True)
class _Document:
    root: XmlElement
    text: str
    lines: dict[XmlElement, int]


def _parse(xml: str | bytes, source: str) -> _Document:
    """Parse with expat itself: ElementTree's own parser does not tell an element's line."""
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    builder = TreeBuilder()
    lines: dict[XmlElement, int] = {}
    encodings: list[str] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        lines[builder.start(_clark(tag), {_clark(k): v for k, v in attributes.items()})] = parser.CurrentLineNumber

    def end(tag: str) -> None:
        builder.end(_clark(tag))

    def refuse_doctype(*_: object) -> None:
        raise InputError(
            f"{source}, line {parser.CurrentLineNumber}: a DOCTYPE, which BPMN does not need.",
            "Remove it.",
        )

    def declaration(_version: str, encoding: str | None, _standalone: int) -> None:
        encodings.append(encoding or "utf-8")

    handlers: dict[str, Any] = {
        "StartElementHandler": start,
        "EndElementHandler": end,
        "CharacterDataHandler": builder.data,
        "StartDoctypeDeclHandler": refuse_doctype,
        "XmlDeclHandler": declaration,
    }
    for name, handler in handlers.items():
        setattr(parser, name, handler)
    try:
        parser.Parse(xml, True)
        text = xml if isinstance(xml, str) else xml.decode((encodings or ["utf-8"])[0])
    except expat.ExpatError as error:
        reason = expat.ErrorString(error.code)
        raise InputError(f"{source}, line {error.lineno}: not well-formed XML: {reason}.") from None
    except (UnicodeError, LookupError) as error:
        raise InputError(f"{source}: cannot be decoded: {error}.") from None
    root = builder.close()
    if root.tag != f"{_PREFIX}definitions":
        raise InputError(
            f"{source}, line {lines[root]}: no BPMN 2.0: the root element is '{_local(root.tag)}', "
            f"not 'definitions' in {MODEL_NAMESPACE}."
        )
    return _Document(root, text, lines)


def _clark(name: str) -> str:
    """Turn expat's ``uri}local`` into ElementTree's ``{uri}local``."""
    return "{" + name if "}" in name else name


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


@dataclass(slots=True)
class _Reader:
    document: _Document
    source: str
    seen: dict[str, int] = field(default_factory=dict)

    def definition(self, process: XmlElement) -> Definition:
        process_id = self._id(process, "process")
        nodes: dict[str, tuple[XmlElement, str | None]] = {}
        flows: dict[str, tuple[XmlElement, SequenceFlow]] = {}
        containers: list[tuple[XmlElement, str | None]] = [(process, None)]
        while containers:
            container, parent = containers.pop(0)
            for child in container:
                kind = _local(child.tag) if child.tag.startswith(_PREFIX) else ""
                if kind == "sequenceFlow":
                    flow = self._flow(child)
                    flows[flow.id] = child, flow
                elif kind in _FLOW_NODES:
                    node_id = self._id(child, kind)
                    nodes[node_id] = child, parent
                    if kind in _CONTAINERS:
                        containers.append((child, node_id))
        incoming: dict[str, list[str]] = defaultdict(list)
        outgoing: dict[str, list[str]] = defaultdict(list)
        for node, flow in flows.values():
            for end, element_id in (("comes from", flow.source), ("leads to", flow.target)):
                if element_id not in nodes:
                    self._fail(node, f"sequence flow '{flow.id}' {end} '{element_id}', which does not exist")
            outgoing[flow.source].append(flow.id)
            incoming[flow.target].append(flow.id)
        elements = {
            node_id: self._element(node, parent, incoming[node_id], outgoing[node_id])
            for node_id, (node, parent) in nodes.items()
        }
        for node_id, element in elements.items():
            if element.attached_to is not None and element.attached_to not in elements:
                self._fail(
                    nodes[node_id][0],
                    f"'{node_id}' is attached to '{element.attached_to}', which does not exist",
                )
        return Definition(
            process_id=process_id,
            name=process.get("name"),
            elements=elements,
            flows={flow_id: flow for flow_id, (_, flow) in flows.items()},
            xml=self.document.text,
        )

    def _element(self, node: XmlElement, parent: str | None, incoming: list[str], outgoing: list[str]) -> Element:
        element_id, default = node.attrib["id"], node.get("default")
        if default is not None and default not in outgoing:
            self._fail(node, f"'{element_id}' has the default flow '{default}', which does not leave it")
        return Element(
            id=element_id,
            type=_local(node.tag),
            name=_tidy(node.get("name")),
            incoming=tuple(incoming),
            outgoing=tuple(outgoing),
            default_flow=default,
            attached_to=node.get("attachedToRef"),
            parent=parent,
        )

    def _flow(self, node: XmlElement) -> SequenceFlow:
        flow_id = self._id(node, "sequenceFlow")
        ends = {}
        for name in ("sourceRef", "targetRef"):
            value = node.get(name)
            if not value:
                self._fail(node, f"sequence flow '{flow_id}' has no {name}")
            ends[name] = value
        condition = node.findtext(f"{_PREFIX}conditionExpression")
        return SequenceFlow(
            id=flow_id,
            source=ends["sourceRef"],
            target=ends["targetRef"],
            name=_tidy(node.get("name")),
            condition=(condition or "").strip() or None,
        )

    def _id(self, node: XmlElement, kind: str) -> str:
        element_id = node.get("id")
        if not element_id:
            self._fail(node, f"a {kind} has no id")
        if element_id in self.seen:
            self._fail(node, f"the id '{element_id}' is already used in line {self.seen[element_id]}")
        self.seen[element_id] = self.document.lines[node]
        return element_id

    def _fail(self, node: XmlElement, what: str) -> NoReturn:
        raise InputError(f"{self.source}, line {self.document.lines[node]}: {what}.")


def _tidy(name: str | None) -> str | None:
    """Put a name that a modeller broke into lines on one."""
    return " ".join(name.split()) or None if name else None
