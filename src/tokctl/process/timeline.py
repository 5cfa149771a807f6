"""What happened to the tokens of an instance, event by event: the documented ``execution_timeline``.

Only what the tokens tell becomes an event:

- TOKEN_CREATED, once for every token, at its ``created_at``;
- TOKEN_MOVED, for every entry of its flow history that names where it came from, or over which flow;
- TOKEN_ACTIVATED, when the work began, where that was after the token's creation. Nobody records it, so it is
  told only of a token that has ended and whose ``duration_ms`` is given, and is shorter than the token lived:
  so much before its end, marked as derived. Durations are rounded to a millisecond, so less says nothing;
- GATEWAY_EVALUATED, of a token with a gateway decision, at its end, which is when a gateway decides (derived);
- TOKEN_COMPLETED, TOKEN_CANCELLED, TOKEN_FAILED (the last is ours), once for every token that has ended, at
  its end; derived where the only time of it is ``updated_at``;
- TOKEN_SPLIT, where several tokens stand below one in the tree: one event of the upper token for each of
  them, when that was created.

Of a token that went through several elements, TOKEN_CREATED is at the first, and each TOKEN_MOVED to
another tells how long it stayed there.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime

from msgspec import Raw, Struct

from tokctl.process.forest import NO_TIME, top_down
from tokctl.process.history import History
from tokctl.process.model import (
    CANCELLED,
    COMPLETED,
    FAILED,
    NULL,
    GatewayDecision,
    Token,
    from_micros,
    to_micros,
)
from tokctl.process.visit import Visit

SPLIT, CREATED, MOVED, ACTIVATED, EVALUATED, ENDED_COMPLETED, ENDED_CANCELLED, ENDED_FAILED = range(8)
ACTIONS = (
    "TOKEN_SPLIT",
    "TOKEN_CREATED",
    "TOKEN_MOVED",
    "TOKEN_ACTIVATED",
    "GATEWAY_EVALUATED",
    "TOKEN_COMPLETED",
    "TOKEN_CANCELLED",
    "TOKEN_FAILED",
)
"""The actions by their codes, which are in the order in which they come for one token at one moment."""

_ROUNDING = 1000  # microseconds
_ENDS = {COMPLETED: ENDED_COMPLETED, CANCELLED: ENDED_CANCELLED, FAILED: ENDED_FAILED}


class Event(Struct, frozen=True, gc=False):
    """One thing that happened to a token; what follows ``duration_derived`` belongs to some actions only.

    ``duration_ms`` is what had taken so long when it ended, or how long a token stayed where it moved to.
    ``variables`` is NULL unless they were asked for and are known.
    """

    sequence: int
    timestamp: datetime | None
    action: str
    token_id: str
    variables: Raw
    element_id: str
    element_type: str | None
    element_name: str | None
    timestamp_derived: bool = False
    duration_ms: float | None = None
    duration_derived: bool = False
    from_element: str | None = None
    via_flow: str | None = None
    wait_ms: float | None = None
    parent_token_id: str | None = None
    child_token_id: str | None = None
    decision: GatewayDecision | None = None

    @property
    def name(self) -> str:
        """The element's name, or its id where it has none."""
        return self.element_name or self.element_id


class Notes:
    """What the timeline needs of tokens beside their tree and their ways, by token, in the order in which they come.

    Of a token that comes again, the first counts.
    """

    def __init__(self, *, variables: bool) -> None:
        self.derived_ends = bytearray()  # whose end is told by updated_at alone
        self.decisions: dict[int, GatewayDecision] = {}
        self.variables: list[Raw] | None = [] if variables else None

    def taken(self, tokens: Iterable[Token | Visit]) -> Iterator[Token | Visit]:
        """Note down tokens as they pass by."""
        seen: set[str] = set()
        for token in tokens:
            if token.token_id not in seen:
                seen.add(token.token_id)
                self._take(token)
            yield token

    def _take(self, token: Token | Visit) -> None:
        decision = token.context.gateway_decision
        if decision is not None:
            self.decisions[len(self.derived_ends)] = decision
        self.derived_ends.append(token.completed_at is None and token.cancelled_at is None)
        if self.variables is not None:
            self.variables.append(token.variables if isinstance(token, Token) else NULL)


