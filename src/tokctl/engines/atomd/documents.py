"""Converts documents of atomd into models: instances, tokens, jobs, timers. ``visits`` combines them.

Its states, its times (RFC 3339 with nanoseconds and without, epoch seconds, and the zero time of Go) and its names
become the documented ones. Values that it never sends are unknown, not empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Raw, Struct

from tokctl.documents.base import DocumentError
from tokctl.model.instances import Instance
from tokctl.model.json_values import decode_value
from tokctl.model.states import COMPLETED, FAILED, canonical_state, is_final
from tokctl.model.times import parse_time
from tokctl.model.tokens import NULL, Token

_ZERO_TIME_YEAR = 1  # the year of Go's zero time


class Job(Struct, frozen=True):
    """A job of a token. ``state`` is PENDING, RUNNING, DEFERRED (it failed, and waits for its next attempt) or final.

    ``created_at`` is in whole seconds. Only ``InstanceInfo`` has the error, and only the list of all jobs the token.
    """

    key: str
    state: str
    instance_id: str = ""
    token_id: str | None = None
    type: str | None = None
    worker: str | None = None
    retries: int | None = None
    deadline: datetime | None = None
    created_at: datetime | None = None
    error: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether its token still waits for it; after it FAILED a retry can revive it."""
        return self.state in {"PENDING", "RUNNING", "DEFERRED", FAILED}


class Timer(Struct, frozen=True):
    """A timer of an instance: at a catch event (``EVENT``), or at a boundary event of an activity (``BOUNDARY``)."""

    timer_id: str
    element_id: str
    instance_id: str
    type: str | None
    is_scheduled: bool
    due_at: datetime | None


class InstanceInfo(Struct, frozen=True):
    """An instance with its jobs and timers, and the key of its definition."""

    instance: Instance
    definition_key: str | None
    jobs: tuple[Job, ...]
    timers: tuple[Timer, ...]


# --- values ---------------------------------------------------------------------------------------


def parse_moment(value: Any) -> datetime | None:
    """Read a time of any kind that atomd sends; zero is none. Raises ValueError."""
    if value in (None, "", 0):
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        while abs(value) >= 1e14:  # microseconds, nanoseconds
            value /= 1000
    return parse_time(value)


class _FieldReader:
    """An object's fields, by type; a wrong one is a DocumentError."""

    def __init__(self, fields: Mapping[str, Raw]) -> None:
        self.fields = fields

    def text(self, *names: str) -> str | None:
        """The first of these fields that is present and not empty."""
        for name in names:
            try:
                value = msgspec.json.decode(self.fields.get(name, NULL), type=str | None)
            except (msgspec.MsgspecError, UnicodeError) as error:
                raise DocumentError(name, f"expected text ({error})") from None
            if value:
                return value
        return None

    def required(self, *names: str) -> str:
        """The same for a required field."""
        found = self.text(*names)
        if found is None or "\0" in found:
            raise DocumentError(names[0], "missing or empty" if found is None else "contains a NUL character")
        return found

    def time(self, *names: str) -> datetime | None:
        """The first valid time: the same time appears in several fields, not always with the same precision."""
        for name in names:
            try:
                found = parse_moment(decode_value(self.fields.get(name, NULL)))
            except (msgspec.MsgspecError, UnicodeError, ValueError) as error:
                raise DocumentError(name, str(error)) from None
            if found is not None:
                return found
        return None

    def number(self, name: str) -> int | None:
        """An integer; anything else is unknown."""
        try:
            return msgspec.json.decode(self.fields.get(name, NULL), type=int | None, strict=False)
        except (msgspec.MsgspecError, UnicodeError):
            return None


# --- instances and tokens -------------------------------------------------------------------------


def read_instance(fields: Mapping[str, Raw]) -> Instance:
    """Read a process instance from its typed document or its other one. Raises DocumentError.

    Token counts are ignored: in lists they are always zero.
    """
    read = _FieldReader(fields)
    status = read.text("status", "state")
    state = None if status is None else canonical_state(status)
    ended = read.time("completed_at")
    cancelled = state == "CANCELLED"
    return Instance(
        instance_id=read.required("instance_id", "id"),
        process_id=read.text("process_definition_id", "process_id"),
        process_key=read.text("process_key"),
        version=read.number("version"),
        status=state,
        started_at=read.time("started_at", "created_at"),
        updated_at=read.time("updated_at"),
        completed_at=None if cancelled else ended,
        cancelled_at=read.time("cancelled_at") or (ended if cancelled else None),
        variables=fields.get("variables", NULL),
    )


