"""The trace of an instance: its timeline, the ways that it took, where its time went."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from datetime import datetime

from tokctl.process.fold import loops
from tokctl.process.model import Duration, format_time
from tokctl.process.paths import Path
from tokctl.process.spans import Bottleneck
from tokctl.process.timeline import Event
from tokctl.process.trace import Trace, event_document, head, tail, trace_document
from tokctl.render.human import count, duration_cell, span, state_cell
from tokctl.render.result import Cell, Column, Detail, Field, Listing, Section
from tokctl.render.views.tokens import headline, raw_text

BAR = 20  # cells
PATHS_SHOWN = 10
STEPS_SHOWN = 24  # of a path


def trace_listing(made: Trace, *, limit: int | None, offset: int, empty: str, unicode: bool) -> Listing:
    """A trace with its timeline, or a page of that."""
    part = made.part[offset : None if limit is None else offset + limit]
    timeline = Listing(
        key="execution_timeline",
        items=made.timeline.events(part),
        columns=_event_columns(made, part, unicode=unicode),
        ident=lambda event: event.token_id,
        document=event_document,
        head=head(made),
        tail=lambda: tail(made),
        headline=lambda: headline(made.status, made.summary, made.generated_at, unicode=unicode),
        notes=_notes(made, part),
        empty=empty or _nothing(made),
    )

    def sections() -> Iterator[Section]:
        bounds = [
            Cell(f"  {word} {format_time(time)}", "dim")
            for word, time in (("since", made.since), ("until", made.until))
            if time
        ]
        yield Section(title=(Cell("Timeline", "bold"), *bounds), listing=timeline)
        if made.paths.paths:
            yield _paths(made, unicode=unicode)
        yield from _totals(made, unicode=unicode)

    timeline.sections = sections
    return timeline


def trace_detail(made: Trace, *, unicode: bool) -> Detail:
    """A trace without its timeline, paths and tree."""
    return Detail(
        ident=made.status.instance.instance_id,
        document=trace_document(made),
        title=headline(made.status, made.summary, made.generated_at, unicode=unicode),
        sections=tuple(_totals(made, unicode=unicode)),
    )


def _nothing(made: Trace) -> str:
    return "Nothing happened in this period." if len(made.timeline) else "Nothing happened: the instance has no tokens."


def _notes(made: Trace, part: range) -> Callable[[int], list[str]]:
    def say(_: int) -> list[str]:
        said = []
        if len(part) < len(made.part):
            where = f"{part.start + 1 - made.part.start:,} to {part.stop - made.part.start:,}" if part else "none"
            said.append(f"Showing {where} of {count(len(made.part), 'event')}: --page for others, --limit 0 for all.")
        if made.unreadable:
            said.append(f"{count(made.unreadable, 'flow history entry', 'flow history entries')} cannot be read.")
        if total := made.forest.anomalies.total:
            said.append(
                f"The links between tokens contradict each other in {count(total, 'place')}: see 'tokctl tokens tree'."
            )
        return said

    return say


# --- the timeline ---------------------------------------------------------------------------------


def _event_columns(made: Trace, part: range, *, unicode: bool) -> tuple[Column, ...]:
    began, now = made.timeline.began_at, made.generated_at
    first = part.start + 1
    digits = len(str(part.stop))
    arrow = "→" if unicode else "->"

    def clock(event: Event) -> Cell:
        """A time of day, with the date in the first line unless it is today's, and where it is another than there."""
        text = format_time(event.timestamp)
        if text is None or event.timestamp is None or began is None:
            return Cell("?", "dim")
        date, _, time = text.rstrip("Z").partition("T")
        if event.sequence == first:
            return Cell(time[:12] if event.timestamp.date() == now.date() else f"{date} {time[:12]}")
        return Cell(time[:12] if event.timestamp.date() == began.date() else f"{date} {time[:8]}")

    def offset(event: Event) -> float | None:
        if event.timestamp is None or began is None:
            return None
        return (event.timestamp - began).total_seconds() * 1000

    def since_start(event: Event) -> Cell:
        ms = offset(event)
        return Cell("?" if ms is None else f"+{span(ms / 1000)}{'~' * event.timestamp_derived}", "dim")

    return (
        Column(key="sequence", title="#", value=lambda e: e.sequence, show=lambda e: Cell(f"{e.sequence:>{digits}}"),
               right=True),
        Column(key="timestamp", title="TIME", value=lambda e: format_time(e.timestamp), show=clock, rank=6),
        Column(key="offset_ms", title="SINCE START", value=offset, show=since_start, right=True, rank=3),
        Column(key="action", title="EVENT", value=lambda e: e.action, show=_action_cell),
        Column(key="element_name", title="ELEMENT", value=lambda e: e.element_name, show=lambda e: Cell(e.name),
               fold=True),
        Column(key="how", title="HOW", value=lambda e: _how(e, "->"), show=lambda e: Cell(_how(e, arrow), "dim"),
               fold=True, least=18, rank=2),
        Column(key="duration_ms", title="TOOK", value=lambda e: e.duration_ms, show=_took, right=True, rank=1),
        Column(key="token_id", title="TOKEN", value=lambda e: e.token_id, show=lambda e: Cell(e.token_id, "dim"),
               rank=5),
        Column(key="element_type", title="TYPE", value=lambda e: e.element_type, wide=True, rank=7),
        Column(key="element_id", title="ELEMENT ID", value=lambda e: e.element_id, fold=True, wide=True, rank=9),
        Column(key="from_element", title="FROM", value=lambda e: e.from_element, fold=True, wide=True, rank=9),
        Column(key="via_flow", title="FLOW", value=lambda e: e.via_flow, fold=True, wide=True, rank=9),
        Column(key="wait_ms", title="WAITED", value=lambda e: e.wait_ms,
               show=lambda e: Cell("" if e.wait_ms is None else span(e.wait_ms / 1000)), right=True, wide=True, rank=8),
        Column(key="child_token_id", title="CHILD", value=lambda e: e.child_token_id, wide=True, rank=9),
        Column(key="variables", title="VARIABLES", value=lambda e: e.variables,
               show=lambda e: Cell(raw_text(e.variables)), fold=True, rank=4),
    )  # fmt: skip


