"""``tokctl tokens trace``."""

from __future__ import annotations

from typing import Annotated

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.filters import page_range
from tokctl.engines.ids import resolve_instance
from tokctl.engines.projection import Projection
from tokctl.errors import UsageError
from tokctl.model.time_expressions import parse_period
from tokctl.render.result import Detail, Listing
from tokctl.render.views.trace import trace_detail, trace_listing
from tokctl.services.inspection import read_trace
from tokctl.text import suggest

TRACE_FORMATS = ("detailed", "summary")


def show_trace(
    app: App,
    instance: opt.Instance = None,
    form: Annotated[
        str,
        opt.option(
            "FORM",
            "detailed, or summary without time line, paths and tree.",
            "--format",
            complete=lambda incomplete: [form for form in TRACE_FORMATS if form.startswith(incomplete)],
        ),
    ] = "detailed",
    since: Annotated[
        str | None, opt.option("TIME", "Only events since this time (RFC 3339, or an age such as 15m).")
    ] = None,
    until: Annotated[str | None, opt.option("TIME", "Only events before this time.")] = None,
    variables: opt.Variables = False,
    limit: opt.Limit = None,
    page: opt.Page = 1,
) -> Listing | Detail:
    """Show every event of an instance's tokens in order of time, with totals.

    Use it as a complete log, also for programs. See 'flow' and 'tokens tree' for an overview.

    Tokens that have not ended, FAILED ones included, count until now: their figures are marked "so far".

    Events are: a token is created, moves, splits, is activated (its work starts), ends, or a gateway is evaluated.
    ~ marks derived times and durations, such as the start of work computed from its end and its duration.

    --since, --until, --limit and --page apply to the time line. Paths, times, bottlenecks and totals are always those
    of the whole instance.
    """
    if form not in TRACE_FORMATS:
        raise UsageError(
            f"invalid --format '{form}'{suggest(form, TRACE_FORMATS)}.", f"Valid: {', '.join(TRACE_FORMATS)}."
        )
    begin, end = parse_period(since, until, app.now)
    shown = page_range(limit, page, app.out)
    engine = app.engine if variables else app.open_engine(Projection.VISITS_WITH_FLOWS)
    instance_id = resolve_instance(engine, instance)
    made = read_trace(
        engine, instance_id, app.now, detailed=form == "detailed", variables=variables, since=begin, until=end
    )
    if not made.detailed:
        return trace_detail(made, app.out)
    return trace_listing(made, limit=shown.limit, offset=shown.offset, empty=shown.empty, out=app.out)


app = command(
    show_trace,
    shared_options=(*opt.ENGINE, *opt.OUTPUT),
    examples=(
        "tokctl tokens trace @latest",
        "tokctl tokens trace srv1-aB3 --since 15m --variables -o ndjson",
        "tokctl tokens trace @latest --format summary -o json",
        "curl $URL | tokctl tokens trace --file -",
    ),
)
