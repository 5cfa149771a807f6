"""Finds the joins at which tokens wait, what has arrived there, and what can still arrive.

A token at a gateway with several incoming flows waits until a token has arrived on each flow (parallel gateway), or
on each flow on which one can still arrive (inclusive gateway). The flow history tells which flows have arrived. The
model tells which can still arrive: those that a live token can reach, provided that every parallel join on the way
can fire. Tokens in different runs of a sub-process never meet, so each run is analysed separately.

Where data and model disagree the answer is "unknown", so that no join is reported as deadlocked by mistake. Why a
single token waits, in words, is in ``explain.explanation``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice

from msgspec import Struct

from tokctl.bpmn.graph import ProcessGraph
from tokctl.model.definitions import Element
from tokctl.model.element_types import CONTAINER_TYPES, canonical_type
from tokctl.model.states import COMPLETED, FAILED, STOPPED_STATES
from tokctl.model.visits import Visit

PARALLEL, INCLUSIVE, COMPLEX = "parallelGateway", "inclusiveGateway", "complexGateway"

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Arrival(Struct, frozen=True):
    """A token that has arrived at a join, and the incoming flow that it took; None if that is unknown."""

    flow: str | None
    token: Visit


class MissingFlow(Struct, frozen=True):
    """An incoming flow of a join on which no token has arrived.

    ``upstream`` holds the live tokens before the flow, whether or not they can get there. ``failed`` holds the
    tokens that FAILED before it and were not retried. ``possible`` tells whether a token can still arrive as things
    are; None if that is unknown.
    """

    flow: str
    source: str
    source_name: str
    upstream: tuple[Visit, ...]
    failed: tuple[Visit, ...]
    possible: bool | None


class WaitingJoin(Struct, frozen=True):
    """A join that has not fired: the live tokens that wait there together, and what is missing.

    ``deadlocked`` means that the join needs a flow on which no live token can arrive any more. A parallel join needs
    every missing flow. An inclusive join needs only the missing flows with a token upstream: it is deadlocked if
    such a token cannot get there itself, never because a branch was not taken. What a complex gateway needs is
    unknown. ``unknown`` is the reason why something about the join cannot be determined, if there is one.
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
        """The missing flows that the join waits for."""
        if self.element.type == PARALLEL:
            return self.missing
        return tuple(flow for flow in self.missing if flow.upstream)

    @property
    def dead(self) -> tuple[MissingFlow, ...]:
        """The flows that it waits for and on which no token can arrive any more."""
        return tuple(flow for flow in self.needed if flow.possible is False)

    @property
    def can_continue(self) -> bool | None:
        """Whether tokens can still arrive on all flows that it waits for, None if unknown; False if it needs none."""
        needed = {flow.possible for flow in self.needed}
        if None in needed or (self.unknown and not needed):
            return None
        return needed == {True}

    @property
    def failed(self) -> tuple[Visit, ...]:
        """The FAILED tokens whose retry would release the join."""
        lost = (token for flow in self.dead for token in flow.failed)
        return tuple({token.token_id: token for token in lost}.values())


def find_waiting_joins(visits: Sequence[Visit], graph: ProcessGraph) -> list[WaitingJoin]:
    """Return the joins at which live tokens wait, ordered by the creation of the first token that waits.

    ``visits`` are all tokens of one instance, with their flow histories. Where a flow history is unknown, the element
    of the parent token tells the flow. Tokens inside called processes are left out, because their definitions are
    others.
    """
    live = [visit for visit in visits if visit.state not in STOPPED_STATES]
    if not any(visit.element_id in graph.joins for visit in live):
        return []
    runs = _RunIndex(visits, live, graph)
    found = list(_JoinFinder(runs).find())
    found.sort(key=lambda join: _creation_order(join.token))
    return found


# --- links between tokens ---------------------------------------------------------------------------


class Ancestry:
    """The tokens of an instance by id, and the parent of each."""

    def __init__(self, visits: Sequence[Visit]) -> None:
        self.visits = visits
        self.by_id = {visit.token_id: visit for visit in visits}

    @cached_property
    def _listed_by(self) -> dict[str, str]:
        """The id of a token that lists another one as its child, by the child's id."""
        return {child: visit.token_id for visit in self.visits for child in visit.child_tokens or ()}

    def parent(self, visit: Visit) -> Visit | None:
        """Return the token that a token names as its parent, or else a token that lists it as a child."""
        parent_id = visit.parent_token_id or self._listed_by.get(visit.token_id)
        return None if parent_id is None else self.by_id.get(parent_id)

    def lineage(self, visit: Visit) -> Iterator[tuple[Visit, Visit | None]]:
        """Yield (token, parent) from a token upwards; the last parent is None, at a root or where a cycle closes."""
        seen: set[str] = set()
        current: Visit | None = visit
        while current is not None:
            seen.add(current.token_id)
            parent = self.parent(current)
            if parent is not None and parent.token_id in seen:
                parent = None
            yield current, parent
            current = parent

    def ancestors(self, visit: Visit) -> Iterator[Visit]:
        """Yield the parent, its parent and so on, up to a root or to where the links form a cycle."""
        return (token for token, _ in islice(self.lineage(visit), 1, None))


