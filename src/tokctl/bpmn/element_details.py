"""Details of elements that only the BPMN XML has: event definitions, timers, called processes and loops.

They are read on demand, from the XML that a definition keeps. How elements are connected is in ``graph``.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from msgspec import Struct

from tokctl.errors import InputError
from tokctl.model.definitions import Definition
from tokctl.model.times import parse_time, to_utc

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element as XmlElement

MESSAGE, SIGNAL, TIMER, CONDITION, ERROR, LINK = "message", "signal", "timer", "condition", "error", "link"
COMPENSATION, CANCEL = "compensation", "cancel"

EVENT_KINDS = {
    "messageEventDefinition": MESSAGE,
    "signalEventDefinition": SIGNAL,
    "timerEventDefinition": TIMER,
    "conditionalEventDefinition": CONDITION,
    "errorEventDefinition": ERROR,
    "escalationEventDefinition": "escalation",
    "linkEventDefinition": LINK,
    "compensateEventDefinition": COMPENSATION,
    "cancelEventDefinition": CANCEL,
    "terminateEventDefinition": "terminate",
}
"""The XML element of an event definition → its kind."""
_REFERENCES = ("messageRef", "signalRef", "errorRef", "escalationRef")
_ASYNCHRONOUS = ("async", "asyncBefore", "asyncAfter")
_TIMERS = ("timeDuration", "timeDate", "timeCycle")


class EventDefinition(Struct, frozen=True):
    """The definition of an event: its kind, and the name of the message, signal, error … that it refers to.

    ``expression`` is the condition of a conditional event, or the value of a timer; ``timer`` is the kind of timer:
    ``timeDuration``, ``timeDate`` or ``timeCycle``. ``activity`` is the activity that a compensation event names.
    """

    kind: str
    name: str | None = None
    timer: str | None = None
    expression: str | None = None
    activity: str | None = None


class ElementDetails(Struct, frozen=True):
    """Details of one element.

    ``calls`` is the id of the process that a call activity calls, ``loop`` is ``parallel`` or ``sequential`` for a
    multi-instance activity and ``loop`` for a standard loop, ``interrupting`` applies to boundary events and to the
    start events of event sub-processes.
    ``event_sub_process`` and ``compensation_handler`` are entered without a sequence flow. ``asynchronous``: an engine
    may wait before the element or after it (``asyncBefore``, ``async``, ``asyncAfter``; of any vendor).
    """

    events: tuple[EventDefinition, ...] = ()
    calls: str | None = None
    loop: str | None = None
    interrupting: bool = True
    event_sub_process: bool = False
    compensation_handler: bool = False
    asynchronous: bool = False


NO_ELEMENT_DETAILS = ElementDetails()


def read_element_details(definition: Definition | None) -> dict[str, ElementDetails]:
    """Return the details of the elements of a definition, by id; empty if it has no readable XML."""
    if definition is None or not definition.xml:
        return {}
    from tokctl.bpmn.parser import read_root

    try:
        root = read_root(definition.xml)
    except InputError:
        return {}
    names = {key: node.get("errorCode") or node.get("name") or key for node in root if (key := node.get("id"))}
    nodes = ((node.get("id"), node) for node in root.iter())
    return {key: read_details(node, names) for key, node in nodes if key in definition.elements}


def read_details(node: XmlElement, names: Mapping[str, str]) -> ElementDetails:
    """Return the details of the element of a node. ``names`` are those of messages, signals, errors …, by id."""
    events = [
        EventDefinition(EVENT_KINDS[kind], _name(child, names), *_expression(child), child.get("activityRef"))
        for child in node
        if (kind := _local_name(child)) in EVENT_KINDS
    ]
    message = node.get("messageRef")
    if message and not events:  # of a receive task
        events.append(EventDefinition(MESSAGE, names.get(_strip_prefix(message), message)))
    loops = (loop for child in node if (loop := _loop(child)))
    return ElementDetails(
        tuple(events),
        node.get("calledElement"),
        next(loops, None),
        "false" not in {node.get("cancelActivity"), node.get("isInterrupting")},
        node.get("triggeredByEvent") == "true",
        node.get("isForCompensation") == "true",
        any(value == "true" for name, value in node.items() if name.rpartition("}")[2] in _ASYNCHRONOUS),
    )


def _loop(node: XmlElement) -> str | None:
    if _local_name(node) == "multiInstanceLoopCharacteristics":
        return "sequential" if node.get("isSequential") == "true" else "parallel"
    return "loop" if _local_name(node) == "standardLoopCharacteristics" else None


def _name(node: XmlElement, names: Mapping[str, str]) -> str | None:
    reference = next((value for name in _REFERENCES if (value := node.get(name))), None)
    return node.get("name") if reference is None else names.get(_strip_prefix(reference), reference)


def _expression(node: XmlElement) -> tuple[str | None, str | None]:
    for child in node:
        kind = _local_name(child)
        if kind in _TIMERS or kind == "condition":
            text = " ".join("".join(child.itertext()).split()) or None
            return (kind if kind in _TIMERS else None), text
    return None, None


def _local_name(node: XmlElement) -> str:
    return node.tag.rpartition("}")[2]


def _strip_prefix(name: str) -> str:
    """Return a reference without the prefix of its namespace."""
    return name.rpartition(":")[2]


# --- timers ---------------------------------------------------------------------------------------

_DURATION = re.compile(
    r"(?P<sign>[+-])?P(?:(?P<years>\d+)Y)?(?:(?P<months>\d+)M)?(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+(?:\.\d+)?)D)?"
    r"(?:T(?:(?P<hours>\d+(?:\.\d+)?)H)?(?:(?P<minutes>\d+(?:\.\d+)?)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?",
    re.IGNORECASE,
)


def compute_due_time(event: EventDefinition, since: datetime | None) -> datetime | None:
    """Return when a timer that was started at ``since`` is due for the first time.

    Values are in ISO 8601 (BPMN 2.0, section 10.5.5). None if the value is an expression or unknown.
    """
    text = (event.expression or "").strip().removeprefix("=").strip().strip("\"'")
    try:
        if event.timer == "timeDate":
            return to_utc(parse_time(text))
        if event.timer == "timeCycle":
            repeats, *parts = text.split("/")
            if not re.fullmatch(r"[Rr]\d*", repeats) or len(parts) not in {1, 2}:
                return None
            return _add_iso_duration(since, parts[0]) if len(parts) == 1 else to_utc(parse_time(parts[0]))
        return _add_iso_duration(since, text)
    except (ValueError, OverflowError):
        return None


def _add_iso_duration(since: datetime | None, text: str) -> datetime | None:
    """Add an ISO 8601 duration; None if the text is not one, or it is negative. Raises ValueError, OverflowError."""
    match = _DURATION.fullmatch(text)
    if since is None or match is None or not any(match.groups()[1:]):
        return None
    parts = {name: float(value) for name, value in match.groupdict().items() if value and name != "sign"}
    months = int(parts.pop("years", 0) * 12 + parts.pop("months", 0))
    if match["sign"] == "-":
        return None
    if months:
        year, month = divmod(since.year * 12 + since.month - 1 + months, 12)
        day = min(since.day, monthrange(year, month + 1)[1])
        since = since.replace(year=year, month=month + 1, day=day)
    return since + timedelta(**parts)
