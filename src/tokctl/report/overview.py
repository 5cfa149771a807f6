"""The parts of a report about several instances: the list with their problems, variants, durations, and two sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from tokctl.analysis.debug.rules.base import SEVERITIES
from tokctl.analysis.debug.runner import TroubledInstance
from tokctl.analysis.performance.groups import VisitGroup
from tokctl.analysis.performance.statistics import DurationStatistics, compute_statistics
from tokctl.model.durations import format_milliseconds
from tokctl.model.states import is_final
from tokctl.report.figures import Bar, DurationScale, Tick
from tokctl.report.texts import (
    UNKNOWN,
    show_milliseconds,
    show_process,
    show_statistic,
    show_status,
    tell_omitted,
)
from tokctl.services.report import MAX_VARIANTS, OverviewReport, ReportBase
from tokctl.text import count

MAX_ROWS = 2_000
MAX_INCIDENTS = 50


class InstanceRow(NamedTuple):
    """An instance, and its worst problem. ``address`` is where its details are; empty without them."""

    instance_id: str
    address: str
    business_key: str
    process: str
    status: str
    started: datetime | None
    took: str
    severity: str
    finding: str
    element: str
    problem: str


class IncidentSummary(NamedTuple):
    """Incidents with the same error at the same element; the example is the oldest one."""

    element: str
    error: str
    incidents: int
    instances: int
    since: datetime | None
    example: str
    address: str


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


class PerformanceTable(NamedTuple):
    """The durations by element, on one scale."""

    rows: list[PerformanceRow]
    ticks: list[Tick]


class VariantRow(NamedTuple):
    """A variant: its elements by name and id. ``shares`` has the part of the instances, 0 to 1, of each side."""

    process: str
    elements: list[tuple[str, str]]
    ended: bool
    instances: list[int]
    shares: list[float]
    example: str
    address: str


class FactRow(NamedTuple):
    """A figure of the instances, and that of the base."""

    name: str
    value: str
    base: str


class ChangeRow(NamedTuple):
    """The durations at an element on both sides, and what the comparison says."""

    process: str
    name: str
    element_id: str
    visits: int
    base_visits: int
    p50: str
    base_p50: str
    p90: str
    base_p90: str
    change: str
    verdict: str
    bars: list[Bar]
    base_bars: list[Bar]


VERDICT_TEXTS = {
    "slower": "slower",
    "faster": "faster",
    "same": "none that matters",
    "few": "too few visits",
    "new": "not in the base",
    "gone": "only in the base",
}

Address = Callable[[str], str]
"""Where the details of an instance are, by its id; empty without them."""


def list_instances(report: OverviewReport, address: Address, now: datetime) -> tuple[list[InstanceRow], str]:
    """Return the instances, those with problems first, and a sentence about those left out."""
    worst = {one.status.instance.instance_id: one for one in report.debug.worst}
    rows = []
    for status in report.statuses[:MAX_ROWS]:
        instance, took = status.instance, status.elapsed(now)
        severity, finding, element, problem = _tell_worst(worst.get(instance.instance_id))
        live = status.ended_at is None and not is_final(status.status or "")
        rows.append(
            InstanceRow(
                instance_id=instance.instance_id,
                address=address(instance.instance_id),
                business_key=instance.business_key or "",
                process=show_process(status),
                status=show_status(status),
                started=status.started_at,
                took=UNKNOWN if took is None else format_milliseconds(took.total_seconds() * 1000) + "…" * live,
                severity=severity,
                finding=finding,
                element=element,
                problem=problem,
            )
        )
    return rows, tell_omitted(rows, len(report.statuses), "instance")


def _tell_worst(found: TroubledInstance | None) -> tuple[str, str, str, str]:
    if found is None:
        return "", "", "", ""
    token = found.tokens[0]
    return token.severity, token.finding, token.match.visit.name, token.match.text


def list_incidents(report: OverviewReport, address: Address) -> tuple[list[IncidentSummary], str]:
    """Return the incidents, the commonest first, and a sentence about those left out."""
    rows = [
        IncidentSummary(
            element=element,
            error=group.value or UNKNOWN,
            incidents=group.incidents,
            instances=group.instances,
            since=group.since,
            example=group.instance_id,
            address=address(group.instance_id),
        )
        for element, group in report.incidents[:MAX_INCIDENTS]
    ]
    return rows, tell_omitted(rows, len(report.incidents), "group")


def list_performance(groups: Sequence[VisitGroup], prefix: str = "") -> PerformanceTable:
    """Return the durations by element. The bars have one scale for all."""
    scale = DurationScale(stats for group in groups for stats in (group.stats, group.at_least))
    rows = [
        PerformanceRow(
            target=f"{prefix}performance-{number}",
            process=group.process_id or UNKNOWN,
            name=group.element_name or group.element_id or UNKNOWN,
            element_id=group.element_id or UNKNOWN,
            visits=group.visits,
            live=group.live,
            p50=show_statistic(group, "p50"),
            p90=show_statistic(group, "p90"),
            p99=show_statistic(group, "p99"),
            max=show_statistic(group, "max"),
            spent=_show_spent(group),
            range=_describe_range(group),
            bars=scale.plot(group.stats, group.at_least),
        )
        for number, group in enumerate(groups, 1)
    ]
    return PerformanceTable(rows, scale.ticks)


def _show_spent(group: VisitGroup) -> str:
    """Return the total of the known durations; ``≥`` if visits have not ended. Nothing if no duration is known."""
    if not group.stats.count and not group.open:
        return ""
    return "≥ " * bool(group.open) + show_milliseconds(group.spent)


def _describe_range(group: VisitGroup) -> str:
    names = ("min", "p50", "p90", "p99", "max")
    shown = {name: show_statistic(group, name) for name in names}
    return ", ".join(f"{name} {text}" for name, text in shown.items() if text)


def list_variants(report: OverviewReport, base: ReportBase | None, address: Address) -> list[VariantRow]:
    """Return the commonest variants; with a base, those of both sides, with both shares."""
    names = {
        (group.process_id, group.element_id): group.element_name
        for one in (report, base.body if base else report)
        for group in one.performance.groups
    }
    sides = [report.variants, *([base.body.variants] if base else [])]
    common = dict.fromkeys(
        (one.process_id, one.elements, one.ended, one.example) for one in sides[0].most_common(MAX_VARIANTS)
    )
    known = {key[:3] for key in common}
    for side in sides[1:]:
        for one in side.most_common(MAX_VARIANTS):
            if (one.process_id, one.elements, one.ended) not in known:
                common[one.process_id, one.elements, one.ended, one.example] = None
    return [
        VariantRow(
            process=process_id or UNKNOWN,
            elements=[(names.get((process_id, element)) or element, element) for element in elements],
            ended=ended,
            instances=[side.count(process_id, elements, ended=ended) for side in sides],
            shares=[side.share(process_id, elements, ended=ended) for side in sides],
            example=example,
            address=address(example),
        )
        for process_id, elements, ended, example in common
    ]


def list_facts(body: OverviewReport, base: OverviewReport, now: datetime) -> list[FactRow]:
    """Return figures of the instances and of the base, side by side."""
    statuses = Counter(show_status(status) for one in (body, base) for status in one.statuses)
    sides = [_measure(one, now, [name for name, _ in statuses.most_common()]) for one in (body, base)]
    return [FactRow(name, value, sides[1][name]) for name, value in sides[0].items()]


def _measure(body: OverviewReport, now: datetime, named: Sequence[str]) -> dict[str, str]:
    total = len(body.statuses)
    ended = [status for status in body.statuses if is_final(status.status or "")]
    times = [one.total_seconds() * 1000 for status in ended if (one := status.elapsed(now)) is not None]
    took = compute_statistics(times)
    statuses = Counter(show_status(status) for status in body.statuses)
    starts = [status.started_at for status in body.statuses if status.started_at is not None]

    def share(number: int) -> str:
        return f"{number:,} ({number / total:.1%})" if total else f"{number:,}"

    return {
        "Instances": f"{total:,}",
        "Started": f"{_day(min(starts))} to {_day(max(starts))}" if starts else UNKNOWN,
        "With problems": share(body.debug.troubled_instances),
        "With FAILED tokens": share(sum(status.failed_tokens > 0 for status in body.statuses)),
        **{f"Status {name}": share(statuses[name]) for name in named},
        "Median time of ended instances": show_milliseconds(took.p50) or "-",
        "p90 of ended instances": show_milliseconds(took.p90) or "-",
        "Longest ended instance": show_milliseconds(took.max) or "-",
        "Variants": f"{body.variants.distinct:,}",
    }


def _day(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M}"


def list_changes(base: ReportBase) -> tuple[list[ChangeRow], list[Tick]]:
    """Return the durations on both sides, by element, the differences that matter first."""
    both = [(group, group.comparison) for group in base.groups]
    several = [stats for group, _ in both for stats in (group.stats, group.at_least)] + [
        found.base for _, found in both if found
    ]
    scale = DurationScale([*several, *(group.stats for group in base.only_in_base)])
    rows = [
        _change_row(group, scale, found.base, found.verdict, found.change) for group, found in both if found is not None
    ]
    rows += [_change_row(group, scale, group.stats, "gone", None) for group in base.only_in_base]
    order = list(VERDICT_TEXTS)
    rows.sort(key=lambda row: order.index(row.verdict))
    return rows, scale.ticks


def _change_row(
    group: VisitGroup, scale: DurationScale, before: DurationStatistics, verdict: str, change: float | None
) -> ChangeRow:
    only_base = verdict == "gone"
    sign = "" if change is None else "+" if change > 0 else "−" if change < 0 else "±"
    return ChangeRow(
        process=group.process_id or UNKNOWN,
        name=group.element_name or group.element_id or UNKNOWN,
        element_id=group.element_id or UNKNOWN,
        visits=0 if only_base else group.stats.count,
        base_visits=before.count,
        p50="" if only_base else show_statistic(group, "p50"),
        base_p50=show_milliseconds(before.p50),
        p90="" if only_base else show_statistic(group, "p90"),
        base_p90=show_milliseconds(before.p90),
        change="" if change is None else sign + format_milliseconds(abs(change)),
        verdict=verdict,
        bars=[] if only_base else scale.plot(group.stats, group.at_least),
        base_bars=scale.plot(before),
    )


def tell_unknown(report: OverviewReport) -> list[str]:
    """Return sentences about what is derived or unknown."""
    unordered = report.variants.unordered
    derived = sum(status.status_derived for status in report.statuses)
    without = f"{count(unordered, 'instance')} without a known order of elements not counted as a variant."
    return [without] * bool(unordered) + [
        f"The status of {count(derived, 'instance')} is derived from tokens (~)."
    ] * bool(derived)


def tell_overview(report: OverviewReport) -> list[str]:
    """Return what a reader needs to know first, as sentences."""
    debug = report.debug
    statuses = Counter(show_status(status) for status in report.statuses)
    failed = sum(status.failed_tokens for status in report.statuses)
    listed = ", ".join(f"{number:,} {name}" for name, number in statuses.most_common())
    told = [f"{count(len(report.statuses), 'instance')}: {listed}."]
    if debug.troubled_instances:
        of = f"{count(debug.troubled_instances, 'instance')} of {debug.instances:,} with problems"
        severities = ", ".join(
            f"{debug.severities[name]:,} {name}" for name in reversed(SEVERITIES) if name in debug.severities
        )
        told.append(f"{of}, by the worst: {severities}.")
    else:
        told.append(f"No problems found ({count(len(debug.rules), 'rule')} checked).")
    if failed:
        told.append(f"{count(failed, 'token')} FAILED.")
    return told
