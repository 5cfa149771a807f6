"""A list of tokens, and one token in full."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Raw

from tokctl.process.model import NULL, STATE_DERIVED, FlowHop, Summary, Token, duration, format_time
from tokctl.process.status import InstanceStatus
from tokctl.process.wire import summary_document, token_document
from tokctl.render.human import (
    age_cell,
    count,
    duration_cell,
    seconds_since,
    span,
    state_cell,
    state_style,
    time_cell,
)
from tokctl.render.result import Cell, Column, Detail, Field, Listing, Section


def token_columns(now: datetime, *, unicode: bool, variables: bool) -> tuple[Column, ...]:
    """The columns that a list of tokens can have."""

    def took(token: Token) -> Cell:
        return duration_cell(duration(token), seconds_since(token.created_at, now) if token.live else None)

    def took_ms(token: Token) -> float | None:
        known = duration(token)
        return known.ms if known else None

    def time(name: str, title: str) -> Column:
        return Column(key=name, title=title, value=lambda t: format_time(getattr(t, name)), wide=True, rank=9)

    return (
        Column(key="token_id", title="TOKEN", value=lambda t: t.token_id),
        Column(key="element_name", title="ELEMENT", value=lambda t: t.element_name,
               show=lambda t: Cell(t.name), fold=True, rank=1),
        Column(key="element_id", title="ELEMENT ID", value=lambda t: t.element_id, fold=True, wide=True, rank=8),
        Column(key="element_type", title="TYPE", value=lambda t: t.element_type, show=_type_cell, rank=5),
        Column(key="state", title="STATE", value=lambda t: t.state,
               show=lambda t: state_cell(t.state, unicode=unicode, derived=STATE_DERIVED in t.extra)),
        Column(key="age_seconds", title="AGE", value=lambda t: seconds_since(t.created_at, now),
               show=lambda t: age_cell(t.created_at, now), right=True, wide=True, rank=3),
        Column(key="duration_ms", title="TOOK", value=took_ms, show=took, right=True, rank=2),
        Column(key="worker_id", title="WORKER", value=lambda t: t.context.worker_id, fold=True, rank=6),
        Column(key="retries_used", title="RETRIES", value=lambda t: t.context.retries_used, right=True, rank=7,
               show=_retries_cell),
        Column(key="job_key", title="JOB", value=lambda t: t.context.job_key, fold=True, wide=True, rank=8),
        time("created_at", "CREATED"),
        time("updated_at", "UPDATED"),
        Column(key="finished_at", title="FINISHED", value=lambda t: format_time(t.finished_at), wide=True, rank=9),
        Column(key="timeout_at", title="TIMEOUT", value=lambda t: format_time(t.context.timeout_at), wide=True,
               rank=9),
        Column(key="parent_token_id", title="PARENT", value=lambda t: t.parent_token_id, fold=True, wide=True,
               rank=9),
        Column(key="instance_id", title="INSTANCE", value=lambda t: t.instance_id, fold=True, wide=True, rank=9),
        Column(key="variables", title="VARIABLES", value=lambda t: t.variables,
               show=lambda t: Cell(raw_text(t.variables)), fold=True, wide=not variables, rank=4),
    )  # fmt: skip


def _type_cell(token: Token) -> Cell:
    return Cell(token.element_type or "?", "" if token.element_type else "dim")


def _retries_cell(token: Token) -> Cell:
    used = token.context.retries_used
    return Cell("" if not used else str(used), "yellow" if used and used > 2 else "")


def raw_text(raw: Raw) -> str:
    """JSON as text; nothing for what is unknown."""
    return "" if raw == NULL else bytes(raw).decode()


def token_listing(
    tokens: Iterable[Token],
    status: InstanceStatus,
    summary: Summary,
    now: datetime,
    *,
    unicode: bool,
    variables: bool = False,
    notes: Callable[[int], list[str]] = lambda _: [],
    empty: str = "",
) -> Listing:
    """A list of an instance's tokens; in JSON the documented answer's ``data``."""
    return Listing(
        key="tokens",
        items=tokens,
        columns=token_columns(now, unicode=unicode, variables=variables),
        ident=lambda token: token.token_id,
        document=token_document,
        line=lambda token: token_document(token, instance=True),
        head={"instance_id": status.instance.instance_id, "process_id": status.instance.process_id},
        tail=lambda: {"summary": summary_document(summary)},
        headline=headline(status, summary, now, unicode=unicode),
        notes=notes,
        empty=empty or ("No tokens match." if summary.total_tokens else "The instance has no tokens."),
    )


def headline(status: InstanceStatus, summary: Summary, now: datetime, *, unicode: bool) -> tuple[Cell, ...]:
    """The line above what is shown of an instance: which it is, how it stands, its totals."""
    instance = status.instance
    gap = Cell("  ")
    cells = [Cell(instance.process_id or "process unknown", "bold"), gap, Cell(instance.instance_id), gap]
    cells.append(state_cell(status.status, unicode=unicode, derived=status.status_derived))
    if (lasted := status.lasted(now)) is not None:
        if lasted.total_seconds() < 0 and not status.ended_at:
            said = f"begins in {span(-lasted.total_seconds())}"
        else:
            said = f"{'took' if status.ended_at else 'for'} {span(lasted.total_seconds())}"
        cells += [gap, Cell(said, "dim")]
    cells += [gap, Cell(count(summary.total_tokens, "token"))]
    parts = [(state, n) for state, n in summary.token_states.items() if n]
    for position, (state, number) in enumerate(parts):
        cells += [Cell(", " if position else ": "), Cell(f"{number:,} {state.lower()}", state_style(state))]
    return tuple(cells)


def token_detail(
    token: Token, status: InstanceStatus, children: Iterable[str], now: datetime, *, unicode: bool
) -> Detail:
    """Everything known of a token; ``children`` are the tokens that name it as their parent."""
    took = duration(token)
    running = seconds_since(token.created_at, now) if token.live else None
    listed = token.child_tokens
    named = tuple(children)
    times = [
        Field("created", time_cell(token.created_at, now)),
        Field("updated", time_cell(token.updated_at, now)),
        Field("completed", time_cell(token.completed_at, now)),
        Field("cancelled", time_cell(token.cancelled_at, now)),
        Field("took", duration_cell(took, running) if took or running is not None else _UNKNOWN),
    ]
    relations = [
        Field("instance", Cell(token.instance_id)),
        Field("process", Cell(status.instance.process_id or "—")),
        Field("parent", Cell(token.parent_token_id or "none")),
        Field("children", Cell(_some(listed) or "none") if listed is not None else _UNKNOWN),
    ]
    known = frozenset(listed or ())
    if listed is not None and (unlisted := [child for child in named if child not in known]):
        relations.append(Field("named by", Cell(f"{_some(unlisted)} (which it does not list)", "yellow")))
    elif listed is None and named:
        relations.append(Field("named by", Cell(_some(named))))
    return Detail(
        ident=token.token_id,
        document=token_document(token, instance=True),
        title=(
            Cell(token.name, "bold"),
            Cell("  "),
            state_cell(token.state, unicode=unicode, derived=STATE_DERIVED in token.extra),
            Cell("  "),
            Cell(token.token_id),
        ),
        sections=(
            Section(
                fields=(
                    Field("element", Cell(token.element_id)),
                    Field("type", Cell(token.element_type or "unknown")),
                )
            ),
            Section(title="Times", fields=tuple(times)),
            Section(title="Relations", fields=tuple(relations)),
            Section(title="Execution context", fields=_context_fields(token, now)),
            _flow_section(token, now),
            Section(
                title="Variables",
                block=pretty(token.variables),
                fields=(Field("", _UNKNOWN),) if token.variables == NULL else (),
            ),
            Section(
                title="Other fields",
                fields=tuple(Field(k, Cell(raw_text(v))) for k, v in token.extra.items()),
            ),
        ),
    )


_UNKNOWN = Cell("unknown", "dim")
_IDS_SHOWN = 100


def _some(ids: Sequence[str]) -> str:
    """Ids for people: all of them, or the first and how many more."""
    more = len(ids) - _IDS_SHOWN
    return ", ".join(ids[:_IDS_SHOWN]) + (f" and {more:,} more: -o json tells them" if more > 0 else "")


def _flow_section(token: Token, now: datetime) -> Section:
    """The flow history as far as it can be read; what cannot stands there as it came."""
    from tokctl.process.history import read_hops

    hops, unreadable = read_hops(token)
    fields = []
    if token.flow_history == NULL:
        fields.append(Field("", _UNKNOWN))
    elif unreadable:
        fields.append(Field("", Cell(raw_text(token.flow_history), "yellow")))
    elif not hops:
        fields.append(Field("", Cell("none", "dim")))
    return Section(
        title="Flow history",
        fields=tuple(fields),
        listing=_hop_listing(hops, now) if hops else None,
    )


def pretty(raw: Raw) -> str:
    """JSON as text over several lines; nothing for what is unknown."""
    return "" if raw == NULL else msgspec.json.format(bytes(raw), indent=2).decode()


def _context_fields(token: Token, now: datetime) -> tuple[Field, ...]:
    """The context's fields as they came, those with times explained."""
    if token.execution_context == NULL:
        return (Field("", _UNKNOWN),)
    fields: Any = msgspec.json.decode(token.execution_context)
    if not isinstance(fields, dict):
        return (Field("", Cell(raw_text(token.execution_context))),)
    if not fields:
        return (Field("", Cell("none", "dim")),)
    shown = []
    for name, value in fields.items():
        if name == "timeout_at" and token.context.timeout_at:
            late = token.live and token.context.timeout_at < now
            shown.append(Field(name, Cell(time_cell(token.context.timeout_at, now).text, "bold red" if late else "")))
        elif name == "duration_ms" and isinstance(value, int | float):
            shown.append(Field(name, Cell(f"{value:,}  ({span(value / 1000)})")))
        elif isinstance(value, dict):
            shown += [Field(f"{name}.{key}", Cell(_json_text(inner))) for key, inner in value.items()]
        else:
            shown.append(Field(name, Cell(_json_text(value))))
    return tuple(shown)


def _json_text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _hop_listing(hops: list[FlowHop], now: datetime) -> Listing:
    return Listing(
        key="flow_history",
        items=hops,
        columns=(
            Column(key="timestamp", title="TIME", value=lambda h: format_time(h.timestamp),
                   show=lambda h: time_cell(h.timestamp, now)),
            Column(key="from_element", title="FROM", value=lambda h: h.from_element, fold=True),
            Column(key="via_flow", title="OVER FLOW", value=lambda h: h.via_flow, fold=True),
        ),
        ident=lambda hop: hop.via_flow or "",
        document=msgspec.structs.asdict,
    )  # fmt: skip
