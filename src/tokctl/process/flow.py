"""How an instance flowed: what led to what, which chain of tokens decided the end, what ran beside it.

The critical path is that of the critical path method (Kelley and Walker, 1959), read from what happened
instead of from a plan. Each token is a piece of work from its begin to its end. It began once the last of
its predecessors had ended, and whatever lay between is its lag: it is taken to be as long however late that
was. From this follows, for each token, its slack: how much later it could have ended, everything else taking
as long as it did, without the whole ending later. The path is walked backwards from the token that ended
last, over the predecessor that ended last, so that nothing on it has slack.

What counts as what:

- Predecessors are the parent, the tokens that list a token among their children, and, at a join or where no
  link is known, the last token to end at each element that the flow history names. One that began later than
  the token itself is none, nor is a link that closes a circle.
- A token that was open from before the token's begin until after its end did not release it by ending, but by
  beginning (a sub-process does that, or a task with a boundary event).
- What follows a sub-process was released by the last of the tokens within.
- A token that waits at a join has arrived when it begins: the rest is not its own time, but its slack.
- The whole ends with the last token, or now, while one is live: the path then ends with the token that has
  been live for longest, and slack is how it stands now. What is live itself has none that anybody knows,
  nor has what FAILED and led nowhere.

Times are microseconds since 1970-01-01 UTC. What a source does not say is filled in where it follows from the
rest (a token without an end takes no time) and marked in ``unknown_begin`` and ``unknown_end``; a token without
any time at all takes no part. One that ends before it begins takes no time. Nothing recurses.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import cached_property
from operator import gt
from typing import cast

from msgspec import Struct

from tokctl.process.model import COMPLETED, EPOCH, FAILED, FINAL_STATES, Duration, canonical_type, to_micros
from tokctl.process.spans import Bottleneck, Peak, Stretch, bottlenecks, max_concurrency, parallel_stretches, stretches
from tokctl.process.tree import waits_for_several
from tokctl.process.visit import Visit

_US = EPOCH.resolution
_HOLDS_OTHERS = frozenset({"subProcess", "transaction", "adHocSubProcess", "callActivity"})
NOBODY = -1


class Step(Struct, frozen=True, gc=False):
    """A token of the critical path, how long the path waited before it, and how long it took of it (µs)."""

    node: int
    wait_us: int
    took_us: int


class BreakOff(Struct, frozen=True):
    """Where the critical path cannot be followed further back, and why not."""

    token_id: str
    reason: str


class Flow:
    """The flow of one instance's tokens. A token is known by its number: its place in ``visits``.

    ``begins`` and ``ends`` hold 0 for the tokens in ``untimed``; a live token ends now. ``parents`` has
    NOBODY where none is known; ``further`` has the other predecessors of a token that was joined.
    """

    def __init__(self, visits: Iterable[Visit], now: datetime) -> None:
        self.visits = visits if isinstance(visits, list) else list(visits)
        self.now = now
        self.live = [n for n, visit in enumerate(self.visits) if visit.state not in FINAL_STATES]
        self.unknown_begin: set[int] = set()
        self.unknown_end: set[int] = set()
        self.untimed: set[int] = set()
        self.backwards = 0
        """How many tokens end before they begin."""
        self.dropped = 0
        """How many links say that a token came from one that began later, or go in a circle."""
        self.early: set[int] = set()
        """Tokens that wait at a join, or did."""
        self.begins, self.ends = self._times()
        self._joins = {kind: waits_for_several(kind) for kind in {visit.element_type for visit in self.visits}}
        self.parents, self.further = self._predecessors()
        self._drop_impossible()
        self.order = self._in_order()
        self.opened: set[int] = set()
        """Sub-processes that are what happens within."""
        within = self._within()
        self.containers = within.keys()
        """Sub-processes that hold other tokens."""
        self._open(within)
        self.released = self._releases()
        self.slack = self._slacks()

    # --- times ---

    def _times(self) -> tuple[list[int], list[int]]:
        created = [visit.created_at for visit in self.visits]
        finished = [visit.completed_at or visit.cancelled_at or visit.updated_at for visit in self.visits]
        now = cast("int", to_micros(self.now))
        for n in self.live:
            finished[n] = self.now
        if None not in created and None not in finished:
            begins = [(time - EPOCH) // _US for time in created]  # type: ignore[operator]
            ends = [(time - EPOCH) // _US for time in finished]  # type: ignore[operator]
        else:
            begins, ends = self._fill_in(created, finished)
        for n in self.live:
            ends[n] = max(begins[n], now)
        if any(map(gt, begins, ends)):
            for n, (begin, end) in enumerate(zip(begins, ends, strict=True)):
                if begin > end:
                    self.backwards += 1
                    ends[n] = begin
        return begins, ends

    def _fill_in(self, created: list[datetime | None], finished: list[datetime | None]) -> tuple[list[int], list[int]]:
        begins, ends = [], []
        live = set(self.live)
        for n, visit in enumerate(self.visits):
            begin, end = to_micros(created[n]), to_micros(finished[n])
            took = visit.duration
            length = 0 if took is None or took.derived or not 0 <= took.ms < 1e15 else round(took.ms * 1000)
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
            if begin is None:
                self.untimed.add(n)
                begin = end = 0
            begins.append(begin)
            ends.append(cast("int", end))
        return begins, ends

    # --- what led to what ---

    def _predecessors(self) -> tuple[list[int], dict[int, list[int]]]:
        visits = self.visits
        index = {visit.token_id: n for n, visit in enumerate(visits)}
        find = index.get
        parents = [find(visit.parent_token_id, NOBODY) for visit in visits]
        further: dict[int, list[int]] = {}
        for n, visit in enumerate(visits):
            if visit.child_tokens:
                for child_id in visit.child_tokens:
                    child = find(child_id)
                    if child is not None and parents[child] != n:
                        further.setdefault(child, []).append(n)
        joins = self._joins
        unsure = [
            n
            for n, visit in enumerate(visits)
            if (parents[n] < 0 and n not in further)
            or (joins[visit.element_type] and bytes(visit.flow_history).count(b"{") > 1)
        ]
        self._by_history(unsure, parents, further)
        return parents, further

    def _by_history(self, unsure: list[int], parents: list[int], further: dict[int, list[int]]) -> None:
        """Add the last token to end at each element that a flow history names and no link does."""
        visits = self.visits
        elements = {visit.element_id for visit in visits}
        ended: dict[str, list[tuple[int, int]]] | None = None
        for n in unsure:
            sources = {hop.from_element for hop in visits[n].hops if hop.from_element in elements}
            if not sources or n in self.untimed:
                continue
            known = [*([parents[n]] if parents[n] >= 0 else ()), *further.get(n, ())]
            sources -= {visits[other].element_id for other in known}
            if sources and ended is None:
                ended = {}
                for other, visit in enumerate(visits):
                    if other not in self.untimed and visit.state in FINAL_STATES:
                        ended.setdefault(visit.element_id, []).append((self.ends[other], other))
                for list_ in ended.values():
                    list_.sort()
            for source in sources:
                there = (ended or {}).get(cast("str", source), [])
                place = bisect_right(there, self.begins[n], key=lambda pair: pair[0])
                if place and there[place - 1][1] != n:
                    further.setdefault(n, []).append(there[place - 1][1])

    def _drop_impossible(self) -> None:
        """Let go of predecessors that began later than what came from them, and of what has no time."""
        parents, further, begins, untimed = self.parents, self.further, self.begins, self.untimed
        for n, parent in enumerate(parents):
            if parent >= 0 and (begins[parent] > begins[n] or parent == n or (untimed and {n, parent} & untimed)):
                parents[n] = NOBODY
                self.dropped += 1
        for n, others in list(further.items()):
            kept = [o for o in dict.fromkeys(others) if o != n and begins[o] <= begins[n] and not {n, o} & untimed]
            self.dropped += len(others) - len(kept)
            self._set(n, ([] if parents[n] < 0 else [parents[n]]) + kept)

    def _set(self, n: int, before: list[int]) -> None:
        """Say what led to a token."""
        self.parents[n] = before[0] if before else NOBODY
        if len(before) > 1:
            self.further[n] = before[1:]
        else:
            self.further.pop(n, None)

    def _in_order(self) -> Sequence[int]:
        """Return the tokens in an order in which each comes after what led to it, without the links that forbid it."""
        size = len(self.parents)
        if all(map(gt, range(size), self.parents)) and all(max(others) < n for n, others in self.further.items()):
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
        if len(order) < size:  # what is left goes in circles, or came from one
            order += sorted((n for n in range(size) if missing[n]), key=lambda n: (self.begins[n], self._id(n)))
            place = {n: number for number, n in enumerate(order)}
            for n in range(size):
                before = self.predecessors(n)
                kept = [other for other in before if place[other] < place[n]]
                if len(kept) < len(before):
                    self.dropped += len(before) - len(kept)
                    self._set(n, kept)
        return order

    def _id(self, n: int) -> str:
        return self.visits[n].token_id

    def predecessors(self, n: int) -> list[int]:
        """The tokens that led to a token."""
        parent = self.parents[n]
        found = [] if parent < 0 else [parent]
        return found + self.further[n] if n in self.further else found

    def contains(self, other: int, n: int) -> bool:
        """Whether a predecessor released a token by beginning rather than by ending."""
        end = self.ends[other]
        return end > self.begins[n] and end >= self.ends[n]

    def _within(self) -> dict[int, list[int]]:
        """Return the last tokens within each sub-process that has any."""
        kinds = {kind for kind in self._joins if kind is not None and canonical_type(kind) in _HOLDS_OTHERS}
        holders = {n for n, visit in enumerate(self.visits) if visit.element_type in kinds} if kinds else set()
        if not holders:
            return {}
        scope = [NOBODY] * len(self.visits)
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
        # One that outlasted all within and led nowhere, or is live while nothing within is, stands for itself.
        self.opened = {
            holder
            for holder, last in within.items()
            if last and (followed[holder] or self.ends[holder] == max(self.ends[n] for n in last))
        }
        return within

    def _open(self, within: dict[int, list[int]]) -> None:
        """Let what follows a sub-process follow the last tokens within."""
        opened = self.opened
        for n in range(len(self.visits)) if opened else ():
            before = self.predecessors(n)
            if not any(other in opened and not self.contains(other, n) for other in before):
                continue
            found: list[int] = []
            while before:
                other = before.pop()
                if other in opened and not self.contains(other, n):
                    before += within[other]
                elif other not in found:
                    found.append(other)
            self._set(n, sorted(found))

    def _releases(self) -> list[int]:
        """Return when each token released what follows it: at its end, as a rule."""
        released = self.ends[:]
        visits, joins = self.visits, self._joins
        if any(joins.values()):
            for n, others in self.further.items():
                waiting = [other for other in (self.parents[n], *others) if joins[visits[other].element_type]]
                there = Counter(visits[other].element_id for other in waiting)
                there[visits[n].element_id] += 1
                self.early.update(other for other in waiting if there[visits[other].element_id] > 1)
            # One that never got through has waited, too.
            self.early.update(n for n, v in enumerate(visits) if v.state != COMPLETED and joins[v.element_type])
        for n in self.early | self.opened:
            released[n] = self.begins[n]
        return released

    def _binding(self, n: int, before: list[int]) -> list[int]:
        """Those of a token's predecessors that released it by ending."""
        opened = self.opened
        return [o for o in before if o in opened or o in self.early or not self.contains(o, n)]

    def driver(self, n: int) -> int:
        """Return the predecessor that decided when a token began; NOBODY where none is known."""
        if n not in self.further:
            return self.parents[n]
        before = self.predecessors(n)
        binding = self._binding(n, before)
        times = self.released if binding else self.begins
        return max(binding or before, key=lambda o: (times[o], self.begins[o], self.visits[o].token_id))

    # --- slack ---

    def _slacks(self) -> list[int]:
        """Return every token's slack; finds out with which token the whole ends (NOBODY for none), and when."""
        begins, ends, released, parents, further = self.begins, self.ends, self.released, self.parents, self.further
        followed = bytearray(len(begins) + 1)
        for parent in parents:
            followed[parent] = 1  # NOBODY marks the one at the end
        for others in further.values():
            for other in others:
                followed[other] = 1
        self.followed = followed
        self.last_end, self.last = last_end, _ = self._end(followed)
        slack = [last_end - time for time in released]
        held: dict[int, int] = {}  # by how much a token may begin later, where that is less
        special = self.opened | self.early
        for n in reversed(self.order):
            room = slack[n]
            if n in held:
                room = min(room, held[n])
            parent = parents[n]
            if parent < 0:
                continue
            if n not in further:
                end = ends[parent]
                if end > begins[n] and end >= ends[n] and parent not in special:  # it did not release it by ending
                    held[parent] = min(room, held.get(parent, room))
                elif room < slack[parent]:
                    slack[parent] = room
                continue
            before = [parent, *further[n]]
            binding = self._binding(n, before)
            if binding:
                release = max([released[o] for o in binding])
                for other in binding:
                    slack[other] = min(slack[other], release - released[other] + room)
            else:
                other = self.driver(n)
                held[other] = min(room, held.get(other, room))
        return slack

    def _end(self, followed: bytearray) -> tuple[int, int]:
        visits, begins, ends, untimed = self.visits, self.begins, self.ends, self.untimed
        timed = [n for n in range(len(visits)) if n not in untimed] if untimed else range(len(visits))
        if not timed:
            return 0, NOBODY
        final = max([ends[n] for n in timed])
        live = [n for n in self.live if n not in untimed and n not in self.opened]
        if working := [n for n in live if n not in self.early] or live:
            return final, min(working, key=lambda n: (begins[n], visits[n].token_id))
        candidates = [n for n in timed if ends[n] == final and n not in self.opened and n not in self.early]
        candidates = candidates or [n for n in timed if ends[n] == final]
        return final, max(candidates, key=lambda n: (not followed[n], begins[n], visits[n].token_id))

    def slack_us(self, n: int) -> int | None:
        """How much later a token could have ended without delaying the whole; None where nobody knows."""
        visit = self.visits[n]
        if n in self.untimed or (visit.live and n not in self.early):
            return None
        if visit.state == FAILED and self.live and not self.followed[n]:  # what is live may wait for it
            return None
        return self.slack[n]

    # --- the critical path ---

    @cached_property
    def critical(self) -> list[Step]:
        """The tokens of the critical path, first to last.

        Waits and times taken add up to the time from the first one's begin to the end.
        """
        steps: list[Step] = []
        begins, ends = self.begins, self.ends
        n = self.last
        until = self.ends[n] if n >= 0 else 0
        while n >= 0:
            before = self.driver(n)
            end = min(ends[n], until)
            begin = begins[n]
            wait = 0 if before < 0 else max(0, begin - ends[before])
            steps.append(Step(n, wait, end - begin))
            n, until = before, begin
        steps.reverse()
        return steps

    @cached_property
    def on_path(self) -> set[int]:
        """The tokens of the critical path."""
        return {step.node for step in self.critical}

    @cached_property
    def break_off(self) -> BreakOff | None:
        """Where the critical path breaks off; None where it goes back to a token that came from nowhere."""
        if not self.critical:
            return None
        n = self.critical[0].node
        visit = self.visits[n]
        if visit.parent_token_id is not None:
            known = next((other for other in self.visits if other.token_id == visit.parent_token_id), None)
            if known is None:
                reason = f"its parent {visit.parent_token_id} is not known"
            elif known.token_id == visit.token_id:
                reason = "it names itself as its parent"
            else:
                reason = f"its parent {visit.parent_token_id} began later, has no times, or came from it in turn"
            return BreakOff(visit.token_id, reason)
        sources = [hop.from_element for hop in visit.hops if hop.from_element is not None]
        if sources:
            return BreakOff(visit.token_id, f"it came from {sources[-1]}, where no token is known to have ended before")
        first = min(self.begins[other] for other in range(len(self.visits)) if other not in self.untimed)
        if self.begins[n] > first and visit.element_type not in {"startEvent", None}:
            return BreakOff(visit.token_id, "nothing says where it came from")
        return None

    # --- what else there is to say ---

    @cached_property
    def began_us(self) -> int | None:
        """When the first token began; None where no time is known."""
        if not self.untimed:
            return min(self.begins, default=None)
        return min((begin for n, begin in enumerate(self.begins) if n not in self.untimed), default=None)

    @property
    def elapsed_us(self) -> int:
        """The time from the first begin to the end, or until now."""
        return 0 if self.began_us is None else self.last_end - self.began_us

    @cached_property
    def completed(self) -> list[int]:
        """The tokens that are COMPLETED, in the order in which they were; unknown times come last."""
        found = [n for n, visit in enumerate(self.visits) if visit.state == COMPLETED]
        lost = self.unknown_end
        ends = self.ends
        if lost:
            return sorted(found, key=lambda n: (n in lost, ends[n]))
        return sorted(found, key=ends.__getitem__)

    @cached_property
    def by_begin(self) -> list[int]:
        """All tokens in the order in which they began; those without any time come last."""
        if self.untimed:
            return sorted(range(len(self.visits)), key=lambda n: (n in self.untimed, self.begins[n]))
        return sorted(range(len(self.visits)), key=self.begins.__getitem__)

    @cached_property
    def peak(self) -> Peak:
        """The greatest number of tokens open at once, a sub-process not counted beside those within."""
        if not self.parallel:
            return max_concurrency(self._spans(self._counted))
        most = max(self.parallel, key=lambda stretch: stretch.most)
        return Peak(most.most, most.peak_begin, most.peak_end)

    @cached_property
    def parallel(self) -> list[Stretch]:
        """The stretches in which two tokens or more were open; members by their numbers."""
        nodes = self._counted
        if len(nodes) == len(self.visits):
            return stretches(self.begins, self.ends)
        found = parallel_stretches(self._spans(nodes))
        for stretch in found:
            for place, member in enumerate(stretch.members):
                stretch.members[place] = nodes[member]
        return found

    @property
    def _counted(self) -> Sequence[int]:
        """Which tokens count where several run at once: not what only holds others."""
        left_out = self.containers | self.untimed
        return [n for n in range(len(self.visits)) if n not in left_out] if left_out else range(len(self.visits))

    def _spans(self, nodes: Iterable[int]) -> list[tuple[int, int]]:
        return [(self.begins[n], self.ends[n]) for n in nodes]

    def took(self, n: int) -> Duration | None:
        """How long a token took, given or derived; until now for a live one; None where nobody knows."""
        visit = self.visits[n]
        if visit.live:
            return None if n in self.untimed else Duration((self.ends[n] - self.begins[n]) / 1000, derived=False)
        return visit.duration

    @cached_property
    def bottlenecks(self) -> list[Bottleneck[str]]:
        """What tokens spent at each element (by id), the most first; live ones until now.

        The share is of all that was spent. Waiting at a join is no element's own time, and the time of
        a sub-process is that of what happens within.
        """
        return bottlenecks(self._spent())

    def _spent(self) -> Iterator[tuple[str, float]]:
        left_out = self.containers | self.early | self.untimed
        begins, ends = self.begins, self.ends
        for n, visit in enumerate(self.visits):
            if n in left_out:
                continue
            given = visit.context.duration_ms
            if given is None or not 0 <= given < 1e15 or visit.state not in FINAL_STATES:
                given = (ends[n] - begins[n]) / 1000
            yield visit.element_id, given

    @cached_property
    def critical_by_element(self) -> dict[str, int]:
        """The time that each element took of the critical path, waits before it not counted (µs)."""
        found: dict[str, int] = {}
        for step in self.critical:
            element = self.visits[step.node].element_id
            found[element] = found.get(element, 0) + step.took_us
        return found
