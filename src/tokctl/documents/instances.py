"""Process instances as JSON: as the source sent them, with their current state, and with their activities.

``derived`` and ``status_derived`` name the values that were derived from the tokens, so that a reader of a document
does not take them for values of the source.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from tokctl.documents.base import Count, Document, DocumentError, Time, pop_text, pop_time, with_extra
from tokctl.model.definitions import Definition
from tokctl.model.instance_status import InstanceStatus
from tokctl.model.instances import Instance, Summary
from tokctl.model.states import canonical_state
from tokctl.model.times import format_time
from tokctl.model.tokens import NULL, Token


class InstanceDocument(Struct, kw_only=True, frozen=True):
    """A process instance as its source describes it."""

    instance_id: str
    process_id: str | None
    process_key: str | None
    version: int | None
    status: str | None
    business_key: str | None
    tenant_id: str | None
    started_at: Time | None
    updated_at: Time | None
    completed_at: Time | None
    cancelled_at: Time | None
    variables: Raw


class InstanceOverview(InstanceDocument, kw_only=True, frozen=True):
    """A process instance and its current state. ``status_derived``: the status was derived from the tokens.

    The numbers of tokens are null if the tokens were not read, because that takes a request for each instance.
    ``first_error`` is the message of the token that was created first, of those that FAILED with one.
    ``live_elements`` are names (or ids) of elements with live tokens, at most 5, those with FAILED tokens first.
    """

    status_derived: bool
    total_tokens: Count | None
    live_tokens: Count | None
    failed_tokens: Count | None
    first_error: str | UnsetType = UNSET
    live_elements: tuple[str, ...]


class InstanceStatusDocument(InstanceOverview, kw_only=True, frozen=True):
    """A process instance and its current state. ``derived`` names times that were derived from its tokens."""

    ended_at: Time | None
    derived: list[str]


class Activity(Struct, kw_only=True, frozen=True):
    """A token at an activity."""

    token_id: str
    element_id: str
    element_name: str | None
    state: str


class CompletedActivity(Activity, kw_only=True, frozen=True):
    """A token that has completed an activity."""

    completed_at: Time | None


class MetricsDocument(Struct, kw_only=True, frozen=True):
    """The progress of an instance. ``progress_percent`` is null without a model."""

    elapsed_time_seconds: float | None
    completed_activities_count: Count
    active_activities_count: Count
    progress_percent: float | None


class InstanceDetail(InstanceStatusDocument, kw_only=True, frozen=True):
    """A process instance with its activities, at most 1,000 of each kind, and its totals."""

    current_activity: str | None
    current_activities: list[Activity]
    completed_activities: list[CompletedActivity]
    metrics: MetricsDocument
    summary: Summary


class InstanceOverviewDetail(InstanceOverview, kw_only=True, frozen=True):
    """A process instance with its totals and its current elements (``tokctl instances show``)."""

    summary: Summary
    current_activities: list[Activity]


class InstanceList(Struct, kw_only=True, frozen=True):
    """Process instances, and how many match in total (null if not counted)."""

    instances: list[InstanceStatusDocument]
    total_count: Count | None
    has_more: bool
    limit: Count
    offset: Count


class InstanceOverviewList(Struct, kw_only=True, frozen=True):
    """Process instances (``tokctl instances list``)."""

    instances: list[InstanceOverview]


class ExportHead(InstanceDocument, kw_only=True, frozen=True):
    """The document around an exported instance's tokens; the first instance of each process also has the model."""

    status_derived: bool | UnsetType = UNSET
    definition: Definition | UnsetType = UNSET


# --- models to documents ----------------------------------------------------------------------------------


def encode_instance(instance: Instance) -> Document:
    """Return the documented object of an instance, without values derived from its tokens."""
    return _with_extra(InstanceDocument(**_instance_fields(instance)), instance)


def encode_export_head(status: InstanceStatus, definition: Definition | None) -> Document:
    """Return what ``store export`` writes before an instance's tokens; a derived status is marked."""
    instance = status.instance
    fields = _instance_fields(instance)
    if status.status_derived:
        fields |= {"status": status.status, "status_derived": True}
    head = ExportHead(**fields, definition=UNSET if definition is None else definition)
    return _with_extra(head, instance)


def encode_status(status: InstanceStatus) -> Document:
    """Return the documented object of an instance; a status that was derived from its tokens is marked."""
    return _with_extra(InstanceOverview(**_status_fields(status)), status.instance)


def encode_overview_detail(status: InstanceStatus, summary: Summary, live: Iterable[Token]) -> Document:
    """Return the same with the totals of the instance and its live tokens."""
    document = InstanceOverviewDetail(
        **_status_fields(status), summary=summary, current_activities=[encode_activity(token) for token in live]
    )
    return _with_extra(document, status.instance)


def encode_full_status(status: InstanceStatus) -> Document:
    """Return the object of an instance with its end, and the names of the derived times."""
    return _with_extra(InstanceStatusDocument(**_full_status_fields(status)), status.instance)


def encode_instance_detail(
    status: InstanceStatus, *, live: list[Token], completed: Iterable[Token], metrics: MetricsDocument, summary: Summary
) -> Document:
    """Return an instance with its live tokens and the activities that it completed."""
    document = InstanceDetail(
        **_full_status_fields(status),
        current_activity=live[0].element_id if live else None,
        current_activities=[encode_activity(token) for token in live],
        completed_activities=[
            CompletedActivity(**_activity_fields(token), completed_at=format_time(token.finished_at))
            for token in completed
        ],
        metrics=metrics,
        summary=summary,
    )
    return _with_extra(document, status.instance)


