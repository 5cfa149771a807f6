"""Places the elements of a model without diagrams, and draws its flows with right angles.

``layers`` places connected elements. Sub-processes are placed first and count as large elements. Boundary events are at
the lower side of their activity. Pools are stacked, and so are the lanes of a process or a sub-process. Data and
annotations are above the element that they are associated with first, or below its boundary event, or at the end if
they are associated with none. Groups are around their members.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from tokctl.diagram.artifacts import (
    ARTIFACT_GAP,
    Artifacts,
    Link,
    name_beside,
    place_groups,
    place_row,
    row_size,
    short_line,
)
from tokctl.diagram.connections import find_label_place
from tokctl.diagram.elements import DiagramElement
from tokctl.diagram.interchange import Bounds, Edge, Plane, Point, Shape
from tokctl.diagram.labels import SMALL_FONT_SIZE, text_width
from tokctl.diagram.lanes import Lanes
from tokctl.diagram.layers import BAND_GAP, EVENT, GATEWAY, LABEL_ROOM, ROW_GAP, TRACK, Layers
from tokctl.diagram.levels import LevelElements, group_by_parent
from tokctl.diagram.pools import PoolLines
from tokctl.diagram.shapes import BAND, LABEL_WIDTH

TASK = 100, 80
PADDING = 30
MIN_ROW = 600
MAX_DEPTH = 50
"""Sub-processes, one in the other, that are drawn expanded."""


def lay_out(elements: Mapping[str, DiagramElement], process: str | None = None) -> Plane:
    """Return a diagram of a process, or of all processes, in pools if the model has a collaboration.

    Groups are left out if it is not known what is in them, or if they would contain other elements, too.
    """
    messages = [one for one in elements.values() if one.kind == "messageFlow"]
    model = _Model(group_by_parent(elements), Artifacts(elements), messages)
    pools = {one.process: one for one in elements.values() if one.kind == "participant" and one.process}
    processes = [one.id for one in elements.values() if one.kind == "process" and process in {None, one.id}]
    shapes: list[Shape] = []
    edges: list[Edge] = []
    bands: list[Bounds] = []
    y = 0.0
    for one in processes:
        level = _Level(one, model)
        pool = pools.get(one) if process is None else None
        if not level.bounds and not level.lanes.frames and pool is None:
            continue
        band = BAND if pool else 0
        padding = 0 if level.lanes.frames else PADDING
        inner, lines = level.moved(band + padding, y + padding)
        height = level.height + 2 * padding
        bands.append(Bounds(0, y, level.width + band + 2 * padding, height))
        if pool:
            shapes.append(Shape(element=pool.id, bounds=bands[-1], horizontal=True))
        shapes += inner
        edges += lines
        y += height + ROW_GAP
    if process is None:
        loose = [one for key in (None, *_collaborations(elements)) for one in model.artifacts.loose[key]]
        rest, _ = _rows_of(loose, max((shape.bounds.right for shape in shapes), default=0.0), y)
        shapes += [Shape(element=key, bounds=place, label=name_beside(elements[key], place)) for key, place in rest]
    shapes += place_groups(elements, shapes)
    places = {shape.element: shape.bounds for shape in shapes}
    obstacles = [place for key, place in places.items() if elements[key].kind not in {"participant", "lane", "group"}]
    edges += _other_lines(model, places, list(edges), PoolLines(bands, ROW_GAP, obstacles))
    return Plane(element=process or "", shapes=tuple(shapes), edges=tuple(edges))


def _collaborations(elements: Mapping[str, DiagramElement]) -> list[str]:
    return [one.id for one in elements.values() if one.kind == "collaboration"]


def _other_lines(
    model: _Model, places: Mapping[str, Bounds], edges: Iterable[Edge], lines: PoolLines
) -> Iterator[Edge]:
    """Yield message flows, and the associations that have no line: those with flows, and those between levels."""
    routes = {edge.element: edge.points for edge in edges}
    for flow in model.message_flows:
        source, target = places.get(flow.source or ""), places.get(flow.target or "")
        if source is not None and target is not None:
            routes[flow.id] = lines.draw(source, target)
            yield Edge(element=flow.id, points=routes[flow.id])
    for link in model.artifacts.links:
        at = places.get(link.other)
        if at is None and link.other in routes:
            at = Bounds(*find_label_place(routes[link.other]), 0, 0)
        if link.id not in routes and link.artifact in places and at is not None:
            own = places[link.artifact]
            way = lines.draw(own, at) if lines.are_apart(own, at) and at.width else short_line(own, at)
            yield Edge(element=link.id, points=link.points(way))


def _rows_of(artifacts: list[DiagramElement], width: float, top: float) -> tuple[list[tuple[str, Bounds]], float]:
    """Return places for artifacts in rows that are about as wide as given, from ``top`` on, and their lower side."""
    places: list[tuple[str, Bounds]] = []
    row: list[DiagramElement] = []
    for one in (*artifacts, None):
        if row and (one is None or row_size([*row, one])[0] > max(width, MIN_ROW)):
            height = row_size(row)[1]
            places += place_row(row, 0, top, height)
            top += height + ROW_GAP
            row = []
        if one is not None:
            row.append(one)
    return places, top - ROW_GAP * bool(places)


def _is_split(one: DiagramElement, flows: int) -> bool:
    return one.kind.endswith("Gateway") and flows > 1


class _Model(NamedTuple):
    """What is laid out: elements by their parents, data and artifacts, and message flows."""

    children: Mapping[str | None, list[DiagramElement]]
    artifacts: Artifacts
    message_flows: list[DiagramElement]


class _Level:
    """The elements of one process or sub-process, from (0, 0) on. ``bounds`` are those of its own elements by id."""

    def __init__(self, container: str, model: _Model, depth: int = 0) -> None:
        level = LevelElements(container, model.children)
        filled = [one.id for one in level.members if one.is_container and model.children[one.id] and depth < MAX_DEPTH]
        self.inner = {key: _Level(key, model, depth + 1) for key in filled}
        self.attached, self.nodes, self.host, self.flows = level.attached, level.nodes, level.host, level.flows
        self.sizes = {key: self._size(one) for key, one in self.nodes.items()}
        self.above = {key: model.artifacts.near[key] for key in self.nodes if key in model.artifacts.near}
        self.below: dict[str, list[DiagramElement]] = defaultdict(list)
        for event, key in self.host.items():
            self.below[key] += model.artifacts.near.get(event, ())
        self.drawn = {one.id: one for one in level.members}
        self.drawn |= {one.id: one for row in (*self.above.values(), *self.below.values()) for one in row}
        leaving = Counter(flow.source for flow in self.flows)
        self.names = {
            one.id: one.name for one in level.members if one.id in self.host or _is_split(one, leaving[one.id])
        }
        self.lanes = Lanes(model.children[container], self.nodes)
        self.bounds: dict[str, Bounds] = {}
        self.routes: list[Edge] = []
        self.tops: list[float] = []
        self.width = self.height = 0.0
        self.left = self.lanes.depth * BAND + PADDING if self.lanes.frames else 0.0
        self._place(model.artifacts)
        self._add_loose(model.artifacts.loose[container])

    def _size(self, one: DiagramElement) -> tuple[float, float]:
        if one.kind.endswith("Event"):
            return EVENT, EVENT
        if one.kind.endswith("Gateway"):
            return GATEWAY, GATEWAY
        inner = self.inner.get(one.id)
        events = len(self.attached[one.id]) * (EVENT + 14)
        if inner is None or not inner.bounds:
            return max(TASK[0], events), TASK[1]
        return max(inner.width + 2 * PADDING, events), inner.height + 2 * PADDING

    def rise(self, key: str) -> float:
        """Return the height of the artifacts above an element."""
        return row_size(self.above[key])[1] + ARTIFACT_GAP if key in self.above else 0

    def room(self, key: str) -> float:
        """Return the height of an element with its name, its boundary events and its artifacts."""
        if key not in self.nodes:
            return 1
        below = row_size(self.below[key])[1] + TRACK if self.below.get(key) else 0
        return self.rise(key) + self._height_with_name(key) + below

    def _height_with_name(self, key: str) -> float:
        outside = LABEL_ROOM if self.sizes[key][1] in {EVENT, GATEWAY} and self.nodes[key].name else 0
        return self.sizes[key][1] + (EVENT / 2 + LABEL_ROOM if self.attached.get(key) else outside)

    def full_width(self, key: str) -> float:
        """Return the width of an element with its name and its artifacts."""
        own, height = self.sizes[key]
        name = min(text_width(self.nodes[key].name, SMALL_FONT_SIZE), LABEL_WIDTH) * (height < TASK[1])
        return max(own, name, *(row_size(rows.get(key, ()))[0] for rows in (self.above, self.below)))

    def _place(self, artifacts: Artifacts) -> None:
        """Place all elements together if there are lanes, else each group of connected ones below the others."""
        links = {
            link.id: (near, other)
            for link in artifacts.links
            if (near := self._node(artifacts.anchors.get(link.artifact))) in self.nodes
            and (other := self._node(link.other)) in self.nodes
            and artifacts.anchors[link.artifact] != link.other
        }
        several = bool(self.lanes.frames)
        ends = {flow.id: (self._node(flow.source), self._node(flow.target)) for flow in self.flows}
        for keys in [list(self.nodes)] if several else _connected(self.nodes, [*ends.values(), *links.values()]):
            within = set(keys)
            flows = [flow for flow in self.flows if ends[flow.id][0] in within]
            own = {key: pair for key, pair in links.items() if pair[0] in within}
            layers = Layers(self, keys, flows, {flow.id: ends[flow.id] for flow in flows}, own, self.lanes.band)
            layers.place(BAND_GAP / 2 if several else self.height + (ROW_GAP if self.bounds else 0), self.lanes.count)
            self._route_links([link for link in artifacts.links if link.id in own], layers)
            self.width, self.height, self.tops = max(self.width, layers.width), layers.bottom, layers.tops
        if several:
            self.height += BAND_GAP / 2
            self.width += self.left + PADDING
            self.tops = [0.0, *(top - BAND_GAP / 2 for top in self.tops[1:]), self.height]

    def _route_links(self, links: list[Link], layers: Layers) -> None:
        """Draw the lines from artifacts to the elements that they are not near."""
        arrived: Counter[str] = Counter()
        for n, link in enumerate(links):
            start, end = self.bounds[link.artifact], self.bounds[link.other]
            arrived[link.other] += 1
            room = TRACK / 2 * (arrived[link.other] % 3)
            x = end.middle.x if end.width <= GATEWAY else end.x + 2 * TRACK + (2 * room)
            below = link.other in self.host
            above = start.middle.y > self.bounds[layers.links[link.id][0]].middle.y
            leave = Point(start.middle.x, start.y if above else start.bottom)
            level = leave.y + (-1 if above else 1) * (TRACK / 2 + TRACK / 2 * (n % 3))
            y = end.bottom + 6 + room / 2 if below else end.y - TRACK - room / 2
            way = layers.route_link(link.id, leave, level, Point(x, end.bottom if below else end.y), y)
            self.routes.append(Edge(element=link.id, points=link.points(way)))

    def _add_loose(self, loose: list[DiagramElement]) -> None:
        """Place the artifacts that are near no element below all elements."""
        places, bottom = _rows_of(loose, self.width - self.left, self.height + ROW_GAP * bool(self.height))
        if not places:
            return
        self.bounds |= places
        self.drawn |= {one.id: one for one in loose}
        right = self.left + max(place.right + LABEL_WIDTH for _, place in places)
        self.width, self.height = max(self.width, right), bottom + PADDING * bool(self.lanes.frames)

    def place_attached(self) -> None:
        """Put boundary events at the lower side of the activities that have a place, and artifacts near elements."""
        for key in [key for key in self.nodes if key in self.bounds]:
            host, events = self.bounds[key], self.attached.get(key, [])
            for n, event in enumerate(events):
                x = host.right - (len(events) - n) * (EVENT + 14) + 7
                self.bounds[event.id] = Bounds(x, host.bottom - EVENT / 2, EVENT, EVENT)
            top = host.y + self._height_with_name(key) + TRACK
            for row, y in ((self.above.get(key, []), host.y - self.rise(key)), (self.below.get(key, []), top)):
                width, height = row_size(row)
                self.bounds |= place_row(row, host.middle.x - width / 2, y, height)

    def _node(self, end: str | None) -> str:
        return self.host.get(end or "", end or "")

    def moved(self, dx: float, dy: float) -> tuple[list[Shape], list[Edge]]:
        """Return all shapes and edges, those of sub-processes included, moved by some pixels."""
        lanes = self.lanes.place(self.tops, self.width)
        shapes = [
            Shape(element=key, bounds=Bounds(x + dx, y + dy, width, height), horizontal=True)
            for key, (x, y, width, height) in lanes
        ]
        dx += self.left
        edges = [
            Edge(element=one.element, points=tuple(Point(x + dx, y + dy) for x, y in one.points)) for one in self.routes
        ]
        for key, (x, y, width, height) in self.bounds.items():
            inner = self.inner.get(key)
            place = Bounds(x + dx, y + dy, width, height)
            label = name_beside(self.drawn[key], place)
            if key in self.names:  # beside the line that leaves downwards
                room = min(text_width(self.names[key], SMALL_FONT_SIZE), LABEL_WIDTH)
                top = place.bottom - (6 if width == GATEWAY else EVENT / 3)
                label = Bounds(place.middle.x - room - 6, top, room, LABEL_ROOM)
            shapes.append(
                Shape(element=key, bounds=place, label=label, expanded=inner is not None and bool(inner.bounds))
            )
            if inner is not None:
                within, lines = inner.moved(place.x + PADDING, place.y + PADDING)
                shapes += within
                edges += lines
        return shapes, edges


def _connected(nodes: Iterable[str], pairs: Iterable[tuple[str, str]]) -> Iterable[list[str]]:
    """Return the groups of elements that pairs connect, in the order of the model."""
    group = {key: key for key in nodes}

    def find(key: str) -> str:
        while group[key] != key:
            group[key] = key = group[group[key]]
        return key

    for source, target in pairs:
        group[find(target)] = find(source)
    several: dict[str, list[str]] = defaultdict(list)
    for key in group:
        several[find(key)].append(key)
    return several.values()
