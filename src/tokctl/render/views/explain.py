"""Why a token waits: in words, the flows of its join, the chain that it depends on, the evidence."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from tokctl.process.explain import VERDICTS, Explanation, Step
from tokctl.process.joins import MissingFlow, WaitingJoin
from tokctl.process.model import format_time
from tokctl.process.rules.words import spell
from tokctl.process.visit import Visit
from tokctl.render.human import state_cell
from tokctl.render.result import Cell, Column, Detail, Document, Field, Listing, Output, Section, plain

_CAN = {True: Cell("yes", "green"), False: Cell("no", "bold red"), None: Cell("unknown", "dim")}
_SHOWN = 100
"""Steps of a chain for people."""
_DEEPEST = 10


def explanation_detail(found: Explanation, out: Output) -> Detail:
    """Return an explanation for people and for programs."""
    visit = found.token
    return Detail(
        ident=visit.token_id,
        document=explanation_document(found, out.now),
        title=(
            Cell(visit.name, "bold"),
            Cell("  "),
            state_cell(visit.state, unicode=out.unicode),
            Cell("  "),
            Cell(visit.token_id),
        ),
        sections=(
            Section(fields=tuple(_heads(found, out.now))),
            Section(title="Why", fields=tuple(Field("", Cell(sentence)) for sentence in found.sentences)),
            *([] if found.join is None else [_join_section(found.join, out)]),
            *([_chain_section(found, out)] if found.chain else []),
            Section(title="Evidence", fields=tuple(_evidence_fields(found))),
            Section(title="Look further", fields=tuple(Field("", Cell(line)) for line in found.next)),
        ),
    )


def _heads(found: Explanation, now: datetime) -> Iterable[Field]:
    yield Field("verdict", Cell(f"{found.verdict}: {VERDICTS[found.verdict]}"))
    since = found.since
    ended = not found.token.live
    if since is not None:
        far = _far(since, now) + (" ago" if ended and since <= now else "")
        yield Field("ended" if ended else "since", Cell(f"{format_time(since)}  ({far})"))
    if not ended or found.can_continue is not None:
        yield Field("can go on", _CAN[found.can_continue])
    if found.blockers:
        first = found.blockers[0]
        more = len(found.blockers) - 1
        others = f" and {more:,} more" if more else ""
        yield Field("blocker", Cell(f"{first.token.name} ({first.token.token_id}){others}"))


# --- the join ---------------------------------------------------------------------------------------------


class _Incoming(NamedTuple):
    """An incoming flow of a join, arrived or missing, and the tokens that it is about."""

    flow: str | None
    source: str | None
    says: Cell
    tokens: tuple[Visit, ...]

    @property
    def at(self) -> str | None:
        """Where the first of the tokens stands."""
        return self.tokens[0].name if self.tokens else None

    @property
    def since(self) -> datetime | None:
        """Since when."""
        return self.tokens[0].created_at if self.tokens else None


def _join_section(join: WaitingJoin, out: Output) -> Section:
    rows = []
    for one in join.arrived:
        source = one.token.hops[-1].from_element if one.token.hops else None
        rows.append(_Incoming(one.flow, source, Cell("arrived", "green"), (one.token,)))
    rows += [
        _Incoming(flow.flow, flow.source, _missing_cell(join, flow), flow.upstream or flow.failed)
        for flow in join.missing
    ]
    columns = (
        Column(key="flow", title="FLOW", value=lambda row: row.flow or "?", fold=True),
        Column(key="from_element", title="FROM", value=lambda row: row.source, fold=True, rank=3),
        Column(key="status", title="STATUS", value=lambda row: row.says.text, show=lambda row: row.says, fold=True),
        Column(key="token", title="TOKEN", value=lambda row: _some(row.tokens)),
        Column(key="element", title="AT", value=lambda row: row.at, fold=True, rank=2),
        Column(key="age", title="FOR", value=lambda row: format_time(row.since), right=True, rank=1,
               show=lambda row: Cell(_far(row.since, out.now) if row.since else "")),
    )  # fmt: skip
    return Section(
        title=f"Incoming flows of '{join.element.name or join.element.id}'",
        listing=Listing(
            key="flows", items=rows, columns=columns, ident=lambda row: row.flow or "", document=lambda _: {}
        ),
    )


def _far(moment: datetime, now: datetime) -> str:
    return spell(now - moment) if moment <= now else f"in {spell(moment - now)}"


def _missing_cell(join: WaitingJoin, flow: MissingFlow) -> Cell:
    if flow not in join.needed:
        return Cell("not needed", "dim")
    if flow.possible is None:
        return Cell("missing, ?", "yellow")
    return Cell("missing, can arrive", "yellow") if flow.possible else Cell("missing, cannot arrive", "bold red")


def _some(tokens: tuple[Visit, ...]) -> str | None:
    return (tokens[0].token_id + (f" +{len(tokens) - 1:,}" if len(tokens) > 1 else "")) if tokens else None


# --- the chain --------------------------------------------------------------------------------------------


def _chain_section(found: Explanation, out: Output) -> Section:
    ends = {step.token.token_id for step in found.blockers}
    elbow = "└─ " if out.unicode else "`- "

    def element(step: Step) -> Cell:
        stem = "   " * min(step.depth - 1, _DEEPEST) + elbow
        return Cell(step.token.name, "bold" if step.token.token_id in ends else "", stem)

    def says(step: Step) -> Cell:
        text = "see above" if step.again else step.says
        return Cell(text, "bold red" if step.can_continue is False else "")

    columns = (
        Column(key="element", title="ELEMENT", value=lambda step: step.token.name, show=element, fold=True),
        Column(key="flow", title="FOR FLOW", value=lambda step: step.flow, fold=True, rank=1),
        Column(key="token", title="TOKEN", value=lambda step: step.token.token_id),
        Column(key="says", title="WHICH", value=lambda step: step.says, show=says, fold=True),
    )
    left = max(len(found.chain) - _SHOWN, 0) + found.more
    return Section(
        title=f"What it depends on (the first {_SHOWN}, {left:,} more)" if left else "What it depends on",
        listing=Listing(
            key="chain",
            items=found.chain[:_SHOWN],
            columns=columns,
            ident=lambda step: step.token.token_id,
            document=_step_document,
        ),
    )


def _evidence_fields(found: Explanation) -> Iterable[Field]:
    for fact in found.evidence:
        if fact.name == "model" and fact.value is None:
            yield Field("model", Cell("not known here", "dim"))
            continue
        value = "" if fact.value is None else plain(fact.value)
        yield Field(
            fact.name,
            Cell(value if fact.source == "token" else f"{value}  ({fact.source})" if value else f"({fact.source})"),
        )


# --- for programs -----------------------------------------------------------------------------------------


def explanation_document(found: Explanation, now: datetime) -> Document:
    """Return all of an explanation as plain values."""
    visit = found.token
    waited = None if found.since is None or not visit.live else round((now - found.since).total_seconds() * 1000)
    return {
        "instance_id": visit.instance_id,
        **_token_document(visit),
        "verdict": found.verdict,
        "meaning": VERDICTS[found.verdict],
        "since": format_time(found.since),
        "waited_ms": waited,
        "can_continue": found.can_continue,
        "sentences": list(found.sentences),
        "join": None if found.join is None else _join_document(found.join),
        "blocker": _step_document(found.blockers[0]) if found.blockers else None,
        "blockers": [step.token.token_id for step in found.blockers],
        "chain": [_step_document(step) for step in found.chain],
        "chain_left_out": found.more,
        "evidence": [{"name": fact.name, "value": fact.value, "source": fact.source} for fact in found.evidence],
        "next": list(found.next),
    }


def _token_document(visit: Visit) -> Document:
    return {
        "token_id": visit.token_id,
        "element_id": visit.element_id,
        "element_type": visit.element_type,
        "element_name": visit.element_name,
        "state": visit.state,
        "created_at": format_time(visit.created_at),
    }


def _step_document(step: Step) -> Document:
    return {
        "depth": step.depth,
        "flow": step.flow,
        **_token_document(step.token),
        "verdict": step.verdict,
        "says": step.says,
        "can_continue": step.can_continue,
        "again": step.again,
    }


def _join_document(join: WaitingJoin) -> Document:
    def missing(flow: MissingFlow) -> dict[str, Any]:
        return {
            "flow": flow.flow,
            "from_element": flow.source,
            "needed": flow in join.needed,
            "possible": flow.possible,
            "upstream": [visit.token_id for visit in flow.upstream],
            "failed": [visit.token_id for visit in flow.failed],
        }

    return {
        "element_id": join.element.id,
        "element_type": join.element.type,
        "tokens": [visit.token_id for visit in join.tokens],
        "arrived": [
            {"flow": one.flow, "token_id": one.token.token_id, "since": format_time(one.token.created_at)}
            for one in join.arrived
        ],
        "missing": [missing(flow) for flow in join.missing],
        "deadlocked": join.deadlocked,
        "unknown": join.unknown,
    }
