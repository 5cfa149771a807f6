"""How an instance flowed: its way, what is live, what took the time, what ran beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from heapq import nsmallest
from itertools import islice
from math import isfinite
from typing import Any

from tokctl.process.changes import Change
from tokctl.process.flow import Flow
from tokctl.process.model import ACTIVE, Summary, format_time, from_micros
from tokctl.process.spans import Bottleneck, Stretch
from tokctl.process.spell import span
from tokctl.process.status import InstanceStatus
from tokctl.process.visit import Visit
from tokctl.process.wire import summary_document
from tokctl.render.human import count, duration_cell, state_cell, state_style
from tokctl.render.result import Cell, Column, Document, Field, Listing, Output, Section
from tokctl.render.table import clean, width, wrap
from tokctl.render.views.tokens import headline
from tokctl.render.views.waterfall import ASCII, UNICODE, Axis

MAX_WIDTH = 160  # of the time line: an eye has to follow it
_NAME = 28
_GAP = "  "


def flow_listing(
    flow: Flow,
    status: InstanceStatus,
    summarize: Callable[[], Summary],
    out: Output,
    *,
    limit: int | None,
    rows: int | None,
    changes: Callable[[], Sequence[Change]] | None,
    mermaid: Callable[[], Iterable[str]],
) -> Listing:
    """The flow of an instance: for programs the completed path with the rest around it, for people all of it.

    ``limit`` is for the completed path, ``rows`` for each of the lists that people see; None is for all.
    """
    view = _View(flow, out, rows)

    def tail() -> Document:
        more = {"variable_changes": [_change_document(c) for c in changes()]} if changes is not None else {}
        return {**view.tail(), **more, "summary": summary_document(summarize())}

    return Listing(
        key="completedPath",
        items=flow.completed if limit is None else flow.completed[:limit],
        columns=view.columns(),
        ident=lambda n: flow.visits[n].token_id,
        document=view.documents(),
        head={
            "instance_id": status.instance.instance_id,
            "process_id": status.instance.process_id,
            "generated_at": format_time(flow.now),
            "activeTokens": [view.token(n) for n in flow.live if flow.visits[n].state == ACTIVE],
        }
        if out.format in {"json", "yaml"} or out.query is not None
        else {},
        tail=tail,
        headline=lambda: headline(status, summarize(), flow.now, unicode=out.unicode),
        sections=lambda: view.sections(changes() if changes is not None else None),
        notes=view.notes,
        empty="No token has completed." if flow.visits else "The instance has no tokens.",
        texts={"mermaid": mermaid},
    )


class _View:
    def __init__(self, flow: Flow, out: Output, rows: int | None) -> None:
        self.flow, self.out, self.rows = flow, out, rows
        self.unicode = out.unicode
        self.cut: list[str] = []
        """What was left out of the lists that people see."""

    # --- documents ---

    def documents(self) -> Callable[[int], Document]:
        """Return what makes the document of a token of the completed path: the documented keys, then ours."""
        flow = self.flow
        visits, slack, on_path, untimed = flow.visits, flow.slack, flow.on_path, flow.untimed

        def document(n: int) -> Document:
            visit = visits[n]
            ms, derived = visit.context.duration_ms, False
            if ms is None or not isfinite(ms):
                took = visit.duration
                ms, derived = (took.ms, took.derived) if took else (None, False)
            return {
                "element": visit.element_name or visit.element_id,
                "completedAt": format_time(visit.completed_at),
                "duration": ms,
                "duration_derived": derived,
                "token_id": visit.token_id,
                "element_id": visit.element_id,
                "element_type": visit.element_type,
                "created_at": format_time(visit.created_at),
                "slack_ms": slack[n] / 1000 if n not in untimed else None,
                "critical": n in on_path,
            }

        return document

    def token(self, n: int) -> Document:
        """A token that has not completed."""
        flow, visit = self.flow, self.flow.visits[n]
        took = flow.took(n)
        return {
            "token_id": visit.token_id,
            "element_id": visit.element_id,
            "element_type": visit.element_type,
            "element_name": visit.element_name,
            "state": visit.state,
            "created_at": format_time(visit.created_at),
            "updated_at": format_time(visit.updated_at),
            "completed_at": format_time(visit.completed_at),
            "cancelled_at": format_time(visit.cancelled_at),
            "parent_token_id": visit.parent_token_id,
            "worker_id": visit.context.worker_id,
            "timeout_at": format_time(visit.context.timeout_at),
            "duration_ms" if not visit.live else "age_ms": took and took.ms,
            "slack_ms": self.slack_ms(n),
            "critical": n in flow.on_path,
        }

    def slack_ms(self, n: int) -> float | None:
        slack = self.flow.slack_us(n)
        return None if slack is None else slack / 1000

    def tail(self) -> Document:
        flow = self.flow
        peak = flow.peak
        others = [n for n in flow.live if flow.visits[n].state != ACTIVE]
        done, live = set(flow.completed), set(flow.live)
        return {
            "currentBottlenecks": [self.bottleneck(found) for found in flow.bottlenecks],
            "parallelExecution": {
                "max_concurrent_tokens": peak.most,
                "begin": _time(peak.begin),
                "end": _time(peak.end),
                "live_tokens": len(flow.live),
                "stretches": [self.stretch(stretch) for stretch in flow.parallel],
            },
            "other_live_tokens": [self.token(n) for n in others],
            "ended_otherwise": [self.token(n) for n in range(len(flow.visits)) if n not in done and n not in live],
            "critical_path": {
                "until": "now" if flow.live else "end",
                "total_ms": sum(step.wait_us + step.took_us for step in flow.critical) / 1000,
                "elapsed_ms": flow.elapsed_us / 1000,
                "breaks_off": {"token_id": flow.break_off.token_id, "reason": flow.break_off.reason}
                if flow.break_off
                else None,
                "steps": [
                    {
                        "token_id": (visit := flow.visits[step.node]).token_id,
                        "element_id": visit.element_id,
                        "element": visit.name,
                        "state": visit.state,
                        "wait_ms": step.wait_us / 1000,
                        "duration_ms": step.took_us / 1000,
                    }
                    for step in flow.critical
                ],
            },
            "unknown": {
                "times": len(flow.untimed),
                "begins": len(flow.unknown_begin),
                "ends": len(flow.unknown_end - set(flow.live)),
                "ends_before_begin": flow.backwards,
                "impossible_links": flow.dropped,
            },
        }

    def bottleneck(self, found: Bottleneck[str]) -> Document:
        visit = self.label[found.key]
        critical_us = self.flow.critical_by_element.get(found.key, 0)
        return {
            "element": visit.name,
            "element_id": found.key,
            "element_type": visit.element_type,
            "visits": found.visits,
            "live_tokens": self.live_at[found.key],
            "total_ms": found.total_ms,
            "longest_ms": found.longest_ms,
            "percentage_of_total": round(found.percentage_of_total, 2),
            "critical_ms": critical_us / 1000,
            "percentage_of_elapsed": round(self.share(critical_us), 2),
        }

    def stretch(self, stretch: Stretch) -> Document:
        visits = self.flow.visits
        return {
            "begin": _time(stretch.begin),
            "end": _time(stretch.end),
            "duration_ms": (stretch.end - stretch.begin) / 1000,
            "max_concurrent_tokens": stretch.most,
            "token_ids": [visits[n].token_id for n in stretch.members],
        }

    def share(self, micros: float) -> float:
        elapsed = self.flow.elapsed_us
        return 100 * micros / elapsed if elapsed > 0 else 0.0

    @property
    def label(self) -> dict[str, Visit]:
        """The first visit of each element."""
        if not hasattr(self, "_label"):
            self._label = {visit.element_id: visit for visit in reversed(self.flow.visits)}
        return self._label

    @property
    def live_at(self) -> Counter[str]:
        """How many tokens are live at each element."""
        if not hasattr(self, "_live_at"):
            self._live_at = Counter(self.flow.visits[n].element_id for n in self.flow.live)
        return self._live_at

    # --- columns ---

    def columns(self) -> tuple[Column, ...]:
        flow = self.flow
        visits, began = flow.visits, flow.began_us
        first = next((visits[n].completed_at for n in flow.completed), None)

        def value(name: str) -> Callable[[int], Any]:
            return lambda n: getattr(visits[n], name)

        def took(n: int) -> Any:
            known = visits[n].duration
            return known and known.ms

        return (
            Column(key="completedAt", title="COMPLETED", value=lambda n: format_time(visits[n].completed_at),
                   show=lambda n: Cell(_clock(visits[n].completed_at, first)), rank=4),
            Column(key="element", title="ELEMENT", value=lambda n: visits[n].name, fold=True),
            Column(key="element_id", title="ELEMENT ID", value=value("element_id"), fold=True, wide=True, rank=8),
            Column(key="element_type", title="TYPE", value=value("element_type"), rank=6),
            Column(key="duration", title="TOOK", value=took, show=lambda n: duration_cell(visits[n].duration),
                   right=True),
            Column(key="slack_ms", title="SLACK", value=self.slack_ms, show=self.slack_cell, right=True, rank=2),
            Column(key="critical", title="CRITICAL", value=lambda n: n in flow.on_path, wide=True, rank=7,
                   show=lambda n: Cell("yes" if n in flow.on_path else "")),
            Column(key="token_id", title="TOKEN", value=value("token_id"), rank=5,
                   show=lambda n: Cell(visits[n].token_id, "dim")),
            Column(key="created_at", title="CREATED", value=lambda n: format_time(visits[n].created_at), wide=True,
                   rank=9),
            Column(key="offset_ms", title="SINCE START", wide=True, rank=9, right=True,
                   value=lambda n: None if began is None or n in flow.untimed else (flow.ends[n] - began) / 1000,
                   show=lambda n: Cell("" if began is None or n in flow.untimed
                                       else f"+{span((flow.ends[n] - began) / 1e6)}")),
        )  # fmt: skip

    def slack_cell(self, n: int) -> Cell:
        """How much slack a token has; ``critical`` on the path."""
        flow = self.flow
        if n in flow.on_path:
            return Cell("critical", "bold")
        slack = flow.slack_us(n)
        if slack is None:
            return Cell("" if flow.visits[n].live else "?", "dim")
        return Cell(span(slack / 1e6) + ("…" if flow.visits[n].live else ""), "dim")

    # --- for people ---

    def part(self, items: Sequence[Any], thing: str, things: str | None = None) -> Sequence[Any]:
        """The first rows of a list; the rest is counted."""
        if self.rows is None or len(items) <= self.rows:
            return items
        self.cut.append(f"{self.rows:,} of {count(len(items), thing, things)}")
        return items[: self.rows]

    def notes(self, _: int) -> list[str]:
        flow = self.flow
        said = []
        if self.cut:
            said.append(f"Shown are {', '.join(self.cut)}: --limit 0 for all.")
        if flow.dropped:
            said.append(f"{count(flow.dropped, 'link')} to what led to a token cannot be: see 'tokctl tokens tree'.")
        if flow.backwards:
            they = "it" if flow.backwards == 1 else "they"
            said.append(f"{count(flow.backwards, 'token')} ended before {they} began.")
        if flow.untimed:
            said.append(f"{count(len(flow.untimed), 'token')} without any time: in no path and in no figure.")
        return said

    def sections(self, changes: Sequence[Change] | None) -> Iterator[Section]:
        if not self.flow.visits:
            yield Section(lines=[(Cell("The instance has no tokens.", "dim"),)])
            return
        yield self.time_line()
        yield self.completed()
        yield self.live()
        yield self.bottlenecks()
        yield self.parallel()
        yield from self.critical_path()
        if changes is not None:
            yield self.variables(changes)

    def time_line(self) -> Section:
        """The waterfall. Of too many tokens, the live ones, the critical ones and the longest."""
        flow, out = self.flow, self.out
        visits, begins, ends = flow.visits, flow.begins, flow.ends
        nodes = flow.by_begin
        chosen = "Time line"
        if self.rows is not None and len(nodes) > self.rows:
            chosen += ": live, critical and longest tokens"
            self.cut.append(f"{self.rows:,} of {count(len(nodes), 'token')} in the time line")
            kept = self.telling(self.rows)
            nodes = [n for n in nodes if n in kept]
        timed = [n for n in nodes if n not in flow.untimed]
        signs = UNICODE if self.unicode else ASCII
        names = {n: self.fit(visits[n].name) for n in nodes}
        room = max(map(width, names.values()), default=0)
        tooks = {n: self.took_cell(n) for n in nodes}
        slacks = {n: clean(self.slack_cell(n), out) for n in nodes}
        took_room = max(4, *(width(cell.text) for cell in tooks.values()))
        slack_room = max(5, *(width(cell.text) for cell in slacks.values()))
        cells = min(out.width, MAX_WIDTH) - 2 - 2 - room - 2 - (2 + took_room) - (2 + slack_room)
        if cells < 24:  # the slack stands in the table of the completed path, too
            cells, slack_room = cells + 2 + slack_room, 0
        if cells < 12:
            cells, took_room = cells + 2 + took_room, 0
        axis = Axis((t for n in timed for t in (begins[n], ends[n])), cells) if timed else None
        head = " " * (2 + room) + _GAP + (axis.text(signs) if axis else "").ljust(cells)
        for title, title_room in (("TOOK", took_room), ("SLACK", slack_room)):
            head += _GAP + title.rjust(title_room) if title_room else ""
        lines: list[tuple[Cell, ...]] = [(Cell(head.rstrip(), "dim"),)]
        for n in nodes:
            state = visits[n].state
            bar = signs.unknown.ljust(cells)
            if axis and n not in flow.untimed:
                unknown_end = n in flow.unknown_end and not visits[n].live
                bar = axis.bar(begins[n], ends[n], signs, live=visits[n].live,
                               unknown_begin=n in flow.unknown_begin, unknown_end=unknown_end)  # fmt: skip
            style = state_style(state)
            sign = state_cell(state, unicode=self.unicode).text[0]
            line = [
                Cell(sign + " ", style),
                Cell(names[n] + " " * (room - width(names[n])), "bold" if visits[n].live else ""),
                Cell(_GAP),
                Cell(
                    bar if took_room else bar.rstrip(),
                    {"dim": "cyan"}.get(style, style) if n in flow.on_path else style,
                ),
            ]
            for cell, cell_room in ((tooks[n], took_room), (slacks[n], slack_room)):
                if cell_room and cell.text:
                    line += [Cell(_GAP + " " * (cell_room - width(cell.text))), cell]
            lines.append(tuple(line))
        heading = [Cell(chosen, "bold")]
        if axis:
            heading.append(Cell(f"  from {format_time(from_micros(axis.begin))}", "dim"))
            if axis.left_out:
                sign = signs.left_out
                heading.append(Cell(f"  {sign} leaves out {span(axis.left_out / 1e6)} without a change", "dim"))
        return Section(title=tuple(heading), lines=lines)

    def telling(self, number: int) -> set[int]:
        """So many tokens, the live ones before those of the critical path before the others, the longest first."""
        flow = self.flow
        begins, ends = flow.begins, flow.ends
        kept: dict[int, None] = {}
        for group in (flow.live, flow.on_path, range(len(begins))):
            if len(kept) < number:
                kept |= dict.fromkeys(nsmallest(number, group, key=lambda n: begins[n] - ends[n]))
        return set(islice(kept, number))

    def fit(self, name: str) -> str:
        """A name in the room that the time line has for it."""
        text = clean(Cell(name), self.out).text
        room = min(_NAME, max(12, self.out.width // 4), max(4, self.out.width - 14))
        if width(text) <= room:
            return text
        more = "…" if self.unicode else "~"
        return wrap(text.replace(" ", "\u00a0"), room - 1)[0].replace("\u00a0", " ") + more

    def took_cell(self, n: int) -> Cell:
        flow = self.flow
        if flow.visits[n].live:
            took = flow.took(n)
            return clean(duration_cell(None, took.ms / 1000) if took else Cell("?…", "dim"), self.out)
        took = flow.took(n)
        return clean(duration_cell(took) if took else Cell("?", "dim"), self.out)

    def completed(self) -> Section:
        flow = self.flow
        title = (Cell("Completed path", "bold"), Cell(f"  {count(len(flow.completed), 'token')}", "dim"))
        if not flow.completed:
            return Section(title=title, lines=[(Cell("No token has completed.", "dim"),)])
        listing = Listing(
            key="completedPath",
            items=self.part(flow.completed, "completed token"),
            columns=self.columns(),
            ident=str,
            document=self.documents(),
        )
        return Section(title=title, listing=listing)

    def live(self) -> Section:
        flow, visits = self.flow, self.flow.visits
        if not flow.live:
            return Section()
        columns = (
            _column("element", lambda n: Cell(visits[n].name, "bold"), fold=True),
            _column("state", lambda n: state_cell(visits[n].state, unicode=self.unicode)),
            _column("for", self.took_cell, right=True),
            _column("worker", lambda n: Cell(visits[n].context.worker_id or ""), fold=True, rank=4),
            _column("timeout", self.timeout_cell, rank=3),
            _column("token", lambda n: Cell(visits[n].token_id, "dim"), rank=2),
        )
        oldest = sorted(flow.live, key=lambda n: (n in flow.untimed, flow.begins[n]))
        return _table("Live", self.part(oldest, "live token"), columns)

    def timeout_cell(self, n: int) -> Cell:
        """When a token is due, or was."""
        due = self.flow.visits[n].context.timeout_at
        if due is None:
            return Cell("")
        seconds = (due - self.flow.now).total_seconds()
        return Cell(f"in {span(seconds)}") if seconds >= 0 else Cell(f"{span(-seconds)} ago", "bold red")

    def bottlenecks(self) -> Section:
        """Elements by the time that was spent there."""
        found = [spent for spent in self.flow.bottlenecks if spent.total_ms > 0]

        def live(spent: Bottleneck[str]) -> Cell:
            number = self.live_at[spent.key]
            return Cell(f"{number:,}" if number else "")

        def critical(spent: Bottleneck[str]) -> Cell:
            micros = self.flow.critical_by_element.get(spent.key)
            return Cell("" if not micros else _percent(self.share(micros)))

        columns = (
            _column("element", lambda b: Cell(self.label[b.key].name), fold=True),
            _column("visits", lambda b: Cell(f"{b.visits:,}"), right=True, rank=5),
            _column(
                "live", lambda b: Cell(f"{self.live_at[b.key]:,}" if self.live_at[b.key] else ""), right=True, rank=4
            ),
            _column("took", lambda b: Cell(span(b.total_ms / 1000)), right=True),
            _column("longest", lambda b: Cell(span(b.longest_ms / 1000)), right=True, rank=3),
            _column("share", lambda b: Cell(_percent(b.percentage_of_total)), right=True),
            _column("of critical path", critical, right=True, rank=2),
        )
        if not found:
            return Section(title="Bottlenecks", lines=[(Cell("Nothing took any time.", "dim"),)])
        return _table("Bottlenecks", self.part(found, "element"), columns)

    def parallel(self) -> Section:
        """When two tokens or more were open at once."""
        flow, peak, visits = self.flow, self.flow.peak, self.flow.visits
        if not flow.parallel:
            return Section(title="Parallel", lines=[(Cell("Never two tokens at once.", "dim"),)])
        first = from_micros(flow.parallel[0].begin)
        at_most = f"  at most {count(peak.most, 'token')} at once, first at {_clock(from_micros(peak.begin), None)}"
        columns = (
            _column("begin", lambda s: Cell(_clock(from_micros(s.begin), first)), rank=3),
            _column("lasted", lambda s: Cell(span((s.end - s.begin) / 1e6)), right=True),
            _column("at once", lambda s: Cell(f"{s.most:,}"), right=True),
            _column("elements", lambda s: Cell(_counted(visits[n].name for n in s.members)), fold=True, least=24),
        )
        stretches = self.part(flow.parallel, "parallel stretch", "parallel stretches")
        return _table((Cell("Parallel", "bold"), Cell(at_most, "dim")), stretches, columns)

    def critical_path(self) -> Iterator[Section]:
        """What decided the end: the steps that took time, and where nobody knows what was before."""
        flow, visits = self.flow, self.flow.visits
        if not flow.critical:
            return
        total = sum(step.wait_us + step.took_us for step in flow.critical)
        until = "until now" if flow.live else "to the end"
        brief = [step for step in flow.critical if step.took_us or step.wait_us]
        columns = (
            _column("element", lambda s: Cell(visits[s.node].name, "bold" if visits[s.node].live else ""), fold=True),
            _column("waited before", lambda s: Cell(span(s.wait_us / 1e6) if s.wait_us else ""), right=True, rank=1),
            _column("took", lambda s: Cell(span(s.took_us / 1e6) + "…" * visits[s.node].live), right=True),
            _column("share", lambda s: Cell(_percent(self.share(s.wait_us + s.took_us))), right=True),
            _column("token", lambda s: Cell(visits[s.node].token_id, "dim"), rank=2),
        )
        title = (Cell("Critical path", "bold"), Cell(f"  {span(total / 1e6)} {until}", "dim"))
        yield _table(title, self.part(brief or flow.critical, "critical step"), columns)
        said = []
        if brief and len(brief) < len(flow.critical):
            said.append(Cell(f"and {count(len(flow.critical) - len(brief), 'token')} that took no time", "dim"))
        if lost := flow.break_off:
            said.append(Cell(f"It breaks off at {lost.token_id}: {lost.reason}.", "yellow"))
        yield Section(fields=tuple(Field("", cell) for cell in said))

    def variables(self, changes: Sequence[Change]) -> Section:
        shown = self.part(changes, "change of variables", "changes of variables")
        lines: list[tuple[Cell, ...]] = []
        arrow = "→" if self.unicode else "->"
        for change in shown:
            token = change.token_id if change.before else f"{change.token_id}, the first"
            lines.append((Cell(change.element, "bold"), Cell(f"  {token}", "dim")))
            lines += [(Cell(f"  + {name} = ", "green"), Cell(_short(value))) for name, value in change.added.items()]
            lines += [
                (Cell(f"  ~ {name}: ", "yellow"), Cell(f"{_short(old)} {arrow} {_short(new)}"))
                for name, (old, new) in change.changed.items()
            ]
            lines += [(Cell(f"  - {name}, was ", "red"), Cell(_short(value))) for name, value in change.removed.items()]
        if not lines:
            lines.append((Cell("None changed, or none are known.", "dim"),))
        return Section(title="Variables that changed on the way", lines=lines)


def _column(key: str, show: Callable[[Any], Cell], **more: Any) -> Column:
    return Column(key=key, title=key.upper(), value=show, show=show, **more)


def _table(title: str | tuple[Cell, ...], items: Sequence[Any], columns: tuple[Column, ...]) -> Section:
    listing = Listing(key="rows", items=items, columns=columns, ident=str, document=lambda _: {})
    return Section(title=title, listing=listing)


def _time(micros: int | None) -> str | None:
    return format_time(from_micros(micros))


def _percent(share: float) -> str:
    return f"{share:.1f}%" if share < 99.95 else f"{share:.0f}%"


def _clock(time: datetime | None, first: datetime | None) -> str:
    """A time of day, with the date where it is another than that of the first."""
    text = format_time(time)
    if text is None or time is None:
        return "?"
    date, _, clock = text.rstrip("Z").partition("T")
    return clock[:12] if first is not None and time.date() == first.date() else f"{date} {clock[:12]}"


def _counted(names: Iterable[str]) -> str:
    counts = Counter(names)
    shown = [name if number == 1 else f"{name} ×{number:,}" for name, number in islice(counts.items(), 12)]
    more = len(counts) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")


def _short(value: bytes) -> str:
    text = bytes(value).decode()
    return text if len(text) <= 200 else f"{text[:200]}…"


def _change_document(change: Change) -> Document:
    return {
        "token_id": change.token_id,
        "element": change.element,
        "element_id": change.element_id,
        "at": _time(change.at_us),
        "from_token_ids": change.before,
        "added": change.added,
        "changed": {name: {"old": old, "new": new} for name, (old, new) in change.changed.items()},
        "removed": change.removed,
    }
