"""Explains a token: why it waits, on what in the end, and whether it can go on.

A token at a join, and one of a sub-process, wait for other tokens. These are followed to the end of the
chain: to what does not wait for another token, a blocker.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from glob import escape
from shlex import quote
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from tokctl.process.joins import MissingFlow, WaitingJoin
from tokctl.process.model import CANCELLED, COMPLETED, FAILED, SUSPENDED, format_time
from tokctl.process.reasons import (
    DEADLOCKED,
    FOR_CONDITION,
    FOR_EVENT,
    FOR_MESSAGE,
    FOR_SIGNAL,
    FOR_TIMER,
    IN_PASSING,
    INNER,
    JOB,
    JOB_TIMED_OUT,
    JOIN,
    JOIN_FULL,
    ONE_OF,
    PERSON,
    UNKNOWN,
    ZOMBIE,
    Looker,
    Reason,
)
from tokctl.process.scene import Scene
from tokctl.process.visit import Visit

__all__ = ["VERDICTS", "Explanation", "Fact", "Scene", "Step", "explain"]

VERDICTS = {
    JOB: "a job has to be done",
    JOB_TIMED_OUT: "a job was not done in time",
    PERSON: "a person has to act",
    FOR_MESSAGE: "a message has to come",
    FOR_SIGNAL: "a signal has to come",
    FOR_TIMER: "a time has to come",
    FOR_CONDITION: "a condition has to become true",
    FOR_EVENT: "an event has to occur",
    ONE_OF: "one of several events has to occur",
    INNER: "what lies in the activity has to end",
    JOIN: "tokens have to arrive at the join",
    JOIN_FULL: "all that the join waits for is there",
    DEADLOCKED: "nothing that is live can arrive on a flow that the join waits for",
    SUSPENDED: "it has to be resumed",
    FAILED: "it failed: an incident",
    ZOMBIE: "it is left of something that has ended",
    IN_PASSING: "nothing has to be waited for here",
    UNKNOWN: "nobody knows",
    COMPLETED: "it has completed",
    CANCELLED: "it was cancelled",
}
"""Every verdict, with its meaning."""

STEPS = 1000
"""Steps of a chain that are kept."""

_WORST_FIRST = (DEADLOCKED, FAILED, ZOMBIE, SUSPENDED, JOB_TIMED_OUT)


class Fact(Struct, frozen=True):
    """A piece of evidence, and where it is from: the token, its context, the model, or other tokens."""

    name: str
    value: Any
    source: str


class Step(Struct, frozen=True):
    """A token in the chain of what waits for what, ``depth`` steps below the one that is explained.

    ``flow`` is the flow of the join one step up that it has yet to arrive on. ``again``: the token stands
    further up already, with what it depends on.
    """

    depth: int
    flow: str | None
    token: Visit
    verdict: str
    says: str
    can_continue: bool | None
    again: bool = False


class Explanation(Struct, frozen=True, kw_only=True):
    """Why a token waits.

    ``can_continue``: False where it cannot go on, as things stand, unless somebody steps in; True where
    nothing that is known here keeps it from going on once what it waits for comes; None where that is
    unknown, and for what has come to its end. ``chain`` holds STEPS steps at most, ``more`` is how many
    it lacks. ``blockers`` are the ends of the chain, the worst first; none if it depends on no other token.
    """

    token: Visit
    verdict: str
    since: datetime | None
    sentences: tuple[str, ...]
    can_continue: bool | None
    join: WaitingJoin | None = None
    chain: tuple[Step, ...] = ()
    more: int = 0
    blockers: tuple[Step, ...] = ()
    evidence: tuple[Fact, ...] = ()
    next: tuple[str, ...] = ()


def explain(token_id: str, scene: Scene, prefix: str = "tokctl") -> Explanation:
    """Say why a token of the scene waits; ``prefix`` is how a command begins that looks at the same engine.

    Raises KeyError where there is no such token.
    """
    looker = Looker(scene)
    visit = looker.links.by_id[token_id]
    reason = looker.reason(visit)
    chain = _Chain(looker, visit)
    blockers = chain.blockers()
    can = chain.can(visit)
    join, sentences = _held_up(looker, reason, chain)
    sentences += [*_conclusion(blockers), *_behind(looker, visit)]
    if can is False and reason.verdict in {DEADLOCKED, JOIN, INNER}:
        sentences.append("As things stand it cannot go on.")
    return Explanation(
        token=visit,
        verdict=reason.verdict,
        since=looker.since(visit),
        sentences=tuple(sentences),
        can_continue=can,
        join=join,
        chain=tuple(chain.steps),
        more=chain.more,
        blockers=blockers,
        evidence=tuple(_evidence(looker, visit)),
        next=tuple(_next(visit, blockers, prefix)),
    )


def _held_up(looker: Looker, reason: Reason, chain: _Chain) -> tuple[WaitingJoin | None, list[str]]:
    """Return a reason's join and sentences, of which those flows are impossible, too, whose tokens cannot go on."""
    join = reason.join
    if join is None or reason.verdict != JOIN:
        return join, list(reason.sentences)
    told: dict[str, str] = {}
    flows = []
    for flow in join.missing:
        held = flow.possible and flow.upstream and all(chain.can(one) is False for one in flow.upstream)
        flows.append(replace(flow, possible=False) if held else flow)
        if held:
            told[looker.missing(join, flow)] = looker.missing(join, flows[-1])
    return replace(join, missing=tuple(flows)), [told.get(sentence, sentence) for sentence in reason.sentences]


