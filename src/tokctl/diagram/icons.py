"""The paths of the signs in shapes, drawn for this project: in a square of 20 units unless noted.

A path of the class ``line`` is stroked, one of ``solid`` is filled, and one of ``cut`` is stroked in the colour of the
paper, on top of a filled one.
"""

from __future__ import annotations

from math import cos, pi, sin

from tokctl.diagram.labels import number

Paths = tuple[tuple[str, str], ...]
"""Pairs of a class and path data."""

ENVELOPE_SIZE = 26, 18
"""Of a message on a flow or beside a choreography task, in pixels."""
ENVELOPE, FLAP = "M2 4.5H18V15.5H2Z", "M2 4.5L10 11L18 4.5"

EVENTS = {
    "message": ENVELOPE,
    "error": "M3 17L6.5 4.5L12 10.5L17 3L13.5 15.5L8 9.5Z",
    "escalation": "M10 2L16 17L10 11.5L4 17Z",
    "cancel": "M3.5 6L6 3.5L10 7.5L14 3.5L16.5 6L12.5 10L16.5 14L14 16.5L10 12.5L6 16.5L3.5 14L7.5 10Z",
    "compensation": "M10 4.5V15.5L2 10ZM18 4.5V15.5L10 10Z",
    "link": "M2 7.5H10.5V3.5L18 10L10.5 16.5V12.5H2Z",
    "signal": "M10 2.5L18 16H2Z",
    "multiple": "M10 2L18 8L15 17H5L2 8Z",
    "parallelMultiple": "M8 2H12V8H18V12H12V18H8V12H2V8H8Z",
    "terminate": "M10 1A9 9 0 1 1 10 19A9 9 0 1 1 10 1Z",
}
"""The outline of each event; hollow if it is caught, filled if it is thrown."""

EVENT_DETAILS = {
    "timer": (
        "M10 1.5A8.5 8.5 0 1 1 10 18.5A8.5 8.5 0 1 1 10 1.5ZM10 5V10.5L14 12.5"
        "M10 1.5V3.5M10 16.5V18.5M1.5 10H3.5M16.5 10H18.5"
    ),
    "condition": "M4 2H16V18H4ZM6.5 6H13.5M6.5 10H13.5M6.5 14H13.5",
}
"""Events that are never filled."""


def _gear(teeth: int, outer: float, inner: float, hole: float) -> str:
    """Return a gear around (10, 10)."""
    points = []
    for n in range(teeth):
        for offset, radius in ((-0.3, inner), (-0.18, outer), (0.18, outer), (0.3, inner)):
            angle = 2 * pi * (n + offset) / teeth
            points.append(f"{number(10 + radius * sin(angle))} {number(10 - radius * cos(angle))}")
    top, bottom, arc = number(10 - hole), number(10 + hole), f"A{hole} {hole} 0 1 1 10 "
    return f"M{'L'.join(points)}ZM10 {top}{arc}{bottom}{arc}{top}Z"


_HAND = (
    "M2 10L7.5 4.5C8.8 3.3 10 4.6 9.2 5.8L7.8 7.8H16.4C18 7.8 18 10 16.4 10H11.5H16.8C18.2 10 18.2 12.2 16.8 12.2H11.5"
    "H15.8C17.2 12.2 17.2 14.3 15.8 14.3H11.5H14.4C15.7 14.3 15.7 16.3 14.4 16.3H6.5C4 16.3 2 15 2 12.8Z"
)

TASKS: dict[str, Paths] = {
    "serviceTask": (("line", _gear(8, 8.5, 6.2, 2.8)),),
    "userTask": (
        ("line", "M10 2A3.8 3.8 0 1 1 10 9.6A3.8 3.8 0 1 1 10 2Z"),
        ("line", "M2.5 18V15.5C2.5 12.5 5 11 7 11H13C15 11 17.5 12.5 17.5 15.5V18Z"),
    ),
    "scriptTask": (
        ("line", "M6 2H16.5C12.5 6 13 8 15 10.5C17 13 16.5 15.5 14 18H3.5C7 15.5 7 13 5 10.5C3 8 2.5 5.5 6 2Z"),
        ("line", "M6.5 5.5H12M6 8.5H12M8 11.5H14M8.5 14.5H14"),
    ),
    "manualTask": (("line", _HAND),),
    "businessRuleTask": (("solid", "M2 4H18V7.5H2Z"), ("line", "M2 4H18V16.5H2ZM2 12H18M7 7.5V16.5")),
    "sendTask": (("solid", ENVELOPE), ("cut", FLAP)),
    "receiveTask": (("line", ENVELOPE), ("line", FLAP)),
}
"""The sign of each type of task."""

