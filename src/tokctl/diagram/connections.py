"""Draws sequence flows, message flows and associations: their lines, their ends, and where their labels belong."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import hypot

from tokctl.diagram.elements import CONVERSATION_NODES, DiagramElement
from tokctl.diagram.icons import ENVELOPE_SIZE, draw_envelope
from tokctl.diagram.interchange import Bounds, Point
from tokctl.diagram.labels import number

_ARROW = ((0, 0), (-10, 4), (-10, -4))
_OPEN_ARROW = ((-8, 5), (0, 0), (-8, -5))
_DIAMOND = ((0, 0), (7, 4), (14, 0), (7, -4))
_SLASH = ((9, 5), (5, -5))
_DASHES = {"messageFlow": " dashed", "association": " dotted", "dataInputAssociation": " dotted"}
_DASHES["dataOutputAssociation"] = _DASHES["association"]
_DATA_ASSOCIATIONS = {"dataInputAssociation", "dataOutputAssociation"}


def draw_connection(
    points: Sequence[Point], element: DiagramElement, source: DiagramElement | None, *, weight: int = 1
) -> str:
    """Return the line of a flow with its arrow and markers.

    ``source`` is the element that it starts at, if known; ``weight`` the width of the line in pixels.
    """
    kind = element.kind
    first, second = _first_step(points)
    last, before = _first_step(points[::-1])
    if weight > 1:  # a thick line would be wider than the tip of its arrow
        length = hypot(last.x - before.x, last.y - before.y) or 1
        share = min(8 / length, 1)
        end = Point(last.x + (before.x - last.x) * share, last.y + (before.y - last.y) * share)
        points = [*points[:-1], end]
    path = f'<path class="line{_DASHES.get(kind, "")}" d="{line_path(points)}"/>'
    arrow = [(x * (0.85 + 0.15 * weight), y * (0.85 + 0.15 * weight)) for x, y in _ARROW]
    if kind == "conversationLink":  # two lines: a wide one, and what is between them
        return f'<path class="line double" d="{line_path(points)}"/><path class="gap" d="{line_path(points)}"/>'
    if kind == "messageFlow":
        start = f'<circle class="hollow" cx="{number(first.x)}" cy="{number(first.y)}" r="4"/>'
        return path + start + _oriented(_ARROW, last, before, "hollow", back=True)
    if kind in _DATA_ASSOCIATIONS or element.direction in {"One", "Both"}:
        path += _oriented(_OPEN_ARROW, last, before, "line", back=True)
        return path + (_oriented(_OPEN_ARROW, first, second, "line", back=True) if element.direction == "Both" else "")
    if kind == "association":
        return path
    path += _oriented(arrow, last, before, "solid", back=True)
    if element.default:
        return path + _oriented(_SLASH, first, second, "line")
    if element.conditional and source is not None and not source.kind.endswith("Gateway"):
        return path + _oriented(_DIAMOND, first, second, "hollow")
    return path


def crop(points: Sequence[Point], bounds: Bounds | None, kind: str) -> Sequence[Point]:
    """Return a line without the part at its beginning that is inside the shape of an element of this kind."""
    if bounds is None:
        return points
    middle, half_width, half_height = bounds.middle, bounds.width / 2 or 1, bounds.height / 2 or 1

    def depth(point: Point) -> float:
        """Return 1 on the border, and less inside."""
        x, y = abs(point.x - middle.x) / half_width, abs(point.y - middle.y) / half_height
        if kind in CONVERSATION_NODES:
            return max(x + y / 2, y)
        return hypot(x, y) if kind.endswith("Event") else x + y if kind.endswith("Gateway") else max(x, y)

    if depth(points[0]) >= 0.97:
        return points
    out = next((n for n, point in enumerate(points) if depth(point) > 1), None)
    if out is None:
        return points
    inside, outside = points[out - 1], points[out]
    for _ in range(12):  # bisection: the border is that of a circle, a diamond or a rectangle
        half = Point((inside.x + outside.x) / 2, (inside.y + outside.y) / 2)
        inside, outside = (half, outside) if depth(half) < 1 else (inside, half)
    return [outside, *points[out:]]


def draw_message(points: Sequence[Point], kind: str) -> str:
    """Return the envelope of a message on its flow; ``kind`` is ``initiating`` or ``non_initiating``."""
    x, y = find_label_place(points)
    width, height = ENVELOPE_SIZE
    return draw_envelope(x - width / 2, y - height / 2, width, height, "hollow" if kind == "initiating" else "shaded")


def line_path(points: Sequence[Point]) -> str:
    """Return the path data of a line through points."""
    return "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points)


def find_label_place(points: Sequence[Point]) -> Point:
    """Return the middle of the longest part of a line, horizontal ones first: where it has most room for a label."""

    def room(part: tuple[Point, Point]) -> float:
        (x1, y1), (x2, y2) = part
        return hypot(x2 - x1, y2 - y1) * (2 if abs(y2 - y1) < 1 else 1)

    (x1, y1), (x2, y2) = max(pairwise(points), key=room)
    return Point((x1 + x2) / 2, (y1 + y2) / 2)


def _first_step(points: Sequence[Point]) -> tuple[Point, Point]:
    """Return the first point, and the next one at another place."""
    first = points[0]
    return first, next((other for other in points if hypot(other.x - first.x, other.y - first.y) > 0.5), first)


def _oriented(outline: Sequence[tuple[float, float]], at: Point, other: Point, kind: str, *, back: bool = False) -> str:
    """Return an outline at a point. Its x axis leads to another point; with ``back`` away from it."""
    length = hypot(other.x - at.x, other.y - at.y) or 1
    dx, dy = (other.x - at.x) / length, (other.y - at.y) / length
    if back:
        dx, dy = -dx, -dy
    corners = [Point(at.x + x * dx - y * dy, at.y + x * dy + y * dx) for x, y in outline]
    return f'<path class="{kind}" d="{line_path(corners)}{"" if kind == "line" else "Z"}"/>'
