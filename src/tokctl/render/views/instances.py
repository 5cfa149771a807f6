"""A list of process instances, and one of them with its totals."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from tokctl.process.answers import status_document
from tokctl.process.model import Summary, Token, format_time
from tokctl.process.status import InstanceStatus
from tokctl.process.wire import summary_document
from tokctl.render.human import age_cell, count, seconds_since, span, state_cell, state_style, time_cell
from tokctl.render.result import Cell, Column, Detail, Field, Listing, Section
from tokctl.render.views.tokens import headline, pretty, raw_text, token_columns


def instance_listing(
    statuses: Iterable[InstanceStatus],
    now: datetime,
    *,
    unicode: bool,
    notes: Callable[[int], list[str]] = lambda _: [],
    empty: str = "",
) -> Listing:
    """A list of instances."""

    def lasted(status: InstanceStatus) -> float | None:
        known = status.lasted(now)
        return None if known is None else known.total_seconds()

    def lasted_cell(status: InstanceStatus) -> Cell:
        seconds = lasted(status)
        return Cell("") if seconds is None else Cell(span(seconds) + "…" * (status.ended_at is None))

    def age(status: InstanceStatus) -> float | None:
        return seconds_since(status.started_at, now)

    def given(name: str) -> Callable[[InstanceStatus], Any]:
        return lambda status: getattr(status.instance, name)

    columns = (
        Column(key="instance_id", title="INSTANCE", value=given("instance_id")),
        Column(key="process_id", title="PROCESS", value=given("process_id"), fold=True, rank=2),
        Column(key="status", title="STATUS", value=lambda s: s.status,
               show=lambda s: state_cell(s.status, unicode=unicode, derived=s.status_derived)),
        Column(key="live_tokens", title="LIVE", value=lambda s: s.live_tokens, right=True, rank=3),
        Column(key="total_tokens", title="TOKENS", value=lambda s: s.total_tokens, right=True, rank=4),
        Column(key="age_seconds", title="STARTED", value=age,
               show=lambda s: age_cell(s.started_at, now), right=True, rank=5),
        Column(key="lasted_seconds", title="LASTED", value=lasted, show=lasted_cell, right=True, rank=6),
        Column(key="started_at", title="STARTED AT", value=lambda s: format_time(s.started_at), wide=True, rank=9),
        Column(key="updated_at", title="UPDATED AT", value=lambda s: format_time(s.updated_at), wide=True, rank=9),
        Column(key="ended_at", title="ENDED AT", value=lambda s: format_time(s.ended_at), wide=True, rank=9),
        Column(key="process_key", title="KEY", value=given("process_key"), wide=True, fold=True, rank=8),
        Column(key="version", title="VERSION", value=given("version"), right=True, wide=True, rank=8),
        Column(key="tenant_id", title="TENANT", value=given("tenant_id"), wide=True, fold=True, rank=8),
    )  # fmt: skip
    return Listing(
        key="instances",
        items=statuses,
        columns=columns,
        ident=lambda status: status.instance.instance_id,
        document=status_document,
        notes=notes,
        empty=empty or "No process instances match.",
    )


def _standing_title(shown: int, live: int) -> str:
    if not shown:
        return ""
    return "Where it stands" + (f": the first {shown:,} of {count(live, 'live token')}" if shown < live else "")


def instance_detail(
    status: InstanceStatus, summary: Summary, live: Iterable[Token], now: datetime, *, unicode: bool
) -> Detail:
    """An instance in full: its data, its totals, and where it stands now."""
    instance = status.instance
    live = list(live)
    fields = [
        Field("process", Cell(instance.process_id or "unknown")),
        Field("key", Cell(instance.process_key or "")),
        Field("version", Cell("" if instance.version is None else str(instance.version))),
        Field("tenant", Cell(instance.tenant_id or "")),
        Field("started", time_cell(status.started_at, now)),
        Field("updated", time_cell(status.updated_at, now)),
        Field("ended", time_cell(status.ended_at, now) if status.ended_at else Cell("")),
    ]
    states = [Field(s, Cell(f"{n:,}", state_style(s))) for s, n in summary.token_states.items() if n]
    types = [Field(t, Cell(f"{n:,}")) for t, n in summary.element_types.items() if n]
    document = status_document(status)
    document["summary"] = summary_document(summary)
    document["current_activities"] = [
        {"token_id": t.token_id, "element_id": t.element_id, "element_name": t.element_name, "state": t.state}
        for t in live
    ]
    standing = Listing(
        key="tokens",
        items=live,
        columns=token_columns(now, unicode=unicode, variables=False),
        ident=lambda token: token.token_id,
        document=dict,
    )
    return Detail(
        ident=instance.instance_id,
        document=document,
        title=headline(status, summary, now, unicode=unicode),
        sections=(
            Section(fields=tuple(field for field in fields if field.cell.text)),
            Section(title=_standing_title(len(live), status.live_tokens), listing=standing if live else None),
            Section(title=count(summary.total_tokens, "token"), fields=tuple(states)),
            Section(title="Element types", fields=tuple(types)),
            Section(
                title="Variables",
                block=pretty(instance.variables),
            ),
            Section(title="Other fields",
                    fields=tuple(Field(k, Cell(raw_text(v))) for k, v in instance.extra.items())),
        ),
    )  # fmt: skip
