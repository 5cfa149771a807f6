"""The trace of an instance: ``GET …/tokens/trace``.

``trace`` makes it of an instance's tokens; ``head``, ``event_document`` and ``tail`` are the members of its
document, in their order, so that one may be written as it is made; ``trace_document`` is all of it at once.

The tree of the tokens is told as a list, from top to bottom, each with the ids of those below it: nested
JSON would end at a parser's depth, which a loop reaches. The period of a trace bounds its timeline only; what
is added up is of the whole instance, as a summary is everywhere.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Raw, Struct

from tokctl.process.forest import NO_TIME, NONE, Forest
from tokctl.process.history import history
from tokctl.process.model import (
    COMPLETED,
    NULL,
    Definition,
    Summary,
    Token,
    format_time,
    from_micros,
    is_final,
    summarize,
    to_micros,
)
from tokctl.process.paths import Path, Paths, paths
from tokctl.process.performance import CHUNK, SCOPE, Division, Performance, Stays, kind_of_time
from tokctl.process.spans import Bottleneck, bottlenecks, max_concurrency
from tokctl.process.status import InstanceStatus
from tokctl.process.timeline import Event, Notes, Timeline
from tokctl.process.tree import waits_for_several
from tokctl.process.visit import Visit
from tokctl.process.wire import summary_document

Document = dict[str, Any]

MAX_BOTTLENECKS = 10
_LONGEST = 1e15  # ms; what is longer is no duration


class Analysis(Struct, frozen=True, kw_only=True):
    """Where the time of an instance went; times in ms.

    ``total_ms`` is how long the instance took, or has been going on (``running``); None where nobody knows.
    ``breakdown`` is of what is COMPLETED. ``bottlenecks``, by element id, are of all tokens, the live ones until
    now; their share is of all that was spent so. ``max_concurrent`` is the greatest number of tokens that were
    open at once, first at ``most_at``. Neither has sub-processes beside what they hold, and bottlenecks have no
    waiting at joins: these are not what takes the time.
    """

    total_ms: float | None
    running: bool
    breakdown: Division
    bottlenecks: tuple[Bottleneck[str], ...]
    max_concurrent: int
    most_at: datetime | None


class Trace(Struct, frozen=True, kw_only=True):
    """The trace of an instance; ``part`` are the positions of the events that lie in the period."""

    status: InstanceStatus
    generated_at: datetime
    detailed: bool
    since: datetime | None
    until: datetime | None
    timeline: Timeline
    part: range
    paths: Paths
    forest: Forest
    unreadable: int
    analysis: Analysis
    summary: Summary


def trace(
    status: InstanceStatus,
    tokens: Iterable[Token | Visit],
    now: datetime,
    *,
    detailed: bool = True,
    variables: bool = False,
    since: datetime | None = None,
    until: datetime | None = None,
    definition: Definition | None = None,
) -> Trace:
    """Make the trace of an instance.

    ``tokens`` are read once: whole ones where ``variables`` are wanted, else visits with their flow histories
    will do. ``since`` and ``until`` bound the timeline. A ``definition`` tells what its flows lead to.
    """
    notes = Notes(variables=variables)
    way = history(notes.taken(tokens), definition=definition)
    timeline = Timeline(way, notes)
    forest = way.forest
    return Trace(
        status=status,
        generated_at=now,
        detailed=detailed,
        since=since,
        until=until,
        timeline=timeline,
        part=timeline.part(since, until),
        paths=paths(way, now),
        forest=forest,
        unreadable=way.unreadable,
        analysis=_analysis(forest, status, now),
        summary=summarize(
            (forest.labels[code][3], forest.labels[code][1], number)
            for code, number in Counter(forest.label_codes).items()
        ),
    )


def _analysis(forest: Forest, status: InstanceStatus, now: datetime) -> Analysis:
    collected = Performance(by=("type",))
    collected.add(status.instance.instance_id, status.instance.process_id, _stays(forest))
    lasted = status.lasted(now)
    begins, ends = forest.created, _ends(forest, to_micros(now) or 0)
    holding = _holding(forest, begins, ends)
    open_ones = [
        (begin, end)
        for begin, end, holds in zip(begins, ends, holding, strict=True)
        if NO_TIME not in {begin, end} and not holds
    ]
    peak = max_concurrency(open_ones)
    return Analysis(
        total_ms=None if lasted is None else lasted / timedelta(milliseconds=1),
        running=status.ended_at is None,
        breakdown=collected.division(),
        bottlenecks=tuple(bottlenecks(_spent(forest, begins, ends, holding))[:MAX_BOTTLENECKS]),
        max_concurrent=peak.most,
        most_at=from_micros(peak.begin),
    )


def _stays(forest: Forest) -> Iterator[Stays]:
    """What the division of the time is worked out from."""
    for begin in range(0, forest.size, CHUNK):
        nodes = range(forest.size)[begin : begin + CHUNK]
        labels = [forest.labels[forest.label_codes[node]] for node in nodes]
        unread = [None] * len(nodes)
        yield Stays(
            token_id=forest.ids[begin : begin + CHUNK],
            parent=[None if (named := forest.named[node]) == NONE else forest.name_of(named) for node in nodes],
            element_id=[label[0] for label in labels],
            element_type=[label[1] for label in labels],
            element_name=unread,
            worker_id=unread,
            state=[label[3] for label in labels],
            created=[forest.created_us(node) for node in nodes],
            finished=[forest.finished_us(node) for node in nodes],
            duration_ms=forest.durations[begin : begin + CHUNK],
            retries_used=unread,
        )


def _ends(forest: Forest, present: int) -> array[int]:
    """When tokens ended, or now for those that are live; NO_TIME where nobody says."""
    final = [is_final(label[3]) for label in forest.labels]
    return array(
        "q",
        (
            end if final[code] else NO_TIME if begin == NO_TIME else max(begin, present)
            for begin, end, code in zip(forest.created, forest.finished, forest.label_codes, strict=True)
        ),
    )


def _holding(forest: Forest, begins: array[int], ends: array[int]) -> bytearray:
    """Mark the tokens that hold those of others: sub-processes whose children began before they ended."""
    holding = bytearray(forest.size)
    scopes = [kind_of_time(label[1]) == SCOPE for label in forest.labels]
    if any(scopes):
        for node, parent in enumerate(forest.parents):
            if parent != forest.size and scopes[forest.label_codes[parent]] and begins[node] < ends[parent]:
                holding[parent] = 1
    return holding


def _spent(forest: Forest, begins: array[int], ends: array[int], left_out: bytearray) -> Iterator[tuple[str, float]]:
    """(element id, ms) of every token whose time is known and its own: at a join it waits for others."""
    joins = [waits_for_several(label[1]) for label in forest.labels]
    final = [is_final(label[3]) for label in forest.labels]
    early = set()
    for node, code in enumerate(forest.label_codes):
        if joins[code] and forest.labels[code][3] != COMPLETED:  # it never got through
            early.add(node)
    starts = forest.joins.starts
    for node in range(forest.size):
        if starts[node] < starts[node + 1]:
            early.update(
                other
                for other in (forest.parent(node), *forest.joins.of(node))
                if other is not None and joins[forest.label_codes[other]]
            )
    for node, code in enumerate(forest.label_codes):
        if left_out[node] or node in early:
            continue
        given, begin, end = forest.durations[node], begins[node], ends[node]
        if final[code] and 0 <= given < _LONGEST:
            yield forest.labels[code][0], given
        elif NO_TIME not in {begin, end}:
            yield forest.labels[code][0], (end - begin) / 1000


# --- its document ---------------------------------------------------------------------------------


def trace_document(made: Trace) -> Document:
    """The documented answer's ``data``, all of it at once."""
    document = head(made)
    if made.detailed:
        document["execution_timeline"] = [event_document(event) for event in made.timeline.events(made.part)]
    document |= tail(made)
    if made.detailed:
        relationships = document["token_relationships"]
        relationships["token_tree"] = [*relationships["token_tree"]]
    return document


