"""Findings of the debug rules, and the rules themselves, as JSON (``tokctl debug``).

``issues``, ``id``, ``element``, ``runningTime``, ``waitingTime`` (minutes) and ``totalIssues`` are names of the
documented API; all others are snake_case. Rules of other packages may add members to findings and to their tokens.
"""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType, field

from tokctl.documents.base import Count, Time


class LinkAnomaly(Struct, kw_only=True, frozen=True):
    """A contradiction in the links of a token, and the other token involved."""

    kind: str
    other_token_id: str | None


class FindingToken(Struct, kw_only=True, frozen=True):
    """A token with a problem. The members between ``element`` and ``instance_id`` are evidence of individual rules."""

    id: str
    element: str
    running_time: int | UnsetType = field(name="runningTime", default=UNSET)
    waiting_time: int | UnsetType = field(name="waitingTime", default=UNSET)
    retries: int | UnsetType = UNSET
    retries_left: int | UnsetType = UNSET
    called_instance_id: str | UnsetType = UNSET
    parent_token_id: str | UnsetType | None = UNSET
    anomalies: list[str | LinkAnomaly] | UnsetType = UNSET
    missing_flows: list[str] | UnsetType = UNSET
    failed_tokens: list[str] | UnsetType = UNSET
    age_ms: float | UnsetType = UNSET
    usual_ms: float | UnsetType = UNSET
    usual_median_ms: float | UnsetType = UNSET
    compared_visits: Count | UnsetType = UNSET
    percentile: Count | UnsetType = UNSET
    timeout_at: Time | UnsetType | None = UNSET
    overdue_ms: float | UnsetType = UNSET
    under: str | UnsetType = UNSET
    entered: Count | UnsetType = UNSET
    cause: Count | UnsetType = UNSET
    instance_id: str
    element_id: str
    element_type: str | None
    state: str
    worker_id: str | None
    since: Time | None
    says: str
    also: list[str]


class CauseDocument(Struct, kw_only=True, frozen=True):
    """The common cause of stuck tokens, and the share (0 to 1) of stuck instances that it explains."""

    element_id: str | UnsetType = UNSET
    job_type: str | UnsetType = UNSET
    worker_id: str | UnsetType = UNSET
    element_name: str | UnsetType | None = UNSET
    instances: Count
    tokens: Count
    stuck_instances: Count
    share: float


class FindingDocument(Struct, kw_only=True, frozen=True):
    """A finding of a rule: ``count`` tokens in ``instances`` instances. ``tokens`` has the worst ones."""

    type: str
    severity: str
    count: Count
    tokens: list[FindingToken]
    instances: Count
    since: Time | None
    message: str
    also: dict[str, Count]
    next: str
    causes: list[CauseDocument] | UnsetType = UNSET


class DebugSummary(Struct, kw_only=True, frozen=True):
    """The highest severity, and what was checked. ``notes`` are sentences on what was not, and on wrong clocks."""

    total_issues: Count = field(name="totalIssues")
    severity: str
    rules: list[str]
    instances: Count
    tokens: Count
    live_tokens: Count
    troubled_tokens: Count
    troubled_instances: Count
    notes: list[str]


class DebugDocument(Struct, kw_only=True, frozen=True):
    """The findings, most severe first. ``instance_id`` is null if several instances were checked."""

    instance_id: str | None
    process_id: str | None
    issues: list[FindingDocument]
    summary: DebugSummary


class RuleDocument(Struct, kw_only=True, frozen=True):
    """A debug rule with its current thresholds."""

    type: str
    severity: str
    meaning: str
    thresholds: dict[str, int | str]
    threshold_meanings: dict[str, str]


class RuleList(Struct, kw_only=True, frozen=True):
    """The debug rules (``tokctl debug --list-rules``)."""

    rules: list[RuleDocument]
