"""Measures how long elements take, and compares two sets of instances: for ``tokctl perf``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from glob import escape

from msgspec import Struct
from msgspec.structs import replace

from tokctl.analysis.performance.comparison import compare, find_groups_only_in
from tokctl.analysis.performance.durations import Performance
from tokctl.analysis.performance.groups import VisitGroup
from tokctl.engines.protocol import Engine
from tokctl.errors import NotFoundError, UsageError
from tokctl.model.filters import ALL_TOKENS, InstanceFilter, SortOrder, TokenFilter
from tokctl.model.instances import Instance
from tokctl.services.comparison_base import ComparedPeriod, ComparedVersion, parse_base
from tokctl.text import count

SORT_KEYS = ("total", "visits", "live", "mean", "p50", "p90", "p99", "max", "name", "change")
DEFAULT_ORDER = SortOrder("total", descending=True)


class PerformanceQuery(Struct, frozen=True, kw_only=True):
    """What to measure.

    ``by`` holds the dimensions that visits are grouped by (``DIMENSIONS``). ``instance_id`` is the only instance, or
    else ``instances`` selects them. ``where`` selects tokens. ``compare_with`` names the base of a comparison: an
    instance, a version (``v3``, ``order:3``) or a period (``7d..1d``). ``order`` sorts the groups by one of SORT_KEYS.
    """

    by: tuple[str, ...] = ("element",)
    instance_id: str | None = None
    instances: InstanceFilter = InstanceFilter()
    where: TokenFilter = ALL_TOKENS
    compare_with: str | None = None
    order: SortOrder = DEFAULT_ORDER


class ComparisonBase(Struct, frozen=True):
    """The base of a comparison: its name, a description, its figures, and the groups that only it has."""

    name: str
    description: str
    performance: Performance
    only_in_base: list[VisitGroup]


class PerformanceReport(Struct, frozen=True, kw_only=True):
    """The figures, the groups in order (each with its comparison, if there is a base), and what was measured.

    Durations are in milliseconds.
    """

    performance: Performance
    groups: list[VisitGroup]
    description: str
    base: ComparisonBase | None = None


def analyze_performance(engine: Engine, query: PerformanceQuery, now: datetime) -> PerformanceReport:
    """Measure how long visits took, and compare them with a base if the query names one.

    Open visits count until ``now``, and a period given as ages is counted from it.

    Raises:
        NotFoundError: the base has no matching token, or there is no such instance.
        UsageError: the base is invalid.
    """
    subject = _Selection(
        instances=query.instances if query.instance_id is None else query.instance_id, where=query.where
    )
    base = None
    if query.compare_with is not None:
        subject, base = _split_comparison(engine, subject, query.compare_with, now)
    performance = _measure(engine, subject, query.by, now)
    description = _describe_selection(performance, subject.instances)
    if base is None:
        return PerformanceReport(
            performance=performance, groups=_sort_groups(performance.groups(), query.order), description=description
        )
    other = _measure(engine, base, query.by, now)
    if not other.instances:
        raise NotFoundError(
            f"no baseline to compare with: no token of {base.words} matches.", "See 'tokctl instances list'."
        )
    groups = compare(performance, other)
    described = base.words if isinstance(base.instances, str) else f"{base.words}: {_describe_selection(other)}"
    return PerformanceReport(
        performance=performance,
        groups=_sort_groups(groups, query.order),
        description=description,
        base=ComparisonBase(base.words, described, other, find_groups_only_in(other, performance)),
    )


class _Selection(Struct, frozen=True, kw_only=True):
    """One side of a comparison: instances, their tokens, and excluded instances."""

    instances: InstanceFilter | str
    where: TokenFilter
    excludes: Callable[[Instance], bool] = lambda _: False
    words: str = ""


def _measure(engine: Engine, selection: _Selection, by: tuple[str, ...], now: datetime) -> Performance:
    performance = Performance(by, now)
    for instance, visit_batches in engine.visit_batches(selection.instances, selection.where):
        if not selection.excludes(instance):
            performance.add(instance.instance_id, instance.process_id, visit_batches)
    return performance


def _describe_selection(performance: Performance, instances: InstanceFilter | str = "") -> str:
    """Return a description of what was measured."""
    processes = [process for process in performance.processes if process is not None]
    name = processes[0] if len(performance.processes) == 1 and processes else ""
    if isinstance(instances, str) and instances:
        return f"{name or 'process unknown'}  {instances}"
    many = count(performance.instances, "instance")
    if name or performance.instances == 0:
        return f"{many} of {name}" if name else many
    return f"{many} of {count(len(performance.processes), 'process', 'processes')}"


def _sort_groups(groups: list[VisitGroup], order: SortOrder) -> list[VisitGroup]:
    """Sort groups; equal ones stay ordered by total. Unknown values come first, or last if descending."""

    def key(group: VisitGroup) -> tuple[bool, object]:
        value: object
        if order.column == "name":
            value = (
                group.element_name or group.element_id or group.element_type or "",
                group.worker_id or "",
                group.process_id or "",
            )
        elif order.column == "change":
            value = group.comparison.change if group.comparison else None
        elif order.column in {"visits", "live"}:
            value = getattr(group, order.column)
        elif order.column == "total":
            value = group.spent
        else:
            bound = group.bound(order.column)
            value = getattr(group.stats, order.column) if bound is None else bound
        return (value is not None, value if value is not None else 0)

    return sorted(groups, key=key, reverse=order.descending)


# --- what to compare with -------------------------------------------------------------------------


def _split_comparison(
    engine: Engine, selection: _Selection, given: str, now: datetime
) -> tuple[_Selection, _Selection]:
    """Return the two sides of a comparison: the selection without the base, and the base."""
    base = parse_base(engine, given, now)
    if isinstance(base, ComparedPeriod):
        return _split_by_period(engine, selection, base)
    if isinstance(base, ComparedVersion):
        return _split_by_version(engine, selection, base)
    if selection.instances == base:
        raise UsageError(f"cannot compare '{given}' with itself.", "Give another instance.")
    return (
        replace(selection, excludes=lambda one: one.instance_id == base),
        replace(selection, instances=base, words=f"instance {base}"),
    )


def _base_candidates(engine: Engine, selection: _Selection) -> tuple[InstanceFilter, Callable[[Instance], bool]]:
    """Return where to search for a base: the selected instances, or the others of the instance's process."""
    if isinstance(selection.instances, InstanceFilter):
        return selection.instances, selection.excludes
    asked = engine.instance(selection.instances).instance
    process = asked.process_id

    def excludes(one: Instance) -> bool:
        return one.instance_id == asked.instance_id or one.process_id != process

    return InstanceFilter(processes=(escape(process),) if process else ()), excludes