class Timeline:
    """The events of an instance in the order of their times; unknown times come last.

    At the same moment, what befalls an upper token comes before what befalls one below it, and of one
    token what the lifecycle has first. Events are numbered from 1, in whatever part they are shown.

    Held in columns; ``events`` makes them as they are asked for.
    """

    def __init__(self, history: History, notes: Notes) -> None:
        self._history, self._notes = history, notes
        self._starts = _starts(history)
        self._makers = (
            self._split, self._created, self._moved, self._activated, self._evaluated, *(self._ended,) * 3
        )  # fmt: skip
        times, codes = self._collect()
        self.counts = dict.fromkeys(ACTIONS, 0)
        self.counts.update((ACTIONS[kind], number) for kind, number in Counter(code & 7 for code in codes).items())
        order = [(time << 32) + position for position, time in enumerate(times)]
        order.sort()
        self._times = array("q", (key >> 32 for key in order))
        self._codes = array("q", (codes[key & 0xFFFFFFFF] for key in order))

    def __len__(self) -> int:
        return len(self._codes)

    @property
    def began_at(self) -> datetime | None:
        """When the first event was; None where no time is known."""
        first = self._times[0] if self._times else NO_TIME
        return None if first == NO_TIME else from_micros(first)

    def part(self, since: datetime | None, until: datetime | None) -> range:
        """Return the positions of the events at or after ``since`` and before ``until``.

        An event whose time is unknown lies in no period.
        """
        if since is None and until is None:
            return range(len(self))
        begin = 0 if since is None else bisect_left(self._times, to_micros(since) or 0)
        end = bisect_left(self._times, NO_TIME if until is None else to_micros(until) or 0)
        return range(begin, max(begin, end))

    def events(self, part: range) -> Iterator[Event]:
        """Make the events at these positions."""
        last, time = NO_TIME, None
        for position in part:
            if self._times[position] != last:  # several happen at one moment, as a rule
                last = self._times[position]
                time = None if last == NO_TIME else from_micros(last)
            code = self._codes[position]
            yield self._makers[code & 7](position + 1, time, code >> 3)

    def _collect(self) -> tuple[array[int], array[int]]:
        """Return the times and the codes of all events, upper tokens before lower ones.

        A code is the action and the node that it befalls: the child for a split, the hop for a move.
        """
        history, forest, notes = self._history, self._history.forest, self._notes
        flow, arrival, starts = history.way.flow, history.arrival, self._starts
        created, finished, durations, parents = forest.created, forest.finished, forest.durations, forest.parents
        below, size = forest.children.starts, forest.size
        ends = [_ENDS.get(label[3], 0) for label in forest.labels]
        times, codes = array("q"), array("q")
        for node in top_down(forest.children, size):
            begin, end, code = created[node], finished[node], node << 3
            parent = parents[node]
            if parent != size and below[parent + 1] - below[parent] > 1:
                times.append(begin)
                codes.append(code | SPLIT)
            times.append(begin)
            codes.append(code | CREATED)
            for hop in range(starts[node], starts[node + 1]):
                if flow(hop) != (None, None):
                    times.append(arrival(hop))
                    codes.append(hop << 3 | MOVED)
            if NO_TIME not in {begin, end} and 0 <= (took := durations[node] * 1000) <= end - begin - _ROUNDING:
                times.append(end - round(took))
                codes.append(code | ACTIVATED)
            if node in notes.decisions:
                times.append(end)
                codes.append(code | EVALUATED)
            if ended := ends[forest.label_codes[node]]:
                times.append(end)
                codes.append(code | ended)
        return times, codes

    def _split(self, sequence: int, time: datetime | None, child: int) -> Event:
        forest = self._history.forest
        about = self._about(forest.parents[child])
        return Event(sequence, time, ACTIONS[SPLIT], *about, child_token_id=forest.ids[child])

    def _created(self, sequence: int, time: datetime | None, node: int) -> Event:
        history = self._history
        about = self._about(node, self._starts[node] if node in history.moved else None)
        return Event(sequence, time, ACTIONS[CREATED], *about, parent_token_id=history.forest.parent_id(node))

    def _moved(self, sequence: int, time: datetime | None, number: int) -> Event:
        history, way = self._history, self._history.way
        node, (from_element, via_flow) = way.nodes[number], way.flow(number)
        derived = time is not None and way.times[number] == NO_TIME
        wait_ms = history.wait_ms(number)
        if node not in history.moved:
            return Event(
                sequence, time, ACTIONS[MOVED], *self._about(node), derived,
                from_element=from_element, via_flow=via_flow, wait_ms=wait_ms,
            )  # fmt: skip
        hop = history.hop(sequence, number)
        return Event(
            sequence, time, ACTIONS[MOVED], *self._about(node, number), derived,
            hop.duration_ms if hop.passed else None, hop.passed and hop.duration_derived,
            from_element=from_element, via_flow=via_flow, wait_ms=wait_ms,
        )  # fmt: skip

    def _activated(self, sequence: int, time: datetime | None, node: int) -> Event:
        return Event(sequence, time, ACTIONS[ACTIVATED], *self._about(node), True)

    def _evaluated(self, sequence: int, time: datetime | None, node: int) -> Event:
        decision = self._notes.decisions[node]
        return Event(
            sequence, time, ACTIONS[EVALUATED], *self._about(node), time is not None, decision.evaluation_time_ms,
            decision=decision,
        )  # fmt: skip

    def _ended(self, sequence: int, time: datetime | None, node: int) -> Event:
        forest = self._history.forest
        took = forest.duration_ms(node)
        derived = time is not None and self._notes.derived_ends[node] == 1
        return Event(
            sequence, time, ACTIONS[_ENDS[forest.state(node)]], *self._about(node), derived,
            took, took is not None and forest.durations[node] != took,
        )  # fmt: skip

    def _about(self, node: int, hop: int | None = None) -> tuple[str, Raw, str, str | None, str | None]:
        """Return a token's id, variables and element, or the element that a hop brought it to."""
        history, forest = self._history, self._history.forest
        variables = NULL if self._notes.variables is None else self._notes.variables[node]
        if hop is not None:
            there = history.hop(0, hop)
            return forest.ids[node], variables, there.element_id, there.element_type, there.element_name
        element_id, element_type, element_name, _ = forest.labels[forest.label_codes[node]]
        return forest.ids[node], variables, element_id, element_type, element_name


def _starts(history: History) -> array[int]:
    """Return where each token's hops begin, and where the last one's end."""
    nodes = history.way.nodes
    starts = array("i", (hop for hop in range(len(nodes)) if history.way.is_first(hop)))
    starts.append(len(nodes))
    return starts
