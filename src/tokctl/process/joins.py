"""What the joins of an instance wait for, and whether it can still come.

A token at a gateway with several incoming flows waits until a token has arrived on each (parallel), or on
each on which one can still arrive (inclusive). Which have arrived tells the flow history; which can still
arrive tells the model: a flow can be reached if a live token stands before it, and every parallel join
between them can fire. Tokens in different runs of a sub-process do not meet.

Where data and model do not fit, the answer is "unknown": nothing is called deadlocked that may not be.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cached_property

import msgspec
from msgspec import Struct

from tokctl.process.model import COMPLETED, FAILED, FINAL_STATES, Definition, Element, canonical_type
from tokctl.process.visit import Visit

PARALLEL, INCLUSIVE, COMPLEX = "parallelGateway", "inclusiveGateway", "complexGateway"
JOIN_TYPES = frozenset({PARALLEL, INCLUSIVE, COMPLEX})

_AD_HOC = "adHocSubProcess"
_CALL = "callActivity"
_CONTAINERS = frozenset({"subProcess", "transaction", _AD_HOC, _CALL})
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Arrival(Struct, frozen=True):
    """A token that has arrived at a join, and the incoming flow that it came by; None where nobody knows."""

    flow: str | None
    token: Visit


class MissingFlow(Struct, frozen=True):
    """An incoming flow of a join on which no token has arrived.

    ``upstream`` are the live tokens before it, whether or not they can get there; ``failed`` those that
    FAILED before it and were not tried again. ``possible`` tells whether one can still arrive as things
    stand; None where that is unknown.
    """

    flow: str
    source: str
    upstream: tuple[Visit, ...]
    failed: tuple[Visit, ...]
    possible: bool | None


class WaitingJoin(Struct, frozen=True):
    """A join that has not fired: the live tokens that wait at it for each other, and what is missing.

    ``deadlocked``: it waits for a flow on which no live token can arrive any more. A parallel join waits
    for every missing flow. An inclusive one waits only for those with a token upstream: it is deadlocked
    where such a token itself can never get there, never because a branch was not taken. What a complex
    gateway waits for is unknown. ``unknown`` says why something about it cannot be told, if so.
    """

    element: Element
    tokens: tuple[Visit, ...]
    arrived: tuple[Arrival, ...]
    missing: tuple[MissingFlow, ...]
    deadlocked: bool
    unknown: str | None = None

    @property
    def token(self) -> Visit:
        """The token that has waited longest."""
        return self.tokens[0]

    @property
    def needed(self) -> tuple[MissingFlow, ...]:
        """The missing flows that it waits for."""
        if self.element.type == PARALLEL:
            return self.missing
        return tuple(flow for flow in self.missing if flow.upstream)

    @property
    def failed(self) -> tuple[Visit, ...]:
        """The FAILED tokens that would free it if they were tried again."""
        lost = (token for flow in self.needed if flow.possible is False for token in flow.failed)
        return tuple({token.token_id: token for token in lost}.values())


def waiting_joins(visits: Sequence[Visit], model: Definition | JoinModel) -> list[WaitingJoin]:
    """Return the joins of an instance at which live tokens wait, in order of their first token's arrival.

    The visits are all of one instance's, read with their flow histories; where those are unknown, the
    element of a token's parent tells the flow. Give a ``JoinModel`` for many instances of one definition.
    Tokens within called processes, whose models are others, are left out.
    """
    model = model if isinstance(model, JoinModel) else JoinModel(model)
    joins = model.joins
    live = [visit for visit in visits if visit.state not in FINAL_STATES]
    if not any(visit.element_id in joins for visit in live):
        return []
    found = list(_Instance(visits, live, model).waiting())
    found.sort(key=lambda join: _created(join.token))
    return found


# --- the model --------------------------------------------------------------------------------------


class JoinModel:
    """A definition as a graph: where a token goes from an element, and where one comes from.

    Elements within a sub-process make a graph of their own; the sub-process is one element of its
    surroundings. What a boundary event leads to can be reached from its activity.
    """

    def __init__(self, definition: Definition) -> None:
        self.process_id = definition.process_id
        self.flows = {
            flow.id: flow
            for flow in definition.flows.values()
            if flow.source in definition.elements and flow.target in definition.elements
        }
        incoming: dict[str, list[str]] = defaultdict(list)
        outgoing: dict[str, list[str]] = defaultdict(list)
        for flow in self.flows.values():
            outgoing[flow.source].append(flow.id)
            incoming[flow.target].append(flow.id)
        self.elements = {
            one.id: msgspec.structs.replace(
                one, type=canonical_type(one.type), incoming=tuple(incoming[one.id]), outgoing=tuple(outgoing[one.id])
            )
            for one in definition.elements.values()
        }
        self.joins = {e.id: e for e in self.elements.values() if e.type in JOIN_TYPES and len(e.incoming) > 1}
        self.calls = frozenset(e.id for e in self.elements.values() if e.type == _CALL)
        self._before: dict[tuple[str, str], frozenset[str]] = {}
        self._to_come: dict[tuple[str | None, frozenset[str], frozenset[str]], frozenset[str]] = {}

    @cached_property
    def _starts(self) -> dict[str | None, list[str]]:
        """What may begin at any time in an ad-hoc sub-process."""
        starts: dict[str | None, list[str]] = defaultdict(list)
        for element in self.elements.values():
            above = self.elements.get(element.parent or "")
            if above is not None and above.type == _AD_HOC and not element.incoming:
                starts[element.parent].append(element.id)
        return starts

    @cached_property
    def _beside(self) -> dict[str, list[str]]:
        """What a token may go on from without a sequence flow: boundary events, and links by any name."""
        beside: dict[str, list[str]] = defaultdict(list)
        catching: dict[str | None, list[str]] = defaultdict(list)
        for element in self.elements.values():
            if element.attached_to is not None:
                beside[element.attached_to].append(element.id)
            elif element.type == "intermediateCatchEvent" and not element.incoming:
                catching[element.parent].append(element.id)
        for element in self.elements.values():
            if element.type == "intermediateThrowEvent" and not element.outgoing:
                beside[element.id] += catching[element.parent]
        return beside

    @cached_property
    def _sources(self) -> dict[str, list[str]]:
        """The elements right before each."""
        sources: dict[str, list[str]] = defaultdict(list)
        for flow in self.flows.values():
            sources[flow.target].append(flow.source)
        for element_id, others in self._beside.items():
            for other in others:
                sources[other].append(element_id)
        return sources

    def before(self, join: str, flow: str) -> frozenset[str]:
        """Return the elements from which a token can come over a flow into a join without passing that join."""
        known = self._before.get((join, flow))
        if known is None:
            source = self.flows[flow].source
            seen = set() if source == join else {source}
            left = list(seen)
            while left:
                for other in self._sources.get(left.pop(), ()):
                    if other not in seen and other != join:
                        seen.add(other)
                        left.append(other)
            known = self._before[join, flow] = frozenset(seen)
        return known

    def to_come(self, level: str | None, live: frozenset[str], arrived: frozenset[str]) -> frozenset[str]:
        """Return the flows over which a token can still come, in one run of the process or a sub-process.

        ``live`` are the elements with live tokens that do not wait at a parallel join, ``arrived`` the
        flows over which tokens have come to one. A parallel join lets none through that lacks a flow.
        """
        key = level, live, arrived
        known = self._to_come.get(key)
        if known is None:
            known = self._to_come[key] = self._reach(level, live, arrived)
        return known

    def _reach(self, level: str | None, live: frozenset[str], arrived: frozenset[str]) -> frozenset[str]:
        flows, elements = self.flows, self.elements
        present = set(arrived)  # come, or to come
        reached: set[str] = set()
        left = [*live, *self._starts.get(level, ()), *(flows[flow].target for flow in arrived)]
        for element_id in left:  # grows while it is read
            if element_id in reached:
                continue
            element = elements[element_id]
            waits = element_id in self.joins and element.type == PARALLEL and element_id not in live
            if waits and not present.issuperset(element.incoming):
                continue  # it comes again with the next flow that is found
            reached.add(element_id)
            left += self._beside.get(element_id, ())
            present.update(element.outgoing)
            left += [flows[flow].target for flow in element.outgoing]
        return frozenset(flow for element_id in reached for flow in elements[element_id].outgoing)


# --- links ------------------------------------------------------------------------------------------


class Ancestry:
    """Tokens of an instance by id, and what stands above each."""

    def __init__(self, visits: Sequence[Visit]) -> None:
        self.visits = visits
        self.by_id = {visit.token_id: visit for visit in visits}

    @cached_property
    def _listed(self) -> dict[str, str]:
        """Parents by what they list as children."""
        return {child: visit.token_id for visit in self.visits for child in visit.child_tokens or ()}

    def parent(self, visit: Visit) -> Visit | None:
        """Return the token that a token names as its parent, or else one that lists it."""
        above = visit.parent_token_id or self._listed.get(visit.token_id)
        return None if above is None else self.by_id.get(above)


def tries_again(visit: Visit, failed: Visit) -> bool:
    """Tell whether a visit of the same element, that came of the same token, began after the other FAILED."""
    began, ended = visit.created_at, failed.finished_at
    return visit.token_id != failed.token_id and None not in {began, ended} and began >= ended  # type: ignore[operator]


# --- an instance ------------------------------------------------------------------------------------


class _Scope:
    """The live tokens of one run of a sub-process (or of the process), by element."""

    def __init__(self) -> None:
        self.live: dict[str, list[Visit]] = defaultdict(list)
        self.failed: dict[str, list[Visit]] = defaultdict(list)
        self.waiting: dict[str, list[Visit]] = defaultdict(list)  # at joins
        self.merged: dict[str, list[Visit]] = defaultdict(list)  # at joins, but over

    def add(self, other: _Scope) -> None:
        """Take in another run's tokens: which of the two they belong to is unknown."""
        for name in ("live", "failed", "waiting", "merged"):
            for element_id, visits in getattr(other, name).items():
                getattr(self, name)[element_id].extend(visits)