_STYLES = {
    "TOKEN_CREATED": "",
    "TOKEN_MOVED": "cyan",
    "TOKEN_SPLIT": "magenta",
    "GATEWAY_EVALUATED": "cyan",
    "TOKEN_COMPLETED": "green",
    "TOKEN_CANCELLED": "yellow",
    "TOKEN_FAILED": "bold red",
}


def _action_cell(event: Event) -> Cell:
    return Cell(event.action.removeprefix("TOKEN_").removeprefix("GATEWAY_"), _STYLES.get(event.action, ""))


def _how(event: Event, arrow: str) -> str:
    """Where from and over which flow, why, or into what."""
    if event.action == "TOKEN_MOVED":
        text = f" {arrow} ".join(part for part in (event.from_element, event.via_flow) if part)
        return f"{text}, waited {span(event.wait_ms / 1000)}" if event.wait_ms else text
    if event.action == "TOKEN_SPLIT":
        return f"{arrow} {event.child_token_id}"
    if event.decision is not None:
        parts = (event.decision.condition_evaluated, event.decision.selected_flow)
        return f" {arrow} ".join(part for part in parts if part)
    return ""


def _took(event: Event) -> Cell:
    if event.duration_ms is None:
        return Cell("")
    return duration_cell(Duration(event.duration_ms, event.duration_derived))


# --- what it comes to -----------------------------------------------------------------------------


def _paths(made: Trace, *, unicode: bool) -> Section:
    found, shown = made.paths, made.paths.paths[:PATHS_SHOWN]
    arrow = "→" if unicode else "->"
    title = [Cell("Paths", "bold")]
    if found.different > len(shown) or found.ways > found.different:
        title.append(Cell(f"  {len(shown)} of {found.different:,}, which {count(found.ways, 'way')} took", "dim"))
    columns = (
        Column(key="count", title="WAYS", value=lambda p: p.count, show=lambda p: Cell(f"{p.count:,}"), right=True),
        Column(key="elements", title="ELEMENTS", value=lambda p: p.elements,
               show=lambda p: Cell(_steps(p, arrow, unicode=unicode)), fold=True, least=24),
        Column(key="status", title="END", value=lambda p: p.status,
               show=lambda p: state_cell(p.status, unicode=unicode)),
        Column(key="duration_ms", title="TOOK", value=lambda p: p.longest_ms, show=_path_took, right=True, rank=1),
        Column(key="token_count", title="TOKENS", value=lambda p: p.token_count,
               show=lambda p: Cell(f"{p.token_count:,}"), right=True, rank=2),
    )  # fmt: skip
    return Section(
        title=tuple(title),
        listing=Listing(
            key="execution_paths", items=shown, columns=columns, ident=lambda p: p.last_token_id, document=dict
        ),
    )


