"""The events of the tokens of an instance as JSON: ``GET …/tokens/trace`` and ``tokctl tokens trace``."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Raw, Struct, UnsetType

from tokctl.documents.base import Count, HopCertainty, Time
from tokctl.documents.tree import ContradictionsDocument
from tokctl.model.instances import Summary


class EventDocument(Struct, kw_only=True, frozen=True, gc=False):
    """An event of a token; some actions have further members.

    ``certainty`` tells of a move that the engine did not record whether it is ``reconstructed`` or ``ambiguous``.
    """

    sequence: Count
    timestamp: Time | None
    action: str
    token_id: str
    element_id: str
    element_type: str | None
    element_name: str | None
    duration_ms: float | None
    timestamp_derived: Literal[True] | UnsetType = UNSET
    duration_derived: Literal[True] | UnsetType = UNSET
    parent_token_id: str | UnsetType | None = UNSET
    child_token_id: str | UnsetType | None = UNSET
    from_element: str | UnsetType | None = UNSET
    to_element: str | UnsetType = UNSET
    via_flow: str | UnsetType | None = UNSET
    certainty: HopCertainty | UnsetType = UNSET
    wait_ms: float | UnsetType | None = UNSET
    condition_evaluated: str | UnsetType | None = UNSET
    selected_flow: str | UnsetType | None = UNSET
    variables: Raw | UnsetType = UNSET


class PathDocument(Struct, kw_only=True, frozen=True):
    """A path through the model, and how many tokens took it. ``so_far``: it has not ended; its duration increases."""

    elements: tuple[str, ...]
    elements_left_out: Count
    token_count: Count
    status: str
    count: Count
    duration_ms: float | None
    shortest_duration_ms: float | None
    duration_derived: bool
    so_far: Literal[True] | UnsetType = UNSET
    last_token_id: str


class NodeDocument(Struct, kw_only=True, frozen=True, gc=False):
    """A token in the tree of tokens, which is listed from top to bottom."""

    token_id: str
    parent_token_id: str | None
    linked_by: str | None
    depth: Count
    children: list[str]
    joined_from: tuple[str, ...]
    element_id: str
    element_type: str | None
    element_name: str | None
    state: str


class Relationships(Struct, kw_only=True, frozen=True):
    """The tree of the tokens."""

    token_tree: list[NodeDocument]
    contradictions: ContradictionsDocument


class BreakdownDocument(Struct, kw_only=True, frozen=True):
    """Where the time went. Time between tokens is part of waiting; sub-processes are separate: their tokens count."""

    processing_ms: float
    waiting_ms: float
    overhead_ms: float
    unknown_ms: float
    between_tokens_ms: float
    scopes_ms: float


class BottleneckDocument(Struct, kw_only=True, frozen=True):
    """An element that took a large part of the time. ``so_far_ms`` is the part of the total spent in live tokens."""

    element_id: str
    element_type: str | None
    element_name: str | None
    visits: Count
    total_duration_ms: float
    so_far_ms: float | UnsetType = UNSET
    longest_duration_ms: float
    percentage_of_total: float


class ParallelDocument(Struct, kw_only=True, frozen=True):
    """How many tokens were open at the same time."""

    max_concurrent_tokens: Count
    most_at: Time | None


class AnalysisDocument(Struct, kw_only=True, frozen=True):
    """The summary of the trace.

    ``time_breakdown`` is the time of COMPLETED tokens, ``time_so_far`` that of tokens that have not ended, until the
    trace was generated (of FAILED ones, since they failed).
    """

    total_execution_time_ms: float | None
    running: bool
    time_breakdown: BreakdownDocument
    time_so_far: BreakdownDocument | UnsetType = UNSET
    bottlenecks: list[BottleneckDocument]
    parallel_execution: ParallelDocument


class TraceSummary(Summary, kw_only=True, frozen=True):
    """Totals of the whole instance."""

    total_events: Count
    actions: dict[str, Count]
    total_paths: Count
    total_ways: Count
    unreadable_entries: Count


class TraceDocument(Struct, kw_only=True, frozen=True):
    """The events of the tokens of an instance. The format summary has no timeline, no paths and no tree."""

    instance_id: str
    process_id: str | None
    trace_generated_at: Time
    start_time: Time | UnsetType = UNSET
    end_time: Time | UnsetType = UNSET
    execution_timeline: list[EventDocument] | UnsetType = UNSET
    execution_paths: list[PathDocument] | UnsetType = UNSET
    token_relationships: Relationships | UnsetType = UNSET
    performance_analysis: AnalysisDocument
    summary: TraceSummary
