"""The shapes of answers, as the OpenAPI document tells them. Answers are not made of these; a test compares.

Members may come that are not told here: what a source sends beyond the documents is kept and passed on.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from tokctl.process.model import Definition, Summary

Count = Annotated[int, Meta(ge=0)]


class Token(Struct):
    """A token: one visit of one element. What the source never said is null."""

    token_id: str
    element_id: str
    element_type: str | None
    element_name: str | None
    state: str
    created_at: datetime | None
    updated_at: datetime | None
    completed_at: datetime | None
    cancelled_at: datetime | None
    variables: Any
    execution_context: Any
    parent_token_id: str | None
    child_tokens: list[str] | None
    flow_history: Any


class StandaloneToken(Token):
    """A token with the ids of its instance and process."""

    instance_id: str
    process_id: str | None


class TokenList(Struct):
    """Tokens of a process instance. ``total_count`` and ``has_more`` come with limit or offset."""

    instance_id: str
    process_id: str | None
    tokens: list[Token]
    summary: Summary
    total_count: Count = 0
    has_more: bool = False


class FoundTokens(Struct):
    """Tokens whose ids begin alike."""

    tokens: list[StandaloneToken]
    has_more: bool


class Activity(Struct):
    """A token at an activity."""

    token_id: str
    element_id: str
    element_name: str | None
    state: str


class CompletedActivity(Activity):
    """A token that has been through an activity."""

    completed_at: datetime | None


class Metrics(Struct):
    """How far an instance has come. ``progress_percent`` is null where no model tells what there is to do."""

    elapsed_time_seconds: float | None
    completed_activities_count: Count
    active_activities_count: Count
    progress_percent: float | None


class InstanceStatus(Struct):
    """A process instance and how it stands. ``derived`` names times that were worked out from its tokens."""

    instance_id: str
    process_id: str | None
    process_key: str | None
    version: int | None
    status: str | None
    status_derived: bool
    tenant_id: str | None
    started_at: datetime | None
    updated_at: datetime | None
    completed_at: datetime | None
    cancelled_at: datetime | None
    ended_at: datetime | None
    variables: Any
    total_tokens: Count
    live_tokens: Count
    derived: list[str]


class InstanceDetail(InstanceStatus):
    """A process instance with its activities, a thousand of each kind at most, and its totals."""

    current_activity: str | None
    current_activities: list[Activity]
    completed_activities: list[CompletedActivity]
    metrics: Metrics
    summary: Summary


class InstanceList(Struct):
    """Process instances, and how many match in all (null where nobody counted)."""

    instances: list[InstanceStatus]
    total_count: Count | None
    has_more: bool
    limit: Count
    offset: Count


class Event(Struct):
    """Something that happened to a token; further members say more of some actions."""

    sequence: Count
    timestamp: datetime | None
    action: str
    token_id: str
    element_id: str
    element_type: str | None
    element_name: str | None
    duration_ms: float | None


class Path(Struct):
    """A way through the model, and how many took it."""

    elements: list[str]
    elements_left_out: Count
    token_count: Count
    status: str
    count: Count
    duration_ms: float | None
    shortest_duration_ms: float | None
    duration_derived: bool
    last_token_id: str


class Node(Struct):
    """A token in the tree of tokens, which is told from top to bottom."""

    token_id: str
    parent_token_id: str | None
    linked_by: Any
    depth: Count
    children: list[str]
    joined_from: list[str]
    element_id: str
    element_type: str | None
    element_name: str | None
    state: str


class Contradictions(Struct):
    """Where the links between tokens contradict each other."""

    total: Count
    counts: dict[str, Count]


class Relationships(Struct):
    """The tree of the tokens."""

    token_tree: list[Node]
    contradictions: Contradictions


class Breakdown(Struct):
    """Where the time of what is completed went."""

    processing_ms: float
    waiting_ms: float
    overhead_ms: float
    unknown_ms: float
    between_tokens_ms: float
    scopes_ms: float


class Bottleneck(Struct):
    """An element that took much of the time."""

    element_id: str
    element_type: str | None
    element_name: str | None
    visits: Count
    total_duration_ms: float
    longest_duration_ms: float
    percentage_of_total: float


class Parallel(Struct):
    """How many tokens were open at once."""

    max_concurrent_tokens: Count
    most_at: datetime | None


class Analysis(Struct):
    """What the trace comes to."""

    total_execution_time_ms: float | None
    running: bool
    time_breakdown: Breakdown
    bottlenecks: list[Bottleneck]
    parallel_execution: Parallel


class TraceSummary(Summary, frozen=True):
    """Totals of the whole instance."""

    total_events: Count
    actions: dict[str, Count]
    total_paths: Count
    total_ways: Count
    unreadable_entries: Count


class Trace(Struct, kw_only=True):
    """All that happened to the tokens of an instance. The summary has no timeline, no paths and no tree."""

    instance_id: str
    process_id: str | None
    trace_generated_at: datetime
    start_time: datetime | None = None
    end_time: datetime | None = None
    execution_timeline: list[Event] = []
    execution_paths: list[Path] = []
    token_relationships: Relationships | None = None
    performance_analysis: Analysis
    summary: TraceSummary


class Durations(Struct):
    """[instance id, element id, ms] of completed visits."""

    durations: list[tuple[str, str, float]]


class Checks(Struct):
    """What was looked at."""

    server: Literal["ok"]
    store: Literal["ok", "unavailable"]


class Health(Struct):
    """Whether the server is well."""

    status: Literal["healthy", "unhealthy"]
    service: Literal["tokctl"]
    checks: Checks
    timestamp: datetime


class Fault(Struct):
    """What is wrong: a code for programs, a sentence for people, details of both."""

    code: str
    message: str
    details: dict[str, Any]


class Error(Struct):
    """The envelope of every answer that is not the one asked for."""

    success: Literal[False]
    error: Fault
    request_id: str


SCHEMAS: tuple[Any, ...] = (
    TokenList, StandaloneToken, FoundTokens, InstanceDetail, InstanceList, Trace, Definition, Durations, Health, Error,
)  # fmt: skip
