"""Places the elements of a model without diagrams, and draws its flows with right angles.

``layers`` places connected elements. Sub-processes are placed first and count as large elements. Boundary events are at
the lower side of their activity. Pools are stacked. Lanes, data and artifacts have no place.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

from tokctl.diagram.elements import DiagramElement
from tokctl.diagram.interchange import Bounds, Edge, Plane, Point, Shape
from tokctl.diagram.labels import SMALL_FONT_SIZE, text_width
from tokctl.diagram.layers import EVENT, GATEWAY, LABEL_ROOM, ROW_GAP, Layers
from tokctl.diagram.levels import LevelElements, group_by_parent
from tokctl.diagram.shapes import BAND, LABEL_WIDTH

TASK = 100, 80
PADDING = 30
MAX_DEPTH = 50
"""Sub-processes, one in the other, that are drawn expanded."""


def lay_out(elements: Mapping[str, DiagramElement], process: str | None = None) -> Plane:
    """Return a diagram of a process, or of all processes, in pools if the model has a collaboration."""
    children = group_by_parent(elements)
    pools = {one.process: one for one in elements.values() if one.kind == "participant" and one.process}
    processes = [one.id for one in elements.values() if one.kind == "process" and process in {None, one.id}]
    shapes: list[Shape] = []
    edges: list[Edge] = []
    y = 0.0
    for one in processes:
        level = _Level(one, children)
        pool = pools.get(one) if process is None else None
        if not level.bounds and pool is None:
            continue
        band = BAND if pool else 0
        inner, lines = level.moved(band + PADDING, y + PADDING)
        height = level.height + 2 * PADDING
        if pool:
            frame = Bounds(0, y, level.width + band + 2 * PADDING, height)
            shapes.append(Shape(element=pool.id, bounds=frame, horizontal=True))
        shapes += inner
        edges += lines
        y += height + ROW_GAP
    places = {shape.element: shape.bounds for shape in shapes}
    for flow in elements.values():
        if flow.kind == "messageFlow" and flow.source in places and flow.target in places:
            edges.append(Edge(element=flow.id, points=_vertical_line(places[flow.source], places[flow.target])))
    return Plane(element=process or "", shapes=tuple(shapes), edges=tuple(edges))


def _vertical_line(source: Bounds, target: Bounds) -> tuple[Point, ...]:
    start, end = source.middle, target.middle
    down = start.y < end.y
    first = Point(start.x, source.bottom if down else source.y)
    last = Point(end.x, target.y if down else target.bottom)
    half = (first.y + last.y) / 2
    return (first, last) if start.x == end.x else (first, Point(first.x, half), Point(last.x, half), last)


def _is_split(one: DiagramElement, flows: int) -> bool:
    return one.kind.endswith("Gateway") and flows > 1


class _Level:
    """The elements of one process or sub-process, from (0, 0) on. ``bounds`` are those of its own elements by id."""

    def __init__(self, container: str, children: Mapping[str | None, list[DiagramElement]], depth: int = 0) -> None:
        level = LevelElements(container, children)
        filled = [one.id for one in level.members if one.is_container and children[one.id] and depth < MAX_DEPTH]
        self.inner = {key: _Level(key, children, depth + 1) for key in filled}
        self.attached, self.nodes, self.host, self.flows = level.attached, level.nodes, level.host, level.flows
        self.sizes = {key: self._size(one) for key, one in self.nodes.items()}
        leaving = Counter(flow.source for flow in self.flows)
        self.names = {
            one.id: one.name for one in level.members if one.id in self.host or _is_split(one, leaving[one.id])
        }
        self.bounds: dict[str, Bounds] = {}
        self.routes: list[Edge] = []
        self.width = self.height = 0.0
        if self.nodes:
            self._place_components()

    def _size(self, one: DiagramElement) -> tuple[float, float]:
        if one.kind.endswith("Event"):
            return EVENT, EVENT
        if one.kind.endswith("Gateway"):
            return GATEWAY, GATEWAY
        inner = self.inner.get(one.id)
        events = len(self.attached[one.id]) * (EVENT + 14)
        if inner is None or not inner.nodes:
            return max(TASK[0], events), TASK[1]
        return max(inner.width + 2 * PADDING, events), inner.height + 2 * PADDING

    def room(self, key: str) -> float:
        """Return the height of an element with its name and its boundary events."""
        if key not in self.nodes:
            return 1
        outside = LABEL_ROOM if self.sizes[key][1] in {EVENT, GATEWAY} and self.nodes[key].name else 0
        return self.sizes[key][1] + (EVENT / 2 + LABEL_ROOM if self.attached.get(key) else outside)

    def width_with_name(self, key: str) -> float:
        """Return the width of an element with its name."""
        own, height = self.sizes[key]
        return max(own, min(text_width(self.nodes[key].name, SMALL_FONT_SIZE), LABEL_WIDTH) * (height < TASK[1]))

    def _place_components(self) -> None:
        """Place each group of connected elements below the others, in the order of the model."""
        group = {key: key for key in self.nodes}

        def find(key: str) -> str:
            while group[key] != key:
                group[key] = key = group[group[key]]
            return key

        ends = {flow.id: (self._node(flow.source), self._node(flow.target)) for flow in self.flows}
        for source, target in ends.values():
            group[find(target)] = find(source)
        several: dict[str, list[str]] = defaultdict(list)
        for key in self.nodes:
            several[find(key)].append(key)
        for root, keys in several.items():
            flows = [flow for flow in self.flows if find(ends[flow.id][0]) == root]
            layers = Layers(self, keys, flows, {flow.id: ends[flow.id] for flow in flows})
            top = self.height + (ROW_GAP if self.bounds else 0)
            layers.place(top)
            self.width, self.height = max(self.width, layers.width), layers.bottom

    def place_boundary_events(self) -> None:
        """Put boundary events at the lower side of the activities that have a place."""
        for key, events in self.attached.items():
            for n, event in enumerate(events if key in self.bounds else ()):
                host = self.bounds[key]
                x = host.right - (len(events) - n) * (EVENT + 14) + 7
                self.bounds[event.id] = Bounds(x, host.bottom - EVENT / 2, EVENT, EVENT)

    def _node(self, end: str | None) -> str:
        return self.host.get(end or "", end or "")

    def moved(self, dx: float, dy: float) -> tuple[list[Shape], list[Edge]]:
        """Return all shapes and edges, those of sub-processes included, moved by some pixels."""
        shapes: list[Shape] = []
        edges = [
            Edge(element=one.element, points=tuple(Point(x + dx, y + dy) for x, y in one.points)) for one in self.routes
        ]
        for key, (x, y, width, height) in self.bounds.items():
            inner = self.inner.get(key)
            label = None
            if key in self.names:  # beside the line that leaves downwards
                room = min(text_width(self.names[key], SMALL_FONT_SIZE), LABEL_WIDTH)
                top = y + dy + height - (6 if width == GATEWAY else EVENT / 3)
                label = Bounds(x + dx + width / 2 - room - 6, top, room, LABEL_ROOM)
            place = Bounds(x + dx, y + dy, width, height)
            shapes.append(
                Shape(element=key, bounds=place, label=label, expanded=inner is not None and bool(inner.nodes))
            )
            if inner is not None:
                within, lines = inner.moved(x + dx + PADDING, y + dy + PADDING)
                shapes += within
                edges += lines
        return shapes, edges
