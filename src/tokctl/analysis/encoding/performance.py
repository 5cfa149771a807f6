"""The JSON document of a performance, in parts."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from tokctl.analysis.performance.comparison import CRITERION
from tokctl.analysis.performance.durations import Performance
from tokctl.analysis.performance.groups import UNUSUAL, GroupComparison, TimeBreakdown, VisitGroup
from tokctl.analysis.performance.statistics import DurationStatistics
from tokctl.analysis.performance.visits import VisitSample
from tokctl.documents.base import build_document
from tokctl.documents.performance import (
    BaseFigures,
    ComparisonDocument,
    GroupComparisonDocument,
    GroupDocument,
    LowerBounds,
    SampleContext,
    SampleToken,
    ThroughputBucket,
    ThroughputDocument,
    TimeSplit,
)
from tokctl.model.instances import summarize
from tokctl.model.states import CANCELLED, FAILED, FINAL_STATES
from tokctl.model.times import format_time, from_micros


def performance_head(performance: Performance, about: str) -> dict[str, Any]:
    """Return the figures of all visits: the members before the groups. ``about`` describes the input."""
    total, measured = performance.total_and_count()
    so_far, open_visits = performance.total_and_count_so_far()
    summary = summarize(performance.counts())
    return {
        "totalTokens": summary.total_tokens,
        "avgExecutionTime": performance.mean or 0,
        "fastestToken": _encode_sample(performance.fastest),
        "slowestToken": _encode_sample(performance.slowest),
        "retryAnalysis": {str(used): number for used, number in performance.retries.items()},
        "typePerformance": summary.element_types,
        "about": about,
        "untold_retries": performance.unknown_retries,
        "instances": performance.instances,
        "total_tokens": summary.total_tokens,
        "token_states": {state: number for state, number in summary.token_states.items() if number},
        "live_tokens": sum(n for state, n in summary.token_states.items() if state not in FINAL_STATES),
        "first_created_at": format_time(from_micros(performance.first)),
        "last_finished_at": format_time(from_micros(performance.last)),
        "durations": measured,
        "total_ms": total,
        "mean_ms": performance.mean,
        **{name: performance.total(name) for name in UNUSUAL},
        "percentiles": "exact, nearest rank",
        "time": _encode_time(performance.breakdown()),
        "open": open_visits,
        "so_far_ms": so_far,
        "time_so_far": _encode_time(performance.breakdown_so_far()),
        "longest_open": _encode_sample(performance.longest_open),
        "by": list(performance.by),
    }


def encode_group(group: VisitGroup) -> GroupDocument:
    """Return a group of visits; times in ms."""
    return build_document(
        GroupDocument,
        group,
        time=group.kind,
        failed=group.states.get(FAILED, 0),
        cancelled=group.states.get(CANCELLED, 0),
        count=group.stats.count,
        **_statistics_ms(group.stats),
        min_ms=group.stats.min,
        waited_ms=group.waited,
        so_far_ms=group.so_far,
        spent_ms=group.spent,
        at_least=_encode_bounds(group.at_least) if group.open else None,
        comparison=UNSET if group.comparison is None else _encode_group_comparison(group.comparison),
    )


def encode_comparison(words: str, base: Performance, only_in_base: list[VisitGroup]) -> ComparisonDocument:
    """Return the base of a comparison: its description (``words``) and the groups that only it has."""
    return ComparisonDocument(
        base=words,
        instances=base.instances,
        total_tokens=summarize(base.counts()).total_tokens,
        durations=base.total_and_count()[1],
        mean_ms=base.mean,
        criterion=CRITERION,
        only_in_base=[encode_group(group) for group in only_in_base],
    )


def encode_throughput(performance: Performance) -> ThroughputDocument:
    """Return the number of tokens that ended in each period."""
    return ThroughputDocument(
        bucket_ms=performance.finished.width / 1000,
        buckets=[
            ThroughputBucket(begin=format_time(from_micros(begin)), finished=number)
            for begin, number in performance.finished.buckets()
        ],
    )


def _encode_sample(sample: VisitSample | None) -> SampleToken | None:
    if sample is None:
        return None
    return build_document(
        SampleToken,
        sample,
        created_at=format_time(from_micros(sample.created)),
        completed_at=format_time(from_micros(sample.finished)),
        execution_context=build_document(
            SampleContext, sample, duration_ms=None if sample.derived else sample.duration_ms
        ),
    )


def breakdown_ms(breakdown: TimeBreakdown) -> dict[str, float]:
    """Return the time breakdown as members of a document, without its total."""
    parts = {f"{name}_ms": getattr(breakdown, name) for name in ("processing", "waiting", "overhead", "unknown")}
    return parts | {"between_tokens_ms": breakdown.between, "scopes_ms": breakdown.scope}


def _encode_group_comparison(comparison: GroupComparison) -> GroupComparisonDocument:
    base = BaseFigures(count=comparison.base.count, **_statistics_ms(comparison.base))
    return build_document(GroupComparisonDocument, comparison, change_ms=comparison.change, base=base)


def _encode_time(breakdown: TimeBreakdown) -> TimeSplit:
    return TimeSplit(total_ms=breakdown.total, **breakdown_ms(breakdown))


def _encode_bounds(stats: DurationStatistics) -> LowerBounds:
    figures = _statistics_ms(stats)
    return LowerBounds(**{name: figures[name] for name in LowerBounds.__struct_fields__})


def _statistics_ms(stats: DurationStatistics) -> dict[str, Any]:
    return {f"{name}_ms": getattr(stats, name) for name in ("total", "mean", "p50", "p90", "p99", "max")}