def is_retry(visit: Visit, failed: Visit) -> bool:
    """Tell whether a later visit with the same element and parent began after the other one FAILED."""
    began, ended = visit.created_at, failed.finished_at
    if began is None or ended is None:
        return False
    return visit.token_id != failed.token_id and began >= ended


# --- the runs of an instance ------------------------------------------------------------------------


class _RunTokens:
    """The tokens of one run of a sub-process (or of the process itself), by element."""

    def __init__(self) -> None:
        self.live: dict[str, list[Visit]] = defaultdict(list)
        self.failed: dict[str, list[Visit]] = defaultdict(list)
        self.waiting: dict[str, list[Visit]] = defaultdict(list)
        """Live tokens at joins."""
        self.merged: dict[str, list[Visit]] = defaultdict(list)
        """Finished tokens at joins that a join may have consumed without having fired."""

    def add(self, other: _RunTokens) -> None:
        """Add the tokens of another run, if it is unknown which of the two they belong to."""
        for name in ("live", "failed", "waiting", "merged"):
            for element_id, visits in getattr(other, name).items():
                getattr(self, name)[element_id].extend(visits)


_RunKey = tuple[str | None, str | None]
"""A sub-process and the token that it runs under. (None, None) is the process; (sub, None) is an unknown run."""


