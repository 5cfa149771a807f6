"""Traces in the JSON of the OpenTelemetry protocol (OTLP 1.x): a trace for each instance, a span for each token.

The root span is the instance. The parent of a token's span is that of its parent token; further parents, at a join,
are links, and so is a called instance. Ids are hashes of the ids of instance and token, so that a repeated export has
the same ones.

A span must have a start and an end. One of a token (or an instance) that is open ends at the time of the export and has
the attribute ``tokctl.open``. If the start or the end is unknown, both are the other one, and
``tokctl.certainty.start`` or ``tokctl.certainty.end`` is ``unknown``.

Each piece is a line with at most MAX_SPANS spans: as a file, or as the bodies of requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from hashlib import sha256
from itertools import islice
from typing import Any

import msgspec

from tokctl.exports.export_format import DERIVED, UNKNOWN, ExportFormat, InstanceExport, TokenExport
from tokctl.model.states import FAILED, is_final
from tokctl.model.times import to_micros, to_utc
from tokctl.version import __version__

MAX_SPANS = 512
_MAX_NANOS = 2**64 - 1
_SPAN_KIND_INTERNAL = 1
_STATUS_CODE_ERROR = 2

Json = dict[str, Any]


def write(instances: Iterable[InstanceExport], now: datetime) -> Iterator[str]:
    """Yield lines, each a document ``TracesData`` with spans of one instance."""
    for instance in instances:
        about = instance.read.status.instance
        resource = {
            "service.name": about.process_id or "unknown_service",
            "service.version": None if about.version is None else str(about.version),
            "tokctl.process_id": about.process_id,
            "tokctl.version": about.version,
        }
        spans = _list_spans(instance, now)
        while several := list(islice(spans, MAX_SPANS)):
            scope = {"scope": {"name": "tokctl", "version": __version__}, "spans": several}
            found = {"resourceSpans": [{"resource": {"attributes": _attributes(resource)}, "scopeSpans": [scope]}]}
            yield msgspec.json.encode(found).decode() + "\n"


def trace_id(instance_id: str) -> str:
    """Return the id of an instance's trace, 16 bytes in hexadecimal."""
    return sha256(b"trace\0" + instance_id.encode()).hexdigest()[:32]


def span_id(instance_id: str, token_id: str = "") -> str:
    """Return the id of a token's span, or of an instance's, 8 bytes in hexadecimal."""
    return sha256(b"span\0" + instance_id.encode() + b"\0" + token_id.encode()).hexdigest()[:16]


def _list_spans(instance: InstanceExport, now: datetime) -> Iterator[Json]:
    status, root = instance.read.status, span_id(instance.instance_id)
    about = status.instance
    ended = status.ended_at is not None or (status.status is not None and is_final(status.status))
    certainty = {} if about.started_at else {"start": DERIVED}
    if ended and not (about.completed_at or about.cancelled_at):
        certainty["end"] = DERIVED
    start, end = _nanos(status.started_at), _nanos(status.ended_at)
    shown = {"": root} if start or end else {}
    shown |= {
        token.visit.token_id: span_id(instance.instance_id, token.visit.token_id)
        for token in instance.tokens
        if not omits(token)
    }
    if start or end:
        facts = instance.facts() | ({} if ended else {"open": True})
        times = _bounds(start, end if ended else _nanos(now), certainty)
        yield {
            **_identity(instance.instance_id, about.process_id or instance.instance_id, root),
            **times,
            "attributes": _attributes(_named(facts, certainty)),
        }
    for token in instance.tokens:
        if token.visit.token_id in shown:
            yield _span(instance.instance_id, token, shown, now)


def _span(instance_id: str, token: TokenExport, shown: Mapping[str, str], now: datetime) -> Json:
    """Return the span of a token; ``shown`` are the ids of the spans, by the ids of the tokens."""
    certainty = dict(token.certainty)
    start = _nanos(token.start) or _nanos(token.failed_at)
    times = _bounds(start, _nanos(now if token.visit.live else token.end), certainty)
    links = [(trace_id(instance_id), shown[one]) for one in token.joined if one in shown]
    if (called := token.visit.context.called_instance_id) is not None:
        links.append((trace_id(called), span_id(called)))
    span = _identity(instance_id, token.visit.name, shown[token.visit.token_id]) | times
    if (parent := shown.get(token.parent or "") or shown.get("")) is not None:
        span["parentSpanId"] = parent
    span["attributes"] = _attributes(_named(token.facts() | {"instance_id": instance_id}, certainty))
    if links:
        span["links"] = [{"traceId": trace, "spanId": linked} for trace, linked in links]
    if events := list(_list_events(token)):
        span["events"] = events
    if token.visit.state == FAILED:
        span["status"] = {"code": _STATUS_CODE_ERROR} | ({"message": token.error} if token.error else {})
    return span


def _list_events(token: TokenExport) -> Iterator[Json]:
    """Yield the changes of the state as events, and the incident, if there is one, as an exception."""
    for change in token.visit.context.state_history or ():
        if change.at and (nanos := _nanos(to_utc(change.at))) is not None:
            yield {"timeUnixNano": nanos, "name": change.state, "attributes": []}
    if token.visit.state == FAILED:
        # A recorder of exceptions has to give the type or the message.
        known = {
            "exception.type": None if token.error else "incident",
            "exception.message": token.error,
            "exception.stacktrace": token.visit.context.stack_trace,
            "tokctl.certainty": token.certainty.get("failed_at"),
        }
        nanos = _nanos(token.failed_at)
        yield ({} if nanos is None else {"timeUnixNano": nanos}) | {
            "name": "exception",
            "attributes": _attributes(known),
        }


def _identity(instance_id: str, name: str, span: str) -> Json:
    return {"traceId": trace_id(instance_id), "spanId": span, "name": name, "kind": _SPAN_KIND_INTERNAL}


def omits(token: TokenExport) -> bool:
    """Tell whether no time of a token is known that a span can have."""
    return not any(map(_nanos, token.times))


def _bounds(start: str | None, end: str | None, certainty: dict[str, str]) -> Json:
    """Return start and end. An unknown one is that of the other, and marked."""
    if start is None:
        certainty["start"] = UNKNOWN
    if end is None:
        certainty["end"] = UNKNOWN
    start, end = start or end, end or start
    if start is not None and end is not None and int(end) < int(start):
        certainty["end"] = "before start"
        end = start
    return {"startTimeUnixNano": start, "endTimeUnixNano": end}


def _nanos(time: datetime | None) -> str | None:
    """Return a time in nanoseconds since 1970, as text; None if it is unknown, or cannot be represented."""
    micros = to_micros(time)
    return None if micros is None or not 0 < micros <= _MAX_NANOS // 1000 else str(micros * 1000)


def _named(facts: Json, certainty: dict[str, str]) -> Json:
    named = {f"tokctl.{name}": value for name, value in facts.items()}
    return named | {f"tokctl.certainty.{name}": how for name, how in certainty.items()}


def _attributes(values: Json) -> list[Json]:
    return [{"key": key, "value": _value(value)} for key, value in values.items() if value is not None]


def _value(value: Any) -> Json:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(one) for one in value]}}
    return {"stringValue": value}


FORMAT = ExportFormat(write=write, omits=omits, is_json=True)
