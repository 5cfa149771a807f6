"""Reads what happened on a process model, and draws it: for ``tokctl diagram``."""

from __future__ import annotations

from datetime import datetime
from glob import escape

from msgspec import Struct

from tokctl.analysis.flow.critical_path import FlowAnalysis
from tokctl.analysis.flow.model_activity import ModelActivity
from tokctl.bpmn.graph import ProcessGraph
from tokctl.bpmn.parser import read_definitions
from tokctl.diagram.activity_marks import Heat
from tokctl.diagram.drawing import Drawing, draw
from tokctl.diagram.model import DrawableModel, convert_model, read_model
from tokctl.engines.protocol import Engine
from tokctl.errors import InputError, NotFoundError, UsageError
from tokctl.model.definitions import Definition
from tokctl.model.filters import ALL_TOKENS, InstanceFilter, TokenFilter
from tokctl.model.times import format_time
from tokctl.text import count, shorten

MAX_LISTED = 3
"""Elements that a note lists."""
PNG_SCALE = 2
"""Pixels of a PNG for each pixel of the picture, in both directions."""
MAX_PNG_PIXELS = 64_000_000


class DiagramQuery(Struct, frozen=True, kw_only=True):
    """What to draw: one instance, or else the instances of a process (of one version, if given) with matching tokens.

    ``model`` is a BPMN document to draw them on, with its name; without it the process model of the source is used.
    """

    instance_id: str | None = None
    process_id: str | None = None
    version: int | None = None
    where: TokenFilter = ALL_TOKENS
    heat: Heat | None = None
    model: tuple[str, bytes] | None = None


class DrawnDiagram(Struct, frozen=True):
    """A picture, and notes in sentences about what it does not show."""

    drawing: Drawing
    notes: tuple[str, ...]


class DiagramFacts(Struct, frozen=True, kw_only=True):
    """What a drawing shows: the model of one process or of all, and what happened on it, with captions and notes."""

    model: DrawableModel
    process_id: str | None = None
    activity: ModelActivity | None = None
    heat: Heat | None = None
    captions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def draw(self, *, dark: bool = True) -> DrawnDiagram:
        """Return the diagram as a picture."""
        drawing = draw(
            self.model.planes,
            self.model.elements,
            captions=self.captions,
            activity=self.activity,
            heat=self.heat,
            dark=dark,
        )
        return DrawnDiagram(drawing, (*self.model.notes, *self.notes))


def draw_model(xml: bytes, source: str, *, dark: bool = True) -> DrawnDiagram:
    """Draw the diagrams of a BPMN document. Raises InputError: it is not one, or there is nothing to draw."""
    return DiagramFacts(model=read_model(xml, source)).draw(dark=dark)


def draw_activity(engine: Engine, query: DiagramQuery, now: datetime, *, dark: bool = True) -> DrawnDiagram:
    """Draw a model with what happened on it; see ``read_activity``."""
    return read_activity(engine, query, now).draw(dark=dark)


def read_activity(engine: Engine, query: DiagramQuery, now: datetime) -> DiagramFacts:
    """Read a model and what happened on it; live tokens count until ``now``.

    Raises:
        NotFoundError: there is no such instance, no instance of the process, or its model is unknown.
        InputError: the model cannot be drawn.
        UsageError: the given model does not have the process.
    """
    process_id, version, facts = query.process_id, query.version, []
    if query.instance_id is not None:
        status = engine.instance(query.instance_id)
        process_id, version = status.instance.process_id, status.instance.version
        facts = [f"instance {query.instance_id}", status.status or "status unknown"]
    definition, model = _find_model(engine, query, process_id, version)
    activity = ModelActivity(ProcessGraph(definition))
    versions: set[int | None] = set()
    if query.instance_id is not None:
        flow = FlowAnalysis(engine.visits(query.instance_id, query.where, flows=True), now)
        activity.add(flow, critical_path=query.where == ALL_TOKENS)
    else:
        instances = InstanceFilter(processes=(escape(process_id or ""),), version=query.version)
        for one, visits in engine.all_visits(instances, query.where, flows=True):
            activity.add(FlowAnalysis(visits, now))
            versions.add(one.instance.version)
        if not activity.instances:
            raise NotFoundError(f"no instance of '{process_id}' found.", "See 'tokctl instances list'.")
        facts = [count(activity.instances, "instance")]
    facts.append(f"as of {format_time(now.replace(microsecond=0))}")
    where = query.where
    if where.since or where.until:
        facts.append(" ".join(f"{word} {format_time(time)}" for word, time in _bounds(where) if time))
    title = f"{definition.name or definition.process_id} ({definition.process_id}, version {definition.version})"
    captions = (title, " · ".join(facts))
    return DiagramFacts(
        model=model,
        process_id=definition.process_id,
        activity=activity,
        heat=query.heat,
        captions=captions,
        notes=tuple(_describe_differences(activity, versions, definition)),
    )


def _bounds(where: TokenFilter) -> tuple[tuple[str, datetime | None], ...]:
    return ("since", where.since), ("until", where.until)


def _find_model(
    engine: Engine, query: DiagramQuery, process_id: str | None, version: int | None
) -> tuple[Definition, DrawableModel]:
    if query.model is not None:
        source, xml = query.model
        definitions = read_definitions(xml, source)
        found = [one for one in definitions if process_id in {None, one.process_id}]
        if len(found) != 1:
            named = ", ".join(one.process_id for one in definitions)
            raise UsageError(f"{source} does not have the process '{process_id}'.", f"It has: {named}.")
        return found[0], read_model(xml, source, found[0].process_id)
    definition = engine.definition(process_id, version) if process_id else None
    if definition is None:
        named = f"the model of '{process_id}'" if process_id else "the process of the instance"
        if query.instance_id is not None:
            raise NotFoundError(f"{named} is unknown.", "Give the BPMN file with --model.")
        wanted = "" if version is None else f", version {version},"
        raise NotFoundError(f"{named}{wanted} is unknown.", "Check its id, or give the BPMN file with --model.")
    return definition, convert_model(definition)


def _describe_differences(activity: ModelActivity, versions: set[int | None], definition: Definition) -> list[str]:
    """Return notes about tokens that are not in the picture, and instances of other versions."""
    notes = []
    others = sorted(version for version in versions if version not in {None, definition.version})
    if others:
        named = ", ".join(map(str, others))
        notes.append(f"Instances of version {named} are drawn on the model of version {definition.version}.")
    if unknown := activity.unknown:
        listed = ", ".join(shorten(key) for key, _ in unknown.most_common(MAX_LISTED))
        more = "" if len(unknown) <= MAX_LISTED else ", …"
        notes.append(
            f"{count(unknown.total(), 'token')} at {count(len(unknown), 'element')} "
            f"that the model does not have: {listed}{more}."
        )
    return notes


def convert_to_png(drawing: Drawing, width: int | None = None) -> bytes:
    """Return a picture as PNG, ``width`` pixels wide; by default twice its size, for sharp lines on every display.

    Raises:
        UsageError: the library is not installed.
        InputError: the picture is too large.
    """
    try:
        import resvg_py
    except ImportError:
        raise UsageError(
            "PNG needs resvg-py, which is not installed.", "Install it: pip install 'tokctl[png]'."
        ) from None
    width = width or drawing.width * PNG_SCALE
    height = drawing.height * width // drawing.width
    if width * height > MAX_PNG_PIXELS:
        raise InputError(f"a PNG of {width:,} × {height:,} pixels is too large.", "Write an SVG instead.")
    return resvg_py.svg_to_bytes(svg_string=drawing.svg, width=width)
