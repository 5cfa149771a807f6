"""The timeline of an instance, event by event: the documented ``execution_timeline``.

Events are derived from the data of the tokens:

- TOKEN_CREATED, once for every token, at its ``created_at``;
- TOKEN_MOVED, for every entry of its flow history with a source element or a flow;
- TOKEN_ACTIVATED, when the work began, if that was after the token's creation. It is not recorded, so there is such an
  event only for a token that has ended, and whose given ``duration_ms`` is shorter than its lifetime: at its end minus
  the duration, marked as derived. Durations are rounded to a millisecond, so smaller differences do not count;
- GATEWAY_EVALUATED, for a token with a gateway decision, at its end, which is when a gateway decides (derived);
- TOKEN_COMPLETED, TOKEN_CANCELLED, TOKEN_FAILED (an addition of tokctl), once for every token that has ended, at its
  end; derived if that is known from ``updated_at`` only;
- TOKEN_SPLIT, if a token has several children in the tree: one event of the parent for each child, at its creation.

For a token that moved through several elements, TOKEN_CREATED is at the first one, and each TOKEN_MOVED has the
duration of the stay at its target. The JSON is built in ``report``.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from msgspec import Raw, Struct

from tokctl.analysis.history import Hop, InstanceHistory
from tokctl.analysis.tree.forest import NO_TIME, time_at, top_down
from tokctl.model.states import CANCELLED, COMPLETED, FAILED
from tokctl.model.times import to_micros
from tokctl.model.tokens import NULL, Certainty, GatewayDecision, Token
from tokctl.model.visits import Visit

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
"""The actions by their codes: the order of the events of one token at the same time."""

_ROUNDING_US = 1000  # microseconds
_END_ACTIONS = {COMPLETED: ENDED_COMPLETED, CANCELLED: ENDED_CANCELLED, FAILED: ENDED_FAILED}


class TraceEvent(Struct, frozen=True, gc=False):
    """An event of a token. The fields after ``duration_derived`` apply to some actions only.

    ``duration_ms`` is the duration of what ended, or of the stay at the element that a token moved to. ``variables`` is
    NULL unless they were requested and are known.
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
    certainty: Certainty = Certainty.RECORDED
    wait_ms: float | None = None
    parent_token_id: str | None = None
    child_token_id: str | None = None
    decision: GatewayDecision | None = None

    @property
    def name(self) -> str:
        """The name of the element, or its id if it has none."""
        return self.element_name or self.element_id


class TokenNotes:
    """Data of tokens that neither tree nor history has, but the timeline needs; by token, in the given order.

    If a token occurs twice, the first one counts.
    """

    def __init__(self, *, variables: bool) -> None:
        self.derived_ends = bytearray()  # 1 if the end is known from updated_at only
        self.decisions: dict[int, GatewayDecision] = {}
        self.variables: list[Raw] | None = [] if variables else None

    def record_from(self, tokens: Iterable[Token | Visit]) -> Iterator[Token | Visit]:
        """Record tokens while passing them on."""
        seen: set[str] = set()
        for token in tokens:
            if token.token_id not in seen:
                seen.add(token.token_id)
                self._record(token)
            yield token

    def _record(self, token: Token | Visit) -> None:
        decision = token.context.gateway_decision
        if decision is not None:
            self.decisions[len(self.derived_ends)] = decision
        self.derived_ends.append(token.completed_at is None and token.cancelled_at is None)
        if self.variables is not None:
            self.variables.append(token.variables if isinstance(token, Token) else NULL)


