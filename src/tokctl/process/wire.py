"""Between the API's documents and the models: JSON in the documented shape, both ways.

``decode_*`` take the JSON text of one object; ``*_document`` return what ``msgspec.json.encode``
turns into the documented object, keys in the documented order. Reading a whole document or a
stream of them is ``process.reader``.

Documents by other engines are read too, as far as they mean the same: ``id`` and
``process_instance_id``, ``status`` for ``state``, times in epoch seconds or milliseconds.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import force_setattr, replace

from tokctl.process.model import (
    ELEMENT_TYPES,
    EPOCH,
    NULL,
    STATES,
    Definition,
    Instance,
    Summary,
    Token,
    canonical_state,
    canonical_type,
    format_time,
    utc,
)


class Fault(Exception):  # noqa: N818 - it becomes an InputError, or a line of a list of rejects
    """A document that is no token (or instance): the field and the reason."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field = field
        self.reason = reason


_documented = msgspec.json.Decoder(Token)
_object = msgspec.json.Decoder(dict[str, Raw])


def decode_object(text: str | bytes | Raw) -> dict[str, Raw]:
    """Decode a JSON object one level deep. Raises Fault for anything else."""
    try:
        return _object.decode(text)
    except msgspec.ValidationError:
        raise Fault("", "expected a JSON object") from None
    except RecursionError:
        raise Fault("", "nested too deeply") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Fault("", f"not JSON: {error}") from None


# --- times ----------------------------------------------------------------------------------------


