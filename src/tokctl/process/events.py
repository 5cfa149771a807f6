"""What a BPMN document says of its elements beyond their flows: events, timers, calls and loops.

It is read when a question needs it, from the XML that a definition keeps.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from msgspec import Struct

from tokctl.errors import InputError
from tokctl.process.model import Definition, utc
from tokctl.process.wire import parse_time

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element as XmlElement

MESSAGE, SIGNAL, TIMER, CONDITION, ERROR, LINK = "message", "signal", "timer", "condition", "error", "link"

_KINDS = {
    "messageEventDefinition": MESSAGE,
    "signalEventDefinition": SIGNAL,
    "timerEventDefinition": TIMER,
    "conditionalEventDefinition": CONDITION,
    "errorEventDefinition": ERROR,
    "escalationEventDefinition": "escalation",
    "linkEventDefinition": LINK,
    "compensateEventDefinition": "compensation",
    "cancelEventDefinition": "cancel",
    "terminateEventDefinition": "terminate",
}
_REFERENCES = ("messageRef", "signalRef", "errorRef", "escalationRef")
_TIMERS = ("timeDuration", "timeDate", "timeCycle")
_LOOPS = {"multiInstanceLoopCharacteristics", "standardLoopCharacteristics"}


class Event(Struct, frozen=True):
    """What an event is about: its kind, and the name of what it refers to.

    A timer's ``expression`` is its duration, date or cycle, as ``timer`` says; a condition's is the condition.
    """

    kind: str
    name: str | None = None
    timer: str | None = None
    expression: str | None = None


class Details(Struct, frozen=True):
    """What the document says of an element; ``calls`` is the process that a call activity calls."""

    events: tuple[Event, ...] = ()
    calls: str | None = None
    loop: str | None = None
    interrupting: bool = True


NO_DETAILS = Details()


def read_details(definition: Definition | None) -> dict[str, Details]:
    """Return what a definition's document says of its elements, by id; nothing where there is no document."""
    if definition is None or not definition.xml:
        return {}
    from tokctl.process.bpmn import read_root

    try:
        root = read_root(definition.xml)
    except InputError:
        return {}
    names = {key: node.get("errorCode") or node.get("name") or key for node in root if (key := node.get("id"))}
    found: dict[str, Details] = {}
    for node in root.iter():
        element_id = node.get("id")
        if element_id in definition.elements:
            found[element_id] = _details(node, names)
    return found


def _details(node: XmlElement, names: dict[str, str]) -> Details:
    events = [
        Event(_KINDS[kind], _name(child, names), *_expression(child))
        for child in node
        if (kind := _local(child)) in _KINDS
    ]
    message = node.get("messageRef")
    if message and not events:  # a receive task's
        events.append(Event(MESSAGE, names.get(_plain(message), message)))
    loops = [child for child in node if _local(child) in _LOOPS]
    loop = None
    if loops:
        sequential = loops[0].get("isSequential") == "true"
        several = _local(loops[0]) == "multiInstanceLoopCharacteristics"
        loop = ("sequential" if sequential else "parallel") if several else "loop"
    return Details(
        events=tuple(events),
        calls=node.get("calledElement"),
        loop=loop,
        interrupting=node.get("cancelActivity") != "false",
    )


def _name(node: XmlElement, names: dict[str, str]) -> str | None:
    reference = next((value for name in _REFERENCES if (value := node.get(name))), None)
    return node.get("name") if reference is None else names.get(_plain(reference), reference)


def _expression(node: XmlElement) -> tuple[str | None, str | None]:
    for child in node:
        kind = _local(child)
        if kind in _TIMERS or kind == "condition":
            text = " ".join("".join(child.itertext()).split()) or None
            return (kind if kind in _TIMERS else None), text
    return None, None


def _local(node: XmlElement) -> str:
    return node.tag.rpartition("}")[2]


def _plain(name: str) -> str:
    """A reference without the prefix of its namespace."""
    return name.rpartition(":")[2]


# --- timers ---------------------------------------------------------------------------------------

_DURATION = re.compile(
    r"(?P<sign>[+-])?P(?:(?P<years>\d+)Y)?(?:(?P<months>\d+)M)?(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+(?:\.\d+)?)D)?"
    r"(?:T(?:(?P<hours>\d+(?:\.\d+)?)H)?(?:(?P<minutes>\d+(?:\.\d+)?)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?",
    re.IGNORECASE,
)


def due(event: Event, since: datetime | None) -> datetime | None:
    """Return when a timer that began to run ``since`` then is due first.

    None where that cannot be told: its value is an expression, or not known.
    """
    text = (event.expression or "").strip().removeprefix("=").strip().strip("\"'")
    try:
        if event.timer == "timeDate":
            return utc(parse_time(text))
        if event.timer == "timeCycle":
            repeats, *parts = text.split("/")
            if not re.fullmatch(r"[Rr]\d*", repeats) or len(parts) not in {1, 2}:
                return None
            return _later(since, parts[0]) if len(parts) == 1 else utc(parse_time(parts[0]))
        return _later(since, text)
    except (ValueError, OverflowError):
        return None


def _later(since: datetime | None, text: str) -> datetime | None:
    match = _DURATION.fullmatch(text)
    if since is None or match is None or not any(match.groups()[1:]):
        return None
    parts = {name: float(value) for name, value in match.groupdict().items() if value and name != "sign"}
    months = int(parts.pop("years", 0) * 12 + parts.pop("months", 0))
    if match["sign"] == "-":
        return None
    if months:
        year, month = divmod(since.year * 12 + since.month - 1 + months, 12)
        day = since.day
        while True:
            try:
                since = since.replace(year=year, month=month + 1, day=day)
                break
            except ValueError:  # the month is shorter
                if day <= 28:
                    raise
                day -= 1
    return since + timedelta(**parts)