def head(made: Trace) -> Document:
    """What stands before the timeline. The bounds of the period stand there where they were asked for."""
    document: Document = {
        "instance_id": made.status.instance.instance_id,
        "process_id": made.status.instance.process_id,
        "trace_generated_at": format_time(made.generated_at),
    }
    if made.since is not None:
        document["start_time"] = format_time(made.since)
    if made.until is not None:
        document["end_time"] = format_time(made.until)
    return document


def event_document(event: Event) -> Document:
    """An event: the documented members always, others where they mean something."""
    action = event.action
    document: Document = {
        "sequence": event.sequence,
        "timestamp": format_time(event.timestamp),
        "action": action,
        "token_id": event.token_id,
        "element_id": event.element_id,
        "element_type": event.element_type,
        "element_name": event.element_name,
        "duration_ms": event.duration_ms,
    }
    if event.timestamp_derived:
        document["timestamp_derived"] = True
    if event.duration_derived:
        document["duration_derived"] = True
    if action == "TOKEN_CREATED":
        document["parent_token_id"] = event.parent_token_id
    elif action == "TOKEN_MOVED":
        document["from_element"] = event.from_element
        document["to_element"] = event.element_id
        document["via_flow"] = event.via_flow
        document["wait_ms"] = event.wait_ms
    elif action == "TOKEN_SPLIT":
        document["parent_token_id"] = event.token_id
        document["child_token_id"] = event.child_token_id
    elif event.decision is not None:
        document["condition_evaluated"] = event.decision.condition_evaluated
        document["selected_flow"] = event.decision.selected_flow
    if event.variables is not NULL and event.variables != NULL:
        document["variables"] = event.variables
    return document


