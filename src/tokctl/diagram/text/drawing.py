"""Draws a model as text: its processes and choreographies one below the other, and what has no place among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace
from rich.cells import cell_len

from tokctl.analysis.flow.model_activity import ModelActivity
from tokctl.diagram.activity_marks import Heat, MarkedModel
from tokctl.diagram.elements import CHOREOGRAPHY_ACTIVITIES, DiagramElement
from tokctl.diagram.levels import LevelElements, group_by_parent
from tokctl.diagram.text.boxes import Pen
from tokctl.diagram.text.canvas import COUNT, TITLE, Span
from tokctl.diagram.text.level import LevelContext, Place, draw_level, is_expanded
from tokctl.diagram.text.sequences import fold_sequences

NAME_SHARE = 4
"""A line of a name has this part of the width, at least MIN_NAME and at most MAX_NAME cells."""
MIN_NAME, MAX_NAME = 12, 40
_DRAWN = {"process", "choreography"}


class TextDrawing(Struct, frozen=True):
    """A drawing as lines of spans, the places of its elements, and the flows that it lists instead of drawing them.

    ``sequences`` are those that one box stands for, by their first elements.
    """

    lines: list[list[Span]]
    places: dict[str, Place]
    omitted: list[DiagramElement]
    marked: MarkedModel | None
    sequences: Mapping[str, Sequence[DiagramElement]]


def draw_text(
    elements: Mapping[str, DiagramElement],
    pen: Pen,
    width: int,
    *,
    process: str | None = None,
    activity: ModelActivity | None = None,
    heat: Heat | None = None,
    folded: bool = False,
) -> TextDrawing:
    """Draw a process, or all processes and choreographies, in ``width`` columns, with what happened if that is known.

    A drawing is wider if the box of an element is. Data, artifacts and pools without a process are not drawn; message
    flows and the links of conversations are listed. With ``folded``, one box stands for a straight sequence in which
    there is nothing to see.
    """
    children = group_by_parent(elements)
    processes = [one for one in elements.values() if one.kind in _DRAWN and process in {None, one.id}]
    lanes = {key: one.name for one in elements.values() if one.kind == "lane" and one.name for key in one.members}
    lanes |= {key: parties for key in elements if (parties := _describe_participants(key, elements, pen))}
    pen = replace(pen, name_width=min(max(width // NAME_SHARE, MIN_NAME), MAX_NAME))
    context = LevelContext(width, pen, None, children, lanes)
    if activity is not None:
        shown = [key for one in processes for key in _find_shown(one.id, context)]
        context = replace(context, marked=MarkedModel(activity, elements, shown, heat))
    sequences: Mapping[str, Sequence[DiagramElement]] = {}
    if folded:
        kept, sequences = fold_sequences(elements, context.marked)
        context = replace(context, children=group_by_parent(kept), sequences=sequences)
    pools = {one.process: one for one in elements.values() if one.kind == "participant" and one.process}
    drawing = TextDrawing([], {}, [], context.marked, sequences)
    for one in processes:
        picture = draw_level(one.id, context, width)
        if picture is None:
            continue
        if drawing.lines:
            drawing.lines.append([])
        if (pool := pools.get(one.id)) is not None or len(processes) > 1 or one.kind == "choreography":
            name = pen.glyphs.fit(pen.text((pool or one).name or one.name or one.id), width - 8)
            drawing.lines.append([Span(f"{'Pool' if pool else one.kind.capitalize()}: {name}", TITLE)])
        top = len(drawing.lines)
        drawing.lines.extend(picture.canvas.lines())
        drawing.omitted.extend(picture.omitted)
        for key, place in picture.places.items():
            at = Place(place.x, place.y + top, place.width, place.height)
            drawing.places.update(dict.fromkeys((key, *(other.id for other in sequences.get(key, ()))), at))
    for flow in elements.values():  # BPMN does not allow them
        if flow.kind == "sequenceFlow" and drawing.places.keys() >= {flow.source, flow.target}:
            ends = {elements[key or ""].parent for key in (flow.source, flow.target)}
            drawing.omitted.extend([flow] * (len(ends | {flow.parent}) > 1))
    messages = [one for one in elements.values() if one.kind == "messageFlow" and (process is None or pools)]
    links = [one for one in elements.values() if one.kind == "conversationLink" and process is None]
    listed = (("Message flows", messages), ("Conversations", links), ("Flows without a line", drawing.omitted))
    for title, flows in listed:
        if flows:
            drawing.lines.extend([[], [Span(title, TITLE)]])
            drawing.lines.extend(_describe_flow(flow, elements, pen, width, drawing.marked) for flow in flows)
    return drawing


def _find_shown(container: str, context: LevelContext, depth: int = 0) -> Iterator[str]:
    for one in LevelElements(container, context.children).members:
        yield one.id
        if is_expanded(one, context, depth):
            yield from _find_shown(one.id, context, depth + 1)


def _describe_participants(key: str, elements: Mapping[str, DiagramElement], pen: Pen) -> str:
    """Return who takes part in a choreography activity, the initiator first; nothing for other elements."""
    activity = elements[key]
    parties = sorted(activity.participants, key=lambda one: one != activity.initiator)
    names = [elements[one].name or one if one in elements else one for one in parties]
    if activity.kind not in CHOREOGRAPHY_ACTIVITIES or not names:
        return ""
    return f"{names[0]} {pen.glyphs.arrows[0]} {', '.join(names[1:])}" if activity.initiator else ", ".join(names)


def _describe_flow(
    flow: DiagramElement, elements: Mapping[str, DiagramElement], pen: Pen, width: int, marked: MarkedModel | None
) -> list[Span]:
    """Return a line for a flow without a line in the drawing."""
    ends = (elements.get(key or "") for key in (flow.source, flow.target))
    source, target = (pen.text((one.name or one.id) if one else "?", 60) for one in ends)
    message = elements.get(flow.message or "")
    name = flow.name or ("" if message is None else message.name)
    name = f": {pen.text(name, 60)}" if name else ""
    sign = "-" if flow.kind == "conversationLink" else pen.glyphs.arrows[0]
    count = pen.clean(marked.flow_count(flow.id)) if marked else ""
    text = pen.glyphs.fit(f"  {source} {sign} {target}{name}", width - cell_len(count) - 1)
    return [Span(text, ""), *([Span(f" {count}", COUNT)] if count else [])]
