"""Incidents as JSON."""

from __future__ import annotations

from msgspec import Struct

from tokctl.documents.base import Count, Time


class IncidentDocument(Struct, kw_only=True, frozen=True):
    """A FAILED token: where it failed, why, and since when. Unknown values are null."""

    instance_id: str
    process_id: str | None
    element_id: str
    element_name: str | None
    error: str | None
    worker_id: str | None
    since: Time | None
    retries_used: int | None
    token_id: str


class IncidentList(Struct, kw_only=True, frozen=True):
    """Incidents, the oldest first."""

    incidents: list[IncidentDocument]


class IncidentGroupDocument(Struct, kw_only=True, frozen=True):
    """Incidents that have a value in common, null if they lack it. ``instance_id`` is that of the oldest one."""

    value: str | None
    incidents: Count
    instances: Count
    since: Time | None
    instance_id: str


class IncidentGroupList(Struct, kw_only=True, frozen=True):
    """Groups of incidents, the largest first. ``by`` is what they have in common."""

    by: str
    groups: list[IncidentGroupDocument]
