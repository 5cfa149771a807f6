"""Tokens of process instances, their execution context and their flow history.

JSON names are those of the process-token API (snake_case). Times are aware datetimes in UTC with microseconds. JSON
that belongs to the user (variables, execution context, flow history) is kept as it is, in ``msgspec.Raw``, and decoded
only where it is needed. ``tokctl.documents.tokens`` decodes and encodes whole documents.
"""

from __future__ import annotations

import math
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Raw, Struct

from tokctl.model.json_values import decode_value
from tokctl.model.states import ACTIVE, FINAL_STATES, STATE_DERIVED, STOPPED_STATES, WAITING
from tokctl.model.times import parse_time, to_known_utc


class Certainty(StrEnum):
    """How a hop is known: from the engine, from times and the model, or not for certain."""

    RECORDED = "recorded"
    RECONSTRUCTED = "reconstructed"
    AMBIGUOUS = "ambiguous"


def read_certainty(text: Any) -> Certainty:
    """Return the certainty that a source gives for a hop: recorded if it gives none, ambiguous if it is unknown."""
    if text is None:
        return Certainty.RECORDED
    try:
        return Certainty(text)
    except ValueError:
        return Certainty.AMBIGUOUS


class FlowHop(Struct, frozen=True, omit_defaults=True):
    """One entry of a flow history: the element that a token left, the sequence flow that it took, and when.

    ``certainty`` is in JSON only if the engine did not record the hop. An ambiguous hop has only what is certain.
    """

    from_element: str | None = None
    via_flow: str | None = None
    timestamp: datetime | None = None
    certainty: Certainty = Certainty.RECORDED


class GatewayDecision(Struct, frozen=True, omit_defaults=True, gc=False):
    """The decision of a gateway: the condition, the selected flow, and the duration of the evaluation in ms."""

    condition_evaluated: str | None = None
    selected_flow: str | None = None
    evaluation_time_ms: float | None = None


class StateChange(Struct, frozen=True, gc=False):
    """A live state that a token entered, and the time."""

    state: str
    at: datetime


Int64 = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
"""An integer that fits into a database column."""


UNKNOWN_ELEMENT_ID = "?"
"""The element id of a visit whose element the source does not tell."""


class _ErrorObject(Struct, frozen=True, gc=False):
    """An error as an object: its message, or else its code."""

    message: str | None = None
    error_message: str | None = msgspec.field(default=None, name="errorMessage")
    description: str | None = None
    detail: str | None = None
    code: str | int | None = None

    @property
    def text(self) -> str | None:
        """The message, or what comes next to one."""
        code = None if self.code is None else str(self.code)
        return self.message or self.error_message or self.description or self.detail or code


class ExecutionContext(Struct, frozen=True, gc=False):
    """The fields of an execution context that the analyses use; the others are in the raw JSON only.

    Engines and workers use several keys for an error message; ``error`` has the message.
    ``state_history`` is an addition of tokctl: the live states that a token entered after it was created ACTIVE,
    oldest first. A token that was never in another live state has none. The members after it are additions, too:
    ``documents.tokens.TokenDocument`` describes them.
    """

    job_key: str | None = None
    job_type: str | None = None
    worker_id: str | None = None
    retries_left: Int64 | None = None
    retries_used: Int64 | None = None
    failed_attempts: Int64 | None = None
    timeout_at: datetime | None = None
    duration_ms: float | None = None
    gateway_decision: GatewayDecision | None = None
    error_message: str | None = None
    error_message_in_camel_case: str | None = msgspec.field(default=None, name="errorMessage")
    exception_message: str | None = None
    exception_message_in_camel_case: str | None = msgspec.field(default=None, name="exceptionMessage")
    incident_message: str | None = None
    incident_message_in_camel_case: str | None = msgspec.field(default=None, name="incidentMessage")
    failure_message: str | None = None
    error_object: str | _ErrorObject | None = msgspec.field(default=None, name="error")
    state_history: tuple[StateChange, ...] | None = None
    waiting_for: str | None = None
    waits_for: tuple[str, ...] | None = None
    due_at: datetime | None = None
    retry_at: datetime | None = None
    assignee: str | None = None
    called_instance_id: str | None = None
    is_scope: bool | None = None
    entered_by: str | None = None
    failed_element_id: str | None = None
    stack_trace: str | None = None
    cancellation_derived: bool | None = None

    @property
    def error(self) -> str | None:
        """The message of the error that an attempt failed with; None if the source gives none."""
        last = self.error_object
        messages = (
            self.error_message,
            self.error_message_in_camel_case,
            self.exception_message,
            self.exception_message_in_camel_case,
            self.incident_message,
            self.incident_message_in_camel_case,
            self.failure_message,
            last.text if isinstance(last, _ErrorObject) else last,
        )
        return next((text.strip() for text in messages if text and not text.isspace()), None)

    @property
    def waits_for_event(self) -> bool:
        """Whether the engine names the event, or the events, that the token waits for."""
        return bool(self.waits_for) or (self.waiting_for or "").startswith(_EVENT_KINDS)

    def waits_for_job(self, state: str, *, without_retries: bool = False) -> bool:
        """Tell whether a token in this state waits for a job that a worker does.

        ``without_retries`` leaves out a job that has failed and waits for its next attempt.
        """
        if state not in {ACTIVE, WAITING}:
            return False
        if self.waits_for_event:
            return False
        if self.waiting_for is not None:
            return self.waiting_for.startswith(_JOB_KINDS if without_retries else (*_JOB_KINDS, "retry:"))
        return self.job_key is not None

    def is_running(self, state: str) -> bool:
        """Tell whether a token in this state is ACTIVE or waits for a job.

        Not so a call activity or a scope: it takes as long as what it has called or encloses, whose tokens tell.
        """
        if self.is_scope or self.called_instance_id is not None:
            return False
        return state == ACTIVE or self.waits_for_job(state)


