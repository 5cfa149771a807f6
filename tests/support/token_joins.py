"""What parallel and inclusive gateways consume: ISO/IEC 19510, 13.4.1 and 13.4.3."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Collection
from datetime import datetime

from support.bpmn_reading import Flow, Node
from support.token_runs import Run, Visit


def check_join(run: Run, node: Node, problems: list[str], unchecked: list[str]) -> set[Visit]:
    """Check the tokens at a gateway where flows join; returns those that were merged into the one that left."""
    arrived = [visit for visit in run.at(node) if visit.came == "flow"]
    if len(node.incoming) < 2 or not arrived:
        return set()
    if node.type == "complexGateway":
        unchecked.append(f"{arrived[0]}: when it joins")
        return {visit for visit in arrived if _is_early(visit)}
    if node.type not in {"parallelGateway", "inclusiveGateway"}:
        return set()
    check = _check_parallel if node.type == "parallelGateway" else _check_inclusive
    return check(run, node, arrived, problems)


def _is_early(visit: Visit) -> bool:
    return not any(child.came == "flow" for child in visit.children)


def _check_parallel(run: Run, node: Node, arrived: list[Visit], problems: list[str]) -> set[Visit]:
    until = run.killed_at(arrived[0])
    consumed = {
        flow: sorted(visit.ended for visit in arrived if visit.completed and visit.flow is flow)
        for flow in node.incoming
    }
    fired = sorted(visit.ended for visit in arrived if visit.completed and not _is_early(visit) and visit.ended < until)
    if not node.outgoing:
        fired = [time for time in consumed[node.incoming[0]] if time < until]
    for flow, times in consumed.items():
        before = [time for time in times if time < until]
        if before != fired:
            problems.append(
                f"{arrived[0]} fired {len(fired)} times, but consumed {len(before)} tokens of flow {flow}"
                + (" at other times" if len(before) == len(fired) else "")
            )
        elif len(times) != len(consumed[node.incoming[0]]):
            problems.append(f"{arrived[0]} consumed tokens of some flows only")
    if all(any(visit.live and visit.flow is flow for visit in arrived) for flow in node.incoming):
        problems.append(f"{arrived[0]} waits, although a token has arrived on each flow")
    return {visit for visit in arrived if _is_early(visit)}


def _check_inclusive(run: Run, node: Node, arrived: list[Visit], problems: list[str]) -> set[Visit]:
    groups: dict[datetime, list[Visit]] = defaultdict(list)
    for visit in arrived:
        if visit.completed and visit.ended < run.killed_at(visit):
            groups[visit.ended].append(visit)
    lasting = _Lasting(run)
    for time in sorted(groups):
        group = groups[time]
        fired = sum(not _is_early(visit) for visit in group) if node.outgoing else 1
        counts = Counter(visit.flow for visit in group)
        if not fired:
            problems.append(f"{group[0]} consumed {len(group)} tokens, but did not fire")
        elif fired > max(counts.values()) and not any(_descends(visit, group) for visit in group):
            problems.append(f"{group[0]} fired {fired} times for tokens that it had to join")
        elif max(counts.values()) > fired:
            problems.append(f"{group[0]} consumed two tokens of one flow at a time")
        blocking = _upstream(run, node, set(counts), lasting.at(time))
        if blocking:
            problems.append(f"{group[0]} fired although a token could still come from {blocking[0]}")
    waiting = [visit for visit in arrived if visit.live]
    live = [visit for visit in run.visits if visit.live and not visit.waits_to_be_triggered]
    if waiting and not _upstream(run, node, {visit.flow for visit in waiting}, live):
        problems.append(f"{waiting[0]} waits, although no other token can come")
    return {visit for visit in arrived if _is_early(visit)}


class _Lasting:
    """The visits of a run that are there at a time; the times that it is asked for never decrease."""

    def __init__(self, run: Run) -> None:
        self._coming = deque(sorted((v for v in run.visits if v.ended > v.created), key=lambda visit: visit.created))
        self._there: list[Visit] = []

    def at(self, time: datetime) -> list[Visit]:
        """Return the visits that came before a time and ended after it."""
        while self._coming and self._coming[0].created < time:
            self._there.append(self._coming.popleft())
        self._there = [visit for visit in self._there if visit.ended > time]
        return self._there


def _descends(visit: Visit, others: Collection[Visit]) -> bool:
    """Tell whether a visit came, at whatever distance, from one of some others."""
    above = visit.parent
    while above is not None and above not in others:
        above = above.parent
    return above is not None


def _upstream(run: Run, node: Node, arrived: set[Flow | None], live: list[Visit]) -> list[Visit]:
    """Return the live tokens that an inclusive gateway waits for, with tokens arrived on some flows."""
    if not live:
        return []
    empty = {name for flow in node.incoming if flow not in arrived for name in run.scope.reaching(flow, node)}
    full = {name for flow in node.incoming if flow in arrived for name in run.scope.reaching(flow, node)}
    return [visit for visit in live if visit.node is not node and visit.node.id in empty - full]