MARKERS: dict[str, Paths] = {
    "loop": (("line", "M6.5 16.5A7.2 7.2 0 1 1 12 16.8M6.5 16.5V11.5M6.5 16.5H1.5"),),
    "parallel": (("bars", "M5 3V17M10 3V17M15 3V17"),),
    "sequential": (("bars", "M3 5H17M3 10H17M3 15H17"),),
    "compensation": (("line", EVENTS["compensation"]),),
    "adHoc": (
        ("solid", "M2 11.5C4 6.5 7 6 10 8.8C13 11.5 15.5 11 18 7.5V11.5C16 15.5 13 15.5 10 12.8C7 10 4.5 11 2 15Z"),
    ),
    "collapsed": (("line", "M2 2H18V18H2ZM10 5V15M5 10H15"),),
    "collection": (("bars", "M5 3V17M10 3V17M15 3V17"),),
}
"""The markers at the lower side of activities and data."""

GATEWAYS: dict[str, Paths] = {
    "exclusiveGateway": (("bold", "M17.5 16L32.5 34M32.5 16L17.5 34"),),
    "parallelGateway": (("bold", "M25 13V37M13 25H37"),),
    "inclusiveGateway": (("bold", "M25 13.5A11.5 11.5 0 1 1 25 36.5A11.5 11.5 0 1 1 25 13.5Z"),),
    "complexGateway": (("bold", "M25 12.5V37.5M12.5 25H37.5M16.5 16.5L33.5 33.5M33.5 16.5L16.5 33.5"),),
}
"""The sign of each gateway, in a square of 50 units."""
_CIRCLE = "M25 {0}A{1} {1} 0 1 1 25 {2}A{1} {1} 0 1 1 25 {0}Z"
OUTER_CIRCLE, INNER_CIRCLE = _CIRCLE.format(11, 14, 39), _CIRCLE.format(14, 11, 36)
PENTAGON, PLUS = "M25 17.5L32.5 23L29.6 32H20.4L17.5 23Z", "M23.2 17H26.8V23.2H33V26.8H26.8V33H23.2V26.8H17V23.2H23.2Z"
"""Of event-based gateways, in a square of 50 units."""

STATES = {
    "ACTIVE": "M3.5 2.5L10 6L3.5 9.5Z",
    "WAITING": "M2.5 1.5H9.5V3L7 6L9.5 9V10.5H2.5V9L5 6L2.5 3Z",
    "SUSPENDED": "M3 2H5V10H3ZM7 2H9V10H7Z",
    "FAILED": "M5 1.5H7L6.7 7H5.3ZM5 8.5H7V10.5H5Z",
}
"""The sign of each state of a live token, in a square of 12 units."""
UNKNOWN_STATE = "M4 4.5H8V7.5H4Z"


def draw_envelope(x: float, y: float, width: float, height: float, kind: str) -> str:
    """Return a message as an envelope; ``kind`` is ``hollow``, or ``shaded`` if it does not initiate."""
    right, bottom = number(x + width), number(y + height)
    left, top, flap = number(x), number(y), f"L{number(x + width / 2)} {number(y + height * 0.6)}L"
    return (
        f'<path class="{kind}" d="M{left} {top}H{right}V{bottom}H{left}Z"/>'
        f'<path class="line" d="M{left} {top}{flap}{right} {top}"/>'
    )


def place(paths: Paths, x: float, y: float, size: float, unit: float = 20) -> str:
    """Return paths with the upper left corner at (x, y), so that their square is ``size`` pixels wide."""
    scale = "" if size == unit else f" scale({number(size / unit)})"
    drawn = "".join(f'<path class="{kind}" d="{path}"/>' for kind, path in paths)
    return f'<g transform="translate({number(x)} {number(y)}){scale}">{drawn}</g>' if drawn else ""
