"""Converts between models and rows of the tables."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from tokctl.engines.projection import Projection
from tokctl.model.instance_status import MAX_LIVE_ELEMENTS, InstanceStatus
from tokctl.model.instances import Instance
from tokctl.model.states import is_final
from tokctl.model.times import from_micros, to_micros
from tokctl.model.tokens import NO_CONTEXT, NULL, ExecutionContext, Token, decode_context, read_certainty
from tokctl.model.visits import Visit
from tokctl.store.sql.dialect import FAILED, LIVE, Dialect

if TYPE_CHECKING:
    from tokctl.analysis.tree.forest import TreeRow

INT64_LIMIT = 1 << 63
_EARLIEST = to_micros(datetime.min.replace(tzinfo=UTC))
_PLACE = ("token_id", "element_id", "element_type", "element_name", "state")
_TIMES = ("created_at", "updated_at", "completed_at", "cancelled_at")
_CONTEXT = ("worker_id", "retries_used", "retries_left", "timeout_at", "duration_ms")
_DOCUMENTS = ("variables", "execution_context", "child_tokens", "flow_history", "extra")
TOKEN_COLUMNS = (*_PLACE, *_TIMES, "finished_at", "parent_token_id", *_CONTEXT, *_DOCUMENTS)

_INSTANCE_IDS = ("instance_id", "process_id", "process_key", "version", "status", "business_key", "tenant_id")
_INSTANCE_TIMES = ("started_at", "updated_at", "completed_at", "cancelled_at")
INSTANCE_COLUMNS = (*_INSTANCE_IDS, *_INSTANCE_TIMES, "variables", "extra")
STATUS_COLUMNS = ("derived_status", "first_at", "last_at", "end_at", "total_tokens", "live_tokens", "failed_tokens")
READ_STAY = (
    "token_id, parent_token_id, element_id, element_type, element_name, worker_id, state, created_at, finished_at,"
    " duration_ms, retries_used"
)


class Columns:
    """The columns that are read, in the SQL of a dialect.

    Those for ``read_status`` are ``status`` and ``totals``, of the table ``instance``, those for ``read_tree_row``
    are ``tree``.
    """

    def __init__(self, dialect: Dialect) -> None:
        first_error = f"""CASE WHEN failed_tokens > 0 THEN (
            SELECT {dialect.error_message} FROM token
            WHERE token.instance = instance.pk AND {FAILED} AND {dialect.error_message} IS NOT NULL
            ORDER BY created_at NULLS FIRST, token_id LIMIT 1
        ) END"""
        live_elements = f"""CASE WHEN live_tokens > 0 THEN (SELECT {dialect.name_list} FROM (
            SELECT coalesce(nullif(element_name, ''), element_id) AS name
            FROM token WHERE token.instance = instance.pk AND {LIVE} GROUP BY 1
            ORDER BY min(CASE WHEN {FAILED} THEN 0 ELSE 1 END), min(coalesce(created_at, {_EARLIEST})), 1
            LIMIT {MAX_LIVE_ELEMENTS}) AS named) END"""
        self.totals = (*INSTANCE_COLUMNS, *STATUS_COLUMNS, first_error)
        self.status = (*self.totals, live_elements)
        self.tree = (
            "token_id, element_id, state, parent_token_id, child_tokens, element_type, element_name, created_at,"
            f" finished_at, duration_ms, worker_id, {dialect.hops}, {dialect.certainty}, {dialect.entry_is_unknown}"
        )
        self._variables, context, self._flows = (
            dialect.as_bytes.format(column) for column in ("variables", "execution_context", "flow_history")
        )
        self._visit = (*_PLACE, *_TIMES, "parent_token_id", context, "child_tokens", self._flows)
        self._token = (*self._visit, self._variables, "extra")

    def token(self, projection: Projection) -> str:
        """Return the columns for ``read_token``: NULL instead of those that a projection does not need."""
        variables, flows = self._variables, self._flows
        skipped = {Projection.TOKENS: (), Projection.VISITS: (variables, flows)}.get(projection, (variables,))
        return ", ".join("NULL" if column in skipped else column for column in self._token)

    def visit(self, *, flows: bool) -> str:
        """Return the columns for ``read_visit``: NULL instead of the flow history unless ``flows``."""
        return ", ".join(self._visit if flows else (*self._visit[:-1], "NULL"))


_names_decoder = msgspec.json.Decoder(tuple[str, ...])
_extra_decoder = msgspec.json.Decoder(dict[str, Raw])


def token_row(token: Token, context: ExecutionContext) -> tuple[Any, ...]:
    """Return a token's values for TOKEN_COLUMNS; ``context`` is its decoded execution context."""
    children, completed_at, finished_at = token.child_tokens, token.completed_at, token.finished_at
    completed = to_micros(completed_at)
    return (
        token.token_id,
        token.element_id,
        token.element_type,
        token.element_name,
        token.state,
        to_micros(token.created_at),
        to_micros(token.updated_at),
        completed,
        to_micros(token.cancelled_at),
        completed if finished_at is completed_at else to_micros(finished_at),
        token.parent_token_id,
        context.worker_id,
        _to_int64(context.retries_used),
        _to_int64(context.retries_left),
        to_micros(context.timeout_at),
        context.duration_ms,
        _text(token.variables),
        _text(token.execution_context),
        msgspec.json.encode(children).decode() if children else None if children is None else "[]",
        _text(token.flow_history),
        msgspec.json.encode(token.extra).decode() if token.extra else None,
    )


