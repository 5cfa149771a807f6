"""The way through the model: every arrival of a token at an element, its wait and its duration.

Waits and durations are in milliseconds. What a source does not say is None; what is computed
instead of given says so.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from tokctl.errors import NotFoundError
from tokctl.process.forest import NO_TIME, Anomalies, Forest, TreeRow
from tokctl.process.model import Definition, FlowHop, Token, from_micros, is_final, to_micros, utc
from tokctl.process.tree import build, waits_for_several
from tokctl.process.visit import Visit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Hop(Struct, frozen=True, kw_only=True):
    """A token's arrival at an element.

    ``recorded`` is False where the source tells no flow history, so that nobody knows where the
    token came from; with ``recorded`` and no ``from_element`` it came from nowhere, as a start
    event does. ``timestamp`` is when it arrived, ``timestamp_derived`` if that is only the token's
    ``created_at``.

    ``wait_ms`` is how long the way here stood still: from the end of the token that it came from
    until this one began (``began_at``: its ``created_at``, or the arrival if that is later). It
    came from the parent or joined token at ``from_element``, else from the last to end there; where
    none is known, the wait is from the arrival until ``created_at``.

    ``duration_ms`` is the token's, on the hop that brought it where it is. ``passed`` marks an
    element that the token has moved on from (in engines where one token goes through many): its
    duration is until the next hop, and ``state`` is the token's state now.
    """

    sequence: int
    token_id: str
    timestamp: datetime | None
    timestamp_derived: bool = False
    recorded: bool = True
    from_element: str | None = None
    via_flow: str | None = None
    element_id: str
    element_type: str | None = None
    element_name: str | None = None
    state: str
    wait_ms: float | None = None
    duration_ms: float | None = None
    duration_derived: bool = False
    began_at: datetime | None = None
    live: bool = False
    passed: bool = False

    @property
    def name(self) -> str:
        """The element's name, or its id where it has none."""
        return self.element_name or self.element_id

    def age_ms(self, now: datetime) -> float | None:
        """Return how long a live token has been at its element; None for any other."""
        if not self.live or self.began_at is None:
            return None
        return (now - self.began_at).total_seconds() * 1000


def read_hops(token: Token | Visit) -> tuple[list[FlowHop] | None, int]:
    """Return a token's flow history (None: unknown) and how many of its entries cannot be read.

    An entry that is no object is unreadable; of any other, the fields that can be read are kept.
    """
    hops = token.hops
    if hops:
        return hops, 0
    try:
        entries = msgspec.json.decode(token.flow_history)
    except msgspec.MsgspecError:
        return None, 1
    if not isinstance(entries, list):
        return None, int(entries is not None)
    readable = [_read_hop(entry) for entry in entries if isinstance(entry, dict)]
    unreadable = len(entries) - len(readable)
    return (readable or None) if unreadable else readable, unreadable


def _read_hop(entry: dict[str, Any]) -> FlowHop:
    def read(name: str, type_: type[Any]) -> Any:
        try:
            return msgspec.convert(entry.get(name), type_)
        except msgspec.MsgspecError:
            return None

    return FlowHop(read("from_element", str), read("via_flow", str), utc(read("timestamp", datetime)))


def history(
    tokens: Iterable[Token | Visit], *, token_id: str | None = None, definition: Definition | None = None
) -> History:
    """Read the way through the model of an instance, or of one token and all that led to it.

    A token with several flow history entries is taken to have been joined where its element is a
    gateway that waits for several, or where other tokens stand at every element it came from; else
    it is one that moved from element to element. A ``definition`` settles it by its flows.

    An id that no token has raises NotFoundError.
    """
    way = _Way()
    seen: set[str] = set()

    def rows() -> Iterator[TreeRow]:
        for token in tokens:
            hops, unreadable = read_hops(token)
            way.unreadable += unreadable
            if token.token_id not in seen:
                seen.add(token.token_id)
                way.add(hops)
            yield TreeRow.from_token(token)

    forest = build(rows())
    nodes: set[int] | None = None
    if token_id is not None:
        if token_id not in seen:
            raise NotFoundError(f"No token '{token_id}' among these.")
        nodes = _led_to(forest, forest.ids.index(token_id))
    return History(forest, way, nodes, definition)


