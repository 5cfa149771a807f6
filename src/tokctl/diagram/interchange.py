"""Reads the diagrams of a BPMN document (BPMN DI, chapter 12 of BPMN 2.0): where each element is drawn.

Lengths and coordinates are in pixels, y downwards. Colours are those of BPMN in Color 1.0
(https://github.com/bpmn-miwg/bpmn-in-color) and of bpmn.io. What cannot be drawn is left out, with a note.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Container, Iterator
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from tokctl.text import count, one_line

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element as XmlElement

MAX_COORDINATE = 1_000_000
"""Greatest distance from the origin in pixels: what is farther away cannot be seen together with anything else."""

MESSAGE_KINDS = frozenset({"initiating", "non_initiating"})
_COLOR = re.compile(r"#(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})|rgb\(\s*\d{1,3}\s*,\s*\d{1,3}\s*,\s*\d{1,3}\s*\)")
_STROKES, _FILLS, _TEXTS = ("border-color", "stroke"), ("background-color", "fill"), ("color",)


class Point(NamedTuple):
    """A place in pixels."""

    x: float
    y: float


class Bounds(NamedTuple):
    """A rectangle in pixels."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """The x of the right side."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """The y of the lower side."""
        return self.y + self.height

    @property
    def middle(self) -> Point:
        """The centre."""
        return Point(self.x + self.width / 2, self.y + self.height / 2)

    def contains(self, other: Bounds) -> bool:
        """Tell whether the centre of another rectangle is in this one."""
        x, y = other.middle
        return self.x <= x <= self.right and self.y <= y <= self.bottom


class Colors(Struct, frozen=True):
    """The colours that a modeller has chosen, as CSS values; None for those of the style."""

    stroke: str | None = None
    fill: str | None = None
    text: str | None = None


class Band(Struct, frozen=True, kw_only=True):
    """The band of a participant in a choreography activity.

    ``participant`` is its id. ``initiating`` is None if the diagram does not say. With ``message_visible``, the message
    that the participant sends is shown.
    """

    participant: str
    bounds: Bounds
    initiating: bool | None = None
    message_visible: bool = False
    colors: Colors = Colors()


class Shape(Struct, frozen=True, kw_only=True):
    """Where and how a node is drawn. ``element`` is its id; None stands for an attribute that is not given."""

    element: str
    bounds: Bounds
    label: Bounds | None = None
    expanded: bool | None = None
    horizontal: bool | None = None
    marker_visible: bool | None = None
    bands: tuple[Band, ...] = ()
    colors: Colors = Colors()


class Edge(Struct, frozen=True, kw_only=True):
    """The line of a flow or an association: its id, and at least two points.

    ``message`` is ``initiating`` or ``non_initiating`` if a message flow shows its message, which then is one of these.
    """

    element: str
    points: tuple[Point, ...]
    label: Bounds | None = None
    message: str | None = None
    colors: Colors = Colors()


class Plane(Struct, frozen=True, kw_only=True):
    """One diagram: the id of the process, collaboration or sub-process that it shows, and what it draws, in order."""

    element: str
    name: str = ""
    shapes: tuple[Shape, ...] = ()
    edges: tuple[Edge, ...] = ()


class Interchange(NamedTuple):
    """The diagrams of a document, and in sentences what was left out of them."""

    planes: tuple[Plane, ...]
    notes: tuple[str, ...]


def read_interchange(root: XmlElement, nodes: Container[str], flows: Container[str]) -> Interchange:
    """Read the diagrams of a document.

    ``root`` is its ``definitions`` element, ``nodes`` and ``flows`` are the ids of the elements that can be drawn as
    shapes and as edges. Others are left out, and those without usable coordinates or drawn before in the same diagram.
    """
    reader = _Reader(nodes, flows)
    planes = tuple(
        reader.plane(plane, one_line(diagram.get("name", "")))
        for diagram in _children(root, "BPMNDiagram")
        for plane in _children(diagram, "BPMNPlane")
    )
    notes = (f"{count(number, thing)} left out: {why}." for (thing, why), number in reader.left_out.items())
    return Interchange(tuple(plane for plane in planes if plane.shapes), tuple(notes))


class _Reader:
    """Reads planes, and counts what is left out, by what it is and why."""

    def __init__(self, nodes: Container[str], flows: Container[str]) -> None:
        self.nodes, self.flows = nodes, flows
        self.left_out: Counter[tuple[str, str]] = Counter()

    def plane(self, node: XmlElement, name: str) -> Plane:
        shapes: dict[str, Shape] = {}
        edges: dict[str, Edge] = {}
        bands: list[XmlElement] = []
        activities: dict[str, str] = {}
        for child in node:
            kind = _local_name(child)
            if kind not in {"BPMNShape", "BPMNEdge"}:
                continue
            if child.get("choreographyActivityShape"):
                bands.append(child)
                continue
            thing, known = ("shape", self.nodes) if kind == "BPMNShape" else ("edge", self.flows)
            element = self.reference(child)
            drawn = self.shape(child, element) if thing == "shape" else self.edge(child, element)
            if element not in known:
                self.left_out[thing, "the element is unknown, or of a type that is not drawn"] += 1
            elif element in shapes or element in edges:
                self.left_out[thing, "the element is drawn twice"] += 1
            elif isinstance(drawn, Shape):
                shapes[element] = drawn
                activities[child.get("id", "")] = element
            elif isinstance(drawn, Edge):
                edges[element] = drawn
            else:
                self.left_out[thing, "the coordinates are missing or invalid"] += 1
        for child in bands:
            activity = activities.get(child.get("choreographyActivityShape", "").rpartition(":")[2], "")
            if (band := self.band(child, activity)) is not None:
                shapes[activity] = replace(shapes[activity], bands=(*shapes[activity].bands, band))
        return Plane(
            element=self.reference(node), name=name, shapes=tuple(shapes.values()), edges=tuple(edges.values())
        )

    def reference(self, node: XmlElement) -> str:
        """Return the id that a node refers to, which may have the prefix of its namespace."""
        given = node.get("bpmnElement", "")
        return given if given in self.nodes or given in self.flows else given.rpartition(":")[2]

    def shape(self, node: XmlElement, element: str) -> Shape | None:
        bounds = self.bounds(node)
        if bounds is None:
            return None
        return Shape(
            element=element,
            bounds=bounds,
            label=self.label(node),
            expanded=_boolean(node.get("isExpanded")),
            horizontal=_boolean(node.get("isHorizontal")),
            marker_visible=_boolean(node.get("isMarkerVisible")),
            colors=self.colors(node),
        )

    def band(self, node: XmlElement, activity: str) -> Band | None:
        participant, bounds = self.reference(node), self.bounds(node)
        if not activity or participant not in self.nodes:
            self.left_out["participant band", "its choreography activity or its participant is not drawn"] += 1
            return None
        if bounds is None:
            self.left_out["participant band", "the coordinates are missing or invalid"] += 1
            return None
        kind = node.get("participantBandKind")
        return Band(
            participant=participant,
            bounds=bounds,
            initiating=None if kind is None else not kind.endswith("non_initiating"),
            message_visible=_boolean(node.get("isMessageVisible")) or False,
            colors=self.colors(node),
        )

    def edge(self, node: XmlElement, element: str) -> Edge | None:
        points = [_point(child) for child in _children(node, "waypoint")]
        known = tuple(point for point in points if point is not None)
        if len(known) < 2 or len(known) < len(points):
            return None
        message = node.get("messageVisibleKind")
        return Edge(
            element=element,
            points=known,
            label=self.label(node),
            message=message if message in MESSAGE_KINDS else None,
            colors=self.colors(node),
        )

    def label(self, node: XmlElement) -> Bounds | None:
        """Return the place of a label. Some tools write one at the origin that they have not placed: it is none."""
        found = (bounds for label in _children(node, "BPMNLabel") if (bounds := self.bounds(label)))
        return next((bounds for bounds in found if (bounds.x, bounds.y) != (0, 0)), None)

    def bounds(self, node: XmlElement) -> Bounds | None:
        for child in _children(node, "Bounds"):
            place = _point(child)
            width, height = _number(child.get("width")), _number(child.get("height"))
            if place is not None and width is not None and height is not None and width >= 0 and height >= 0:
                return Bounds(*place, width, height)
        return None

    def colors(self, node: XmlElement) -> Colors:
        given = {_plain(name): value.strip() for name, value in node.items() if name.startswith("{")}
        label = next(_children(node, "BPMNLabel"), None)
        texts = {} if label is None else {_plain(name): value.strip() for name, value in label.items()}
        return Colors(self.color(given, _STROKES), self.color(given, _FILLS), self.color(texts, _TEXTS))

    def color(self, given: dict[str, str], names: tuple[str, ...]) -> str | None:
        values = [given[name] for name in names if given.get(name)]
        usable = next(filter(_COLOR.fullmatch, values), None)
        if values and usable is None:
            self.left_out["colour", "use #RRGGBB or rgb(R, G, B)"] += 1
        return usable


def _children(node: XmlElement, name: str) -> Iterator[XmlElement]:
    return (child for child in node if _local_name(child) == name)


def _local_name(node: XmlElement) -> str:
    return _plain(node.tag)


def _plain(name: str) -> str:
    return name.rpartition("}")[2]


def _boolean(text: str | None) -> bool | None:
    return {"true": True, "1": True, "false": False, "0": False}.get((text or "").strip())


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) <= MAX_COORDINATE else None


def _point(node: XmlElement) -> Point | None:
    x, y = _number(node.get("x", "0")), _number(node.get("y", "0"))  # some tools leave out the 0 (the default of DC)
    return None if x is None or y is None else Point(x, y)
