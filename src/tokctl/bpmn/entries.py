"""The visits that an engine records, and how they were entered: what ``reconstruction`` reads and returns."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

import msgspec
from msgspec import Raw, Struct

from tokctl.model.times import format_time
from tokctl.model.tokens import Certainty

UNKNOWN_SCOPE = "\0unknown"
"""The scope of a visit whose source does not tell scopes; no id contains NUL."""


class EnteredBy(StrEnum):
    """What led to a visit."""

    FLOW = "flow"
    START = "start"
    SCOPE = "scope"  # the first visit in a sub-process, or an instance of a multi-instance activity
    BOUNDARY_EVENT = "boundary_event"
    EVENT = "event"  # an event sub-process, or a start event with a message, signal, timer …
    COMPENSATION = "compensation"
    MODIFICATION = "modification"
    MIGRATION = "migration"
    UNKNOWN = "unknown"


class EngineVisit(Struct, frozen=True, kw_only=True):
    """A visit of an element as an engine records it.

    ``scope_id`` is the visit of the sub-process or of the multi-instance activity that contains it; None: the process
    itself; ``UNKNOWN_SCOPE``: the engine does not tell, and the scope is derived from nesting and times. A visit of a
    multi-instance activity as a whole has the activity's ``element_id``, and its instances have it as their scope.

    ``entered_flows`` are the flows that the engine recorded as leading to the visit; None: it records no flows.
    ``definition`` is the key of the visit's model, for instances that were migrated.
    """

    visit_id: str
    element_id: str
    scope_id: str | None = None
    started_at: datetime
    ended_at: datetime | None = None
    cancelled: bool = False
    entered_flows: tuple[str, ...] | None = None
    definition: str | None = None


class VisitHop(Struct, frozen=True):
    """How a visit was entered from another one. Of an ambiguous hop, only what all possibilities agree on is filled.

    ``at`` is when the visit started. ``flow_id`` is also None for boundary events and links, which need no flow.
    """

    from_visit: str | None
    from_element: str | None
    flow_id: str | None
    at: datetime | None
    certainty: Certainty


def encode_hop(hop: VisitHop) -> dict[str, str | None]:
    """Return a hop as an entry of a flow history; it has ``certainty`` only if it is not recorded."""
    entry = {"from_element": hop.from_element, "via_flow": hop.flow_id, "timestamp": format_time(hop.at)}
    return entry if hop.certainty is Certainty.RECORDED else entry | {"certainty": hop.certainty.value}


def encode_flow_history(hops: Sequence[VisitHop]) -> Raw:
    """Return hops as the JSON of ``Token.flow_history``."""
    return Raw(msgspec.json.encode([encode_hop(hop) for hop in hops]))


UNKNOWN_HOP = VisitHop(None, None, None, None, Certainty.AMBIGUOUS)


class Entry(Struct, frozen=True):
    """How a visit was entered.

    ``parent`` is the visit of the parent token: the predecessor, or the scope of the first visit in it; None if there
    is none or it is not certain.
    """

    visit_id: str
    hops: tuple[VisitHop, ...]
    entered_by: EnteredBy
    parent: str | None
