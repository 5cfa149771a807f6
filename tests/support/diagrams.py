"""BPMN documents with diagrams, and what is in pictures of them."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

from tokctl.diagram.drawing import draw
from tokctl.diagram.model import read_model

SVG = "{http://www.w3.org/2000/svg}"
NAMESPACES = (
    'xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL" xmlns:di="http://www.omg.org/spec/DD/20100524/DI" '
    'xmlns:dc="http://www.omg.org/spec/DD/20100524/DC" xmlns:bpmndi="http://www.omg.org/spec/BPMN/20100524/DI" '
    'xmlns:bioc="http://bpmn.io/schema/bpmn/biocolor/1.0" '
    'xmlns:color="http://www.omg.org/spec/BPMN/non-normative/color/1.0"'
)


def document(process: str, diagram: str = "", *, around: str = "") -> str:
    """Return a BPMN document with the process ``p`` and one diagram of it."""
    plane = f'<bpmndi:BPMNDiagram><bpmndi:BPMNPlane bpmnElement="p">{diagram}</bpmndi:BPMNPlane></bpmndi:BPMNDiagram>'
    inner = f'{around}<process id="p">{process}</process>{plane if diagram else ""}'
    return f'<definitions {NAMESPACES} targetNamespace="t">{inner}</definitions>'


def shape(element: str, x: float = 0, y: float = 0, width: float = 100, height: float = 80, more: str = "") -> str:
    """Return a shape of a diagram; ``more`` are attributes."""
    bounds = f'<dc:Bounds x="{x}" y="{y}" width="{width}" height="{height}"/>'
    return f"<bpmndi:BPMNShape bpmnElement={quoteattr(element)} {more}>{bounds}</bpmndi:BPMNShape>"


def edge(element: str, *points: tuple[float, float]) -> str:
    """Return an edge of a diagram."""
    inner = "".join(f'<di:waypoint x="{x}" y="{y}"/>' for x, y in points)
    return f"<bpmndi:BPMNEdge bpmnElement={quoteattr(element)}>{inner}</bpmndi:BPMNEdge>"


def draw_document(xml: str) -> ET.Element:
    """Return the picture of a document, parsed."""
    model = read_model(xml, "model")
    return ET.fromstring(draw(model.planes, model.elements).svg)


def groups(picture: ET.Element) -> dict[str, ET.Element]:
    """Return the drawn elements and flows by id."""
    return {key: group for group in picture.iter(f"{SVG}g") if (key := group.get("data-element-id"))}


def classes(group: ET.Element) -> list[str]:
    """Return the classes of what is in a group, in drawing order."""
    return [kind for part in group.iter() if part is not group and (kind := part.get("class"))]


def written(picture: ET.Element) -> list[str]:
    """Return the lines of text in a picture."""
    return [span.text or "" for span in picture.iter(f"{SVG}tspan")]


def place(group: ET.Element) -> tuple[float, float]:
    """Return the place of an element in its diagram."""
    x, y = map(float, re.findall(r"-?[\d.]+", group.get("transform", "")))
    return x, y