def _steps(path: Path, arrow: str, *, unicode: bool) -> str:
    """The elements of a path, loops once with their passes; of a long one its end."""
    codes: dict[str, int] = {}
    numbers = array("i", (codes.setdefault(element, len(codes)) for element in path.elements))
    texts, position = [], 0
    for steps, passes in loops(numbers):
        names = f" {arrow} ".join(path.elements[position : position + steps])
        if passes > 1:
            names = f"({names})" if steps > 1 else names
            names += f" {'×' if unicode else 'x'}{passes:,}"
        texts.append(names)
        position += steps * passes
    more = "… → " if unicode else "... -> "
    cut = path.elements_left_out or len(texts) > STEPS_SHOWN
    return (more if cut else "") + f" {arrow} ".join(texts[-STEPS_SHOWN:])


def _path_took(path: Path) -> Cell:
    if path.longest_ms is None or path.shortest_ms is None:
        return Cell("?", "dim")
    low, high = span(path.shortest_ms / 1000), span(path.longest_ms / 1000)
    return Cell("~" + (low if low == high else f"{low} to {high}"))


def _totals(made: Trace, *, unicode: bool) -> Iterator[Section]:
    found = made.analysis
    division = found.breakdown
    parts = [
        ("processing", division.processing, "green"),
        ("waiting", division.waiting - division.between, "yellow"),
        ("between tokens", division.between, "yellow"),
        ("overhead", division.overhead, "cyan"),
        ("unknown", division.unknown, "dim"),
    ]
    if division.total > 0:
        lines = [_bar(label, ms, ms / division.total, style, unicode=unicode) for label, ms, style in parts if ms]
        yield Section(title="Where the time went", lines=lines)
    if found.bottlenecks:
        yield _bottlenecks(made)
    yield Section(title="Summary", fields=tuple(_fields(made)))


def _bar(label: str, ms: float, share: float, style: str, *, unicode: bool) -> tuple[Cell, ...]:
    filled = min(max(round(share * BAR), 1), BAR)
    return (
        Cell(f"{label:<14}  "),
        Cell(("█" if unicode else "#") * filled + " " * (BAR - filled), style),
        Cell(f"  {share:>6.1%}  {span(ms / 1000)}"),
    )


def _bottlenecks(made: Trace) -> Section:
    labels = {label[0]: label for label in reversed(made.forest.labels)}

    def name(one: Bottleneck[str]) -> str:
        return labels[one.key][2] or one.key

    columns = (
        Column(key="element_name", title="ELEMENT", value=name, fold=True),
        Column(key="element_type", title="TYPE", value=lambda b: labels[b.key][1], rank=3),
        Column(key="visits", title="VISITS", value=lambda b: b.visits, show=lambda b: Cell(f"{b.visits:,}"),
               right=True),
        Column(key="total_duration_ms", title="IN ALL", value=lambda b: b.total_ms,
               show=lambda b: Cell(span(b.total_ms / 1000)), right=True),
        Column(key="longest_duration_ms", title="LONGEST", value=lambda b: b.longest_ms,
               show=lambda b: Cell(span(b.longest_ms / 1000)), right=True, rank=2),
        Column(key="percentage_of_total", title="SHARE", value=lambda b: b.percentage_of_total,
               show=lambda b: Cell(f"{b.percentage_of_total:.1f}%"), right=True),
    )  # fmt: skip
    return Section(
        title="Bottlenecks",
        listing=Listing(
            key="bottlenecks", items=made.analysis.bottlenecks, columns=columns, ident=lambda b: b.key, document=dict
        ),
    )


def _fields(made: Trace) -> Iterator[Field]:
    found = made.analysis
    took = Cell("unknown", "dim")
    if found.total_ms is not None:
        took = Cell(span(found.total_ms / 1000) + "…" * found.running)
    yield Field("took", took)
    told = (f"{number:,} {_word(action)}" for action, number in made.timeline.counts.items() if number)
    yield Field("events", Cell(f"{len(made.timeline):,}" + _bracket(", ".join(told))))
    yield Field("paths", Cell(f"{made.paths.different:,}" + _bracket(count(made.paths.ways, "way"))))
    yield Field("live at once", Cell(_concurrency(found.max_concurrent, found.most_at)))


def _word(action: str) -> str:
    return action.removeprefix("TOKEN_").removeprefix("GATEWAY_").lower()


def _bracket(text: str) -> str:
    return f"  ({text})" if text else ""


def _concurrency(most: int, at: datetime | None) -> str:
    return f"at most {most:,}" + (f", first at {format_time(at)}" if most > 1 else "") if most else "none"
