"""Durations, and where the time goes, as JSON (``tokctl perf``).

The camelCase members, ``execution_context`` of the fastest and slowest token, and ``element_type`` are names of the
documented API; all others are snake_case.
"""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType, field

from tokctl.documents.base import Count, Time


class SampleContext(Struct, kw_only=True, frozen=True):
    """The reported part of a sample's execution context."""

    worker_id: str | None
    retries_used: int | None
    duration_ms: float | None


class SampleToken(Struct, kw_only=True, frozen=True):
    """The fastest, the slowest or the longest open token; ``derived``: its duration was computed from its times.

    The duration of an open token is its time so far; of a FAILED one, since it failed.
    """

    token_id: str
    instance_id: str
    process_id: str | None
    element_id: str
    element_type: str | None
    element_name: str | None
    state: str
    created_at: Time | None
    completed_at: Time | None
    execution_context: SampleContext
    duration_ms: float
    derived: bool


class TimeSplit(Struct, kw_only=True, frozen=True):
    """Where the time went. ``between_tokens_ms`` is part of waiting; ``scopes_ms`` is not part of the total."""

    processing_ms: float
    waiting_ms: float
    overhead_ms: float
    unknown_ms: float
    total_ms: float
    between_tokens_ms: float
    scopes_ms: float


class BaseFigures(Struct, kw_only=True, frozen=True):
    """The same group's durations in the base of a comparison."""

    count: Count
    total_ms: float
    mean_ms: float | None
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    max_ms: float | None


class LowerBounds(Struct, kw_only=True, frozen=True):
    """Statistics of COMPLETED and open visits, each open one with its time so far: they will be at least this long."""

    mean_ms: float | None
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    max_ms: float | None


class GroupComparisonDocument(Struct, kw_only=True, frozen=True):
    """A group compared with the same group of the base. ``effect`` is Cliff's delta, positive for slower."""

    verdict: str
    change_ms: float | None
    effect: float | None
    p_value: float | None
    base: BaseFigures


class GroupDocument(Struct, kw_only=True, frozen=True):
    """A group of visits. ``share`` (0 to 1) is their part of all durations; percentiles are exact.

    Figures are those of COMPLETED visits, except these: ``open`` is the number of visits that have not ended and whose
    times are known, ``so_far_ms`` their time so far, ``spent_ms`` that and ``total_ms`` together, ``spent_share`` (0 to
    1) its part of what all groups spent. ``at_least`` is null if no visit is open.
    """

    process_id: str | None
    element_id: str | None
    element_type: str | None
    element_name: str | None
    worker_id: str | None
    time: str | None
    visits: Count
    completed: Count
    live: Count
    failed: Count
    cancelled: Count
    states: dict[str, Count]
    count: Count
    total_ms: float
    share: float | None
    mean_ms: float | None
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    min_ms: float | None
    max_ms: float | None
    derived: Count
    negative: Count
    unmeasured: Count
    waited_ms: float
    open: Count
    so_far_ms: float
    spent_ms: float
    spent_share: float | None
    at_least: LowerBounds | None
    comparison: GroupComparisonDocument | UnsetType = UNSET


class ComparisonDocument(Struct, kw_only=True, frozen=True):
    """The base of a comparison, and the groups that only the base has."""

    base: str
    instances: Count
    total_tokens: Count
    durations: Count
    mean_ms: float | None
    criterion: str
    only_in_base: list[GroupDocument]


class ThroughputBucket(Struct, kw_only=True, frozen=True):
    """The number of tokens that ended in a period."""

    begin: Time | None = field(name="from")
    finished: Count


class ThroughputDocument(Struct, kw_only=True, frozen=True):
    """The number of tokens that ended in each period of ``bucket_ms``."""

    bucket_ms: float
    buckets: list[ThroughputBucket]


class PerformanceDocument(Struct, kw_only=True, frozen=True):
    """Durations of visits: totals, where the time went, and the groups.

    ``time`` is that of COMPLETED visits and between visits. ``open`` visits have not ended: ``so_far_ms`` is their time
    until the moment of the report (since their failure, if they FAILED), ``time_so_far`` divides it.
    """

    documented_total: Count = field(name="totalTokens")
    average_execution_time: float = field(name="avgExecutionTime")
    fastest_token: SampleToken | None = field(name="fastestToken")
    slowest_token: SampleToken | None = field(name="slowestToken")
    retry_analysis: dict[str, Count] = field(name="retryAnalysis")
    type_performance: dict[str, Count] = field(name="typePerformance")
    about: str
    untold_retries: Count
    instances: Count
    total_tokens: Count
    token_states: dict[str, Count]
    live_tokens: Count
    first_created_at: Time | None
    last_finished_at: Time | None
    durations: Count
    total_ms: float
    mean_ms: float | None
    derived: Count
    negative: Count
    unmeasured: Count
    percentiles: str
    time: TimeSplit
    open: Count
    so_far_ms: float
    time_so_far: TimeSplit
    longest_open: SampleToken | None
    by: list[str]
    comparison: ComparisonDocument | UnsetType = UNSET
    groups: list[GroupDocument]
    throughput: ThroughputDocument
