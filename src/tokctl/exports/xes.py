"""An event log in XES (IEEE 1849-2016): a trace for each instance, an event for each change of a token.

Lifecycle transitions are those of the standard model: start, suspend (a token is SUSPENDED or FAILED), resume,
complete, ate_abort (CANCELLED), and unknown for other changes, such as to WAITING. An event whose time is unknown has
no time. A token that has not ended has no complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple
from xml.sax.saxutils import quoteattr

from tokctl.exports.export_format import UNKNOWN, ExportFormat, InstanceExport, TokenExport
from tokctl.model.states import ACTIVE, CANCELLED, FAILED, SUSPENDED, canonical_state
from tokctl.model.times import LAST, format_time, to_utc
from tokctl.render.text import replace_invalid_xml

_EXTENSIONS = {
    "Concept": ("concept", "http://www.xes-standard.org/concept.xesext"),
    "Lifecycle": ("lifecycle", "http://www.xes-standard.org/lifecycle.xesext"),
    "Time": ("time", "http://www.xes-standard.org/time.xesext"),
    "Organizational": ("org", "http://www.xes-standard.org/org.xesext"),
}
_CLASSIFIERS = {
    "Activity": "concept:name",
    "Element": "element_id",
    "Activity and transition": "concept:name lifecycle:transition",
}
_OTHERWISE = frozenset({"token_id", "resource", "state", "error"})
"""The facts that standard attributes, or those of single events, have."""
_HALTED = frozenset({SUSPENDED, FAILED})
_TYPES: dict[type, str] = {bool: "boolean", int: "int", float: "float", datetime: "date"}


class _Event(NamedTuple):
    """A change of a token; ``order`` breaks ties: the position of the token, and of the event in it."""

    at: datetime
    order: tuple[int, int]
    time: datetime | None
    transition: str
    state: str
    certainty: str | None


def write(instances: Iterable[InstanceExport], now: datetime) -> Iterator[str]:  # noqa: ARG001 - open ends stay open
    """Yield the log, one event in each piece. The events of a trace are in order of time."""
    yield '<?xml version="1.0" encoding="UTF-8"?>\n<log xes.version="1849-2016" xes.features="">\n'
    for name, (prefix, uri) in _EXTENSIONS.items():
        yield f'<extension name="{name}" prefix="{prefix}" uri="{uri}"/>\n'
    yield f'<global scope="trace">{_attribute("concept:name", "unknown")}</global>\n'
    yield f'<global scope="event">{_attribute("concept:name", "unknown")}'
    yield f"{_attribute('lifecycle:transition', 'complete')}</global>\n"
    for name, keys in _CLASSIFIERS.items():
        yield f'<classifier name="{name}" keys="{keys}"/>\n'
    yield f"{_attribute('lifecycle:model', 'standard')}\n"
    for instance in instances:
        yield f"<trace>{_attributes({'concept:name': instance.instance_id} | instance.facts())}\n"
        yield from _format_events(instance)
        yield "</trace>\n"
    yield "</log>\n"


def _format_events(instance: InstanceExport) -> Iterator[str]:
    events = [event for place, token in enumerate(instance.tokens) for event in _list_events(token, place)]
    shared = [_attributes(_describe(token)) for token in instance.tokens]
    for event in sorted(events, key=lambda event: event[:2]):
        place = event.order[0]
        of_event = {
            "lifecycle:transition": event.transition,
            "time:timestamp": event.time,
            "state": event.state,
            "error": instance.tokens[place].error if event.state == FAILED else None,
            "certainty": event.certainty,
        }
        yield f"<event>{shared[place]}{_attributes(of_event)}</event>\n"


def _describe(token: TokenExport) -> dict[str, Any]:
    """Return the attributes of all events of a token."""
    shared = {
        "concept:name": token.visit.name,
        "concept:instance": token.visit.token_id,
        "org:resource": token.resource,
        "parents": token.parents,
        "parents_certainty": token.certainty.get("parents"),
    }
    return shared | {name: value for name, value in token.facts().items() if name not in _OTHERWISE}


def _list_events(token: TokenExport, place: int) -> list[_Event]:
    """Return the events of a token. One without a time is placed at that of the event before it, or else after it."""
    visit, known = token.visit, token.certainty
    changes: list[tuple[datetime | None, str, str, str | None]] = [
        (token.start, "start", ACTIVE, known.get("start")),
    ]
    before = ACTIVE
    for change in visit.context.state_history or ():
        state = canonical_state(change.state)
        changes.append((to_utc(change.at), _transition(before, state), state, None))
        before = state
    if visit.live and visit.state != before:  # the source tells the present state, but not always since when
        time = token.failed_at if visit.state == FAILED else None
        certainty = known.get("failed_at") if visit.state == FAILED else UNKNOWN
        changes.append((time, _transition(before, visit.state), visit.state, certainty))
    if not visit.live:
        transition = "ate_abort" if visit.state == CANCELLED else "complete"
        changes.append((token.end, transition, visit.state, known.get("end")))
    last = next((time for time, *_ in changes if time is not None), LAST)
    events = []
    for number, (time, transition, state, certainty) in enumerate(changes):
        last = last if time is None else time
        marks = [certainty, known.get("state") if number == len(changes) - 1 else None]
        text = " ".join(dict.fromkeys(mark for mark in marks if mark)) or None
        events.append(_Event(last, (place, number), time, transition, state, text))
    return events


def _transition(before: str, state: str) -> str:
    return "suspend" if state in _HALTED else "resume" if before in _HALTED else "unknown"


def _attributes(values: dict[str, Any]) -> str:
    return "".join(_attribute(key, value) for key, value in values.items() if value is not None and value != ())


def _attribute(key: str, value: Any) -> str:
    kind = _TYPES.get(type(value), "string")
    if isinstance(value, datetime):
        value = format_time(value)
    elif isinstance(value, bool):
        value = str(value).lower()
    elif isinstance(value, list | tuple):
        value = " ".join(value)
    return f'<{kind} key="{key}" value={quoteattr(replace_invalid_xml(str(value)))}/>'


FORMAT = ExportFormat(write=write)
