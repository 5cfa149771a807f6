"""``tokctl report``."""

from __future__ import annotations

from typing import Annotated

from tokctl.analysis.redaction import Redactor
from tokctl.cli import options as opt
from tokctl.cli.app import INSPECT_PANEL, App, command
from tokctl.cli.output_files import check_overwrites_no_source, open_target
from tokctl.cli.progress import progress, report_unread
from tokctl.cli.selection import build_instance_filter, select_ids
from tokctl.errors import UsageError
from tokctl.input_files import input_name
from tokctl.report.page import load_templates, render_report
from tokctl.services.export import select_compared
from tokctl.services.report import ReportReader


def write_report(
    app: App,
    instances: opt.Instances = None,
    out: Annotated[str | None, opt.path("FILE", "File to write, .html (required).")] = None,
    redact: opt.Redact = None,
    compare_with: Annotated[
        str | None,
        opt.option("BASE", "Show a version (v3, order:3) or a period (8d..1d) beside the instances.", "--compare"),
    ] = None,
    process: opt.Processes = None,
    version: Annotated[int | None, opt.option("N", "Only this version of the process.", panel=opt.FILTER_PANEL)] = None,
    since: opt.ChangedSince = None,
    until: opt.StartedBefore = None,
    troubled: opt.Troubled = False,
) -> int:
    """Write a report about instances as one HTML file, which opens in any browser without a network.

    Use it to hand an incident over to others, or to keep it with a ticket.

    The report of a single instance shows what happened and why, the diagram, the tokens of each element with errors
    and variables, the time line with the critical path, the tree, and the durations. That of several shows their
    problems, diagrams coloured by time, the commonest variants, the durations, and the details of the worst. What is
    derived or unknown is marked.

    --compare adds other instances of the process and shows both sides: their problems, diagrams, variants and
    durations. The base has to match the other filters, too. Instances that match both are not part of the base.

    The report contains variables and error messages: remove what others must not see with --redact. It requires the
    extra report. Exit code 5: some instances could not be read.
    """
    target = _check_target(app, out)
    templates, redaction = load_templates(), Redactor(redact or ())
    base = None
    if compare_with is None:
        ids = select_ids(app, instances, process, since, until, troubled=troubled, version=version)
    elif instances or troubled:
        raise UsageError("--compare cannot be used with INSTANCE or --troubled.", "Use --process.")
    else:
        where = build_instance_filter(app, process, since, until, version)
        ids, base = select_compared(app.engine, where, compare_with, app.now)
    settings, engine = app.settings, app.engine
    name = input_name("-") if settings.kind == "file" and settings.file == "-" else app.describe_source()
    app.stop_progress()
    with progress("Reading instances", len(ids) + (len(base[1]) if base else 0)) as step:
        reader = ReportReader(
            engine,
            app.now,
            source=(name, settings.kind),
            redaction=redaction,
            clock=app.clock,
            thresholds=settings.debug,
            step=step,
        )
        is_single = len(ids) == 1 and base is None
        report = reader.read_instance(ids[0]) if is_single else reader.read_instances(ids, base=base)
    with open_target(target) as stream:
        stream.write(render_report(report, templates).encode("utf-8", "replace"))
    for pattern in redaction.patterns:
        if not redaction.match_counts[pattern]:
            app.notify(f"--redact '{pattern}' matches nothing.")
    return report_unread(app, report)


def _check_target(app: App, out: str | None) -> str:
    """Return the file to write. Raises UsageError: it is invalid, or would overwrite the source."""
    if not out:
        raise UsageError("a report needs a file to write to.", "Add --out FILE.html.")
    if not out.lower().endswith((".html", ".htm")):
        raise UsageError(f"cannot write a report to {out}.", "Use a name that ends in .html.")
    check_overwrites_no_source(out, app.settings)
    return out


app = command(
    write_report,
    shared_options=(*opt.ENGINE, *opt.AT),
    panel=INSPECT_PANEL,
    examples=(
        "tokctl report @latest --out incident.html",
        "tokctl report --troubled --out incidents.html --redact 'variables.*'",
        "tokctl report --process order-processing --since 1d --out orders.html",
        "tokctl report --process order-processing --since 1d --compare 8d..1d --out orders.html",
    ),
)
