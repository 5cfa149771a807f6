"""The critical path of an instance: which chain of tokens determined when it ended, and what ran beside it.

This is the critical path method (J. E. Kelley and M. R. Walker, "Critical-Path Planning and Scheduling", 1959), applied
to what happened instead of to a plan. Each token is an activity from its begin to its end. It began once the last of
its predecessors (see ``token_links``) had released it, and the time in between is its lag: it is assumed to stay the
same however late that is. From this follows the slack of each token: how much later it could have ended without the
instance ending later, everything else taking as long as it did. The path is walked backwards from the token that ended
last, each time to the predecessor that released the token last, so no token on it has slack.

- A token that waits at a join has arrived when it begins: the rest is its slack, not its own time.
- The instance ends with the last token, or now while one is live: then the path ends with the token that has been live
  for longest, and slack is the current slack. The slack of a live token is unknown. A FAILED token is live, because it
  stays at its element until it is retried or cancelled.

Times are microseconds since 1970-01-01 UTC.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cached_property

from msgspec import Struct

from tokctl.analysis.flow.intervals import (
    ConcurrencyPeak,
    ParallelPeriod,
    TimeSpent,
    choose_duration,
    find_parallel_periods,
    find_peak_concurrency,
    rank_bottlenecks,
)
from tokctl.analysis.flow.token_links import NO_TOKEN, TokenLinks
from tokctl.documents.flow import PathBreakDocument
from tokctl.model.durations import Duration
from tokctl.model.states import COMPLETED
from tokctl.model.tokens import Certainty
from tokctl.model.visits import Visit


class CriticalStep(Struct, frozen=True, gc=False):
    """A token of the critical path, the wait before it, and the time that the path spent in it so far (µs)."""

    node: int
    wait_us: int
    duration_us: int


class FlowAnalysis(TokenLinks):
    """The critical path, slack and concurrency of one instance. A token is identified by its index in ``visits``."""

    def __init__(self, visits: Iterable[Visit], now: datetime) -> None:
        super().__init__(visits, now)
        self.waiting_at_join = self._find_waiting_at_join()
        """Tokens that wait, or waited, at a join."""
        self.release_times = self.ends[:]
        """When each token released its successors: at its end, or if it waited for others at its begin."""
        for n in self.waiting_at_join | self.expanded:
            self.release_times[n] = self.begins[n]
        self.last_end, self.last = self._find_last()
        """When the instance ended, and the token that it ended with (NO_TOKEN without any)."""
        self.slack = self._compute_slack()

    def _find_waiting_at_join(self) -> set[int]:
        visits, joins = self.visits, self._joins
        if not any(joins.values()):
            return set()
        # A token at a join that never got through has waited, too.
        found = {n for n, visit in enumerate(visits) if visit.state != COMPLETED and joins[visit.element_type]}
        for n, others in self.other_predecessors.items():
            arrived = [other for other in (self.parents[n], *others) if joins[visits[other].element_type]]
            counts = Counter(visits[other].element_id for other in arrived)
            counts[visits[n].element_id] += 1
            found.update(other for other in arrived if counts[visits[other].element_id] > 1)
        return found

    @cached_property
    def _has_successors(self) -> bytearray:
        """For each token 1 if it has successors, else 0."""
        found = bytearray(len(self.visits) + 1)
        for parent in self.parents:
            found[parent] = 1  # NO_TOKEN marks the extra entry at the end
        for others in self.other_predecessors.values():
            for other in others:
                found[other] = 1
        return found

    def _releasing_predecessors(self, n: int, before: list[int]) -> list[int]:
        """Return the predecessors that released a token by ending."""
        expanded = self.expanded
        return [o for o in before if o in expanded or o in self.waiting_at_join or not self.contains(o, n)]

    def deciding_predecessor(self, n: int) -> int:
        """Return the predecessor that decided when a token began: the last to release it. NO_TOKEN if none is known."""
        if n not in self.other_predecessors:
            return self.parents[n]
        before = self.predecessors(n)
        binding = self._releasing_predecessors(n, before)
        times = self.release_times if binding else self.begins
        return max(binding or before, key=lambda o: (times[o], self.begins[o], self.visits[o].token_id))

    def _compute_slack(self) -> list[int]:
        """Return the slack of every token, from the last tokens back to the first.

        A token restricts the predecessors that released it by ending: each may end later by the slack of the token,
        plus the time by which it ended before the last of them. A predecessor that released the token by beginning
        may begin later, and thus end later, by the slack of the token.
        """
        slack = [self.last_end - time for time in self.release_times]
        begin_slack: dict[int, int] = {}  # how much later a token may begin, if that is less than its slack
        special = self.expanded | self.waiting_at_join
        for n in reversed(self.order):
            room = min(slack[n], begin_slack[n]) if n in begin_slack else slack[n]
            parent = self.parents[n]
            if parent < 0:
                continue
            if n not in self.other_predecessors:  # nearly all tokens have one predecessor
                if parent not in special and self.contains(parent, n):
                    begin_slack[parent] = min(room, begin_slack.get(parent, room))
                elif room < slack[parent]:
                    slack[parent] = room
                continue
            releasing = self._releasing_predecessors(n, self.predecessors(n))
            if releasing:
                release = max([self.release_times[other] for other in releasing])
                for other in releasing:
                    slack[other] = min(slack[other], release - self.release_times[other] + room)
            else:
                other = self.deciding_predecessor(n)
                begin_slack[other] = min(room, begin_slack.get(other, room))
        return slack

    def _find_last(self) -> tuple[int, int]:
        """Return when the instance ended, and with which token."""
        visits, begins, ends, untimed = self.visits, self.begins, self.ends, self.untimed
        timed = [n for n in range(len(visits)) if n not in untimed] if untimed else range(len(visits))
        if not timed:
            return 0, NO_TOKEN
        final = max([ends[n] for n in timed])
        live = [n for n in self.live if n not in untimed and n not in self.expanded]
        if working := [n for n in live if n not in self.waiting_at_join] or live:
            return final, min(working, key=lambda n: (begins[n], visits[n].token_id))
        candidates = [n for n in timed if ends[n] == final and n not in self.expanded and n not in self.waiting_at_join]
        candidates = candidates or [n for n in timed if ends[n] == final]
        return final, max(candidates, key=lambda n: (not self._has_successors[n], begins[n], visits[n].token_id))

    def slack_us(self, n: int) -> int | None:
        """Return how much later a token could have ended without delaying the instance; None if unknown."""
        if n in self.untimed or (self.visits[n].live and n not in self.waiting_at_join):
            return None
        return self.slack[n]

    @cached_property
    def critical_steps(self) -> list[CriticalStep]:
        """The critical path from the first token to the last.

        Waits and durations add up to the time from the begin of the first token to the end of the instance.
        """
        steps: list[CriticalStep] = []
        begins, ends = self.begins, self.ends
        n = self.last
        until = self.ends[n] if n >= 0 else 0
        while n >= 0:
            before = self.deciding_predecessor(n)
            end = min(ends[n], until)
            begin = begins[n]
            wait = 0 if before < 0 else max(0, begin - ends[before])
            steps.append(CriticalStep(n, wait, end - begin))
            n, until = before, begin
        steps.reverse()
        return steps

    @cached_property
    def critical_nodes(self) -> set[int]:
        """The tokens of the critical path."""
        return {step.node for step in self.critical_steps}

    @cached_property
    def path_break(self) -> PathBreakDocument | None:
        """Where the critical path breaks off; None if it starts with a token without an origin."""
        if not self.critical_steps:
            return None
        n = self.critical_steps[0].node
        visit = self.visits[n]
        if visit.parent_token_id is not None:
            known = next((other for other in self.visits if other.token_id == visit.parent_token_id), None)
            if known is None:
                reason = f"its parent {visit.parent_token_id} is unknown"
            elif known.token_id == visit.token_id:
                reason = "it names itself as its parent"
            else:
                reason = f"its parent {visit.parent_token_id} started later, has no times, or is its descendant"
            return PathBreakDocument(visit.token_id, reason)
        if any(hop.certainty is Certainty.AMBIGUOUS for hop in visit.hops):
            return PathBreakDocument(visit.token_id, "its origin is ambiguous: several tokens can have led to it")
        sources = [hop.from_element for hop in visit.hops if hop.from_element is not None]
        if sources:
            return PathBreakDocument(visit.token_id, f"it came from {sources[-1]}, where no earlier token is recorded")
        first = min(self.begins[other] for other in range(len(self.visits)) if other not in self.untimed)
        if self.begins[n] > first and visit.element_type not in {"startEvent", None}:
            return PathBreakDocument(visit.token_id, "its origin is unknown")
        return None

    @property
    def elapsed_us(self) -> int:
        """The time from the first begin to the end of the instance, or until now."""
        return 0 if self.began_us is None else self.last_end - self.began_us

    @cached_property
    def completed(self) -> list[int]:
        """The COMPLETED tokens by their end; those with an unknown end come last."""
        found = [n for n, visit in enumerate(self.visits) if visit.state == COMPLETED]
        return _sort_by_time(found, self.ends, self.unknown_end)

    @cached_property
    def by_begin(self) -> list[int]:
        """All tokens by their begin; those without any time come last."""
        return _sort_by_time(range(len(self.visits)), self.begins, self.untimed)

    @cached_property
    def peak(self) -> ConcurrencyPeak:
        """The greatest number of tokens open at once; sub-processes with tokens inside do not count."""
        if not self.parallel_periods:
            return find_peak_concurrency([(self.begins[n], self.ends[n]) for n in self._counted])
        busiest = max(self.parallel_periods, key=lambda period: period.max_concurrent)
        return ConcurrencyPeak(busiest.max_concurrent, busiest.peak_begin, busiest.peak_end)

    @cached_property
    def parallel_periods(self) -> list[ParallelPeriod]:
        """The periods in which two or more tokens were open; their members are indexes in ``visits``."""
        nodes = self._counted
        if len(nodes) == len(self.visits):
            return find_parallel_periods(self.begins, self.ends)
        found = find_parallel_periods([self.begins[n] for n in nodes], [self.ends[n] for n in nodes])
        for period in found:
            for place, member in enumerate(period.members):
                period.members[place] = nodes[member]
        return found

    @property
    def _counted(self) -> Sequence[int]:
        """The tokens that count towards concurrency: not those that only contain others."""
        left_out = self.containers | self.untimed
        return [n for n in range(len(self.visits)) if n not in left_out] if left_out else range(len(self.visits))

    def took(self, n: int) -> Duration | None:
        """Return how long a token took, given or derived, until now for a live one; None if unknown."""
        if self.visits[n].live:
            return None if n in self.untimed else Duration((self.ends[n] - self.begins[n]) / 1000, derived=False)
        return self.visits[n].duration

    @cached_property
    def bottlenecks(self) -> list[TimeSpent[str]]:
        """The time spent at each element (by id), the most first; live tokens count until now.

        Shares are of the total. The time of a sub-process that contains other tokens does not count, and neither does
        waiting at a join that is over: what the join waited for took that time. While it lasts it counts.
        """
        left_out = self.containers | self.waiting_at_join.difference(self.live) | self.untimed
        return rank_bottlenecks(
            (
                v.element_id,
                choose_duration(None if v.live else v.context.duration_ms, self.begins[n], self.ends[n]),
                v.live,
            )
            for n, v in enumerate(self.visits)
            if n not in left_out
        )

    @cached_property
    def critical_by_element(self) -> dict[str, int]:
        """The time that the critical path spent at each element, without the waits before (µs)."""
        found: Counter[str] = Counter()
        for step in self.critical_steps:
            found[self.visits[step.node].element_id] += step.duration_us
        return found


def _sort_by_time(nodes: Iterable[int], times: list[int], unknown: set[int]) -> list[int]:
    """Sort tokens by time; those whose time is unknown come last."""
    return sorted(nodes, key=(lambda n: (n in unknown, times[n])) if unknown else times.__getitem__)
