"""Between models and rows of the tables in ``schema``."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from tokctl.process.model import (
    NO_CONTEXT,
    NULL,
    Instance,
    Token,
    finished_at,
    from_micros,
    is_final,
    read_context,
    to_micros,
)
from tokctl.process.status import InstanceStatus
from tokctl.process.tree import TreeRow
from tokctl.process.visit import Visit

TOKEN_COLUMNS = (
    "token_id", "element_id", "element_type", "element_name", "state",
    "created_at", "updated_at", "completed_at", "cancelled_at", "finished_at",
    "parent_token_id", "worker_id", "retries_used", "retries_left", "timeout_at", "duration_ms",
    "variables", "execution_context", "child_tokens", "flow_history", "extra",
)  # fmt: skip
INSTANCE_COLUMNS = (
    "instance_id", "process_id", "process_key", "version", "status", "tenant_id",
    "started_at", "updated_at", "completed_at", "cancelled_at", "variables", "extra",
)  # fmt: skip
STATUS_COLUMNS = ("derived_status", "first_at", "last_at", "end_at", "total_tokens", "live_tokens")
_AS_BYTES = tuple(f"CAST({name} AS BLOB)" for name in ("variables", "execution_context", "flow_history"))
READ_TOKEN = (
    "token_id", "element_id", "element_type", "element_name", "state",
    "created_at", "updated_at", "completed_at", "cancelled_at", "parent_token_id",
    *_AS_BYTES, "child_tokens", "extra",
)  # fmt: skip
READ_TREE = (
    "token_id", "element_id", "state", "parent_token_id", "child_tokens", "element_type",
    "element_name", "created_at", "finished_at", "duration_ms", "worker_id",
    "CASE WHEN json_valid(flow_history) THEN json_array_length(flow_history) ELSE 0 END",
)  # fmt: skip
FLOWS = "CAST(flow_history AS BLOB)"
READ_VISIT = (
    "token_id", "element_id", "element_type", "element_name", "state",
    "created_at", "updated_at", "completed_at", "cancelled_at", "parent_token_id",
    "CAST(execution_context AS BLOB)", "child_tokens",
)  # fmt: skip
READ_STAY = (
    "token_id", "parent_token_id", "element_id", "element_type", "element_name", "worker_id", "state",
    "created_at", "finished_at", "duration_ms", "retries_used",
)  # fmt: skip

INT64 = 1 << 63
_children = msgspec.json.Decoder(tuple[str, ...])
_extra = msgspec.json.Decoder(dict[str, Raw])


def token_row(token: Token) -> tuple[Any, ...]:
    """Return a token's values for TOKEN_COLUMNS."""
    context = read_context(token.execution_context)
    updated = to_micros(token.updated_at)
    completed = to_micros(token.completed_at)
    cancelled = to_micros(token.cancelled_at)
    finished = to_micros(finished_at(token.state, token.completed_at, token.cancelled_at, token.updated_at))
    children = token.child_tokens
    return (
        token.token_id,
        token.element_id,
        token.element_type,
        token.element_name,
        token.state,
        to_micros(token.created_at),
        updated,
        completed,
        cancelled,
        finished,
        token.parent_token_id,
        context.worker_id,
        _integer(context.retries_used),
        _integer(context.retries_left),
        to_micros(context.timeout_at),
        context.duration_ms,
        _text(token.variables),
        _text(token.execution_context),
        ("[]" if children == () else msgspec.json.encode(children).decode()) if children is not None else None,
        _text(token.flow_history),
        msgspec.json.encode(token.extra).decode() if token.extra else None,
    )


def _text(raw: Raw) -> str | None:
    text = bytes(raw).decode()
    return None if text == "null" else text


def _raw(text: str | None) -> Raw:
    return NULL if text is None else Raw(text.encode())


def _integer(value: int | None) -> int | None:
    """A number that the database can hold; a wild one stays in the context alone."""
    return value if value is not None and -INT64 <= value < INT64 else None


