"""``tokctl tokens list``."""

from __future__ import annotations

from typing import Annotated

import click
from click.core import ParameterSource

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.completion import complete_order
from tokctl.cli.filters import PageRange, build_token_filter, page_range
from tokctl.cli.progress import report_unread_afterwards
from tokctl.engines.ids import resolve_instance
from tokctl.engines.projection import Projection
from tokctl.engines.protocol import Engine
from tokctl.errors import UsageError
from tokctl.model.filters import (
    ALL_TOKENS,
    RECORDED_ORDER,
    TOKEN_SORT_COLUMNS,
    InstanceFilter,
    TokenFilter,
    parse_sort_order,
)
from tokctl.render.result import Listing, Output
from tokctl.render.views.all_tokens import all_tokens_listing
from tokctl.render.views.tokens import token_listing

_NOT_WATCHED = {
    "all_instances": "--all-instances",
    "until": "--until",
    "sort": "--sort",
    "limit": "--limit",
    "page": "--page",
    "variables": "--variables",
    "at": "--at",
    "columns": "--columns",
    "query": "--query",
}
"""Options of the list that a watch does not have, by the names of their parameters."""


def list_tokens(
    app: App,
    instance: opt.Instance = None,
    all_instances: Annotated[
        bool, opt.flag("-A --all-instances", "List the tokens of all instances.", panel=opt.FILTER_PANEL)
    ] = False,
    state: opt.States = None,
    type_: opt.Types = None,
    element: opt.Elements = None,
    worker: opt.Workers = None,
    since: opt.Since = None,
    until: opt.Until = None,
    live: opt.Live = False,
    no_completed: opt.NoCompleted = False,
    sort: Annotated[
        str | None,
        opt.option(
            "ORDER",
            "created (default), updated, finished, duration, element, type, state, worker or retries; '-' in front "
            "reverses. Of all instances also recorded (default): instance by instance.",
            complete=complete_order,
            panel=opt.PAGE_PANEL,
        ),
    ] = None,
    limit: opt.Limit = None,
    page: opt.Page = 1,
    variables: opt.Variables = False,
    watch: Annotated[
        bool, opt.flag("-w --watch", "Keep watching until the instance ends, like 'tokens watch'.")
    ] = False,
) -> Listing | int:
    """List the tokens of a process instance, or of all instances with -A.

    Without INSTANCE, filters such as --state or --since find tokens of all instances. The totals above the table of
    one instance are those of the whole instance, without filters. ~ marks a duration that was derived from timestamps,
    or a state that was not recorded; … a token that is still running.
    """
    where = build_token_filter(
        app,
        state=state,
        types=type_,
        elements=element,
        workers=worker,
        since=since,
        until=until,
        live=live,
        no_completed=no_completed,
    )
    if watch:
        return _watch(app, instance, where)
    shown = page_range(limit, page, app.out.format)
    engine = app.engine
    if all_instances and instance is not None:
        raise UsageError("--all-instances and an instance cannot be used together.", "Remove one of them.")
    if all_instances or (instance is None and where != ALL_TOKENS and len(engine.instance_ids("", 2)) > 1):
        return _list_all(app, engine, where, sort, shown, variables=variables)
    order = parse_sort_order(sort or "created", TOKEN_SORT_COLUMNS)
    instance_id = resolve_instance(engine, instance)
    return token_listing(
        engine.tokens(
            instance_id,
            where,
            order,
            limit=shown.limit,
            offset=shown.offset,
            projection=_find_projection(app.out, variables=variables),
        ),
        engine.instance(instance_id),
        engine.summary(instance_id),
        app.out,
        variables=variables,
        notes=shown.notes(lambda: engine.count_tokens(instance_id, where), "token"),
        empty=shown.empty,
    )


def _list_all(
    app: App, engine: Engine, where: TokenFilter, sort: str | None, shown: PageRange, *, variables: bool
) -> Listing:
    order = parse_sort_order(sort or RECORDED_ORDER, (*TOKEN_SORT_COLUMNS, RECORDED_ORDER))
    listing = all_tokens_listing(
        engine.tokens(
            None,
            where,
            order,
            limit=shown.limit,
            offset=shown.offset,
            projection=_find_projection(app.out, variables=variables),
        ),
        app.out,
        variables=variables,
        notes=shown.notes(lambda: engine.count_tokens(None, where), "token"),
        empty=shown.empty,
    )
    report_unread_afterwards(app, engine, listing)
    return listing


def _watch(app: App, instance: str | None, where: TokenFilter) -> int:
    """Watch the tokens of an instance that match. Raises UsageError: an option does not apply."""
    from tokctl.cli import polling_options
    from tokctl.cli.tokens.watch import DEFAULT_INTERVAL, run_watch
    from tokctl.services.watch import InstanceWatcher

    given = click.get_current_context().get_parameter_source
    for name, option in _NOT_WATCHED.items():
        if name in app.settings.flag_names or given(name) is ParameterSource.COMMANDLINE:
            raise UsageError(f"{option} does not apply to --watch.", "Remove one of them.")
    polling_options.reject_file_source(app)
    engine = app.engine
    ids = [resolve_instance(engine, instance)]
    watcher = InstanceWatcher(ids, InstanceFilter(), limit=1, clock=app.clock, tokens=where)
    interval = polling_options.parse_interval(DEFAULT_INTERVAL, "--interval")
    run_watch(app, engine, watcher, interval, end=None, events=False)
    return 0


def _find_projection(out: Output, *, variables: bool) -> Projection:
    """Return how much of each token an output shows; ``variables`` tells whether a table has their column."""
    if out.query is not None:
        return Projection.TOKENS
    if out.columns is not None:
        variables = any(name.lower() == "variables" for name in out.columns)
    elif out.format not in {"table", "id"}:
        return Projection.TOKENS
    return Projection.TOKENS if variables else Projection.VISITS


app = command(
    list_tokens,
    shared_options=(*opt.ENGINE, *opt.AT, *opt.OUTPUT),
    examples=(
        "tokctl tokens list @latest --live",
        "tokctl tokens list -A --state FAILED --since 1h",
        "tokctl tokens list srv1-aB3 --type gateway --state WAITING",
        "tokctl tokens list srv1-aB3 --since 15m --sort -duration",
        "tokctl tokens list @latest --state FAILED --watch",
        "curl $URL | tokctl tokens list --file - -o csv",
    ),
)
