"""``tokctl tokens trace``."""

from __future__ import annotations

from typing import Annotated

import typer

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.filters import period
from tokctl.cli.paging import part
from tokctl.engines.base import Reading
from tokctl.engines.ids import resolve_instance
from tokctl.errors import UsageError
from tokctl.process.query import EVERYTHING, Order, suggest
from tokctl.process.trace import trace
from tokctl.render.result import Detail, Listing
from tokctl.render.views.trace import trace_detail, trace_listing

FORMS = ("detailed", "summary")


def show_trace(
    app: App,
    instance: opt.Instance = None,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORM",
            autocompletion=lambda incomplete: [form for form in FORMS if form.startswith(incomplete)],
            help="detailed, or summary: without the timeline, the paths and the tree.",
        ),
    ] = "detailed",
    since: Annotated[
        str | None,
        typer.Option(help="Only events at or after then: a time, or a span such as 15m.", metavar="TIME"),
    ] = None,
    until: Annotated[str | None, typer.Option(help="Only events before then.", metavar="TIME")] = None,
    variables: opt.Variables = False,
    limit: opt.Limit = None,
    page: opt.Page = 1,
) -> Listing | Detail:
    """Show all that happened to the tokens of an instance, event by event, and what it comes to.

    Tokens are created, move, split, are activated (work begins later than the token) and end; gateways are
    evaluated. What nobody recorded is left out. ~ marks times and durations that are derived: the moment when
    work began, say, from its end and its duration.

    --since and --until bound the timeline, and so do --limit and --page. Paths, times, bottlenecks and
    totals are always those of the whole instance.
    """
    if form not in FORMS:
        raise UsageError(f"unknown --format '{form}'{suggest(form, FORMS)}.", f"Valid: {', '.join(FORMS)}.")
    begin, end = period(app, since, until)
    shown = part(limit, page, app.out.format)
    engine = app.engine if variables else app.open_engine(Reading.VISITS_WITH_FLOWS)
    instance_id = resolve_instance(engine, instance)
    status = engine.instance(instance_id)
    process = status.instance.process_id
    made = trace(
        status,
        engine.tokens(instance_id, EVERYTHING, Order("created"))
        if variables
        else engine.visits(instance_id, flows=True),
        app.now,
        detailed=form == "detailed",
        variables=variables,
        since=begin,
        until=end,
        definition=engine.definition(process, status.instance.version) if process else None,
    )
    if not made.detailed:
        return trace_detail(made, unicode=app.out.unicode)
    return trace_listing(made, limit=shown.limit, offset=shown.offset, empty=shown.empty, unicode=app.out.unicode)


app = command(
    show_trace,
    takes=(*opt.ENGINE, *opt.OUTPUT),
    examples=(
        "tokctl tokens trace @latest",
        "tokctl tokens trace srv1-aB3 --since 15m --variables -o ndjson",
        "tokctl tokens trace @latest --format summary -o json",
        "curl $URL | tokctl tokens trace --file -",
    ),
)
