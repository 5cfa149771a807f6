"""What an explanation starts from: an instance's tokens with what stands around each of them.

Why a token waits is ``process.reasons``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from msgspec import Struct

from tokctl.process.events import NO_DETAILS, Details, read_details
from tokctl.process.joins import Ancestry, JoinModel, WaitingJoin, tries_again, waiting_joins
from tokctl.process.model import FAILED, SUSPENDED, Definition, Element, canonical_type, format_time
from tokctl.process.rules.base import Case
from tokctl.process.rules.words import spell
from tokctl.process.rules.zombie import Zombie
from tokctl.process.status import InstanceStatus
from tokctl.process.visit import Visit

CONTAINERS = frozenset({"subProcess", "transaction", "adHocSubProcess", "callActivity"})
_WORDS = {
    "task": "task", "serviceTask": "service task", "userTask": "user task", "scriptTask": "script task",
    "sendTask": "send task", "receiveTask": "receive task", "manualTask": "manual task",
    "businessRuleTask": "business rule task", "startEvent": "start event", "endEvent": "end event",
    "intermediateCatchEvent": "catch event", "intermediateThrowEvent": "throw event",
    "boundaryEvent": "boundary event", "exclusiveGateway": "exclusive gateway",
    "parallelGateway": "parallel gateway", "inclusiveGateway": "inclusive gateway",
    "eventBasedGateway": "event-based gateway", "complexGateway": "complex gateway",
    "subProcess": "sub-process", "transaction": "transaction", "adHocSubProcess": "ad-hoc sub-process",
    "callActivity": "call activity",
}  # fmt: skip
_SHOWN = 3  # tokens that a sentence names


class Scene(Struct, frozen=True, kw_only=True):
    """All that tokens are explained from.

    ``visits`` are the whole instance's, with their flow histories; ``definition`` is None where the model
    is unknown, and ``find_definition`` returns those that it calls, by process id. ``context_of`` returns
    a token's whole execution context, by token id.
    """

    status: InstanceStatus
    visits: Sequence[Visit]
    now: datetime
    definition: Definition | None = None
    find_definition: Callable[[str], Definition | None] = lambda _: None
    context_of: Callable[[str], dict[str, Any]] = lambda _: {}


class Frame:
    """A process that an instance is in, itself or by a call: its model, and what the document says of events."""

    def __init__(self, definition: Definition | None) -> None:
        self.definition = definition
        self.model = None if definition is None else JoinModel(definition)

    @cached_property
    def details(self) -> dict[str, Details]:
        """What the document says of events, by element."""
        return read_details(self.definition)

    def detail(self, element_id: str) -> Details:
        """What the document says of one element."""
        return self.details.get(element_id, NO_DETAILS)

    def element(self, element_id: str) -> Element | None:
        """An element of the model."""
        return None if self.model is None else self.model.elements.get(element_id)

    def name(self, element_id: str) -> str:
        """An element's name in quotes."""
        element = self.element(element_id)
        return f"'{(element.name if element else None) or element_id}'"

    def boundaries(self, element_id: str) -> list[Element]:
        """The boundary events at an activity."""
        if self.model is None:
            return []
        return [one for one in self.model.elements.values() if one.attached_to == element_id]

    def targets(self, element: Element) -> list[Element]:
        """Where the flows from an element lead."""
        if self.model is None:
            return []
        return [self.model.elements[self.model.flows[flow].target] for flow in element.outgoing]


