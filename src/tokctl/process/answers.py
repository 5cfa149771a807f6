"""The documented object of a process instance with all that is known of it, both ways.

A server says it, an engine over HTTP reads it back equal. What was worked out from the tokens is named in
``derived``, so that it is never taken for what the source said.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from tokctl.process.model import NULL, format_time
from tokctl.process.status import InstanceStatus
from tokctl.process.wire import Fault, decode_instance, instance_document, parse_time

_TIMES = ("started_at", "updated_at")
_text = msgspec.json.Decoder(str | None)
_count = msgspec.json.Decoder(int)


def status_document(status: InstanceStatus) -> dict[str, Any]:
    """Return the documented object of an instance; a status that was worked out from its tokens is marked."""
    document = instance_document(status.instance)
    document["status"] = status.status
    document["status_derived"] = status.status_derived
    document["started_at"] = format_time(status.started_at)
    document["updated_at"] = format_time(status.updated_at)
    document["total_tokens"] = status.total_tokens
    document["live_tokens"] = status.live_tokens
    return document


def status_answer(status: InstanceStatus) -> dict[str, Any]:
    """Return the same with the instance's end, and the names of the times that were worked out."""
    document = status_document(status)
    document["ended_at"] = format_time(status.ended_at)
    document["derived"] = [
        name for name in _TIMES if getattr(status, name) is not None and getattr(status.instance, name) is None
    ]
    return document


def decode_status(fields: dict[str, Raw]) -> InstanceStatus:
    """Decode how an instance stands from the fields of ``status_answer``.

    Raises:
        Fault: a field is wrong.
    """
    instance = decode_instance(fields)
    status = instance.status or _read(_text, fields, "status", None)
    return InstanceStatus(
        instance=instance,
        status=status,
        status_derived=instance.status is None and status is not None,
        total_tokens=_read(_count, fields, "total_tokens", 0),
        live_tokens=_read(_count, fields, "live_tokens", 0),
        started_at=_time(fields, "started_at"),
        updated_at=_time(fields, "updated_at"),
        ended_at=_time(fields, "ended_at"),
    )


def _read(decoder: msgspec.json.Decoder[Any], fields: dict[str, Raw], name: str, default: Any) -> Any:
    try:
        return decoder.decode(fields[name]) if name in fields else default
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise Fault(name, str(error)) from None


def _time(fields: dict[str, Raw], name: str) -> Any:
    try:
        return parse_time(msgspec.json.decode(fields.get(name, NULL)))
    except (msgspec.MsgspecError, ValueError) as error:
        raise Fault(name, str(error)) from None