def read_token(fields: Mapping[str, Raw], instance: Instance) -> Token:
    """Read a token of an instance, as the engine means it: it moves. Raises DocumentError.

    ``created_at`` is when it was created, ``updated_at`` when it arrived at its element, or failed there.
    """
    read = _FieldReader(fields)
    state = canonical_state(read.required("status", "state"))
    owner = read.text("process_instance_id")
    if owner not in {None, instance.instance_id}:
        raise DocumentError("process_instance_id", f"'{owner}' was not requested")
    ended = read.time("completed_at")
    cancelled = state == "CANCELLED"
    return Token(
        token_id=read.required("token_id", "id"),
        element_id=read.required("element_id", "current_element_id"),
        state=state,
        instance_id=instance.instance_id,
        process_id=instance.process_id,
        created_at=read.time("created_at"),
        updated_at=read.time("updated_at"),
        completed_at=ended if state == COMPLETED else None,  # one that FAILED has not ended: a retry revives it
        cancelled_at=ended if cancelled else None,
        variables=fields.get("variables", NULL),
        parent_token_id=read.text("parent_token_id"),
    )


def read_info(fields: Mapping[str, Raw]) -> InstanceInfo:
    """Read an instance with its jobs and timers. Its times are in whole seconds. Raises DocumentError."""
    read = _FieldReader(fields)
    process_id, _, version = (read.text("process_key") or "").rpartition(":v")
    state = canonical_state(read.required("state", "status"))
    instance = Instance(
        instance_id=read.required("instance_id"),
        process_id=process_id or read.text("process_key"),
        process_key=read.text("process_key"),
        version=int(version) if process_id and version.isdecimal() else None,
        status=state,
        started_at=read.time("created_at"),
        updated_at=None if is_final(state) else read.time("updated_at"),  # the end is exact in the tokens
        variables=fields.get("variables", NULL),
    )
    services = _read_object(fields.get("external_services", NULL))
    jobs = [read_job(one | {"process_instance_id": fields["instance_id"]}) for one in _read_objects(services, "jobs")]
    timers = [
        read_timer(one | {"process_instance_id": fields["instance_id"]}) for one in _read_objects(services, "timers")
    ]
    return InstanceInfo(instance, read.text("bpmn_process_key"), tuple(jobs), tuple(timers))


def _read_object(raw: Raw) -> dict[str, Raw]:
    try:
        return msgspec.json.decode(raw, type=dict[str, Raw] | None) or {}
    except (msgspec.MsgspecError, UnicodeError):
        return {}


def _read_objects(fields: Mapping[str, Raw], name: str) -> list[dict[str, Raw]]:
    try:
        return msgspec.json.decode(fields.get(name, NULL), type=list[dict[str, Raw]] | None) or []
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise DocumentError(name, f"expected a list of objects ({error})") from None


def read_job(fields: Mapping[str, Raw]) -> Job:
    """Read a job. Raises DocumentError."""
    read = _FieldReader(fields)
    token_id = _read_object(fields.get("variables", NULL)).get("_tokenID", NULL)
    try:
        owner = msgspec.json.decode(token_id, type=str | None)
    except (msgspec.MsgspecError, UnicodeError):
        owner = None
    return Job(
        key=read.required("key"),
        state=canonical_state((read.text("state", "status") or "").upper()),
        instance_id=read.text("process_instance_id") or "",
        token_id=owner,
        type=read.text("type"),
        worker=read.text("worker"),
        retries=read.number("retries"),
        deadline=read.time("deadline"),
        created_at=read.time("created_at"),
        error=read.text("error_message"),
    )


class DefinitionEntry(Struct, frozen=True):
    """A deployed definition of the list: the engine's key of it, the process and its version."""

    key: str
    process_id: str
    version: int


def read_definition_entry(fields: Mapping[str, Raw]) -> DefinitionEntry:
    """Read an entry of the list of definitions. Raises DocumentError."""
    read = _FieldReader(fields)
    return DefinitionEntry(read.required("key"), read.required("id"), read.number("version") or 1)


def read_timer(fields: Mapping[str, Raw]) -> Timer:
    """Read a timer. Raises DocumentError."""
    read = _FieldReader(fields)
    return Timer(
        timer_id=read.required("timer_id"),
        element_id=read.required("element_id"),
        instance_id=read.text("process_instance_id") or "",
        type=read.text("timer_type"),
        is_scheduled=read.text("status") == "SCHEDULED",
        due_at=read.time("scheduled_at"),
    )