def read_token(row: tuple[Any, ...], instance_id: str, process_id: str | None) -> Token:
    """Return the token of a row of READ_TOKEN."""
    (token_id, element_id, kind, name, state, created, updated, completed, cancelled, parent,
     variables, context, history, children, extra) = row  # fmt: skip
    return Token(
        token_id=token_id,
        instance_id=instance_id,
        process_id=process_id,
        element_id=element_id,
        element_type=kind,
        element_name=name,
        state=state,
        created_at=from_micros(created),
        updated_at=from_micros(updated),
        completed_at=from_micros(completed),
        cancelled_at=from_micros(cancelled),
        variables=NULL if variables is None else Raw(variables),
        execution_context=NULL if context is None else Raw(context),
        parent_token_id=parent,
        child_tokens=() if children == "[]" else None if children is None else _children.decode(children),
        flow_history=NULL if history is None else Raw(history),
        extra=_extra.decode(extra) if extra else {},
    )


def read_visit(row: tuple[Any, ...], instance_id: str, process_id: str | None) -> Visit:
    """Return the visit of a row of READ_VISIT and a flow history."""
    (token_id, element_id, kind, name, state, created, updated, completed, cancelled, parent,
     context, children, history) = row  # fmt: skip
    return Visit(
        token_id=token_id,
        instance_id=instance_id,
        process_id=process_id,
        element_id=element_id,
        element_type=kind,
        element_name=name,
        state=state,
        created_at=from_micros(created),
        updated_at=from_micros(updated),
        completed_at=from_micros(completed),
        cancelled_at=from_micros(cancelled),
        context=NO_CONTEXT if context is None else read_context(Raw(context)),
        parent_token_id=parent,
        child_tokens=() if children == "[]" else None if children is None else _children.decode(children),
        flow_history=NULL if history is None else Raw(history),
    )


def read_tree_row(row: tuple[Any, ...]) -> TreeRow:
    """Return the tree row of a row of READ_TREE."""
    children = row[4]
    known = () if children == "[]" else None if children is None else _children.decode(children)
    (token_id, element_id, state, parent, _, kind, name, created, finished, took, worker, hops) = row
    return TreeRow(token_id, element_id, state, parent, known, kind, name, created, finished, took, worker, hops)


def instance_row(instance: Instance) -> tuple[Any, ...]:
    """Return an instance's values for INSTANCE_COLUMNS."""
    return (
        instance.instance_id,
        instance.process_id,
        instance.process_key,
        _integer(instance.version),
        instance.status,
        instance.tenant_id,
        to_micros(instance.started_at),
        to_micros(instance.updated_at),
        to_micros(instance.completed_at),
        to_micros(instance.cancelled_at),
        _text(instance.variables),
        msgspec.json.encode(instance.extra).decode() if instance.extra else None,
    )


def read_status(row: tuple[Any, ...]) -> InstanceStatus:
    """Return how an instance stands, from a row of INSTANCE_COLUMNS and STATUS_COLUMNS."""
    (instance_id, process_id, key, version, status, tenant, started, updated, completed, cancelled,
     variables, extra, derived, first, last, end, total, live) = row  # fmt: skip
    instance = Instance(
        instance_id=instance_id,
        process_id=process_id,
        process_key=key,
        version=version,
        status=status,
        tenant_id=tenant,
        started_at=from_micros(started),
        updated_at=from_micros(updated),
        completed_at=from_micros(completed),
        cancelled_at=from_micros(cancelled),
        variables=_raw(variables),
        extra=_extra.decode(extra) if extra else {},
    )
    return InstanceStatus(
        instance=instance,
        status=status or derived,
        status_derived=status is None and derived is not None,
        total_tokens=total,
        live_tokens=live,
        started_at=instance.started_at or from_micros(first),
        updated_at=instance.updated_at or from_micros(last),
        ended_at=instance.completed_at
        or instance.cancelled_at
        or (from_micros(end) if is_final(status or derived or "") else None),
    )
