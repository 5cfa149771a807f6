"""Draws the diagrams of a model as SVG (https://www.w3.org/TR/SVG11/), with what happened on them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from tokctl.analysis.flow.model_activity import ModelActivity
from tokctl.diagram.activity_marks import Heat, MarkedModel, draw_badges, draw_count, draw_legend
from tokctl.diagram.choreographies import draw_bands, find_message_bounds
from tokctl.diagram.connections import crop, draw_connection, draw_message, find_label_place
from tokctl.diagram.elements import DiagramElement
from tokctl.diagram.icons import ENVELOPE_SIZE
from tokctl.diagram.interchange import Bounds, Colors, Edge, Plane, Point, Shape
from tokctl.diagram.labels import (
    SMALL_FONT_SIZE,
    SMALL_LINE_HEIGHT,
    draw_lines,
    escape_text,
    number,
    quote_attribute,
    text_width,
    wrap,
)
from tokctl.diagram.shapes import (
    LABEL_WIDTH,
    draw_inner_label,
    draw_shape,
    is_label_inside,
    outer_label_height,
    outer_label_lines,
)
from tokctl.diagram.style import style_sheet
from tokctl.text import one_line

MARGIN = 24
_LINE = 20
_POOLS = {"participant", "lane"}


class Drawing(Struct, frozen=True):
    """A picture: the text of an SVG document, and its size in pixels."""

    svg: str
    width: int
    height: int


def draw(
    planes: Sequence[Plane],
    elements: Mapping[str, DiagramElement],
    *,
    captions: Sequence[str] = (),
    activity: ModelActivity | None = None,
    heat: Heat | None = None,
    dark: bool = True,
) -> Drawing:
    """Draw diagrams one below the other, with captions above them.

    ``activity`` is what happened on the model; without it the model alone is drawn. ``dark`` adds the colours for
    readers who prefer dark pages.
    """
    planes = [_complete(plane, elements) for plane in planes]
    shown = [shape.element for plane in planes for shape in plane.shapes]
    marked = None if activity is None else MarkedModel(activity, elements, shown, heat)
    body: list[str] = []
    width, y = 0.0, float(MARGIN)
    for n, caption in enumerate(captions):
        text, kind = one_line(caption, 300), "title start" if n == 0 else "start"
        body.append(f'<text class="{kind}" x="{MARGIN}" y="{number(y + 10)}">{escape_text(text)}</text>')
        width = max(width, text_width(text, 15 if n == 0 else 12))
        y += _LINE
    y += (MARGIN - _LINE / 2) * bool(captions)
    for plane in planes:
        subject = elements.get(plane.element)
        if len(planes) > 1 and (title := plane.name or (subject.name if subject else "")):
            body.append(draw_lines([one_line(title)], MARGIN, y, anchor="start"))
            width, y = max(width, text_width(one_line(title))), y + _LINE
        area = _area(plane, elements)
        at = MARGIN - math.floor(area.x), round(y) - math.floor(area.y)
        body.append(f'<g transform="translate({at[0] + 0.5} {at[1] + 0.5})">')
        body += _PlaneDrawing(plane, elements, marked).parts()
        body.append("</g>")
        width, y = max(width, area.width), y + math.ceil(area.height) + MARGIN
    if marked is not None:
        legend, right = draw_legend(marked, MARGIN, round(y))
        body.append(legend)
        width, y = max(width, right - MARGIN), y + _LINE + MARGIN
    full_width, height = math.ceil(width) + 2 * MARGIN, math.ceil(y)
    size = f'width="{full_width}" height="{height}"'
    title = escape_text(one_line(captions[0] if captions else "BPMN diagram", 300))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {full_width} {height}" role="img">\n'
        f"<title>{title}</title>\n<style>\n{style_sheet(dark=dark)}</style>\n"
        f'<rect class="paper" {size}/>\n'
    )
    return Drawing(head + "\n".join(filter(None, body)) + "\n</svg>\n", full_width, height)


def _complete(plane: Plane, elements: Mapping[str, DiagramElement]) -> Plane:
    """Decide which sub-processes are expanded if the diagram does not say, and leave out what is in collapsed ones."""
    places = {shape.element: shape for shape in plane.shapes}
    filled = {
        parent
        for shape in plane.shapes
        if (parent := elements[shape.element].parent) in places and places[parent].bounds.contains(shape.bounds)
    }
    shapes = [
        replace(shape, expanded=shape.element in filled)
        if shape.expanded is None and elements[shape.element].is_container
        else shape
        for shape in plane.shapes
    ]
    closed = {shape.element for shape in shapes if elements[shape.element].is_container and not shape.expanded}

    def is_hidden(key: str) -> bool:
        around = elements[key].parent
        for _ in range(len(elements)):
            if around is None or around not in elements:
                return False
            if around in closed:
                return True
            around = elements[around].parent
        return True

    if closed:
        shapes = [shape for shape in shapes if not is_hidden(shape.element)]
    edges = tuple(edge for edge in plane.edges if not (closed and is_hidden(edge.element)))
    return replace(plane, shapes=tuple(shapes), edges=edges)


def _area(plane: Plane, elements: Mapping[str, DiagramElement]) -> Bounds:
    """Return the rectangle that a diagram takes up, with labels and badges."""
    boxes = [shape.bounds for shape in plane.shapes]
    for shape in plane.shapes:
        element = elements[shape.element]
        boxes += find_message_bounds(shape, elements)
        if element.name and not is_label_inside(element):
            lines, x, top = outer_label_lines(shape, element)
            half = max((text_width(line, SMALL_FONT_SIZE) for line in lines), default=0.0) / 2
            boxes.append(Bounds(x - half, top, 2 * half, outer_label_height(lines)))
    for edge in plane.edges:
        boxes += [Bounds(*point, 0, 0) for point in edge.points]
        if elements[edge.element].name and edge.label is not None:
            boxes.append(edge.label)
    left, top = min(box.x for box in boxes), min(box.y for box in boxes)
    right, bottom = max(box.right for box in boxes), max(box.bottom for box in boxes)
    return Bounds(left, top - 10, right - left, bottom - top + 10)


class _PlaneDrawing:
    """One diagram: containers first, then other shapes, flows, labels and badges."""

    def __init__(self, plane: Plane, elements: Mapping[str, DiagramElement], marked: MarkedModel | None) -> None:
        self.plane, self.elements, self.marked = plane, elements, marked
        self.places = {
            shape.element: shape.bounds for shape in plane.shapes if elements[shape.element].kind not in _POOLS
        }

    def parts(self) -> Iterator[str]:
        """Yield the groups of the picture, from the back to the front."""
        behind: list[Shape] = []
        front: list[Shape] = []
        for shape in self.plane.shapes:
            element = self.elements[shape.element]
            is_behind = element.kind in _POOLS or (element.is_container and shape.expanded)
            (behind if is_behind else front).append(shape)
        behind.sort(key=lambda shape: -shape.bounds.width * shape.bounds.height)
        front.sort(key=lambda shape: self.elements[shape.element].kind == "boundaryEvent")
        yield from map(self.shape, behind)
        yield from map(self.shape, front)
        yield from map(self.edge, sorted(self.plane.edges, key=self.weight))
        yield from map(self.outer_label, front)
        yield from map(self.edge_label, self.plane.edges)
        if self.marked is not None:
            yield from self.badges(self.marked, [*behind, *front])

    def shape(self, shape: Shape) -> str:
        element = self.elements[shape.element]
        kind = ""
        if self.marked is not None and element.kind not in _POOLS:
            kind = self.marked.of(element.id).classes(tinted=not (element.is_container and shape.expanded))
        colors = Colors() if kind else shape.colors
        drawn = draw_shape(shape, element)
        if is_label_inside(element):
            drawn += _colored_text(draw_inner_label(shape, element), colors)
        if shape.bands:
            drawn += draw_bands(shape, self.elements)
        told = "" if self.marked is None else self.marked.describe(element.id)
        return self.group("element", kind, element, drawn, told, colors, shape.bounds)

    def edge(self, edge: Edge) -> str:
        element = self.elements[edge.element]
        kind = "" if self.marked is None else self.marked.flow_classes(element.id)
        source = self.elements.get(element.source or "")
        drawn = draw_connection(self.crop(edge, element), element, source, weight=self.weight(edge))
        if edge.message is not None:
            drawn += draw_message(edge.points, edge.message)
        return self.group("edge", kind, element, drawn, "", Colors() if kind else edge.colors)

    def weight(self, edge: Edge) -> int:
        """Return the width of a line in pixels."""
        kind = "" if self.marked is None else self.marked.flow_classes(edge.element)
        return 5 if "critical" in kind else 3 if "taken" in kind else 1

    def crop(self, edge: Edge, element: DiagramElement) -> Sequence[Point]:
        """Return the points of a line without what is inside the shapes at its ends."""
        points: Sequence[Point] = edge.points
        for end in (element.source or "", element.target or ""):
            kind = self.elements[end].kind if end in self.elements else ""
            points = crop(points, self.places.get(end), kind)[::-1]
        return points

    def group(
        self,
        base: str,
        kind: str,
        element: DiagramElement,
        drawn: str,
        told: str,
        colors: Colors,
        bounds: Bounds | None = None,
    ) -> str:
        """Return the group of an element, with its tooltip. The ``colors`` take precedence over the style sheet."""
        tip = " · ".join(filter(None, (one_line(element.name, 200), element.kind, one_line(element.id, 100), told)))
        at = "" if bounds is None else f' transform="translate({number(bounds.x)} {number(bounds.y)})"'
        style = f' style="color:{colors.stroke}"' if colors.stroke else ""
        if colors.fill:
            drawn = drawn.replace('class="shape', f'style="fill:{colors.fill}" class="shape')
        name = quote_attribute(one_line(element.id, 1000))
        return f'<g class="{base}{kind}" data-element-id={name}{at}{style}><title>{escape_text(tip)}</title>{drawn}</g>'

    def outer_label(self, shape: Shape) -> str:
        element = self.elements[shape.element]
        if not element.name or is_label_inside(element):
            return ""
        lines, x, top = outer_label_lines(shape, element)
        drawn = _colored_text(draw_lines(lines, x, top, size=SMALL_FONT_SIZE), replace(shape.colors, fill=None))
        unreached = self.marked is not None and "unreached" in self.marked.of(element.id).classes()
        return f'<g class="unreached">{drawn}</g>' if unreached else drawn

    def edge_label(self, edge: Edge) -> str:
        element = self.elements[edge.element]
        message = None if edge.message is None else self.elements.get(element.message or "")
        name = element.name or ("" if message is None else message.name)
        if not name:
            return ""
        lines = wrap(name, max(edge.label.width if edge.label else 0, LABEL_WIDTH), 6, SMALL_FONT_SIZE)
        if edge.label is not None:
            x, top = edge.label.middle.x, edge.label.y
        else:
            x, y = find_label_place(edge.points)
            has_count = self.marked is not None and bool(self.marked.flow_count(element.id))
            gap = ENVELOPE_SIZE[1] / 2 + 4 if edge.message else 10 if has_count else 4
            top = y - gap - len(lines) * SMALL_LINE_HEIGHT
        drawn = draw_lines(lines, x, top, size=SMALL_FONT_SIZE)
        unreached = self.marked is not None and "unreached" in self.marked.flow_classes(element.id)
        return f'<g class="unreached">{drawn}</g>' if unreached else _colored_text(drawn, edge.colors)

    def badges(self, marked: MarkedModel, shapes: Iterable[Shape]) -> Iterator[str]:
        for edge in self.plane.edges:
            if text := marked.flow_count(edge.element):
                yield draw_count(text, find_label_place(edge.points))
        for shape in shapes:
            marks, bounds = marked.of(shape.element), shape.bounds
            badges, left = draw_badges(marks, Point(bounds.right, bounds.y))
            yield badges
            if text := marked.element_count(shape.element):
                yield draw_count(text, Point(bounds.x - 8, bounds.y - 6), before=left)


def _colored_text(drawn: str, colors: Colors) -> str:
    """Return labels in the colour that the modeller has chosen, or in one that can be read on the chosen fill."""
    color = colors.text or (_contrast(colors.fill) if colors.fill else None)
    return drawn.replace("<tspan ", f'<tspan style="fill:{color}" ') if color else drawn


def _contrast(fill: str) -> str:
    """Return black or white, whichever is easier to read on a colour (relative luminance of WCAG 2.1)."""
    if fill.startswith("#"):
        digits = fill[1:] if len(fill) == 7 else "".join(2 * digit for digit in fill[1:])
        parts = [int(digits[n : n + 2], 16) for n in (0, 2, 4)]
    else:
        parts = [min(int(part), 255) for part in re.findall(r"\d+", fill)]
    linear = [part / 3294.6 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in parts]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if luminance > 0.179 else "#ffffff"