class Timeline:
    """The events of an instance, ordered by time; unknown times come last.

    At the same time, the events of a parent come before those of its children, and the events of one token are in the
    order of the lifecycle. Events are numbered from 1 in the whole timeline. They are held in columns; ``events``
    builds them on demand.
    """

    def __init__(self, history: InstanceHistory, notes: TokenNotes) -> None:
        self._history, self._notes = history, notes
        self._starts = _starts(history)
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
        """The time of the first event; None if no time is known."""
        return time_at(self._times[0]) if self._times else None

    def part(self, since: datetime | None, until: datetime | None) -> range:
        """Return the positions of the events at or after ``since`` and before ``until``.

        An event without a known time is in no period.
        """
        if since is None and until is None:
            return range(len(self))
        begin = 0 if since is None else bisect_left(self._times, to_micros(since) or 0)
        end = bisect_left(self._times, NO_TIME if until is None else to_micros(until) or 0)
        return range(begin, max(begin, end))

    def events(self, part: range) -> Iterator[TraceEvent]:
        """Yield the events at some positions."""
        last, time = NO_TIME, None
        for position in part:
            if self._times[position] != last:  # usually several events have the same time
                last = self._times[position]
                time = time_at(last)
            code = self._codes[position]
            yield self._build_event(position + 1, time, code & 7, code >> 3)

    def _collect(self) -> tuple[array[int], array[int]]:
        """Return the times and the codes of all events, parents before children.

        A code is the action in the lowest three bits, and above it the node: the child for a split, the hop for a move.
        """
        history, forest, notes = self._history, self._history.forest, self._notes
        flow, arrival, starts = history.flow_columns.flow, history.arrival, self._starts
        created, finished, durations, parents = forest.created, forest.finished, forest.durations, forest.parents
        below, size = forest.children.starts, forest.size
        ends = [_END_ACTIONS.get(label[3], 0) for label in forest.labels]
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
            if NO_TIME not in {begin, end} and 0 <= (took := durations[node] * 1000) <= end - begin - _ROUNDING_US:
                times.append(end - round(took))
                codes.append(code | ACTIVATED)
            if node in notes.decisions:
                times.append(end)
                codes.append(code | EVALUATED)
            if ended := ends[forest.label_codes[node]]:
                times.append(end)
                codes.append(code | ended)
        return times, codes

    def _build_event(self, sequence: int, time: datetime | None, kind: int, number: int) -> TraceEvent:
        """Build an event from the two parts of its code."""
        history, forest, notes = self._history, self._history.forest, self._notes
        node, hop = number, None
        more: dict[str, Any]
        if kind == SPLIT:
            node, more = forest.parents[number], {"child_token_id": forest.ids[number]}
        elif kind == CREATED:
            hop = history.hop(0, self._starts[node]) if node in history.moved else None
            more = {"parent_token_id": forest.parent_id(node)}
        elif kind == MOVED:
            node = history.flow_columns.nodes[number]
            hop = history.hop(0, number) if node in history.moved else None
            more = self._describe_move(number, hop, time)
        elif kind == ACTIVATED:
            more = {"timestamp_derived": True}
        elif kind == EVALUATED:
            decision = notes.decisions[node]
            more = {"duration_ms": decision.evaluation_time_ms, "decision": decision}
            more["timestamp_derived"] = time is not None
        else:
            took = forest.duration_ms(node)
            more = {"duration_ms": took, "duration_derived": took is not None and forest.durations[node] != took}
            more["timestamp_derived"] = time is not None and notes.derived_ends[node] == 1
        label = forest.labels[forest.label_codes[node]]
        element_id, element_type, element_name = (
            label[:3] if hop is None else (hop.element_id, hop.element_type, hop.element_name)
        )
        return TraceEvent(
            sequence,
            time,
            ACTIONS[kind],
            forest.ids[node],
            NULL if notes.variables is None else notes.variables[node],
            element_id,
            element_type,
            element_name,
            **more,
        )

    def _describe_move(self, number: int, hop: Hop | None, time: datetime | None) -> dict[str, Any]:
        """Return the fields of a move; ``hop`` is that of a token that moved through several elements."""
        flow_columns = self._history.flow_columns
        from_element, via_flow = flow_columns.flow(number)
        passed = hop is not None and hop.passed
        return {
            "timestamp_derived": time is not None and flow_columns.times[number] == NO_TIME,
            "duration_ms": hop.duration_ms if hop is not None and passed else None,
            "duration_derived": hop is not None and passed and hop.duration_derived,
            "from_element": from_element,
            "via_flow": via_flow,
            "certainty": flow_columns.certainty(number),
            "wait_ms": self._history.wait_ms(number),
        }


def _starts(history: InstanceHistory) -> array[int]:
    """Return the position of the first hop of each token, and at the end the number of hops."""
    nodes = history.flow_columns.nodes
    starts = array("i", (hop for hop in range(len(nodes)) if history.flow_columns.is_first(hop)))
    starts.append(len(nodes))
    return starts
