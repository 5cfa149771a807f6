"""The flow of an instance: a document for programs, a time line and a table for each aspect for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from tokctl.analysis.encoding.flow import FlowEncoder
from tokctl.analysis.flow.critical_path import FlowAnalysis
from tokctl.analysis.flow.intervals import TimeSpent
from tokctl.analysis.variable_changes import VariableChange
from tokctl.model.durations import format_duration
from tokctl.model.instance_status import InstanceStatus
from tokctl.model.instances import Summary
from tokctl.model.states import FAILED
from tokctl.model.times import from_micros
from tokctl.render.result import Cell, Column, Field, Listing, Output, Section, table
from tokctl.render.text import count, error_cell, spent_cell, state_cell, timeout_cell
from tokctl.render.views.flow_time_line import time_line_section
from tokctl.render.views.flow_tokens import RowLimit, completed_columns, format_clock, took_cell
from tokctl.render.views.tokens import headline


def flow_listing(
    flow: FlowAnalysis,
    status: InstanceStatus,
    summarize: Callable[[], Summary],
    out: Output,
    *,
    limit: int | None,
    rows: int | None,
    changes: Callable[[], Sequence[VariableChange]] | None,
    mermaid: Callable[[], Iterable[str]],
) -> Listing:
    """Return the flow of an instance.

    For programs it is the completed path, with the rest as members around that list; for people, sections.
    ``limit`` applies to the completed path, ``rows`` to each of the lists that people see; None is no limit.
    ``changes`` is None if variables are not to be shown.
    """
    encoder = FlowEncoder(flow)
    row_limit = RowLimit(rows)
    sections = FlowSections(flow, out, row_limit)

    return Listing(
        key="completedPath",
        items=flow.completed if limit is None else flow.completed[:limit],
        columns=completed_columns(flow),
        ident=lambda n: flow.visits[n].token_id,
        document=encoder.completed_step,
        head=encoder.head(status) if out.format in {"json", "yaml"} or out.query is not None else {},
        tail=lambda: encoder.tail(changes() if changes is not None else None, summarize()),
        headline=lambda: headline(status, summarize(), out),
        sections=lambda: sections.sections(changes() if changes is not None else None),
        notes=lambda _: [*row_limit.notes(), *_warnings(flow)],
        empty="No token has completed." if flow.visits else "The instance has no tokens.",
        custom_formats={"mermaid": mermaid},
    )


def _warnings(flow: FlowAnalysis) -> list[str]:
    """Return warnings about the data of the tokens."""
    notes = []
    if flow.impossible_links:
        notes.append(
            f"{count(flow.impossible_links, 'link')} between tokens ignored as impossible. See 'tokctl tokens tree'."
        )
    if flow.ends_before_begin:
        they = "it" if flow.ends_before_begin == 1 else "they"
        notes.append(f"{count(flow.ends_before_begin, 'token')} ended before {they} began.")
    if flow.untimed:
        notes.append(f"{count(len(flow.untimed), 'token')} without any time left out of all paths and figures.")
    return notes


class FlowSections:
    """The sections of a flow; ``limit`` applies to the rows of each."""

    def __init__(self, flow: FlowAnalysis, out: Output, limit: RowLimit) -> None:
        self._flow, self._out, self._limit = flow, out, limit
        self._encoder = FlowEncoder(flow)

    def sections(self, changes: Sequence[VariableChange] | None) -> Iterator[Section]:
        """Yield all sections; changes of variables are included if given."""
        if not self._flow.visits:
            yield Section(lines=[(Cell("The instance has no tokens.", "dim"),)])
            return
        yield time_line_section(self._flow, self._out, self._limit)
        yield self._completed()
        yield self._live()
        yield self._bottlenecks()
        yield self._parallel_periods()
        yield from self._critical_path()
        if changes is not None:
            yield self._variables(changes)

    def _completed(self) -> Section:
        flow = self._flow
        title = (Cell("Completed path", "bold"), Cell(f"  {count(len(flow.completed), 'token')}", "dim"))
        if not flow.completed:
            return Section(title=title, lines=[(Cell("No token has completed.", "dim"),)])
        return Section(
            title=title, listing=table(self._limit.truncate(flow.completed, "completed token"), completed_columns(flow))
        )

    def _live(self) -> Section:
        flow, visits = self._flow, self._flow.visits
        if not flow.live:
            return Section()
        columns = (
            _column("element", lambda n: Cell(visits[n].name, "bold"), fold=True),
            _column("state", lambda n: state_cell(visits[n].state)),
            _column("for", lambda n: took_cell(flow, n), right=True),
            _column("error", lambda n: error_cell(visits[n].context.error), fold=True, cut=True, rank=1),
            _column("worker", lambda n: Cell(visits[n].context.worker_id or ""), fold=True, rank=4),
            _column("timeout", lambda n: timeout_cell(visits[n].context.timeout_at, flow.now), rank=3),
            _column("token", lambda n: Cell(visits[n].token_id, "dim"), rank=2),
        )
        oldest = sorted(flow.live, key=lambda n: (n in flow.untimed, flow.begins[n]))
        failed = any(visits[n].state == FAILED for n in flow.live)
        title = "Live and failed" if failed else "Live"
        return Section(title=title, listing=table(self._limit.truncate(oldest, "live token"), columns))

    def _bottlenecks(self) -> Section:
        """Return the elements by the time spent there."""
        found = [spent for spent in self._flow.bottlenecks if spent.total_ms > 0]

        def live(spent: TimeSpent[str]) -> Cell:
            number = self._encoder.live_counts[spent.key]
            return Cell(f"{number:,}" if number else "")

        def critical_share(spent: TimeSpent[str]) -> Cell:
            micros = self._flow.critical_by_element.get(spent.key)
            return Cell("" if not micros else _percent(self._encoder.percentage_of_elapsed(micros)))

        columns = (
            _column("element", lambda b: Cell(self._encoder.first_visits[b.key].name), fold=True),
            _column("visits", lambda b: Cell(f"{b.visits:,}"), right=True, rank=5),
            _column("live", live, right=True, rank=4),
            _column("took", lambda b: spent_cell(b.total_ms, still_open=b.so_far_ms > 0), right=True),
            _column("longest", lambda b: spent_cell(b.longest_ms, still_open=b.longest_is_open), right=True, rank=3),
            _column("share", lambda b: Cell(_percent(b.percentage_of_total)), right=True),
            _column("of critical path", critical_share, right=True, rank=2),
        )
        if not found:
            return Section(title="Bottlenecks", lines=[(Cell("No time was spent at any element.", "dim"),)])
        return Section(title="Bottlenecks", listing=table(self._limit.truncate(found, "element"), columns))

    def _parallel_periods(self) -> Section:
        """Return the periods with two or more open tokens."""
        flow, peak, visits = self._flow, self._flow.peak, self._flow.visits
        if not flow.parallel_periods:
            return Section(title="Parallel", lines=[(Cell("No two tokens were open at the same time.", "dim"),)])
        first = from_micros(flow.parallel_periods[0].begin)
        clock = format_clock(from_micros(peak.begin), None, flow.now)
        at_most = f"  at most {count(peak.max_concurrent, 'token')} at once, first at {clock}"
        columns = (
            _column("begin", lambda s: Cell(format_clock(from_micros(s.begin), first, flow.now)), rank=3),
            _column("duration", lambda s: Cell(format_duration((s.end - s.begin) / 1e6)), right=True),
            _column("at once", lambda s: Cell(f"{s.max_concurrent:,}"), right=True),
            _column(
                "elements",
                lambda s: Cell(_format_name_counts(visits[n].name for n in s.members)),
                fold=True,
                min_width=24,
            ),
        )
        periods = self._limit.truncate(flow.parallel_periods, "parallel period", "parallel periods")
        return Section(title=(Cell("Parallel", "bold"), Cell(at_most, "dim")), listing=table(periods, columns))

    def _critical_path(self) -> Iterator[Section]:
        """Yield the steps that determined the end and took time, and where the path breaks off."""
        flow, visits = self._flow, self._flow.visits
        if not flow.critical_steps:
            return
        total = sum(step.wait_us + step.duration_us for step in flow.critical_steps)
        until = "until now" if flow.live else "to the end"
        brief = [step for step in flow.critical_steps if step.duration_us or step.wait_us]
        columns = (
            _column(
                "element", lambda s: Cell(visits[s.node].name, "bold" if flow.visits[s.node].live else ""), fold=True
            ),
            _column(
                "waited before",
                lambda s: Cell(format_duration(s.wait_us / 1e6) if s.wait_us else ""),
                right=True,
                rank=1,
            ),
            _column(
                "took", lambda s: spent_cell(s.duration_us / 1000, still_open=flow.visits[s.node].live), right=True
            ),
            _column(
                "share",
                lambda s: Cell(_percent(self._encoder.percentage_of_elapsed(s.wait_us + s.duration_us))),
                right=True,
            ),
            _column("token", lambda s: Cell(visits[s.node].token_id, "dim"), rank=2),
        )
        title = (Cell("Critical path", "bold"), Cell(f"  {format_duration(total / 1e6)} {until}", "dim"))
        yield Section(
            title=title, listing=table(self._limit.truncate(brief or flow.critical_steps, "critical step"), columns)
        )
        notes = []
        if brief and len(brief) < len(flow.critical_steps):
            notes.append(Cell(f"and {count(len(flow.critical_steps) - len(brief), 'token')} that took no time", "dim"))
        if lost := flow.path_break:
            notes.append(Cell(f"The path is incomplete before {lost.token_id}: {lost.reason}.", "yellow"))
        yield Section(fields=tuple(Field("", cell) for cell in notes))

    def _variables(self, changes: Sequence[VariableChange]) -> Section:
        shown = self._limit.truncate(changes, "change of variables", "changes of variables")
        lines: list[tuple[Cell, ...]] = []
        for change in shown:
            token = change.token_id if change.before else f"{change.token_id}  (first token)"
            lines.append((Cell(change.element, "bold"), Cell(f"  {token}", "dim")))
            lines += [
                (Cell(f"  + {name} = ", "green"), Cell(_truncate_value(value))) for name, value in change.added.items()
            ]
            lines += [
                (Cell(f"  ~ {name}: ", "yellow"), Cell(f"{_truncate_value(old)} → {_truncate_value(new)}"))
                for name, (old, new) in change.changed.items()
            ]
            lines += [
                (Cell(f"  - {name}, was ", "red"), Cell(_truncate_value(value)))
                for name, value in change.removed.items()
            ]
        if not lines:
            lines.append((Cell("No changes, or the variables are unknown.", "dim"),))
        return Section(title="Changed variables", lines=lines)


def _column(key: str, show: Callable[[Any], Cell], **more: Any) -> Column:
    return Column(key, key.upper(), show=show, **more)


def _percent(share: float) -> str:
    return f"{share:.1f}%" if share < 99.95 else f"{share:.0f}%"


def _format_name_counts(names: Iterable[str]) -> str:
    counts = Counter(names)
    shown = [name if number == 1 else f"{name} ×{number:,}" for name, number in islice(counts.items(), 12)]
    more = len(counts) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")


def _truncate_value(value: bytes) -> str:
    text = bytes(value).decode()
    return text if len(text) <= 200 else f"{text[:200]}…"