def tail(made: Trace) -> Document:
    """What stands behind the timeline; the tree of the tokens is an iterator of JSON objects."""
    document: Document = {}
    if made.detailed:
        document["execution_paths"] = [_path_document(path) for path in made.paths.paths]
        document["token_relationships"] = {
            "token_tree": _tree(made.forest),
            "contradictions": {
                "total": made.forest.anomalies.total,
                "counts": dict(made.forest.anomalies.counts),
            },
        }
    document["performance_analysis"] = _analysis_document(made)
    document["summary"] = summary_document(made.summary) | {
        "total_events": len(made.timeline),
        "actions": made.timeline.counts,
        "total_paths": made.paths.different,
        "total_ways": made.paths.ways,
        "unreadable_entries": made.unreadable,
    }
    return document


def _path_document(path: Path) -> Document:
    return {
        "elements": path.elements,
        "elements_left_out": path.elements_left_out,
        "token_count": path.token_count,
        "status": path.status,
        "count": path.count,
        "duration_ms": path.longest_ms,
        "shortest_duration_ms": path.shortest_ms,
        "duration_derived": True,
        "last_token_id": path.last_token_id,
    }


def _tree(forest: Forest) -> Iterator[Raw]:
    """The tokens from top to bottom, as JSON: a million of them would take ten times the room as objects."""
    encode = msgspec.json.encode
    for node, depth in top_to_bottom(forest):
        element_id, element_type, element_name, state = forest.labels[forest.label_codes[node]]
        yield Raw(encode({
            "token_id": forest.ids[node],
            "parent_token_id": forest.parent_id(node),
            "linked_by": forest.linked_by(node),
            "depth": depth,
            "children": [forest.ids[child] for child in forest.children.of(node)],
            "joined_from": forest.join_ids(node),
            "element_id": element_id,
            "element_type": element_type,
            "element_name": element_name,
            "state": state,
        }))  # fmt: skip


def top_to_bottom(forest: Forest) -> Iterator[tuple[int, int]]:
    """Yield (node, depth) of every token, each before those below it, these before its next sibling."""
    waiting = array("i", reversed(forest.roots))
    depths = forest.depths()
    while waiting:
        node = waiting.pop()
        yield node, depths[node]
        waiting.extend(reversed(forest.children.of(node)))


def _analysis_document(made: Trace) -> Document:
    found = made.analysis
    elements = {label[0]: label for label in reversed(made.forest.labels)}
    division = found.breakdown
    return {
        "total_execution_time_ms": found.total_ms,
        "running": found.running,
        "time_breakdown": {
            "processing_ms": division.processing,
            "waiting_ms": division.waiting,
            "overhead_ms": division.overhead,
            "unknown_ms": division.unknown,
            "between_tokens_ms": division.between,
            "scopes_ms": division.scope,
        },
        "bottlenecks": [
            {
                "element_id": one.key,
                "element_type": elements[one.key][1],
                "element_name": elements[one.key][2],
                "visits": one.visits,
                "total_duration_ms": one.total_ms,
                "longest_duration_ms": one.longest_ms,
                "percentage_of_total": one.percentage_of_total,
            }
            for one in found.bottlenecks
        ],
        "parallel_execution": {
            "max_concurrent_tokens": found.max_concurrent,
            "most_at": format_time(found.most_at),
        },
    }
