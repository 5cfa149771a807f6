"""Data and artifacts of a model without diagrams: what they belong to, how large they are, and their short lines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from tokctl.diagram.elements import FLOW_NODES, DiagramElement
from tokctl.diagram.interchange import Bounds, Point, Shape
from tokctl.diagram.labels import FONT_SIZE, LINE_HEIGHT, SMALL_FONT_SIZE, SMALL_LINE_HEIGHT, text_width, wrap
from tokctl.diagram.shapes import LABEL_WIDTH

ARTIFACT_GAP = 40
"""Room between an element and its artifacts, in pixels."""
_SPACE = 14
_DATA = {"dataObjectReference", "dataStoreReference", "dataObject", "dataInput", "dataOutput"}
_ALWAYS_DRAWN = {"dataObjectReference", "dataStoreReference", "textAnnotation"}
_ARTIFACTS = _DATA | {"textAnnotation"}
_MARGIN = 8


class Link(Struct, frozen=True):
    """An association of an artifact with another element. ``outgoing``: it leads away from the artifact."""

    id: str
    artifact: str
    other: str
    outgoing: bool

    def points(self, way: Iterable[Point]) -> tuple[Point, ...]:
        """Return the points of the line from those of the way from the artifact to the other element."""
        points = tuple(way)
        return points if self.outgoing else points[::-1]


class Artifacts:
    """The data objects, data stores and text annotations of a model.

    Attributes:
        links: their associations, in the order of the model.
        anchors: the flow node that each of them is near.
        near: those near each flow node.
        loose: those that are near none, by the element that contains them.
    """

    def __init__(self, elements: Mapping[str, DiagramElement]) -> None:
        self.links = list(_find_links(elements))
        self.anchors: dict[str, str] = {}
        for link in self.links:
            other = elements[link.other]
            anchor = (other.source or "") if other.kind == "sequenceFlow" else other.id
            if anchor in elements and elements[anchor].kind in FLOW_NODES:
                self.anchors.setdefault(link.artifact, anchor)
        for link in self.links:  # an annotation of data
            if link.other in self.anchors:
                self.anchors.setdefault(link.artifact, self.anchors[link.other])
        self.near: dict[str, list[DiagramElement]] = defaultdict(list)
        annotated = {link.artifact: link.other for link in self.links}
        for key, anchor in self.anchors.items():
            row = self.near[anchor]
            beside = (n for n, one in enumerate(row) if one.id == annotated[key])
            row.insert(next(beside, len(row)), elements[key])
        self.loose: dict[str | None, list[DiagramElement]] = defaultdict(list)
        for one in elements.values():
            if one.kind in _ALWAYS_DRAWN and one.id not in self.anchors:
                self.loose[one.parent].append(one)


def _find_links(elements: Mapping[str, DiagramElement]) -> Iterator[Link]:
    for one in elements.values():
        for key in one.data_associations:
            if (link := elements.get(key)) is None:
                continue
            incoming = link.kind == "dataInputAssociation"
            data = elements.get((link.source if incoming else link.target) or "")
            if data is not None and data.kind in _DATA:
                yield Link(key, data.id, one.id, incoming)
        source, target = elements.get(one.source or ""), elements.get(one.target or "")
        if one.kind == "association" and source is not None and target is not None:
            if source.kind in _ARTIFACTS and target.kind != "textAnnotation":
                yield Link(one.id, source.id, target.id, True)
            elif target.kind in _ARTIFACTS:
                yield Link(one.id, target.id, source.id, False)


def artifact_size(one: DiagramElement) -> tuple[float, float]:
    """Return the width and the height of an artifact, in pixels, with the name of data to the right of it."""
    if one.kind == "textAnnotation":
        lines = wrap(one.name, 140, 8)
        width = max((text_width(line, FONT_SIZE) for line in lines), default=0.0)
        return max(width + 20, 30), max(len(lines) * LINE_HEIGHT + 10, 30)
    width, height = _name_size(one)
    return _data_width(one) + (width + 4) * bool(width), max(50, height)


def _name_size(one: DiagramElement) -> tuple[float, float]:
    lines = wrap(one.name, LABEL_WIDTH, 8, SMALL_FONT_SIZE)
    return max((text_width(line, SMALL_FONT_SIZE) for line in lines), default=0.0), len(lines) * SMALL_LINE_HEIGHT


def _data_width(one: DiagramElement) -> float:
    return 50 if one.kind == "dataStoreReference" else 36


def row_size(row: Iterable[DiagramElement]) -> tuple[float, float]:
    """Return the width and the height of artifacts beside each other; (0, 0) if there are none."""
    sizes = [artifact_size(one) for one in row]
    return sum(width + _SPACE for width, _ in sizes) - _SPACE * bool(sizes), max((h for _, h in sizes), default=0)


def place_row(row: Iterable[DiagramElement], x: float, top: float, height: float) -> Iterator[tuple[str, Bounds]]:
    """Yield the bounds of artifacts beside each other, with their lower sides at ``top + height``."""
    for one in row:
        width, own = artifact_size(one)
        place = (width, own) if one.kind == "textAnnotation" else (_data_width(one), 50)
        yield one.id, Bounds(x, top + height - own / 2 - place[1] / 2, *place)
        x += width + _SPACE


def name_beside(one: DiagramElement, place: Bounds) -> Bounds | None:
    """Return where the name of data is; None for other elements."""
    if one.kind not in _DATA or not one.name:
        return None
    width, height = _name_size(one)
    return Bounds(place.right + 4, place.middle.y - height / 2, width, height)


def short_line(one: Bounds, other: Bounds) -> tuple[Point, Point]:
    """Return a straight line between the sides of two rectangles that face each other."""
    if one.bottom > other.y and other.bottom > one.y:
        left = one.x < other.x
        y = (max(one.y, other.y) + min(one.bottom, other.bottom)) / 2
        return Point(one.right if left else one.x, y), Point(other.x if left else other.right, y)
    down = one.y < other.y
    x = one.middle.x
    end = min(max(x, other.x + other.width / 4), other.right - other.width / 4)
    if other.width <= 50:  # an event or a gateway: its side is a point
        end = other.middle.x
    return Point(x, one.bottom if down else one.y), Point(end, other.y if down else other.bottom)


def place_groups(elements: Mapping[str, DiagramElement], shapes: Iterable[Shape]) -> Iterator[Shape]:
    """Yield the groups whose members are known and beside each other, so that no other element is inside."""
    places = {shape.element: shape.bounds for shape in shapes if elements[shape.element].kind != "lane"}
    members: dict[str, set[str]] = defaultdict(set)
    for key in places:
        for category in elements[key].categories:
            members[category].add(key)
    for one in elements.values():
        own = {key for category in one.categories for key in members[category]}
        if one.kind != "group" or not own:
            continue
        inside = [places[key] for key in own]
        x, y = min(place.x for place in inside), min(place.y for place in inside)
        right, bottom = max(place.right for place in inside), max(place.bottom for place in inside)
        frame = Bounds(x, y, right - x, bottom - y)
        others = (place for key, place in places.items() if key not in own and _overlap(place, frame))
        if all(_is_within(frame, place) or any(_is_part(place, member) for member in inside) for place in others):
            low = max(_bottom_with_name(elements[key], places[key]) for key in own)
            yield Shape(
                element=one.id,
                bounds=Bounds(x - _MARGIN, y - _MARGIN, frame.width + 2 * _MARGIN, low - y + 2 * _MARGIN),
                label=Bounds(x, y - _MARGIN - SMALL_LINE_HEIGHT - 1, frame.width, SMALL_LINE_HEIGHT),
            )


def _bottom_with_name(one: DiagramElement, place: Bounds) -> float:
    return place.bottom + SMALL_LINE_HEIGHT * bool(one.kind.endswith(("Event", "Gateway")) and one.name)


def _overlap(one: Bounds, other: Bounds) -> bool:
    return one.x < other.right and other.x < one.right and one.y < other.bottom and other.y < one.bottom


def _is_within(one: Bounds, other: Bounds) -> bool:
    return other.x <= one.x and one.right <= other.right and other.y <= one.y and one.bottom <= other.bottom


def _is_part(one: Bounds, member: Bounds) -> bool:
    """Tell whether an element is inside a member, or a boundary event at its lower side."""
    return member.x <= one.x and one.right <= member.right and member.y <= one.y and one.middle.y <= member.bottom