class Surroundings:
    """What stands around each token of an instance: above it, within it, in the model; and words for it."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.now = scene.now
        self.links = Ancestry(scene.visits)
        self.main = Frame(scene.definition)
        self._called: dict[str, Frame] = {}

    # --- what is worked out once ---

    @cached_property
    def _frames(self) -> dict[str, tuple[str | None, Frame]]:
        """The call that each token lies in (None: in no call), and the process that is called there."""
        frames: dict[str, tuple[str | None, Frame]] = {}
        for visit in self.scene.visits:
            path: list[Visit] = []
            seen: set[str] = set()
            current: Visit | None = visit
            while current is not None and current.token_id not in frames and current.token_id not in seen:
                seen.add(current.token_id)
                path.append(current)
                current = self.links.parent(current)
            known = None if current is None else frames.get(current.token_id)
            call, frame = known or (None, self.main)
            for one in reversed(path):
                above = self.links.parent(one)
                if above is not None and self._lies_in(one, above, frame):
                    called = frame.detail(above.element_id).calls
                    call, frame = above.token_id, self._frame_of(called)
                frames[one.token_id] = call, frame
        return frames

    def _frame_of(self, process_id: str | None) -> Frame:
        name = process_id or ""
        if name not in self._called:
            self._called[name] = Frame(self.scene.find_definition(name) if name else None)
        return self._called[name]

    def _lies_in(self, visit: Visit, call: Visit, frame: Frame) -> bool:
        """Tell whether a token lies in what the token above it calls, and does not come after it."""
        element = frame.element(call.element_id)
        if element is None or element.type != "callActivity" or visit.element_id == call.element_id:
            return False
        after = {one.id for one in (*frame.targets(element), *frame.boundaries(element.id))}
        return visit.element_id not in after

    def frame(self, visit: Visit) -> Frame:
        """The process that a token stands in."""
        model = self.main.model
        return self._frames[visit.token_id][1] if model is not None and model.calls else self.main

    @cached_property
    def waiting(self) -> list[WaitingJoin]:
        """The joins at which tokens wait, in the process and in those that it calls."""
        model = self.main.model
        if model is None:
            return []
        found = waiting_joins(self.scene.visits, model)
        called: dict[str, list[Visit]] = {}
        for visit in self.scene.visits if model.calls else ():
            call = self._frames[visit.token_id][0]
            if call is not None:
                called.setdefault(call, []).append(visit)
        for visits in called.values():
            inner = self.frame(visits[0]).model
            if inner is not None:
                found += waiting_joins(visits, inner)
        return found

    @cached_property
    def joins(self) -> dict[str, WaitingJoin]:
        """The same, by each token that waits."""
        return {token.token_id: join for join in self.waiting for token in join.tokens}

    @cached_property
    def zombies(self) -> dict[str, str]:
        """What is said of the tokens that are left of something that has ended."""
        case = Case(self.scene.status, self.scene.visits, self.now)
        return {hit.visit.token_id: hit.says for hit in Zombie({}).find(case)}

    @cached_property
    def children(self) -> dict[str, list[Visit]]:
        """Tokens by what stands above them."""
        below: dict[str, list[Visit]] = {}
        for visit in self.scene.visits:
            above = self.links.parent(visit)
            if above is not None:
                below.setdefault(above.token_id, []).append(visit)
        return below

    @cached_property
    def _last(self) -> dict[tuple[str, str | None], Visit]:
        """The last visit of each element that came of the same token: a later one tried again."""
        return {(visit.element_id, visit.parent_token_id): visit for visit in self.scene.visits}

    @cached_property
    def inner(self) -> dict[str, list[Visit]]:
        """The tokens right within each live activity that are live, or FAILED and were not tried again."""
        inside: dict[str, list[Visit]] = {}
        known: dict[str, Visit | None] = {}
        for visit in self.scene.visits:
            if visit.live or (visit.state == FAILED and self.retry_of(visit) is None):
                holder = self._holder(visit, known)
                if holder is not None:
                    inside.setdefault(holder.token_id, []).append(visit)
        return inside

    def _holder(self, visit: Visit, known: dict[str, Visit | None]) -> Visit | None:
        """Return the live activity that a token lies in."""
        path: list[str] = []
        seen = {visit.token_id}
        current, found = visit, None
        while True:
            if current.token_id in known:
                found = known[current.token_id]
                break
            path.append(current.token_id)
            above = self.links.parent(current)
            if above is None or above.token_id in seen:
                break
            seen.add(above.token_id)
            holds = self.kind(above) in CONTAINERS or above.element_id == current.element_id
            if above.live and holds and self.kind(current) != "boundaryEvent":
                found = above
                break
            current = above
        known.update(dict.fromkeys(path, found))
        return found

    def retry_of(self, visit: Visit) -> Visit | None:
        """Return the visit that tried again what FAILED; None if that is the last word."""
        last = self._last[visit.element_id, visit.parent_token_id]
        return last if tries_again(last, visit) else None

    # --- words ---

    def element(self, visit: Visit) -> Element | None:
        """The model's element that a token is at."""
        return self.frame(visit).element(visit.element_id)

    def kind(self, visit: Visit) -> str:
        """The type of a token's element: its own, else the model's; empty where nobody knows."""
        if visit.element_type is not None:
            return canonical_type(visit.element_type)
        element = self.element(visit)
        return "" if element is None else element.type

    def detail(self, visit: Visit) -> Details:
        """What the document says of a token's element."""
        element = self.element(visit)
        if element is None or element.type != self.kind(visit):
            return NO_DETAILS
        return self.frame(visit).detail(visit.element_id)

    def what(self, visit: Visit) -> str:
        """An element with its type: ``the service task 'Process Payment'``."""
        kind = self.kind(visit)
        return f"the {_WORDS.get(kind, kind) or 'element'} '{visit.name}'"

    def named(self, visits: Iterable[Visit]) -> str:
        """Some tokens by element and id, and how many more."""
        several = list(visits)
        some = ", ".join(f"'{visit.name}' ({visit.token_id})" for visit in several[:_SHOWN])
        more = len(several) - _SHOWN
        return some + (f" and {more:,} more" if more > 0 else "")

    def ago(self, moment: datetime) -> str:
        """``3h 20m ago``, or ``in 3h 20m``."""
        past = self.now - moment
        return f"{spell(past)} ago" if past.total_seconds() >= 0 else f"in {spell(-past)}"

    def at(self, moment: datetime) -> str:
        """A time, and how long ago."""
        return f"{format_time(moment)} ({self.ago(moment)})"

    def long(self, moment: datetime | None) -> str:
        """``, for 3h 20m``; nothing for a time that is unknown or lies ahead."""
        return f", for {spell(self.now - moment)}" if moment is not None and moment <= self.now else ""

    def reached(self, visit: Visit) -> datetime | None:
        """When a token came to the element where it stands."""
        times = (visit.created_at, *(hop.timestamp for hop in visit.hops[-1:]))
        return max((time for time in times if time is not None), default=None)

    def since(self, visit: Visit) -> datetime | None:
        """When a token came to be as it is now."""
        if not visit.live:
            return visit.finished_at
        return visit.entered_at or (visit.updated_at if visit.state == SUSPENDED else self.reached(visit))
