"""The input of explanations: the tokens of an instance, their relations, and phrases for them.

Why a token waits is in ``explanation`` and the modules that it selects from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from msgspec import Struct

from tokctl.analysis.debug.rules.base import RuleContext
from tokctl.analysis.debug.rules.zombie import Zombie
from tokctl.analysis.joins import Ancestry, WaitingJoin, find_waiting_joins, is_retry
from tokctl.bpmn.element_details import NO_ELEMENT_DETAILS, ElementDetails, read_element_details
from tokctl.bpmn.graph import ProcessGraph
from tokctl.model.definitions import Definition, Element
from tokctl.model.durations import format_timedelta
from tokctl.model.element_types import CONTAINER_TYPES, ELEMENT_TYPES, canonical_type
from tokctl.model.instance_status import InstanceStatus
from tokctl.model.states import FAILED, SUSPENDED
from tokctl.model.times import format_time
from tokctl.model.visits import Visit

_ELEMENT_LABELS = {kind: re.sub("(?=[A-Z])", " ", kind).lower() for kind in ELEMENT_TYPES} | {
    "intermediateCatchEvent": "catch event",
    "intermediateThrowEvent": "throw event",
    "eventBasedGateway": "event-based gateway",
    "subProcess": "sub-process",
    "adHocSubProcess": "ad-hoc sub-process",
}
"""``service task`` for serviceTask, and so on."""
_MAX_NAMED_TOKENS = 3  # per sentence


class ChainStep(Struct, frozen=True):
    """A token in the chain of dependencies, ``depth`` steps from the token that is explained.

    ``flow`` is the incoming flow, of the join one step up, that the token has yet to take. ``again`` marks a token
    that is in the chain already, with its dependencies.
    """

    depth: int
    flow: str | None
    token: Visit
    verdict: str
    summary: str
    can_continue: bool | None
    again: bool = False


class ExplainContext(Struct, frozen=True, kw_only=True):
    """The input of an explanation.

    ``visits`` are all tokens of the instance, with their flow histories. ``definition`` is None if it is unknown;
    ``find_definition`` returns the definitions of called processes, by process id. ``context_of`` returns the whole
    execution context of a token, by token id. ``explain_called`` returns the live tokens of a called instance, by its
    id, with their reasons.
    """

    status: InstanceStatus
    visits: Sequence[Visit]
    now: datetime
    definition: Definition | None = None
    find_definition: Callable[[str], Definition | None] = lambda _: None
    context_of: Callable[[str], dict[str, Any]] = lambda _: {}
    explain_called: Callable[[str], Sequence[ChainStep]] = lambda _: ()


class ProcessFrame:
    """A process that an instance runs in, its own or a called one: the graph, and what the XML defines for elements.

    The graph is empty if the definition is unknown; ``is_known`` tells.
    """

    def __init__(self, definition: Definition | None) -> None:
        self.definition = definition
        self.is_known = definition is not None
        self.graph = ProcessGraph(definition)

    @cached_property
    def _details(self) -> dict[str, ElementDetails]:
        return read_element_details(self.definition)

    def detail(self, element_id: str) -> ElementDetails:
        """Return what the XML defines for an element: events, timers, calls."""
        return self._details.get(element_id, NO_ELEMENT_DETAILS)

    def name(self, element_id: str) -> str:
        """Return an element's name, or its id, in quotes."""
        element = self.graph.elements.get(element_id)
        return f"'{(element.name if element else None) or element_id}'"


