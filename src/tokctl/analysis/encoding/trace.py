"""The JSON document of a trace, at once or in parts.

``encode_trace_head``, ``encode_event`` and ``encode_trace_tail`` return the members of a ``TraceDocument`` in their
order, so that it can be streamed; ``encode_trace`` returns all of it.

The tree of the tokens is encoded as a list from top to bottom, each token with the ids of its children: nested JSON
would exceed the depth limit of parsers, because each pass of a loop is a level.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from tokctl.analysis.encoding.performance import breakdown_ms
from tokctl.analysis.encoding.tree import encode_contradictions
from tokctl.analysis.flow.paths import ExecutionPath
from tokctl.analysis.performance.groups import TimeBreakdown
from tokctl.analysis.trace.report import InstanceTrace
from tokctl.analysis.trace.timeline import TraceEvent
from tokctl.analysis.tree.forest import Forest
from tokctl.documents.base import build_document, encode_certainty
from tokctl.documents.trace import (
    AnalysisDocument,
    BottleneckDocument,
    BreakdownDocument,
    EventDocument,
    NodeDocument,
    ParallelDocument,
    PathDocument,
    TraceSummary,
)
from tokctl.model.states import is_final
from tokctl.model.times import format_time
from tokctl.model.tokens import NULL


def encode_trace(made: InstanceTrace) -> dict[str, Any]:
    """Return all members of the trace at once."""
    document = encode_trace_head(made)
    if made.detailed:
        document["execution_timeline"] = [encode_event(event) for event in made.timeline.events(made.part)]
    document |= encode_trace_tail(made)
    if made.detailed:
        relationships = document["token_relationships"]
        relationships["token_tree"] = [*relationships["token_tree"]]
    return document


def encode_trace_head(made: InstanceTrace) -> dict[str, Any]:
    """Return the members before the timeline. The bounds of the period are included if requested."""
    document: dict[str, Any] = {
        "instance_id": made.status.instance.instance_id,
        "process_id": made.status.instance.process_id,
        "trace_generated_at": format_time(made.generated_at),
    }
    if made.since is not None:
        document["start_time"] = format_time(made.since)
    if made.until is not None:
        document["end_time"] = format_time(made.until)
    return document


def encode_event(event: TraceEvent) -> EventDocument:
    """Return an event: the documented members, and others that apply."""
    action, decision = event.action, event.decision
    created, moved, split = action == "TOKEN_CREATED", action == "TOKEN_MOVED", action == "TOKEN_SPLIT"
    decided = decision is not None and not (created or moved or split)
    parent: Any = event.parent_token_id if created else event.token_id if split else UNSET
    return build_document(
        EventDocument,
        event,
        timestamp_derived=True if event.timestamp_derived else UNSET,
        duration_derived=True if event.duration_derived else UNSET,
        parent_token_id=parent,
        child_token_id=event.child_token_id if split else UNSET,
        from_element=event.from_element if moved else UNSET,
        to_element=event.element_id if moved else UNSET,
        via_flow=event.via_flow if moved else UNSET,
        certainty=encode_certainty(event.certainty) if moved else UNSET,
        wait_ms=event.wait_ms if moved else UNSET,
        condition_evaluated=decision.condition_evaluated if decision is not None and decided else UNSET,
        selected_flow=decision.selected_flow if decision is not None and decided else UNSET,
        variables=UNSET if event.variables is NULL or event.variables == NULL else event.variables,
    )


def encode_trace_tail(made: InstanceTrace) -> dict[str, Any]:
    """Return the members after the timeline; the tree of the tokens is an iterator of JSON objects."""
    document: dict[str, Any] = {}
    if made.detailed:
        document["execution_paths"] = [_encode_path(path) for path in made.paths.paths]
        document["token_relationships"] = {
            "token_tree": _encode_nodes(made.forest),
            "contradictions": encode_contradictions(made.forest.anomalies),
        }
    document["performance_analysis"] = _encode_analysis(made)
    document["summary"] = TraceSummary(
        **msgspec.structs.asdict(made.summary),
        total_events=len(made.timeline),
        actions=made.timeline.counts,
        total_paths=made.paths.distinct_count,
        total_ways=made.paths.ways,
        unreadable_entries=made.unreadable,
    )
    return document


def _encode_path(path: ExecutionPath) -> PathDocument:
    return build_document(
        PathDocument,
        path,
        duration_ms=path.longest_ms,
        shortest_duration_ms=path.shortest_ms,
        duration_derived=True,
        so_far=UNSET if is_final(path.status) else True,
    )


def _encode_nodes(forest: Forest) -> Iterator[Raw]:
    """Yield the tokens from top to bottom, as JSON."""
    encode = msgspec.json.encode
    for node, depth in walk_depth_first(forest):
        element_id, element_type, element_name, state = forest.labels[forest.label_codes[node]]
        document = NodeDocument(
            token_id=forest.ids[node],
            parent_token_id=forest.parent_id(node),
            linked_by=forest.linked_by(node),
            depth=depth,
            children=[forest.ids[child] for child in forest.children.of(node)],
            joined_from=forest.join_ids(node),
            element_id=element_id,
            element_type=element_type,
            element_name=element_name,
            state=state,
        )
        yield Raw(encode(document))


def walk_depth_first(forest: Forest) -> Iterator[tuple[int, int]]:
    """Yield (node, depth) of every token, each before those below it, these before its next sibling."""
    waiting = array("i", reversed(forest.roots))
    depths = forest.depths()
    while waiting:
        node = waiting.pop()
        yield node, depths[node]
        waiting.extend(reversed(forest.children.of(node)))


def _encode_analysis(made: InstanceTrace) -> AnalysisDocument:
    found = made.analysis
    elements = {label[0]: label for label in reversed(made.forest.labels)}
    return build_document(
        AnalysisDocument,
        found,
        total_execution_time_ms=found.total_ms,
        time_breakdown=BreakdownDocument(**breakdown_ms(found.breakdown)),
        time_so_far=BreakdownDocument(**breakdown_ms(found.so_far)) if found.so_far != TimeBreakdown() else UNSET,
        bottlenecks=[
            build_document(
                BottleneckDocument,
                one,
                element_id=one.key,
                element_type=elements[one.key][1],
                element_name=elements[one.key][2],
                total_duration_ms=one.total_ms,
                longest_duration_ms=one.longest_ms,
                so_far_ms=one.so_far_ms or UNSET,
            )
            for one in found.bottlenecks
        ],
        parallel_execution=ParallelDocument(
            max_concurrent_tokens=found.max_concurrent, most_at=format_time(found.most_at)
        ),
    )
