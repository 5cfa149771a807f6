"""``tokctl perf``."""

from __future__ import annotations

import re
from collections.abc import Callable
from glob import escape
from typing import Annotated

import msgspec
import typer
from msgspec import Struct

from tokctl.cli import options as opt
from tokctl.cli.app import SEE, App, command
from tokctl.cli.complete import complete_instance
from tokctl.cli.filters import patterns, period, token_filter, words
from tokctl.cli.many import shown_progress, tell_unread
from tokctl.cli.paging import part
from tokctl.engines.base import Reading
from tokctl.engines.ids import resolve_instance
from tokctl.errors import NotFoundError, UsageError
from tokctl.process.comparing import compare, only_in
from tokctl.process.engine import Engine
from tokctl.process.model import Instance
from tokctl.process.performance import DIMENSIONS, Group, Performance
from tokctl.process.query import InstanceFilter, Order, TokenFilter, parse_order, suggest
from tokctl.render.human import count
from tokctl.render.result import Listing
from tokctl.render.views.perf import Base, performance_listing

ORDERS = ("total", "visits", "live", "mean", "p50", "p90", "p99", "max", "name", "change")
_VERSION = re.compile(r"(?:(?P<process>.+):)?v?(?P<version>\d+)")


class _Look(Struct, frozen=True, kw_only=True):
    """What is looked at: instances, tokens of theirs, and which instances are left out all the same."""

    instances: InstanceFilter | str
    where: TokenFilter
    without: Callable[[Instance], bool] = lambda _: False
    words: str = ""


def show_performance(
    app: App,
    instance: Annotated[
        str | None,
        typer.Argument(
            metavar="[INSTANCE]",
            autocompletion=complete_instance,
            show_default=False,
            help="An instance: its id, the beginning of it, or @latest. Left out, all there are.",
        ),
    ] = None,
    by: Annotated[
        str,
        typer.Option(
            help="What to group by: element, type, worker, process, or several between commas.", metavar="WHAT"
        ),
    ] = "element",
    compare_with: Annotated[
        str | None,
        typer.Option(
            "--compare",
            metavar="BASE",
            help="Mark what differs from an instance, a version (v3, order:3) or a period (7d..1d).",
        ),
    ] = None,
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
    version: Annotated[
        int | None, typer.Option(help="Only this version of the process.", metavar="N", rich_help_panel="Which ones")
    ] = None,
    type_: opt.Types = None,
    element: opt.Elements = None,
    worker: opt.Workers = None,
    since: opt.Since = None,
    until: opt.Until = None,
    sort: Annotated[
        str,
        typer.Option(
            help="total, visits, live, mean, p50, p90, p99, max, name or change; '-' in front for the reverse.",
            metavar="ORDER",
            rich_help_panel="In which order, how many",
        ),
    ] = "-total",
    limit: opt.Limit = None,
    page: opt.Page = 1,
) -> Listing:
    """Show how long things take, and where the time goes.

    Durations are those of COMPLETED visits, zero included; ~ marks what rests on durations derived from
    times. Percentiles are exact, by nearest rank. Visits that ended before they began are counted, but
    are no part of the figures; so are live, failed and cancelled ones.

    Time is divided by where it passed. Processing: in tasks that run by themselves. Waiting: in user,
    manual and receive tasks, catch and boundary events, event-based gateways and those that join
    (parallel, inclusive, complex), and from the end of a token to the beginning of one that came of it.
    Overhead: in exclusive gateways, and in start, end and throw events. Sub-processes and call activities
    are told apart: what lies in them counts already.

    --compare marks differences that neither chance nor spread accounts for: 10 durations or more on both
    sides, a Mann-Whitney U test (p < 0.01 after Holm's correction), |Cliff's delta| of at least 0.33, and
    a median that moved by 5% and 1 ms at least. Instances of the base are left out of the other side;
    a token lies in a period when it began before its end and changed after its beginning.
    """  # fmt: skip
    dimensions = _dimensions(by)
    order = parse_order(sort, ORDERS)
    if order.column == "change" and compare_with is None:
        raise UsageError("--sort change needs something to compare with.", "Add --compare BASE.")
    where = token_filter(app, types=type_, elements=element, workers=worker, since=since, until=until)
    globs = patterns(process, "--process")
    if instance is not None and (globs or version is not None):
        raise UsageError("INSTANCE and --process or --version contradict each other.", "Leave one out.")
    shown = part(limit, page, app.out.format)
    engine = app.open_engine(Reading.VISITS)
    look = _Look(
        instances=InstanceFilter(processes=globs, version=version) if instance is None else
        resolve_instance(engine, instance),
        where=where,
    )  # fmt: skip
    base = None
    if compare_with is not None:
        look, base = _against(app, engine, look, compare_with)
    performance = _collect(engine, look, dimensions)
    compared = None
    groups = performance.groups()
    if base is not None:
        other = _collect(engine, base, dimensions)
        if not other.instances:
            raise NotFoundError(f"nothing to compare with: no token of {base.words} matches.",
                                "See 'tokctl instances list'.")  # fmt: skip
        groups = compare(performance, other)
        named = base.words if isinstance(base.instances, str) else f"{base.words}: {_about(other)}"
        compared = Base(named, other, only_in(other, performance))
    groups = _sorted(groups, order)
    end = None if shown.limit is None else shown.offset + shown.limit
    listing = performance_listing(
        performance,
        groups,
        shown=groups[shown.offset : end],
        about=_about(performance, look.instances),
        base=compared,
        out=app.out,
        notes=shown.notes(lambda: len(groups), "group"),
        empty=shown.empty if groups else
        f"No tokens match but those of {base.words}, which is what to compare with." if base else "",
    )  # fmt: skip
    listing.exit_code = tell_unread(app, engine)
    return listing


