"""Tokens: a list, and one in full."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cached_property
from shlex import quote
from typing import Any

import msgspec
from msgspec import Raw

from tokctl.documents.tokens import encode_token
from tokctl.model.durations import Duration, compute_duration, compute_token_duration
from tokctl.model.instance_status import InstanceStatus
from tokctl.model.instances import Summary
from tokctl.model.json_values import decode_value
from tokctl.model.states import FAILED, is_final
from tokctl.model.times import format_time
from tokctl.model.tokens import NULL, ExecutionContext, FlowHop, Token, is_state_derived
from tokctl.model.visits import Visit
from tokctl.render.result import Cell, Column, Detail, Field, Footer, Listing, Output, Section, table
from tokctl.render.text import (
    CERTAINTY_SIGNS,
    age_cell,
    count,
    duration_cell,
    error_cell,
    format_duration,
    moment_cell,
    overdue_cell,
    retries_cell,
    seconds_since,
    state_cell,
    state_style,
    time_cell,
)


class TokenRow:
    """A token in a list. Its execution context is decoded once, and only if a column needs it."""

    def __init__(self, token: Token) -> None:
        self.token = token

    @cached_property
    def context(self) -> ExecutionContext:
        """The documented fields of the execution context."""
        return self.token.context

    @property
    def duration(self) -> Duration | None:
        """How long the token took; see ``compute_token_duration``."""
        return compute_duration(self.context.duration_ms, self.token.created_at, self.token.finished_at)


def token_columns(out: Output, *, variables: bool) -> tuple[Column, ...]:
    """Return the columns of a list of ``TokenRow``."""

    def took(row: TokenRow) -> Cell:
        token = row.token
        return duration_cell(row.duration, seconds_since(token.created_at, out.now) if token.can_move else None)

    def time(key: str, title: str, get: Callable[[TokenRow], datetime | None]) -> Column:
        show = lambda row: moment_cell(get(row), out.now)  # noqa: E731
        return Column(key, title, lambda row: format_time(get(row)), show=show, wide=True, rank=9)

    return (
        Column("token_id", "TOKEN", "token.token_id", form=lambda i: Cell(out.shorten_token_id(i))),
        Column("element_name", "ELEMENT", "token.element_name", show=lambda row: Cell(row.token.name), fold=True),
        Column("element_id", "ELEMENT ID", "token.element_id", fold=True, wide=True, rank=8),
        Column("element_type", "TYPE", "token.element_type", show=_type_cell, rank=8),
        Column(
            "state",
            "STATE",
            "token.state",
            show=lambda row: _state_cell(row, out),
        ),
        Column(
            "error", "ERROR", lambda row: row.context.error, form=error_cell, fold=True, cut=True, min_width=24, rank=1
        ),
        Column(
            "age_seconds",
            "AGE",
            lambda row: seconds_since(row.token.created_at, out.now),
            show=lambda row: age_cell(row.token.created_at, out.now),
            right=True,
            wide=True,
            rank=3,
        ),
        Column("duration_ms", "TOOK", lambda row: row.duration and row.duration.ms, show=took, right=True, rank=2),
        Column("worker_id", "WORKER", "context.worker_id", fold=True, min_width=20, rank=6),
        Column("retries_used", "RETRIES", "context.retries_used", form=retries_cell, right=True, rank=7),
        Column("job_key", "JOB", "context.job_key", fold=True, wide=True, rank=8),
        time("created_at", "CREATED", lambda row: row.token.created_at),
        time("updated_at", "UPDATED", lambda row: row.token.updated_at),
        time("finished_at", "FINISHED", lambda row: row.token.finished_at),
        time("timeout_at", "TIMEOUT", lambda row: row.context.timeout_at),
        Column("parent_token_id", "PARENT", "token.parent_token_id", fold=True, wide=True, rank=9),
        Column("instance_id", "INSTANCE", "token.instance_id", fold=True, wide=True, rank=9),
        Column(
            "variables",
            "VARIABLES",
            "token.variables",
            form=lambda raw: Cell(format_raw_json(raw)),
            fold=True,
            wide=not variables,
            rank=4,
        ),
    )


def _state_cell(row: TokenRow, out: Output) -> Cell:
    cell = state_cell(row.token.state, derived=is_state_derived(row.token, row.context))
    timeout = row.context.timeout_at if row.token.can_move else None
    is_overdue = timeout is not None and timeout < out.now and (out.tty or out.color)  # in a pipe, a state is one word
    return overdue_cell(cell) if is_overdue else cell


def explain_command(id_or_prefix: str, out: Output) -> str:
    """Return the command that explains why an instance or a token does not go on."""
    return f"{out.prefix} explain {'-- ' if id_or_prefix.startswith('-') else ''}{quote(id_or_prefix)}"


def token_footer(out: Output) -> Footer:
    """Return the footer of a list of ``TokenRow``: FAILED tokens are the most urgent, then live ones."""

    def next_command(row: TokenRow) -> str:
        token = row.token
        if is_final(token.state):
            return f"{out.prefix} tokens history {quote(out.shorten_instance_id(token.instance_id))}"
        return explain_command(out.shorten_token_id(token.token_id), out)

    return Footer(next_command, lambda row: state_urgency(row.token.state), "token")


def state_urgency(state: str) -> int:
    """Return how urgent a token in this state is: 2 if FAILED, 1 if live, 0 if it has ended."""
    return 2 if state == FAILED else int(not is_final(state))


def _type_cell(row: TokenRow) -> Cell:
    token = row.token
    return Cell(token.element_type or "?", "" if token.element_type else "dim")


def format_raw_json(raw: Raw) -> str:
    """Return JSON as text, empty if unknown."""
    return "" if raw == NULL else bytes(raw).decode()


def token_listing(
    tokens: Iterable[Token],
    status: InstanceStatus,
    summary: Summary,
    out: Output,
    *,
    variables: bool = False,
    notes: Callable[[int], list[str]] = lambda _: [],
    empty: str = "",
) -> Listing:
    """Return a list of the tokens of an instance; in JSON it is ``data`` of the documented answer."""
    return Listing(
        key="tokens",
        items=map(TokenRow, tokens),
        columns=token_columns(out, variables=variables),
        ident=lambda row: row.token.token_id,
        document=lambda row: encode_token(row.token),
        ndjson_document=lambda row: encode_token(row.token, instance=True),
        head={"instance_id": status.instance.instance_id, "process_id": status.instance.process_id},
        tail=lambda: {"summary": summary},
        headline=headline(status, summary, out),
        notes=notes,
        empty=empty or ("No tokens match." if summary.total_tokens else "The instance has no tokens."),
        footer=token_footer(out),
    )


def headline(status: InstanceStatus, summary: Summary, out: Output) -> tuple[Cell, ...]:
    """Return the first line of all views of an instance: its ids, its status, its totals."""
    instance = status.instance
    gap = Cell("  ")
    cells = [Cell(instance.process_id or "process unknown", "bold"), gap, Cell(instance.instance_id), gap]
    cells.append(status_cell(status))
    if (elapsed := status.elapsed(out.now)) is not None:
        if elapsed.total_seconds() < 0 and not status.ended_at:
            said = f"begins in {format_duration(-elapsed.total_seconds())}"
        else:
            said = f"{'took' if status.ended_at else 'for'} {format_duration(elapsed.total_seconds())}"
        cells += [gap, Cell(said, "dim")]
    cells += [gap, Cell(count(summary.total_tokens, "token"))]
    parts = [(state, n) for state, n in summary.token_states.items() if n]
    for position, (state, number) in enumerate(parts):
        cells += [Cell(", " if position else ": "), Cell(f"{number:,} {state.lower()}", state_style(state))]
    return tuple(cells)


def status_cell(status: InstanceStatus) -> Cell:
    """Return the status of an instance, marked as failed if it has an incident."""
    cell = state_cell(status.status, derived=status.status_derived)
    if not status.failed_tokens:
        return cell
    failed = state_cell(FAILED)
    return cell._replace(style=failed.style, sign=failed.sign)


def token_title(token: Token | Visit, *, derived: bool = False) -> tuple[Cell, ...]:
    """Return the title of what is shown of a token."""
    state, gap = state_cell(token.state, derived=derived), Cell("  ")
    return (Cell(token.name, "bold"), gap, state, gap, Cell(token.token_id))


def token_detail(token: Token, status: InstanceStatus, children: Iterable[str], out: Output) -> Detail:
    """Return everything known about a token; ``children`` are the ids of tokens that name it as their parent."""
    took = compute_token_duration(token)
    running = seconds_since(token.created_at, out.now) if token.can_move else None
    listed = token.child_tokens
    named = tuple(children)
    times = [
        Field("created", time_cell(token.created_at, out.now)),
        Field("updated", time_cell(token.updated_at, out.now)),
        Field("completed", time_cell(token.completed_at, out.now)),
        Field("cancelled", time_cell(token.cancelled_at, out.now)),
        Field("took", duration_cell(took, running) if took or running is not None else _UNKNOWN),
    ]
    relations = [
        Field("instance", Cell(token.instance_id)),
        Field("process", Cell(status.instance.process_id or "—")),
        Field("parent", Cell(token.parent_token_id or "none")),
        Field("children", Cell(_format_ids(listed) or "none") if listed is not None else _UNKNOWN),
    ]
    known = frozenset(listed or ())
    if listed is not None and (unlisted := [child for child in named if child not in known]):
        relations.append(Field("named by", Cell(f"{_format_ids(unlisted)} (not in its child list)", "yellow")))
    elif listed is None and named:
        relations.append(Field("named by", Cell(_format_ids(named))))
    return Detail(
        ident=token.token_id,
        document=encode_token(token, instance=True),
        title=token_title(token, derived=is_state_derived(token, token.context)),
        sections=(
            Section(
                fields=(
                    Field("element", Cell(token.element_id)),
                    Field("type", Cell(token.element_type or "unknown")),
                )
            ),
            Section(title="Error", block=token.error or ""),
            Section(title="Times", fields=tuple(times)),
            Section(title="Relations", fields=tuple(relations)),
            Section(title="Execution context", fields=_context_fields(token, out.now)),
            Section(title="Stack trace", block=(token.context.stack_trace or "").expandtabs(4)),
            _flow_section(token, out),
            Section(
                title="Variables",
                block=indent_raw_json(token.variables),
                fields=(Field("", _UNKNOWN),) if token.variables == NULL else (),
            ),
            Section(
                title="Other fields", fields=tuple(Field(k, Cell(format_raw_json(v))) for k, v in token.extra.items())
            ),
        ),
    )


_UNKNOWN = Cell("unknown", "dim")
_MAX_IDS_SHOWN = 100


def _format_ids(ids: Sequence[str]) -> str:
    """Return ids for people: all of them, or the first ones and the number of the rest."""
    more = len(ids) - _MAX_IDS_SHOWN
    return ", ".join(ids[:_MAX_IDS_SHOWN]) + (f" and {more:,} more (-o json lists all)" if more > 0 else "")


def _flow_section(token: Token, out: Output) -> Section:
    """Return the readable hops of the flow history; unreadable entries are shown as raw JSON."""
    from tokctl.analysis.history import read_flow_history

    hops, unreadable = read_flow_history(token)
    fields = []
    if token.flow_history == NULL:
        fields.append(Field("", _UNKNOWN))
    elif unreadable:
        fields.append(Field("", Cell(format_raw_json(token.flow_history), "yellow")))
    elif not hops:
        fields.append(Field("", Cell("none", "dim")))
    columns = (
        Column("timestamp", "TIME", show=lambda hop: time_cell(hop.timestamp, out.now)),
        Column("from_element", "FROM", show=_hop_source_cell, fold=True),
        Column("via_flow", "VIA FLOW", fold=True),
    )
    return Section(title="Flow history", fields=tuple(fields), listing=table(hops, columns) if hops else None)


def _hop_source_cell(hop: FlowHop) -> Cell:
    return Cell(f"{CERTAINTY_SIGNS[hop.certainty]} {hop.from_element or ''}".strip())


def indent_raw_json(raw: Raw) -> str:
    """Return JSON as indented text, empty if unknown."""
    return "" if raw == NULL else msgspec.json.format(bytes(raw), indent=2).decode()


def _context_fields(token: Token, now: datetime) -> tuple[Field, ...]:
    """Return the fields of the context as they are; times and durations are formatted."""
    if token.execution_context == NULL:
        return (Field("", _UNKNOWN),)
    fields: Any = decode_value(token.execution_context)
    if not isinstance(fields, dict):
        return (Field("", Cell(format_raw_json(token.execution_context))),)
    if not fields:
        return (Field("", Cell("none", "dim")),)
    shown = []
    for name, value in fields.items():
        if name == "stack_trace":
            continue  # it has a section of its own
        if name == "timeout_at" and token.context.timeout_at:
            late = token.can_move and token.context.timeout_at < now
            shown.append(Field(name, Cell(time_cell(token.context.timeout_at, now).text, "bold red" if late else "")))
        elif name == "duration_ms" and isinstance(value, int | float):
            shown.append(Field(name, Cell(f"{value:,}  ({format_duration(value / 1000)})")))
        elif isinstance(value, dict):
            shown += [Field(f"{name}.{key}", Cell(_json_text(inner))) for key, inner in value.items()]
        else:
            shown.append(Field(name, Cell(_json_text(value))))
    return tuple(shown)


def _json_text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
