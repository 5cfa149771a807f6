"""What withdraws tokens: the end of what they are in, an error, an interruption; and what throws to a boundary."""

from __future__ import annotations

from datetime import datetime

from support.token_runs import NEVER, Run, Visit

ENDING = frozenset({"terminate", "error", "cancel"})
"""The end events that end their process or sub-process with all that is in it."""
THROWN = frozenset({"error", "escalation", "cancel"})
"""The events that only something within an activity can cause at its boundary."""


def find_ends(run: Run, *, cancelled: bool) -> list[tuple[datetime, Visit | None]]:
    """Return when everything in a run was withdrawn, and by which event sub-process; those around it are known."""
    found: list[tuple[datetime, Visit | None]] = []
    found += [(one.created, None) for one in run.visits if one.completed and _ends_all(one, ENDING - {"error"})]
    found += [(time, None) for time in _uncaught_errors(run)]
    for event in run.visits:
        if event.node.triggered and event.inner is not None:
            inner = [visit for visit in event.inner.visits if visit.completed]
            found += [(one.ended, event) for one in inner if one.came == "start" and one.node.interrupting]
            found += [(one.created, None) for one in inner if _ends_all(one, frozenset({"cancel"}))]
    owner = run.owner
    if owner is not None:
        found.append((owner.run.killed_at(owner), None))
        if not owner.live and (owner.cancelled or owner.node.type == "adHocSubProcess" or _ends_early(owner)):
            found.append((owner.ended, None))
    elif cancelled and any(visit.cancelled for visit in run.visits):
        found.append((max(visit.ended for visit in run.visits if visit.cancelled), None))
    return [(time, cause) for time, cause in found if time != NEVER]


def _uncaught_errors(run: Run) -> list[datetime]:
    """Return when an error ended a run: one that neither an event sub-process of it caught, nor a boundary in it."""
    thrown = [one.created for one in run.visits if one.completed and _ends_all(one, frozenset({"error"}))]
    caught = []
    for visit in run.visits:
        if visit.inner is None:
            continue
        if visit.cancelled:
            there = [one.created for one in visit.children if one.came == "boundary" and "error" in one.node.events]
            thrown += [time for time in _uncaught_errors(visit.inner) if time not in there]
        if visit.node.triggered:
            starts = [one for one in visit.inner.visits if one.came == "start" and one.completed]
            caught += [one.ended for one in starts if "error" in one.node.events]
    return [time for time in thrown if time not in caught]


def _ends_early(owner: Visit) -> bool:
    return owner.repeats and owner.node.loop is not None and owner.node.loop.ends_early


def _ends_all(visit: Visit, kinds: frozenset[str]) -> bool:
    return visit.node.type == "endEvent" and bool(kinds & visit.node.events)


def is_interrupted(visit: Visit) -> bool:
    """Tell whether something cancelled a token, other than the end of the run that it is in."""
    if any(one.came == "boundary" and one.node.interrupting and one.created <= visit.ended for one in visit.children):
        return True
    parent = visit.parent
    if visit.waits_to_be_triggered or visit.came == "compensation":
        return True
    if visit.came == "boundary" and parent is not None and parent.ended <= visit.ended:
        return True
    if parent is not None and parent.node.type == "eventBasedGateway":
        return any(not one.cancelled for one in parent.children)
    return False


def may_cause(thrower: Visit, catcher: Visit) -> bool:
    """Tell whether a boundary event can have caught what a token inside threw: an event, or work that ended then."""
    if "cancel" in thrower.node.events and thrower.completed:  # first it compensates
        return "cancel" in catcher.node.events and thrower.ended <= catcher.created
    if not thrower.created <= catcher.created <= thrower.ended:
        return False
    throws = thrower.completed and thrower.node.type in {"endEvent", "intermediateThrowEvent"}
    if throws and thrower.node.events & catcher.node.events:
        return True
    if any(child.came == "boundary" and child.node.interrupting for child in thrower.children):
        return False  # what it threw was caught there
    is_work = thrower.inner is None and thrower.node.type.endswith(("Task", "task", "callActivity"))
    return is_work and "cancel" not in catcher.node.events and not thrower.completed
