"""The flow of an instance as JSON (``tokctl flow``).

``completedPath``, ``activeTokens``, ``currentBottlenecks``, ``parallelExecution``, ``completedAt``, ``element`` and
``duration`` (ms) are names of the documented API; all others are snake_case.
"""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Raw, Struct, UnsetType, field

from tokctl.documents.base import Count, Time
from tokctl.model.instances import Summary


class CompletedStep(Struct, kw_only=True, frozen=True, gc=False):
    """A token of the completed path. ``slack_ms`` is how much later it could end without delaying the instance."""

    element: str
    completed_at: Time | None = field(name="completedAt")
    duration: float | None
    duration_derived: bool
    token_id: str
    element_id: str
    element_type: str | None
    created_at: Time | None
    slack_ms: float | None
    critical: bool


class FlowToken(Struct, kw_only=True, frozen=True):
    """A token that has not completed: ``age_ms`` while it is live, ``duration_ms`` once it has ended or failed.

    ``failed_for_ms`` is the time since a live token FAILED.
    """

    token_id: str
    element_id: str
    element_type: str | None
    element_name: str | None
    state: str
    created_at: Time | None
    updated_at: Time | None
    completed_at: Time | None
    cancelled_at: Time | None
    parent_token_id: str | None
    worker_id: str | None
    timeout_at: Time | None
    duration_ms: float | UnsetType | None = UNSET
    age_ms: float | UnsetType | None = UNSET
    failed_for_ms: float | UnsetType = UNSET
    slack_ms: float | None
    critical: bool


class FlowBottleneck(Struct, kw_only=True, frozen=True):
    """An element that takes a large part of the time; ``critical_ms`` is its part of the critical path.

    ``so_far_ms`` is the part of the total spent in tokens that are still live.
    """

    element: str
    element_id: str
    element_type: str | None
    visits: Count
    live_tokens: Count
    total_ms: float
    longest_ms: float
    percentage_of_total: float
    so_far_ms: float | UnsetType = UNSET
    critical_ms: float
    percentage_of_elapsed: float


class ParallelStretch(Struct, kw_only=True, frozen=True):
    """A period during which two or more tokens are open."""

    begin: Time | None
    end: Time | None
    duration_ms: float
    max_concurrent_tokens: Count
    token_ids: list[str]


class ParallelExecution(Struct, kw_only=True, frozen=True):
    """The maximum number of tokens open at the same time, when it was first reached, and all such periods."""

    max_concurrent_tokens: Count
    begin: Time | None
    end: Time | None
    live_tokens: Count
    stretches: list[ParallelStretch]


class PathBreakDocument(Struct, frozen=True):
    """Where the critical path cannot be traced further back, and why."""

    token_id: str
    reason: str


class CriticalStepDocument(Struct, kw_only=True, frozen=True):
    """A token on the critical path: the wait before it, and its part of the path.

    ``so_far``: the token is live, and its duration still increases.
    """

    token_id: str
    element_id: str
    element: str
    state: str
    wait_ms: float
    duration_ms: float
    so_far: Literal[True] | UnsetType = UNSET


class CriticalPath(Struct, kw_only=True, frozen=True):
    """The chain of tokens that determined when the instance ended, or how long it has run so far."""

    until: Literal["now", "end"]
    total_ms: float
    elapsed_ms: float
    breaks_off: PathBreakDocument | None
    steps: list[CriticalStepDocument]


class UnknownCounts(Struct, kw_only=True, frozen=True):
    """The number of tokens with missing or contradictory times, and of impossible links."""

    times: Count
    begins: Count
    ends: Count
    ends_before_begin: Count
    impossible_links: Count


class ChangedValue(Struct, kw_only=True, frozen=True):
    """A variable's value before and after."""

    old: Raw
    new: Raw


class VariableChangeDocument(Struct, kw_only=True, frozen=True):
    """The variables that a token changed, compared with the tokens that it came from."""

    token_id: str
    element: str
    element_id: str
    at: Time | None
    from_token_ids: list[str]
    added: dict[str, Raw]
    changed: dict[str, ChangedValue]
    removed: dict[str, Raw]


class FlowDocument(Struct, kw_only=True, frozen=True):
    """The flow of an instance: completed path, live tokens, bottlenecks, parallel execution."""

    instance_id: str
    process_id: str | None
    generated_at: Time
    active_tokens: list[FlowToken] = field(name="activeTokens")
    completed_path: list[CompletedStep] = field(name="completedPath")
    current_bottlenecks: list[FlowBottleneck] = field(name="currentBottlenecks")
    parallel_execution: ParallelExecution = field(name="parallelExecution")
    other_live_tokens: list[FlowToken]
    ended_otherwise: list[FlowToken]
    critical_path: CriticalPath
    unknown: UnknownCounts
    variable_changes: list[VariableChangeDocument] | UnsetType = UNSET
    summary: Summary
