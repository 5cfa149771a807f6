"""Process instances: a list, and one in full."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from shlex import quote

from tokctl.documents.instances import encode_overview_detail, encode_status
from tokctl.model.instance_status import InstanceStatus
from tokctl.model.instances import Summary
from tokctl.model.states import FAILED
from tokctl.model.times import format_time
from tokctl.model.tokens import Token
from tokctl.render.result import Cell, Column, Detail, Field, Footer, Listing, Output, Section, table
from tokctl.render.text import (
    age_cell,
    count,
    error_cell,
    format_duration,
    moment_cell,
    overdue_cell,
    seconds_since,
    state_style,
    time_cell,
)
from tokctl.render.views.tokens import (
    TokenRow,
    explain_command,
    format_raw_json,
    headline,
    indent_raw_json,
    status_cell,
    token_columns,
)


def instance_listing(
    statuses: Iterable[InstanceStatus],
    out: Output,
    *,
    headline: tuple[Cell, ...] | Callable[[], tuple[Cell, ...]] = (),
    stuck: Collection[str] = (),
    notes: Callable[[int], list[str]] = lambda _: [],
    empty: str = "",
) -> Listing:
    """Return a list of instances. ``stuck`` has the ids of those with a token that takes too long, where known."""

    def urgency(status: InstanceStatus) -> int:
        return 2 if status.failed_tokens else int(status.instance.instance_id in stuck)

    def next_command(status: InstanceStatus) -> str:
        shown = out.shorten_instance_id(status.instance.instance_id)
        return explain_command(shown, out) if urgency(status) else f"{out.prefix} tokens tree {quote(shown)}"

    return Listing(
        key="instances",
        items=statuses,
        columns=_instance_columns(out, lambda status: urgency(status) == 1),
        ident=lambda status: status.instance.instance_id,
        document=encode_status,
        notes=notes,
        empty=empty or "No process instances match.",
        headline=headline,
        footer=Footer(next_command, urgency, "instance"),
    )


def _name_columns(out: Output) -> tuple[Column, Column]:
    """Return the columns that tell which instance it is; on a terminal, long ids are cut so that both fit."""
    return (
        Column(
            "instance_id",
            "INSTANCE",
            "instance.instance_id",
            form=lambda i: Cell(out.shorten_instance_id(i)),
            fold=out.cuts,
            cut=out.cuts,
        ),
        Column(
            "process_id",
            "PROCESS",
            "instance.process_id",
            fold=True,
            cut=out.cuts,
            min_width=16 if out.cuts else 20,
            rank=0 if out.cuts else 2,
        ),
    )


def _instance_columns(out: Output, is_stuck: Callable[[InstanceStatus], bool]) -> tuple[Column, ...]:
    def elapsed(status: InstanceStatus) -> float | None:
        known = status.elapsed(out.now)
        return None if known is None else known.total_seconds()

    def lasted_cell(status: InstanceStatus) -> Cell:
        seconds = elapsed(status)
        return Cell("") if seconds is None else Cell(format_duration(seconds) + "…" * (status.ended_at is None))

    def time(name: str, title: str) -> Column:
        return Column(
            name,
            title,
            lambda s: format_time(getattr(s, name)),
            show=lambda s: moment_cell(getattr(s, name), out.now),
            wide=True,
            rank=9,
        )

    def number(name: str, title: str, rank: int, show: Callable[[InstanceStatus], Cell] | None = None) -> Column:
        known = lambda s: getattr(s, name) if s.tokens_known else None  # noqa: E731
        return Column(name, title, known, show=show, right=True, rank=rank)

    return (
        *_name_columns(out),
        Column(
            "status",
            "STATUS",
            show=lambda s: overdue_cell(status_cell(s), "stuck") if is_stuck(s) else status_cell(s),
        ),
        Column(
            "failed_tokens", "INCIDENTS", lambda s: s.incidents, show=_incidents_cell, right=True, rank=1 + out.cuts
        ),
        Column("live_elements", "WHERE", lambda s: ", ".join(s.live_elements), fold=True, cut=True, rank=1),
        Column("first_error", "ERROR", form=error_cell, fold=True, cut=True, min_width=20, rank=1),
        number("live_tokens", "LIVE", 4),
        number("total_tokens", "TOKENS", 5),
        Column(
            "age_seconds",
            "AGE",
            lambda s: seconds_since(s.started_at, out.now),
            show=lambda s: age_cell(s.started_at, out.now),
            right=True,
            rank=1,
        ),
        Column("lasted_seconds", "TOOK", elapsed, show=lasted_cell, right=True, rank=6),
        time("started_at", "STARTED AT"),
        time("updated_at", "UPDATED AT"),
        time("ended_at", "ENDED AT"),
        Column("process_key", "KEY", "instance.process_key", fold=True, wide=True, rank=8),
        Column("version", "VERSION", "instance.version", right=True, wide=True, rank=8),
        Column("business_key", "BUSINESS KEY", "instance.business_key", fold=True, wide=True, rank=8),
        Column("tenant_id", "TENANT", "instance.tenant_id", fold=True, wide=True, rank=8),
    )


def _incidents_cell(status: InstanceStatus) -> Cell:
    if status.incidents is None:
        return Cell("-")
    return Cell(f"{status.failed_tokens:,}", state_style(FAILED) if status.failed_tokens else "dim")


def _live_tokens_title(shown: int, live: int) -> str:
    if not shown:
        return ""
    return "Live tokens" + (f" (first {shown:,} of {live:,})" if shown < live else "")


def instance_detail(status: InstanceStatus, summary: Summary, live: Iterable[Token], out: Output) -> Detail:
    """Return an instance in full: the tokens that failed or have not ended, its data, its totals, its variables."""
    instance = status.instance
    live = list(live)
    fields = [
        Field("process", Cell(instance.process_id or "unknown")),
        Field("key", Cell(instance.process_key or "")),
        Field("version", Cell("" if instance.version is None else str(instance.version))),
        Field("business key", Cell(instance.business_key or "")),
        Field("tenant", Cell(instance.tenant_id or "")),
        Field("started", time_cell(status.started_at, out.now)),
        Field("updated", time_cell(status.updated_at, out.now)),
        Field("ended", time_cell(status.ended_at, out.now) if status.ended_at else Cell("")),
    ]
    states = [Field(s, Cell(f"{n:,}", state_style(s))) for s, n in summary.token_states.items() if n]
    types = [Field(t, Cell(f"{n:,}")) for t, n in summary.element_types.items() if n]
    failed_first = sorted(live, key=lambda token: token.state != FAILED)
    live_table = table(map(TokenRow, failed_first), token_columns(out, variables=False))
    return Detail(
        ident=instance.instance_id,
        document=encode_overview_detail(status, summary, live),
        title=headline(status, summary, out),
        sections=(
            Section(title=_live_tokens_title(len(live), status.live_tokens), listing=live_table if live else None),
            Section(title=count(summary.total_tokens, "token"), fields=tuple(states)),
            Section(title="Element types", fields=tuple(types)),
            Section(title="Instance", fields=tuple(field for field in fields if field.cell.text)),
            Section(title="Variables", block=indent_raw_json(instance.variables)),
            Section(
                title="Other fields",
                fields=tuple(Field(k, Cell(format_raw_json(v))) for k, v in instance.extra.items()),
            ),
        ),
    )
