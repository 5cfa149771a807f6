"""Reads BPMN 2.0 XML (ISO/IEC 19510) into definitions.

Reads only what concerns tokens: flow nodes and sequence flows, with the sub-processes that contain them. Diagrams,
data and collaborations are skipped. Nothing is executed here. Event definitions and other details are read by
``element_details``.
"""

from __future__ import annotations

import codecs
import re
from collections import defaultdict
from collections.abc import Container
from dataclasses import dataclass, field
from itertools import count
from typing import NoReturn
from xml.etree.ElementTree import Element as XmlElement
from xml.etree.ElementTree import TreeBuilder
from xml.parsers import expat

from msgspec.structs import replace

from tokctl.errors import InputError
from tokctl.model.definitions import Definition, Element, SequenceFlow
from tokctl.model.element_types import ELEMENT_TYPES, SUB_PROCESS_TYPES

MODEL_NAMESPACE = "http://www.omg.org/spec/BPMN/20100524/MODEL"
_PREFIX = f"{{{MODEL_NAMESPACE}}}"
_FLOW_NODES = frozenset(ELEMENT_TYPES)


def read_definitions(xml: str | bytes, source: str = "BPMN model", *, executable_only: bool = True) -> list[Definition]:
    """Read the processes of a BPMN 2.0 document: the executable ones, or all.

    A process is executable unless it has ``isExecutable="false"``. Elements of nested sub-processes are in the same
    definition, with the sub-process as their ``parent``. A sequence flow without an id gets one that names its ends,
    such as ``check->ship``. References are QNames; their prefixes are ignored, as a
    document defines all that it refers to. Each definition keeps the whole XML text.

    ``source`` is the name of the document in messages, such as a file name. Bytes are decoded by their byte order
    mark or their XML declaration, in any encoding that Python has.

    Raises:
        InputError: the text is not XML or not BPMN; it has a DOCTYPE (which could define entities); ids are missing
            or duplicate; a sequence flow, default flow or boundary event refers to nothing; or there is no process
            (that is executable).
    """
    document = _parse(xml, source)
    processes = [node for node in document.root if node.tag == f"{_PREFIX}process"]
    if not executable_only and processes:
        return [document.definition(process) for process in processes]
    executable = [node for node in processes if node.get("isExecutable", "true") != "false"]
    if not executable:
        named = ", ".join(f"'{node.get('id', '?')}'" for node in processes)
        detail = f'; {named} has isExecutable="false"' if named else ""
        kind = "executable process" if executable_only else "process"
        raise InputError(f"{source}: no {kind} found{detail}.")
    return [document.definition(process) for process in executable]


def read_root(xml: str | bytes, source: str = "BPMN model") -> XmlElement:
    """Return the ``definitions`` element of a BPMN 2.0 document. Raises InputError like ``read_definitions``."""
    return _parse(xml, source).root


def _parse(xml: str | bytes, source: str) -> _BpmnDocument:
    """Parse a document with expat, because ElementTree's own parser has no line numbers."""
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    builder = TreeBuilder()
    lines: dict[XmlElement, int] = {}

    def start(tag: str, attributes: dict[str, str]) -> None:
        node = builder.start(_to_clark_notation(tag), {_to_clark_notation(k): v for k, v in attributes.items()})
        lines[node] = parser.CurrentLineNumber

    def refuse_doctype(*_: object) -> None:
        line = parser.CurrentLineNumber
        raise InputError(f"{source}, line {line}: DOCTYPE is not allowed.", "Remove it.")

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda tag: builder.end(_to_clark_notation(tag))
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse_doctype
    text = xml if isinstance(xml, str) else _decode(xml, source)
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        reason = expat.ErrorString(error.code)
        raise InputError(f"{source}, line {error.lineno}: not well-formed XML: {reason}.") from None
    except UnicodeEncodeError as error:
        raise InputError(f"{source}: the text has an invalid character: {error.reason}.") from None
    root = builder.close()
    if root.tag != f"{_PREFIX}definitions":
        raise InputError(
            f"{source}, line {lines[root]}: not BPMN 2.0: the root element is '{local_name(root.tag)}', "
            f"not 'definitions' in {MODEL_NAMESPACE}."
        )
    return _BpmnDocument(source, root, text, lines)


