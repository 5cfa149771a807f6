"""The way through the model, hop by hop."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tokctl.process.history import History, Hop
from tokctl.process.model import Duration, Summary, format_time
from tokctl.process.status import InstanceStatus
from tokctl.render.human import count, duration_cell, span, state_cell
from tokctl.render.result import Cell, Column, Document, Listing
from tokctl.render.views.tokens import headline


def history_listing(
    history: History, status: InstanceStatus, summary: Summary, now: datetime, *, unicode: bool
) -> Listing:
    """The hops of an instance or of one token, in the order of their times."""
    began = history.began_at
    digits = len(str(len(history)))

    def since_begin(hop: Hop) -> Cell:
        if hop.timestamp is None or began is None:
            return Cell("?", "dim")
        return Cell(f"+{span((hop.timestamp - began).total_seconds())}{'~' * hop.timestamp_derived}", "dim")

    def took(hop: Hop) -> Cell:
        if hop.duration_ms is not None:
            return duration_cell(Duration(hop.duration_ms, hop.duration_derived))
        age = hop.age_ms(now)
        return duration_cell(None, None if age is None else age / 1000)

    arrow = "→" if unicode else "->"
    columns = (
        Column(key="sequence", title="#", value=lambda h: h.sequence,
               show=lambda h: Cell(f"{h.sequence:>{digits}}"), right=True),
        Column(key="timestamp", title="TIME", value=lambda h: format_time(h.timestamp),
               show=lambda h: Cell(_clock(h, began, now)), rank=6),
        Column(key="offset_ms", title="SINCE START", value=lambda h: _offset(h, began), show=since_begin, right=True,
               wide=True, rank=3),
        Column(key="via", title="FROM, OVER FLOW", value=lambda h: h.from_element,
               show=lambda h: _via(h, arrow), fold=True, least=24, rank=1),
        Column(key="element_name", title="ELEMENT", value=lambda h: h.element_name, show=lambda h: Cell(h.name),
               fold=True),
        Column(key="element_type", title="TYPE", value=lambda h: h.element_type, rank=7),
        Column(key="state", title="STATE", value=lambda h: h.state, show=lambda h: _state(h, unicode=unicode)),
        Column(key="wait_ms", title="WAITED", value=lambda h: h.wait_ms,
               show=lambda h: Cell("" if h.wait_ms is None else span(h.wait_ms / 1000)), right=True, rank=2),
        Column(key="duration_ms", title="TOOK", value=lambda h: h.duration_ms, show=took, right=True),
        Column(key="token_id", title="TOKEN", value=lambda h: h.token_id, show=lambda h: Cell(h.token_id, "dim"),
               rank=5),
        Column(key="via_flow", title="FLOW", value=lambda h: h.via_flow, fold=True, wide=True, rank=8),
        Column(key="element_id", title="ELEMENT ID", value=lambda h: h.element_id, fold=True, wide=True, rank=9),
    )  # fmt: skip

    def notes(_: int) -> list[str]:
        said = []
        if history.unreadable:
            said.append(f"{count(history.unreadable, 'flow history entry', 'flow history entries')} cannot be read.")
        if history.anomalies.total:
            said.append(
                f"The links between tokens contradict each other in {count(history.anomalies.total, 'place')}: "
                "see 'tokctl tokens tree'."
            )
        return said

    return Listing(
        key="history",
        items=history.hops(),
        columns=columns,
        ident=lambda hop: hop.token_id,
        document=_document,
        head={"instance_id": status.instance.instance_id, "process_id": status.instance.process_id},
        tail=lambda: {
            "unreadable_entries": history.unreadable,
            "contradictions": {"total": history.anomalies.total, "counts": dict(history.anomalies.counts)},
        },
        headline=headline(status, summary, now, unicode=unicode),
        notes=notes,
        empty="No hops: the instance has no tokens.",
    )


def _offset(hop: Hop, began: datetime | None) -> float | None:
    if hop.timestamp is None or began is None:
        return None
    return (hop.timestamp - began).total_seconds() * 1000


def _clock(hop: Hop, began: datetime | None, now: datetime) -> str:
    """A time of day, with the date where it is another than at the beginning, and there unless it is today's."""
    text = format_time(hop.timestamp)
    if text is None or began is None or hop.timestamp is None:
        return "?"
    date, _, clock = text.rstrip("Z").partition("T")
    if hop.timestamp.date() != began.date():
        return f"{date} {clock[:8]}"
    return f"{date} {clock[:12]}" if hop.sequence == 1 and began.date() != now.date() else clock[:12]


def _via(hop: Hop, arrow: str) -> Cell:
    if not hop.recorded:
        return Cell("not recorded", "dim")
    if hop.from_element is None:
        return Cell(hop.via_flow or "", "dim")
    return Cell(hop.from_element + (f" {arrow} {hop.via_flow}" if hop.via_flow else ""))


def _state(hop: Hop, *, unicode: bool) -> Cell:
    return Cell("moved on", "dim") if hop.passed else state_cell(hop.state, unicode=unicode)


def _document(hop: Hop) -> Document:
    document: dict[str, Any] = {name: getattr(hop, name) for name in hop.__struct_fields__}
    document["timestamp"] = format_time(hop.timestamp)
    document["began_at"] = format_time(hop.began_at)
    return document
