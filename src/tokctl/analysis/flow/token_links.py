"""The tokens of an instance in time, and the predecessors of each token.

Rules:

- The predecessors of a token are its parent, the tokens that list it among their children, and, for a joined token
  and one without known links, the last token that ended at each element in its flow history. A token that began later
  is not a predecessor, and links that close a cycle are dropped.
- A predecessor that was open from before the token's begin until after its end released it by beginning, not by
  ending: it contains the token. Sub-processes do that, and tasks with a boundary event.
- What follows a sub-process follows the last tokens inside it.

Times are microseconds since 1970-01-01 UTC. Missing times are filled in where they follow from others (a token without
an end takes no time), and marked in ``unknown_begin`` and ``unknown_end``; a token without any time is left out. A
token that ends before it begins takes no time. Nothing is recursive. The critical path is in ``critical_path``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cached_property
from operator import gt

from tokctl.analysis.flow.intervals import MAX_DURATION_MS
from tokctl.model.element_types import CONTAINER_TYPES, canonical_type, is_joining_gateway
from tokctl.model.times import EPOCH, to_micros
from tokctl.model.tokens import Certainty
from tokctl.model.visits import Visit

NO_TOKEN = -1

_US = EPOCH.resolution


class TokenLinks:
    """The times and predecessors of the tokens of one instance. A token is identified by its index in ``visits``.

    ``begins`` and ``ends`` are 0 for the tokens in ``untimed``; a live token ends now. ``parents`` holds the first
    predecessor of each token, or NO_TOKEN; ``other_predecessors`` holds the others, for tokens with several.
    """

    def __init__(self, visits: Iterable[Visit], now: datetime) -> None:
        self.visits = visits if isinstance(visits, list) else list(visits)
        self.now = now
        self.live = [n for n, visit in enumerate(self.visits) if visit.live]
        """Tokens that have not ended. A FAILED one has not: it stays until it is retried or cancelled."""
        self.unknown_begin: set[int] = set()
        self.unknown_end: set[int] = set()
        self.untimed: set[int] = set()
        self.ends_before_begin = 0
        """The number of tokens that end before they begin."""
        self.impossible_links = 0
        """The number of links that were dropped: to a token that began later, or in a cycle."""
        self.begins, self.ends = self._compute_times()
        self._joins = {kind: is_joining_gateway(kind) for kind in {visit.element_type for visit in self.visits}}
        """Whether the gateways of each element type may join."""
        self.parents, self.other_predecessors = self._find_predecessors()
        self._drop_impossible_links()
        self.order = self._sort_topologically()
        """All tokens, each after its predecessors."""
        self.expanded: set[int] = set()
        """Sub-processes whose end is that of the tokens inside, which take their place as predecessors."""
        within = self._find_last_within()
        self.containers = within.keys()
        """Sub-processes that contain other tokens."""
        self._expand_sub_processes(within)

    def _compute_times(self) -> tuple[list[int], list[int]]:
        created = [visit.created_at for visit in self.visits]
        finished = [visit.completed_at or visit.cancelled_at or visit.updated_at for visit in self.visits]
        now = to_micros(self.now)
        for n in self.live:
            finished[n] = self.now
        begins = [(time - EPOCH) // _US for time in created if time is not None]
        ends = [(time - EPOCH) // _US for time in finished if time is not None]
        if len(begins) < len(created) or len(ends) < len(finished):
            begins, ends = self._estimate_missing_times(created, finished)
        for n in self.live:
            ends[n] = max(begins[n], now)
        if any(map(gt, begins, ends)):
            for n, (begin, end) in enumerate(zip(begins, ends, strict=True)):
                if begin > end:
                    self.ends_before_begin += 1
                    ends[n] = begin
        return begins, ends

    def _estimate_missing_times(
        self, created: list[datetime | None], finished: list[datetime | None]
    ) -> tuple[list[int], list[int]]:
        begins: list[int] = []
        ends: list[int] = []
        live = set(self.live)
        for n, visit in enumerate(self.visits):
            begin, end = to_micros(created[n]), to_micros(finished[n])
            took = visit.duration
            length = 0 if took is None or took.derived or not 0 <= took.ms < MAX_DURATION_MS else round(took.ms * 1000)
            if begin is None:
                self.unknown_begin.add(n)
                arrivals = [time for hop in visit.hops if (time := to_micros(hop.timestamp)) is not None]
                if arrivals:
                    begin = max(arrivals)
                elif end is not None and n not in live:
                    begin = end - length
            if end is None:
                self.unknown_end.add(n)
                end = None if begin is None else begin + length
            if begin is None or end is None:
                self.untimed.add(n)
                begin = end = 0
            begins.append(begin)
            ends.append(end)
        return begins, ends

    def _find_predecessors(self) -> tuple[list[int], dict[int, list[int]]]:
        visits = self.visits
        index = {visit.token_id: n for n, visit in enumerate(visits)}
        find = index.get
        parents = [find(visit.parent_token_id, NO_TOKEN) for visit in visits]
        other_predecessors: dict[int, list[int]] = {}
        for n, visit in enumerate(visits):
            for child_id in visit.child_tokens or ():
                child = find(child_id)
                if child is not None and parents[child] != n:
                    other_predecessors.setdefault(child, []).append(n)
        joins = self._joins
        unsure = [
            n
            for n, visit in enumerate(visits)
            if (parents[n] < 0 and n not in other_predecessors)
            or (joins[visit.element_type] and bytes(visit.flow_history).count(b"{") > 1)
        ]
        self._add_from_flow_history(unsure, parents, other_predecessors)
        return parents, other_predecessors

    def _add_from_flow_history(
        self, unsure: list[int], parents: list[int], other_predecessors: dict[int, list[int]]
    ) -> None:
        """Add the last token that ended at each element of a flow history, if no link leads to that element."""
        visits = self.visits
        elements = {visit.element_id for visit in visits}
        ended: dict[str, list[tuple[int, int]]] | None = None
        for n in unsure:
            named = {hop.from_element for hop in visits[n].hops if hop.certainty is not Certainty.AMBIGUOUS}
            sources = elements & named
            if not sources or n in self.untimed:
                continue
            known = [parents[n], *other_predecessors.get(n, ())]
            sources -= {visits[other].element_id for other in known if other >= 0}
            if sources and ended is None:
                ended = {}
                for other, visit in enumerate(visits):
                    if other not in self.untimed and not visit.live:
                        ended.setdefault(visit.element_id, []).append((self.ends[other], other))
                for list_ in ended.values():
                    list_.sort()
            for source in sources:
                there = (ended or {}).get(source, [])
                place = bisect_right(there, self.begins[n], key=lambda pair: pair[0])
                if place and there[place - 1][1] != n:
                    other_predecessors.setdefault(n, []).append(there[place - 1][1])

    def _drop_impossible_links(self) -> None:
        """Drop predecessors that began later than the token, and links from or to tokens without times."""
        parents, other_predecessors, begins, untimed = self.parents, self.other_predecessors, self.begins, self.untimed
        for n, parent in enumerate(parents):
            if parent >= 0 and (begins[parent] > begins[n] or parent == n or (untimed and {n, parent} & untimed)):
                parents[n] = NO_TOKEN
                self.impossible_links += 1
        for n, others in list(other_predecessors.items()):
            kept = [o for o in dict.fromkeys(others) if o != n and begins[o] <= begins[n] and not {n, o} & untimed]
            self.impossible_links += len(others) - len(kept)
            self._set_predecessors(n, ([] if parents[n] < 0 else [parents[n]]) + kept)

    def _set_predecessors(self, n: int, before: list[int]) -> None:
        """Replace the predecessors of a token."""
        self.parents[n] = before[0] if before else NO_TOKEN
        if len(before) > 1:
            self.other_predecessors[n] = before[1:]
        else:
            self.other_predecessors.pop(n, None)

    def _sort_topologically(self) -> Sequence[int]:
        """Return the tokens, each after its predecessors; drop the links that close a cycle.

        Kahn's algorithm (1962). Tokens in or after a cycle are appended in the order in which they began.
        """
        size = len(self.parents)
        if all(map(gt, range(size), self.parents)) and all(
            max(others) < n for n, others in self.other_predecessors.items()
        ):
            return range(size)
        followers: dict[int, list[int]] = {}
        missing = [0] * size
        for n in range(size):
            for other in self.predecessors(n):
                followers.setdefault(other, []).append(n)
                missing[n] += 1
        order = [n for n in range(size) if not missing[n]]
        for n in order:  # grows while it is read
            for follower in followers.get(n, ()):
                missing[follower] -= 1
                if not missing[follower]:
                    order.append(follower)
        if len(order) < size:  # the rest is in cycles, or comes after one
            order += sorted(
                (n for n in range(size) if missing[n]), key=lambda n: (self.begins[n], self.visits[n].token_id)
            )
            place = {n: number for number, n in enumerate(order)}
            for n in range(size):
                before = self.predecessors(n)
                kept = [other for other in before if place[other] < place[n]]
                if len(kept) < len(before):
                    self.impossible_links += len(before) - len(kept)
                    self._set_predecessors(n, kept)
        return order

    def predecessors(self, n: int) -> list[int]:
        """Return the predecessors of a token."""
        parent = self.parents[n]
        return [*(() if parent < 0 else (parent,)), *self.other_predecessors.get(n, ())]

    def contains(self, other: int, n: int) -> bool:
        """Tell whether a predecessor released a token by beginning rather than by ending."""
        end = self.ends[other]
        return end > self.begins[n] and end >= self.ends[n]

    def _find_last_within(self) -> dict[int, list[int]]:
        """Return the last tokens inside each sub-process: those without successors inside it. Sets ``expanded``."""
        kinds = {kind for kind in self._joins if kind is not None and canonical_type(kind) in CONTAINER_TYPES}
        holders = {n for n, visit in enumerate(self.visits) if visit.element_type in kinds} if kinds else set()
        if not holders:
            return {}
        scope = [NO_TOKEN] * len(self.visits)
        followed = bytearray(len(self.visits))
        for n in self.order:
            for other in self.predecessors(n):
                if self.contains(other, n):
                    if other in holders:
                        scope[n] = other
                else:
                    followed[other] = 1
                    if scope[n] < 0:
                        scope[n] = scope[other]
        within: dict[int, list[int]] = {holder: [] for holder in scope if holder >= 0}
        for n, holder in enumerate(scope):
            if holder >= 0 and not followed[n] and self.ends[n] <= self.ends[holder]:
                within[holder].append(n)
        # A sub-process that outlasted all tokens inside and has no successors counts as a token of its own.
        self.expanded = {
            holder
            for holder, last in within.items()
            if last and (followed[holder] or self.ends[holder] == max(self.ends[n] for n in last))
        }
        return within

    def _expand_sub_processes(self, within: dict[int, list[int]]) -> None:
        """Replace expanded sub-processes as predecessors by the last tokens inside them."""
        expanded = self.expanded
        for n in range(len(self.visits)) if expanded else ():
            before = self.predecessors(n)
            if not any(other in expanded and not self.contains(other, n) for other in before):
                continue
            found: list[int] = []
            while before:
                other = before.pop()
                if other in expanded and not self.contains(other, n):
                    before += within[other]
                elif other not in found:
                    found.append(other)
            self._set_predecessors(n, sorted(found))

    @cached_property
    def began_us(self) -> int | None:
        """When the first token began; None if no time is known."""
        return min((begin for n, begin in enumerate(self.begins) if n not in self.untimed), default=None)
