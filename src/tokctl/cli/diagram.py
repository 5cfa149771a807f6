"""``tokctl diagram``."""

from __future__ import annotations

import io
import os
import shutil
import sys
from typing import TYPE_CHECKING, Annotated

from msgspec.structs import replace

from tokctl.cli import options as opt
from tokctl.cli.app import INSPECT_PANEL, NON_TERMINAL_WIDTH, App, command
from tokctl.cli.completion import complete_instance
from tokctl.cli.filters import build_token_filter, check_patterns
from tokctl.cli.output_files import check_overwrites_no_source, open_target
from tokctl.cli.progress import report_unread
from tokctl.diagram.activity_marks import Heat
from tokctl.diagram.model import read_model
from tokctl.engines.ids import resolve_instance
from tokctl.engines.projection import Projection
from tokctl.errors import UsageError
from tokctl.input_files import input_name, read_chunks
from tokctl.model.filters import ALL_TOKENS
from tokctl.services.diagram import DiagramFacts, DiagramQuery, DrawnDiagram, convert_to_png, read_activity
from tokctl.text import suggest

if TYPE_CHECKING:
    from tokctl.cli.terminal_query import TerminalAnswers

FORMATS = {"text": "txt", "svg": "svg", "png": "png"}
"""Format → the end of the names of its files."""


_CELL_HEIGHT = 18
"""Pixels of a cell in which the text of a picture has about the size of the terminal's."""

_OTHER_LINES = 7
"""Lines of a terminal for the captions of a drawing, its signs, a note and the prompt."""


def _complete_format(incomplete: str) -> list[str]:
    return [form for form in FORMATS if form.startswith(incomplete.lower())]


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
    form: Annotated[
        str | None,
        opt.option(
            "FORMAT",
            "text, svg or png (default: by the name of --out, else text).",
            "-f --format",
            complete=_complete_format,
        ),
    ] = None,
    full: Annotated[
        bool, opt.flag("--full", "Draw all elements, even if the drawing is longer than the terminal.")
    ] = False,
    image: Annotated[
        bool, opt.flag("--image", "Show the picture itself, in a terminal with the kitty, iTerm2 or sixel protocol.")
    ] = False,
    out: Annotated[
        str | None, opt.path("FILE", "File to write, such as a.svg, a.png or a.txt (default: stdout).")
    ] = None,
) -> int:
    """Draw the BPMN diagram of an instance, or of all instances of a process: as text, SVG or PNG.

    Use it to see where tokens are, which way they took, and what they never reached.

    In a picture, visited elements are tinted, flows that tokens took are bold, and the rest is pale. Badges count the
    live tokens in each state. A count such as ×3 is the number of visits or of tokens that took a flow; it is shown if
    there were several, and always for --process. ≈ marks flows that are not recorded but follow from the times and the
    model, ? and ≥ flows that further tokens may have taken. The diagram of a single instance shows its critical path,
    as 'tokctl flow' does. --heat colours elements by the time that tokens spent in them, or by visits.

    As text, the elements are boxes in rows that fit the terminal, or 80 columns in a pipe. What tokens did not reach is
    dashed, the critical path is heavy. Where lines cross, the vertical one passes over the other. Flows that have no
    room are listed below, and so are message flows. If the drawing is longer than the terminal, straight sequences
    in which there is nothing to see are one box each; --full draws all elements.

    --image asks the terminal for the kitty, iTerm2 or sixel protocol, and shows the picture in it.

    A picture of a model without a diagram is laid out automatically. PNG and --image require the extra png.
    """
    answers = _ask_terminal(app, form, out) if image else None
    form = _choose_format(form, out)
    if heat is not None and heat not in set(Heat):
        raise UsageError(f"invalid --heat '{heat}'{suggest(heat, Heat)}.", f"Valid: {', '.join(Heat)}.")
    if process is not None and instance is not None:
        raise UsageError("INSTANCE cannot be used with --process.", "Remove one of them.")
    check_patterns(None if process is None else [process], "--process")
    if version is not None and process is None:
        raise UsageError("--version needs --process.", "Add --process ID.")
    if out is not None:
        check_overwrites_no_source(out, app.settings, model)
    file = None if model is None else (input_name(model), b"".join(read_chunks(model)))
    exit_code = 0
    if file is not None and instance is None and process is None:
        if since or until or heat:
            raise UsageError("--since, --until and --heat need INSTANCE or --process.", "Add one, or remove them.")
        facts = DiagramFacts(model=read_model(file[1], file[0]))
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
        facts = read_activity(engine, query, app.now)
        exit_code = report_unread(app, engine)
    if answers is not None:
        _show_picture(app, facts.draw(dark=False), answers)
    elif form == "text":
        _write_text(app, facts, out, full=full)
    else:
        _write_picture(app, facts.draw(dark=form == "svg"), out, is_png=form == "png")
    return exit_code


