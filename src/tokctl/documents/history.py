"""The path through the model, hop by hop, as JSON (``tokctl tokens history``)."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType

from tokctl.documents.base import Count, HopCertainty, Time
from tokctl.documents.tree import ContradictionsDocument


class HopDocument(Struct, kw_only=True, frozen=True, gc=False):
    """A token's arrival at an element.

    ``recorded`` is false if the source has no flow history. ``certainty`` is ``reconstructed`` if the hop follows from
    the times and the model, and ``ambiguous`` if several ways are possible: only what all have in common is given.
    ``passed`` marks an element that the token has left. ``wait_ms`` is the waiting time before this arrival.
    """

    sequence: Count
    token_id: str
    timestamp: Time | None
    timestamp_derived: bool
    recorded: bool
    from_element: str | None
    via_flow: str | None
    certainty: HopCertainty | UnsetType = UNSET
    element_id: str
    element_type: str | None
    element_name: str | None
    state: str
    wait_ms: float | None
    duration_ms: float | None
    duration_derived: bool
    began_at: Time | None
    live: bool
    passed: bool


class HistoryDocument(Struct, kw_only=True, frozen=True):
    """The hops of an instance or of one token, by time."""

    instance_id: str
    process_id: str | None
    history: list[HopDocument]
    unreadable_entries: Count
    contradictions: ContradictionsDocument