class TokenRelations:
    """The relations of the tokens of an instance to each other and to the model, and phrases that name them."""

    def __init__(self, context: ExplainContext) -> None:
        self.context = context
        self.now = context.now
        self.ancestry = Ancestry(context.visits)
        self.main_frame = ProcessFrame(context.definition)
        self._called: dict[str, ProcessFrame] = {}

    # --- computed on first use ---

    @cached_property
    def _frames(self) -> dict[str, tuple[str | None, ProcessFrame]]:
        """For each token the call activity token that it is inside of, or None, and the process that it is in."""
        frames: dict[str, tuple[str | None, ProcessFrame]] = {}
        for visit in self.context.visits:
            path: list[Visit] = []
            call: str | None = None
            frame = self.main_frame
            for current, _ in self.ancestry.lineage(visit):
                if current.token_id in frames:
                    call, frame = frames[current.token_id]
                    break
                path.append(current)
            for one in reversed(path):
                above = self.ancestry.parent(one)
                if above is not None and self._is_inside_call(one, above, frame):
                    called = frame.detail(above.element_id).calls
                    call, frame = above.token_id, self._called_frame(called)
                frames[one.token_id] = call, frame
        return frames

    def _called_frame(self, process_id: str | None) -> ProcessFrame:
        name = process_id or ""
        if name not in self._called:
            self._called[name] = ProcessFrame(self.context.find_definition(name) if name else None)
        return self._called[name]

    def _is_inside_call(self, visit: Visit, call: Visit, frame: ProcessFrame) -> bool:
        """Tell whether a child of a call activity is inside the called process, and does not follow the call."""
        element = frame.graph.elements.get(call.element_id)
        if element is None or element.type != "callActivity" or visit.element_id == call.element_id:
            return False
        after = {one.id for one in (*frame.graph.flow_targets(element.id), *frame.graph.boundary_events(element.id))}
        return visit.element_id not in after

    def frame(self, visit: Visit) -> ProcessFrame:
        """Return the process that a token is in."""
        return self._frames[visit.token_id][1] if self.main_frame.graph.call_activities else self.main_frame

    @cached_property
    def waiting(self) -> list[WaitingJoin]:
        """The joins at which tokens wait, in the process and in the processes that it calls."""
        graph = self.main_frame.graph
        found = find_waiting_joins(self.context.visits, graph)
        called: dict[str, list[Visit]] = {}
        for visit in self.context.visits if graph.call_activities else ():
            if (call := self._frames[visit.token_id][0]) is not None:
                called.setdefault(call, []).append(visit)
        for visits in called.values():
            found += find_waiting_joins(visits, self.frame(visits[0]).graph)
        return found

    @cached_property
    def joins(self) -> dict[str, WaitingJoin]:
        """The waiting joins by the id of each token that waits there."""
        return {token.token_id: join for join in self.waiting for token in join.tokens}

    @cached_property
    def zombies(self) -> dict[str, str]:
        """The messages of the ZOMBIE_TOKENS rule, by token id."""
        found = Zombie({}).find(RuleContext(self.context.status, self.context.visits, self.now))
        return {hit.visit.token_id: hit.text for hit in found}

    @cached_property
    def children(self) -> dict[str, list[Visit]]:
        """The children of each token, by token id."""
        below: dict[str, list[Visit]] = {}
        for visit in self.context.visits:
            if (above := self.ancestry.parent(visit)) is not None:
                below.setdefault(above.token_id, []).append(visit)
        return below

    @cached_property
    def _last_visits(self) -> dict[tuple[str, str | None], Visit]:
        """The last visit by element and parent token: if there are several, it is a retry of the others."""
        return {(visit.element_id, visit.parent_token_id): visit for visit in self.context.visits}

    @cached_property
    def inner(self) -> dict[str, list[Visit]]:
        """The tokens directly inside each live activity that are live, or FAILED without a retry, by its token id."""
        inside: dict[str, list[Visit]] = {}
        known: dict[str, Visit | None] = {}
        for visit in self.context.visits:
            stays = visit.can_move or (visit.state == FAILED and self.find_retry(visit) is None)
            if not stays:
                continue
            holder = self._find_live_container(visit, known)
            if holder is None and len(possible := self.possible_containers(visit)) == 1:
                holder = possible[0]
            if holder is not None:
                inside.setdefault(holder.token_id, []).append(visit)
        return inside

    def possible_containers(self, visit: Visit) -> list[Visit]:
        """Return the live runs of the sub-process around a token whose parents do not tell which of them it is in."""
        element = self.element(visit)
        level = None if element is None else element.parent
        if level is None or any(one.element_id == level for one in self.ancestry.ancestors(visit)):
            return []
        return self._live_visits.get(level, [])

    @cached_property
    def _live_visits(self) -> dict[str, list[Visit]]:
        """The tokens that can move by element."""
        found: dict[str, list[Visit]] = {}
        for visit in self.context.visits:
            if visit.can_move:
                found.setdefault(visit.element_id, []).append(visit)
        return found

    def _find_live_container(self, visit: Visit, known: dict[str, Visit | None]) -> Visit | None:
        """Return the innermost live activity that a token is inside of; ``known`` caches answers by token id."""
        path: list[str] = []
        found: Visit | None = None
        for current, parent in self.ancestry.lineage(visit):
            if current.token_id in known:
                found = known[current.token_id]
                break
            path.append(current.token_id)
            if parent is None or not parent.can_move or self.element_type(current) == "boundaryEvent":
                continue
            if self.element_type(parent) in CONTAINER_TYPES or parent.element_id == current.element_id:
                found = parent
                break
        known.update(dict.fromkeys(path, found))
        return found

    def successors(self, visit: Visit) -> list[Visit]:
        """Return the children of a token: those that name it as their parent, then others that it lists."""
        named = self.children.get(visit.token_id, [])
        known = {one.token_id for one in named}
        by_id = self.ancestry.by_id
        return named + [by_id[one] for one in visit.child_tokens or () if one in by_id and one not in known]

    def find_retry(self, visit: Visit) -> Visit | None:
        """Return the retry of a FAILED visit; None if there is none."""
        last = self._last_visits[visit.element_id, visit.parent_token_id]
        return last if is_retry(last, visit) else None

    # --- phrases and times ---

    def element(self, visit: Visit) -> Element | None:
        """Return the element of the model that a token is at; None if unknown."""
        return self.frame(visit).graph.elements.get(visit.element_id)

    def element_type(self, visit: Visit) -> str:
        """Return the type of a token's element from the token, else from the model; '' if unknown."""
        if visit.element_type is not None:
            return canonical_type(visit.element_type)
        element = self.element(visit)
        return "" if element is None else element.type

    def detail(self, visit: Visit) -> ElementDetails:
        """Return what the XML defines for a token's element; nothing if token and model disagree on its type."""
        element = self.element(visit)
        if element is None or element.type != self.element_type(visit):
            return NO_ELEMENT_DETAILS
        return self.frame(visit).detail(visit.element_id)

    def element_phrase(self, visit: Visit) -> str:
        """Return an element with its type: ``the service task 'Process Payment'``."""
        kind = self.element_type(visit)
        return f"the {_ELEMENT_LABELS.get(kind, kind) or 'element'} '{visit.name}'"

    def describe_stay(self, visit: Visit) -> str:
        """Return the element that a token is at, and for how long: ``the task 'A', for 3h 20m``."""
        return self.element_phrase(visit) + self.format_elapsed(self.reached_at(visit))

    def format_tokens(self, visits: Iterable[Visit]) -> str:
        """Return the first few tokens by element and id, and how many more there are."""
        several = list(visits)
        some = ", ".join(f"'{visit.name}' ({visit.token_id})" for visit in several[:_MAX_NAMED_TOKENS])
        more = len(several) - _MAX_NAMED_TOKENS
        return some + (f" and {more:,} more" if more > 0 else "")

    def format_relative(self, moment: datetime) -> str:
        """Return ``3h 20m ago`` or ``in 3h 20m``."""
        past = self.now - moment
        return f"{format_timedelta(past)} ago" if past.total_seconds() >= 0 else f"in {format_timedelta(-past)}"

    def format_moment(self, moment: datetime) -> str:
        """Return a time and how long ago it was."""
        return f"{format_time(moment)} ({self.format_relative(moment)})"

    def format_elapsed(self, moment: datetime | None) -> str:
        """Return ``, for 3h 20m``; '' for a time that is unknown or in the future."""
        return f", for {format_timedelta(self.now - moment)}" if moment is not None and moment <= self.now else ""

    def reached_at(self, visit: Visit) -> datetime | None:
        """Return when a token reached its current element; None if unknown."""
        times = (visit.created_at, *(hop.timestamp for hop in visit.hops[-1:]))
        return max((time for time in times if time is not None), default=None)

    def since(self, visit: Visit) -> datetime | None:
        """Return when a token entered its current state; None if unknown."""
        if not visit.can_move:
            return visit.finished_at
        return visit.entered_at or (visit.updated_at if visit.state == SUSPENDED else self.reached_at(visit))
