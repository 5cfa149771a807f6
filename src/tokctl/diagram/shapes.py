"""Draws the shapes of BPMN 2.0 (chapters 7 to 12): activities, gateways, pools, lanes, data and artifacts, with labels.

A shape is drawn with its upper left corner at (0, 0). Events are in ``events``, the participant bands of choreography
activities in ``choreographies``.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from tokctl.diagram.choreographies import find_inner_rows
from tokctl.diagram.elements import CONVERSATION_NODES, DiagramElement
from tokctl.diagram.events import draw_event
from tokctl.diagram.icons import (
    GATEWAYS,
    INNER_CIRCLE,
    MARKERS,
    OUTER_CIRCLE,
    PENTAGON,
    PLUS,
    TASKS,
    Paths,
    draw_envelope,
    place,
)
from tokctl.diagram.interchange import Shape
from tokctl.diagram.labels import LINE_HEIGHT, SMALL_FONT_SIZE, SMALL_LINE_HEIGHT, draw_lines, number, wrap

BAND = 30
"""Width of the part of a pool or a lane that has its name."""
LABEL_WIDTH = 90
"""Width of a name outside its shape, at least."""
_ICON, _MARKER, _START = 16, 14, 20
_GATEWAY = 50
_DATA = {"dataObject", "dataObjectReference", "dataInput", "dataOutput"}
_OUTSIDE = _DATA | CONVERSATION_NODES | {"dataStore", "dataStoreReference", "group", "message"}
INSIDE = {"participant", "lane", "textAnnotation"}
"""Elements with their name inside, beside activities."""


def draw_shape(shape: Shape, element: DiagramElement) -> str:
    """Return the outline and the signs of an element. Unknown types are rectangles."""
    draw = _DRAWN.get(element.kind)
    if draw is not None:
        return draw(shape, element)
    if element.kind.endswith("Event"):
        return draw_event(shape.bounds.width, shape.bounds.height, element)
    if element.kind.endswith("Gateway"):
        return _draw_gateway(shape, element)
    if element.kind in _DATA:
        return _draw_data(shape, element)
    return _draw_activity(shape, element)


def is_label_inside(element: DiagramElement) -> bool:
    """Tell whether the name of an element is inside its shape."""
    kind = element.kind
    return kind in INSIDE or not (kind.endswith(("Event", "Gateway")) or kind in _OUTSIDE)


def draw_inner_label(shape: Shape, element: DiagramElement) -> str:
    """Return the name of an element inside its shape."""
    width = shape.bounds.width
    if element.kind in {"participant", "lane"}:
        return _draw_pool_label(shape, element)
    first, height = find_inner_rows(shape)
    if element.kind == "textAnnotation":
        lines = wrap(element.name, width - 12, max(int((height - 4) / LINE_HEIGHT), 1))
        return draw_lines(lines, 8, 4, anchor="start")
    if element.is_container and shape.expanded:
        lines = wrap(element.name, width - 24, 2)
        return draw_lines(lines, width / 2, first + 7)
    has_marker = bool(_markers(shape, element))
    room = height - 8 - (has_marker * _MARKER)
    lines = wrap(element.name, width - 10, max(int(room / LINE_HEIGHT), 1))
    top = (height - has_marker * _MARKER * 0.5 - len(lines) * LINE_HEIGHT) / 2
    if (
        _task_kind(element) in TASKS and len(lines) * LINE_HEIGHT + 2 * (_ICON + 6) > height
    ):  # it would be written over the sign
        top = max(top, min(_ICON + 6, height - 4 - has_marker * _MARKER - len(lines) * LINE_HEIGHT))
    return draw_lines(lines, width / 2, first + top)


def outer_label_lines(shape: Shape, element: DiagramElement) -> tuple[list[str], float, float]:
    """Return the lines of a name outside its shape, the x of its middle, and its upper side, in the diagram."""
    bounds, label = shape.bounds, shape.label
    if element.kind == "group" and label is None:
        return wrap(element.name, bounds.width, 2, SMALL_FONT_SIZE), bounds.middle.x, bounds.y + 4
    width = max(label.width if label else 0, LABEL_WIDTH)
    lines = wrap(element.name, width, 8, SMALL_FONT_SIZE)
    if label is None:
        return lines, bounds.middle.x, bounds.bottom + 4
    return lines, label.middle.x, label.y


def outer_label_height(lines: list[str]) -> float:
    """Return the height of a label outside its shape, in pixels."""
    return len(lines) * SMALL_LINE_HEIGHT


# --- activities ---------------------------------------------------------------------------------------


def _rectangle(width: float, height: float, radius: float, kind: str = "shape", inset: float = 0) -> str:
    at = f'x="{number(inset)}" y="{number(inset)}" ' if inset else ""
    return (
        f'<rect class="{kind}" {at}width="{number(max(width - 2 * inset, 0))}" '
        f'height="{number(max(height - 2 * inset, 0))}" rx="{number(radius)}"/>'
    )


def _draw_activity(shape: Shape, element: DiagramElement) -> str:
    _, _, width, height = shape.bounds
    kind = "shape"
    if element.kind in {"callActivity", "callChoreography"}:
        kind += " thick"
    if element.event_sub_process:
        kind += " dotted"
    drawn = _rectangle(width, height, min(10, width / 4, height / 4), kind)
    if element.kind == "transaction":
        drawn += _rectangle(width, height, 7, "line", 3)
    if (task := _task_kind(element)) in TASKS:
        drawn += place(TASKS[task], 5, 5, _ICON)
        if element.kind == "receiveTask" and element.instantiates:
            drawn += '<circle class="line" cx="13" cy="13" r="11"/>'
    if element.event_sub_process and not shape.expanded and element.events:
        start = draw_event(_START, _START, replace(element, kind="startEvent"))
        drawn += f'<g transform="translate(5 5)">{start}</g>'
    markers = _markers(shape, element)
    top, inner = find_inner_rows(shape)
    left = (width - len(markers) * (_MARKER + 3) + 3) / 2
    for n, marker in enumerate(markers):
        drawn += place(MARKERS[marker], left + n * (_MARKER + 3), top + inner - _MARKER - 3, _MARKER)
    return drawn


def _task_kind(element: DiagramElement) -> str:
    """Return the type of task; that of the global task for a call activity that calls one."""
    if element.kind == "callActivity" and element.called is not None:
        task = element.called.removeprefix("global")
        return task[:1].lower() + task[1:]
    return element.kind


def _markers(shape: Shape, element: DiagramElement) -> list[str]:
    """Return the markers at the lower side, from left to right."""
    found = [element.loop] if element.loop else []
    if element.for_compensation:
        found.append("compensation")
    calls = element.kind.startswith("call") and not (element.called or "").startswith("global")
    if (element.is_container or calls) and not shape.expanded:
        found.append("collapsed")
    if element.kind == "adHocSubProcess":
        found.append("adHoc")
    return found


def _draw_gateway(shape: Shape, element: DiagramElement) -> str:
    _, _, width, height = shape.bounds
    right, bottom = number(width), number(height)
    middle = number(width / 2), number(height / 2)
    drawn = f'<path class="shape" d="M{middle[0]} 0L{right} {middle[1]}L{middle[0]} {bottom}L0 {middle[1]}Z"/>'
    signs: Paths = GATEWAYS.get(element.kind, ())
    if element.kind == "exclusiveGateway" and shape.marker_visible is False:
        signs = ()
    if element.kind == "eventBasedGateway":
        inner = () if element.instantiates else (("line", INNER_CIRCLE),)
        signs = (("line", OUTER_CIRCLE), *inner, ("line", PLUS if element.parallel else PENTAGON))
    size = min(width, height)
    return drawn + place(signs, (width - size) / 2, (height - size) / 2, size, _GATEWAY)


# --- pools and lanes ----------------------------------------------------------------------------------


def _is_collapsed_pool(element: DiagramElement) -> bool:
    return element.kind == "participant" and element.process is None


def _draw_pool(shape: Shape, element: DiagramElement) -> str:
    _, _, width, height = shape.bounds
    drawn = _rectangle(width, height, 0, "shape pool")
    if element.kind == "participant" and not _is_collapsed_pool(element):
        line = f"M0 {BAND}H{number(width)}" if shape.horizontal is False else f"M{BAND} 0V{number(height)}"
        drawn += f'<path class="line" d="{line}"/>'
    if element.loop:
        drawn += place(MARKERS["parallel"], (width - _MARKER) / 2, height - _MARKER - 3, _MARKER)
    return drawn


def _draw_pool_label(shape: Shape, element: DiagramElement) -> str:
    _, _, width, height = shape.bounds
    if _is_collapsed_pool(element) and shape.horizontal is not False:
        lines = wrap(element.name, width - 10, max(int(height / LINE_HEIGHT), 1))
        return draw_lines(lines, width / 2, (height - len(lines) * LINE_HEIGHT) / 2)
    length = width if shape.horizontal is False else height
    lines = wrap(element.name, length - 8, 2)
    top = (BAND - len(lines) * LINE_HEIGHT) / 2
    if shape.horizontal is False:
        return draw_lines(lines, width / 2, top)
    return f'<g transform="rotate(-90)">{draw_lines(lines, -height / 2, top)}</g>' if lines else ""


# --- data and artifacts -------------------------------------------------------------------------------


def _draw_data(shape: Shape, element: DiagramElement) -> str:
    _, _, width, height = shape.bounds
    fold = min(width, height) / 3.5
    page = f"M0 0H{number(width - fold)}L{number(width)} {number(fold)}V{number(height)}H0Z"
    corner = f"M{number(width - fold)} 0V{number(fold)}H{number(width)}"
    drawn = f'<path class="shape" d="{page}"/><path class="line" d="{corner}"/>'
    if element.kind in {"dataInput", "dataOutput"}:
        arrow = "M3 8H11V4L18 10L11 16V12H3Z"
        drawn += place((("line" if element.kind == "dataInput" else "solid", arrow),), 3, 4, 16)
    if element.collection:
        drawn += place(MARKERS["collection"], (width - 12) / 2, height - 14, 12)
    return drawn


def _draw_data_store(shape: Shape, _element: DiagramElement) -> str:
    _, _, width, height = shape.bounds
    depth = min(height / 6, 10)
    arc = f"A{number(width / 2)} {number(depth)} 0 0 "
    left, right = f"0 {number(depth)}", f"{number(width)} {number(depth)}"
    body = f"M{left}{arc}1 {right}V{number(height - depth)}{arc}1 0 {number(height - depth)}Z"
    rings = "".join(f"M0 {number(depth + step)}{arc}0 {number(width)} {number(depth + step)}" for step in (0, 4, 8))
    return f'<path class="shape" d="{body}"/><path class="line" d="{rings}"/>'


def _draw_annotation(shape: Shape, _element: DiagramElement) -> str:
    _, _, width, height = shape.bounds
    frame = f'<rect class="empty" width="{number(width)}" height="{number(height)}"/>'
    return f'{frame}<path class="line" d="M{number(min(15, width))} 0H0V{number(height)}H{number(min(15, width))}"/>'


def _draw_group(shape: Shape, _element: DiagramElement) -> str:
    return _rectangle(shape.bounds.width, shape.bounds.height, 10, "line dashdotted")


def _draw_message(shape: Shape, _element: DiagramElement) -> str:
    return draw_envelope(0, 0, shape.bounds.width, shape.bounds.height, "shape")


def _draw_conversation(shape: Shape, element: DiagramElement) -> str:
    _, _, width, height = shape.bounds
    x1, x2, right, bottom, middle = map(number, (width / 4, width * 3 / 4, width, height, height / 2))
    kind = "shape thick" if element.kind == "callConversation" else "shape"
    drawn = f'<path class="{kind}" d="M{x1} 0H{x2}L{right} {middle}L{x2} {bottom}H{x1}L0 {middle}Z"/>'
    calls = element.kind == "callConversation" and not (element.called or "").startswith("global")
    if element.kind == "subConversation" or calls:
        drawn += place(MARKERS["collapsed"], (width - _MARKER) / 2, height - _MARKER - 3, _MARKER)
    return drawn


_DRAWN: dict[str, Callable[[Shape, DiagramElement], str]] = {
    "participant": _draw_pool,
    "lane": _draw_pool,
    "dataStore": _draw_data_store,
    "dataStoreReference": _draw_data_store,
    "message": _draw_message,
    **dict.fromkeys(CONVERSATION_NODES, _draw_conversation),
    "textAnnotation": _draw_annotation,
    "group": _draw_group,
}
