"""Which compensation handlers run, how often, and in which order: ISO/IEC 19510, 13.5.5."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from support.bpmn_reading import Node
from support.token_runs import Run, Visit, compensated_runs


class _Done(NamedTuple):
    """A completed activity, and its compensation handler."""

    activity: Visit
    handler: Node


def is_compensating(throw: Visit) -> bool:
    """Tell whether an event waits for compensation handlers."""
    return any(child.came == "compensation" and child.live for child in throw.children)


def wrong_compensations(visits: Iterable[Visit]) -> list[str]:
    """Return what is wrong with the handlers that the throwing events among some visits have started."""
    throws = [visit for visit in visits if visit.completed and _throws(visit)]
    problems: list[str] = []
    compensated: set[Visit] = set()
    for throw in sorted(throws, key=lambda visit: visit.created):
        if throw.ended < throw.run.killed_at(throw) or "cancel" in throw.node.events:
            problems += _wrong_handlers(throw, compensated)
    return problems


def _wrong_handlers(throw: Visit, compensated: set[Visit]) -> list[str]:
    reference = throw.node.activity_ref
    done = [one for run in compensated_runs(throw) for one in _completed(run, reference, throw.created)]
    left = sorted((one for one in done if one.activity not in compensated), key=lambda one: one.activity.ended)
    problems = []
    ran = sorted((one for one in throw.children if one.came == "compensation"), key=lambda one: one.created)
    for handler in ran:
        found = next((one for one in reversed(left) if one.handler is handler.node), None)
        if found is None:
            problems.append(f"{throw} started {handler} more often than its activity was completed")
            continue
        if any(one.activity.ended > found.activity.ended for one in left if _precedes(one.activity, throw)):
            problems.append(f"{throw} started {handler} before that of an activity that was completed later")
        left.remove(found)
        if handler.created < throw.created:
            problems.append(f"{throw} had not come when {handler} began")
        if handler.cancelled and all(time != handler.ended for time, _ in throw.run.ends):
            problems.append(f"{handler} was cancelled by nothing")
        compensated.add(found.activity)
    until = max((handler.ended for handler in ran), default=throw.created)
    if any(one.created < until for one in throw.children if one.came == "flow"):
        problems.append(f"{throw} was left before its handlers had ended")
    if not is_compensating(throw):
        missing = [one for one in left if _precedes(one.activity, throw)]
        problems += [f"{throw}: {one.activity} was completed, but '{one.handler.id}' did not run" for one in missing]
    return problems


def _precedes(activity: Visit, throw: Visit) -> bool:
    """Tell whether an activity had certainly been completed: earlier, or on the way to the throwing event."""
    if activity.ended < throw.created:
        return True
    on_way = set()
    above: Visit | None = throw
    while above is not None:
        on_way.add(above)
        above = above.parent
    while activity not in on_way and activity.run.owner is not None:
        activity = activity.run.owner
    return activity in on_way


def _completed(run: Run, reference: str | None, until: datetime) -> Iterator[_Done]:
    """Return what was completed in a run; an activity without a handler is compensated by what is in it."""
    for visit in run.visits:
        node = visit.node
        if not visit.completed or visit.ended > until or visit.came == "compensation" or node.triggered:
            continue
        is_meant = reference in {None, node.id}
        inner = visit.inner if visit.repeats or node.type != "callActivity" else None
        if node.id in run.scope.handlers and not visit.repeats:
            if is_meant:
                yield _Done(visit, run.scope.handlers[node.id])
        elif inner is not None:
            yield from _completed(inner, None if is_meant else reference, until)


def _throws(visit: Visit) -> bool:
    return visit.node.type in {"endEvent", "intermediateThrowEvent"} and bool(
        visit.node.events & {"compensate", "cancel"}
    )
