"""The history of an instance: every arrival of a token at an element, with its wait and its duration.

Waits and durations are in milliseconds. Unknown values are None; computed values are marked as derived.
The paths that the hops form are found by ``flow.paths``, the events of the trace by ``trace.timeline``.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from datetime import datetime
from functools import cached_property
from itertools import starmap
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from tokctl.analysis.tree.builder import build_forest
from tokctl.analysis.tree.forest import NO_TIME, Forest, TreeRow, time_at
from tokctl.errors import NotFoundError
from tokctl.model.definitions import Definition
from tokctl.model.element_types import is_joining_gateway
from tokctl.model.json_values import decode_value
from tokctl.model.states import is_final
from tokctl.model.times import parse_time, to_micros
from tokctl.model.tokens import Certainty, FlowHop, Token, read_certainty
from tokctl.model.visits import Visit

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence


class Hop(Struct, frozen=True, kw_only=True):
    """The arrival of a token at an element.

    ``recorded`` is False if the source has no flow history for the token, so that its origin is unknown. A recorded
    hop without ``from_element`` has no origin, like that of a start event; if it is ambiguous (``certainty``), the
    origin is not known for certain. ``timestamp`` is the arrival;
    ``timestamp_derived`` tells that it is only the ``created_at`` of the token.

    ``wait_ms`` is the time from the end of the previous token to ``began_at``, the beginning of this one: its
    ``created_at``, or the arrival if that is later. The previous token is the parent or joined token at
    ``from_element``, else the last token that ended there. If there is none, the wait starts with the arrival.

    ``duration_ms`` is that of the token, at the hop to its current element. ``passed`` marks an element that the token
    has left again (in engines that move one token through many elements): its duration lasts until the next hop, and
    ``state`` is the current state of the token.
    """

    sequence: int
    token_id: str
    timestamp: datetime | None
    timestamp_derived: bool = False
    recorded: bool = True
    from_element: str | None = None
    via_flow: str | None = None
    certainty: Certainty = Certainty.RECORDED
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
        """The name of the element, or its id if it has none."""
        return self.element_name or self.element_id

    def age_ms(self, now: datetime) -> float | None:
        """Return how long a live token has been at its element; None if it has ended or left the element."""
        if not self.live or self.began_at is None:
            return None
        return (now - self.began_at).total_seconds() * 1000


def read_flow_history(token: Token | Visit) -> tuple[list[FlowHop] | None, int]:
    """Return the flow history of a token (None if unknown) and the number of unreadable entries.

    An entry is unreadable if it is not an object; of other entries, unreadable fields become None.
    """
    hops = token.hops
    if hops:
        return hops, 0
    try:
        entries = decode_value(token.flow_history)
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

    return FlowHop(
        read("from_element", str),
        read("via_flow", str),
        _read_time(entry.get("timestamp")),
        read_certainty(entry.get("certainty")),
    )


def _read_time(value: Any) -> datetime | None:
    try:
        return parse_time(value)
    except ValueError:
        return None


def moves_between_elements(
    element_id: str,
    element_type: str | None,
    flows: Sequence[tuple[str | None, str | None]],
    elements: Container[str | None],
    definition: Definition | None,
) -> bool:
    """Tell a token that moved through several elements from one that was joined; see ``build_history``.

    ``flows`` has (from element, via flow) of each entry of its flow history; ``elements`` are those with tokens.
    """
    if len(flows) < 2:
        return False
    targets = {flow_target(via_flow, definition) for _, via_flow in flows}
    if None not in targets:
        return targets != {element_id}
    return not is_joining_gateway(element_type) and any(source not in elements for source, _ in flows[1:])


def flow_target(via_flow: str | None, definition: Definition | None) -> str | None:
    """Return the element that a flow leads to; None if the definition does not have the flow."""
    flow = None if definition is None or via_flow is None else definition.flows.get(via_flow)
    return None if flow is None else flow.target


def build_history(
    tokens: Iterable[Token | Visit], *, token_id: str | None = None, definition: Definition | None = None
) -> InstanceHistory:
    """Build the history of an instance, or of one token and its ancestors.

    A token with several flow history entries was either joined from several tokens or moved through several elements.
    The flows of the definition decide if it has them: a joined token took only flows to its own element. Otherwise a
    token was joined if it is at a gateway that may join, or there are tokens at all elements that it came from.

    ``tokens`` are all tokens of the instance, read once; visits need their flow histories.

    Raises:
        NotFoundError: no token has this id.
    """
    flow_columns = _FlowColumns()
    seen: set[str] = set()

    def rows() -> Iterator[TreeRow]:
        for token in tokens:
            hops, unreadable = read_flow_history(token)
            flow_columns.unreadable += unreadable
            if token.token_id not in seen:
                seen.add(token.token_id)
                flow_columns.add(hops)
            yield TreeRow.from_token(token)

    forest = build_forest(rows())
    nodes: set[int] | None = None
    if token_id is not None:
        if token_id not in seen:
            raise NotFoundError(f"no token '{token_id}' in this history.")
        nodes = _find_ancestors(forest, forest.ids.index(token_id))
    return InstanceHistory(forest, flow_columns, nodes, definition)


class _FlowColumns:
    """Flow histories in columns, one entry per hop; a token without hops has one empty entry."""

    def __init__(self) -> None:
        self.unreadable = 0
        self.recorded = bytearray()  # by node
        self.nodes = array("i")
        self.times = array("q")
        self._flows: list[tuple[str | None, str | None, Certainty]] = []  # from element, via flow
        self._flow_codes = array("i")
        self._codes: dict[tuple[str | None, str | None, Certainty], int] = {}

    def add(self, hops: list[FlowHop] | None) -> None:
        node = len(self.recorded)
        self.recorded.append(hops is not None)
        for hop in hops or (FlowHop(),):
            flow = (hop.from_element, hop.via_flow, hop.certainty)
            code = self._codes.setdefault(flow, len(self._codes))
            if code == len(self._flows):
                self._flows.append(flow)
            time = to_micros(hop.timestamp)
            self.nodes.append(node)
            self.times.append(NO_TIME if time is None else time)
            self._flow_codes.append(code)

    def flow(self, hop: int) -> tuple[str | None, str | None]:
        return self._flows[self._flow_codes[hop]][:2]

    def certainty(self, hop: int) -> Certainty:
        return self._flows[self._flow_codes[hop]][2]

    @property
    def certainties(self) -> set[Certainty]:
        """How certain the hops are."""
        return {certainty for _, _, certainty in self._flows}

    def hop_range(self, node: int) -> range:
        """Return the positions of the hops of a token."""
        return range(bisect_left(self.nodes, node), bisect_right(self.nodes, node))

    def is_first(self, hop: int) -> bool:
        return hop == 0 or self.nodes[hop - 1] != self.nodes[hop]

    def is_last(self, hop: int) -> bool:
        return hop + 1 == len(self.nodes) or self.nodes[hop + 1] != self.nodes[hop]


def _find_ancestors(forest: Forest, node: int) -> set[int]:
    """Return a token and its ancestors, those over joins included."""
    found, waiting = {node}, [node]
    while waiting:
        node = waiting.pop()
        new = [other for other in forest.all_parents(node) if other not in found]
        found.update(new)
        waiting.extend(new)
    return found


class InstanceHistory:
    """The hops of an instance, ordered by time; at the same time parents come first, and unknown times come last.

    ``hops()`` builds them one by one, each time it is called. ``unreadable`` is the number of unreadable flow history
    entries; ``anomalies`` are those of the links between tokens. ``forest`` is the tree of the tokens,
    ``flow_columns`` are their flow histories, and ``moved`` are the nodes of the tokens that moved through several
    elements.
    """

    def __init__(
        self, forest: Forest, flow_columns: _FlowColumns, nodes: set[int] | None, definition: Definition | None
    ) -> None:
        self.unreadable = flow_columns.unreadable
        self.anomalies = forest.anomalies
        self.forest, self.flow_columns, self._definition = forest, flow_columns, definition
        self._elements = {label[0]: label for label in forest.labels}
        self._ends = _ends(forest)
        self.moved = self._find_moved()
        self._nodes = nodes

    @cached_property
    def _order(self) -> array[int]:
        """The positions of the hops, ordered by time."""
        flow_columns, nodes, depths = self.flow_columns, self._nodes, self.forest.depths()
        hops = [hop for hop, node in enumerate(flow_columns.nodes) if nodes is None or node in nodes]
        hops.sort(key=lambda hop: depths[flow_columns.nodes[hop]])  # two sorts, because sorting pairs takes more memory
        hops.sort(key=self.arrival)
        return array("i", hops)

    def __len__(self) -> int:
        return len(self._order)

    @property
    def began_at(self) -> datetime | None:
        """The time of the first hop; None if no time is known."""
        return time_at(self.arrival(self._order[0])) if self._order else None

    def hops(self) -> Iterator[Hop]:
        """Return the hops in order."""
        return starmap(self.hop, enumerate(self._order, 1))

    def _find_moved(self) -> set[int]:
        """Return the nodes of tokens with several hops that moved through elements, and were not joined."""
        flow_columns, forest, moved = self.flow_columns, self.forest, set()
        begin = 0
        for hop, node in enumerate(flow_columns.nodes):
            if flow_columns.is_last(hop):
                if hop > begin:
                    flows = [flow_columns.flow(other) for other in range(begin, hop + 1)]
                    element_id, element_type = forest.element_id(node), forest.element_type(node)
                    if moves_between_elements(element_id, element_type, flows, self._elements, self._definition):
                        moved.add(node)
                begin = hop + 1
        return moved

    def arrival(self, hop: int) -> int:
        """Return the time of a hop (µs): the given one, or for the last hop of a token its creation."""
        flow_columns = self.flow_columns
        if flow_columns.times[hop] == NO_TIME and flow_columns.is_last(hop):
            return self.forest.created[flow_columns.nodes[hop]]
        return flow_columns.times[hop]

    def hop(self, sequence: int, hop: int) -> Hop:
        """Build one hop from its position in ``flow_columns``, with the given sequence number."""
        flow_columns, node = self.flow_columns, self.flow_columns.nodes[hop]
        row = self.forest.row(node)
        from_element, via_flow = flow_columns.flow(hop)
        is_last, moved = flow_columns.is_last(hop), node in self.moved
        element: tuple[str, str | None, str | None] = (row.element_id, row.element_type, row.element_name)
        if moved and not is_last:
            element = self._passed_element(hop)
        arrival, begin = self.arrival(hop), self._begin(hop)
        ms, duration_derived = self._duration(row, hop, moved=moved)
        return Hop(
            sequence=sequence,
            token_id=row.token_id,
            timestamp=time_at(arrival),
            timestamp_derived=arrival != flow_columns.times[hop],
            recorded=bool(flow_columns.recorded[node]),
            from_element=from_element,
            via_flow=via_flow,
            certainty=flow_columns.certainty(hop),
            element_id=element[0],
            element_type=element[1],
            element_name=element[2],
            state=row.state,
            wait_ms=self.wait_ms(hop),
            duration_ms=ms,
            duration_derived=duration_derived,
            began_at=time_at(begin),
            live=is_last and not is_final(row.state),
            passed=moved and not is_last,
        )

    def _passed_element(self, hop: int) -> tuple[str, str | None, str | None]:
        target = flow_target(self.flow_columns.flow(hop)[1], self._definition)
        element_id = target or self.flow_columns.flow(hop + 1)[0] or ""
        if self._definition is not None and (element := self._definition.elements.get(element_id)):
            return element_id, element.type, element.name
        known = self._elements.get(element_id)
        return (element_id, known[1], known[2]) if known else (element_id, None, None)

    def _duration(self, row: TreeRow, hop: int, *, moved: bool) -> tuple[float | None, bool]:
        is_last = self.flow_columns.is_last(hop)
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
        """Return when a token began at the element that a hop led to (µs)."""
        node, arrival = self.flow_columns.nodes[hop], self.arrival(hop)
        created = self.forest.created[node]
        if created == NO_TIME or node in self.moved or not self.flow_columns.is_last(hop):
            return arrival
        return created if arrival == NO_TIME else max(arrival, created)

    def wait_ms(self, hop: int) -> float | None:
        """Return the wait before a hop (by its position in ``flow_columns``); None if unknown. See ``Hop``."""
        node, begin = self.flow_columns.nodes[hop], self._begin(hop)
        if begin == NO_TIME or (node in self.moved and not self.flow_columns.is_first(hop)):
            return None
        ambiguous = self.flow_columns.certainty(hop) is Certainty.AMBIGUOUS  # the last visit there may be another one
        end = self._source_end(node, None if ambiguous else self.flow_columns.flow(hop)[0], begin)
        if end is None:
            end = self.arrival(hop)
            if end in {begin, NO_TIME}:
                return None
        return (begin - end) / 1000

    def _source_end(self, node: int, from_element: str | None, begin: int) -> int | None:
        """Return when the token that a hop came from ended (µs), which is not after ``begin``; None if unknown."""
        forest = self.forest
        known = [other for other in forest.all_parents(node) if from_element in {None, forest.element_id(other)}]
        ends = [end for other in known if (end := forest.finished_us(other)) is not None and end <= begin]
        if ends or known or from_element is None:
            return max(ends, default=None)
        ended = self._ends.get(from_element, array("q"))
        before = bisect_right(ended, begin)
        return ended[before - 1] if before else None


def _ends(forest: Forest) -> dict[str, array[int]]:
    """Return the ends of tokens (µs), sorted, by element id."""
    ends: dict[str, list[int]] = {}
    for node in range(forest.size):
        end = forest.finished_us(node)
        if end is not None:
            ends.setdefault(forest.element_id(node), []).append(end)
    return {element: array("q", sorted(times)) for element, times in ends.items()}
