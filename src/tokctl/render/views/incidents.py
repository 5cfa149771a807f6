"""Incidents: FAILED tokens, one by one or in groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tokctl.documents.incidents import IncidentDocument, IncidentGroupDocument
from tokctl.model.times import format_time
from tokctl.render.result import Cell, Column, Footer, Listing, Output
from tokctl.render.text import age_cell, error_cell, retries_cell
from tokctl.render.views.groups import group_columns
from tokctl.render.views.tokens import explain_command
from tokctl.services.incidents import Incident, IncidentGroup

_EMPTY = "No incidents found."


def incident_listing(
    incidents: Iterable[Incident],
    out: Output,
    *,
    headline: Callable[[], tuple[Cell, ...]] = tuple,
    notes: Callable[[int], list[str]] = lambda _: [],
    empty: str = "",
) -> Listing:
    """Return a list of incidents."""
    columns = (
        Column(
            "instance_id",
            "INSTANCE",
            "token.instance_id",
            form=lambda i: Cell(out.shorten_instance_id(i)),
            fold=out.cuts,
            cut=True,
        ),
        Column("process_id", "PROCESS", "token.process_id", fold=True, min_width=20, rank=7),
        Column("element_name", "ELEMENT", "token.element_name", show=lambda i: Cell(i.token.name), fold=True, cut=True),
        Column("element_id", "ELEMENT ID", "token.element_id", fold=True, wide=True, rank=8),
        Column("error", "ERROR", "context.error", form=error_cell, fold=True, cut=True, min_width=24),
        Column("worker_id", "WORKER", "context.worker_id", fold=True, min_width=20, rank=6),
        Column("since", "SINCE", lambda i: format_time(i.since), show=lambda i: age_cell(i.since, out.now), right=True),
        Column("retries_used", "RETRIES", "context.retries_used", form=retries_cell, right=True, wide=True, rank=7),
        Column("token_id", "TOKEN", "token.token_id", wide=True, rank=9),
    )
    return Listing(
        key="incidents",
        items=incidents,
        columns=columns,
        ident=lambda incident: incident.token.instance_id,
        document=_encode_incident,
        headline=headline,
        notes=notes,
        empty=empty or _EMPTY,
        footer=Footer(lambda i: explain_command(out.shorten_instance_id(i.token.instance_id), out), thing="incident"),
    )


def _encode_incident(incident: Incident) -> IncidentDocument:
    token, context = incident.token, incident.context
    return IncidentDocument(
        instance_id=token.instance_id,
        process_id=token.process_id,
        element_id=token.element_id,
        element_name=token.element_name,
        error=context.error,
        worker_id=context.worker_id,
        since=format_time(incident.since),
        retries_used=context.retries_used,
        token_id=token.token_id,
    )


def incident_group_listing(groups: Sequence[IncidentGroup], by: str, out: Output) -> Listing:
    """Return a list of groups of incidents."""
    columns = (
        Column("incidents", "INCIDENTS", right=True),
        *group_columns(by, out),
    )
    return Listing(
        key="groups",
        items=groups,
        columns=columns,
        ident=lambda group: group.value or "",
        document=lambda group: IncidentGroupDocument(
            value=group.value,
            incidents=group.incidents,
            instances=group.instances,
            since=format_time(group.since),
            instance_id=group.instance_id,
        ),
        head={"by": by},
        empty=_EMPTY,
        footer=Footer(lambda group: explain_command(out.shorten_instance_id(group.instance_id), out)),
    )
