"""The parts of a report about several instances: the list with their problems, and where elements are in the page."""

from __future__ import annotations

from typing import NamedTuple

from tokctl.analysis.debug.runner import TroubledInstance
from tokctl.analysis.performance.groups import VisitGroup
from tokctl.model.instance_status import InstanceStatus
from tokctl.report.figures import Bar
from tokctl.report.texts import show_milliseconds, show_statistic, show_status, show_time
from tokctl.services.report import OverviewReport


class InstanceRow(NamedTuple):
    """An instance, and its worst problem."""

    instance_id: str
    process: str
    status: str
    started: str
    severity: str
    finding: str
    element: str
    problem: str


class PerformanceRow(NamedTuple):
    """The durations at an element, with bars for their ``range``. ``target`` is its id within the page."""

    target: str
    process: str
    name: str
    element_id: str
    visits: int
    live: int
    p50: str
    p90: str
    p99: str
    max: str
    spent: str
    range: str
    bars: list[Bar]


def list_instances(report: OverviewReport) -> list[InstanceRow]:
    """Return the instances: those with problems first, the worst before the others."""
    worst = {one.status.instance.instance_id: one for one in report.debug.worst}
    statuses = {one.instance.instance_id: one for one in report.statuses}
    order = [*worst, *(instance_id for instance_id in statuses if instance_id not in worst)]
    return [_instance_row(statuses[instance_id], worst.get(instance_id)) for instance_id in order]


def _instance_row(status: InstanceStatus, found: TroubledInstance | None) -> InstanceRow:
    instance, token = status.instance, found.tokens[0] if found else None
    return InstanceRow(
        instance_id=instance.instance_id,
        process=(instance.process_id or "?") + ("" if instance.version is None else f" v{instance.version}"),
        status=show_status(status),
        started=show_time(status.started_at),
        severity="" if token is None else token.severity,
        finding="" if token is None else token.finding,
        element="" if token is None else token.match.visit.name,
        problem="" if token is None else token.match.text,
    )


def list_performance(groups: list[VisitGroup]) -> list[PerformanceRow]:
    """Return the durations by element. The bars have one scale, up to the longest duration of all."""
    top = max((group.stats.max or 0.0 for group in groups), default=0.0)
    return [
        PerformanceRow(
            target=f"performance-{number}",
            process=group.process_id or "?",
            name=group.element_name or group.element_id or "?",
            element_id=group.element_id or "?",
            visits=group.visits,
            live=group.live,
            p50=show_statistic(group, "p50"),
            p90=show_statistic(group, "p90"),
            p99=show_statistic(group, "p99"),
            max=show_statistic(group, "max"),
            spent=show_milliseconds(group.spent),
            range=f"p50 {show_milliseconds(group.stats.p50)}, p90 {show_milliseconds(group.stats.p90)}",
            bars=_plot(group, top),
        )
        for number, group in enumerate(groups, 1)
    ]


def _plot(group: VisitGroup, top: float) -> list[Bar]:
    """Return the range of the durations, and in it the part from the median to the 90th percentile."""
    stats = group.stats
    if top <= 0 or stats.min is None or stats.max is None or stats.p50 is None or stats.p90 is None:
        return []
    ranges = ((stats.min, stats.max, "bar-range"), (stats.p50, stats.p90, "bar-other"))
    places = [(100 * max(low, 0) / top, 100 * max(high - low, 0) / top, kind) for low, high, kind in ranges]
    return [Bar(round(min(left, 99), 3), round(max(width, 1), 3), kind) for left, width, kind in places]
