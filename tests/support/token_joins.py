"""What parallel and inclusive gateways consume: ISO/IEC 19510, 13.4.1 and 13.4.3."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
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
    done = _by_flow(visit for visit in arrived if visit.completed and visit.ended < run.killed_at(visit))
    late = _by_flow(visit for visit in arrived if visit.completed and visit.ended >= run.killed_at(visit))
    fired = [visit for visit in arrived if visit.completed and (not node.outgoing or not _is_early(visit))]
    times = sorted(visit.ended for visit in fired if visit.ended < run.killed_at(visit))
    if not node.outgoing:
        times = sorted(visit.ended for visit in done[node.incoming[0]])
    for flow in node.incoming:
        consumed = sorted(visit.ended for visit in done[flow])
        if consumed != times:
            problems.append(
                f"{arrived[0]} fired {len(times)} times, but consumed {len(consumed)} tokens of flow {flow}"
                + (" in time" if len(times) == len(consumed) else "")
            )
    numbers = {len(late[flow]) for flow in node.incoming}
    if len(numbers) > 1 and min(numbers) + 1 < max(numbers):
        problems.append(f"{arrived[0]} consumed tokens of some flows only")
    waiting = _by_flow(visit for visit in arrived if visit.live)
    if all(waiting[flow] for flow in node.incoming):
        problems.append(f"{arrived[0]} waits, although a token has arrived on each flow")
    return {visit for visit in arrived if _is_early(visit)}


def _check_inclusive(run: Run, node: Node, arrived: list[Visit], problems: list[str]) -> set[Visit]:
    groups: dict[datetime, list[Visit]] = defaultdict(list)
    for visit in arrived:
        if visit.completed:
            groups[visit.ended].append(visit)
    for time, group in groups.items():
        if time >= run.killed_at(group[0]):
            continue
        fired = sum(not _is_early(visit) for visit in group) if node.outgoing else 1
        counts = Counter(visit.flow for visit in group)
        if not fired:
            problems.append(f"{group[0]} consumed {len(group)} tokens, but did not fire")
        elif fired > max(counts.values()) and not any(_descends(visit, group) for visit in group):
            problems.append(f"{group[0]} fired {fired} times for tokens that it had to join")
        elif max(counts.values()) > fired:
            problems.append(f"{group[0]} consumed two tokens of one flow at a time")
        blocking = _upstream(run, node, set(counts), [v for v in run.visits if v.created < time < v.ended])
        if blocking:
            problems.append(f"{group[0]} fired although a token could still come from {blocking[0]}")
    waiting = [visit for visit in arrived if visit.live]
    if waiting and not _upstream(run, node, {visit.flow for visit in waiting}, [v for v in run.visits if v.live]):
        problems.append(f"{waiting[0]} waits, although no other token can come")
    return {visit for visit in arrived if _is_early(visit)}


def _descends(visit: Visit, others: Collection[Visit]) -> bool:
    """Tell whether a visit came, at whatever distance, from one of some others."""
    above = visit.parent
    while above is not None and above not in others:
        above = above.parent
    return above is not None


def _upstream(run: Run, node: Node, arrived: set[Flow | None], live: list[Visit]) -> list[Visit]:
    """Return the live tokens that an inclusive gateway waits for, with tokens arrived on some flows."""
    empty: set[str] = set()
    for flow in node.incoming:
        if flow not in arrived:
            empty |= run.scope.reaching(flow, node)
    full: set[str] = set()
    for flow in node.incoming:
        if flow in arrived:
            full |= run.scope.reaching(flow, node)
    return [visit for visit in live if visit.node is not node and visit.node.id in empty - full]


def _by_flow(visits: Iterable[Visit]) -> dict[Flow | None, list[Visit]]:
    found: dict[Flow | None, list[Visit]] = defaultdict(list)
    for visit in visits:
        found[visit.flow].append(visit)
    return found
