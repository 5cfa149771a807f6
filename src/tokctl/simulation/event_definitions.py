"""Event definitions of SpiffWorkflow for the events of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from SpiffWorkflow.bpmn.specs.event_definitions.item_aware_event import SignalEventDefinition
from SpiffWorkflow.bpmn.specs.event_definitions.message import MessageEventDefinition
from SpiffWorkflow.bpmn.specs.event_definitions.multiple import MultipleEventDefinition
from SpiffWorkflow.bpmn.specs.event_definitions.simple import (
    NoneEventDefinition,
    TerminateEventDefinition,
)

from tokctl.bpmn.element_details import CANCEL, CONDITION, ERROR, MESSAGE, SIGNAL, TIMER, EventDefinition
from tokctl.bpmn.execution_details import Expression
from tokctl.model.definitions import Element
from tokctl.simulation.engine_specs import ConditionEvent
from tokctl.simulation.scoped_events import CancelDefinition, ErrorDefinition, EscalationDefinition
from tokctl.simulation.timers import CycleTimer, DueTimer

if TYPE_CHECKING:
    from tokctl.simulation.process_model import ProcessModel

_THROWN = frozenset({MESSAGE, SIGNAL, ERROR, "escalation", "terminate"})
_WAITED_FOR = frozenset({MESSAGE, SIGNAL, ERROR, "escalation", CANCEL, TIMER, CONDITION})


def make_event_definition(model: ProcessModel, element: Element, *, waits: bool) -> Any:
    """Return the definition of what an element throws, or ``waits`` for.

    A start event has none: what triggers it has happened. Links and compensation are no events of SpiffWorkflow;
    an element that has nothing else passes at once. So does an end event that cancels a transaction: the builder makes
    it do so after compensation. Events without a reference have the name of their element. Each definition has the id
    of its element, which is not that of the event-based gateway that waits for it.
    """
    definition = _make_definition(model, element, waits=waits)
    for one in definition.event_definitions if isinstance(definition, MultipleEventDefinition) else [definition]:
        one.element_id = element.id
    return definition


def _make_definition(model: ProcessModel, element: Element, *, waits: bool) -> Any:
    events = model.details(element.id).events
    if element.type == "startEvent" and not waits:
        return NoneEventDefinition()
    repeats = element.type in {"boundaryEvent", "startEvent"} and not model.details(element.id).interrupting
    known = [_make(one, element, repeats=repeats) for one in events if one.kind in (_WAITED_FOR if waits else _THROWN)]
    if not known:
        if element.type in {"receiveTask", "boundaryEvent"} or (waits and element.type == "startEvent"):
            return MessageEventDefinition(element.name or element.id)
        return NoneEventDefinition()
    if len(known) == 1:
        return known[0]
    return MultipleEventDefinition(known, model.execution_details(element.id).all_events)


def _make(event: EventDefinition, element: Element, *, repeats: bool) -> Any:
    name = event.name or element.name or element.id
    if event.kind == TIMER:
        return (CycleTimer if event.timer == "timeCycle" and repeats else DueTimer)(
            f"{element.id}/{event.timer}", event
        )
    if event.kind == MESSAGE:
        return MessageEventDefinition(name)
    if event.kind == SIGNAL:
        return SignalEventDefinition(name)
    if event.kind == CONDITION:
        return ConditionEvent(element.id, Expression(event.expression or ""))
    if event.kind == ERROR:
        return ErrorDefinition(name, event.name)
    if event.kind == "escalation":
        return EscalationDefinition(name, event.name)
    return CancelDefinition() if event.kind == CANCEL else TerminateEventDefinition()
