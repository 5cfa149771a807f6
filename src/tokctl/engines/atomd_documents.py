"""Converts data of atomd into models: its documents, its job list, its process models.

Its states, its times (RFC 3339 with nanoseconds and without, epoch seconds, and the zero time of Go) and its names
become the documented ones. Values that it never sends are unknown, not empty.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from tokctl.documents.base import DocumentError
from tokctl.engines.instance_tokens import keep_newest
from tokctl.model.definitions import Definition, Element, SequenceFlow
from tokctl.model.element_types import ELEMENT_TYPES, canonical_type
from tokctl.model.instances import Instance
from tokctl.model.states import canonical_state, is_final
from tokctl.model.times import format_time, parse_time
from tokctl.model.tokens import NULL, Token

_FLOW_NODE_TYPES = frozenset(ELEMENT_TYPES)
_ZERO_TIME_YEAR = 1  # the year of Go's zero time


class Job(Struct, frozen=True):
    """The fields of a job that concern the waiting token."""

    key: str
    instance_id: str
    token_id: str
    type: str | None
    worker: str | None
    retries: int | None
    deadline: datetime | None
    created_at: datetime | None
    is_finished: bool


# --- values ---------------------------------------------------------------------------------------


def parse_moment(value: Any) -> datetime | None:
    """Read a time of any kind that atomd sends; zero is none. Raises ValueError."""
    if value in (None, "", 0):
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        while abs(value) >= 1e14:  # microseconds, nanoseconds
            value /= 1000
    found = parse_time(value)
    return None if found is None or found.year == _ZERO_TIME_YEAR else found


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
                found = parse_moment(msgspec.json.decode(self.fields.get(name, NULL)))
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
    """Read a token of an instance. Raises DocumentError."""
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
        completed_at=None if cancelled else ended,
        cancelled_at=ended if cancelled else None,
        variables=fields.get("variables", NULL),
        parent_token_id=read.text("parent_token_id"),
    )


def complete_tokens(
    tokens: Sequence[Token], model: Definition | None, jobs: Mapping[str, Sequence[Job]]
) -> list[Token]:
    """Return an instance's tokens in order of creation, completed from other documents.

    Types and names are those of the model, children are the tokens that name a token as their parent. Of a token that
    appears twice, as it may if it moves to another page, the last one counts.
    """
    ranked = sorted(
        keep_newest(tokens), key=lambda one: (one.created_at is not None, one.created_at or 0, one.token_id)
    )
    children: dict[str, list[str]] = defaultdict(list)
    for token in ranked:
        if token.parent_token_id is not None:
            children[token.parent_token_id].append(token.token_id)
    return [
        _complete_token(token, model, jobs.get(token.token_id, ()), children.get(token.token_id, ()))
        for token in ranked
    ]


def _complete_token(token: Token, model: Definition | None, jobs: Sequence[Job], children: Sequence[str]) -> Token:
    element = model.elements.get(token.element_id) if model is not None else None
    job = _find_job(token, element, jobs)
    return replace(
        token,
        element_type=element.type if element else None,
        element_name=element.name if element else None,
        child_tokens=tuple(children),
        execution_context=NULL if job is None else _execution_context(job),
    )


def _find_job(token: Token, element: Element | None, jobs: Sequence[Job]) -> Job | None:
    """Return the job for the current element of a token.

    A token goes through several elements, and a job does not name its element.
    """
    if element is not None and not element.type.lower().endswith("task"):
        return None
    fitting = [job for job in jobs if job.is_finished == is_final(token.state)]
    return max(fitting, key=lambda job: (job.created_at is not None, job.created_at or 0, job.key), default=None)


def _execution_context(job: Job) -> Raw:
    members = {
        "job_key": job.key,
        "job_type": job.type,
        "worker_id": job.worker,
        "retries_left": job.retries,
        "timeout_at": format_time(job.deadline),
    }
    return Raw(msgspec.json.encode({name: value for name, value in members.items() if value is not None}))


def read_job(fields: Mapping[str, Raw]) -> Job | None:
    """Read a job; None for one that names no token. Raises DocumentError."""
    read = _FieldReader(fields)
    try:
        variables = msgspec.json.decode(fields.get("variables", NULL), type=dict[str, Any] | None) or {}
    except (msgspec.MsgspecError, UnicodeError):
        variables = {}
    token_id = variables.get("_tokenID")
    if not isinstance(token_id, str):
        return None
    state = (read.text("state", "status") or "").upper()
    return Job(
        key=read.required("key"),
        instance_id=read.text("process_instance_id") or "",
        token_id=token_id,
        type=read.text("type"),
        worker=read.text("worker"),
        retries=read.number("retries"),
        deadline=read.time("deadline"),
        created_at=read.time("created_at"),
        is_finished=is_final(canonical_state(state)),
    )


# --- process models -------------------------------------------------------------------------------


def read_model(document: Mapping[str, Any], process_id: str, version: int) -> Definition:
    """Read a process model from atomd's JSON: missing fields, and fields of another type, are omitted."""
    given = document.get("elements")
    parts = {key: part for key, part in given.items() if isinstance(part, dict)} if isinstance(given, dict) else {}
    parents = {
        str(inner): key
        for key, part in parts.items()
        if part.get("type") not in {"process", "definitions"}
        for inner in _read_strings(part.get("flow_node_ids"))
    }
    elements, flows = {}, {}
    for key, part in parts.items():
        kind = canonical_type(str(part.get("type", "")))
        if kind == "sequenceFlow":
            source, target = part.get("source_ref"), part.get("target_ref")
            if isinstance(source, str) and isinstance(target, str):
                flows[key] = SequenceFlow(key, source, target, _read_name(part), _read_condition(part))
        elif kind in _FLOW_NODE_TYPES:
            attributes = part.get("attributes")
            told = attributes if isinstance(attributes, dict) else {}
            elements[key] = Element(
                id=key,
                type=kind,
                name=_read_name(part),
                incoming=_read_strings(part.get("incoming")),
                outgoing=_read_strings(part.get("outgoing")),
                default_flow=_read_text(told.get("default")),
                attached_to=_read_text(told.get("attachedToRef")),
                parent=parents.get(key),
            )
    return Definition(
        process_id=process_id,
        version=version,
        name=_read_text(document.get("process_name")),
        elements=elements,
        flows=flows,
    )


def _read_text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _read_name(part: Mapping[str, Any]) -> str | None:
    return _read_text(part.get("name"))


def _read_strings(value: Any) -> tuple[str, ...]:
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()


def _read_condition(part: Mapping[str, Any]) -> str | None:
    """Return the text of a flow's condition, which is in one of several places."""
    inner = part.get("sequence_flow")
    for place in (inner, part):
        for name in ("condition_expression", "condition", "conditionExpression"):
            found = place.get(name) if isinstance(place, dict) else None
            if isinstance(found, dict):
                found = found.get("expression") or found.get("text") or found.get("body")
            if _read_text(found):
                return _read_text(found)
    return None
