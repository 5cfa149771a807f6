"""``tokctl instances list``."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

from msgspec.structs import replace

from tokctl.cli import options as opt
from tokctl.cli.app import App, command
from tokctl.cli.completion import complete_instance_order
from tokctl.cli.filters import PageRange, check_patterns, page_range, words
from tokctl.cli.progress import report_unread
from tokctl.model.filters import (
    INSTANCE_SORT_COLUMNS,
    InstanceFilter,
    SortOrder,
    StuckLimits,
    parse_sort_order,
    validate_states,
)
from tokctl.model.time_expressions import parse_period
from tokctl.model.variables import parse_variable_condition
from tokctl.render.result import Cell, Listing
from tokctl.render.text import count
from tokctl.render.views.instances import instance_listing


def list_instances(
    app: App,
    status: opt.Statuses = None,
    process: opt.Processes = None,
    since: opt.Since = None,
    until: opt.Until = None,
    live: opt.Live = False,
    failed: Annotated[
        bool, opt.flag("--failed", "Only instances with a FAILED token.", panel=opt.FILTER_PANEL)
    ] = False,
    stuck: Annotated[
        bool,
        opt.flag(
            "--stuck",
            "Only instances with a token past its timeout, or past the threshold long_running (ACTIVE, or WAITING for "
            "a job) or stuck_gateway (WAITING at a gateway) of 'tokctl debug'.",
            panel=opt.FILTER_PANEL,
        ),
    ] = False,
    business_key: Annotated[
        list[str] | None,
        opt.option(
            "GLOB", "Only instances whose business key matches this pattern (repeatable).", panel=opt.FILTER_PANEL
        ),
    ] = None,
    var: Annotated[
        list[str] | None,
        opt.option(
            "NAME=VALUE",
            "Only instances with this variable, or NAME~PATTERN (* ? \\[a-z]); repeatable, all have to match. "
            "customer.id is the member id of customer. Lists, objects and values of more than 255 characters are "
            "never found.",
            panel=opt.FILTER_PANEL,
        ),
    ] = None,
    var_like: Annotated[
        list[str] | None, opt.option("NAME=PATTERN", "The same as --var NAME~PATTERN.", panel=opt.FILTER_PANEL)
    ] = None,
    sort: Annotated[
        str,
        opt.option(
            "ORDER",
            "Sort by started, updated, status, process, tokens or live; -NAME for descending.",
            complete=complete_instance_order,
            panel=opt.PAGE_PANEL,
        ),
    ] = "-started",
    limit: opt.Limit = None,
    page: opt.Page = 1,
) -> Listing:
    """List process instances, newest first.

    ~ marks a status that was derived from the tokens because the source has none.
    """
    begin, end = parse_period(since, until, app.now)
    where = InstanceFilter(
        statuses=validate_states(words(status, "--status")),
        processes=check_patterns(process, "--process"),
        since=begin,
        until=end,
        live=live,
        failed=failed,
        stuck=_stuck_limits(app) if stuck else None,
        business_keys=check_patterns(business_key, "--business-key"),
        variables=(
            *map(parse_variable_condition, var or ()),
            *(replace(parse_variable_condition(one), is_pattern=True) for one in var_like or ()),
        ),
    )
    order = parse_sort_order(sort, INSTANCE_SORT_COLUMNS)
    shown = page_range(limit, page, app.out)
    engine, asked_at = app.engine, app.now
    found = engine.instances(where, order, limit=shown.limit, offset=shown.offset)
    if app.settings.kind == "server" and (stuck or begin or end):
        found = iter(list(found))
        if app.now != asked_at:  # the responses have shown that the server's clock is different
            begin, end = parse_period(since, until, app.now)
            where = replace(where, since=begin, until=end, stuck=_stuck_limits(app) if stuck else None)
            found = engine.instances(where, order, limit=shown.limit, offset=shown.offset)
    for text in engine.limitations if stuck else ():
        app.notify(text)
    listing = instance_listing(
        found,
        app.out,
        headline=lambda: _totals(app) if app.reads_store_for_people else (),
        stuck=_find_stuck(app, where, order, shown),
        notes=shown.notes(lambda: engine.count_instances(where), "instance"),
        empty=shown.empty,
    )
    listing.exit_code = report_unread(app, engine)
    return listing


def _totals(app: App) -> tuple[Cell, ...]:
    """Return how many instances of the source are running, and how many of them failed."""
    running, failed = (
        app.engine.count_instances(where) for where in (InstanceFilter(open=True), InstanceFilter(failed=True))
    )
    with_incidents = Cell(f"  {failed:,} with incidents", "bold red") if failed else Cell("")
    return Cell(f"{count(running, 'instance')} running"), with_incidents


def _find_stuck(app: App, where: InstanceFilter, order: SortOrder, shown: PageRange) -> Collection[str]:
    """Return the ids of the stuck instances on this page; none unless a terminal shows them and a store is read."""
    if not app.reads_store_for_people:
        return ()
    limit = None if shown.limit is None else shown.offset + shown.limit  # at most so many precede the end of the page
    found = app.engine.instances(replace(where, stuck=_stuck_limits(app)), order, limit=limit, offset=0)
    return {status.instance.instance_id for status in found}


def _stuck_limits(app: App) -> StuckLimits:
    """Return the thresholds of ``tokctl debug``, as the configuration has them."""
    from tokctl.services.debug import load_rules, resolve_thresholds

    values = resolve_thresholds(load_rules(), {}, app.settings.debug)
    return StuckLimits(app.now, values["long_running"], values["stuck_gateway"])


app = command(
    list_instances,
    shared_options=(*opt.ENGINE, *opt.AT, *opt.OUTPUT),
    examples=(
        "tokctl instances list --live",
        "tokctl instances list --failed",
        "tokctl instances list --var orderId=ORD-13",
        "tokctl instances list --stuck --var 'customer.name~A*'",
        "tokctl instances list --process 'order-*' --since 1h --sort -live",
        "tokctl instances list --status ACTIVE -o id | xargs -n1 tokctl tokens tree",
    ),
)