_EVENT_KINDS = ("message:", "signal:", "timer:", "conditional:")
_JOB_KINDS = ("job:", "external_task:")

NO_CONTEXT = ExecutionContext()

_context_decoder = msgspec.json.Decoder(ExecutionContext)

_hops_decoder = msgspec.json.Decoder(list[FlowHop] | None)

NULL = Raw(b"null")
"""JSON that the source did not send: unknown, as opposed to empty."""


def decode_context(raw: Raw) -> ExecutionContext:
    """Decode an execution context; a field of the wrong type counts as absent."""
    if raw is NULL:
        return NO_CONTEXT
    try:
        context = _context_decoder.decode(raw)
    except msgspec.MsgspecError:
        context = _decode_context_leniently(raw)
    if context.timeout_at is context.due_at is context.retry_at is None:
        return context
    times = ((name, getattr(context, name)) for name in ("timeout_at", "due_at", "retry_at"))
    changed = {name: known for name, time in times if (known := to_known_utc(time)) is not time}
    return msgspec.structs.replace(context, **changed) if changed else context


def _decode_context_leniently(raw: Raw) -> ExecutionContext:
    try:
        fields = msgspec.json.decode(raw, type=dict[str, Raw])
    except msgspec.MsgspecError:
        return NO_CONTEXT
    good: dict[str, Any] = {}
    for field in msgspec.structs.fields(ExecutionContext):
        if (value := fields.get(field.encode_name, NULL)) == NULL:
            continue
        try:
            if field.type == datetime | None:
                good[field.name] = parse_time(decode_value(value))
            else:
                good[field.name] = msgspec.json.decode(value, type=field.type, strict=False)
        except (msgspec.MsgspecError, ValueError):
            continue
    if not math.isfinite(good.get("duration_ms") or 0):  # a text such as "inf"
        del good["duration_ms"]
    return ExecutionContext(**good)


def decode_flow_history(raw: Raw) -> list[FlowHop]:
    """Decode a flow history; empty if it is unknown or not a list of hops."""
    if raw is NULL:
        return []
    try:
        hops = _hops_decoder.decode(raw)
    except msgspec.MsgspecError:
        return []
    return [
        hop
        if (known := to_known_utc(hop.timestamp)) is hop.timestamp
        else msgspec.structs.replace(hop, timestamp=known)
        for hop in hops or ()
    ]


def may_have_error(raw: Raw) -> bool:
    """Tell whether an execution context could have an error, without decoding it: few tokens have one."""
    text = bytes(raw)
    return b"rror" in text or b"essage" in text


class TokenFields(Struct, frozen=True, kw_only=True, gc=False):
    """The fields of tokens and of visits. One that the source did not send is None, or NULL if it is JSON."""

    token_id: str
    element_id: str
    state: str
    instance_id: str = ""  # in JSON it may be given by the enclosing document only
    process_id: str | None = None
    element_type: str | None = None
    element_name: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    completed_at: datetime | None = None
    cancelled_at: datetime | None = None
    parent_token_id: str | None = None
    child_tokens: tuple[str, ...] | None = None
    flow_history: Raw = NULL

    @property
    def live(self) -> bool:
        """Whether the token has not ended. One that FAILED has not: it stays until it is retried or cancelled."""
        return self.state not in FINAL_STATES

    @property
    def can_move(self) -> bool:
        """Whether the token is live and can continue without an intervention, according to its state."""
        return self.state not in STOPPED_STATES

    @property
    def hops(self) -> list[FlowHop]:
        """The flow history; empty if it is unknown or not a list of hops."""
        return decode_flow_history(self.flow_history)

    @property
    def name(self) -> str:
        """The name of the element, or its id if it has none."""
        return self.element_name or self.element_id

    @property
    def finished_at(self) -> datetime | None:
        """When the token ended or failed, if need be by its last update; None if it can move or that is unknown."""
        return None if self.can_move else self.completed_at or self.cancelled_at or self.updated_at


class Token(TokenFields, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One visit of one element by one thread of execution of a process instance.

    A field that the source did not send is unknown, as opposed to empty. ``variables``, ``execution_context`` and
    ``flow_history`` are the JSON of the source; ``extra`` holds undocumented fields. The documented JSON decodes
    straight into this type; ``tokctl.documents.tokens`` does that, and also reads tokens that are not as documented.
    """

    variables: Raw = NULL
    execution_context: Raw = NULL
    extra: dict[str, Raw] = msgspec.field(default_factory=dict, name="(undocumented)")

    @property
    def context(self) -> ExecutionContext:
        """The fields of the execution context that the analyses use."""
        return decode_context(self.execution_context)

    @property
    def error(self) -> str | None:
        """The message of the error that an attempt failed with; None if the source gives none."""
        return self.context.error if may_have_error(self.execution_context) else None


def is_state_derived(token: Token, context: ExecutionContext) -> bool:
    """Tell whether a state was not recorded: at a past moment, or because the engine does not tell cancellations."""
    return STATE_DERIVED in token.extra or bool(context.cancellation_derived)
