"""The tree of an instance's tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from tokctl.process.draw import HiddenLine, TreeLine
from tokctl.process.forest import Anomalies
from tokctl.process.model import Summary, format_time, from_micros, is_final
from tokctl.process.status import InstanceStatus
from tokctl.process.wire import summary_document
from tokctl.render.human import count, duration_cell, seconds_since, span, state_cell
from tokctl.render.result import Cell, Column, Document, Listing
from tokctl.render.views.tokens import headline

Line = TreeLine | HiddenLine

NOTED = 8  # contradictions that are written out below a tree


def tree_listing(
    lines: Iterable[Line],
    anomalies: Anomalies,
    status: InstanceStatus,
    summary: Summary,
    now: datetime,
    *,
    unicode: bool,
) -> Listing:
    """A tree as a list of its lines, from top to bottom: nested JSON would end at a parser's depth."""
    columns = (
        Column(key="tree", title="TOKEN TREE", value=_tree_text, show=_tree_cell, fold=True, least=24),
        Column(key="element_type", title="TYPE", value=lambda x: _of(x, "element_type"), rank=6),
        Column(key="state", title="STATE", value=lambda x: _of(x, "state"),
               show=lambda x: _state_cell(x, unicode=unicode)),
        Column(key="duration_ms", title="TOOK", value=_took_ms, show=lambda x: _took_cell(x, now), right=True, rank=3),
        Column(key="joins", title="JOINS", value=lambda x: list(x.joins) if isinstance(x, TreeLine) else None,
               show=_joins_cell, rank=4),
        Column(key="token_id", title="TOKEN", value=lambda x: _of(x, "token_id"), show=_id_cell, rank=2),
        Column(key="worker_id", title="WORKER", value=lambda x: _of(x, "worker_id"), fold=True, wide=True, rank=7),
        Column(key="created_at", title="CREATED", value=lambda x: _time(x, "created_us"), wide=True, rank=9),
        Column(key="finished_at", title="FINISHED", value=lambda x: _time(x, "finished_us"), wide=True, rank=9),
        Column(key="anomalies", title="CONTRADICTIONS",
               value=lambda x: list(x.anomalies) if isinstance(x, TreeLine) else None, show=_anomaly_cell,
               fold=True, rank=5),
    )  # fmt: skip
    return Listing(
        key="tree",
        items=lines,
        columns=columns,
        ident=lambda line: _of(line, "token_id") or "",
        document=_document,
        head={"instance_id": status.instance.instance_id, "process_id": status.instance.process_id},
        tail=lambda: {
            "contradictions": {
                "total": anomalies.total,
                "counts": dict(anomalies.counts),
                "examples": [_anomaly_document(a) for a in anomalies.examples],
            },
            "summary": summary_document(summary),
        },
        headline=headline(status, summary, now, unicode=unicode),
        notes=_notes(anomalies),
        empty="No tokens match." if summary.total_tokens else "The instance has no tokens.",
    )


def _of(line: Line, name: str) -> Any:
    return getattr(line.token, name) if isinstance(line, TreeLine) else None


def _time(line: Line, name: str) -> str | None:
    return format_time(from_micros(_of(line, name)))


# --- cells ----------------------------------------------------------------------------------------


def _tree_text(line: Line) -> str:
    return line.prefix + _text(line)


def _text(line: Line) -> str:
    if isinstance(line, HiddenLine):
        live = f", {line.live:,} live" if line.live else ""
        return f"… {count(line.count, 'token')} below{live}"
    text = line.token.name
    if line.loop is not None:
        return f"{text}  ×{line.loop.passes}" + (f" (step {line.loop.step + 1} of {line.loop.steps})"
                                                 if line.loop.steps > 1 else "")  # fmt: skip
    return f"{text}  ×{line.count}" if line.count > 1 else text


def _tree_cell(line: Line) -> Cell:
    if isinstance(line, HiddenLine) or line.context:
        return Cell(_text(line), "dim", line.prefix)
    return Cell(_text(line), "" if is_final(line.token.state) else "bold", line.prefix)


def _state_cell(line: Line, *, unicode: bool) -> Cell:
    if isinstance(line, HiddenLine):
        return Cell("")
    cell = state_cell(line.token.state, unicode=unicode)
    return Cell(cell.text, "dim") if line.context else cell


def _took_ms(line: Line) -> float | None:
    if isinstance(line, HiddenLine):
        return None
    if line.durations is not None:
        return line.durations.total_ms
    took = line.token.duration
    return took.ms if took else None


def _took_cell(line: Line, now: datetime) -> Cell:
    if isinstance(line, HiddenLine):
        return Cell("")
    if line.durations is not None:
        low, high = span(line.durations.min_ms / 1000), span(line.durations.max_ms / 1000)
        return Cell("~" * line.durations.derived + (low if low == high else f"{low} to {high}"))
    took = line.token.duration
    if took is not None or is_final(line.token.state):
        return duration_cell(took)
    first, last = line.created_us or (line.token.created_us, line.token.created_us)
    cells = [duration_cell(None, seconds_since(from_micros(time), now)) for time in (last, first)]
    texts = dict.fromkeys(cell.text for cell in cells)
    return Cell(" to ".join(texts), cells[0].style)


def _joins_cell(line: Line) -> Cell:
    joins = line.joins if isinstance(line, TreeLine) else ()
    return Cell(f"+{len(joins)} in" if joins else "", "cyan")


def _id_cell(line: Line) -> Cell:
    if isinstance(line, HiddenLine):
        return Cell("")
    return Cell(line.token.token_id + (f" …{line.last_token_id[-4:]}" if line.count > 1 else ""), "dim")


def _anomaly_cell(line: Line) -> Cell:
    kinds = line.anomalies if isinstance(line, TreeLine) else ()
    return Cell(", ".join(kind.lower().replace("_", " ") for kind in kinds), "yellow")


# --- documents ------------------------------------------------------------------------------------


def _document(line: Line) -> Document:
    if isinstance(line, HiddenLine):
        return {
            "level": line.level,
            "depth": line.depth,
            "hidden_tokens": line.count,
            "token_states": line.states,
        }
    token = line.token
    took = token.duration
    document: Document = {
        "token_id": token.token_id,
        "element_id": token.element_id,
        "element_type": token.element_type,
        "element_name": token.element_name,
        "state": token.state,
        "created_at": _time(line, "created_us"),
        "finished_at": _time(line, "finished_us"),
        "duration_ms": took and took.ms,
        "duration_derived": bool(took and took.derived),
        "level": line.level,
        "depth": line.depth,
        "parent_token_id": token.parent_token_id,
        "tree_parent_id": line.parent_id,
        "linked_by": line.linked_by,
        "joins": line.joins,
        "contradictions": line.anomalies,
    }
    if line.context:
        document["context"] = True
    return document


def _anomaly_document(anomaly: Any) -> Document:
    return {
        "kind": anomaly.kind,
        "token_id": anomaly.token_id,
        "other_id": anomaly.other_id,
        "message": anomaly.message,
    }


def _notes(anomalies: Anomalies) -> Callable[[int], list[str]]:
    def say(_: int) -> list[str]:
        if not anomalies.total:
            return []
        told = [f"  {a.message}" for a in anomalies.examples[:NOTED]]
        more = anomalies.total - len(told)
        return [
            f"The links contradict each other in {count(anomalies.total, 'place')}:",
            *told,
            *([f"  and {more:,} more: -o json tells them, with counts of each kind"] if more else []),
        ]

    return say
