"""``tokctl diagram``."""

from __future__ import annotations

from typing import Annotated

from tokctl.cli import options as opt
from tokctl.cli.app import INSPECT_PANEL, App, command
from tokctl.cli.completion import complete_instance
from tokctl.cli.filters import build_token_filter, check_patterns
from tokctl.cli.output_files import open_target
from tokctl.cli.progress import report_unread
from tokctl.diagram.activity_marks import Heat
from tokctl.engines.ids import resolve_instance
from tokctl.engines.projection import Projection
from tokctl.errors import UsageError
from tokctl.input_files import input_name, read_chunks
from tokctl.model.filters import ALL_TOKENS
from tokctl.services.diagram import DiagramQuery, DrawnDiagram, convert_to_png, draw_activity, draw_model
from tokctl.text import suggest


def _complete_heat(incomplete: str) -> list[str]:
    return [heat for heat in Heat if heat.startswith(incomplete.lower())]


def draw_diagram(
    app: App,
    instance: Annotated[
        str | None,
        opt.argument(
            "[INSTANCE]",
            "Instance id, the beginning of one, or @latest. Optional if there is only one instance.",
            complete=complete_instance,
        ),
    ] = None,
    process: Annotated[
        str | None, opt.option("ID", "Draw all instances of this process.", "-p --process", panel=opt.FILTER_PANEL)
    ] = None,
    version: Annotated[
        int | None, opt.option("N", "Only instances of this version, on its model.", panel=opt.FILTER_PANEL)
    ] = None,
    since: opt.Since = None,
    until: opt.Until = None,
    heat: Annotated[
        str | None,
        opt.option("WHAT", "Colour elements by time or visits.", complete=_complete_heat),
    ] = None,
    model: Annotated[
        str | None,
        opt.path(
            "FILE",
            "BPMN file to draw (default: the model that the source has). Without INSTANCE, it is all that is drawn.",
        ),
    ] = None,
    out: Annotated[str | None, opt.path("FILE", "File to write, .svg or .png (default: an SVG to stdout).")] = None,
) -> int:
    """Draw the BPMN diagram of an instance, or of all instances of a process, as SVG or PNG.

    Use it to see where tokens are, which way they took, and what they never reached.

    Visited elements are tinted, flows that tokens took are bold, and the rest is pale. Badges count the live tokens in
    each state. A count such as ×3 is the number of visits or of tokens that took a flow; it is shown if there were
    several, and always for --process. ≈ marks flows that are not recorded but follow from the times and the model,
    ? and ≥ flows that further tokens may have taken. The diagram of a single instance shows its critical path, as
    'tokctl flow' does. --heat colours elements by the time that tokens spent in them, or by visits.

    A model without a diagram is laid out automatically, without lanes, data and artifacts. PNG requires the extra
    png.
    """
    is_png = _check_target(out)
    if heat is not None and heat not in set(Heat):
        raise UsageError(f"invalid --heat '{heat}'{suggest(heat, Heat)}.", f"Valid: {', '.join(Heat)}.")
    if process is not None and instance is not None:
        raise UsageError("INSTANCE cannot be used with --process.", "Remove one of them.")
    check_patterns(None if process is None else [process], "--process")
    if version is not None and process is None:
        raise UsageError("--version needs --process.", "Add --process ID.")
    file = None if model is None else (input_name(model), b"".join(read_chunks(model)))
    exit_code = 0
    if file is not None and instance is None and process is None:
        if since or until or heat:
            raise UsageError("--since, --until and --heat need INSTANCE or --process.", "Add one, or remove them.")
        drawn = draw_model(file[1], file[0], dark=not is_png)
    else:
        where = build_token_filter(app, since=since, until=until) if since or until else ALL_TOKENS
        engine = app.open_engine(Projection.VISITS_WITH_FLOWS)
        query = DiagramQuery(
            instance_id=None if process is not None else resolve_instance(engine, instance),
            process_id=process,
            version=version,
            where=where,
            heat=None if heat is None else Heat(heat),
            model=file,
        )
        drawn = draw_activity(engine, query, app.now, dark=not is_png)
        exit_code = report_unread(app, engine)
    _write(app, drawn, out, is_png=is_png)
    return exit_code


def _check_target(out: str | None) -> bool:
    """Return whether the picture is a PNG. Raises UsageError: the name is that of another format."""
    ending = "" if out is None else out.lower().rpartition(".")[2]
    if out is not None and ending not in {"svg", "png"}:
        raise UsageError(f"cannot tell the format of --out {out}.", "Use a name that ends in .svg or .png.")
    return ending == "png"


def _write(app: App, drawn: DrawnDiagram, out: str | None, *, is_png: bool) -> None:
    data = convert_to_png(drawn.drawing) if is_png else drawn.drawing.svg.encode()
    with open_target(out) as stream:
        stream.write(data)
    for note in drawn.notes:
        app.notify(note)


app = command(
    draw_diagram,
    shared_options=(*opt.ENGINE, *opt.AT),
    panel=INSPECT_PANEL,
    examples=(
        "tokctl diagram @latest --out order.svg",
        "tokctl diagram --process order-processing --since 1d --heat time --out order.png",
        "tokctl diagram --model order.bpmn --out order.svg",
    ),
)
