"""Reads instances once, redacted, and runs the analyses that a report shows: for ``tokctl report``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any

from msgspec import Struct

from tokctl.analysis.debug.runner import DebugLimits, DebugReport
from tokctl.analysis.explain.explanation import Explanation
from tokctl.analysis.flow.critical_path import FlowAnalysis
from tokctl.analysis.flow.token_links import TokenLinks
from tokctl.analysis.redaction import Redactor
from tokctl.analysis.tree.builder import build_forest
from tokctl.analysis.tree.drawing import TreeLine, draw_forest
from tokctl.analysis.variants import Variant, VariantCounter
from tokctl.diagram.activity_marks import Heat
from tokctl.engines.protocol import ALL_INSTANCES, Engine, UnreadInstance
from tokctl.errors import InputError, NotFoundError
from tokctl.model.filters import ALL_TOKENS, SortOrder
from tokctl.model.instance_status import InstanceStatus
from tokctl.model.states import is_final
from tokctl.model.tokens import Token
from tokctl.model.visits import Visit
from tokctl.services.debug import DebugQuery, run_debug
from tokctl.services.diagram import DiagramQuery, DrawnDiagram, draw_activity
from tokctl.services.inspection import explain_instance
from tokctl.services.performance import PerformanceQuery, PerformanceReport, analyze_performance
from tokctl.services.snapshot.run import SnapshotRun
from tokctl.services.snapshot.writer import SnapshotWriter, describe_source
from tokctl.store import open_store

MAX_EXPLANATIONS = 100
MAX_TREE_LINES = 2_000
MAX_MATCHES = 20
"""Tokens that are listed for each finding of a single instance."""
MAX_VARIANTS = 10
_CREATED = SortOrder("created")


class ReportSource(Struct, frozen=True, kw_only=True):
    """Where the instances come from: its name and kind, what was redacted, and what the source cannot tell."""

    name: str
    kind: str
    redacted: tuple[str, ...]
    limitations: tuple[str, ...]


class ReportDiagram(Struct, frozen=True, kw_only=True):
    """The diagram of a process, or else the reason why there is none."""

    process_id: str | None
    drawn: DrawnDiagram | None = None
    problem: str = ""


class InstanceReport(Struct, frozen=True, kw_only=True):
    """The analyses of a single instance.

    ``tokens`` are in the order of ``flow.visits``. ``explanations`` and ``tree`` are at most MAX_EXPLANATIONS and
    MAX_TREE_LINES; there are ``live`` tokens to explain, and ``has_more_tree`` tells that lines are left out.
    ``contradictions`` counts those between the links of tokens, by kind.
    """

    status: InstanceStatus
    tokens: Sequence[Token]
    flow: FlowAnalysis
    debug: DebugReport
    explanations: Sequence[Explanation]
    diagram: ReportDiagram
    tree: Sequence[TreeLine]
    has_more_tree: bool
    contradictions: Mapping[str, int]
    performance: PerformanceReport


class OverviewReport(Struct, frozen=True, kw_only=True):
    """The analyses of several instances: a diagram for each process, and the commonest variants of all."""

    statuses: Sequence[InstanceStatus]
    debug: DebugReport
    diagrams: Sequence[ReportDiagram]
    variants: Sequence[Variant]
    distinct_variants: int
    unordered: int
    performance: PerformanceReport


class Report(Struct, frozen=True, kw_only=True):
    """What a report shows, as of ``now``. ``read_at`` is when the first and the last instance were read."""

    now: datetime
    source: ReportSource
    read_at: tuple[datetime, datetime]
    unread: Sequence[UnreadInstance]
    body: InstanceReport | OverviewReport


def read_report(
    engine: Engine,
    ids: list[str],
    now: datetime,
    *,
    source: tuple[str, str],
    redaction: Redactor,
    clock: Callable[[], datetime],
    thresholds: Mapping[str, Any] | None = None,
    step: Callable[[float], None] = lambda _: None,
) -> Report:
    """Read instances and analyze them; live tokens count until ``now``.

    They are read once, into a store in memory: everything in the report is of the same moment, and nothing that was
    redacted can get into it. So they are compared with each other only, and not with those that are not read.
    ``source`` has the name and the kind of the source, ``thresholds`` are those of the configuration. ``step`` is
    called after each instance.

    Raises:
        TokctlError: no instance could be read.
        UsageError: a threshold is invalid.
    """
    name, kind = source
    with open_store(":memory:", write=True, create=True) as store:
        writer = SnapshotWriter(store, source=name, kind=kind, redaction=redaction)
        run = SnapshotRun(writer, ids, clock=clock, remote=describe_source(engine).remote)
        run.take_all(engine, ids, step)
        rows = run.rows.values()
        read = [row.instance_id for row in rows if row.taken_at is not None]
        times = [row.taken_at for row in rows if row.taken_at is not None]
        query = DebugQuery(configured=thresholds or {}, ended=True)
        body = _analyze_one(store, read[0], now, query) if len(ids) == 1 else _analyze_all(store, now, query)
    return Report(
        now=now,
        source=ReportSource(name=name, kind=kind, redacted=redaction.patterns, limitations=tuple(engine.limitations)),
        read_at=(min(times), max(times)),
        unread=[UnreadInstance(row.instance_id, row.error) for row in rows if row.error],
        body=body,
    )


def _analyze_one(engine: Engine, instance_id: str, now: datetime, query: DebugQuery) -> InstanceReport:
    tokens = list(engine.tokens(instance_id, ALL_TOKENS, _CREATED))
    status = engine.instance(instance_id)
    forest = build_forest(engine.tree_rows(instance_id))
    lines = [line for line in islice(draw_forest(forest), MAX_TREE_LINES + 1) if isinstance(line, TreeLine)]
    return InstanceReport(
        status=status,
        tokens=tokens,
        flow=FlowAnalysis([Visit.from_token(token, flows=True) for token in tokens], now),
        debug=run_debug(engine, instance_id, now, query, limits=DebugLimits(matches=MAX_MATCHES), prefix=None),
        explanations=explain_instance(engine, instance_id, now)[:MAX_EXPLANATIONS],
        diagram=_draw(engine, status.instance.process_id, DiagramQuery(instance_id=instance_id), now),
        tree=lines[:MAX_TREE_LINES],
        has_more_tree=len(lines) > MAX_TREE_LINES,
        contradictions=dict(forest.anomalies.counts),
        performance=analyze_performance(engine, PerformanceQuery(instance_id=instance_id), now),
    )


def _analyze_all(engine: Engine, now: datetime, query: DebugQuery) -> OverviewReport:
    statuses, variants = [], VariantCounter()
    for status, visits in engine.all_visits(ALL_INSTANCES, flows=True):
        statuses.append(status)
        ended = is_final(status.status or "")
        variants.add(status.instance.instance_id, status.instance.process_id, TokenLinks(visits, now), ended=ended)
    draw = partial(_draw, engine, now=now)
    processes = dict.fromkeys(status.instance.process_id for status in statuses)
    return OverviewReport(
        statuses=statuses,
        debug=run_debug(engine, None, now, query, limits=DebugLimits(matches=1, tokens_per_instance=1), prefix=None),
        diagrams=[draw(one, DiagramQuery(process_id=one, heat=Heat.TIME)) for one in processes],
        variants=variants.most_common(MAX_VARIANTS),
        distinct_variants=variants.distinct,
        unordered=variants.unordered,
        performance=analyze_performance(engine, PerformanceQuery(by=("process", "element")), now),
    )


def _draw(engine: Engine, process_id: str | None, query: DiagramQuery, now: datetime) -> ReportDiagram:
    if process_id is None:
        return ReportDiagram(process_id=None, problem="the process is unknown.")
    try:
        return ReportDiagram(process_id=process_id, drawn=draw_activity(engine, query, now))
    except (NotFoundError, InputError) as error:  # a report without a diagram is still one
        return ReportDiagram(process_id=process_id, problem=error.message)