def parse_time(value: Any) -> datetime | None:
    """Read a time of any kind that engines send: RFC 3339, epoch seconds or milliseconds.

    Raises:
        ValueError: it is none of these.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            return utc(msgspec.convert(value, datetime))
        except msgspec.ValidationError:
            raise ValueError(f"'{shorten(value)}' is no RFC 3339 time") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("expected a time as text or as epoch seconds")  # noqa: TRY004 - for callers it is one
    try:
        seconds = value / 1000 if abs(value) >= 1e11 else value  # 1e11 s is the year 5138
        return EPOCH + timedelta(seconds=seconds)
    except (OverflowError, ValueError):
        raise ValueError(f"{shorten(str(value))} is no time") from None


def shorten(text: str, length: int = 40) -> str:
    """Cut a text that is quoted in a message."""
    return text if len(text) <= length else text[: length - 1] + "…"


# --- tokens ---------------------------------------------------------------------------------------

_ALIASES = {
    "id": "token_id",
    "status": "state",
    "process_instance_id": "instance_id",
    "current_element_id": "element_id",
}
_TIMES = ("created_at", "updated_at", "completed_at", "cancelled_at")
_TEXTS = (
    "token_id",
    "state",
    "element_id",
    "instance_id",
    "process_id",
    "element_type",
    "parent_token_id",
)
_RAWS = ("variables", "execution_context", "flow_history")
_REQUIRED = ("token_id", "state", "element_id")


_KNOWN_STATES = frozenset(STATES)
_KNOWN_TYPES = frozenset((*ELEMENT_TYPES, None))


def decode_token(text: str | bytes | Raw, instance_id: str = "", process_id: str | None = None) -> Token:
    """Decode a token; the ids are those of the document around it, for one that has none itself.

    The token keeps a reference to the text that it came from, and is as it came but for line breaks.

    Raises:
        Fault: it is no token; names the first field that is wrong.
    """
    try:
        token = _documented.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return _decode_leniently(text, instance_id, process_id)
    if token.extra:  # the name that it has there is none that documents are kept from using
        return _decode_leniently(text, instance_id, process_id)
    if not token.instance_id:
        force_setattr(token, "instance_id", instance_id)
    if token.process_id is None and process_id is not None and token.instance_id == instance_id:
        force_setattr(token, "process_id", process_id)
    _check_ids(token)
    if (
        token.state in _KNOWN_STATES
        and token.element_type in _KNOWN_TYPES
        and _is_utc(token.created_at)
        and _is_utc(token.updated_at)
        and _is_utc(token.completed_at)
        and _is_utc(token.cancelled_at)
        and token.parent_token_id != ""
        and token.process_id != ""
    ):
        return token
    return replace(
        token,
        process_id=token.process_id or None,
        state=canonical_state(token.state),
        element_type=canonical_type(token.element_type) if token.element_type else None,
        created_at=utc(token.created_at),
        updated_at=utc(token.updated_at),
        completed_at=utc(token.completed_at),
        cancelled_at=utc(token.cancelled_at),
        parent_token_id=token.parent_token_id or None,
    )


def _is_utc(time: datetime | None) -> bool:
    return time is None or time.tzinfo is UTC


def _check_ids(token: Token) -> None:
    if not token.instance_id:
        raise Fault("instance_id", "missing, and the document around the token names none")
    for name in _REQUIRED:
        if not getattr(token, name):
            raise Fault(name, "missing or empty")
    if "\0" in token.token_id or "\0" in token.instance_id:
        raise Fault("token_id", "it or the instance's id holds a NUL character")


def _decode_leniently(text: str | bytes | Raw, instance_id: str, process_id: str | None) -> Token:
    fields = _with_aliases(decode_object(text))
    if not fields.keys() & {"token_id", "state", "element_id"}:
        raise Fault("token_id", "missing; this is no token")
    name = _text(fields, "element_name")
    good: dict[str, Any] = {"element_name": name} | {name: _text(fields, name) or None for name in _TEXTS}
    for name in _REQUIRED:
        if good[name] is None:
            raise Fault(name, "missing or empty")
    good["instance_id"] = good["instance_id"] or instance_id
    if good["instance_id"] == instance_id:
        good["process_id"] = good["process_id"] or process_id
    good["state"] = canonical_state(good["state"])
    if good["element_type"] is not None:
        good["element_type"] = canonical_type(good["element_type"])
    for name in _TIMES:
        good[name] = _time(fields, name)
    for name in _RAWS:
        good[name] = fields.pop(name, NULL)
    try:
        children = fields.pop("child_tokens", NULL)
        good["child_tokens"] = msgspec.json.decode(children, type=tuple[str, ...] | None)
    except msgspec.MsgspecError as error:
        raise Fault("child_tokens", f"expected an array of token ids ({error})") from None
    token = Token(**good, extra=fields)
    _check_ids(token)
    return token


def _with_aliases(fields: dict[str, Raw]) -> dict[str, Raw]:
    """Give fields by another engine's names their documented ones, unless those stand there too."""
    for alias, name in _ALIASES.items():
        if alias in fields and name not in fields:
            fields[name] = fields.pop(alias)
    return fields


def _text(fields: dict[str, Raw], name: str) -> str | None:
    raw = fields.pop(name, NULL)
    try:
        return msgspec.json.decode(raw, type=str | None)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise Fault(name, f"expected text ({error})") from None


def _time(fields: dict[str, Raw], name: str) -> datetime | None:
    try:
        return parse_time(msgspec.json.decode(fields.pop(name, NULL)))
    except (msgspec.MsgspecError, ValueError) as error:
        raise Fault(name, str(error)) from None


def token_document(token: Token, *, instance: bool = False) -> dict[str, Any]:
    """Return the documented object of a token.

    ``instance=True`` puts the ids of its instance and process first, for a token that stands alone.
    """
    document: dict[str, Any] = {
        "token_id": token.token_id,
        "element_id": token.element_id,
        "element_type": token.element_type,
        "element_name": token.element_name,
        "state": token.state,
        "created_at": format_time(token.created_at),
        "updated_at": format_time(token.updated_at),
        "completed_at": format_time(token.completed_at),
        "cancelled_at": format_time(token.cancelled_at),
        "variables": token.variables,
        "execution_context": token.execution_context,
        "parent_token_id": token.parent_token_id,
        "child_tokens": token.child_tokens,
        "flow_history": token.flow_history,
    }
    if instance:
        document = {"instance_id": token.instance_id, "process_id": token.process_id} | document
    for name, raw in token.extra.items():
        document.setdefault(name, raw)
    return document


