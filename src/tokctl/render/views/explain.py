"""Why a token waits: a summary, the flows of its join, the chain of tokens it depends on, the evidence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from tokctl.analysis.encoding.explain import encode_explanation
from tokctl.analysis.explain.explanation import VERDICTS, ChainStep, Explanation
from tokctl.analysis.joins import MissingFlow, WaitingJoin
from tokctl.model.durations import format_timedelta
from tokctl.model.instance_status import InstanceStatus
from tokctl.model.instances import Summary
from tokctl.model.times import LAST, format_time
from tokctl.model.visits import Visit
from tokctl.render.result import Cell, Column, Detail, Field, Listing, Output, Section, format_value, table
from tokctl.render.text import age_cell, format_zoned_time, localize_times, state_cell
from tokctl.render.views.tokens import explain_command, headline, token_title

_CAN_CONTINUE_CELLS = {True: Cell("yes", "green"), False: Cell("no", "bold red"), None: Cell("unknown", "dim")}
_MAX_STEPS_SHOWN = 100
"""Steps of a chain that people see."""
_MAX_INDENT_LEVELS = 10
_MAX_TOKENS_SHOWN = 20
"""Tokens of an instance that people see."""


def explanation_detail(found: Explanation, out: Output) -> Detail:
    """Return an explanation for people and for programs."""
    visit = found.token
    return Detail(
        ident=visit.token_id,
        document=encode_explanation(found, out.now),
        title=token_title(visit),
        sections=(
            Section(fields=tuple(_header_fields(found, out.now))),
            Section(title="Why", fields=tuple(_field(localize_times(one, out.now)) for one in found.sentences)),
            *([] if found.join is None else [_join_section(found.join, out)]),
            *([_chain_section(found)] if found.chain else []),
            Section(title="Evidence", fields=tuple(_evidence_fields(found))),
            Section(title="Next steps", lines=[(Cell(line, whole=True),) for line in found.next]),
        ),
    )


def explanation_listing(found: Sequence[Explanation], status: InstanceStatus, summary: Summary, out: Output) -> Listing:
    """Return why each live token of an instance waits."""
    columns = (
        Column("token_id", "TOKEN", "token.token_id"),
        Column("element", "ELEMENT", "token.name", fold=True),
        Column("state", "STATE", "token.state", show=lambda e: state_cell(e.token.state), rank=3),
        Column("verdict", "VERDICT", rank=2),
        Column("can_continue", "CAN CONTINUE", show=lambda e: _CAN_CONTINUE_CELLS[e.can_continue]),
        Column("why", "WHY", lambda e: " ".join(e.sentences), fold=True, min_width=24),
        Column("since", "SINCE", lambda e: format_time(e.since), show=lambda e: age_cell(e.since, out.now), right=True),
    )

    def sections() -> Iterator[Section]:
        for one in found[:_MAX_TOKENS_SHOWN]:
            can_continue = (Cell("  can continue: "), _CAN_CONTINUE_CELLS[one.can_continue])
            title = (*token_title(one.token), *can_continue)
            yield Section(title=title, lines=[(Cell(localize_times(sentence, out.now)),) for sentence in one.sentences])
        if len(found) > _MAX_TOKENS_SHOWN:
            yield Section(
                lines=[(Cell(f"… and {len(found) - _MAX_TOKENS_SHOWN:,} more. Use -o wide to list all.", "yellow"),)]
            )
        if not found:
            yield Section(lines=[(Cell("This instance has no live tokens.", "dim"),)])
        elif out.prefix and not out.quiet:
            first = found[0].token
            called = first.context.called_instance_id  # it tells more than the token that waits for it
            shown = out.shorten_token_id(first.token_id) if called is None else out.shorten_instance_id(called)
            command = explain_command(shown, out)
            yield Section(lines=[(Cell("Next: ", "dim"), Cell(command, whole=True))])

    return Listing(
        key="explanations",
        items=found,
        columns=columns,
        ident=lambda one: one.token.token_id,
        document=lambda one: encode_explanation(one, out.now),
        head={"instance_id": status.instance.instance_id, "process_id": status.instance.process_id},
        headline=headline(status, summary, out),
        sections=None if out.format == "wide" else sections,
    )


def _field(text: str) -> Field:
    return Field("", Cell(text))


def _header_fields(found: Explanation, now: datetime) -> Iterable[Field]:
    yield Field("verdict", Cell(f"{found.verdict}: {VERDICTS[found.verdict]}"))
    since = found.since
    ended = not found.token.live
    if since is not None:
        far = _format_distance(since, now) + (" ago" if ended and since <= now else "")
        yield Field("ended" if ended else "since", Cell(f"{format_zoned_time(since, now)}  ({far})"))
    if not ended or found.can_continue is not None:
        yield Field("can continue", _CAN_CONTINUE_CELLS[found.can_continue])
    if found.blockers:
        first = found.blockers[0]
        more = len(found.blockers) - 1
        others = f" and {more:,} more" if more else ""
        yield Field("blocker", Cell(f"{first.token.name} ({first.token.token_id}){others}"))


# --- the join ---------------------------------------------------------------------------------------------


class _IncomingFlow(NamedTuple):
    """An incoming flow of a join, arrived or missing, and its tokens."""

    flow: str | None
    source: str | None
    summary: Cell
    tokens: tuple[Visit, ...]

    @property
    def at(self) -> str | None:
        """The element of the first token."""
        return self.tokens[0].name if self.tokens else None

    @property
    def since(self) -> datetime | None:
        """When the first token was created."""
        return self.tokens[0].created_at if self.tokens else None


def _join_section(join: WaitingJoin, out: Output) -> Section:
    rows = []
    for one in join.arrived:
        source = one.token.hops[-1].from_element if one.token.hops else None
        rows.append(_IncomingFlow(one.flow, source, Cell("arrived", "green"), (one.token,)))
    rows += [
        _IncomingFlow(flow.flow, flow.source, _missing_cell(join, flow), flow.upstream or flow.failed)
        for flow in join.missing
    ]
    columns = (
        Column("flow", "FLOW", lambda row: row.flow or "?", fold=True),
        Column("from_element", "FROM", "source", fold=True, rank=3),
        Column("status", "STATUS", show=lambda row: row.summary, fold=True),
        Column("token", "TOKEN", lambda row: _format_tokens(row.tokens)),
        Column("element", "AT", "at", fold=True, rank=2),
        Column("age", "FOR", lambda row: row.since and _format_distance(row.since, out.now), right=True, rank=1),
    )
    return Section(title=f"Incoming flows of '{join.element.name or join.element.id}'", listing=table(rows, columns))


def _format_distance(moment: datetime, now: datetime) -> str:
    if moment == LAST:
        return "?"
    return format_timedelta(now - moment) if moment <= now else f"in {format_timedelta(moment - now)}"


def _missing_cell(join: WaitingJoin, flow: MissingFlow) -> Cell:
    if flow not in join.needed:
        return Cell("not needed", "dim")
    if flow.possible is None:
        return Cell("missing, ?", "yellow")
    return Cell("missing, can arrive", "yellow") if flow.possible else Cell("missing, cannot arrive", "bold red")


def _format_tokens(tokens: tuple[Visit, ...]) -> str | None:
    return (tokens[0].token_id + (f" +{len(tokens) - 1:,}" if len(tokens) > 1 else "")) if tokens else None


# --- the chain --------------------------------------------------------------------------------------------


def _chain_section(found: Explanation) -> Section:
    ends = {step.token.token_id for step in found.blockers}

    def element(step: ChainStep) -> Cell:
        stem = "   " * min(step.depth - 1, _MAX_INDENT_LEVELS) + "└─ "
        return Cell(step.token.name, "bold" if step.token.token_id in ends else "", stem)

    def summary(step: ChainStep) -> Cell:
        text = "see above" if step.again else step.summary
        return Cell(text, "bold red" if step.can_continue is False else "")

    columns = (
        Column("element", "ELEMENT", show=element, fold=True),
        Column("flow", "MISSING FLOW", fold=True, rank=1),
        Column("token", "TOKEN", "token.token_id"),
        Column("says", "REASON", show=summary, fold=True),
    )
    left = max(len(found.chain) - _MAX_STEPS_SHOWN, 0) + found.more
    return Section(
        title=f"Depends on (the first {_MAX_STEPS_SHOWN}, {left:,} more)" if left else "Depends on",
        listing=table(found.chain[:_MAX_STEPS_SHOWN], columns),
    )


def _evidence_fields(found: Explanation) -> Iterable[Field]:
    for fact in found.evidence:
        if fact.name == "model" and fact.value is None:
            yield Field("model", Cell("not available", "dim"))
            continue
        value = "" if fact.value is None else format_value(fact.value)
        yield Field(
            fact.name,
            Cell(value if fact.source == "token" else f"{value}  ({fact.source})" if value else f"({fact.source})"),
        )
