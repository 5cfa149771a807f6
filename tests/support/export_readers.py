"""Readers of the export formats: strict, and independent of the program."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import datetime
from typing import Any
from xml.etree import ElementTree as ET

from google.protobuf.json_format import ParseDict
from jsonschema_rs import Draft202012Validator
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.builders import at, instance
from tokctl.exports.export_format import ExportFormat, InstanceExport, prepare
from tokctl.model.instance_status import derive_status
from tokctl.model.tokens import is_state_derived
from tokctl.model.visits import Visit
from tokctl.services.export import ReadInstance

LATER = at(10_000)


def prepared(tokens, **about) -> InstanceExport:
    """The tokens of one instance as formats write them."""
    status = derive_status(instance(**({"instance_id": "i1"} | about)), tokens)
    visits = [Visit.from_token(one, flows=True) for one in tokens]
    derived = frozenset(one.token_id for one in tokens if is_state_derived(one, one.context))
    return prepare(ReadInstance(status, visits, derived, lambda: None))


def written(form: ExportFormat, *instances: InstanceExport) -> str:
    """The text of a format."""
    return "".join(form.write(instances, LATER))


# --- OTLP -------------------------------------------------------------------------------------------------


def read_otlp(text: str) -> list[Any]:
    """The spans of lines in the JSON of OTLP, decoded by OpenTelemetry's own definitions. An unknown member fails."""
    spans = []
    for line in text.removesuffix("\n").split("\n") if text else ():
        request = ParseDict(_with_base64_ids(json.loads(line)), ExportTraceServiceRequest())
        spans += [span for found in request.resource_spans for scope in found.scope_spans for span in scope.spans]
    return spans


def _with_base64_ids(value: Any) -> Any:
    """OTLP writes ids in hexadecimal, other than protobuf's JSON."""
    if isinstance(value, dict):
        return {
            name: b64encode(bytes.fromhex(inner)).decode()
            if name in {"traceId", "spanId", "parentSpanId"}
            else _with_base64_ids(inner)
            for name, inner in value.items()
        }
    return [_with_base64_ids(one) for one in value] if isinstance(value, list) else value


def attributes(described: Any) -> dict[str, Any]:
    """The attributes of a span or an event."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in described.attributes}


# --- Trace Event Format -----------------------------------------------------------------------------------

_PLACE = {"pid": {"type": "integer"}, "tid": {"type": "integer"}}
_EVENT = {
    "type": "object",
    "required": ["ph", "pid", "tid", "name"],
    "properties": _PLACE | {"name": {"type": "string"}, "args": {"type": "object"}},
    "oneOf": [
        {"properties": {"ph": {"const": "X"}, "dur": {"type": "integer", "minimum": 0}}, "required": ["ts", "dur"]},
        {"properties": {"ph": {"const": "B"}, "dur": False, "ts": {"type": "integer"}}, "required": ["ts", "cat"]},
        {"properties": {"ph": {"const": "i"}, "s": {"enum": ["g", "p", "t"]}}, "required": ["ts", "s"]},
        {
            "properties": {
                "ph": {"const": "M"},
                "ts": False,
                "name": {"enum": ["process_name", "process_labels", "thread_name"]},
                "args": {"anyOf": [{"required": ["name"]}, {"required": ["labels"]}]},
            },
            "required": ["args"],
        },
    ],
}
_SCHEMA = {
    "type": "object",
    "required": ["traceEvents"],
    "additionalProperties": False,
    "properties": {
        "displayTimeUnit": {"enum": ["ms", "ns"]},
        "otherData": {"type": "object"},
        "traceEvents": {"type": "array", "items": _EVENT},
    },
}


def read_chrome_trace(text: str) -> list[dict[str, Any]]:
    """The events, checked against the description of the format; slices of a track must not overlap."""
    document = json.loads(text)
    Draft202012Validator(_SCHEMA).validate(document)
    ends: dict[tuple[int, int], float] = {}
    for event in document["traceEvents"]:
        if event["ph"] in {"X", "B"}:
            track = event["pid"], event["tid"]
            assert event["ts"] >= ends.get(track, -float("inf"))
            ends[track] = event["ts"] + event.get("dur", float("inf"))
    return document["traceEvents"]


# --- XES --------------------------------------------------------------------------------------------------

_TYPES = {
    "string": str,
    "date": datetime.fromisoformat,
    "int": int,
    "float": float,
    "boolean": {"true": True, "false": False}.__getitem__,
}
_STANDARD = {
    "concept": {"name", "instance"},
    "lifecycle": {"model", "transition", "state"},
    "time": {"timestamp"},
    "org": {"resource", "role", "group"},
}
_TRANSITIONS = {
    *("schedule", "assign", "withdraw", "reassign", "start", "suspend", "resume", "pi_abort", "ate_abort"),
    *("complete", "autoskip", "manualskip", "unknown"),
}
_ORDER = ("extension", "global", "classifier", *_TYPES, "trace")


def read_xes(text: str) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """The traces with their events, checked against IEEE 1849-2016."""
    log = ET.fromstring(text)
    assert (log.tag, log.get("xes.version")) == ("log", "1849-2016")
    ranks = [min(_ORDER.index(child.tag), 3) if child.tag != "trace" else 4 for child in log]
    assert ranks == sorted(ranks)
    assert {one.get("prefix") for one in log.iter("extension")} == set(_STANDARD)
    scopes = [one.get("scope") for one in log.iter("global")]
    assert scopes == ["trace", "event"]
    required = {one.get("scope"): set(_read_attributes(one)) for one in log.iter("global")}
    traces = []
    for trace in log.iter("trace"):
        events = [_read_attributes(event) for event in trace.iter("event")]
        assert all(required["event"] <= set(event) for event in events)
        assert all(event["lifecycle:transition"] in _TRANSITIONS for event in events)
        about = _read_attributes(trace)
        assert required["trace"] <= set(about)
        traces.append((about, events))
    return traces


def _read_attributes(element: ET.Element) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for child in element:
        if child.tag == "event":
            continue
        assert set(child.attrib) == {"key", "value"}
        key, value = child.attrib["key"], child.attrib["value"]
        prefix, colon, name = key.partition(":")
        assert not colon or name in _STANDARD[prefix]
        assert key not in found
        found[key] = _TYPES[child.tag](value)
    return found