def _text(raw: Raw) -> str | None:
    if raw is NULL:
        return None
    text = bytes(raw).decode()
    return None if text == "null" else text


def _raw(json: bytes | None) -> Raw:
    return NULL if json is None else Raw(json)


def _to_int64(value: int | None) -> int | None:
    """Return a number that the database can hold; a larger one is only in the context."""
    return value if value is not None and -INT64_LIMIT <= value < INT64_LIMIT else None


def _decode_children(text: str | None) -> tuple[str, ...] | None:
    return () if text == "[]" else None if text is None else _names_decoder.decode(text)


def read_token(row: tuple[Any, ...], instance_id: str, process_id: str | None) -> Token:
    """Return the token of a row of ``Columns.token``."""
    token_id, element_id, kind, name, state, created, updated, completed, cancelled, parent, *documents = row
    context, children, flows, variables, extra = documents
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
        variables=_raw(variables),
        execution_context=_raw(context),
        parent_token_id=parent,
        child_tokens=_decode_children(children),
        flow_history=_raw(flows),
        extra=_extra_decoder.decode(extra) if extra else {},
    )


def read_visit(row: tuple[Any, ...], instance_id: str, process_id: str | None) -> Visit:
    """Return the visit of a row of ``Columns.visit``."""
    (
        token_id,
        element_id,
        kind,
        name,
        state,
        created,
        updated,
        completed,
        cancelled,
        parent,
        context,
        children,
        flows,
    ) = row
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
        context=NO_CONTEXT if context is None else decode_context(Raw(context)),
        parent_token_id=parent,
        child_tokens=_decode_children(children),
        flow_history=_raw(flows),
    )


def read_tree_row(create: type[TreeRow], row: tuple[Any, ...]) -> TreeRow:
    """Return the tree row of a row of ``Columns.tree``. ``create`` is the class, imported only for trees."""
    values = list(row)
    values[4] = _decode_children(row[4])
    values[-2:] = read_certainty(row[-2]), bool(row[-1])
    return create(*values)


def instance_row(instance: Instance) -> tuple[Any, ...]:
    """Return an instance's values for INSTANCE_COLUMNS."""
    return (
        instance.instance_id,
        instance.process_id,
        instance.process_key,
        _to_int64(instance.version),
        instance.status,
        instance.business_key,
        instance.tenant_id,
        to_micros(instance.started_at),
        to_micros(instance.updated_at),
        to_micros(instance.completed_at),
        to_micros(instance.cancelled_at),
        _text(instance.variables),
        msgspec.json.encode(instance.extra).decode() if instance.extra else None,
    )


def read_error(context: str | None) -> str | None:
    """Return the error message in the JSON of an execution context."""
    return None if context is None else decode_context(Raw(context.encode())).error


def read_status(row: tuple[Any, ...]) -> InstanceStatus:
    """Return an instance with its status, from a row of ``Columns.status``; ``live_elements`` only from these."""
    (
        instance_id,
        process_id,
        key,
        version,
        status,
        business_key,
        tenant,
        started,
        updated,
        completed,
        cancelled,
        *more,
    ) = row
    variables, extra, derived, first, last, end, total, live, failed, first_error, *elements = more
    instance = Instance(
        instance_id=instance_id,
        process_id=process_id,
        process_key=key,
        version=version,
        status=status,
        business_key=business_key,
        tenant_id=tenant,
        started_at=from_micros(started),
        updated_at=from_micros(updated),
        completed_at=from_micros(completed),
        cancelled_at=from_micros(cancelled),
        variables=NULL if variables is None else Raw(variables.encode()),
        extra=_extra_decoder.decode(extra) if extra else {},
    )
    ended = instance.completed_at or instance.cancelled_at
    return InstanceStatus(
        instance=instance,
        status=status or derived,
        status_derived=status is None and derived is not None,
        total_tokens=total,
        live_tokens=live,
        failed_tokens=failed,
        first_error=first_error,
        live_elements=_names_decoder.decode(elements[0]) if elements and elements[0] else (),
        started_at=instance.started_at or from_micros(first),
        updated_at=instance.updated_at or from_micros(last),
        ended_at=ended or (from_micros(end) if is_final(status or derived or "") else None),
    )


def read_is_running(state: str, context: str | None) -> bool:
    """Tell whether a token is ACTIVE or waits for a job, according to the JSON of its execution context."""
    return _read_context(context).is_running(state)


def read_waits_for_event(context: str | None) -> bool:
    """Tell whether a token waits for known events, according to the JSON of its execution context."""
    return _read_context(context).waits_for_event


def _read_context(context: str | None) -> ExecutionContext:
    return NO_CONTEXT if context is None else decode_context(Raw(context.encode()))