def _dimensions(by: str) -> tuple[str, ...]:
    named = words([by], "--by")
    chosen = tuple(dict.fromkeys(one.strip().lower() for one in named))
    for one in chosen:
        if one not in DIMENSIONS:
            raise UsageError(f"cannot group by '{one}'{suggest(one, DIMENSIONS)}.", f"Valid: {', '.join(DIMENSIONS)}.")
    return chosen


def _collect(engine: Engine, look: _Look, by: tuple[str, ...]) -> Performance:
    performance = Performance(by)
    with shown_progress(engine):
        for instance, stays in engine.stays(look.instances, look.where):
            if not look.without(instance):
                performance.add(instance.instance_id, instance.process_id, stays)
    return performance


def _about(performance: Performance, instances: InstanceFilter | str = "") -> str:
    """What was looked at, in words."""
    processes = [process for process in performance.processes if process is not None]
    name = processes[0] if len(performance.processes) == 1 and processes else ""
    if isinstance(instances, str) and instances:
        return f"{name or 'process unknown'}  {instances}"
    many = count(performance.instances, "instance")
    if name or performance.instances == 0:
        return f"{many} of {name}" if name else many
    return f"{many} of {count(len(performance.processes), 'process', 'processes')}"


def _sorted(groups: list[Group], order: Order) -> list[Group]:
    """Groups in order; equal ones by their total, what is unknown first (and last when descending)."""

    def key(group: Group) -> tuple[bool, object]:
        value: object
        if order.column == "name":
            value = (group.element_name or group.element_id or group.element_type or "", group.worker_id or "",
                     group.process_id or "")  # fmt: skip
        elif order.column == "change":
            value = group.comparison.change if group.comparison else None
        elif order.column in {"visits", "live"}:
            value = getattr(group, order.column)
        else:
            value = getattr(group.figures, order.column)
        return (value is not None, value if value is not None else 0)

    return sorted(groups, key=key, reverse=order.descending)


# --- what to compare with -------------------------------------------------------------------------


def _against(app: App, engine: Engine, look: _Look, given: str) -> tuple[_Look, _Look]:
    """Return the two sides of a comparison: what was asked for, without the base, and the base."""
    known = engine.instance_ids(given, 1) == [given] if given else False
    if not known and ".." in given:
        return _against_period(app, engine, look, given)
    if not known and (match := _VERSION.fullmatch(given)):
        return _against_version(engine, look, match["process"], int(match["version"]))
    base = resolve_instance(engine, given)
    if look.instances == base:
        raise UsageError(f"'{given}' is what is to be compared.", "Name another instance.")
    return (
        msgspec.structs.replace(look, without=lambda one: one.instance_id == base),
        msgspec.structs.replace(look, instances=base, words=f"instance {base}"),
    )


def _same_process(engine: Engine, look: _Look) -> tuple[InstanceFilter, Callable[[Instance], bool]]:
    """The instances to find a base among: the same as asked for, or others of the instance's process."""
    if isinstance(look.instances, InstanceFilter):
        return look.instances, look.without
    asked = engine.instance(look.instances).instance
    process = asked.process_id

    def without(one: Instance) -> bool:
        return one.instance_id == asked.instance_id or one.process_id != process

    return InstanceFilter(processes=(escape(process),) if process else ()), without


def _against_version(engine: Engine, look: _Look, process: str | None, version: int) -> tuple[_Look, _Look]:
    among, without = _same_process(engine, look)
    if process is not None:
        among, without = InstanceFilter(processes=(escape(process),)), look.without

    def ours(one: Instance) -> bool:
        found = one.version == version and process in {None, one.process_id}
        return found and isinstance(look.instances, InstanceFilter)

    among = msgspec.structs.replace(among, version=version)
    named = f"{process} version {version}" if process else f"version {version}"
    return (
        msgspec.structs.replace(look, without=ours),
        msgspec.structs.replace(look, instances=among, without=without, words=named),
    )


def _against_period(app: App, engine: Engine, look: _Look, given: str) -> tuple[_Look, _Look]:
    first, _, last = given.partition("..")
    if not first.strip() and not last.strip():
        raise UsageError("--compare .. names no period.", "Give one such as 7d..1d or 2025-01-01..2025-01-08.")
    begin, end = period(app, first if first.strip() else None, last if last.strip() else None)
    among, without = _same_process(engine, look)
    where = look.where
    if isinstance(look.instances, InstanceFilter) and where.since is None and where.until is None:
        # What came after the base, or before it where it goes on until now.
        where = msgspec.structs.replace(where, since=end, until=begin if end is None else None)
    return (
        msgspec.structs.replace(look, where=where),
        msgspec.structs.replace(
            look, instances=among, without=without, words=given.strip(),
            where=msgspec.structs.replace(look.where, since=begin, until=end),
        ),
    )  # fmt: skip


app = command(
    show_performance,
    takes=(*opt.ENGINE, *opt.AT, *opt.OUTPUT),
    panel=SEE,
    examples=(
        "tokctl perf @latest",
        "tokctl perf --process 'order-*' --since 1d --by worker",
        "tokctl perf --process order --version 4 --compare v3",
        "tokctl perf --since 1d --compare 8d..1d -o json",
        "curl $URL | tokctl perf --file -",
    ),
)