_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_DECLARED_ENCODING = re.compile(rb"""<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")


def _decode(xml: bytes, source: str) -> str:
    """Decode a document as XML 1.0 says (appendix F): by its mark, the form of its first character, its declaration."""
    mark = next((mark for mark in _MARKS if xml.startswith(mark)), b"")
    if mark:
        encoding = _MARKS[mark]
    elif xml[:4] in {b"<\0?\0", b"\0<\0?"}:
        encoding = "utf-16-le" if xml[0] else "utf-16-be"
    else:
        declared = _DECLARED_ENCODING.match(xml.lstrip())
        encoding = declared[1].decode() if declared else "utf-8"
    try:
        return xml[len(mark) :].decode(encoding)
    except (UnicodeError, LookupError) as error:
        raise InputError(f"{source}: cannot decode the text: {error}.") from None


def _to_clark_notation(name: str) -> str:
    """Turn expat's ``uri}local`` into ElementTree's ``{uri}local``."""
    return "{" + name if "}" in name else name


def resolve(reference: str, known: Container[str]) -> str:
    """Return the id that a reference means: a QName of an id in ``known``, or that id itself; else the reference."""
    reference = reference.strip()
    local_name = reference.rpartition(":")[2]
    return local_name if reference not in known and local_name in known else reference


def local_name(tag: str) -> str:
    """Return the name of an XML element or attribute without its namespace."""
    return tag.rpartition("}")[2]


@dataclass(slots=True)
class _BpmnDocument:
    """A parsed document, with the line of each element."""

    source: str
    root: XmlElement
    text: str
    lines: dict[XmlElement, int]
    lines_by_id: dict[str, int] = field(default_factory=dict)

    def definition(self, process: XmlElement) -> Definition:
        process_id = self._id(process, "process")
        nodes: dict[str, tuple[XmlElement, str | None]] = {}
        flows: dict[str, tuple[XmlElement, SequenceFlow]] = {}
        flows_read: list[tuple[XmlElement, SequenceFlow]] = []
        containers: list[tuple[XmlElement, str | None]] = [(process, None)]
        while containers:
            container, parent = containers.pop(0)
            for child in container:
                kind = local_name(child.tag) if child.tag.startswith(_PREFIX) else ""
                if kind == "sequenceFlow":
                    flows_read.append((child, self._flow(child)))
                elif kind in _FLOW_NODES:
                    node_id = self._id(child, kind)
                    nodes[node_id] = child, parent
                    if kind in SUB_PROCESS_TYPES:
                        containers.append((child, node_id))
        incoming: dict[str, list[str]] = defaultdict(list)
        outgoing: dict[str, list[str]] = defaultdict(list)
        for node, read in flows_read:
            source, target = resolve(read.source, nodes), resolve(read.target, nodes)
            flow = replace(read, id=read.id or _make_flow_id(source, target, flows), source=source, target=target)
            flows[flow.id] = node, flow
            for end, element_id in (("comes from", flow.source), ("leads to", flow.target)):
                if element_id not in nodes:
                    self._fail(node, f"sequence flow '{flow.id}' {end} '{element_id}', which does not exist")
            outgoing[flow.source].append(flow.id)
            incoming[flow.target].append(flow.id)
        elements = {
            node_id: self._element(node, parent, nodes, incoming[node_id], outgoing[node_id])
            for node_id, (node, parent) in nodes.items()
        }
        for node_id, element in elements.items():
            host = element.attached_to
            if host is not None and host not in elements:
                self._fail(nodes[node_id][0], f"'{node_id}' is attached to '{host}', which does not exist")
        return Definition(
            process_id=process_id,
            name=process.get("name"),
            elements=elements,
            flows={flow_id: flow for flow_id, (_, flow) in flows.items()},
            xml=self.text,
        )

    def _element(
        self,
        node: XmlElement,
        parent: str | None,
        nodes: Container[str],
        incoming: list[str],
        outgoing: list[str],
    ) -> Element:
        element_id, default, host = node.attrib["id"], node.get("default"), node.get("attachedToRef")
        default = None if default is None else resolve(default, outgoing)
        if default is not None and default not in outgoing:
            self._fail(node, f"the default flow '{default}' of '{element_id}' does not start at it")
        return Element(
            id=element_id,
            type=local_name(node.tag),
            name=_join_lines(node.get("name")),
            incoming=tuple(incoming),
            outgoing=tuple(outgoing),
            default_flow=default,
            attached_to=None if host is None else resolve(host, nodes),
            parent=parent,
        )

    def _flow(self, node: XmlElement) -> SequenceFlow:
        flow_id = self._id(node, "sequenceFlow") if node.get("id") else ""
        for name in ("sourceRef", "targetRef"):
            if not node.get(name):
                self._fail(node, f"sequence flow '{flow_id}' has no {name}")
        return SequenceFlow(
            id=flow_id,
            source=node.attrib["sourceRef"],
            target=node.attrib["targetRef"],
            name=_join_lines(node.get("name")),
            condition=node.findtext(f"{_PREFIX}conditionExpression", "").strip() or None,
        )

    def _id(self, node: XmlElement, kind: str) -> str:
        element_id = node.get("id")
        if not element_id:
            self._fail(node, f"a {kind} has no id")
        if element_id in self.lines_by_id:
            self._fail(node, f"the id '{element_id}' is already used in line {self.lines_by_id[element_id]}")
        self.lines_by_id[element_id] = self.lines[node]
        return element_id

    def _fail(self, node: XmlElement, what: str) -> NoReturn:
        raise InputError(f"{self.source}, line {self.lines[node]}: {what}.")


def _make_flow_id(source: str, target: str, known: Container[str]) -> str:
    """Return an id for a sequence flow that has none: BPMN does not require one."""
    name = f"{source}->{target}"
    return next(one for number in count(1) if (one := name if number == 1 else f"{name}#{number}") not in known)


def _join_lines(name: str | None) -> str | None:
    """Return a name on one line; modelling tools keep the line breaks of a label."""
    return " ".join(name.split()) or None if name else None
