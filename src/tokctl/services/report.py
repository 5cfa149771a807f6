"""Reads instances once, redacted, and runs the analyses that a report shows: for ``tokctl report``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from functools import cached_property, partial
from itertools import islice
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from tokctl.analysis.debug.runner import DebugLimits, DebugReport, TroubledInstance
from tokctl.analysis.explain.explanation import Explanation
from tokctl.analysis.flow.critical_path import FlowAnalysis
from tokctl.analysis.flow.token_links import TokenLinks
from tokctl.analysis.performance.comparison import compare, find_groups_only_in
from tokctl.analysis.performance.groups import VisitGroup
from tokctl.analysis.redaction import Redactor
from tokctl.analysis.tree.builder import build_forest
from tokctl.analysis.tree.drawing import TreeLine, draw_forest
from tokctl.analysis.variants import VariantCounter
from tokctl.diagram.activity_marks import Heat
from tokctl.engines.projection import Projection
from tokctl.engines.protocol import ALL_INSTANCES, Engine, UnreadInstance
from tokctl.errors import InputError, NotFoundError
from tokctl.model.filters import ALL_TOKENS, RECORDED_ORDER, SortOrder, TokenFilter
from tokctl.model.instance_status import InstanceStatus
from tokctl.model.states import FAILED, is_final
from tokctl.model.tokens import Token
from tokctl.model.visits import Visit
from tokctl.services.debug import DebugQuery, run_debug
from tokctl.services.diagram import DiagramQuery, DrawnDiagram, draw_activity
from tokctl.services.incidents import Incident, IncidentGroup, create_incident, group_incidents
from tokctl.services.inspection import explain_instance
from tokctl.services.performance import PerformanceQuery, PerformanceReport, analyze_performance
from tokctl.services.snapshot.run import SnapshotRun
from tokctl.services.snapshot.writer import SnapshotWriter, describe_source
from tokctl.store import open_store
from tokctl.store.protocol import Store

MAX_EXPLANATIONS = 100
MAX_TREE_LINES = 2_000
MAX_PROBLEMS = 50
"""Tokens with problems that are kept of each instance."""
MAX_VARIANTS = 10
MAX_DETAILS = 25
"""Instances with details in a report about several: the worst ones."""
MAX_DETAIL_TOKENS = 20_000
"""Tokens that these instances have together."""
_CREATED = SortOrder("created")
_LIMITS = DebugLimits(matches=1, tokens_per_instance=MAX_PROBLEMS)


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

    ``tokens`` are in the order of ``flow.visits``. ``trouble`` has what the rules of ``debug`` found in it. There are
    at most MAX_EXPLANATIONS ``explanations``, of the live tokens with the causes first, and at most MAX_TREE_LINES
    lines of the ``tree``; ``has_more_tree`` tells that lines are left out. ``contradictions`` counts those between the
    links of tokens, by kind. ``performance`` is None if the instance is one of several.
    """

    status: InstanceStatus
    tokens: Sequence[Token]
    flow: FlowAnalysis
    debug: DebugReport
    trouble: TroubledInstance | None
    explanations: Sequence[Explanation]
    diagram: ReportDiagram
    tree: Sequence[TreeLine]
    has_more_tree: bool
    contradictions: Mapping[str, int]
    performance: PerformanceReport | None


class OverviewReport(Struct, frozen=True, kw_only=True):
    """The analyses of several instances: a diagram for each process, and the commonest variants of all.

    ``statuses`` are ordered: those with problems first, the worst before the others. ``details`` are about the first
    of them, as far as MAX_DETAILS and MAX_DETAIL_TOKENS permit. ``incidents`` are the FAILED tokens with the name of
    their element, grouped by their errors; the largest groups come first.
    """

    statuses: Sequence[InstanceStatus]
    debug: DebugReport
    incidents: Sequence[tuple[str, IncidentGroup]]
    diagrams: Sequence[ReportDiagram]
    variants: VariantCounter
    performance: PerformanceReport
    details: Sequence[InstanceReport] = ()


