"""``tokctl tokens list``."""

from __future__ import annotations

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.filters import token_filter
from tokctl.cli.paging import part
from tokctl.engines.ids import resolve_instance
from tokctl.process.query import TOKEN_ORDERS, parse_order
from tokctl.render.result import Listing
from tokctl.render.views.tokens import token_listing


def list_tokens(
    app: App,
    instance: opt.Instance = None,
    state: opt.States = None,
    type_: opt.Types = None,
    element: opt.Elements = None,
    worker: opt.Workers = None,
    since: opt.Since = None,
    until: opt.Until = None,
    live: opt.Live = False,
    no_completed: opt.NoCompleted = False,
    sort: opt.TokenSort = "created",
    limit: opt.Limit = None,
    page: opt.Page = 1,
    variables: opt.Variables = False,
) -> Listing:
    """List the tokens of a process instance.

    The totals above the table are those of the whole instance, whatever the filters show of it.
    ~ marks a duration that was derived from times, … one that is still running.
    """
    where = token_filter(
        app, state=state, types=type_, elements=element, workers=worker, since=since, until=until, live=live,
        no_completed=no_completed,
    )  # fmt: skip
    order = parse_order(sort, TOKEN_ORDERS)
    shown = part(limit, page, app.out.format)
    engine = app.engine
    instance_id = resolve_instance(engine, instance)
    return token_listing(
        engine.tokens(instance_id, where, order, limit=shown.limit, offset=shown.offset),
        engine.instance(instance_id),
        engine.summary(instance_id),
        app.now,
        unicode=app.out.unicode,
        variables=variables,
        notes=shown.notes(lambda: engine.count_tokens(instance_id, where), "token"),
        empty=shown.empty,
    )


app = command(
    list_tokens,
    takes=(*opt.ENGINE, *opt.AT, *opt.OUTPUT),
    examples=(
        "tokctl tokens list @latest --live",
        "tokctl tokens list srv1-aB3 --type gateway --state WAITING",
        "tokctl tokens list srv1-aB3 --since 15m --sort -duration",
        "curl $URL | tokctl tokens list --file - -o csv",
    ),
)