class _Way:
    """Flow histories in columns, one entry for each hop; a token without any has one, of nothing."""

    def __init__(self) -> None:
        self.unreadable = 0
        self.recorded = bytearray()  # by node
        self.nodes = array("i")
        self.times = array("q")
        self.flows: list[tuple[str | None, str | None]] = []  # from element, via flow
        self._flow_codes = array("i")
        self._codes: dict[tuple[str | None, str | None], int] = {}

    def add(self, hops: list[FlowHop] | None) -> None:
        node = len(self.recorded)
        self.recorded.append(hops is not None)
        for hop in hops or (FlowHop(),):
            flow = (hop.from_element, hop.via_flow)
            code = self._codes.setdefault(flow, len(self._codes))
            if code == len(self.flows):
                self.flows.append(flow)
            time = to_micros(hop.timestamp)
            self.nodes.append(node)
            self.times.append(NO_TIME if time is None else time)
            self._flow_codes.append(code)

    def flow(self, hop: int) -> tuple[str | None, str | None]:
        return self.flows[self._flow_codes[hop]]

    def hops_of(self, node: int) -> range:
        """Return the places of a token's hops."""
        return range(bisect_left(self.nodes, node), bisect_right(self.nodes, node))

    def is_first(self, hop: int) -> bool:
        return hop == 0 or self.nodes[hop - 1] != self.nodes[hop]

    def is_last(self, hop: int) -> bool:
        return hop + 1 == len(self.nodes) or self.nodes[hop + 1] != self.nodes[hop]


def _led_to(forest: Forest, node: int) -> set[int]:
    """Return a token and the tokens above it, over joins too."""
    found, waiting = {node}, [node]
    while waiting:
        node = waiting.pop()
        above = forest.joins.of(node)
        if (parent := forest.parent(node)) is not None:
            above.append(parent)
        new = [other for other in above if other not in found]
        found.update(new)
        waiting.extend(new)
    return found


