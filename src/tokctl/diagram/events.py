"""Draws events (BPMN 2.0, section 10.5): one circle at the start, two in between, a thick one at the end."""

from __future__ import annotations

from tokctl.diagram.elements import DiagramElement
from tokctl.diagram.icons import EVENT_DETAILS, EVENTS, FLAP, Paths, place
from tokctl.diagram.labels import number

_ICON_SHARE = 0.55
"""The size of the sign in an event, as a share of the event's."""
_RING = 3
"""Pixels between the two circles of an intermediate event."""


def draw_event(width: float, height: float, element: DiagramElement) -> str:
    """Return the circles and the sign of an event. Those that do not interrupt have dashed circles."""
    radius = min(width, height) / 2
    kind = "shape"
    if element.kind == "endEvent":
        kind += " thick"
    if not element.interrupting:
        kind += " dashed"
    center = f'cx="{number(width / 2)}" cy="{number(height / 2)}"'
    drawn = f'<circle class="{kind}" {center} r="{number(radius)}"/>'
    if element.kind not in {"startEvent", "endEvent"}:
        ring = "line dashed" if not element.interrupting else "line"
        drawn += f'<circle class="{ring}" {center} r="{number(max(radius - _RING, 0))}"/>'
    size = 2 * radius * _ICON_SHARE
    return drawn + place(_sign(element), (width - size) / 2, (height - size) / 2, size)


def _sign(element: DiagramElement) -> Paths:
    """Return the paths of the sign: hollow for an event that is caught, filled for one that is thrown."""
    if not element.events:
        return ()
    kind = element.events[0]
    if len(element.events) > 1:
        kind = "parallelMultiple" if element.parallel else "multiple"
    if kind in EVENT_DETAILS:
        return (("line", EVENT_DETAILS[kind]),)
    throws = element.kind in {"intermediateThrowEvent", "endEvent"}
    paths = (("solid" if throws or kind == "terminate" else "line", EVENTS[kind]),)
    return (*paths, ("cut" if throws else "line", FLAP)) if kind == "message" else paths