def encode_activity(token: Token) -> Activity:
    """Return a token at an activity."""
    return Activity(**_activity_fields(token))


def _with_extra(document: InstanceDocument, instance: Instance) -> Document:
    return with_extra(document, instance.extra, after="variables")


def _activity_fields(token: Token) -> dict[str, Any]:
    return {name: getattr(token, name) for name in Activity.__struct_fields__}


def _instance_fields(instance: Instance) -> dict[str, Any]:
    fields = {name: getattr(instance, name) for name in InstanceDocument.__struct_fields__}
    return fields | {name: format_time(fields[name]) for name in _INSTANCE_TIMES}


def _status_fields(status: InstanceStatus) -> dict[str, Any]:
    return _instance_fields(status.instance) | {
        "status": status.status,
        "started_at": format_time(status.started_at),
        "updated_at": format_time(status.updated_at),
        "status_derived": status.status_derived,
        "total_tokens": status.total_tokens if status.tokens_known else None,
        "live_tokens": status.live_tokens if status.tokens_known else None,
        "failed_tokens": status.incidents,
        "first_error": status.first_error or UNSET,
        "live_elements": status.live_elements,
    }


def _full_status_fields(status: InstanceStatus) -> dict[str, Any]:
    given = status.instance
    derived = [
        name
        for name in ("started_at", "updated_at")
        if getattr(status, name) is not None and getattr(given, name) is None
    ]
    return _status_fields(status) | {"ended_at": format_time(status.ended_at), "derived": derived}


# --- documents to models ----------------------------------------------------------------------------------

_text_decoder = msgspec.json.Decoder(str | None)
_count_decoder = msgspec.json.Decoder(int | None)
_names_decoder = msgspec.json.Decoder(tuple[str, ...])

_INSTANCE_ALIASES = (
    ("id", "instance_id"),
    ("process_instance_id", "instance_id"),
    ("state", "status"),
    ("process_definition_id", "process_id"),
    ("businessKey", "business_key"),
)

_INSTANCE_TIMES = ("started_at", "updated_at", "completed_at", "cancelled_at")

_INSTANCE_TEXTS = ("instance_id", "process_id", "process_key", "status", "business_key", "tenant_id")

IGNORED_FIELDS = frozenset(
    {name for shown in (InstanceDetail, InstanceOverviewDetail, ExportHead) for name in shown.__struct_fields__}
    - set(InstanceDocument.__struct_fields__)
    | {"tokens", "success", "request_id"}
)
"""Derived from the tokens or the store each time an instance is shown; never read from a document."""


def decode_instance(fields: dict[str, Raw]) -> Instance:
    """Decode a process instance from its fields, or from those around a list of tokens.

    Raises:
        DocumentError: a field is wrong.
    """
    fields = dict(fields)
    derived = bytes(fields.get("status_derived", NULL)) == b"true"
    for name in _derived_times(fields):
        fields.pop(name, None)
    for alias, name in _INSTANCE_ALIASES:
        if alias in fields and name not in fields:
            fields[name] = fields.pop(alias)
    good: dict[str, Any] = {name: pop_text(fields, name) or None for name in _INSTANCE_TEXTS}
    if good["instance_id"] is None:
        raise DocumentError("instance_id", "missing or empty")
    if "\0" in good["instance_id"]:
        raise DocumentError("instance_id", "contains a NUL character")
    if good["status"] is not None:
        good["status"] = None if derived else canonical_state(good["status"])
    good |= {name: pop_time(fields, name) for name in _INSTANCE_TIMES}
    try:
        good["version"] = msgspec.json.decode(fields.pop("version", NULL), type=int | None, strict=False)
    except msgspec.MsgspecError:
        raise DocumentError("version", "expected an integer") from None
    good["variables"] = fields.pop("variables", NULL)
    extra = {name: raw for name, raw in fields.items() if name not in IGNORED_FIELDS}
    return Instance(**good, extra=extra)


def _derived_times(fields: dict[str, Raw]) -> list[str]:
    """The times that a server derived from the tokens and marked as derived."""
    try:
        names = msgspec.json.decode(fields.get("derived", b"[]"), type=list[str])
    except (msgspec.MsgspecError, UnicodeError):
        return []
    return [name for name in names if name in _INSTANCE_TIMES]


def decode_status(fields: dict[str, Raw]) -> InstanceStatus:
    """Decode the state of an instance from the fields of ``encode_full_status``.

    Raises:
        DocumentError: a field is wrong.
    """
    instance, fields = decode_instance(fields), dict(fields)
    status = instance.status or _read(_text_decoder, fields, "status", None)
    total, failed = _read(_count_decoder, fields, "total_tokens", 0), _read(_count_decoder, fields, "failed_tokens", 0)
    return InstanceStatus(
        instance=instance,
        status=status,
        status_derived=instance.status is None and status is not None,
        total_tokens=total or 0,
        live_tokens=_read(_count_decoder, fields, "live_tokens", 0) or 0,
        failed_tokens=failed or 0,
        tokens_known=total is not None,
        incidents_known=total is None and failed == 0,
        first_error=_read(_text_decoder, fields, "first_error", None),
        live_elements=_read(_names_decoder, fields, "live_elements", ()),
        started_at=pop_time(fields, "started_at"),
        updated_at=pop_time(fields, "updated_at"),
        ended_at=pop_time(fields, "ended_at"),
    )


def _read(decoder: msgspec.json.Decoder[Any], fields: dict[str, Raw], name: str, default: Any) -> Any:
    try:
        return decoder.decode(fields[name]) if name in fields else default
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise DocumentError(name, str(error)) from None