class _Chain:
    """What a token waits for, what that waits for, and so on: each token is followed once."""

    def __init__(self, looker: Looker, visit: Visit) -> None:
        self.looker = looker
        self.steps: list[Step] = []
        self.more = 0
        self._can: dict[str, bool | None] = {}
        self._walk(visit)

    def can(self, visit: Visit) -> bool | None:
        """Whether a token can go on, with all that it depends on."""
        return self._can.get(visit.token_id)

    def blockers(self) -> tuple[Step, ...]:
        """The steps that depend on no other, the worst first, each token once."""
        ends: dict[str, Step] = {}
        for position, step in enumerate(self.steps):
            below = self.steps[position + 1] if position + 1 < len(self.steps) else None
            if not step.again and (below is None or below.depth <= step.depth):
                ends[step.token.token_id] = step
        rank = {verdict: place for place, verdict in enumerate(_WORST_FIRST)}
        return tuple(sorted(ends.values(), key=lambda step: rank.get(step.verdict, len(rank))))

    def _walk(self, visit: Visit) -> None:
        """Go through the chain depth first; a step's place in ``steps`` is kept until what is below it is known."""
        entered = {visit.token_id}
        path: list[tuple[Visit, int | None, Iterator[tuple[str | None, Visit]]]] = [(visit, None, self._on(visit))]
        while path:
            current, place, rest = path[-1]
            flow, other = next(rest, (None, None))
            if other is None:
                path.pop()
                self._can[current.token_id] = self._conclude(current)
                if place is not None:
                    step = self.steps[place]
                    self.steps[place] = Step(
                        step.depth, step.flow, step.token, step.verdict, step.says, self._can[current.token_id]
                    )
                continue
            again = other.token_id in entered
            if len(self.steps) >= STEPS:
                self.more += 1
                continue
            reason = self.looker.reason(other)
            known = self._can.get(other.token_id) if again else reason.can
            self.steps.append(Step(len(path), flow, other, reason.verdict, reason.brief, known, again))
            if not again:
                entered.add(other.token_id)
                path.append((other, len(self.steps) - 1, self._on(other)))

    def _on(self, visit: Visit) -> Iterator[tuple[str | None, Visit]]:
        for group in self.looker.reason(visit).on:
            for token in sorted(group.tokens, key=lambda one: not self.looker.reason(one).on):
                yield group.flow, token

    def _conclude(self, visit: Visit) -> bool | None:
        """A token can go on when one of each group that it waits for can."""
        reason = self.looker.reason(visit)
        if not reason.on or reason.can is False:
            return reason.can
        groups = [_any(self._can.get(token.token_id) for token in group.tokens) for group in reason.on]
        if False in groups:
            return False
        doubtful = reason.join is not None and (
            reason.join.unknown is not None or any(flow.possible is not True for flow in reason.join.needed)
        )
        return None if None in groups or doubtful else True


