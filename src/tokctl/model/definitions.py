"""Process definitions: elements and sequence flows of a BPMN model.

``tokctl.bpmn.graph`` has the connections between elements.
"""

from __future__ import annotations

from msgspec import Struct


class Element(Struct, frozen=True, omit_defaults=True):
    """A flow node of a definition, with the sequence flows that enter and leave it."""

    id: str
    type: str
    name: str | None = None
    incoming: tuple[str, ...] = ()
    outgoing: tuple[str, ...] = ()
    default_flow: str | None = None
    attached_to: str | None = None  # a boundary event's activity
    parent: str | None = None  # the sub-process that contains it


class SequenceFlow(Struct, frozen=True, omit_defaults=True):
    """A sequence flow of a definition."""

    id: str
    source: str
    target: str
    name: str | None = None
    condition: str | None = None


class Definition(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A version of a process definition: elements and flows by id, and the BPMN XML if known."""

    process_id: str
    version: int = 1
    name: str | None = None
    elements: dict[str, Element] = {}
    flows: dict[str, SequenceFlow] = {}
    xml: str | None = None
