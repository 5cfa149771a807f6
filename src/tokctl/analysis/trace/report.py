"""The trace of an instance, as in ``GET …/tokens/trace``: ``build_trace`` builds it from tokens.

The period of a trace applies to its timeline only; totals are of the whole instance. ``analysis.encoding.trace``
returns its JSON document.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise

from msgspec import Struct

from tokctl.analysis.flow.intervals import TimeSpent, choose_duration, find_peak_concurrency, rank_bottlenecks
from tokctl.analysis.flow.paths import ExecutionPaths, find_paths
from tokctl.analysis.history import build_history
from tokctl.analysis.performance.durations import Performance
from tokctl.analysis.performance.groups import TimeBreakdown
from tokctl.analysis.performance.statistics import SCOPE, classify_time
from tokctl.analysis.performance.visits import BATCH_SIZE, VisitBatch
from tokctl.analysis.trace.timeline import Timeline, TokenNotes
from tokctl.analysis.tree.forest import NO_NODE, NO_TIME, Forest
from tokctl.model.definitions import Definition
from tokctl.model.element_types import is_joining_gateway
from tokctl.model.instance_status import InstanceStatus
from tokctl.model.instances import Summary, summarize
from tokctl.model.states import COMPLETED, is_final
from tokctl.model.times import from_micros, to_micros
from tokctl.model.tokens import Token
from tokctl.model.visits import Visit

MAX_BOTTLENECKS = 10


class TimeAnalysis(Struct, frozen=True, kw_only=True):
    """Where the time of an instance went; times in ms.

    ``total_ms`` is how long the instance took, or has been ``running``; None if unknown. ``breakdown`` is that of the
    COMPLETED tokens, ``so_far`` that of live ones until now, see ``performance.durations``. ``bottlenecks``, by element
    id, are those of all tokens, live ones until now; percentages are of their total. ``max_concurrent`` is the greatest
    number of tokens open at once, for the first time at ``most_at``. Sub-processes that contain other tokens do not
    count in either. Waiting at a join is part of bottlenecks only while it lasts.

    A FAILED token is live until it is retried or cancelled.
    """

    total_ms: float | None
    running: bool
    breakdown: TimeBreakdown
    so_far: TimeBreakdown
    bottlenecks: tuple[TimeSpent[str], ...]
    max_concurrent: int
    most_at: datetime | None


class InstanceTrace(Struct, frozen=True, kw_only=True):
    """The trace of an instance; ``part`` are the positions of the events in the period."""

    status: InstanceStatus
    generated_at: datetime
    detailed: bool
    since: datetime | None
    until: datetime | None
    timeline: Timeline
    part: range
    paths: ExecutionPaths
    forest: Forest
    unreadable: int
    analysis: TimeAnalysis
    summary: Summary


def build_trace(
    status: InstanceStatus,
    tokens: Iterable[Token | Visit],
    now: datetime,
    *,
    detailed: bool = True,
    variables: bool = False,
    since: datetime | None = None,
    until: datetime | None = None,
    definition: Definition | None = None,
) -> InstanceTrace:
    """Build the trace of an instance from all its tokens, read once; visits with flow histories suffice.

    With ``variables``, which visits do not have, events have those of their tokens. ``detailed`` tells whether the JSON
    has timeline, paths and tree; ``since`` and ``until`` are the period of the timeline. The definition, if known,
    tells where flows lead.
    """
    notes = TokenNotes(variables=variables)
    instance_history = build_history(notes.record_from(tokens), definition=definition)
    timeline = Timeline(instance_history, notes)
    forest = instance_history.forest
    return InstanceTrace(
        status=status,
        generated_at=now,
        detailed=detailed,
        since=since,
        until=until,
        timeline=timeline,
        part=timeline.part(since, until),
        paths=find_paths(instance_history, now),
        forest=forest,
        unreadable=instance_history.unreadable,
        analysis=_analyse_time(forest, status, now),
        summary=summarize(
            (forest.labels[code][3], forest.labels[code][1], number)
            for code, number in Counter(forest.label_codes).items()
        ),
    )


def _analyse_time(forest: Forest, status: InstanceStatus, now: datetime) -> TimeAnalysis:
    collected = Performance(("type",), now)
    collected.add(status.instance.instance_id, status.instance.process_id, _iter_batches(forest))
    elapsed = status.elapsed(now)
    live_labels = [not is_final(label[3]) for label in forest.labels]
    live = bytearray(live_labels[code] for code in forest.label_codes)
    begins, ends = forest.created, _find_ends(forest, live, to_micros(now))
    containers = _find_containers(forest, begins, ends)
    open_ones = [
        (begin, end)
        for begin, end, holds in zip(begins, ends, containers, strict=True)
        if NO_TIME not in {begin, end} and not holds
    ]
    peak = find_peak_concurrency(open_ones)
    return TimeAnalysis(
        total_ms=None if elapsed is None else elapsed / timedelta(milliseconds=1),
        running=status.ended_at is None,
        breakdown=collected.breakdown(),
        so_far=collected.breakdown_so_far(),
        bottlenecks=tuple(rank_bottlenecks(_iter_time_spent(forest, begins, ends, live, containers))[:MAX_BOTTLENECKS]),
        max_concurrent=peak.max_concurrent,
        most_at=from_micros(peak.begin),
    )


def _iter_batches(forest: Forest) -> Iterator[VisitBatch]:
    """Yield the tokens in batches for the time breakdown."""
    for begin in range(0, forest.size, BATCH_SIZE):
        end = min(begin + BATCH_SIZE, forest.size)
        labels = [forest.labels[code] for code in forest.label_codes[begin:end]]
        unread = [None] * len(labels)
        yield VisitBatch(
            token_id=forest.ids[begin:end],
            parent=[None if ref == NO_NODE else forest.resolve_id(ref) for ref in forest.parent_refs[begin:end]],
            element_id=[label[0] for label in labels],
            element_type=[label[1] for label in labels],
            element_name=unread,
            worker_id=unread,
            state=[label[3] for label in labels],
            created=[None if time == NO_TIME else time for time in forest.created[begin:end]],
            finished=[None if time == NO_TIME else time for time in forest.finished[begin:end]],
            duration_ms=forest.durations[begin:end],
            retries_used=unread,
        )


def _find_ends(forest: Forest, live: bytearray, now_us: int) -> array[int]:
    """Return when tokens ended or failed, or now for live ones; NO_TIME if unknown."""
    return array(
        "q",
        (
            end if not is_live else NO_TIME if begin == NO_TIME else max(begin, now_us)
            for begin, end, is_live in zip(forest.created, forest.finished, live, strict=True)
        ),
    )


def _find_containers(forest: Forest, begins: array[int], ends: array[int]) -> bytearray:
    """Mark the tokens that contain others: sub-processes with children that began before they ended."""
    containers = bytearray(forest.size)
    scopes = [classify_time(label[1]) == SCOPE for label in forest.labels]
    if any(scopes):
        for node, parent in enumerate(forest.parents):
            if parent != forest.size and scopes[forest.label_codes[parent]] and begins[node] < ends[parent]:
                containers[parent] = 1
    return containers


def _iter_time_spent(
    forest: Forest, begins: array[int], ends: array[int], live: bytearray, left_out: bytearray
) -> Iterator[tuple[str, float, bool]]:
    """Yield (element id, ms, live) of every token with a known time of its own, which a past wait at a join is not."""
    joins = [is_joining_gateway(label[1]) for label in forest.labels]
    waits = [join and label[3] != COMPLETED for join, label in zip(joins, forest.labels, strict=True)]
    waiting_at_join = {node for node, code in enumerate(forest.label_codes) if waits[code]}  # did not get through
    for node, (start, end) in enumerate(pairwise(forest.joins.starts)):
        if start < end:
            arrived = forest.all_parents(node)
            waiting_at_join.update(other for other in arrived if joins[forest.label_codes[other]])
    for node, code in enumerate(forest.label_codes):
        if left_out[node] or (node in waiting_at_join and not live[node]):
            continue
        given = None if live[node] else forest.durations[node]
        begin, end = begins[node], ends[node]
        spent = choose_duration(given, begin, end)
        if spent == given or NO_TIME not in {begin, end}:
            yield forest.labels[code][0], spent, bool(live[node])