def _choose_format(form: str | None, out: str | None) -> str:
    """Return the format. Raises UsageError: it is unknown, does not fit the name of the file, or to a terminal."""
    if form is not None and form not in FORMATS:
        raise UsageError(f"invalid --format '{form}'{suggest(form, FORMATS)}.", f"Valid: {', '.join(FORMATS)}.")
    if out is not None and form is None:
        ending = out.lower().rpartition(".")[2]
        form = next((name for name, known in FORMATS.items() if known == ending), None)
        if form is None:
            raise UsageError(
                f"cannot tell the format of --out {out}.", "Use a name that ends in .svg, .png or .txt, or --format."
            )
    if form == "png" and out is None and sys.stdout.isatty():
        raise UsageError("a PNG cannot be written to the terminal.", "Name a file with --out.")
    return form or "text"


def _ask_terminal(app: App, form: str | None, out: str | None) -> TerminalAnswers:
    """Return what the terminal can do. Raises UsageError: it cannot show pictures."""
    from tokctl.cli.terminal_query import ask_terminal

    if form is not None or out is not None:
        raise UsageError(
            f"--image cannot be used with {'--format' if out is None else '--out'}.", "Remove one of them."
        )
    if not sys.stdout.isatty() or os.environ.get("TERM", "dumb") in {"dumb", "linux"}:
        raise UsageError("--image needs a terminal that can show pictures.", "Use --out FILE.")
    answers = ask_terminal()
    if answers.lost_keys:
        app.notify("Keys that were pressed while the terminal answered are lost.")
    if not (answers.kitty or answers.iterm2 or answers.sixel):
        advice = "Use --out FILE, or another terminal."
        if os.environ.get("TMUX"):
            advice = "tmux needs to be built with sixel, in a terminal with sixel. Use --out FILE, or leave tmux."
        raise UsageError("this terminal supports neither the kitty, iTerm2 nor sixel protocol.", advice)
    return answers


def _show_picture(app: App, drawn: DrawnDiagram, answers: TerminalAnswers) -> None:
    from tokctl.cli.terminal_pictures import encode_iterm2, encode_kitty, encode_sixel

    width, height = answers.cell
    natural = round(drawn.drawing.width * height / _CELL_HEIGHT)
    png = convert_to_png(drawn.drawing, min(natural, app.out.width * width))
    encode = encode_kitty if answers.kitty else encode_iterm2 if answers.iterm2 else encode_sixel
    app.hide_progress()
    with open_target(None) as stream:
        stream.writelines(encode(png))
        stream.write(b"\n")
    for note in drawn.notes:
        app.notify(note)


def _write_text(app: App, facts: DiagramFacts, out: str | None, *, full: bool) -> None:
    from tokctl.render.views.diagram import PIPE_WIDTH, write_drawing

    width = PIPE_WIDTH if app.out.width == NON_TERMINAL_WIDTH else app.out.width
    if out is None:
        with app.open_output() as output:
            lines = None if full or not output.tty else shutil.get_terminal_size().lines - _OTHER_LINES
            write_drawing(facts, output, width, lines)
    else:
        text = io.StringIO()
        write_drawing(facts, replace(app.out, stream=text, tty=False, color=False, unicode=True), width)
        with open_target(out) as stream:
            stream.write(text.getvalue().encode())
    for note in facts.notes:
        app.notify(note)


def _write_picture(app: App, drawn: DrawnDiagram, out: str | None, *, is_png: bool) -> None:
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
        "tokctl diagram @latest",
        "tokctl diagram @latest --out order.svg",
        "tokctl diagram --process order-processing --since 1d --heat time --out order.png",
        "tokctl diagram --model order.bpmn --out order.svg",
    ),
)