# --- instances and definitions ----------------------------------------------------------------------

_INSTANCE_ALIASES = (
    ("id", "instance_id"),
    ("process_instance_id", "instance_id"),
    ("state", "status"),
    ("process_definition_id", "process_id"),
)
_INSTANCE_TIMES = ("started_at", "updated_at", "completed_at", "cancelled_at")
_INSTANCE_TEXTS = ("instance_id", "process_id", "process_key", "status", "tenant_id")
# Worked out from the tokens or the store whenever an instance is shown: never read back.
UNREAD_FIELDS = frozenset({
    "summary", "tokens", "definition", "current_activity", "current_activities", "completed_activities",
    "metrics", "total_tokens", "live_tokens", "status_derived", "ended_at", "derived", "success", "request_id",
})  # fmt: skip


def decode_instance(fields: dict[str, Raw]) -> Instance:
    """Decode a process instance from its fields, or from those around a list of tokens.

    Raises:
        Fault: a field is wrong.
    """
    fields = dict(fields)
    derived = bytes(fields.get("status_derived", NULL)) == b"true"
    for name in _derived(fields):
        fields.pop(name, None)
    for alias, name in _INSTANCE_ALIASES:
        if alias in fields and name not in fields:
            fields[name] = fields.pop(alias)
    good: dict[str, Any] = {}
    for name in _INSTANCE_TEXTS:
        good[name] = _text(fields, name) or None
    if good["instance_id"] is None:
        raise Fault("instance_id", "missing or empty")
    if "\0" in good["instance_id"]:
        raise Fault("instance_id", "holds a NUL character")
    if good["status"] is not None:
        good["status"] = None if derived else canonical_state(good["status"])
    for name in _INSTANCE_TIMES:
        good[name] = _time(fields, name)
    try:
        good["version"] = msgspec.json.decode(fields.pop("version", NULL), type=int | None, strict=False)
    except msgspec.MsgspecError as error:
        raise Fault("version", f"expected a whole number ({error})") from None
    good["variables"] = fields.pop("variables", NULL)
    extra = {name: raw for name, raw in fields.items() if name not in UNREAD_FIELDS}
    return Instance(**good, extra=extra)


def _derived(fields: dict[str, Raw]) -> list[str]:
    """The times that a server worked out from the tokens, and says so."""
    try:
        names = msgspec.json.decode(fields.get("derived", b"[]"), type=list[str])
    except (msgspec.MsgspecError, UnicodeError):
        return []
    return [name for name in names if name in _INSTANCE_TIMES]


def instance_document(instance: Instance) -> dict[str, Any]:
    """Return the documented object of an instance, without what is worked out from its tokens."""
    return {
        "instance_id": instance.instance_id,
        "process_id": instance.process_id,
        "process_key": instance.process_key,
        "version": instance.version,
        "status": instance.status,
        "tenant_id": instance.tenant_id,
        "started_at": format_time(instance.started_at),
        "updated_at": format_time(instance.updated_at),
        "completed_at": format_time(instance.completed_at),
        "cancelled_at": format_time(instance.cancelled_at),
        "variables": instance.variables,
    } | instance.extra


def decode_definition(text: str | bytes | Raw) -> Definition:
    """Decode a definition as ``store export`` writes it. Raises Fault where it is none."""
    try:
        return msgspec.json.decode(text, type=Definition)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Fault("definition", str(error)) from None


def summary_document(summary: Summary) -> dict[str, Any]:
    """Return the documented ``summary``."""
    return msgspec.structs.asdict(summary)