class ReportBase(Struct, frozen=True, kw_only=True):
    """Other instances that those of the report are compared with: a name for them, and their analyses.

    ``groups`` are the durations of the report by process and element, each with its comparison; ``only_in_base`` are
    those of elements that only the base has.
    """

    name: str
    body: OverviewReport
    groups: Sequence[VisitGroup]
    only_in_base: Sequence[VisitGroup]


class Report(Struct, frozen=True, kw_only=True):
    """What a report shows, as of ``now``. ``read_at`` is when the first and the last instance were read."""

    now: datetime
    source: ReportSource
    read_at: tuple[datetime, datetime]
    unread: Sequence[UnreadInstance]
    body: InstanceReport | OverviewReport
    base: ReportBase | None = None


class ReportReader:
    """Reads instances of an engine into stores in memory, and analyzes them; live tokens count until ``now``.

    They are read once: everything in a report is of the same moment, and nothing that was redacted can get into it. So
    they are compared with each other only, and not with those that are not read. ``source`` has the name and the kind
    of the source, ``thresholds`` are those of the configuration. ``step`` is called after each instance.
    """

    def __init__(
        self,
        engine: Engine,
        now: datetime,
        *,
        source: tuple[str, str],
        redaction: Redactor,
        clock: Callable[[], datetime],
        thresholds: Mapping[str, Any] | None = None,
        step: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.engine, self.now, self.source, self.redaction, self.clock = engine, now, source, redaction, clock
        self.step = step
        self._query = DebugQuery(configured=thresholds or {}, ended=True)
        self._times: list[datetime] = []
        self._unread: list[UnreadInstance] = []

    @contextmanager
    def _read(self, ids: list[str]) -> Iterator[tuple[Store, list[str]]]:
        """Read instances, and yield the store that has them, with the ids of those that could be read."""
        name, kind = self.source
        with open_store(":memory:", write=True, create=True) as store:
            writer = SnapshotWriter(store, source=name, kind=kind, redaction=self.redaction)
            run = SnapshotRun(writer, ids, clock=self.clock, remote=self._is_remote)
            run.take_all(self.engine, ids, self.step)
            rows = run.rows.values()
            self._times += [row.taken_at for row in rows if row.taken_at is not None]
            self._unread += [UnreadInstance(row.instance_id, row.error) for row in rows if row.error]
            yield store, [row.instance_id for row in rows if row.taken_at is not None]

    @cached_property
    def _is_remote(self) -> bool:
        return describe_source(self.engine).remote

    def read_instance(self, instance_id: str) -> Report:
        """Return the report of a single instance.

        Raises:
            TokctlError: the instance could not be read.
            UsageError: a threshold is invalid.
        """
        with self._read([instance_id]) as (store, ids):
            debug = run_debug(store, ids[0], self.now, self._query, limits=_LIMITS, prefix=None)
            performance = analyze_performance(store, PerformanceQuery(instance_id=ids[0]), self.now)
            return self._finish(_analyze_instance(store, ids[0], self.now, debug, performance))

    def read_instances(
        self, ids: list[str], *, base: tuple[str, list[str]] | None = None, details: bool = True
    ) -> Report:
        """Return the report of several instances, with the ``details`` of the worst.

        ``base`` has the ids of instances that they are compared with, and a name for these.

        Raises:
            TokctlError: no instance could be read, or none of the base.
            UsageError: a threshold is invalid.
        """
        with ExitStack() as stores:
            store, _ = stores.enter_context(self._read(ids))
            body = _analyze_all(store, self.now, self._query, details=details)
            if base is None:
                return self._finish(body)
            other, _ = stores.enter_context(self._read(base[1]))
            against = _analyze_all(other, self.now, self._query, details=False)
            measured, before = body.performance.performance, against.performance.performance
            found = ReportBase(
                name=base[0],
                body=against,
                groups=compare(measured, before),
                only_in_base=find_groups_only_in(before, measured),
            )
            return self._finish(body, found)

    def _finish(self, body: InstanceReport | OverviewReport, base: ReportBase | None = None) -> Report:
        name, kind = self.source
        return Report(
            now=self.now,
            source=ReportSource(
                name=name,
                kind=kind,
                redacted=self.redaction.patterns,
                limitations=tuple(self.engine.limitations),
            ),
            read_at=(min(self._times), max(self._times)),
            unread=tuple(self._unread),
            body=body,
            base=base,
        )


def _analyze_instance(
    engine: Engine, instance_id: str, now: datetime, debug: DebugReport, performance: PerformanceReport | None = None
) -> InstanceReport:
    tokens = list(engine.tokens(instance_id, ALL_TOKENS, _CREATED))
    status = engine.instance(instance_id)
    forest = build_forest(engine.tree_rows(instance_id))
    lines = [line for line in islice(draw_forest(forest), MAX_TREE_LINES + 1) if isinstance(line, TreeLine)]
    return InstanceReport(
        status=status,
        tokens=tokens,
        flow=FlowAnalysis([Visit.from_token(token, flows=True) for token in tokens], now),
        debug=debug,
        trouble=next((one for one in debug.worst if one.status.instance.instance_id == instance_id), None),
        explanations=explain_instance(engine, instance_id, now)[:MAX_EXPLANATIONS],
        diagram=_draw(engine, status.instance.process_id, DiagramQuery(instance_id=instance_id), now),
        tree=lines[:MAX_TREE_LINES],
        has_more_tree=len(lines) > MAX_TREE_LINES,
        contradictions=dict(forest.anomalies.counts),
        performance=performance,
    )


def _analyze_all(engine: Engine, now: datetime, query: DebugQuery, *, details: bool) -> OverviewReport:
    statuses, variants = {}, VariantCounter()
    for status, visits in engine.all_visits(ALL_INSTANCES, flows=True):
        instance = status.instance
        statuses[instance.instance_id] = status
        ended = is_final(status.status or "")
        variants.add(instance.instance_id, instance.process_id, TokenLinks(visits, now), ended=ended)
    draw = partial(_draw, engine, now=now)
    processes = dict.fromkeys(status.instance.process_id for status in statuses.values())
    debug = run_debug(engine, None, now, query, limits=_LIMITS, prefix=None)
    worst_first = dict.fromkeys([*(one.status.instance.instance_id for one in debug.worst), *statuses])
    found = OverviewReport(
        statuses=[statuses[instance_id] for instance_id in worst_first],
        debug=debug,
        incidents=_group_incidents(engine),
        diagrams=[draw(one, DiagramQuery(process_id=one, heat=Heat.TIME)) for one in processes],
        variants=variants,
        performance=analyze_performance(engine, PerformanceQuery(by=("process", "element")), now),
    )
    if not details:
        return found
    chosen = _choose_details(found.statuses)
    return replace(found, details=[_analyze_instance(engine, one, now, debug) for one in chosen])


def _group_incidents(engine: Engine) -> list[tuple[str, IncidentGroup]]:
    failed = TokenFilter(states=(FAILED,))
    at: dict[str, list[Incident]] = {}
    for token in engine.tokens(None, failed, SortOrder(RECORDED_ORDER), projection=Projection.VISITS):
        at.setdefault(token.name, []).append(create_incident(token))
    groups = [(name, group) for name, incidents in at.items() for group in group_incidents(incidents, "error")]
    return sorted(groups, key=lambda one: (-one[1].incidents, one[0]))


def _choose_details(statuses: Sequence[InstanceStatus]) -> list[str]:
    """Return the ids of the instances to show in detail: the first ones that are not too large."""
    chosen: list[str] = []
    tokens = 0
    for status in statuses:
        if len(chosen) < MAX_DETAILS and tokens + status.total_tokens <= MAX_DETAIL_TOKENS:
            chosen.append(status.instance.instance_id)
            tokens += status.total_tokens
    return chosen


def _draw(engine: Engine, process_id: str | None, query: DiagramQuery, now: datetime) -> ReportDiagram:
    if process_id is None:
        return ReportDiagram(process_id=None, problem="the process is unknown.")
    try:
        return ReportDiagram(process_id=process_id, drawn=draw_activity(engine, query, now))
    except (NotFoundError, InputError) as error:  # a report without a diagram is still one
        return ReportDiagram(process_id=process_id, problem=error.message)
