"""How long visits took: the documented figures, where the time went, and the groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec import Struct

from tokctl.process.comparing import CRITERION
from tokctl.process.model import FINAL_STATES, format_time, from_micros, summarize
from tokctl.process.performance import Comparison, Division, Group, Performance, Sample
from tokctl.process.spell import span
from tokctl.render.human import count
from tokctl.render.result import Cell, Column, Document, Field, Listing, Output, Section

_BAR = 20  # cells of a bar
_SHARE = 6  # of one in the table
_ROOMY = 100  # columns of a terminal that has room for percentages beside them
_EIGHTHS = " ▏▎▍▌▋▊▉"
_LEVELS = "▁▂▃▄▅▆▇█"
_ASCII_LEVELS = ".:-=+*#@"
_GAP = Cell("  ")
_DASH = Cell("—", "dim")
_KINDS = {"processing": "green", "waiting": "yellow", "overhead": "blue", "unknown": "dim"}
_VERDICTS = {"slower": ("▲", "^", "bold red"), "faster": ("▼", "v", "bold green")}


class Base(Struct, frozen=True):
    """What a performance is compared with: in words, what it was, and the groups that only it has."""

    words: str
    performance: Performance
    only: list[Group]


# --- pictures -------------------------------------------------------------------------------------


def bar(share: float, room: int, *, unicode: bool) -> str:
    """A bar as long as a share of the room (0 to 1); anything more than nothing shows."""
    eighths = max(round(min(share, 1.0) * room * 8), 1) if share > 0 else 0
    if not unicode:
        return "#" * max(round(eighths / 8), eighths > 0)
    whole, part = divmod(eighths, 8)
    return "█" * whole + _EIGHTHS[part].strip()


def sparkline(counts: Sequence[int], *, unicode: bool) -> str:
    """A character for each count, the higher the more; a space for none at all."""
    levels = _LEVELS if unicode else _ASCII_LEVELS
    most = max(counts, default=0)
    return "".join(levels[-(-number * len(levels) // most) - 1] if number else " " for number in counts)


def _percent(share: float) -> str:
    return "<1%" if 0 < share < 0.005 else f"{share:.0%}"


def _bars(rows: Sequence[tuple[str, float, str, str]], *, unicode: bool) -> list[tuple[Cell, ...]]:
    """Lines of (label, share, words, style), each with its bar."""
    label_room = max((len(label) for label, *_ in rows), default=0)
    return [
        (
            Cell(label.ljust(label_room), "dim"),
            _GAP,
            Cell(bar(share, _BAR, unicode=unicode).ljust(_BAR), style),
            Cell(f"  {_percent(share):>4}  {words}"),
        )
        for label, share, words, style in rows
    ]


# --- the result -----------------------------------------------------------------------------------


def performance_listing(
    performance: Performance,
    groups: Sequence[Group],
    *,
    shown: Sequence[Group],
    about: str,
    base: Base | None = None,
    out: Output,
    notes: Callable[[int], list[str]] = lambda _: [],
    empty: str = "",
) -> Listing:
    """A list of groups. ``about`` says in words what was looked at; ``shown`` are the groups of this page."""
    unicode = out.unicode
    total, measured = performance.figures()
    mean = performance.mean
    summary = summarize(performance.counts())
    division = performance.division()
    columns = _columns(performance, groups, compared=base is not None, unicode=unicode, roomy=out.width >= _ROOMY)

    def sections() -> Iterable[Section]:
        yield Section(title="Figures", fields=_figures(performance))
        yield Section(title="Where the time went", lines=_division_lines(division, unicode=unicode))
        if base is not None:
            yield Section(title="Differences that matter", lines=_differences(groups, base, unicode=unicode))
        *first, last = performance.by
        title = f"By {', '.join(first)} and {last}" if first else f"By {last}"
        yield Section(
            title=(Cell(title, "bold"), Cell("  percentiles are exact (nearest rank)", "dim")),
            listing=Listing(
                key="groups",
                items=shown,
                columns=columns,
                ident=_ident,
                document=group_document,
                empty=empty or "This page is empty.",
            ),
        )
        yield Section(title="Retries", lines=_retry_lines(performance, unicode=unicode))
        yield _throughput(performance, out)

    def told(number: int) -> list[str]:
        return notes(number or len(shown))

    return Listing(
        key="groups",
        items=shown,
        columns=columns,
        ident=_ident,
        document=group_document,
        head={
            "totalTokens": summary.total_tokens,
            "avgExecutionTime": mean or 0,
            "fastestToken": _sample_document(performance.fastest),
            "slowestToken": _sample_document(performance.slowest),
            "retryAnalysis": {str(used): number for used, number in performance.retries.items()},
            "typePerformance": summary.element_types,
            "about": about,
            "untold_retries": performance.untold_retries,
            "instances": performance.instances,
            "total_tokens": summary.total_tokens,
            "token_states": {state: number for state, number in summary.token_states.items() if number},
            "live_tokens": sum(n for state, n in summary.token_states.items() if state not in FINAL_STATES),
            "first_created_at": format_time(from_micros(performance.first)),
            "last_finished_at": format_time(from_micros(performance.last)),
            "durations": measured,
            "total_ms": total,
            "mean_ms": mean,
            "derived": performance.total("derived"),
            "negative": performance.total("negative"),
            "unmeasured": performance.total("unmeasured"),
            "percentiles": "exact, nearest rank",
            "time": _division_document(division),
            "by": list(performance.by),
            **({"comparison": _base_document(base)} if base else {}),
        },
        tail=lambda: {"throughput": _throughput_document(performance)},
        headline=_headline(performance, summary.token_states, about) if groups else (),
        notes=told,
        empty=empty or "No tokens match.",
        sections=sections if groups else None,
    )


def _headline(performance: Performance, states: dict[str, int], about: str) -> tuple[Cell, ...]:
    tokens = sum(states.values())
    live = sum(number for state, number in states.items() if state not in FINAL_STATES)
    parts = [f"{number:,} {state.lower()}" for state, number in states.items() if number and state in FINAL_STATES]
    if live:
        parts.append(f"{live:,} live")
    cells = [Cell(about, "bold"), Cell(f"  {count(tokens, 'token')}: {', '.join(parts)}")]
    if performance.first is not None and performance.last is not None:
        lasted = span((performance.last - performance.first) / 1e6)
        cells.append(Cell(f"  {_period(performance.first, performance.last)} ({lasted})", "dim"))
    return tuple(cells)


def _period(begin: int, end: int) -> str:
    """From one time to another, to the second where that says more than the minute."""
    digits = 19 if end - begin < 600_000_000 else 16
    first, last = ((format_time(from_micros(micros)) or "")[:digits].replace("T", " ") for micros in (begin, end))
    return f"{first} to {last[11:] if last[:10] == first[:10] else last}"


# --- figures --------------------------------------------------------------------------------------


def _figures(performance: Performance) -> tuple[Field, ...]:
    mean, measured = performance.mean, performance.figures()[1]
    derived = performance.total("derived")
    mark = "~" if derived else ""
    fields = [
        Field("average", Cell(f"{mark}{span(mean / 1000)} over {count(measured, 'completed visit')}")
              if mean is not None else Cell("no completed visit has a duration", "dim")),
        Field("fastest", _sample_cell(performance.fastest)),
        Field("slowest", _sample_cell(performance.slowest)),
    ]  # fmt: skip
    if derived:
        fields.append(Field("derived", Cell(f"{count(derived, 'duration')} from times; ~ marks what rests on them")))
    left = [
        f"{number:,} {words}"
        for name, words in (("negative", "that ended before they began"), ("unmeasured", "without times"))
        if (number := performance.total(name))
    ]
    if left:
        fields.append(Field("left out", Cell(", ".join(left), "yellow")))
    return tuple(fields)


def _sample_cell(sample: Sample | None) -> Cell:
    if sample is None:
        return _DASH
    name = sample.element_name or sample.element_id
    return Cell(f"{'~' * sample.derived}{span(sample.duration_ms / 1000)}  {name}  {sample.token_id}")


def _sample_document(sample: Sample | None) -> Document | None:
    if sample is None:
        return None
    return {
        "token_id": sample.token_id,
        "instance_id": sample.instance_id,
        "process_id": sample.process_id,
        "element_id": sample.element_id,
        "element_type": sample.element_type,
        "element_name": sample.element_name,
        "state": sample.state,
        "created_at": format_time(from_micros(sample.created)),
        "completed_at": format_time(from_micros(sample.finished)),
        "execution_context": {
            "worker_id": sample.worker_id,
            "retries_used": sample.retries_used,
            "duration_ms": None if sample.derived else sample.duration_ms,
        },
        "duration_ms": sample.duration_ms,
        "derived": sample.derived,
    }


# --- where the time went --------------------------------------------------------------------------


def _division_lines(division: Division, *, unicode: bool) -> list[tuple[Cell, ...]]:
    if not division.total and not division.scope:
        return []
    rows = []
    for kind, style in _KINDS.items():
        spent = getattr(division, kind)
        if kind == "unknown" and not spent:
            continue
        words = span(spent / 1000)
        if kind == "waiting" and division.between:
            words += f", {span(division.between / 1000)} between tokens"
        rows.append((kind, spent / division.total if division.total else 0.0, words, style))
    lines = _bars(rows, unicode=unicode)
    if division.scope:
        lines.append((Cell(f"and {span(division.scope / 1000)} in sub-processes, whose inside is told above", "dim"),))
    return lines


def _division_document(division: Division) -> Document:
    return {
        "processing_ms": division.processing,
        "waiting_ms": division.waiting,
        "overhead_ms": division.overhead,
        "unknown_ms": division.unknown,
        "total_ms": division.total,
        "between_tokens_ms": division.between,
        "scopes_ms": division.scope,
    }


# --- groups ---------------------------------------------------------------------------------------


def _ident(group: Group) -> str:
    parts = (group.element_id or group.element_type, group.worker_id)
    return " ".join(filter(None, parts)) or group.process_id or "-"


def _columns(
    performance: Performance, groups: Sequence[Group], *, compared: bool, unicode: bool, roomy: bool
) -> tuple[Column, ...]:
    by = performance.by

    def name(key: str, title: str, rank: int, *, wide: bool = False, show: Any = None) -> Column:
        return Column(key=key, title=title, value=lambda g: getattr(g, key), fold=True, rank=rank, wide=wide,
                      show=show or (lambda g: Cell(getattr(g, key)) if getattr(g, key) else _DASH))  # fmt: skip

    def number(key: str, title: str, rank: int, *, wide: bool = False) -> Column:
        def show(group: Group) -> Cell:
            value = getattr(group, key)
            return Cell(f"{value:,}") if value else Cell("")

        return Column(key=key, title=title, value=lambda g: getattr(g, key), show=show, right=True, rank=rank,
                      wide=wide)  # fmt: skip

    def time(key: str, title: str, rank: int, *, wide: bool = False) -> Column:
        def show(group: Group) -> Cell:
            value = getattr(group.figures, key)
            if value is None or not group.figures.count:
                return Cell("")
            return Cell(("~" if group.derived else "") + span(value / 1000))

        return Column(key=f"{key}_ms", title=title, value=lambda g: getattr(g.figures, key), show=show, right=True,
                      rank=rank, wide=wide)  # fmt: skip

    several = len({group.process_id for group in groups}) > 1
    columns = []
    if "element" in by:
        columns += [
            Column(key="element_name", title="ELEMENT", value=lambda g: g.element_name, fold=True,
                   show=lambda g: Cell(g.element_name or g.element_id)),
            name("element_id", "ELEMENT ID", 9, wide=True),
        ]  # fmt: skip
    if "element" in by or "type" in by:
        columns.append(name("element_type", "TYPE", 8 if "element" in by else 0, wide="type" not in by))
    if "worker" in by:
        columns.append(name("worker_id", "WORKER", 0, show=lambda g: Cell(g.worker_id) if g.worker_id else _DASH))
    if "process" in by or "element" in by:
        shown = "process" in by
        columns.append(name("process_id", "PROCESS", 0 if shown else 7, wide=not shown and not several))
    columns += [
        Column(key="visits", title="VISITS", value=lambda g: g.visits, right=True,
               show=lambda g: Cell(f"{g.visits:,}")),
        number("live", "LIVE", 2),
        Column(key="completed", title="COMPLETED", value=lambda g: g.completed, right=True, wide=True, rank=9),
        Column(key="time", title="TIME", value=lambda g: g.kind, wide=True, rank=9),
        time("total", "TOTAL", 1),
        Column(key="share", title="SHARE", value=lambda g: g.share, rank=4,
               show=lambda g: _share_cell(g, unicode=unicode, percent=roomy)),
        time("mean", "MEAN", 6),
        time("p50", "P50", 0),
        time("p90", "P90", 3),
        time("p99", "P99", 2),
        time("min", "MIN", 9, wide=True),
        time("max", "MAX", 1),
    ]  # fmt: skip
    if compared:
        columns += [
            Column(key="base_p50_ms", title="BASE P50", right=True, rank=1,
                   value=lambda g: g.comparison.base.p50, show=lambda g: _base_cell(g.comparison)),
            Column(key="change_ms", title="CHANGE", right=True, value=lambda g: g.comparison.change,
                   show=lambda g: _change_cell(g.comparison, unicode=unicode)),
            Column(key="verdict", title="VERDICT", value=lambda g: g.comparison.verdict, wide=True, rank=9),
            Column(key="base_visits", title="BASE VISITS", value=lambda g: g.comparison.base.count, wide=True,
                   right=True, rank=9),
            Column(key="effect", title="EFFECT", value=lambda g: g.comparison.effect, wide=True, right=True, rank=9,
                   show=lambda g: Cell("" if g.comparison.effect is None else f"{g.comparison.effect:+.2f}")),
            Column(key="p_value", title="P", value=lambda g: g.comparison.p_value, wide=True, right=True, rank=9,
                   show=lambda g: Cell("" if g.comparison.p_value is None else f"{g.comparison.p_value:.2g}")),
        ]  # fmt: skip
    columns += [
        Column(key="waited_ms", title="WAITED BEFORE", value=lambda g: g.waited, right=True, wide=True, rank=9,
               show=lambda g: Cell(span(g.waited / 1000) if g.waited else "")),
        number("derived", "DERIVED", 9, wide=True),
        number("negative", "NEGATIVE", 9, wide=True),
        number("unmeasured", "UNMEASURED", 9, wide=True),
        Column(key="failed", title="FAILED", value=lambda g: g.states.get("FAILED", 0), right=True, wide=True, rank=9,
               show=lambda g: _others_cell(g, "FAILED")),
        Column(key="cancelled", title="CANCELLED", value=lambda g: g.states.get("CANCELLED", 0), right=True,
               wide=True, rank=9, show=lambda g: _others_cell(g, "CANCELLED")),
    ]  # fmt: skip
    return tuple(columns)


def _others_cell(group: Group, state: str) -> Cell:
    number = group.states.get(state, 0)
    return Cell(f"{number:,}", "red") if number else Cell("")


def _share_cell(group: Group, *, unicode: bool, percent: bool) -> Cell:
    if group.share is None or not group.figures.count:
        return Cell("")
    drawn = bar(group.share, _SHARE, unicode=unicode)
    return Cell(f"{_percent(group.share):>4} {drawn}".rstrip() if percent else drawn)


def group_document(group: Group) -> Document:
    """A group as JSON; times in ms."""
    took = group.figures
    document: Document = {
        "process_id": group.process_id,
        "element_id": group.element_id,
        "element_type": group.element_type,
        "element_name": group.element_name,
        "worker_id": group.worker_id,
        "time": group.kind,
        "visits": group.visits,
        "completed": group.completed,
        "live": group.live,
        "failed": group.states.get("FAILED", 0),
        "cancelled": group.states.get("CANCELLED", 0),
        "states": group.states,
        "count": took.count,
        "total_ms": took.total,
        "share": group.share,
        "mean_ms": took.mean,
        "p50_ms": took.p50,
        "p90_ms": took.p90,
        "p99_ms": took.p99,
        "min_ms": took.min,
        "max_ms": took.max,
        "derived": group.derived,
        "negative": group.negative,
        "unmeasured": group.unmeasured,
        "waited_ms": group.waited,
    }
    if group.comparison is not None:
        document["comparison"] = _comparison_document(group.comparison)
    return document


# --- comparisons ----------------------------------------------------------------------------------


def _base_cell(comparison: Comparison) -> Cell:
    p50 = comparison.base.p50
    return Cell("" if p50 is None else span(p50 / 1000), "dim")


def _signed(change: float) -> str:
    return f"{'+' if change > 0 else ''}{span(change / 1000)}"


def _change_cell(comparison: Comparison, *, unicode: bool) -> Cell:
    verdict, change = comparison.verdict, comparison.change
    if verdict == "new":
        return Cell("new", "cyan")
    if change is None:
        return Cell("")
    if verdict not in _VERDICTS:
        return Cell(_signed(change) + ("?" if verdict == "few" else ""), "dim")
    sign, ascii_sign, style = _VERDICTS[verdict]
    return Cell(f"{sign if unicode else ascii_sign} {_signed(change)}", style)


def _differences(groups: Sequence[Group], base: Base, *, unicode: bool) -> list[tuple[Cell, ...]]:
    lines: list[tuple[Cell, ...]] = [(Cell(f"compared with {base.words}", "dim"),)]
    few = 0
    for group in groups:
        compared = group.comparison
        if compared is None or compared.verdict not in _VERDICTS:
            few += compared is not None and compared.verdict == "few"
            continue
        sign, ascii_sign, style = _VERDICTS[compared.verdict]
        odds = (1 + abs(compared.effect or 0)) / 2
        lines.append((
            Cell(f"{sign if unicode else ascii_sign} {compared.verdict}", style),
            Cell(f"  {_label(group)}", "bold"),
            Cell(f"  median {span((compared.base.p50 or 0) / 1000)} → {span((group.figures.p50 or 0) / 1000)}"),
            Cell(f"  {compared.verdict} in {odds:.0%} of pairs, {compared.base.count:,} and {group.figures.count:,} "
                 "visits", "dim"),
        ))  # fmt: skip
    if len(lines) == 1:
        lines.append((Cell("none"),))
    if few:
        lines.append((Cell(f"? marks {count(few, 'group')} with too few visits to tell", "dim"),))
    if base.only:
        names = ", ".join(map(_label, base.only[:5])) + (f" and {len(base.only) - 5:,} more" if base.only[5:] else "")
        lines.append((Cell(f"only in the base: {names}", "dim"),))
    lines.append((Cell(f"criterion: {CRITERION}", "dim"),))
    return lines


def _label(group: Group) -> str:
    parts = [group.element_name or group.element_id or group.element_type, group.worker_id]
    return " ".join(filter(None, parts)) or group.process_id or "unknown"


def _comparison_document(comparison: Comparison) -> Document:
    return {
        "verdict": comparison.verdict,
        "change_ms": comparison.change,
        "effect": comparison.effect,
        "p_value": comparison.p_value,
        "base": {
            "count": comparison.base.count,
            "total_ms": comparison.base.total,
            "mean_ms": comparison.base.mean,
            "p50_ms": comparison.base.p50,
            "p90_ms": comparison.base.p90,
            "p99_ms": comparison.base.p99,
            "max_ms": comparison.base.max,
        },
    }


def _base_document(base: Base) -> Document:
    return {
        "base": base.words,
        "instances": base.performance.instances,
        "total_tokens": summarize(base.performance.counts()).total_tokens,
        "durations": base.performance.figures()[1],
        "mean_ms": base.performance.mean,
        "criterion": CRITERION,
        "only_in_base": [group_document(group) for group in base.only],
    }


# --- retries and throughput -------------------------------------------------------------------------


def _retry_lines(performance: Performance, *, unicode: bool) -> list[tuple[Cell, ...]]:
    retries = performance.retries
    whole = sum(retries.values())
    if whole and whole == performance.untold_retries:
        return [(Cell("unknown: no completed visit says", "dim"),)]
    if set(retries) <= {0}:
        return [(Cell(f"none, in {count(whole, 'completed visit')}", "dim"),)] if whole else []
    shown = sorted(retries.items())
    rows = [(f"{used:,}", number / whole, f"{number:,}", "yellow" if used > 2 else "") for used, number in shown[:20]]
    if shown[20:]:
        more = sum(number for _, number in shown[20:])
        rows.append(("more", more / whole, f"{more:,}", "yellow"))
    return _bars(rows, unicode=unicode)


def _throughput(performance: Performance, out: Output) -> Section:
    """How many ended in each stretch of time; where there is little room, in several of them."""
    buckets = performance.finished.buckets()
    together = max(-(-len(buckets) // (out.width - 4)), 1)
    width = performance.finished.width * together
    counts = [sum(number for _, number in buckets[n : n + together]) for n in range(0, len(buckets), together)]
    lines: list[tuple[Cell, ...]] = []
    if buckets:
        edge = Cell("│" if out.unicode else "|", "dim")
        line = Cell(sparkline(counts, unicode=out.unicode), "cyan")
        period = _period(buckets[0][0], buckets[-1][0] + performance.finished.width)
        lines = [(edge, line, edge, Cell(f"  at most {max(counts):,}", "dim")), (Cell(period, "dim"),)]
    return Section(title=(Cell("Throughput", "bold"), Cell(f"  ended in each {span(width / 1e6)}", "dim")), lines=lines)


def _throughput_document(performance: Performance) -> Document:
    return {
        "bucket_ms": performance.finished.width / 1000,
        "buckets": [
            {"from": format_time(from_micros(begin)), "finished": number}
            for begin, number in performance.finished.buckets()
        ],
    }