def _any(values: Iterator[bool | None]) -> bool | None:
    seen = set(values)
    return True if True in seen else None if None in seen else False


# --- words ------------------------------------------------------------------------------------------


def _conclusion(blockers: tuple[Step, ...]) -> Iterator[str]:
    """Say what it comes down to in the end."""
    if not blockers:
        return
    first = blockers[0]
    more = len(blockers) - 1
    others = f", and on {more:,} more" if more else ""
    yield f"In the end it depends on '{first.token.name}' ({first.token.token_id}), which {first.says}{others}."


def _behind(looker: Looker, visit: Visit) -> Iterator[str]:
    """Say which joins wait for this token."""
    if not (visit.live or visit.state == FAILED):
        return
    seen: dict[int, bool] = {}

    def concerns(flow: MissingFlow) -> bool:
        key = id(flow)
        if key not in seen:
            seen[key] = any(one.token_id == visit.token_id for one in (*flow.upstream, *flow.failed))
        return seen[key]

    waiting = [join.token for join in looker.waiting if any(concerns(flow) for flow in join.needed)]
    if waiting:
        yield f"Others wait for it: {looker.named(waiting)}."


def _evidence(looker: Looker, visit: Visit) -> Iterator[Fact]:
    yield Fact("state", visit.state, "token")
    yield Fact("element_id", visit.element_id, "token")
    if visit.element_type is not None:
        yield Fact("element_type", visit.element_type, "token")
    for name in ("created_at", "updated_at", "completed_at", "cancelled_at"):
        if getattr(visit, name) is not None:
            yield Fact(name, format_time(getattr(visit, name)), "token")
    if visit.hops and visit.hops[-1].via_flow is not None:
        yield Fact("via_flow", visit.hops[-1].via_flow, "token")
    context = visit.context
    for name in ("job_key", "job_type", "worker_id", "retries_left", "retries_used", "timeout_at", "duration_ms"):
        value = getattr(context, name)
        if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
            value = int(value)
        if value is not None:
            yield Fact(name, format_time(value) if isinstance(value, datetime) else value, "context")
    for name, value in looker.scene.context_of(visit.token_id).items():
        if "error" in name or "message" in name:
            yield Fact(name, value, "context")
    yield from _from_the_model(looker, visit)


def _from_the_model(looker: Looker, visit: Visit) -> Iterator[Fact]:
    frame = looker.frame(visit)
    if frame.model is None:
        yield Fact("model", None, "model")
        return
    for event in looker.detail(visit).events:
        yield Fact(event.kind, event.name or event.expression, "model")
    if looker.detail(visit).calls:
        yield Fact("calls", looker.detail(visit).calls, "model")
    for boundary in frame.boundaries(visit.element_id):
        for event in frame.detail(boundary.id).events:
            yield Fact(f"{event.kind} at it, {frame.name(boundary.id)}", event.name or event.expression, "model")


def _next(visit: Visit, blockers: tuple[Step, ...], prefix: str) -> Iterator[str]:
    """Commands that show more of it."""

    def command(words: str, *ids: str, options: str = "") -> str:
        given = " ".join(map(quote, ids))
        dashed = any(one.startswith("-") for one in ids)  # such an id is no option
        return f"{prefix} {words}" + (f"{options} -- {given}" if dashed else f" {given}{options}")

    instance, token, worker = visit.instance_id, visit.token_id, visit.context.worker_id
    for step in blockers[:3]:
        if step.token.token_id != token:
            yield command("explain", instance, step.token.token_id)
    yield command("tokens show", instance, token)
    if visit.live and worker:
        yield command("tokens list", instance, options=f" --worker {quote(escape(worker))} --live")
    yield command("tokens history", instance, token)
