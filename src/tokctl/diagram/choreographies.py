"""Draws what only choreography activities have (BPMN 2.0, chapter 11): the bands of participants, and their messages.

The band of the participant that initiates the activity is light, those of the others are shaded; so are the envelopes
of the messages that they send.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

from tokctl.diagram.elements import DiagramElement
from tokctl.diagram.icons import ENVELOPE_SIZE, MARKERS, draw_envelope, place
from tokctl.diagram.interchange import Band, Bounds, Shape
from tokctl.diagram.labels import (
    SMALL_FONT_SIZE,
    SMALL_LINE_HEIGHT,
    draw_lines,
    escape_text,
    number,
    text_width,
    wrap,
)
from tokctl.text import one_line

_MARKER = 12
_GAP = 14
"""Pixels between an activity and the envelope of a message."""
_LABEL_WIDTH = 120
_RADIUS = 10


class _Message(Struct, frozen=True):
    """The envelope of a message, and its name in lines from ``label_top`` on."""

    envelope: Bounds
    lines: list[str]
    label_top: float

    @property
    def bounds(self) -> Bounds:
        half = max([self.envelope.width, *(text_width(line, SMALL_FONT_SIZE) for line in self.lines)]) / 2
        top = min(self.envelope.y, self.label_top)
        bottom = max(self.envelope.bottom, self.label_top + len(self.lines) * SMALL_LINE_HEIGHT)
        return Bounds(self.envelope.middle.x - half, top, 2 * half, bottom - top)


def find_inner_rows(shape: Shape) -> tuple[float, float]:
    """Return the upper side and the height of what is between the bands of a shape, from its own upper side on."""
    bounds = shape.bounds
    upper = [band.bounds.bottom for band in shape.bands if _is_upper(band, shape)]
    lower = [band.bounds.y for band in shape.bands if not _is_upper(band, shape)]
    top, bottom = max([bounds.y, *upper]), min([bounds.bottom, *lower])
    return top - bounds.y, max(bottom - top, 0)


def draw_bands(shape: Shape, elements: Mapping[str, DiagramElement]) -> str:
    """Return the bands of a choreography activity, and the messages that it shows, from its upper left corner on."""
    activity = elements[shape.element]
    drawn = "".join(_draw_band(band, shape, elements) for band in shape.bands)
    if activity.kind == "callChoreography":  # the bands are over its thick border
        size = f'width="{number(shape.bounds.width)}" height="{number(shape.bounds.height)}"'
        drawn += f'<rect class="line thick" {size} rx="{_RADIUS}"/>'
    for band in shape.bands:
        if band.message_visible:
            drawn += _draw_message(band, shape, elements)
    return drawn


def find_message_bounds(shape: Shape, elements: Mapping[str, DiagramElement]) -> Iterator[Bounds]:
    """Yield the rectangles that the messages of a choreography activity take up, in the diagram."""
    return (_place_message(band, shape, elements).bounds for band in shape.bands if band.message_visible)


def _is_upper(band: Band, shape: Shape) -> bool:
    return band.bounds.middle.y < shape.bounds.middle.y


def _is_initiating(band: Band, activity: DiagramElement) -> bool:
    return activity.initiator == band.participant if band.initiating is None else band.initiating


def _fill_class(band: Band, shape: Shape, elements: Mapping[str, DiagramElement]) -> str:
    return "hollow" if _is_initiating(band, elements[shape.element]) else "shaded"


def _draw_band(band: Band, shape: Shape, elements: Mapping[str, DiagramElement]) -> str:
    participant = elements[band.participant]
    _, _, width, height = band.bounds
    has_marker = participant.loop is not None
    is_low = height < SMALL_LINE_HEIGHT + _MARKER + 2  # the marker is beside the name, not below it
    lines = wrap(participant.name, width - 6 - 2 * _MARKER * (has_marker and is_low), 1, SMALL_FONT_SIZE)
    room = height - _MARKER * (has_marker and not is_low)
    color = f"color:{band.colors.stroke}" if band.colors.stroke else ""
    fill = f' style="fill:{band.colors.fill}"' if band.colors.fill else ""
    outline = _outline(band, shape)
    drawn = f'<path class="{_fill_class(band, shape, elements)}"{fill} d="{outline}"/>'
    drawn += draw_lines(lines, width / 2, (room - SMALL_LINE_HEIGHT) / 2, size=SMALL_FONT_SIZE)
    if has_marker:
        x, y = (width - _MARKER - 5, (height - _MARKER) / 2) if is_low else ((width - _MARKER) / 2, room - 2)
        drawn += place(MARKERS["parallel"], x, y, _MARKER)
    at = f"translate({number(band.bounds.x - shape.bounds.x)} {number(band.bounds.y - shape.bounds.y)})"
    role = "initiates" if _is_initiating(band, elements[shape.element]) else "does not initiate"
    tip = " · ".join(filter(None, (one_line(participant.name, 200), one_line(participant.id, 100), role)))
    style = f' style="{color}"' if color else ""
    return f'<g transform="{at}"{style}><title>{escape_text(tip)}</title>{drawn}</g>'


def _outline(band: Band, shape: Shape) -> str:
    """Return the path of a band: with round corners where it is at the upper or lower side of its activity."""
    _, _, width, height = band.bounds
    radius = min(_RADIUS, width / 4, height)
    top = radius if abs(band.bounds.y - shape.bounds.y) < 1 else 0
    bottom = radius if abs(band.bounds.bottom - shape.bounds.bottom) < 1 else 0

    def corner(size: float, x: float, y: float) -> str:
        return f"A{number(size)} {number(size)} 0 0 1 {number(x)} {number(y)}" if size else ""

    return (
        f"M{number(top)} 0H{number(width - top)}{corner(top, width, top)}V{number(height - bottom)}"
        f"{corner(bottom, width - bottom, height)}H{number(bottom)}{corner(bottom, 0, height - bottom)}"
        f"V{number(top)}{corner(top, top, 0)}Z"
    )


def _place_message(band: Band, shape: Shape, elements: Mapping[str, DiagramElement]) -> _Message:
    width, height = ENVELOPE_SIZE
    flows = [flow for key in elements[shape.element].message_flows if (flow := elements.get(key)) is not None]
    messages = (elements.get(flow.message or "") for flow in flows if flow.source == band.participant)
    name = next((message.name for message in messages if message is not None), "")
    lines = wrap(name, _LABEL_WIDTH, 2, SMALL_FONT_SIZE)
    is_upper, room = _is_upper(band, shape), len(lines) * SMALL_LINE_HEIGHT
    top = shape.bounds.y - _GAP - height if is_upper else shape.bounds.bottom + _GAP
    envelope = Bounds(shape.bounds.middle.x - width / 2, top, width, height)
    return _Message(envelope, lines, top - room - 2 if is_upper else envelope.bottom + 2)


def _draw_message(band: Band, shape: Shape, elements: Mapping[str, DiagramElement]) -> str:
    message, bounds = _place_message(band, shape, elements), shape.bounds
    is_upper = _is_upper(band, shape)
    x, y = bounds.width / 2, message.envelope.y - bounds.y
    line = f"M{number(x)} 0V{number(-_GAP)}" if is_upper else f"M{number(x)} {number(bounds.height)}V{number(y)}"
    return (
        f'<path class="line dotted" d="{line}"/>'
        + draw_envelope(x - ENVELOPE_SIZE[0] / 2, y, *ENVELOPE_SIZE, _fill_class(band, shape, elements))
        + draw_lines(message.lines, x, message.label_top - bounds.y, size=SMALL_FONT_SIZE)
    )
