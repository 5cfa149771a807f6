"""``tokctl instances list``."""

from __future__ import annotations

from typing import Annotated

import typer

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.complete import complete_instance_order
from tokctl.cli.filters import patterns, period, words
from tokctl.cli.many import tell_unread
from tokctl.cli.paging import part
from tokctl.process.query import INSTANCE_ORDERS, InstanceFilter, check_states, parse_order
from tokctl.render.result import Listing
from tokctl.render.views.instances import instance_listing


def list_instances(
    app: App,
    status: opt.Statuses = None,
    process: Annotated[
        list[str] | None,
        typer.Option(
            "-p",
            "--process",
            help="Only processes whose id fits this pattern (* ? \\[a-z]).",
            metavar="GLOB",
            rich_help_panel="Which ones",
        ),
    ] = None,
    since: opt.Since = None,
    until: opt.Until = None,
    live: opt.Live = False,
    sort: Annotated[
        str,
        typer.Option(
            help="started, updated, status, process, tokens or live; '-' in front for the reverse.",
            metavar="ORDER",
            autocompletion=complete_instance_order,
            rich_help_panel="In which order, how many",
        ),
    ] = "-started",
    limit: opt.Limit = None,
    page: opt.Page = 1,
) -> Listing:
    """List process instances, the newest first.

    ~ marks a status that was derived from the tokens, because nobody recorded one.
    """  # fmt: skip
    begin, end = period(app, since, until)
    where = InstanceFilter(
        statuses=check_states(words(status, "--status")),
        processes=patterns(process, "--process"),
        since=begin,
        until=end,
        live=live,
    )
    order = parse_order(sort, INSTANCE_ORDERS)
    shown = part(limit, page, app.out.format)
    engine = app.engine
    listing = instance_listing(
        engine.instances(where, order, limit=shown.limit, offset=shown.offset),
        app.now,
        unicode=app.out.unicode,
        notes=shown.notes(lambda: engine.count_instances(where), "instance"),
        empty=shown.empty,
    )
    listing.exit_code = tell_unread(app, engine)
    return listing


app = command(
    list_instances,
    takes=(*opt.ENGINE, *opt.AT, *opt.OUTPUT),
    examples=(
        "tokctl instances list --live",
        "tokctl instances list --process 'order-*' --since 1h --sort -live",
        "tokctl instances list --status ACTIVE -o id | xargs -n1 tokctl tokens tree",
    ),
)