class History:
    """Hops in the order of their times, ties with parents first; unknown times come last.

    ``hops()`` makes them one by one, as often as it is called. ``unreadable`` counts flow history
    entries that mean nothing; ``anomalies`` are those of the tokens' links.

    What it is made of: the ``forest`` of the tokens, the ``way`` (flow histories in columns), and ``moved``,
    the nodes of tokens that went through several elements.
    """

    def __init__(self, forest: Forest, way: _Way, nodes: set[int] | None, definition: Definition | None) -> None:
        self.unreadable = way.unreadable
        self.anomalies: Anomalies = forest.anomalies
        self.forest, self.way, self._definition = forest, way, definition
        self._elements = {label[0]: label for label in forest.labels}
        self._ends = _ends(forest)
        self.moved = self._find_moved()
        self._nodes = nodes

    @cached_property
    def _order(self) -> array[int]:
        """The hops in the order of their times."""
        way, nodes, depths = self.way, self._nodes, self.forest.depths()
        hops = [hop for hop, node in enumerate(way.nodes) if nodes is None or node in nodes]
        hops.sort(key=lambda hop: depths[way.nodes[hop]])  # twice, for a million pairs take more room
        hops.sort(key=self.arrival)
        return array("i", hops)

    def __len__(self) -> int:
        return len(self._order)

    @property
    def began_at(self) -> datetime | None:
        """When the first hop was; None where no time is known."""
        return _time(self.arrival(self._order[0])) if self._order else None

    def hops(self) -> Iterator[Hop]:
        """Yield the hops."""
        for sequence, hop in enumerate(self._order, 1):
            yield self.hop(sequence, hop)

    def _find_moved(self) -> set[int]:
        """Return the tokens with several entries that went through elements rather than were joined."""
        way, moved = self.way, set()
        begin = 0
        for hop, node in enumerate(way.nodes):
            if way.is_last(hop):
                if hop > begin and self._moves(node, range(begin, hop + 1)):
                    moved.add(node)
                begin = hop + 1
        return moved

    def _moves(self, node: int, hops: range) -> bool:
        targets = {self._target(hop) for hop in hops}
        if None not in targets:
            return targets != {self.forest.element_id(node)}
        if waits_for_several(self.forest.element_type(node)):
            return False
        return any(self.way.flow(hop)[0] not in self._elements for hop in hops[1:])

    def _target(self, hop: int) -> str | None:
        """Return where a hop's flow leads, if the definition knows it."""
        via_flow = self.way.flow(hop)[1]
        if self._definition is None or via_flow is None:
            return None
        flow = self._definition.flows.get(via_flow)
        return None if flow is None else flow.target

    def arrival(self, hop: int) -> int:
        """Return when a hop arrived: as given, or for a token's last one when it was created."""
        way = self.way
        if way.times[hop] == NO_TIME and way.is_last(hop):
            return self.forest.created[way.nodes[hop]]
        return way.times[hop]

    def hop(self, sequence: int, hop: int) -> Hop:
        """Make one hop, by its place in ``way``, with the number that it is to bear."""
        way, node = self.way, self.way.nodes[hop]
        row = self.forest.row(node)
        from_element, via_flow = way.flow(hop)
        is_last, moved = way.is_last(hop), node in self.moved
        element: tuple[str, str | None, str | None] = (row.element_id, row.element_type, row.element_name)
        if moved and not is_last:
            element = self._passed_element(hop)
        arrival, begin = self.arrival(hop), self._begin(hop)
        ms, duration_derived = self._duration(row, hop, moved=moved)
        return Hop(
            sequence=sequence,
            token_id=row.token_id,
            timestamp=_time(arrival),
            timestamp_derived=arrival != way.times[hop],
            recorded=bool(way.recorded[node]),
            from_element=from_element,
            via_flow=via_flow,
            element_id=element[0],
            element_type=element[1],
            element_name=element[2],
            state=row.state,
            wait_ms=self.wait_ms(hop),
            duration_ms=ms,
            duration_derived=duration_derived,
            began_at=_time(begin),
            live=is_last and not is_final(row.state),
            passed=moved and not is_last,
        )

    def _passed_element(self, hop: int) -> tuple[str, str | None, str | None]:
        element_id = self._target(hop) or self.way.flow(hop + 1)[0] or ""
        if self._definition is not None and (element := self._definition.elements.get(element_id)):
            return element_id, element.type, element.name
        known = self._elements.get(element_id)
        return (element_id, known[1], known[2]) if known else (element_id, None, None)

    def _duration(self, row: TreeRow, hop: int, *, moved: bool) -> tuple[float | None, bool]:
        is_last = self.way.is_last(hop)
        if is_last and (not moved or row.duration_ms is not None):
            found = row.duration
            return (found.ms, found.derived) if found else (None, False)
        if not moved:
            return None, False
        begin = self.arrival(hop)
        end = row.finished_us if is_last else self.arrival(hop + 1)
        if end is None or NO_TIME in {begin, end}:
            return None, False
        return (end - begin) / 1000, True

    def _begin(self, hop: int) -> int:
        """Return when a token began where a hop brought it."""
        node, arrival = self.way.nodes[hop], self.arrival(hop)
        created = self.forest.created[node]
        if created == NO_TIME or node in self.moved or not self.way.is_last(hop):
            return arrival
        return created if arrival == NO_TIME else max(arrival, created)

    def wait_ms(self, hop: int) -> float | None:
        """Return how long the way of a hop, by its place in ``way``, stood still; None where nobody knows."""
        node, begin = self.way.nodes[hop], self._begin(hop)
        if begin == NO_TIME or (node in self.moved and not self.way.is_first(hop)):
            return None
        end = self._source_end(node, self.way.flow(hop)[0], begin)
        if end is None:
            end = self.arrival(hop)
            if end in {begin, NO_TIME}:
                return None
        return (begin - end) / 1000

    def _source_end(self, node: int, from_element: str | None, begin: int) -> int | None:
        """Return when the token that a hop came from ended, which is before the hop began."""
        forest = self.forest
        above = forest.joins.of(node)
        if (parent := forest.parent(node)) is not None:
            above.append(parent)
        known = [other for other in above if from_element in {None, forest.element_id(other)}]
        ends = [end for other in known if (end := forest.finished_us(other)) is not None and end <= begin]
        if ends or known or from_element is None:
            return max(ends, default=None)
        ended = self._ends.get(from_element, array("q"))
        before = bisect_right(ended, begin)
        return ended[before - 1] if before else None


def _time(micros: int) -> datetime | None:
    return None if micros == NO_TIME else from_micros(micros)


def _ends(forest: Forest) -> dict[str, array[int]]:
    """Return when tokens ended, sorted, by element."""
    ends: dict[str, list[int]] = {}
    for node in range(forest.size):
        end = forest.finished_us(node)
        if end is not None:
            ends.setdefault(forest.element_id(node), []).append(end)
    return {element: array("q", sorted(times)) for element, times in ends.items()}