class _RunIndex:
    """Sorts the tokens of an instance into the runs of sub-processes that they belong to."""

    def __init__(self, visits: Sequence[Visit], live: Sequence[Visit], graph: ProcessGraph) -> None:
        self.graph = graph
        self.visits = visits
        self.ancestry = Ancestry(visits)
        self.has_unknown_elements = not graph.call_activities and not graph.elements.keys() >= {
            visit.element_id for visit in visits
        }
        """Whether tokens are at elements that the model does not have."""
        self.runs: dict[_RunKey, _RunTokens] = defaultdict(_RunTokens)
        self._in_model: dict[str, bool] = {}
        self._run_ids: dict[tuple[str, str], str | None] = {}
        for visit in live:
            self._add_live(visit)
        self._add_merged()
        self._add_failed()
        self._merge_unknown_runs()

    def _add_live(self, visit: Visit) -> None:
        """Add a live token at its element, or at the call activity that it is inside of."""
        graph = self.graph
        place = visit if self._is_in_model(visit) else self._find_calling_token(visit)
        if place is None:
            self.has_unknown_elements = True
            return
        if place is not visit and place.can_move:  # added as a token of its own
            return
        element = graph.elements[place.element_id]
        key = self._run_key(place, element)
        if place is visit and element.id in graph.joins:
            self.runs[key].waiting[element.id].append(visit)
        else:
            self.runs[key].live[element.id].append(visit)
        while key[0] is not None:  # some engines have no live token for the sub-process itself
            holder = self.ancestry.by_id.get(key[1] or "")
            if holder is not None and holder.can_move:
                return
            element = graph.elements[key[0]]
            key = self._run_key(holder or place, element)
            self.runs[key].live[element.id].append(visit)

    def _add_merged(self) -> None:
        """Add the COMPLETED tokens at joins with waiting tokens, if they have no children."""
        joins = self.graph.joins
        waited = {element_id for run in self.runs.values() for element_id in run.waiting}
        merged = [v for v in self.visits if v.state == COMPLETED and v.element_id in waited and not v.child_tokens]
        if not merged:
            return
        ids = {visit.token_id for visit in merged}
        followed = {v.parent_token_id for v in self.visits if v.parent_token_id in ids}
        for visit in merged:
            join = joins[visit.element_id]
            if (visit.token_id not in followed or not join.outgoing) and self._is_in_model(visit):
                self.runs[self._run_key(visit, join)].merged[join.id].append(visit)

    def _add_failed(self) -> None:
        """Add the FAILED tokens that were not retried."""
        elements = self.graph.elements
        failed = [v for v in self.visits if v.state == FAILED and v.element_id in elements]
        if not failed:
            return
        places = {visit.element_id for visit in failed}
        last: dict[tuple[str, str | None], Visit] = {}
        for visit in self.visits:
            if visit.element_id in places:
                key = visit.element_id, visit.parent_token_id
                if key not in last or _creation_order(visit) >= _creation_order(last[key]):
                    last[key] = visit
        for visit in failed:
            if not is_retry(last[visit.element_id, visit.parent_token_id], visit) and self._is_in_model(visit):
                run = self.runs[self._run_key(visit, elements[visit.element_id])]
                run.failed[visit.element_id].append(visit)

    def _merge_unknown_runs(self) -> None:
        """Treat all runs of a sub-process as one if the run of some of its tokens is unknown."""
        for level in {level for level, run_id in self.runs if level is not None and run_id is None}:
            whole = self.runs[level, None]
            for key in [key for key in self.runs if key[0] == level and key[1] is not None]:
                whole.add(self.runs.pop(key))

    def _is_in_model(self, visit: Visit) -> bool:
        """Tell whether a token belongs to this definition, and not to a process that it calls."""
        graph = self.graph
        if visit.element_id not in graph.elements or visit.process_id not in {None, graph.process_id}:
            return False
        if not graph.call_activities:
            return True
        path: list[str] = []
        found = True
        for current, parent in self.ancestry.lineage(visit):
            if current.token_id in self._in_model:
                found = self._in_model[current.token_id]
                break
            path.append(current.token_id)
            if parent is not None and self._is_inside_call(current, parent):
                found = False
                break
        self._in_model.update(dict.fromkeys(path, found))
        return found

    def _is_inside_call(self, visit: Visit, parent: Visit) -> bool:
        """Tell whether the parent is a call activity that a token is inside of.

        Other children of a call activity follow it, or are instances of it.
        """
        if parent.element_id not in self.graph.call_activities:
            return False
        element = self.graph.elements.get(visit.element_id)
        if element is None:
            return True
        follows = parent.element_id in {element.id, element.attached_to}
        return not follows and not self.graph.flows_between(parent.element_id, element.id)

    def _find_calling_token(self, visit: Visit) -> Visit | None:
        """Return the nearest ancestor in this definition if it can hold other tokens."""
        caller = next((one for one in self.ancestry.ancestors(visit) if self._is_in_model(one)), None)
        if caller is None or self.graph.elements[caller.element_id].type not in CONTAINER_TYPES:
            return None
        return caller

    def _run_key(self, visit: Visit, element: Element) -> _RunKey:
        """Return the run that a token at an element belongs to: the nearest ancestor at the element's sub-process."""
        level = element.parent
        if level is None:
            return None, None
        path: list[str] = []
        run_id: str | None = None
        for current, parent in self.ancestry.lineage(visit):
            run_id = self._run_ids.get((level, current.token_id))
            if run_id is not None:
                break
            path.append(current.token_id)
            if parent is not None and parent.element_id == level:
                run_id = parent.token_id
                break
        if run_id is not None:
            self._run_ids.update({(level, token_id): run_id for token_id in path})
        return level, run_id


# --- joins ------------------------------------------------------------------------------------------


