"""The tree of an instance's tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from shlex import quote
from typing import Any

from tokctl.analysis.encoding.tree import encode_contradiction_report, encode_tree_line
from tokctl.analysis.tree.drawing import HiddenLine, TreeLine
from tokctl.analysis.tree.forest import Forest
from tokctl.model.instance_status import InstanceStatus
from tokctl.model.instances import Summary
from tokctl.model.states import FAILED, is_final
from tokctl.model.times import format_time, from_micros
from tokctl.render.result import Cell, Column, Footer, Listing, Output
from tokctl.render.text import (
    CERTAINTY_SIGNS,
    count,
    duration_cell,
    explain_certainty,
    format_range,
    seconds_since,
    state_cell,
    state_style,
)
from tokctl.render.views.tokens import explain_command, headline, state_urgency

Line = TreeLine | HiddenLine

MAX_ANOMALIES_SHOWN = 8  # contradictions listed below a tree


def tree_listing(
    lines: Iterable[Line], forest: Forest, status: InstanceStatus, summary: Summary, out: Output
) -> Listing:
    """Return a tree as a list of its lines, because nested JSON could exceed the maximum depth of parsers."""
    columns = (
        Column("tree", "TOKEN TREE", _tree_text, show=_tree_cell, fold=True, min_width=24),
        Column(
            "element_type",
            "TYPE",
            lambda x: _token_attribute(x, "element_type"),
            form=lambda kind: Cell(kind or "", "dim"),
            rank=6,
        ),
        Column("state", "STATE", lambda x: _token_attribute(x, "state"), show=_state_cell),
        Column("duration_ms", "TOOK", _took_ms, show=lambda x: _took_cell(x, out), right=True, rank=3),
        Column(
            "joins", "JOINS", lambda x: list(x.joins) if isinstance(x, TreeLine) else None, show=_joins_cell, rank=4
        ),
        Column("token_id", "TOKEN", lambda x: _token_attribute(x, "token_id"), show=lambda x: _id_cell(x, out), rank=2),
        Column("worker_id", "WORKER", lambda x: _token_attribute(x, "worker_id"), fold=True, wide=True, rank=7),
        Column("created_at", "CREATED", lambda x: _time(x, "created_us"), wide=True, rank=9),
        Column("finished_at", "FINISHED", lambda x: _time(x, "finished_us"), wide=True, rank=9),
        Column(
            "anomalies",
            "CONTRADICTIONS",
            lambda x: list(x.anomalies) if isinstance(x, TreeLine) else None,
            show=_anomaly_cell,
            fold=True,
            rank=5,
        ),
    )
    return Listing(
        key="tree",
        items=lines,
        columns=columns,
        ident=lambda line: _token_attribute(line, "token_id") or "",
        document=encode_tree_line,
        head={"instance_id": status.instance.instance_id, "process_id": status.instance.process_id},
        tail=lambda: {
            "contradictions": encode_contradiction_report(forest.anomalies),
            "summary": summary,
        },
        headline=headline(status, summary, out),
        notes=_notes(forest),
        empty="No tokens match." if summary.total_tokens else "The instance has no tokens.",
        footer=_footer(status.instance.instance_id, out),
    )


def _footer(instance_id: str, out: Output) -> Footer:
    def next_command(line: Line) -> str:
        if isinstance(line, HiddenLine) or is_final(line.token.state):
            return f"{out.prefix} tokens history {quote(out.shorten_instance_id(instance_id))}"
        return explain_command(out.shorten_token_id(line.token.token_id), out)

    return Footer(next_command, lambda line: 0 if isinstance(line, HiddenLine) else state_urgency(line.token.state))


def _token_attribute(line: Line, name: str) -> Any:
    return getattr(line.token, name) if isinstance(line, TreeLine) else None


def _time(line: Line, name: str) -> str | None:
    return format_time(from_micros(_token_attribute(line, name)))


# --- cells ----------------------------------------------------------------------------------------


def _tree_text(line: Line) -> str:
    return line.prefix + _text(line)


def _text(line: Line) -> str:
    if isinstance(line, HiddenLine):
        live = f", {line.live:,} live" if line.live else ""
        return f"… {count(line.count, 'token')} below{live}"
    sign = CERTAINTY_SIGNS[line.token.certainty]
    text = f"{line.token.name} {sign}".rstrip()
    if line.loop is not None:
        return f"{text}  ×{line.loop.passes}" + (
            f" (step {line.loop.step + 1} of {line.loop.steps})" if line.loop.steps > 1 else ""
        )
    return f"{text}  ×{line.count}" if line.count > 1 else text


def _tree_cell(line: Line) -> Cell:
    if isinstance(line, HiddenLine) or line.context or is_final(line.token.state):
        return Cell(_text(line), "dim", line.prefix)
    return Cell(_text(line), state_style(line.token.state), line.prefix)


def _state_cell(line: Line) -> Cell:
    if isinstance(line, HiddenLine):
        return Cell("")
    cell = state_cell(line.token.state)
    return Cell(cell.text, "dim") if line.context else cell


def _took_ms(line: Line) -> float | None:
    if isinstance(line, HiddenLine):
        return None
    if line.durations is not None:
        return line.durations.total_ms
    took = line.token.duration
    return took.ms if took else None


def _took_cell(line: Line, out: Output) -> Cell:
    if isinstance(line, HiddenLine):
        return Cell("")
    if line.durations is not None:
        return Cell("~" * line.durations.derived + format_range(line.durations.min_ms, line.durations.max_ms), "dim")
    if is_final(line.token.state) or line.token.duration is not None:
        style = state_style(FAILED) if line.token.state == FAILED else "dim"
        return Cell(duration_cell(line.token.duration).text, style)
    first, last = line.created_us or (line.token.created_us, line.token.created_us)
    cells = [duration_cell(None, seconds_since(from_micros(time), out.now)) for time in (last, first)]
    texts = dict.fromkeys(cell.text for cell in cells)
    return Cell(" to ".join(texts), "" if line.context else state_style(line.token.state))


def _joins_cell(line: Line) -> Cell:
    joins = line.joins if isinstance(line, TreeLine) else ()
    return Cell(f"+{len(joins)} in" if joins else "", "cyan")


def _id_cell(line: Line, out: Output) -> Cell:
    if isinstance(line, HiddenLine):
        return Cell("")
    return Cell(
        out.shorten_token_id(line.token.token_id) + (f" …{line.last_token_id[-4:]}" if line.count > 1 else ""), "dim"
    )


def _anomaly_cell(line: Line) -> Cell:
    kinds = line.anomalies if isinstance(line, TreeLine) else ()
    return Cell(", ".join(kind.lower().replace("_", " ") for kind in kinds), "yellow")


def _notes(forest: Forest) -> Callable[[int], list[str]]:
    def say(_: int) -> list[str]:
        anomalies, notes = forest.anomalies, explain_certainty(set(forest.certainties.values()))
        if forest.unknown_entries:
            notes.append(f"It is not recorded where {count(forest.unknown_entries, 'token')} came from.")
        if not anomalies.total:
            return notes
        messages = [f"  {a.message}" for a in anomalies.examples[:MAX_ANOMALIES_SHOWN]]
        more = anomalies.total - len(messages)
        return [
            *notes,
            f"The links contradict each other in {count(anomalies.total, 'place')}:",
            *messages,
            *([f"  and {more:,} more (-o json lists them, with counts of each kind)"] if more else []),
        ]

    return say
