"""Incidents: FAILED tokens, one by one or counted by what they have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from msgspec import Struct

from tokctl.analysis.debug.grouping import mask_error
from tokctl.model.states import FAILED, canonical_state
from tokctl.model.times import to_utc
from tokctl.model.tokens import ExecutionContext, Token


class Incident(Struct, frozen=True):
    """A FAILED token with its decoded execution context, and when it failed; None if that is unknown."""

    token: Token
    context: ExecutionContext
    since: datetime | None


class IncidentGroup(Struct, frozen=True, kw_only=True):
    """Incidents that have a value in common; None if they lack it.

    ``since`` is when the first of them failed, and ``instance_id`` its instance.
    """

    value: str | None
    incidents: int
    instances: int
    since: datetime | None
    instance_id: str


GROUPINGS: dict[str, Callable[[Incident], str | None]] = {
    "error": lambda incident: mask_error(incident.context.error),
    "element": lambda incident: incident.token.name,
    "worker": lambda incident: incident.context.worker_id,
    "process": lambda incident: incident.token.process_id,
}
"""What to group by → the value of an incident."""


def create_incident(token: Token) -> Incident:
    """Return a FAILED token as an incident."""
    context = token.context
    failed = (change.at for change in reversed(context.state_history or ()) if canonical_state(change.state) == FAILED)
    entered = next(failed, None)
    return Incident(token, context, to_utc(entered) if entered else token.finished_at or token.created_at)


def group_incidents(incidents: Iterable[Incident], by: str) -> list[IncidentGroup]:
    """Return the groups of incidents, the largest first, those that lack the value last. Keeps only the groups."""
    value_of = GROUPINGS[by]
    counts: dict[str | None, int] = {}
    instances: dict[str | None, set[str]] = {}
    oldest: dict[str | None, Incident] = {}
    for incident in incidents:
        value = value_of(incident)
        counts[value] = counts.get(value, 0) + 1
        instances.setdefault(value, set()).add(incident.token.instance_id)
        first = oldest.setdefault(value, incident)
        if incident.since is not None and (first.since is None or incident.since < first.since):
            oldest[value] = incident
    groups = [
        IncidentGroup(
            value=value,
            incidents=number,
            instances=len(instances[value]),
            since=oldest[value].since,
            instance_id=oldest[value].token.instance_id,
        )
        for value, number in counts.items()
    ]
    return sorted(groups, key=lambda group: (group.value is None, -group.incidents, group.value or ""))
