"""``tokctl perf``."""

from __future__ import annotations

from typing import Annotated

from tokctl.analysis.performance.groups import DIMENSIONS
from tokctl.cli import options as opt
from tokctl.cli.app import INSPECT_PANEL, App, command
from tokctl.cli.completion import complete_instance
from tokctl.cli.filters import build_token_filter, check_patterns, page_range, words
from tokctl.cli.progress import report_unread
from tokctl.engines.ids import resolve_instance
from tokctl.engines.projection import Projection
from tokctl.errors import UsageError
from tokctl.model.filters import InstanceFilter, parse_sort_order
from tokctl.render.result import Listing
from tokctl.render.views.perf import performance_listing
from tokctl.services.performance import SORT_KEYS, PerformanceQuery, analyze_performance
from tokctl.text import suggest


def show_performance(
    app: App,
    instance: Annotated[
        str | None,
        opt.argument(
            "[INSTANCE]",
            "Instance id, the beginning of one, or @latest (default: all instances).",
            complete=complete_instance,
        ),
    ] = None,
    by: Annotated[
        str, opt.option("WHAT", "Group by element, type, worker or process; several separated by commas.")
    ] = "element",
    compare_with: Annotated[
        str | None,
        opt.option(
            "BASE", "Mark differences from an instance, a version (v3, order:3) or a period (7d..1d).", "--compare"
        ),
    ] = None,
    process: opt.Processes = None,
    version: Annotated[int | None, opt.option("N", "Only this version of the process.", panel=opt.FILTER_PANEL)] = None,
    type_: opt.Types = None,
    element: opt.Elements = None,
    worker: opt.Workers = None,
    since: opt.Since = None,
    until: opt.Until = None,
    sort: Annotated[
        str,
        opt.option(
            "ORDER",
            "Sort by total (time spent), visits, live, mean, p50, p90, p99, max, name or change; -NAME for descending.",
            panel=opt.PAGE_PANEL,
        ),
    ] = "-total",
    limit: opt.Limit = None,
    page: opt.Page = 1,
) -> Listing:
    """Show how long elements take, and where the time goes.

    Use it to find slow elements over many instances. flow shows what held up a single one.

    Durations are those of COMPLETED tokens; ~ marks durations that were derived from timestamps. Percentiles are exact
    (nearest rank). Tokens that end before they start and cancelled tokens are counted, but are not part of the
    statistics.

    Tokens that have not ended count until now in SPENT, SHARE and the division of time, marked "so far"; FAILED ones
    count as waiting since they failed. If they prove that a mean, a percentile or MAX will be higher than that of the
    COMPLETED tokens, the lower bound is shown, marked ≥.

    Processing is the time in automatic tasks. Waiting is the time in user, manual and receive tasks, catch and
    boundary events, event-based gateways and joins, and between the end of a token and the start of the next one.
    Overhead is the time in exclusive gateways and in start, end and throw events. Sub-processes and call activities
    are listed separately, because the time of the elements in them is counted already.

    --compare marks significant differences: at least 10 durations on both sides, p < 0.01 in a Mann-Whitney U test
    with Holm's correction, an absolute Cliff's delta of at least 0.33, and a median that changed by at least 5% and
    1 ms. Instances of the base are excluded from the other side. A token belongs to a period if it started before the
    end of the period and changed after its start.
    """
    dimensions = _parse_dimensions(by)
    order = parse_sort_order(sort, SORT_KEYS)
    if order.column == "change" and compare_with is None:
        raise UsageError("--sort change needs --compare.", "Add --compare BASE.")
    where = build_token_filter(app, types=type_, elements=element, workers=worker, since=since, until=until)
    globs = check_patterns(process, "--process")
    if instance is not None and (globs or version is not None):
        raise UsageError("INSTANCE cannot be used with --process or --version.", "Remove one of them.")
    shown = page_range(limit, page, app.out.format)
    engine = app.open_engine(Projection.VISITS)
    query = PerformanceQuery(
        by=dimensions,
        instance_id=None if instance is None else resolve_instance(engine, instance),
        instances=InstanceFilter(processes=globs, version=version),
        where=where,
        compare_with=compare_with,
        order=order,
    )
    report = analyze_performance(engine, query, app.now)
    groups, base = report.groups, report.base
    end = None if shown.limit is None else shown.offset + shown.limit
    listing = performance_listing(
        report.performance,
        groups,
        shown=groups[shown.offset : end],
        about=report.description,
        base=base,
        out=app.out,
        notes=shown.notes(lambda: len(groups), "group"),
        empty=shown.empty if groups else f"No other tokens match than those of the base, {base.name}." if base else "",
    )
    listing.exit_code = report_unread(app, engine)
    return listing


def _parse_dimensions(by: str) -> tuple[str, ...]:
    named = words([by], "--by")
    chosen = tuple(dict.fromkeys(one.strip().lower() for one in named))
    for one in chosen:
        if one not in DIMENSIONS:
            raise UsageError(f"invalid --by '{one}'{suggest(one, DIMENSIONS)}.", f"Valid: {', '.join(DIMENSIONS)}.")
    return chosen


app = command(
    show_performance,
    shared_options=(*opt.ENGINE, *opt.AT, *opt.OUTPUT),
    panel=INSPECT_PANEL,
    examples=(
        "tokctl perf @latest",
        "tokctl perf --process 'order-*' --since 1d --by worker",
        "tokctl perf --process order --version 4 --compare v3",
        "tokctl perf --since 1d --compare 8d..1d -o json",
        "curl $URL | tokctl perf --file -",
    ),
)