_Key = tuple[str | None, str | None]
"""A sub-process and the token that it runs under: (None, None) is the process, (sub, None) is unknown."""


class _Instance:
    """Sorts tokens into the runs that they belong to, and asks the model about each run's joins."""

    def __init__(self, visits: Sequence[Visit], live: Sequence[Visit], model: JoinModel) -> None:
        self.model = model
        self.visits = visits
        self.misfit = not model.calls and not model.elements.keys() >= {visit.element_id for visit in visits}
        links = Ancestry(visits)
        self.parent, self._by_id = links.parent, links.by_id
        self._homes: dict[str, bool] = {}
        self._runs: dict[tuple[str, str], str | None] = {}
        self.scopes: dict[_Key, _Scope] = defaultdict(_Scope)
        for visit in live:
            self._put(visit)
        self._put_ended()

    # --- where tokens are ---

    def _put(self, visit: Visit) -> None:
        """Put a live token where it stands; one in what the model does not know, where it is called from."""
        model = self.model
        place = visit if self._at_home(visit) else self._caller(visit)
        if place is None:
            self.misfit = True
            return
        if place is not visit and place.live:  # it stands there itself
            return
        element = model.elements[place.element_id]
        key = self._key(place, element)
        if place is visit and element.id in model.joins:
            self.scopes[key].waiting[element.id].append(visit)
        else:
            self.scopes[key].live[element.id].append(visit)
        while key[0] is not None:  # an engine may have no live token for the sub-process itself
            holder = self._by_id.get(key[1] or "")
            if holder is not None and holder.live:
                return
            element = model.elements[key[0]]
            key = self._key(holder or place, element)
            self.scopes[key].live[element.id].append(visit)

    def _put_ended(self) -> None:
        """Put the tokens that failed, and those that a join may have taken in though it has not fired."""
        joins, elements = self.model.joins, self.model.elements
        waited = {element_id for scope in self.scopes.values() for element_id in scope.waiting}
        over = [v for v in self.visits if v.state == COMPLETED and v.element_id in waited and not v.child_tokens]
        failed = [v for v in self.visits if v.state == FAILED and v.element_id in elements]
        if over:
            ids = {visit.token_id for visit in over}
            followed = {v.parent_token_id for v in self.visits if v.parent_token_id in ids}
            for visit in over:
                if (visit.token_id not in followed or not joins[visit.element_id].outgoing) and self._at_home(visit):
                    self.scopes[self._key(visit, joins[visit.element_id])].merged[visit.element_id].append(visit)
        if failed:
            places = {visit.element_id for visit in failed}
            last: dict[tuple[str, str | None], Visit] = {}
            for visit in self.visits:
                if visit.element_id in places:
                    at = visit.element_id, visit.parent_token_id
                    if at not in last or _created(visit) >= _created(last[at]):
                        last[at] = visit
            for visit in failed:
                if not tries_again(last[visit.element_id, visit.parent_token_id], visit) and self._at_home(visit):
                    key = self._key(visit, elements[visit.element_id])
                    self.scopes[key].failed[visit.element_id].append(visit)

    def _at_home(self, visit: Visit) -> bool:
        """Tell whether a token stands in the model itself, and not in a process that it calls."""
        model = self.model
        process = visit.process_id
        if visit.element_id not in model.elements or process not in {None, model.process_id}:
            return False
        if not model.calls:
            return True
        path: list[str] = []
        seen: set[str] = set()
        current: Visit | None = visit
        home = True
        while current is not None and current.token_id not in seen:
            known = self._homes.get(current.token_id)
            if known is not None:
                home = known
                break
            seen.add(current.token_id)
            path.append(current.token_id)
            above = self.parent(current)
            if above is not None and above.element_id in model.calls and not self._follows(current, above):
                home = False
                break
            current = above
        self._homes.update(dict.fromkeys(path, home))
        return home

    def _follows(self, visit: Visit, call: Visit) -> bool:
        """Tell whether a token comes after a call activity or is one of its instances, and does not lie in it."""
        element = self.model.elements.get(visit.element_id)
        if element is None:
            return False
        if call.element_id in {element.id, element.attached_to}:
            return True
        flows = self.model.flows
        return any(flows[flow].source == call.element_id for flow in element.incoming)

    def _caller(self, visit: Visit) -> Visit | None:
        """Return the nearest token above that stands in the model, in what can hold others; None if there is none."""
        current, seen = self.parent(visit), {visit.token_id}
        while current is not None and current.token_id not in seen:
            if self._at_home(current):
                return current if self.model.elements[current.element_id].type in _CONTAINERS else None
            seen.add(current.token_id)
            current = self.parent(current)
        return None

    def _key(self, visit: Visit, element: Element) -> _Key:
        """Return the run that a token at an element belongs to."""
        level = element.parent
        if level is None:
            return None, None
        path: list[str] = []
        seen = {visit.token_id}
        current: Visit | None = visit
        run: str | None = None
        while current is not None:
            known = self._runs.get((level, current.token_id))
            if known is not None:
                run = known
                break
            path.append(current.token_id)
            current = self.parent(current)
            if current is None or current.token_id in seen:
                break
            seen.add(current.token_id)
            if current.element_id == level:
                run = current.token_id
                break
        if run is not None:
            self._runs.update({(level, token_id): run for token_id in path})
        return level, run

    # --- joins ---

    def waiting(self) -> Iterator[WaitingJoin]:
        """Go through the runs that have tokens waiting at joins."""
        stray = {key[0] for key in self.scopes if key[0] is not None and key[1] is None}
        for lost in stray:  # which run these belong to is unknown: all are taken for one
            whole = self.scopes[lost, None]
            for key in [key for key in self.scopes if key[0] == lost and key[1] is not None]:
                whole.add(self.scopes.pop(key))
        for (level, run), scope in self.scopes.items():
            if scope.waiting:
                yield from self._joins_of(level, scope, vague=level is not None and run is None)

    def _joins_of(self, level: str | None, scope: _Scope, *, vague: bool) -> Iterator[WaitingJoin]:
        model = self.model
        grouped = {at: self._rounds(model.joins[at], visits, scope) for at, visits in scope.waiting.items()}
        arrived, live = set[str](), set(scope.live)
        for at, (rounds, unknown) in grouped.items():
            if model.joins[at].type != PARALLEL or unknown:
                live.add(at)
            else:
                arrived.update(a.flow for one in rounds for a in one if a.flow is not None)
        for at, (rounds, unknown) in grouped.items():
            element = model.joins[at]
            reachable = model.to_come(level, frozenset(live - {at}), frozenset(arrived))
            doubt = unknown or self._doubt(element, vague=vague)
            missing: dict[str, MissingFlow] = {}
            for one in rounds:
                have = {arrival.flow for arrival in one}
                for flow in element.incoming:
                    if flow not in have and flow not in missing:
                        possible = flow in reachable or (None if doubt else False)
                        missing[flow] = self._missing(at, flow, scope, possible=possible)
                lacking = tuple(missing[flow] for flow in element.incoming if flow not in have)
                yield WaitingJoin(
                    element=element,
                    tokens=tuple({a.token.token_id: a.token for a in one if a.token.live}.values()),
                    arrived=tuple(one),
                    missing=lacking,
                    deadlocked=_is_dead(element, lacking),
                    unknown=doubt,
                )

    def _doubt(self, element: Element, *, vague: bool) -> str | None:
        """Say why it is unknown what a join waits for, if it is."""
        if self.misfit:
            return "tokens stand at elements that the model does not have"
        if vague:
            return "which run of the sub-process its tokens belong to is unknown"
        if element.type == COMPLEX:
            return "what a complex gateway waits for is not read from the model"
        return None

    def _rounds(self, element: Element, visits: list[Visit], scope: _Scope) -> tuple[list[list[Arrival]], str | None]:
        """Put what waits at a join together by firing: one token for each flow; and say what is unknown of it."""
        rounds: list[list[Arrival]] = []
        counts: dict[str, int] = dict.fromkeys(element.incoming, 0)
        unknown = None
        if any(v.element_type is not None and canonical_type(v.element_type) != element.type for v in visits):
            unknown = f"its tokens are not at a {element.type}, as the model has it"
        for visit in sorted(visits, key=_created):
            flows = self.flows_into(visit, element)
            number = max((counts[flow] for flow in flows), default=0)
            while len(rounds) <= number:
                rounds.append([])
            rounds[number] += [Arrival(flow, visit) for flow in flows] or [Arrival(None, visit)]
            for flow in flows:
                counts[flow] = number + 1
            if not flows:
                unknown = unknown or "over which flow its tokens have arrived is unknown"
        for visit in scope.merged.get(element.id, ()):
            flows = self.flows_into(visit, element)
            if not flows:
                unknown = unknown or "over which flow its tokens have arrived is unknown"
            for flow in flows:
                if counts[flow] < len(rounds):
                    rounds[counts[flow]].append(Arrival(flow, visit))
                    counts[flow] += 1
        return rounds, unknown

    def flows_into(self, visit: Visit, element: Element) -> list[str]:
        """Return the flows by which a token has come to where it stands; empty where that is unknown."""
        into = element.incoming
        flows: list[str] = []
        hops = visit.hops
        for hop in reversed(hops):
            via = hop.via_flow
            if via is None:
                between = [flow for flow in into if self.model.flows[flow].source == hop.from_element]
                via = between[0] if len(between) == 1 else None
            if via is None or via not in into or via in flows:
                break
            flows.append(via)
        if flows:
            return flows[::-1]
        if hops:
            return []
        above = self.parent(visit)
        between = [f for f in into if above is not None and self.model.flows[f].source == above.element_id]
        return between if len(between) == 1 else []

    def _missing(self, at: str, flow: str, scope: _Scope, *, possible: bool | None) -> MissingFlow:
        before = self.model.before(at, flow)
        upstream = [*_at(before, scope.live), *_at(before, scope.waiting)]
        return MissingFlow(
            flow=flow,
            source=self.model.flows[flow].source,
            upstream=tuple(sorted(upstream, key=_created)),
            failed=tuple(sorted(_at(before, scope.failed), key=_created)),
            possible=possible,
        )


def _at(elements: frozenset[str], tokens: dict[str, list[Visit]]) -> Iterator[Visit]:
    for element_id in sorted(elements & tokens.keys()):
        yield from tokens[element_id]


def _is_dead(element: Element, missing: Iterable[MissingFlow]) -> bool:
    if element.type == PARALLEL:
        return any(flow.possible is False for flow in missing)
    upstream = [flow for flow in missing if flow.upstream]
    return element.type == INCLUSIVE and any(flow.possible is False for flow in upstream)


def _created(visit: Visit) -> datetime:
    return visit.created_at or _LONG_AGO
