"""Explains a token: why it waits, which tokens it depends on, and whether it can continue.

A token at a join and the token of a sub-process wait for other tokens. The chain of these is followed to its ends:
to the tokens that wait for no other token, the blockers. The reason of a single token depends on its state, the type of
its element, its context and the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from glob import escape
from itertools import zip_longest
from shlex import quote

from msgspec import Struct
from msgspec.structs import replace

from tokctl.analysis.explain.context import ChainStep, ExplainContext, TokenRelations
from tokctl.analysis.explain.join_reasons import JoinReasons, explain_unknown_join
from tokctl.analysis.explain.reasons import (
    VERDICTS,
    WaitReason,
    explain_called_instance,
    explain_cancelled,
    explain_completed,
    explain_container,
    explain_event,
    explain_event_gateway,
    explain_failed,
    explain_job,
    explain_pass_through,
    explain_person,
    explain_suspended,
    explain_zombie,
    wait_kind,
)
from tokctl.analysis.joins import MissingFlow, WaitingJoin
from tokctl.documents.explain import EvidenceDocument
from tokctl.model.element_types import CONTAINER_TYPES, JOIN_TYPES
from tokctl.model.states import CANCELLED, COMPLETED, FAILED, STATES, SUSPENDED
from tokctl.model.times import format_time
from tokctl.model.tokens import Certainty
from tokctl.model.visits import Visit

__all__ = ["VERDICTS", "ChainStep", "EvidenceDocument", "ExplainContext", "Explanation", "explain"]

MAX_STEPS = 1000
"""The maximum number of steps of a chain."""

_JOBS = frozenset({"task", "serviceTask", "sendTask", "businessRuleTask", "scriptTask"})
_PERSONS = frozenset({"userTask", "manualTask"})
_BY_WAIT: dict[str, Callable[[TokenRelations, Visit], WaitReason]] = {
    "job": explain_job,
    "retry": explain_job,
    "external_task": explain_job,
    "user_task": explain_person,
    "timer": explain_event,
    "message": explain_event,
    "signal": explain_event,
    "call_activity": explain_called_instance,
}
"""By what a token waits for according to the engine."""
_CATCHING = frozenset({"receiveTask", "intermediateCatchEvent", "boundaryEvent"})
_ENDED: dict[str, Callable[[TokenRelations, Visit], WaitReason]] = {
    COMPLETED: explain_completed,
    CANCELLED: explain_cancelled,
    FAILED: explain_failed,
}
_DEPENDENT = frozenset({"DEADLOCKED_JOIN", "WAITS_AT_JOIN", "WAITS_FOR_INNER_TOKENS", "WAITS_FOR_COMPENSATION"})
_WORST_FIRST = ("DEADLOCKED_JOIN", FAILED, "ZOMBIE", SUSPENDED, "JOB_TIMED_OUT")


class Explanation(Struct, frozen=True, kw_only=True):
    """Why a token waits.

    ``can_continue`` is False if the token cannot continue without intervention, True if nothing known prevents
    it from continuing once what it waits for happens, and None if that is unknown or the token has ended. ``chain``
    holds at most MAX_STEPS steps, ``more`` is the number of steps left out. ``blockers`` are the ends of the chain,
    the worst first; empty if the token depends on no other token.
    """

    token: Visit
    verdict: str
    since: datetime | None
    sentences: tuple[str, ...]
    can_continue: bool | None
    join: WaitingJoin | None = None
    chain: tuple[ChainStep, ...] = ()
    more: int = 0
    blockers: tuple[ChainStep, ...] = ()
    evidence: tuple[EvidenceDocument, ...] = ()
    next: tuple[str, ...] = ()


class WaitReasons:
    """The reasons of the tokens of one instance, each built on first use."""

    def __init__(self, context: ExplainContext) -> None:
        self.tokens = TokenRelations(context)
        self.joins = JoinReasons(self.tokens)
        self._reasons: dict[str, WaitReason] = {}

    def reason(self, visit: Visit) -> WaitReason:
        """Return why a token waits, without following the tokens that it waits for."""
        known = self._reasons.get(visit.token_id)
        if known is None:
            known = self._reasons[visit.token_id] = self._build_reason(visit)
        return known

    def _build_reason(self, visit: Visit) -> WaitReason:
        tokens = self.tokens
        if not visit.can_move:
            return _ENDED[visit.state](tokens, visit)
        if visit.token_id in tokens.zombies:
            return explain_zombie(tokens, visit)
        reason = self._build_live_reason(visit)
        if SUSPENDED in {visit.state, tokens.context.status.status}:
            return explain_suspended(tokens, visit, reason)
        if visit.state not in STATES:
            reason.sentences.append(f"Its state {visit.state} is unknown: it is not a documented state.")
            reason.can_continue = reason.can_continue and None
        return reason

    def _build_live_reason(self, visit: Visit) -> WaitReason:
        """Return what a live token waits for, by the type of its element."""
        tokens = self.tokens
        kind, element = tokens.element_type(visit), tokens.element(visit)
        explain: Callable[[TokenRelations, Visit], WaitReason]
        recorded = _BY_WAIT.get(wait_kind(visit)[0])
        if recorded is not None and visit.token_id not in tokens.inner:
            explain = recorded
        elif visit.token_id in tokens.inner or kind in CONTAINER_TYPES:
            explain = explain_container
        elif visit.token_id in tokens.joins:
            return self.joins.explain(visit)
        elif kind in JOIN_TYPES and (element is None or len(element.incoming) > 1):
            explain = explain_unknown_join
        elif kind == "eventBasedGateway":
            explain = explain_event_gateway
        elif kind in _PERSONS:
            explain = explain_person
        elif kind in _CATCHING:
            explain = explain_event
        elif kind in _JOBS or visit.context.job_key is not None:
            explain = explain_job
        else:
            explain = explain_pass_through
        return explain(tokens, visit)


def explain(token_id: str, context: ExplainContext, prefix: str = "tokctl") -> Explanation:
    """Explain why a token of an instance waits. Raises KeyError if there is no such token.

    ``prefix`` is the beginning of a command line for the same engine, used in ``Explanation.next``.
    """
    wait_reasons = WaitReasons(context)
    return _explain_visit(wait_reasons, wait_reasons.tokens.ancestry.by_id[token_id], prefix)


def summarize_live_tokens(context: ExplainContext) -> list[ChainStep]:
    """Return the live tokens of an instance, each with its reason in a few words, without following others."""
    wait_reasons = WaitReasons(context)
    reasons = [(visit, wait_reasons.reason(visit)) for visit in context.visits if visit.live]
    reasons.sort(key=lambda one: bool(one[1].depends_on))
    return [ChainStep(1, None, visit, why.verdict, why.summary, why.can_continue) for visit, why in reasons]


def explain_live_tokens(context: ExplainContext, prefix: str = "tokctl") -> list[Explanation]:
    """Explain why each live token of an instance waits: those that depend on no other token first, the worst first."""
    wait_reasons = WaitReasons(context)
    found = [_explain_visit(wait_reasons, visit, prefix) for visit in context.visits if visit.live]
    worst = (*_WORST_FIRST, *VERDICTS)
    return sorted(
        found, key=lambda one: (bool(one.blockers), worst.index(one.verdict), one.since is None, one.since or 0)
    )


def _explain_visit(wait_reasons: WaitReasons, visit: Visit, prefix: str) -> Explanation:
    reason = wait_reasons.reason(visit)
    chain = _Chain(wait_reasons, visit)
    blockers = chain.blockers()
    can_continue = chain.can_continue(visit)
    join, sentences = _resolve_join(wait_reasons, reason, chain)
    sentences += [*_format_conclusion(blockers), *_format_dependents(wait_reasons, visit)]
    if can_continue is False and reason.verdict in _DEPENDENT:
        sentences.append("It cannot continue without an intervention.")
    return Explanation(
        token=visit,
        verdict=reason.verdict,
        since=wait_reasons.tokens.since(visit),
        sentences=tuple(sentences),
        can_continue=can_continue,
        join=join,
        chain=tuple(chain.steps),
        more=chain.more,
        blockers=blockers,
        evidence=tuple(_collect_evidence(wait_reasons, visit)),
        next=tuple(_suggest_commands(visit, blockers, prefix)),
    )


def _resolve_join(wait_reasons: WaitReasons, reason: WaitReason, chain: _Chain) -> tuple[WaitingJoin | None, list[str]]:
    """Return a reason's join and sentences after the chain was followed.

    A missing flow is impossible, too, if none of the tokens before it can continue.
    """
    join = reason.join
    if join is None or reason.verdict != "WAITS_AT_JOIN":
        return join, list(reason.sentences)
    describe = wait_reasons.joins.describe_missing_flow
    revised: dict[str, str] = {}
    flows = []
    for flow in join.missing:
        held = flow.possible and flow.upstream and all(chain.can_continue(one) is False for one in flow.upstream)
        flows.append(replace(flow, possible=False) if held else flow)
        if held:
            revised[describe(join, flow)] = describe(join, flows[-1])
    return replace(join, missing=tuple(flows)), [revised.get(sentence, sentence) for sentence in reason.sentences]


class _Chain:
    """The tokens that a token waits for, the tokens that those wait for, and so on. Each token is followed once."""

    def __init__(self, wait_reasons: WaitReasons, visit: Visit) -> None:
        self.wait_reasons = wait_reasons
        self.steps: list[ChainStep] = []
        self.more = 0
        self._can_continue: dict[str, bool | None] = {}
        self._walk(visit)

    def can_continue(self, visit: Visit) -> bool | None:
        """Return whether a token can continue, its dependencies included; None if unknown."""
        return self._can_continue.get(visit.token_id)

    def blockers(self) -> tuple[ChainStep, ...]:
        """Return the steps that depend on no other token, the worst first, each token once."""
        ends: dict[str, ChainStep] = {}
        for step, below in zip_longest(self.steps, self.steps[1:]):
            if not step.again and (below is None or below.depth <= step.depth):
                ends[step.token.token_id] = step
        worst = (*_WORST_FIRST, *VERDICTS)
        return tuple(sorted(ends.values(), key=lambda step: min(worst.index(step.verdict), len(_WORST_FIRST))))

    def _walk(self, visit: Visit) -> None:
        """Go through the chain depth first; the answer of a step is filled in once its dependencies are known."""
        entered = {visit.token_id}
        path: list[tuple[Visit, int | None, Iterator[tuple[str | None, Visit]]]] = [
            (visit, None, self._iter_dependencies(visit))
        ]
        while path:
            current, place, rest = path[-1]
            flow, other = next(rest, (None, None))
            if other is None:
                path.pop()
                can_continue = self._can_continue[current.token_id] = self._evaluate_token(current)
                if place is not None:
                    self.steps[place] = replace(self.steps[place], can_continue=can_continue)
                continue
            again = other.token_id in entered
            if len(self.steps) >= MAX_STEPS:
                self.more += 1
                continue
            reason = self.wait_reasons.reason(other)
            known = self._can_continue.get(other.token_id) if again else reason.can_continue
            self.steps.append(ChainStep(len(path), flow, other, reason.verdict, reason.summary, known, again))
            if not again:
                entered.add(other.token_id)
                path.append((other, len(self.steps) - 1, self._iter_dependencies(other)))

    def _iter_dependencies(self, visit: Visit) -> Iterator[tuple[str | None, Visit]]:
        for group in self.wait_reasons.reason(visit).depends_on:
            for token in sorted(group.tokens, key=lambda one: not self.wait_reasons.reason(one).depends_on):
                yield group.flow, token

    def _evaluate_token(self, visit: Visit) -> bool | None:
        """Return whether a token can continue: it can if one token of each group that it waits for can."""
        reason = self.wait_reasons.reason(visit)
        if not reason.depends_on or reason.can_continue is False:
            return reason.can_continue
        groups = [
            _any_true(self._can_continue.get(token.token_id) for token in group.tokens) for group in reason.depends_on
        ]
        if False in groups:
            return False
        doubtful = reason.join is not None and (
            reason.join.unknown is not None or any(flow.possible is not True for flow in reason.join.needed)
        )
        return None if None in groups or doubtful else True


def _any_true(values: Iterator[bool | None]) -> bool | None:
    seen = set(values)
    return True if True in seen else None if None in seen else False


# --- sentences and evidence ------------------------------------------------------------------------------------------


def _format_conclusion(blockers: tuple[ChainStep, ...]) -> Iterator[str]:
    """Yield a sentence on the blockers."""
    if blockers:
        first = blockers[0]
        others = f", and on {len(blockers) - 1:,} more" if len(blockers) > 1 else ""
        yield f"It depends on '{first.token.name}' ({first.token.token_id}), which {first.summary}{others}."


def _format_dependents(wait_reasons: WaitReasons, visit: Visit) -> Iterator[str]:
    """Yield a sentence on the joins that wait for this token."""
    if not visit.live:
        return
    seen: dict[int, bool] = {}

    def concerns(flow: MissingFlow) -> bool:
        key = id(flow)
        if key not in seen:
            seen[key] = any(one.token_id == visit.token_id for one in (*flow.upstream, *flow.failed))
        return seen[key]

    waiting = [join.token for join in wait_reasons.tokens.waiting if any(concerns(flow) for flow in join.needed)]
    if waiting:
        yield f"Other tokens wait for it: {wait_reasons.tokens.format_tokens(waiting)}."


_EVIDENCE = (
    *("job_key", "job_type", "worker_id", "retries_left", "retries_used", "timeout_at", "duration_ms"),
    *("waiting_for", "due_at", "retry_at", "assignee", "called_instance_id"),
)
"""Members of an execution context that are evidence."""


def _collect_evidence(wait_reasons: WaitReasons, visit: Visit) -> Iterator[EvidenceDocument]:
    yield EvidenceDocument("state", visit.state, "token")
    yield EvidenceDocument("element_id", visit.element_id, "token")
    if visit.element_type is not None:
        yield EvidenceDocument("element_type", visit.element_type, "token")
    for name in ("created_at", "updated_at", "completed_at", "cancelled_at"):
        if getattr(visit, name) is not None:
            yield EvidenceDocument(name, format_time(getattr(visit, name)), "token")
    if visit.hops and visit.hops[-1].via_flow is not None:
        yield EvidenceDocument("via_flow", visit.hops[-1].via_flow, "token")
    if visit.hops and visit.hops[-1].certainty is not Certainty.RECORDED:
        yield EvidenceDocument("certainty", visit.hops[-1].certainty.value, "token")
    context = visit.context
    for name in _EVIDENCE:
        value = getattr(context, name)
        if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
            value = int(value)
        if value is not None:
            yield EvidenceDocument(name, format_time(value) if isinstance(value, datetime) else value, "context")
    for name, value in wait_reasons.tokens.context.context_of(visit.token_id).items():
        if "error" in name or "message" in name:
            yield EvidenceDocument(name, value, "context")
    yield from _collect_model_facts(wait_reasons, visit)


def _collect_model_facts(wait_reasons: WaitReasons, visit: Visit) -> Iterator[EvidenceDocument]:
    frame, detail = wait_reasons.tokens.frame(visit), wait_reasons.tokens.detail(visit)
    if not frame.is_known:
        yield EvidenceDocument("model", None, "model")
        return
    for event in detail.events:
        yield EvidenceDocument(event.kind, event.name or event.expression, "model")
    if detail.calls:
        yield EvidenceDocument("calls", detail.calls, "model")
    for boundary in frame.graph.boundary_events(visit.element_id):
        for event in frame.detail(boundary.id).events:
            yield EvidenceDocument(
                f"{event.kind} at it, {frame.name(boundary.id)}", event.name or event.expression, "model"
            )


def _suggest_commands(visit: Visit, blockers: tuple[ChainStep, ...], prefix: str) -> Iterator[str]:
    """Yield commands that show more about the token and its blockers."""

    def command(words: str, *ids: str, options: str = "") -> str:
        given = " ".join(map(quote, ids))
        dashed = any(one.startswith("-") for one in ids)  # would be taken for an option
        return f"{prefix} {words}" + (f"{options} -- {given}" if dashed else f" {given}{options}")

    instance, token, worker = visit.instance_id, visit.token_id, visit.context.worker_id
    for step in blockers[:3]:
        if step.token.token_id != token:
            yield command("explain", instance, step.token.token_id)
    if visit.live and visit.context.called_instance_id:
        yield command("explain", visit.context.called_instance_id)
    yield command("tokens show", instance, token)
    if visit.live and worker:
        yield command("tokens list", instance, options=f" --worker {quote(escape(worker))} --live")
    yield command("tokens history", instance, token)