class _JoinFinder:
    """Determines for each run which joins wait, and asks the model what can still arrive."""

    def __init__(self, index: _RunIndex) -> None:
        self.index = index
        self.graph = index.graph

    def find(self) -> Iterator[WaitingJoin]:
        """Yield the waiting joins of every run."""
        for (level, run_id), run in self.index.runs.items():
            if run.waiting:
                yield from self._find_in_run(level, run, is_run_unknown=level is not None and run_id is None)

    def _find_in_run(self, level: str | None, run: _RunTokens, *, is_run_unknown: bool) -> Iterator[WaitingJoin]:
        joins = self.graph.joins
        grouped = {at: self._group_by_firing(joins[at], visits, run) for at, visits in run.waiting.items()}
        arrived, live = set[str](), set(run.live)
        for at, (firings, unknown) in grouped.items():
            if joins[at].type != PARALLEL or unknown:
                live.add(at)
            else:
                arrived.update(a.flow for arrivals in firings for a in arrivals if a.flow is not None)
        for at, (firings, unknown) in grouped.items():
            element = joins[at]
            reachable = self.graph.find_reachable_flows(level, frozenset(live - {at}), frozenset(arrived))
            doubt = unknown or self._find_uncertainty(element, is_run_unknown=is_run_unknown)
            missing: dict[str, MissingFlow] = {}  # shared by the firings of one join
            for arrivals in firings:
                arrived_flows = {arrival.flow for arrival in arrivals}
                for flow in element.incoming:
                    if flow not in arrived_flows and flow not in missing:
                        possible = flow in reachable or (None if doubt else False)
                        missing[flow] = self._build_missing_flow(at, flow, run, possible=possible)
                lacking = tuple(missing[flow] for flow in element.incoming if flow not in arrived_flows)
                yield WaitingJoin(
                    element=element,
                    tokens=tuple({a.token.token_id: a.token for a in arrivals if a.token.can_move}.values()),
                    arrived=tuple(arrivals),
                    missing=lacking,
                    deadlocked=_is_deadlocked(element, lacking),
                    unknown=doubt,
                )

    def _find_uncertainty(self, element: Element, *, is_run_unknown: bool) -> str | None:
        """Return why it is unknown what a join waits for, if it is."""
        if self.index.has_unknown_elements:
            return "tokens are at elements that are not in the model"
        if is_run_unknown:
            return "it is unknown which run of the sub-process its tokens belong to"
        if element.type == COMPLEX:
            return "the condition of a complex gateway is not supported"
        return None

    def _group_by_firing(
        self, element: Element, visits: list[Visit], run: _RunTokens
    ) -> tuple[list[list[Arrival]], str | None]:
        """Group the tokens at a join by firing, one token per flow; also return what is unknown about them.

        The first token on each flow belongs to the first firing, the second to the second, and so on. Tokens that
        the join may have consumed already fill the places that the waiting ones leave.
        """
        firings: list[list[Arrival]] = []
        counts: dict[str, int] = dict.fromkeys(element.incoming, 0)
        unknown, sure = None, True
        if any(v.element_type is not None and canonical_type(v.element_type) != element.type for v in visits):
            unknown = f"its tokens are not at a {element.type}, unlike in the model"
        for visit in sorted(visits, key=_creation_order):
            flows = self._find_arrival_flows(visit, element)
            number = max((counts[flow] for flow in flows), default=0)
            while len(firings) <= number:
                firings.append([])
            firings[number] += [Arrival(flow, visit) for flow in flows] or [Arrival(None, visit)]
            for flow in flows:
                counts[flow] = number + 1
            sure = sure and bool(flows)
        for visit in run.merged.get(element.id, ()):
            flows = self._find_arrival_flows(visit, element)
            sure = sure and bool(flows)
            for flow in flows:
                if counts[flow] < len(firings):
                    firings[counts[flow]].append(Arrival(flow, visit))
                    counts[flow] += 1
        return firings, unknown or (None if sure else "it is unknown on which flow its tokens arrived")

    def _find_arrival_flows(self, visit: Visit, element: Element) -> list[str]:
        """Return the flows that brought a token to its element; empty if unknown.

        A token that an engine has already merged has several: the last hops of its flow history.
        """
        flows: list[str] = []
        for hop in reversed(visit.hops):
            via = self._find_only_flow(hop.from_element, element) if hop.via_flow is None else hop.via_flow
            if via is None or via not in element.incoming or via in flows:
                break
            flows.append(via)
        if flows or visit.hops:
            return flows[::-1]
        parent = self.index.ancestry.parent(visit)
        only = None if parent is None else self._find_only_flow(parent.element_id, element)
        return [] if only is None else [only]

    def _find_only_flow(self, source: str | None, element: Element) -> str | None:
        """Return the flow between two elements if there is exactly one."""
        between = [] if source is None else self.graph.flows_between(source, element.id)
        return between[0].id if len(between) == 1 else None

    def _build_missing_flow(self, at: str, flow: str, run: _RunTokens, *, possible: bool | None) -> MissingFlow:
        source = self.graph.elements[self.graph.flows[flow].source]
        elements = self.graph.upstream_elements(at, flow)
        upstream = [*_tokens_at(elements, run.live), *_tokens_at(elements, run.waiting)]
        return MissingFlow(
            flow=flow,
            source=source.id,
            source_name=source.name or source.id,
            upstream=tuple(sorted(upstream, key=_creation_order)),
            failed=tuple(sorted(_tokens_at(elements, run.failed), key=_creation_order)),
            possible=possible,
        )


def _tokens_at(elements: frozenset[str], tokens: dict[str, list[Visit]]) -> Iterator[Visit]:
    for element_id in sorted(elements & tokens.keys()):
        yield from tokens[element_id]


def _is_deadlocked(element: Element, missing: Iterable[MissingFlow]) -> bool:
    dead = [flow for flow in missing if flow.possible is False]
    return bool(dead) if element.type == PARALLEL else element.type == INCLUSIVE and any(one.upstream for one in dead)


def _creation_order(visit: Visit) -> datetime:
    return visit.created_at or _LONG_AGO
