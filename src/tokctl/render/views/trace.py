"""The trace of an instance: its timeline, its paths, and where the time went."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from datetime import datetime

from tokctl.analysis.encoding.trace import encode_event, encode_trace, encode_trace_head, encode_trace_tail
from tokctl.analysis.flow.intervals import TimeSpent
from tokctl.analysis.flow.paths import ExecutionPath
from tokctl.analysis.trace.report import InstanceTrace
from tokctl.analysis.trace.timeline import TraceEvent
from tokctl.analysis.tree.folding import divide_into_runs
from tokctl.model.durations import Duration
from tokctl.model.states import is_final
from tokctl.model.times import format_time
from tokctl.render.result import Cell, Column, Detail, Field, Listing, Output, Section, table
from tokctl.render.text import (
    CERTAINTY_SIGNS,
    count,
    duration_cell,
    explain_certainty,
    format_clock,
    format_duration,
    format_range,
    format_zoned_time,
    ms_cell,
    since_start_cell,
    so_far,
    spent_cell,
    state_cell,
)
from tokctl.render.views.tokens import format_raw_json, headline

BAR_WIDTH = 20  # cells
MAX_PATHS_SHOWN = 10
MAX_STEPS_SHOWN = 24  # of a path


def trace_listing(report: InstanceTrace, *, limit: int | None, offset: int, empty: str, out: Output) -> Listing:
    """Return a trace with its timeline, or with a page of it."""
    part = report.part[offset : None if limit is None else offset + limit]
    timeline = Listing(
        key="execution_timeline",
        items=report.timeline.events(part),
        columns=_event_columns(report, part),
        ident=lambda event: event.token_id,
        document=encode_event,
        head=encode_trace_head(report),
        tail=lambda: encode_trace_tail(report),
        headline=lambda: headline(report.status, report.summary, out),
        notes=_notes(report, part),
        empty=empty or _empty_message(report),
    )

    def sections() -> Iterator[Section]:
        bounds = [
            Cell(f"  {word} {format_zoned_time(time, out.now)}", "dim")
            for word, time in (("since", report.since), ("until", report.until))
            if time
        ]
        yield Section(title=(Cell("Timeline", "bold"), *bounds), listing=timeline)
        if report.paths.paths:
            yield _paths_section(report)
        yield from _summary_sections(report)

    timeline.sections = sections
    return timeline


def trace_detail(report: InstanceTrace, out: Output) -> Detail:
    """Return a trace without its timeline, paths and tree."""
    return Detail(
        ident=report.status.instance.instance_id,
        document=encode_trace(report),
        title=headline(report.status, report.summary, out),
        sections=tuple(_summary_sections(report)),
    )


def _empty_message(report: InstanceTrace) -> str:
    return "No events in this period." if len(report.timeline) else "No events: the instance has no tokens."


def _notes(report: InstanceTrace, part: range) -> Callable[[int], list[str]]:
    def say(_: int) -> list[str]:
        notes = explain_certainty(set(report.forest.certainties.values()))
        if len(part) < len(report.part):
            where = f"{part.start + 1 - report.part.start:,} to {part.stop - report.part.start:,}" if part else "none"
            notes.append(
                f"Showing {where} of {count(len(report.part), 'event')}. Use --page for others, --limit 0 for all."
            )
        if report.unreadable:
            notes.append(f"{count(report.unreadable, 'flow history entry', 'flow history entries')} cannot be read.")
        if total := report.forest.anomalies.total:
            notes.append(
                f"The links between tokens contradict each other in {count(total, 'place')}. See 'tokctl tokens tree'."
            )
        return notes

    return say


# --- the timeline ---------------------------------------------------------------------------------


def _event_columns(report: InstanceTrace, part: range) -> tuple[Column, ...]:
    began, digits = report.timeline.began_at, len(str(part.stop))

    def clock(event: TraceEvent) -> Cell:
        if event.timestamp is None or began is None:
            return Cell("?", "dim")
        return Cell(format_clock(event.timestamp, began, report.generated_at, first=event.sequence == part.start + 1))

    def offset_ms(event: TraceEvent) -> float | None:
        if event.timestamp is None or began is None:
            return None
        return (event.timestamp - began).total_seconds() * 1000

    def since_start(event: TraceEvent) -> Cell:
        return since_start_cell(offset_ms(event), derived=event.timestamp_derived)

    return (
        Column("sequence", "#", show=lambda e: Cell(f"{e.sequence:>{digits}}"), right=True),
        Column("timestamp", "TIME", lambda e: format_time(e.timestamp), show=clock, rank=6),
        Column("offset_ms", "SINCE START", offset_ms, show=since_start, right=True, rank=3),
        Column("action", "EVENT", show=_action_cell),
        Column("element_name", "ELEMENT", show=lambda e: Cell(e.name), fold=True),
        Column(
            "how",
            "HOW",
            lambda e: _format_transition(e, "->"),
            show=lambda e: Cell(_format_transition(e, "→"), "dim"),
            fold=True,
            min_width=18,
            rank=2,
        ),
        Column("duration_ms", "TOOK", show=_duration_cell, right=True, rank=1),
        Column("token_id", "TOKEN", show=lambda e: Cell(e.token_id, "dim"), rank=5),
        *_DETAIL_COLUMNS,
    )


_DETAIL_COLUMNS = (
    Column("element_type", "TYPE", wide=True, rank=7),
    Column("element_id", "ELEMENT ID", fold=True, wide=True, rank=9),
    Column("from_element", "FROM", fold=True, wide=True, rank=9),
    Column("via_flow", "FLOW", fold=True, wide=True, rank=9),
    Column("wait_ms", "WAITED", form=ms_cell, right=True, wide=True, rank=8),
    Column("child_token_id", "CHILD", wide=True, rank=9),
    Column("variables", "VARIABLES", form=lambda raw: Cell(format_raw_json(raw)), fold=True, rank=4),
)
_ACTION_STYLES = {
    "TOKEN_CREATED": "",
    "TOKEN_MOVED": "cyan",
    "TOKEN_SPLIT": "magenta",
    "GATEWAY_EVALUATED": "cyan",
    "TOKEN_COMPLETED": "green",
    "TOKEN_CANCELLED": "yellow",
    "TOKEN_FAILED": "bold red",
}


def _action_cell(event: TraceEvent) -> Cell:
    return Cell(event.action.removeprefix("TOKEN_").removeprefix("GATEWAY_"), _ACTION_STYLES.get(event.action, ""))


def _format_transition(event: TraceEvent, arrow: str) -> str:
    """Return the source and the flow of a move, the decision of a gateway, or the child of a split."""
    if event.action == "TOKEN_MOVED":
        text = f" {arrow} ".join(part for part in (event.from_element, event.via_flow) if part)
        text = f"{CERTAINTY_SIGNS[event.certainty]} {text}".strip()
        return f"{text}, waited {format_duration(event.wait_ms / 1000)}" if event.wait_ms else text
    if event.action == "TOKEN_SPLIT":
        return f"{arrow} {event.child_token_id}"
    if event.decision is not None:
        parts = (event.decision.condition_evaluated, event.decision.selected_flow)
        return f" {arrow} ".join(part for part in parts if part)
    return ""


def _duration_cell(event: TraceEvent) -> Cell:
    if event.duration_ms is None:
        return Cell("")
    return duration_cell(Duration(event.duration_ms, event.duration_derived))


# --- paths and summary -----------------------------------------------------------------------------


def _paths_section(report: InstanceTrace) -> Section:
    found, shown = report.paths, report.paths.paths[:MAX_PATHS_SHOWN]
    title = [Cell("Paths", "bold")]
    if found.distinct_count > len(shown) or found.ways > found.distinct_count:
        title.append(
            Cell(f"  {len(shown)} of {found.distinct_count:,} different paths, {found.ways:,} in total", "dim")
        )
    columns = (
        Column("count", "COUNT", show=lambda p: Cell(f"{p.count:,}"), right=True),
        Column("elements", "ELEMENTS", show=lambda p: Cell(_steps(p)), fold=True, min_width=24),
        Column("status", "END", show=lambda p: state_cell(p.status)),
        Column("duration_ms", "TOOK", "longest_ms", show=_path_duration_cell, right=True, rank=1),
        Column("token_count", "TOKENS", show=lambda p: Cell(f"{p.token_count:,}"), right=True, rank=2),
    )
    return Section(title=tuple(title), listing=table(shown, columns))


def _steps(path: ExecutionPath) -> str:
    """Return the elements of a path. Loops are written once with their passes; a long path is cut at its beginning."""
    codes: dict[str, int] = {}
    numbers = array("i", (codes.setdefault(element, len(codes)) for element in path.elements))
    texts, position = [], 0
    for steps, passes in divide_into_runs(numbers):
        names = " → ".join(path.elements[position : position + steps])
        if passes > 1:
            names = f"({names})" if steps > 1 else names
            names += f" ×{passes:,}"
        texts.append(names)
        position += steps * passes
    cut = path.elements_left_out or len(texts) > MAX_STEPS_SHOWN
    return ("… → " if cut else "") + " → ".join(texts[-MAX_STEPS_SHOWN:])


def _path_duration_cell(path: ExecutionPath) -> Cell:
    if path.longest_ms is None or path.shortest_ms is None:
        return Cell("?", "dim")
    still_open = not is_final(path.status)
    took = "~" * (not still_open) + format_range(path.shortest_ms, path.longest_ms)
    return Cell(so_far(took, still_open=still_open), "yellow" if still_open else "")


def _summary_sections(report: InstanceTrace) -> Iterator[Section]:
    found = report.analysis
    breakdown, open_time = found.breakdown + found.so_far, found.so_far
    parts = [
        ("processing", breakdown.processing, open_time.processing, "green"),
        ("waiting", breakdown.waiting - breakdown.between, open_time.waiting, "yellow"),
        ("between tokens", breakdown.between, 0.0, "yellow"),
        ("overhead", breakdown.overhead, open_time.overhead, "cyan"),
        ("unknown", breakdown.unknown, open_time.unknown, "dim"),
    ]
    if breakdown.total > 0:
        lines = [
            _bar(
                label,
                so_far(format_duration(ms / 1000), still_open=open_ms > 0),
                ms / breakdown.total,
                style,
            )
            for label, ms, open_ms, style in parts
            if ms
        ]
        yield Section(title="Where the time went", lines=lines)
    if found.bottlenecks:
        yield _bottlenecks(report)
    yield Section(title="Summary", fields=tuple(_fields(report)))


def _bar(label: str, took: str, share: float, style: str) -> tuple[Cell, ...]:
    filled = min(max(round(share * BAR_WIDTH), 1), BAR_WIDTH)
    return (
        Cell(f"{label:<14}  "),
        Cell("█" * filled + " " * (BAR_WIDTH - filled), style),
        Cell(f"  {share:>6.1%}  {took}"),
    )


def _bottlenecks(report: InstanceTrace) -> Section:
    labels = {label[0]: label for label in reversed(report.forest.labels)}

    def name(one: TimeSpent[str]) -> str:
        return labels[one.key][2] or one.key

    columns = (
        Column("element_name", "ELEMENT", name, fold=True),
        Column("element_type", "TYPE", lambda b: labels[b.key][1], rank=3),
        Column("visits", "VISITS", show=lambda b: Cell(f"{b.visits:,}"), right=True),
        Column(
            "total_duration_ms", "TOTAL", show=lambda b: spent_cell(b.total_ms, still_open=b.so_far_ms > 0), right=True
        ),
        Column(
            "longest_duration_ms",
            "LONGEST",
            show=lambda b: spent_cell(b.longest_ms, still_open=b.longest_is_open),
            right=True,
            rank=2,
        ),
        Column("percentage_of_total", "SHARE", show=lambda b: Cell(f"{b.percentage_of_total:.1f}%"), right=True),
    )
    return Section(title="Bottlenecks", listing=table(report.analysis.bottlenecks, columns))


def _fields(report: InstanceTrace) -> Iterator[Field]:
    found = report.analysis
    took = Cell("unknown", "dim")
    if found.total_ms is not None:
        took = Cell(so_far(format_duration(found.total_ms / 1000), still_open=found.running))
    yield Field("took", took)
    counts = (f"{number:,} {_format_action(action)}" for action, number in report.timeline.counts.items() if number)
    yield Field("events", Cell(f"{len(report.timeline):,}" + _parenthesize(", ".join(counts))))
    yield Field("paths", Cell(f"{report.paths.distinct_count:,} different, {report.paths.ways:,} in total"))
    yield Field("live at once", Cell(_concurrency(found.max_concurrent, found.most_at, report.generated_at)))


def _format_action(action: str) -> str:
    return action.removeprefix("TOKEN_").removeprefix("GATEWAY_").lower()


def _parenthesize(text: str) -> str:
    return f"  ({text})" if text else ""


def _concurrency(most: int, at: datetime | None, now: datetime) -> str:
    first = f", first at {format_zoned_time(at, now)}" if most > 1 and at is not None else ""
    return f"at most {most:,}{first}" if most else "none"
