"""Why a single token waits, by its state, the type of its element, its context and the model.

What it waits for may be other tokens; ``process.explain`` follows them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from tokctl.process.events import CONDITION, MESSAGE, SIGNAL, TIMER, Event, due
from tokctl.process.joins import (
    JOIN_TYPES,
    PARALLEL,
    MissingFlow,
    WaitingJoin,
)
from tokctl.process.model import (
    CANCELLED,
    COMPLETED,
    FAILED,
    STATES,
    SUSPENDED,
    format_time,
)
from tokctl.process.rules.words import spell_ms
from tokctl.process.scene import CONTAINERS, Scene, Surroundings
from tokctl.process.visit import Visit

JOB, JOB_TIMED_OUT, PERSON = "WAITS_FOR_JOB", "JOB_TIMED_OUT", "WAITS_FOR_PERSON"
FOR_MESSAGE, FOR_SIGNAL, FOR_TIMER = "WAITS_FOR_MESSAGE", "WAITS_FOR_SIGNAL", "WAITS_FOR_TIMER"
FOR_CONDITION, FOR_EVENT, ONE_OF = "WAITS_FOR_CONDITION", "WAITS_FOR_EVENT", "WAITS_FOR_ONE_OF_SEVERAL_EVENTS"
INNER, JOIN, DEADLOCKED, JOIN_FULL = "WAITS_FOR_INNER_TOKENS", "WAITS_AT_JOIN", "DEADLOCKED_JOIN", "JOIN_COMPLETE"
ZOMBIE, IN_PASSING, UNKNOWN = "ZOMBIE", "IN_PASSING", "UNKNOWN"

_EVENTS = {MESSAGE: FOR_MESSAGE, SIGNAL: FOR_SIGNAL, TIMER: FOR_TIMER, CONDITION: FOR_CONDITION}
_JOBS = frozenset({"task", "serviceTask", "sendTask", "businessRuleTask", "scriptTask"})
_PERSONS = frozenset({"userTask", "manualTask"})
_CATCHING = frozenset({"receiveTask", "intermediateCatchEvent", "boundaryEvent"})


class Group(Struct, frozen=True):
    """Tokens of which one has to come: over a flow into a join, or, without one, out of an activity."""

    flow: str | None
    tokens: tuple[Visit, ...]


class Reason(Struct, kw_only=True):
    """Why one token waits: ``brief`` in a few words, ``sentences`` in full.

    ``can``: whether it can go on, as far as that does not depend on other tokens. Those that it waits for
    are in ``on``: one of each group.
    """

    verdict: str
    brief: str
    sentences: list[str]
    can: bool | None = None
    on: list[Group] = []
    join: WaitingJoin | None = None


class Looker(Surroundings):
    """Looks at the tokens of one instance, and says why each waits."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._reasons: dict[str, Reason] = {}
        self._lasts: dict[tuple[str, str, str | None], Visit | None] = {}

    def reason(self, visit: Visit) -> Reason:
        """Say why one token waits, without following what it waits for."""
        known = self._reasons.get(visit.token_id)
        if known is None:
            known = self._reasons[visit.token_id] = self._reason(visit)
        return known

    def _reason(self, visit: Visit) -> Reason:
        if not visit.live:
            return {COMPLETED: self._completed, CANCELLED: self._cancelled, FAILED: self._failed}[visit.state](visit)
        if visit.token_id in self.zombies:
            return self._zombie(visit)
        reason = self._live(visit)
        if SUSPENDED in {visit.state, self.scene.status.status}:
            return self._suspended(visit, reason)
        if visit.state not in STATES:
            reason.sentences.append(f"What its state, {visit.state}, means is unknown: it is none of the documented.")
            reason.can = reason.can and None
        return reason

    def _live(self, visit: Visit) -> Reason:
        """Say what a live token waits for, by the type of its element."""
        kind, element = self.kind(visit), self.element(visit)
        made: Callable[[Visit], Reason]
        if visit.token_id in self.inner or kind in CONTAINERS:
            made = self._container
        elif visit.token_id in self.joins:
            made = self._join
        elif kind in JOIN_TYPES and (element is None or len(element.incoming) > 1):
            made = self._unknown_join
        elif kind == "eventBasedGateway":
            made = self._race
        elif kind in _PERSONS:
            made = self._person
        elif kind in _CATCHING:
            made = self._event
        elif kind in _JOBS or visit.context.job_key is not None:
            made = self._job
        else:
            made = self._passing
        return made(visit)

    def _job(self, visit: Visit) -> Reason:
        context = visit.context
        worker, timeout = context.worker_id, context.timeout_at
        job = (f"job {context.job_key}" if context.job_key else "a job") + (
            f" of type {context.job_type}" if context.job_type else ""
        )
        says = [
            f"It waits for {job} of {self.what(visit)}{self.long(self.reached(visit))}.",
            f"Worker {worker} has it." if worker else "No worker is known to have taken it.",
        ]
        brief = f"waits for {job}, {f'with worker {worker}' if worker else 'which no worker is known to have'}"
        late = timeout is not None and timeout < self.now
        if timeout is not None and late:
            says.append(f"Its time ran out at {self.at(timeout)}: whether anybody still works on it is unknown.")
            brief += f"; its time ran out {self.ago(timeout)}"
        elif timeout is not None:
            says.append(f"It has until {self.at(timeout)}.")
        used, left = context.retries_used, context.retries_left
        if used is not None and used > 0:
            says.append(f"It has failed before and been tried again, {_times(used)}.")
        if left is not None:
            says.append(f"If it fails, {_retries(left)}.")
        return Reason(
            verdict=JOB_TIMED_OUT if late else JOB,
            brief=brief,
            sentences=says + self._timers_at(visit),
            can=None if late else True,
        )

    def _person(self, visit: Visit) -> Reason:
        worker, timeout = visit.context.worker_id, visit.context.timeout_at
        who = f"a person, {worker}," if worker else "a person"
        says = [f"It waits for {who} to complete {self.what(visit)}{self.long(self.reached(visit))}."]
        if timeout is not None:
            says.append(f"The time for that {'ran' if timeout < self.now else 'runs'} out at {self.at(timeout)}.")
        brief = f"waits for a person{f', {worker}' if worker else ''}"
        return Reason(verdict=PERSON, brief=brief, sentences=says + self._timers_at(visit), can=True)

    def _timers_at(self, visit: Visit) -> list[str]:
        """Say which timers at an activity will end it or go off beside it, and when."""
        says = []
        frame = self.frame(visit)
        for boundary in frame.boundaries(visit.element_id):
            details = frame.detail(boundary.id)
            for event in details.events:
                if event.kind != TIMER:
                    continue
                when = due(event, self.reached(visit))
                targets = ", ".join(frame.name(target.id) for target in frame.targets(boundary))
                leads = f", and leads to {targets}" if targets else ""
                does = "ends it" if details.interrupting else "goes off beside it"
                if when is None:
                    timing = f"when its time comes ({event.expression or 'which the model does not tell'})"
                elif when > self.now:
                    timing = f"at {self.at(when)}"
                elif event.timer == "timeCycle" or not details.interrupting:
                    timing = f"first at {self.at(when)}"
                else:
                    timing = f"at {self.at(when)}, which has passed"
                says.append(f"The timer {frame.name(boundary.id)} {does} {timing}{leads}.")
        return says

    # --- events ---

    def _event(self, visit: Visit) -> Reason:
        details = self.detail(visit)
        kind = self.kind(visit)
        events = details.events or ((Event(MESSAGE),) if kind == "receiveTask" else ())
        where = f"at {self.what(visit)}{self.long(self.reached(visit))}"
        if not events:
            why = "the model is unknown" if self.frame(visit).model is None else "the model does not tell"
            timeout = visit.context.timeout_at
            says = [f"It waits for an event {where}; for which one, is unknown: {why}."]
            if timeout is not None:
                says.append(f"Its time {'was' if timeout < self.now else 'is'} at {self.at(timeout)}.")
            return Reason(verdict=FOR_EVENT, brief="waits for an event", sentences=says + self._rivals(visit))
        told = [self._told(event, visit) for event in events]
        wanted = " or ".join(phrase for phrase, _, _ in told)
        verdict = _EVENTS.get(events[0].kind, FOR_EVENT) if len(events) == 1 else ONE_OF
        says = [f"It waits for {wanted} {where}.", *(more for _, more, _ in told if more)]
        cans = {can for _, _, can in told}
        can = True if True in cans else None
        return Reason(
            verdict=verdict,
            brief=f"waits for {wanted}",
            sentences=says + self._timers_at(visit) + self._rivals(visit),
            can=can,
        )

    def _told(self, event: Event, visit: Visit) -> tuple[str, str, bool | None]:
        """What an event is, what more is to be said of it, and whether nothing stands in its way."""
        named = f" '{event.name}'" if event.name else ""
        if event.kind == TIMER:
            when = due(event, self.reached(visit)) or visit.context.timeout_at
            if when is None:
                said = f": its value is {event.expression}" if event.expression else ""
                return "a time", f"When that is, the model does not tell{said}.", None
            if when <= self.now:
                more = ": it should have gone on" if event.timer != "timeCycle" else ", for the first time"
                if SUSPENDED in {visit.state, self.scene.status.status}:
                    more = ""
                return f"the time {format_time(when)}", f"That was {self.ago(when)}{more}.", None
            return f"the time {format_time(when)}", f"That is {self.ago(when)}.", True
        if event.kind == CONDITION:
            return f"the condition {event.expression or 'in the model'}", "", None
        if event.kind in {MESSAGE, SIGNAL}:
            return f"the {event.kind}{named}" if named else f"a {event.kind}", "", True
        return f"an event ({event.kind}{named})", "", None

    def _rivals(self, visit: Visit) -> list[str]:
        """Say which other events the same event-based gateway offers."""
        above = self.links.parent(visit)
        if above is None or self.kind(above) != "eventBasedGateway":
            return []
        others = [other for other in self.children[above.token_id] if other.token_id != visit.token_id and other.live]
        if not others:
            return []
        return [f"The event-based gateway '{above.name}' takes what occurs first, this or {self.named(others)}."]

    def _race(self, visit: Visit) -> Reason:
        element, frame = self.element(visit), self.frame(visit)
        targets = [] if element is None else frame.targets(element)
        offers, cans = [], set()
        for target in targets:
            events = frame.detail(target.id).events
            events = events or ((Event(MESSAGE),) if target.type == "receiveTask" else ())
            phrases = []
            for event in events:
                phrase, _, can = self._told(event, visit)
                phrases.append(phrase)
                cans.add(can)
            offers.append(frame.name(target.id) + (f" ({' or '.join(phrases)})" if phrases else ""))
        says = [f"It waits at {self.what(visit)} for the first of several events{self.long(self.reached(visit))}."]
        says.append(f"These are {', '.join(offers)}." if offers else "Which these are is unknown: so is the model.")
        brief = f"waits for the first of {', '.join(offers)}" if offers else "waits for one of several events"
        return Reason(verdict=ONE_OF, brief=brief, sentences=says, can=True if True in cans else None)

    # --- activities with tokens of their own ---

    def _container(self, visit: Visit) -> Reason:
        inside = self.inner.get(visit.token_id, [])
        live = [one for one in inside if one.live]
        failed = [one for one in inside if not one.live]
        repeats = [one for one in self.children.get(visit.token_id, ()) if one.element_id == visit.element_id]
        calls = self.detail(visit).calls
        what = f"{'all instances of' if repeats else 'what lies in'} {self.what(visit)}"
        called = f" (it calls the process '{calls}')" if calls else ""
        says = [f"It waits for {what}{called} to end{self.long(self.reached(visit))}."]
        if repeats:
            over = sum(one.state == COMPLETED for one in repeats)
            says.append(f"Of {len(repeats):,} that have begun so far, {over:,} completed.")
        if live:
            says.append(f"Still there: {self.named(live)}.")
        if failed:
            says.append(f"FAILED there: {self.named(failed)}.")
        if not inside:
            says.append("No token is known to be left there: it may not have begun, or what is in it was not recorded.")
        return Reason(
            verdict=INNER,
            brief="waits for what is in it to end",
            sentences=says + self._timers_at(visit),
            on=[Group(None, (one,)) for one in inside],
        )

    # --- joins ---

    def _join(self, visit: Visit) -> Reason:
        join = self.joins[visit.token_id]
        element = join.element
        parallel = element.type == PARALLEL
        here = f"It waits at {self.what(visit)}{self.long(self.reached(visit))}"
        these = "" if parallel else " that can still be reached"
        says = [f"{here}, until a token has arrived on each of its {len(element.incoming)} incoming flows{these}."]
        came = [arrival.flow or "an unknown one" for arrival in join.arrived]
        says.append(f"Arrived: {', '.join(came)}.")
        needed = join.needed
        says += [self.missing(join, flow) for flow in needed]
        idle = [flow.flow for flow in join.missing if flow not in needed]
        if idle:
            says.append(f"It need not wait for {', '.join(idle)}: no live token stands before that.")
        if join.unknown:
            says.append(f"Not all can be told: {join.unknown}.")
        reason = Reason(verdict=JOIN, brief="", sentences=says, join=join)
        flows = ", ".join(flow.flow for flow in needed)
        if join.deadlocked:
            dead = [flow for flow in needed if flow.possible is False]
            reason.verdict, reason.can = DEADLOCKED, False
            reason.brief = f"can never go on: nothing can arrive on {', '.join(flow.flow for flow in dead)}"
            reason.on = [Group(flow.flow, flow.upstream + flow.failed) for flow in dead if flow.upstream or flow.failed]
        elif not needed:
            reason.verdict = JOIN_FULL
            reason.brief = "waits for nothing more: the engine should let it go on"
            says.append("Nothing is missing that it has to wait for: the engine should let it go on.")
        else:
            reason.brief = f"waits at the join for {flows}"
            reason.on = [Group(flow.flow, flow.upstream) for flow in needed if flow.upstream]
        return reason

    def missing(self, join: WaitingJoin, flow: MissingFlow) -> str:
        """Say of a flow on which nothing has arrived whether it still can, and on what that depends."""
        head = f"Missing: {flow.flow}, from {self.frame(join.token).name(flow.source)}"
        if flow.possible:
            on = f"depends on {self.named(flow.upstream)}" if flow.upstream else "something can still begin before it"
            return f"{head}: it can still arrive; it {on}." if flow.upstream else f"{head}: {on}."
        if flow.possible is None:
            on = f"; before it stands {self.named(flow.upstream)}" if flow.upstream else ""
            return f"{head}: whether it can still arrive is unknown{on}."
        if flow.failed:
            return f"{head}: it cannot arrive as things stand: {self.named(flow.failed)}, on the way there, FAILED."
        if flow.upstream:
            return (
                f"{head}: it cannot arrive as things stand: {self.named(flow.upstream)}, before it, cannot get there."
            )
        return f"{head}: it cannot arrive any more: no live token stands before it.{self._lost(join, flow)}"

    def _lost(self, join: WaitingJoin, flow: MissingFlow) -> str:
        """Say where the last token turned off that stood before a flow on which none can arrive."""
        last = self._last_before(join, flow.flow)
        if last is None or last.finished_at is None:
            return ""
        before = self._before(join, flow.flow)
        ways = [one for one in self.after(last) if one.element_id not in before]
        went = f" and went on to {self.named(ways)}" if ways else ""
        return (
            f" The last one, at '{last.name}' ({last.token_id}), was {last.state} {self.ago(last.finished_at)}{went}."
        )

    def _before(self, join: WaitingJoin, flow: str) -> frozenset[str]:
        model = self.frame(join.token).model
        return frozenset() if model is None else model.before(join.element.id, flow)

    def _last_before(self, join: WaitingJoin, flow: str) -> Visit | None:
        """Return the token that ended last of those before a flow, in the run that the join belongs to."""
        at = self._run(join.token, join.element.parent)
        key = join.element.id, flow, at
        if key not in self._lasts:
            before, frame = self._before(join, flow), self.frame(join.token)
            ended = [
                (visit.finished_at, not any(one.element_id in before for one in self.after(visit)), visit)
                for visit in self.scene.visits
                if visit.element_id in before and visit.finished_at is not None and self.frame(visit) is frame
            ]
            ended.sort(key=lambda one: one[:2], reverse=True)  # of those of one moment, the one that turned off
            runs = (visit for *_, visit in ended if self._run(visit, join.element.parent) == at)
            self._lasts[key] = next(runs, None)
        return self._lasts[key]

    def _run(self, visit: Visit, level: str | None) -> str | None:
        """Return the token that an element's sub-process runs under; None on the level of the process."""
        if level is None:
            return None
        current, seen = self.links.parent(visit), {visit.token_id}
        while current is not None and current.token_id not in seen:
            if current.element_id == level:
                return current.token_id
            seen.add(current.token_id)
            current = self.links.parent(current)
        return None

    def _unknown_join(self, visit: Visit) -> Reason:
        if self.frame(visit).model is None:
            why = "the model of the process is not known here"
        elif self.element(visit) is None:
            why = "its element is not in the model that is known here"
        else:
            why = "the model does not fit the tokens"
        says = [
            f"It waits at {self.what(visit)}{self.long(self.reached(visit))}.",
            f"For which of its incoming flows is unknown: {why}.",
        ]
        return Reason(verdict=JOIN, brief="waits at a join, for what is unknown", sentences=says)

    # --- the rest that is live ---

    def _passing(self, visit: Visit) -> Reason:
        if not self.kind(visit):
            says = [f"What it waits for is unknown: so is the type of its element, '{visit.element_id}'."]
            return Reason(verdict=UNKNOWN, brief="is at an element of unknown type", sentences=says)
        says = [
            f"It is {visit.state} at {self.what(visit)}{self.long(self.reached(visit))}.",
            "Such an element takes no time of its own: if this lasts, the engine has stopped in the middle of it.",
        ]
        return Reason(verdict=IN_PASSING, brief=f"is {visit.state} where nothing has to be waited for", sentences=says)

    def _suspended(self, visit: Visit, otherwise: Reason) -> Reason:
        own = visit.state == SUSPENDED
        whose = "It is SUSPENDED" if own else f"It is {visit.state}, but its instance is SUSPENDED"
        since = visit.entered_at if own else None
        says = [f"{whose}{self.long(since)}: it does not move until it is resumed."]
        says.append(f"Apart from that it {otherwise.brief}.")
        return Reason(
            verdict=SUSPENDED,
            brief="is suspended",
            sentences=says + otherwise.sentences[1:],
            can=False,
            on=otherwise.on,
            join=otherwise.join,
        )

    def _zombie(self, visit: Visit) -> Reason:
        said = self.zombies[visit.token_id]
        says = [
            f"It waits for nothing that can come: it is {said}.",
            "The engine has nothing more to do with it, or its end was not recorded.",
        ]
        return Reason(verdict=ZOMBIE, brief=f"is {said}", sentences=says, can=False)

    # --- tokens that have ended ---

    def _took(self, visit: Visit) -> str:
        took = visit.duration
        return "" if took is None else f" after {'~' * took.derived}{spell_ms(took.ms)}"

    def _when(self, visit: Visit) -> str:
        return "" if visit.finished_at is None else f", at {self.at(visit.finished_at)}"

    def _lies_within(self, visit: Visit, above: Visit) -> bool:
        """Tell whether a token that came of another one lies in it, and does not follow it."""
        if visit.element_id == above.element_id:  # one of several instances, unless it is the next pass of a loop
            return above.finished_at is None or visit.created_at is None or visit.created_at < above.finished_at
        if self.kind(above) not in CONTAINERS:
            return False
        element, around = self.element(visit), self.frame(above)
        if self.frame(visit) is not around:
            return True
        if element is not None:
            return element.parent == above.element_id
        began, ended = visit.created_at, above.finished_at
        return self.kind(visit) != "boundaryEvent" and None not in {began, ended} and began < ended  # type: ignore[operator]

    def _went(self, visit: Visit, told: Sequence[Visit] = ()) -> list[str]:
        """Say what came of a token, but for what is told already: within it, and after it."""
        inside: list[Visit] = []
        after: list[Visit] = []
        for one in self.after(visit):
            if one not in told:
                (inside if self._lies_within(one, visit) else after).append(one)
        went = "had gone" if visit.state == CANCELLED else "went"
        return [
            *([f"In it began {self.named(inside)}."] if inside else []),
            *([f"It {went} on to {self.named(after)}."] if after else []),
        ]

    def after(self, visit: Visit) -> list[Visit]:
        """The tokens that came of one: those that name it, and those that it lists."""
        named = self.children.get(visit.token_id, [])
        known = {one.token_id for one in named}
        by_id = self.links.by_id
        return named + [by_id[one] for one in visit.child_tokens or () if one in by_id and one not in known]

    def _completed(self, visit: Visit) -> Reason:
        says = [f"It does not wait: it completed {self.what(visit)}{self._took(visit)}{self._when(visit)}."]
        decision = visit.context.gateway_decision
        if decision is not None and decision.selected_flow:
            because = f", as {decision.condition_evaluated}" if decision.condition_evaluated else ""
            says.append(f"The gateway chose {decision.selected_flow}{because}.")
        went, above = self._went(visit), self.links.parent(visit)
        element = self.element(visit)
        if went:
            says += went
        elif above is not None and above.element_id == visit.element_id and self._lies_within(visit, above):
            says.append(f"It was one of the instances of {self.named([above])}.")
        elif element is not None and element.outgoing:
            says.append("What came of it is not recorded.")
        return Reason(verdict=COMPLETED, brief="has completed", sentences=says)

    def _cancelled(self, visit: Visit) -> Reason:
        says = [f"It does not wait: it was cancelled at {self.what(visit)}{self._took(visit)}{self._when(visit)}."]
        fired = self._fired(visit)
        if fired:
            says.append(f"{self.named(fired)} occurred at it.")
        if not any(self.detail(one).interrupting for one in fired):
            says += self._cancelled_with(visit)
        says += self._went(visit, fired)
        return Reason(verdict=CANCELLED, brief="was cancelled", sentences=says)

    def _fired(self, visit: Visit) -> list[Visit]:
        """The boundary events that occurred at an activity."""
        return [one for one in self.after(visit) if self.kind(one) == "boundaryEvent"]

    def _cancelled_with(self, visit: Visit) -> list[str]:
        """Say what else was cancelled, or occurred, so that this was cancelled."""
        above = self.links.parent(visit)
        if above is not None and self.kind(above) == "eventBasedGateway":
            won = [one for one in self.children[above.token_id] if one.state == COMPLETED]
            if won:
                return [f"Another event occurred first: {self.named(won)}."]
        current, seen = visit, {visit.token_id}
        while above is not None and above.token_id not in seen:
            if above.state == CANCELLED and self._lies_within(current, above):
                return [f"So was what it lies in: {self.named([above])}."]
            seen.add(above.token_id)
            current, above = above, self.links.parent(above)
        return ["The whole instance was cancelled."] if self.scene.status.status == CANCELLED else []

    def _failed(self, visit: Visit) -> Reason:
        context = self.scene.context_of(visit.token_id)
        message = next((text for key in _MESSAGES if isinstance(text := context.get(key), str) and text), None)
        used = visit.context.retries_used
        tries = f" after {used + 1:,} attempts" if used is not None and used > 0 else ""
        says = [f"It FAILED at {self.what(visit)}{tries}{self._when(visit)}."]
        says.append(f"The error: {message}." if message else "No error message was recorded.")
        again = self.retry_of(visit)
        fired, status = self._fired(visit), self.scene.status
        ended = status.status in {COMPLETED, CANCELLED} and not status.status_derived
        if again is not None:
            says.append(f"It was tried again as {self.named([again])}.")
        elif fired:
            says.append(f"{self.named(fired)} occurred at it.")
        elif ended:
            says.append(f"Its instance is {status.status}: it is not going to be tried again.")
        else:
            says.append("It is an incident: nothing moves here until somebody has it tried again, or cancels it.")
        return Reason(
            verdict=FAILED,
            brief=f"FAILED{f': {message}' if message else ''}",
            sentences=says,
            can=None if again or fired or ended else False,
        )


_MESSAGES = ("error_message", "errorMessage", "incident_message", "error", "message")


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number:,} times"


def _retries(left: int) -> str:
    if left <= 0:
        return "that is an incident: no retry is left"
    return f"{left:,} {'retry is' if left == 1 else 'retries are'} left"