def _split_by_version(engine: Engine, selection: _Selection, base: ComparedVersion) -> tuple[_Selection, _Selection]:
    among, excludes = _base_candidates(engine, selection)
    process, version = base.process_id, base.version
    if process is not None:
        among, excludes = InstanceFilter(processes=(escape(process),)), selection.excludes

    def is_in_base(one: Instance) -> bool:
        found = one.version == version and process in {None, one.process_id}
        return found and isinstance(selection.instances, InstanceFilter)

    among = replace(among, version=version)
    return (
        replace(selection, excludes=is_in_base),
        replace(selection, instances=among, excludes=excludes, words=base.name),
    )


def _split_by_period(engine: Engine, selection: _Selection, base: ComparedPeriod) -> tuple[_Selection, _Selection]:
    begin, end = base.begin, base.end
    among, excludes = _base_candidates(engine, selection)
    where = selection.where
    if isinstance(selection.instances, InstanceFilter) and where.since is None and where.until is None:
        # The time after the base; before it, if the base extends to the present.
        where = replace(where, since=end, until=begin if end is None else None)
    return (
        replace(selection, where=where),
        replace(
            selection,
            instances=among,
            excludes=excludes,
            words=base.name,
            where=replace(selection.where, since=begin, until=end),
        ),
    )
