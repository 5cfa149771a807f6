"""Boxes of elements: the type in the upper border, the name inside, counts and live tokens in the lower border."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct
from rich.cells import cell_len

from tokctl.diagram.activity_marks import HEAT_STEPS, ElementMarks, MarkedModel
from tokctl.diagram.elements import DiagramElement
from tokctl.diagram.text.canvas import COUNT, CRITICAL, TYPE, UNREACHED, Canvas, Glyphs, Span
from tokctl.text import one_line

NAME_LINES = 2
_BORDERS = {  # corners clockwise from the upper left, horizontal, vertical
    "activity": ("┌┐┘└─│", "++++-|"),
    "event": ("╭╮╯╰─│", "..''-|"),
    "gateway": ("╱╲╱╲─│", "/\\/\\-|"),
}
_DASHES = str.maketrans("─│-|", "┄┆.:")
_TYPES = {
    "subProcess": "sub-process",
    "adHocSubProcess": "ad-hoc sub-process",
    "callActivity": "call activity",
    "subChoreography": "sub-choreography",
    "callChoreography": "call choreography",
    "businessRuleTask": "business rule",
    "eventBasedGateway": "event-based",
}
_EMPTY = {"gateway": ("◇", "<>"), "event": ("○", "o")}
HEAT_SIGNS = "▁▃▄▆█"
"""The steps of heat, from little to much."""


class Pen(Struct, frozen=True):
    """How to write: the characters, what makes a text safe to print, the sign of a state, the cells of a name."""

    glyphs: Glyphs = Glyphs()
    clean: Callable[[str], str] = str
    state_sign: Callable[[str], str] = str
    name_width: int = 0

    def text(self, text: str, length: int = 200) -> str:
        """Return a text from outside on one line, safe to print."""
        return self.clean(one_line(text, length))


class AttachedEvent(Struct, frozen=True):
    """A boundary event in the box of its activity: its line, and the row of it, from the top of the box."""

    element: DiagramElement
    text: str
    marks: tuple[Span, ...]
    row: int
    role: str


class Box(Struct, kw_only=True):
    """An element with its boundary events, and its size in cells. ``inner`` is what is in an expanded sub-process."""

    element: DiagramElement
    names: Sequence[str]
    title: str
    marks: tuple[Span, ...]
    role: str
    width: int
    height: int
    events: Sequence[AttachedEvent] = ()
    inner: Canvas | None = None

    @property
    def family(self) -> str:
        """``event``, ``gateway`` or ``activity``."""
        return _family(self.element)


def make_box(
    element: DiagramElement,
    attached: Sequence[DiagramElement],
    pen: Pen,
    marked: MarkedModel | None,
    *,
    lane: str = "",
    sequence: Sequence[DiagramElement] = (),
    inner: Canvas | None = None,
    ports: tuple[int, int] = (0, 0),
) -> Box:
    """Return the box of an element. ``ports`` are the lines that end at its upper border, and start at its lower one.

    If it stands for a ``sequence``, the box shows its first and its last element.
    """
    names = wrap_name(_name(element, pen), pen.name_width * (2 if inner else 1), pen.glyphs)
    title = pen.glyphs.fit(describe_type(element), pen.name_width + 8)
    if sequence:
        title = f"{len(sequence)} elements"
        first, last = _name(sequence[0], pen), f"{pen.glyphs.ellipsis} {_name(sequence[-1], pen)}"
        names = [pen.glyphs.fit(name, pen.name_width) for name in (first, last)]
    title += " +" if element.is_container and inner is None else ""
    if lane:
        title += f" {pen.glyphs.fit(pen.text(lane), pen.name_width)}"
    marks = describe_marks(element.id, pen, marked)
    top = len(names) + 1
    if inner is not None:
        top += inner.height
    events = []
    for n, event in enumerate(attached):
        found = describe_marks(event.id, pen, marked)
        name = pen.glyphs.fit(pen.text(event.name), pen.name_width)
        kind, _, rest = describe_type(event).partition(" ")
        shown = pen.glyphs.fit(" ".join(filter(None, (kind, name, rest))), 2 * pen.name_width)
        events.append(AttachedEvent(event, shown, found, top + 1 + n, _role(event.id, marked)))
    widths = [
        *(cell_len(name) + 2 for name in names),
        2 * ports[0] + cell_len(title) + 1,
        2 * ports[1] + _length(marks) + 1,
        *(cell_len(event.text) + _length(event.marks) + 2 for event in events),
        0 if inner is None else inner.width + 2,
    ]
    return Box(
        element=element,
        names=names,
        title=title,
        marks=marks,
        role=_role(element.id, marked),
        width=max(widths) + 2,
        height=top + 1 + (len(events) + 1 if events else 0),
        events=events,
        inner=inner,
    )


def draw_box(canvas: Canvas, box: Box, x: int, y: int, indent: int = 0) -> None:
    """Write a box with its upper left corner at a cell, the type after ``indent`` cells, where lines arrive."""
    border = _BORDERS[box.family][not canvas.glyphs.unicode]
    if box.role == UNREACHED:
        border = border[:4] + border[4:].translate(_DASHES)
    upper_left, upper_right, lower_right, lower_left, across, down = tuple(border)
    right, bottom = x + box.width - 1, y + box.height - 1
    canvas.write(x, y, upper_left + across * (box.width - 2) + upper_right, box.role)
    for row in range(y + 1, bottom):
        canvas.write(x, row, down, box.role)
        canvas.write(right, row, down, box.role)
    canvas.write(x, bottom, lower_left + across * (box.width - 2) + lower_right, box.role)
    canvas.write(x + indent + 2, y, box.title, box.role or TYPE)
    for n, name in enumerate(box.names):
        canvas.write(x + 2, y + 1 + n, name, box.role)
    if box.inner is not None:
        canvas.place(box.inner, x + 2, y + 1 + len(box.names))
    if box.events:
        ends = ("├", "┤") if canvas.glyphs.unicode else ("+", "+")
        canvas.write(x, y + box.events[0].row - 1, ends[0] + across * (box.width - 2) + ends[1], box.role)
    for event in box.events:
        column = canvas.write(x + 2, y + event.row, event.text, event.role)
        for span in event.marks:
            column = canvas.write(column + 1, y + event.row, *span)
    column = x + 2
    for span in box.marks:
        column = canvas.write(column, bottom, *span) + 1


def describe_type(element: DiagramElement) -> str:
    """Return the type of an element in the words of BPMN."""
    kind = element.kind
    if kind.endswith("Event"):
        event = element.events[0] if len(element.events) == 1 else "multiple" * bool(element.events)
        base = {"startEvent": "start", "endEvent": "end", "intermediateThrowEvent": "throw"}.get(kind, "")
        words = [event, base] if event != "terminate" else [event]
        if kind in {"boundaryEvent", "startEvent"} and not element.interrupting:
            words.append("(non-interrupting)")
        return " ".join(filter(None, words)) or "event"
    if element.event_sub_process:
        return "event sub-process"
    word = _TYPES.get(kind) or kind.removesuffix("Gateway").removesuffix("Task")
    if element.loop:
        word += ", loop" if element.loop == "loop" else f", {element.loop} instances"
    return word + ", compensation" * element.for_compensation


def describe_marks(key: str, pen: Pen, marked: MarkedModel | None) -> tuple[Span, ...]:
    """Return what happened at an element: its heat, its counts, its live tokens by state."""
    if marked is None:
        return ()
    marks = marked.of(key)
    spans = []
    if marks.heat:
        spans.append(Span(pen.clean(HEAT_SIGNS[min(marks.heat, HEAT_STEPS) - 1]), f"heat-{marks.heat}"))
    if text := marked.element_count(key):
        spans.append(Span(pen.clean(text), COUNT))
    spans += [Span(f"{pen.clean(pen.state_sign(state))}{tokens:,}", f"state:{state}") for state, tokens in marks.live]
    return tuple(spans)


def wrap_name(name: str, width: int, glyphs: Glyphs) -> list[str]:
    """Break a name into at most two lines of ``width`` cells, if possible between words; … shows that it was cut."""
    lines: list[str] = []
    rest = name
    while rest and len(lines) < NAME_LINES - 1 and cell_len(rest) > width:
        end = _last_break(rest, width)
        lines.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return [*lines, glyphs.fit(rest, width)]


def _last_break(text: str, width: int) -> int:
    """Return where to break a text whose beginning has to fit into ``width`` cells: after a space or a hyphen."""
    end = cells = 0
    for n, sign in enumerate(text):
        cells += cell_len(sign)
        if cells > width + (sign == " "):
            break
        if sign in " -_/":
            end = n + 1
    return end if end > 1 else max(n, 1)


def _name(element: DiagramElement, pen: Pen) -> str:
    family = _family(element)
    if name := pen.text(element.name):
        return name
    return _EMPTY[family][not pen.glyphs.unicode] if family in _EMPTY else pen.text(element.id)


def _family(element: DiagramElement) -> str:
    return "event" if element.kind.endswith("Event") else "gateway" if element.kind.endswith("Gateway") else "activity"


def _role(key: str, marked: MarkedModel | None) -> str:
    if marked is None:
        return ""
    marks: ElementMarks = marked.of(key)
    if marks.live:
        return f"state:{marks.live[0][0]}"
    if marks.critical:
        return CRITICAL
    return UNREACHED if marks.known and not marks.visits else ""


def _length(marks: Sequence[Span]) -> int:
    return sum(cell_len(span.text) + 1 for span in marks)
