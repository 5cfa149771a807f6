"""The flow history of an instance or of one token, hop by hop."""

from __future__ import annotations

from datetime import datetime

from tokctl.analysis.encoding.tree import encode_contradictions
from tokctl.analysis.history import Hop, InstanceHistory
from tokctl.documents.base import build_document, encode_certainty
from tokctl.documents.history import HopDocument
from tokctl.model.durations import Duration
from tokctl.model.instance_status import InstanceStatus
from tokctl.model.instances import Summary
from tokctl.model.times import format_time
from tokctl.model.tokens import Certainty
from tokctl.render.result import Cell, Column, Listing, Output
from tokctl.render.text import (
    CERTAINTY_SIGNS,
    count,
    duration_cell,
    explain_certainty,
    format_clock,
    format_zoned_time,
    ms_cell,
    since_start_cell,
    state_cell,
)
from tokctl.render.views.tokens import headline


def history_listing(history: InstanceHistory, status: InstanceStatus, summary: Summary, out: Output) -> Listing:
    """Return the hops of an instance or of one token, ordered by time."""
    return Listing(
        key="history",
        items=history.hops(),
        columns=_hop_columns(history, out),
        ident=lambda hop: hop.token_id,
        document=_encode_hop,
        head={"instance_id": status.instance.instance_id, "process_id": status.instance.process_id},
        tail=lambda: {
            "unreadable_entries": history.unreadable,
            "contradictions": encode_contradictions(history.anomalies),
        },
        headline=headline(status, summary, out),
        notes=lambda _: _notes(history),
        empty="No hops: the instance has no tokens.",
    )


def _hop_columns(history: InstanceHistory, out: Output) -> tuple[Column, ...]:
    began, digits = history.began_at, len(str(len(history)))
    return (
        Column("sequence", "#", show=lambda h: Cell(f"{h.sequence:>{digits}}"), right=True),
        Column(
            "timestamp", "TIME", lambda h: format_time(h.timestamp), show=lambda h: Cell(_clock(h, began, out)), rank=6
        ),
        Column(
            "offset_ms",
            "SINCE START",
            lambda h: _offset_ms(h, began),
            show=lambda h: since_start_cell(_offset_ms(h, began), derived=h.timestamp_derived),
            right=True,
            wide=True,
            rank=3,
        ),
        Column(
            "via",
            "FROM, VIA FLOW",
            "from_element",
            show=_origin_cell,
            fold=True,
            min_width=24,
            rank=1,
        ),
        Column("element_name", "ELEMENT", show=lambda h: Cell(h.name), fold=True),
        Column("element_type", "TYPE", rank=7),
        Column("state", "STATE", show=_state_cell),
        Column("wait_ms", "WAITED", form=ms_cell, right=True, rank=2),
        Column("duration_ms", "TOOK", show=lambda h: _duration_cell(h, out), right=True),
        Column("token_id", "TOKEN", show=lambda h: Cell(h.token_id, "dim"), rank=5),
        Column("via_flow", "FLOW", fold=True, wide=True, rank=8),
        Column("certainty", "CERTAINTY", _certainty, wide=True, rank=8),
        Column("element_id", "ELEMENT ID", fold=True, wide=True, rank=9),
    )


def _certainty(hop: Hop) -> Certainty | None:
    """Return how certain a hop is; None if it is recorded."""
    return None if hop.certainty is Certainty.RECORDED else hop.certainty


def _encode_hop(hop: Hop) -> HopDocument:
    return build_document(HopDocument, hop, certainty=encode_certainty(hop.certainty))


def _notes(history: InstanceHistory) -> list[str]:
    notes = explain_certainty(history.flow_columns.certainties)
    if history.unreadable:
        notes.append(f"{count(history.unreadable, 'flow history entry', 'flow history entries')} cannot be read.")
    if history.anomalies.total:
        notes.append(
            f"The links between tokens contradict each other in {count(history.anomalies.total, 'place')}. "
            "See 'tokctl tokens tree'."
        )
    return notes


def _duration_cell(hop: Hop, out: Output) -> Cell:
    if hop.duration_ms is not None:
        return duration_cell(Duration(hop.duration_ms, hop.duration_derived))
    age = hop.age_ms(out.now)
    return duration_cell(None, None if age is None else age / 1000)


def _offset_ms(hop: Hop, began: datetime | None) -> float | None:
    if hop.timestamp is None or began is None:
        return None
    return (hop.timestamp - began).total_seconds() * 1000


def _clock(hop: Hop, began: datetime | None, out: Output) -> str:
    if hop.timestamp is None or began is None:
        return "?"
    if not out.tty:  # a line of a pipe is read on its own
        return format_zoned_time(hop.timestamp, out.now)
    return format_clock(hop.timestamp, began, out.now, first=hop.sequence == 1)


def _origin_cell(hop: Hop) -> Cell:
    if not hop.recorded:
        return Cell("not recorded", "dim")
    sign = CERTAINTY_SIGNS[hop.certainty]
    if hop.from_element is None:
        return Cell(hop.via_flow or sign, "dim")
    return Cell(f"{sign} {hop.from_element}".strip() + (f" → {hop.via_flow}" if hop.via_flow else ""))


def _state_cell(hop: Hop) -> Cell:
    return Cell("moved on", "dim") if hop.passed else state_cell(hop.state)
