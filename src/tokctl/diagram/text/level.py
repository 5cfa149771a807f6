"""Draws the elements of a process or of a sub-process, and the flows between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from msgspec import Struct
from rich.cells import cell_len

from tokctl.diagram.activity_marks import MarkedModel
from tokctl.diagram.elements import DiagramElement
from tokctl.diagram.layout import MAX_DEPTH
from tokctl.diagram.levels import LevelElements
from tokctl.diagram.text.boxes import Box, Pen, draw_box, make_box
from tokctl.diagram.text.canvas import COUNT, DASHED, FLOW, HEAVY, PLAIN, ROLES, Canvas, Span
from tokctl.diagram.text.nets import TRACK, Net, Port, Routes, bundle, count_ports, limit_ports
from tokctl.diagram.text.rows import GAP, PlacedBox, RoutedFlow, Rows

BORDERS = 4
"""Cells beside what is inside a sub-process."""
MIN_ROOM = 24
"""Cells inside an expanded sub-process; one with less is drawn collapsed."""


class Place(Struct, frozen=True):
    """The cells of a box: its upper left corner and its size."""

    x: int
    y: int
    width: int
    height: int


class LevelPicture(Struct):
    """A drawn level: where its boxes are, at all levels, and the flows that there was no room to draw."""

    canvas: Canvas
    places: dict[str, Place]
    omitted: list[DiagramElement]


class LevelContext(Struct, frozen=True):
    """What all levels of a drawing share; ``width`` is that of the drawing in cells."""

    width: int

    pen: Pen
    marked: MarkedModel | None
    children: Mapping[str | None, list[DiagramElement]]
    lanes: Mapping[str, str]
    sequences: Mapping[str, Sequence[DiagramElement]] = {}


def draw_level(container: str, context: LevelContext, room: int, depth: int = 0) -> LevelPicture | None:
    """Draw the elements in a container so that they fit into ``room`` cells if possible; None if it has none."""
    contents = LevelElements(container, context.children)
    if not contents.nodes:
        return None
    connections, crowded = limit_ports([_connect(flow, contents, context) for flow in contents.flows], (room - 8) // 2)
    level = _Arrangement(contents, connections, context, room)
    filled = [one for one in contents.nodes.values() if is_expanded(one, context, depth)]
    inner = {}
    if filled:  # how many tracks there are decides how much room is inside, so they are placed before they are drawn
        space = Canvas(context.pen.glyphs)
        space.write(room, 0, "")
        _, routes = level.arrange({one.id: space for one in filled})
        for one in filled:
            left = room - routes.tracks * TRACK - BORDERS - level.exits.get(one.id, 0)
            if (drawn := draw_level(one.id, context, left, depth + 1)) is not None:
                inner[one.id] = drawn
    rows, routes = level.arrange({key: drawn.canvas for key, drawn in inner.items()})
    drawing = _LevelDrawing(context, rows, routes, inner)
    picture = drawing.draw()
    if drawing.crowded:
        routes = Routes(rows, routes.all_nets, level.max_tracks, drawing.crowded)
        picture = _LevelDrawing(context, rows, routes, inner).draw()
    picture.omitted += [one.flow for one in crowded]
    return picture


def is_expanded(one: DiagramElement, context: LevelContext, depth: int) -> bool:
    """Tell whether the elements of an activity are drawn, if ``depth`` sub-processes are around it."""
    room = context.width - BORDERS * (depth + 1)
    has_elements = one.is_container and bool(context.children.get(one.id))
    return has_elements and room >= MIN_ROOM and depth < MAX_DEPTH


class _Arrangement:
    """The boxes of a level in rows, and the ways of its flows.

    ``exits`` are the cells to the right of each box for the lines of its boundary events.
    """

    def __init__(
        self, contents: LevelElements, connections: Sequence[RoutedFlow], context: LevelContext, room: int
    ) -> None:
        self.contents, self.connections, self.context, self.room = contents, connections, context, room
        self.arriving, self.leaving = count_ports(bundle(connections, connections))
        self.exits = {
            key: sum(2 * self.leaving[event.id] for event in events) for key, events in contents.attached.items()
        }
        self.max_tracks = max(room // 5 // TRACK, 1)

    def arrange(self, inner: Mapping[str, Canvas]) -> tuple[list[list[PlacedBox]], Routes]:
        """Return the rows and the routes, with as many tracks as they need and as there can be."""
        boxes = {
            key: make_box(
                one,
                self.contents.attached.get(key, ()),
                self.context.pen,
                self.context.marked,
                lane=self.context.lanes.get(key, ""),
                sequence=self.context.sequences.get(key, ()),
                inner=inner.get(key),
                ports=(self.arriving[key], self.leaving[key]),
            )
            for key, one in self.contents.nodes.items()
        }
        gaps = {one.flow.id: GAP + sum(cell_len(span.text) + 1 for span in one.label) for one in self.connections}
        tracks = 0
        while True:
            rows = Rows(boxes, self.connections, self.room - tracks * TRACK, self.exits, gaps).rows
            direct = {placed.direct.flow.id for row in rows for placed in row if placed.direct is not None}
            routed = [one for one in self.connections if one.flow.id not in direct]
            routes = Routes(rows, bundle(routed, self.connections), self.max_tracks)
            if routes.tracks <= tracks:
                return rows, routes
            tracks = routes.tracks


def _connect(flow: DiagramElement, contents: LevelElements, context: LevelContext) -> RoutedFlow:
    source, target = flow.source or "", flow.target or ""
    weight, label, pen, marked = PLAIN, [], context.pen, context.marked
    if marked is not None:
        kind = marked.flow_classes(flow.id)
        weight = DASHED if "unreached" in kind else HEAVY if "critical" in kind else PLAIN
    if name := pen.text(flow.name):
        label.append(Span(pen.glyphs.fit(name, pen.name_width), FLOW))
    if marked is not None and (count := marked.flow_count(flow.id)):
        label.append(Span(pen.clean(count), COUNT))
    return RoutedFlow(
        flow=flow,
        source=contents.host.get(source, source),
        target=contents.host.get(target, target),
        weight=weight,
        label=tuple(label),
    )


class _LabelPlace(Struct, frozen=True):
    """The label of a flow, the corner of its line at one end, and the cells of the line that no other flow shares.

    ``is_last``: nothing of the net is to the right of the corner.
    """

    spans: tuple[Span, ...]
    port: Port
    x: int
    y: int
    cells: range
    is_last: bool

    @property
    def width(self) -> int:
        """The cells of the whole label."""
        return sum(cell_len(span.text) for span in self.spans) + len(self.spans) - 1


class _LevelDrawing:
    """Draws boxes and lines of a level at their places.

    ``crowded`` are the regions with labels that have no room, and whether they belong above the lines.
    """

    def __init__(
        self,
        context: LevelContext,
        rows: Sequence[Sequence[PlacedBox]],
        routes: Routes,
        inner: Mapping[str, LevelPicture],
    ) -> None:
        self.context, self.rows, self.routes, self.inner = context, rows, routes, inner
        self.canvas = Canvas(context.pen.glyphs)
        self.crowded: set[tuple[int, bool]] = set()
        self.left = TRACK * routes.tracks
        heights = [max(placed.box.height for placed in row) for row in rows]
        self.row_tops = [
            top + routes.heights[0]
            for top in accumulate((height + routes.heights[n + 1] for n, height in enumerate(heights[:-1])), initial=0)
        ]
        self.region_tops = [0, *(top + height for top, height in zip(self.row_tops, heights, strict=True))]
        self.boxes = {placed.box.element.id: (n, placed) for n, row in enumerate(rows) for placed in row}
        self.events = {
            event.element.id: (n, placed, event.row) for n, placed in self.boxes.values() for event in placed.box.events
        }

    def draw(self) -> LevelPicture:
        """Return the picture."""
        places: dict[str, Place] = {}
        for key, (row, placed) in self.boxes.items():
            x, y, box = self.left + placed.x, self.row_tops[row], placed.box
            draw_box(self.canvas, box, x, y, self.routes.last_arrivals.get(key, placed.x) - placed.x)
            places[key] = Place(x, y, box.width, box.height)
            for event in box.events:
                places[event.element.id] = Place(x, y + event.row, box.width, 1)
            if key in self.inner:
                left, top = x + 2, y + 1 + len(box.names)
                for other, (a, b, width, height) in _items(self.inner[key].places):
                    places[other] = Place(left + a, top + b, width, height)
            if placed.direct is not None:
                self._draw_direct(row, placed, placed.direct)
        for label in [label for n, net in self.routes.nets for label in self._draw_net(n, net)]:
            self._write_label(label)
        omitted = [one.flow for net in self.routes.omitted for one in net.connections]
        omitted += [flow for level in self.inner.values() for flow in level.omitted]
        return LevelPicture(self.canvas, places, omitted)

    def _draw_direct(self, row: int, placed: PlacedBox, flow: RoutedFlow) -> None:
        """Draw the flow to a box from the one to its left."""
        _, before = self.boxes[flow.source]
        y, start, end = self.row_tops[row] + 1, self.left + before.x + before.box.width - 1, self.left + placed.x
        self._open_border(start, y, (flow.weight, flow.weight, 0, flow.weight), before.box)
        role = ROLES[flow.weight]
        across = self.canvas.glyphs.line((0, 0, flow.weight, flow.weight))
        self.canvas.write(start + 1, y, across * (end - start - 2) + self.canvas.glyphs.arrows[0], role)
        column = start + 2
        for n, span in enumerate(flow.label):
            column = self.canvas.write(column + bool(n), y, *span)

    def _open_border(self, x: int, y: int, arms: tuple[int, int, int, int], box: Box) -> None:
        """Write the character at which a line leaves a box."""
        self.canvas.write(x, y, self.canvas.glyphs.line(arms), box.role)

    def _draw_net(self, n: int, net: Net) -> Iterator[_LabelPlace]:
        """Draw the lines of a net; yields the labels of its flows and their places."""
        ports = self.routes.ports[n]
        leaves = {port.key: port for port in ports if port.leaves}
        arrives = {port.key: port for port in ports if not port.leaves}
        for one in net.connections:
            start, end = leaves[one.flow.source or ""], arrives[one.target]
            first, last = self._line(start.region, n), self._line(end.region, n)
            self._leave(start, first, one.weight, n)
            self._arrive(end, last, one.weight, n)
            x1, x2 = self.left + start.x, self.left + end.x
            if start.region == end.region:
                self.canvas.draw((x1, first), (x2, first), one.weight, n)
                ways = [(x1, x2, first, start), (x2, x1, first, end)]
            else:
                track = self.left - TRACK * ((net.track or 0) + 1)
                self.canvas.draw((x1, first), (track, first), one.weight, n)
                self.canvas.draw((track, first), (track, last), one.weight, n)
                self.canvas.draw((track, last), (x2, last), one.weight, n)
                ways = [(x1, track, first, start), (x2, track, last, end)]
            if one.label:
                x, to, y, port = ways[len(net.arrives) > 1]  # where the flow is apart from the others of the net
                others = {self.left + column for column in self.routes.columns(n, port.region)} - {x}
                beyond = {column for column in (*others, to) if (column > x) == (to > x)}
                stop = min(beyond) if to > x else max(beyond)
                cells = range(min(x, stop) + 1, max(x, stop))
                yield _LabelPlace(one.label, port, x, y, cells, is_last=not others or max(others) < x)

    def _line(self, region: int, n: int) -> int:
        return self.region_tops[region] + self.routes.lines[region, n]

    def _leave(self, port: Port, line: int, weight: int, n: int) -> None:
        x = self.left + port.x
        if port.key in self.events:
            row, placed, offset = self.events[port.key]
            y, border = self.row_tops[row] + offset, self.left + placed.x + placed.box.width - 1
            self.canvas.draw((border, y), (x, y), weight, n)
            self._open_border(border, y, (PLAIN, PLAIN, 0, weight), placed.box)
        else:
            row, placed = self.boxes[port.key]
            y = self.row_tops[row] + placed.box.height - 1
            self._open_border(x, y, (0, weight, PLAIN, PLAIN), placed.box)
        self.canvas.draw((x, y), (x, line), weight, n)

    def _arrive(self, port: Port, line: int, weight: int, n: int) -> None:
        row, _ = self.boxes[port.key]
        x, y = self.left + port.x, self.row_tops[row]
        self.canvas.draw((x, line), (x, y), weight, n)
        self.canvas.write(x, y, self.canvas.glyphs.arrows[1], ROLES[weight])

    def _write_label(self, label: _LabelPlace) -> None:
        """Write a label on the longest part of its line that no other line crosses, or beside the line."""
        best, run = range(0), range(0)
        for x in label.cells:
            run = range(run.start if run else x, x + 1) if not self.canvas.is_crossed(x, label.y) else range(0)
            best = run if len(run) > len(best) else best
        y, wanted = label.y, label.width
        if len(best) < wanted and label.is_last:
            beside = self._find_blank(label.x + 1, y, wanted + 2)
            best = beside[1:-1] if len(beside) == wanted + 2 else best
        if len(best) < wanted:  # beside the line that leaves the element or arrives at it
            region, above = label.port.region, label.port.leaves
            top = self.region_tops[region]
            row = top if above else top + self.routes.heights[region] - 1
            beside = self._find_blank(label.x + 1, row, wanted + 1)
            if len(beside) - 1 > len(best):
                best, y = beside[1:], row
            elif (region, above) not in self.routes.blanks:
                self.crowded.add((region, above))
        x = best.start + max(len(best) - wanted, 0) // 2
        for span in self._fit_label(label.spans, len(best)):
            x = self.canvas.write(x, y, *span) + 1

    def _fit_label(self, spans: Sequence[Span], room: int) -> Iterator[Span]:
        """Yield what fits of a label: a count as a whole or not at all, the beginning of a name."""
        rest = sum(cell_len(span.text) + 1 for span in spans if span.role == COUNT)
        for span in spans:
            if span.role == COUNT:
                rest = cell_len(span.text)
                if rest <= room:
                    yield span
            elif (text := self.context.pen.glyphs.fit(span.text, room - rest)) != "":
                yield Span(text, span.role)
                room -= cell_len(text) + 1

    def _find_blank(self, x: int, y: int, most: int) -> range:
        """Return the blank cells from one to the right, at most ``most``."""
        end = next((column for column in range(x, x + most) if not self.canvas.is_blank(column, y)), x + most)
        return range(x, end)


def _items(places: Mapping[str, Place]) -> Iterator[tuple[str, tuple[int, int, int, int]]]:
    for key, place in places.items():
        yield key, (place.x, place.y, place.width, place.height)
