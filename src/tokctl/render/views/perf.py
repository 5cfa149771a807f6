"""Performance: the documented figures, where the time went, and groups of visits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

from tokctl.analysis.encoding.performance import encode_comparison, encode_group, encode_throughput, performance_head
from tokctl.analysis.performance.comparison import CRITERION
from tokctl.analysis.performance.durations import Performance
from tokctl.analysis.performance.groups import GroupComparison, VisitGroup
from tokctl.analysis.performance.visits import VisitSample
from tokctl.model.durations import format_duration
from tokctl.model.instances import summarize
from tokctl.model.states import CANCELLED, FAILED, can_move
from tokctl.model.times import from_micros
from tokctl.render.result import Cell, Column, Field, Listing, Output, Section
from tokctl.render.text import count, ms_cell, so_far, to_zone
from tokctl.services.performance import ComparisonBase

_BAR_WIDTH = 20  # cells of a bar
_SHARE_BAR_WIDTH = 6  # cells of a bar in the table
_WIDE_TERMINAL = 100  # cells; terminals of this width have room for percentages beside these bars
_EIGHTHS = " ▏▎▍▌▋▊▉"
_LEVELS = "▁▂▃▄▅▆▇█"
_GAP = Cell("  ")
_DASH = Cell("—", "dim")
_TIME_KIND_STYLES = {"processing": "green", "waiting": "yellow", "overhead": "blue", "unknown": "dim"}
_VERDICT_STYLES = {"slower": ("▲", "bold red"), "faster": ("▼", "green")}


# --- bars -----------------------------------------------------------------------------------------


def bar(share: float, room: int) -> str:
    """Return a bar for a share (0 to 1) of ``room`` cells; it is visible for any share above 0."""
    eighths = max(round(min(share, 1.0) * room * 8), 1) if share > 0 else 0
    whole, part = divmod(eighths, 8)
    return "█" * whole + _EIGHTHS[part].strip()


def sparkline(counts: Sequence[int]) -> str:
    """Return one character per count: a higher one for more, a space for 0."""
    most = max(counts, default=0)
    return "".join(_LEVELS[-(-number * len(_LEVELS) // most) - 1] if number else " " for number in counts)


def _percent(share: float) -> str:
    return "<1%" if 0 < share < 0.005 else f"{share:.0%}"


def _bars(rows: Sequence[tuple[str, float, str, str]]) -> list[tuple[Cell, ...]]:
    """Return a line with a bar for each (label, share, text, style)."""
    label_room = max((len(label) for label, *_ in rows), default=0)
    return [
        (
            Cell(label.ljust(label_room), "dim"),
            _GAP,
            Cell(bar(share, _BAR_WIDTH).ljust(_BAR_WIDTH), style),
            Cell(f"  {_percent(share):>4}  {words}"),
        )
        for label, share, words, style in rows
    ]


# --- the result -----------------------------------------------------------------------------------


def performance_listing(
    performance: Performance,
    groups: Sequence[VisitGroup],
    *,
    shown: Sequence[VisitGroup],
    about: str,
    base: ComparisonBase | None = None,
    out: Output,
    notes: Callable[[int], list[str]] = lambda _: [],
    empty: str = "",
) -> Listing:
    """Return a list of groups. ``about`` describes the analysed instances, ``shown`` are the groups of this page."""
    summary = summarize(performance.counts())
    columns = (
        *_key_columns(performance.by, several_processes=len({group.process_id for group in groups}) > 1),
        *_duration_columns(show_percent=out.width >= _WIDE_TERMINAL),
        *(_comparison_columns() if base is not None else ()),
        *_COUNT_COLUMNS,
    )

    def sections() -> Iterable[Section]:
        yield Section(title="Figures", fields=_figures(performance))
        yield Section(title="Where the time went", lines=_time_split_lines(performance))
        if base is not None:
            yield Section(title="Differences that matter", lines=_differences(groups, base))
        *first, last = performance.by
        title = f"By {', '.join(first)} and {last}" if first else f"By {last}"
        yield Section(
            title=(Cell(title, "bold"), Cell(f"  {_explain_groups(groups)}", "dim")),
            listing=Listing(
                key="groups",
                items=shown,
                columns=columns,
                ident=_group_id,
                document=encode_group,
                empty=empty or "This page is empty.",
            ),
        )
        yield Section(title="Retries", lines=_retry_lines(performance))
        yield _throughput(performance, out)

    return Listing(
        key="groups",
        items=shown,
        columns=columns,
        ident=_group_id,
        document=encode_group,
        head=performance_head(performance, about)
        | ({"comparison": encode_comparison(base.description, base.performance, base.only_in_base)} if base else {}),
        tail=lambda: {"throughput": encode_throughput(performance)},
        headline=_headline(performance, summary.token_states, about, out.now) if groups else (),
        notes=lambda number: notes(number or len(shown)),
        empty=empty or "No tokens match.",
        sections=sections if groups else None,
    )


def _headline(performance: Performance, states: dict[str, int], about: str, now: datetime) -> tuple[Cell, ...]:
    tokens = sum(states.values())
    live = sum(number for state, number in states.items() if can_move(state))
    parts = [f"{number:,} {state.lower()}" for state, number in states.items() if number and not can_move(state)]
    if live:
        parts.append(f"{live:,} live")
    cells = [Cell(about, "bold"), Cell(f"  {count(tokens, 'token')}: {', '.join(parts)}")]
    if performance.first is not None and performance.last is not None:
        lasted = format_duration((performance.last - performance.first) / 1e6)
        cells.append(Cell(f"  {_period(performance.first, performance.last, now)} ({lasted})", "dim"))
    return tuple(cells)


def _period(begin: int, end: int, now: datetime) -> str:
    """Return a period (µs) as text, with seconds if it is shorter than ten minutes."""
    digits = 19 if end - begin < 600_000_000 else 16
    first, last = (f"{to_zone(from_micros(micros), now):%Y-%m-%d %H:%M:%S}"[:digits] for micros in (begin, end))
    return f"{first} to {last[11:] if last[:10] == first[:10] else last} {to_zone(from_micros(end), now).tzname()}"


# --- figures --------------------------------------------------------------------------------------


def _figures(performance: Performance) -> tuple[Field, ...]:
    mean, measured = performance.mean, performance.total_and_count()[1]
    derived = performance.total("derived")
    mark = "~" if derived else ""
    fields = [
        Field(
            "average",
            Cell(f"{mark}{format_duration(mean / 1000)} over {count(measured, 'completed visit')}")
            if mean is not None
            else Cell("no completed visit has a duration", "dim"),
        ),
        Field("fastest", _sample_cell(performance.fastest)),
        Field("slowest", _sample_cell(performance.slowest)),
    ]
    total, number = performance.total_and_count_so_far()
    if performance.longest_open is not None:
        fields.append(
            Field("still open", Cell(f"{count(number, 'visit')}, {format_duration(total / 1000)} so far", "yellow"))
        )
        fields.append(Field("longest open", Cell(_longest_open(performance.longest_open), "yellow")))
    if derived:
        fields.append(Field("derived", Cell(f"{count(derived, 'duration')} computed from timestamps (~)")))
    left = [
        f"{number:,} {words}"
        for name, words in (("negative", "that ended before they began"), ("unmeasured", "without times"))
        if (number := performance.total(name))
    ]
    if left:
        fields.append(Field("left out", Cell(", ".join(left), "yellow")))
    return tuple(fields)


def _sample_cell(sample: VisitSample | None) -> Cell:
    if sample is None:
        return _DASH
    return Cell("~" * sample.derived + _describe_sample(sample, format_duration(sample.duration_ms / 1000)))


def _longest_open(sample: VisitSample) -> str:
    took = so_far(format_duration(sample.duration_ms / 1000), still_open=True)
    return _describe_sample(sample, took + " since it failed" * (sample.state == FAILED))


def _describe_sample(sample: VisitSample, took: str) -> str:
    return f"{took}  {sample.element_name or sample.element_id}  {sample.token_id}"


# --- where the time went --------------------------------------------------------------------------


def _time_split_lines(performance: Performance) -> list[tuple[Cell, ...]]:
    open_time = performance.breakdown_so_far()
    breakdown = performance.breakdown() + open_time
    if not breakdown.total and not breakdown.scope:
        return []
    rows = []
    for kind, style in _TIME_KIND_STYLES.items():
        spent = getattr(breakdown, kind)
        if kind == "unknown" and not spent:
            continue
        still_open = getattr(open_time, kind)
        words = so_far(format_duration(spent / 1000), still_open=still_open > 0)
        if still_open:
            words += f", {format_duration(still_open / 1000)} open"
        rows.append((kind, spent / breakdown.total if breakdown.total else 0.0, words, style))
    lines = _bars(rows)
    if breakdown.between:
        lines.append((Cell(f"waiting includes {format_duration(breakdown.between / 1000)} between tokens", "dim"),))
    if breakdown.scope:
        spent = so_far(format_duration(breakdown.scope / 1000), still_open=open_time.scope > 0)
        inside = f"and {spent} in sub-processes. Their elements are counted above."
        lines.append((Cell(inside, "dim"),))
    return lines


# --- groups ---------------------------------------------------------------------------------------


def _group_id(group: VisitGroup) -> str:
    parts = (group.element_id or group.element_type, group.worker_id)
    return " ".join(filter(None, parts)) or group.process_id or "-"


def _key_columns(by: Sequence[str], *, several_processes: bool) -> Iterator[Column]:
    """Yield the columns that name a group."""
    if "element" in by:
        yield Column("element_name", "ELEMENT", show=lambda g: Cell(g.element_name or g.element_id), fold=True)
        yield _name_column("element_id", "ELEMENT ID", 9, wide=True)
    if "element" in by or "type" in by:
        yield _name_column("element_type", "TYPE", 8 if "element" in by else 0, wide="type" not in by)
    if "worker" in by:
        yield _name_column("worker_id", "WORKER")
    if "process" in by:
        yield _name_column("process_id", "PROCESS")
    elif "element" in by:
        yield _name_column("process_id", "PROCESS", 1 if several_processes else 7, wide=not several_processes)


def _duration_columns(*, show_percent: bool) -> tuple[Column, ...]:
    return (
        Column("visits", "VISITS", show=lambda g: Cell(f"{g.visits:,}"), right=True),
        _number_column("live", "LIVE", 2),
        Column("completed", "COMPLETED", right=True, wide=True, rank=9),
        Column("time", "TIME", "kind", wide=True, rank=9),
        Column("spent_ms", "SPENT", "spent", show=_spent_cell, right=True),
        Column("spent_share", "SHARE", show=lambda g: _share_cell(g, percent=show_percent), rank=4),
        Column("so_far_ms", "SO FAR", "so_far", form=lambda ms: ms_cell(ms or None), right=True, wide=True, rank=8),
        _time_column("total", "TOTAL", 8, wide=True),
        _time_column("mean", "MEAN", 6),
        _time_column("p50", "P50", 0),
        _time_column("p90", "P90", 3),
        _time_column("p99", "P99", 2),
        _time_column("min", "MIN", 9, wide=True),
        _time_column("max", "MAX", 1),
    )


def _comparison_columns() -> tuple[Column, ...]:
    return (
        Column(
            "base_p50_ms", "BASE P50", "comparison.base.p50", form=lambda p50: ms_cell(p50, "dim"), right=True, rank=1
        ),
        Column(
            "change_ms",
            "CHANGE",
            "comparison.change",
            show=lambda g: _change_cell(g.comparison),
            right=True,
        ),
        Column("verdict", "VERDICT", "comparison.verdict", wide=True, rank=9),
        Column("base_visits", "BASE VISITS", "comparison.base.count", right=True, wide=True, rank=9),
        Column(
            "effect",
            "EFFECT",
            "comparison.effect",
            form=lambda effect: Cell("" if effect is None else f"{effect:+.2f}"),
            right=True,
            wide=True,
            rank=9,
        ),
        Column(
            "p_value",
            "P",
            "comparison.p_value",
            form=lambda p: Cell("" if p is None else f"{p:.2g}"),
            right=True,
            wide=True,
            rank=9,
        ),
    )


def _name_column(key: str, title: str, rank: int = 0, *, wide: bool = False) -> Column:
    def show(group: VisitGroup) -> Cell:
        name = getattr(group, key)
        return Cell(name) if name else _DASH

    return Column(key, title, show=show, fold=True, wide=wide, rank=rank)


def _number_column(key: str, title: str, rank: int, *, wide: bool = False) -> Column:
    def show(group: VisitGroup) -> Cell:
        number = getattr(group, key)
        return Cell(f"{number:,}" if number else "")

    return Column(key, title, show=show, right=True, wide=wide, rank=rank)


def _spent_cell(group: VisitGroup) -> Cell:
    if not group.stats.count and not group.open:
        return Cell("")
    spent = "~" * (group.derived > 0) + format_duration(group.spent / 1000)
    return Cell(so_far(spent, still_open=group.open > 0), "yellow" if group.open else "")


def _time_column(key: str, title: str, rank: int, *, wide: bool = False) -> Column:
    """Return the column of a statistic in ms: ``~`` marks groups with derived durations, ``≥`` lower bounds."""

    def show(group: VisitGroup) -> Cell:
        if (bound := group.bound(key)) is not None:
            return Cell(f"≥{format_duration(bound / 1000)}", "yellow")
        ms = getattr(group.stats, key)
        if ms is None or not group.stats.count:
            return Cell("")
        return Cell(("~" if group.derived else "") + format_duration(ms / 1000))

    return Column(f"{key}_ms", title, lambda g: getattr(g.stats, key), show=show, right=True, wide=wide, rank=rank)


def _state_count_column(state: str) -> Column:
    def show(group: VisitGroup) -> Cell:
        number = group.states.get(state, 0)
        return Cell(f"{number:,}", "red") if number else Cell("")

    return Column(state.lower(), state, lambda g: g.states.get(state, 0), show=show, right=True, wide=True, rank=9)


_COUNT_COLUMNS = (
    Column("waited_ms", "WAITED BEFORE", "waited", form=lambda ms: ms_cell(ms or None), right=True, wide=True, rank=9),
    _number_column("derived", "DERIVED", 9, wide=True),
    _number_column("negative", "NEGATIVE", 9, wide=True),
    _number_column("unmeasured", "UNMEASURED", 9, wide=True),
    _state_count_column(FAILED),
    _state_count_column(CANCELLED),
)


def _share_cell(group: VisitGroup, *, percent: bool) -> Cell:
    share = group.spent_share
    if share is None or not (group.stats.count or group.open):
        return Cell("")
    drawn = bar(share, _SHARE_BAR_WIDTH)
    return Cell(f"{_percent(share):>4} {drawn}".rstrip() if percent else drawn)


def _explain_groups(groups: Sequence[VisitGroup]) -> str:
    """Return what marks mean, and how percentiles are computed."""
    bounds = any(group.bound(name) is not None for group in groups for name in ("mean", "p50", "p90", "p99", "max"))
    return "exact percentiles of completed visits" + "; ≥ lower bound, some are open" * bounds


# --- comparisons ----------------------------------------------------------------------------------


def _format_signed(change: float) -> str:
    return f"{'+' if change > 0 else ''}{format_duration(change / 1000)}"


def _change_cell(comparison: GroupComparison) -> Cell:
    verdict, change = comparison.verdict, comparison.change
    if verdict == "new":
        return Cell("new", "cyan")
    if change is None:
        return Cell("")
    if verdict not in _VERDICT_STYLES:
        return Cell(_format_signed(change) + ("?" if verdict == "few" else ""), "dim")
    sign, style = _VERDICT_STYLES[verdict]
    return Cell(_format_signed(change), style, sign=sign)


def _differences(groups: Sequence[VisitGroup], base: ComparisonBase) -> list[tuple[Cell, ...]]:
    lines: list[tuple[Cell, ...]] = [(Cell(f"compared with {base.description}", "dim"),)]
    few = 0
    for group in groups:
        compared = group.comparison
        if compared is None or compared.verdict not in _VERDICT_STYLES:
            few += compared is not None and compared.verdict == "few"
            continue
        sign, style = _VERDICT_STYLES[compared.verdict]
        odds = (1 + abs(compared.effect or 0)) / 2
        lines.append(
            (
                Cell(compared.verdict, style, sign=sign),
                Cell(f"  {_label(group)}", "bold"),
                Cell(
                    f"  median {format_duration((compared.base.p50 or 0) / 1000)}"
                    f" → {format_duration((group.stats.p50 or 0) / 1000)}"
                ),
                Cell(
                    f"  {compared.verdict} in {odds:.0%} of pairs, {compared.base.count:,} and {group.stats.count:,} "
                    "visits",
                    "dim",
                ),
            )
        )
    if len(lines) == 1:
        lines.append((Cell("none"),))
    if few:
        lines.append((Cell(f"? marks {count(few, 'group')} with too few visits to tell", "dim"),))
    if base.only_in_base:
        names = ", ".join(map(_label, base.only_in_base[:5])) + (
            f" and {len(base.only_in_base) - 5:,} more" if base.only_in_base[5:] else ""
        )
        lines.append((Cell(f"only in BASE: {names}", "dim"),))
    lines.append((Cell(f"criterion: {CRITERION}", "dim"),))
    return lines


def _label(group: VisitGroup) -> str:
    parts = [group.element_name or group.element_id or group.element_type, group.worker_id]
    return " ".join(filter(None, parts)) or group.process_id or "unknown"


# --- retries and throughput -------------------------------------------------------------------------


def _retry_lines(performance: Performance) -> list[tuple[Cell, ...]]:
    retries = performance.retries
    whole = sum(retries.values())
    if whole and whole == performance.unknown_retries:
        return [(Cell("unknown: completed visits have no retries recorded", "dim"),)]
    if set(retries) <= {0}:
        return [(Cell(f"none, in {count(whole, 'completed visit')}", "dim"),)] if whole else []
    shown = sorted(retries.items())
    rows = [(f"{used:,}", number / whole, f"{number:,}", "yellow" if used > 2 else "") for used, number in shown[:20]]
    if shown[20:]:
        more = sum(number for _, number in shown[20:])
        rows.append(("more", more / whole, f"{more:,}", "yellow"))
    return _bars(rows)


def _throughput(performance: Performance, out: Output) -> Section:
    """Return how many visits ended in each period; adjacent periods are merged if the terminal is narrow."""
    buckets = performance.finished.buckets()
    together = max(-(-len(buckets) // (out.width - 4)), 1)
    width = performance.finished.width * together
    counts = [sum(number for _, number in buckets[n : n + together]) for n in range(0, len(buckets), together)]
    lines: list[tuple[Cell, ...]] = []
    if buckets:
        edge = Cell("│", "dim")
        line = Cell(sparkline(counts), "cyan")
        period = _period(buckets[0][0], buckets[-1][0] + performance.finished.width, out.now)
        lines = [(edge, line, edge, Cell(f"  at most {max(counts):,}", "dim")), (Cell(period, "dim"),)]
    return Section(
        title=(Cell("Throughput", "bold"), Cell(f"  ended in each {format_duration(width / 1e6)}", "dim")), lines=lines
    )
