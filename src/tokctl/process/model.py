"""The model: tokens, process instances, definitions, summaries.

Wire names are those of the process-token API (snake_case). Times are aware datetimes in UTC with
microseconds. JSON that belongs to the user (variables, execution context, flow history) is kept as
it came, in ``msgspec.Raw``, and looked into only when a question needs it. Reading documents into
these models and writing them back is ``process.wire``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
from msgspec import Raw, Struct

# --- times --------------------------------------------------------------------------------------

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MILLISECOND = timedelta(milliseconds=1)


def to_micros(time: datetime | None) -> int | None:
    """Microseconds since 1970-01-01 UTC."""
    return None if time is None else (time - EPOCH) // _MICROSECOND


def from_micros(micros: int | None) -> datetime | None:
    """Return the time of a number of microseconds since 1970-01-01 UTC."""
    return None if micros is None else EPOCH + _MICROSECOND * micros


def utc(time: datetime | None) -> datetime | None:
    """The same time in UTC; a time without a zone is taken to be in UTC.

    One that the calendar has in its own zone only is the first or last that it has in UTC.
    """
    if time is None or time.tzinfo is UTC:
        return time
    if time.tzinfo is None:
        return time.replace(tzinfo=UTC)
    try:
        return time.astimezone(UTC)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC) if time.year == 1 else datetime.max.replace(tzinfo=UTC)


def format_time(time: datetime | None) -> str | None:
    """RFC 3339 in UTC, with milliseconds as documented, or microseconds where they matter."""
    if time is None:
        return None
    time = utc(time)
    text: str = msgspec.to_builtins(time)  # ten times as fast as isoformat
    if len(text) == 20:
        return text[:19] + ".000Z"
    return text[:23] + "Z" if text.endswith("000Z") else text


# --- states -------------------------------------------------------------------------------------

ACTIVE = "ACTIVE"
WAITING = "WAITING"
SUSPENDED = "SUSPENDED"
COMPLETED = "COMPLETED"
CANCELLED = "CANCELLED"
FAILED = "FAILED"

STATES = (ACTIVE, WAITING, SUSPENDED, COMPLETED, CANCELLED, FAILED)
FINAL_STATES = frozenset({COMPLETED, CANCELLED, FAILED})

STATE_DERIVED = "state_derived"
"""Stands, true, in the ``extra`` of a token whose state at a past moment nobody recorded."""

TRANSITIONS: dict[str | None, frozenset[str]] = {
    None: frozenset({ACTIVE}),
    ACTIVE: frozenset({WAITING, SUSPENDED, COMPLETED, CANCELLED, FAILED}),
    WAITING: frozenset({ACTIVE, SUSPENDED, CANCELLED, FAILED}),
    SUSPENDED: frozenset({ACTIVE, WAITING, CANCELLED}),
    COMPLETED: frozenset(),
    CANCELLED: frozenset(),
    FAILED: frozenset(),
}
"""The documented lifecycle: from each state (None: not yet created) the states it may enter."""

_STATE_NAMES = {name: name for name in STATES} | {"CANCELED": CANCELLED, "TERMINATED": CANCELLED}


def canonical_state(state: str) -> str:
    """Return the documented name of a state; one that nobody knows comes back as it is."""
    return _STATE_NAMES.get(state) or _STATE_NAMES.get(state.upper(), state)


def is_final(state: str) -> bool:
    """Tell whether a token in this state has come to its end. Unknown states have not."""
    return state in FINAL_STATES


# --- element types ------------------------------------------------------------------------------

ELEMENT_TYPES = (
    "startEvent", "endEvent", "intermediateCatchEvent", "intermediateThrowEvent", "boundaryEvent",
    "task", "serviceTask", "userTask", "scriptTask", "sendTask", "receiveTask", "manualTask",
    "businessRuleTask", "exclusiveGateway", "parallelGateway", "inclusiveGateway",
    "eventBasedGateway", "complexGateway", "subProcess", "transaction", "adHocSubProcess",
    "callActivity",
)  # fmt: skip
FAMILIES = ("gateway", "task", "event")
"""Names that stand for every element type that ends in them."""

_TYPE_NAMES = {name.lower(): name for name in ELEMENT_TYPES}
_type_cache: dict[str | None, str | None] = {None: None} | {name: name for name in ELEMENT_TYPES}


def canonical_type(element_type: str) -> str:
    """Return the camelCase BPMN name of a type (``SERVICE_TASK`` is ``serviceTask``)."""
    known = _type_cache.get(element_type)
    if known is None:
        squashed = element_type.replace("_", "").replace("-", "").replace(" ", "").lower()
        known = _TYPE_NAMES.get(squashed, element_type)
        if len(_type_cache) < 1000:  # data decides what comes in here; it must not grow for ever
            _type_cache[element_type] = known
    return known


def type_matches(element_type: str, wanted: str) -> bool:
    """Tell whether a type is the wanted type or a member of the wanted family."""
    if wanted in FAMILIES:
        return element_type == wanted or element_type.endswith(wanted.capitalize())
    return element_type == canonical_type(wanted)


# --- parts of a token ---------------------------------------------------------------------------


class FlowHop(Struct, frozen=True, omit_defaults=True):
    """One step along a sequence flow: where from, over which flow, when."""

    from_element: str | None = None
    via_flow: str | None = None
    timestamp: datetime | None = None


class GatewayDecision(Struct, frozen=True, omit_defaults=True, gc=False):
    """How a gateway chose: the condition, the flow, and how long it took (ms)."""

    condition_evaluated: str | None = None
    selected_flow: str | None = None
    evaluation_time_ms: float | None = None


class StateChange(Struct, frozen=True, gc=False):
    """A live state that a token entered, and when."""

    state: str
    at: datetime


Int64 = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
"""A number that a database can hold, too."""


class Context(Struct, frozen=True, gc=False):
    """What the analyses read of an execution context; everything else stays in the raw JSON.

    ``state_history`` is ours: the recorder keeps there which live states a token entered after it was
    created ACTIVE, oldest first. Tokens that were never anything else have none.
    """

    job_key: str | None = None
    job_type: str | None = None
    worker_id: str | None = None
    retries_left: Int64 | None = None
    retries_used: Int64 | None = None
    timeout_at: datetime | None = None
    duration_ms: float | None = None
    gateway_decision: GatewayDecision | None = None
    state_history: tuple[StateChange, ...] | None = None


class Duration(Struct, frozen=True):
    """A length of time in ms; ``derived`` when it was computed from time stamps."""

    ms: float
    derived: bool


NO_CONTEXT = Context()
_context_decoder = msgspec.json.Decoder(Context)
_hops_decoder = msgspec.json.Decoder(list[FlowHop] | None)
NULL = Raw(b"null")
"""JSON that the source never sent: unknown, which is not the same as empty."""


def read_context(raw: Raw) -> Context:
    """Read what the analyses need of a context; a field of the wrong type counts as absent."""
    if raw is NULL:
        return NO_CONTEXT
    try:
        context = _context_decoder.decode(raw)
    except msgspec.MsgspecError:
        context = _read_context_leniently(raw)
    if context.timeout_at is not None and context.timeout_at.tzinfo is not UTC:
        return msgspec.structs.replace(context, timeout_at=utc(context.timeout_at))
    return context


def _read_context_leniently(raw: Raw) -> Context:
    try:
        fields = msgspec.json.decode(raw, type=dict[str, Any])
    except msgspec.MsgspecError:
        return NO_CONTEXT
    good: dict[str, Any] = {}
    for field in msgspec.structs.fields(Context):
        if fields.get(field.name) is None:
            continue
        try:
            good[field.name] = msgspec.convert(fields[field.name], field.type, strict=False)
        except msgspec.MsgspecError:
            continue
    return Context(**good)


def hops_of(raw: Raw) -> list[FlowHop]:
    """Read a flow history; empty where it is unknown or cannot be read."""
    if raw is NULL:
        return []
    try:
        hops = _hops_decoder.decode(raw)
    except msgspec.MsgspecError:
        return []
    return [
        hop
        if hop.timestamp is None or hop.timestamp.tzinfo is UTC
        else msgspec.structs.replace(hop, timestamp=utc(hop.timestamp))
        for hop in hops or ()
    ]


# --- tokens -------------------------------------------------------------------------------------


class Token(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One visit of one element by one thread of execution of a process instance.

    What the source never sends is None, or NULL for JSON: unknown, which is not the same as empty.
    ``variables``, ``execution_context`` and ``flow_history`` are JSON as it came; ``extra`` keeps
    the fields that the API does not document. The type is laid out so that the documented JSON
    decodes straight into it; ``process.wire`` does that, and reads all that is not as documented.
    """

    token_id: str
    element_id: str
    state: str
    instance_id: str = ""  # the wire leaves it to the document around the token
    process_id: str | None = None
    element_type: str | None = None
    element_name: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    completed_at: datetime | None = None
    cancelled_at: datetime | None = None
    variables: Raw = NULL
    execution_context: Raw = NULL
    parent_token_id: str | None = None
    child_tokens: tuple[str, ...] | None = None
    flow_history: Raw = NULL
    extra: dict[str, Raw] = msgspec.field(default_factory=dict, name="(undocumented)")

    @property
    def live(self) -> bool:
        """Whether the token has not come to its end."""
        return self.state not in FINAL_STATES

    @property
    def context(self) -> Context:
        """The execution context's documented fields."""
        return read_context(self.execution_context)

    @property
    def hops(self) -> list[FlowHop]:
        """The flow history; empty where it is unknown or cannot be read."""
        return hops_of(self.flow_history)

    @property
    def name(self) -> str:
        """The element's name, or its id where it has none."""
        return self.element_name or self.element_id

    @property
    def finished_at(self) -> datetime | None:
        """When the token came to its end; None while it is live or where nobody says."""
        return finished_at(self.state, self.completed_at, self.cancelled_at, self.updated_at)


def finished_at(
    state: str, completed_at: datetime | None, cancelled_at: datetime | None, updated_at: datetime | None
) -> datetime | None:
    """Return when a token in a final state came to its end (its last update, if nothing better)."""
    if state not in FINAL_STATES:
        return None
    return completed_at or cancelled_at or updated_at


def duration(token: Token) -> Duration | None:
    """Return how long a token took, or None for one that has not ended or lacks its times.

    ``duration_ms`` counts where it is given, 0 included; otherwise it is the end less
    ``created_at``, marked as derived.
    """
    return duration_of(token.context.duration_ms, token.created_at, token.finished_at)


def duration_of(given: float | None, created_at: datetime | None, finished_at: datetime | None) -> Duration | None:
    """Return a duration from what is known of a token; see ``duration``."""
    if given is not None and math.isfinite(given):
        return Duration(given, derived=False)
    if finished_at is None or created_at is None:
        return None
    return Duration((finished_at - created_at) / _MILLISECOND, derived=True)


# --- summaries ----------------------------------------------------------------------------------


class Summary(Struct, frozen=True, kw_only=True):
    """Totals of a whole instance, whatever a filter shows of it (the documented ``summary``)."""

    total_tokens: int
    active_tokens: int
    completed_tokens: int
    cancelled_tokens: int
    token_states: dict[str, int]
    element_types: dict[str, int]


def summarize(counts: Iterable[tuple[str, str | None, int]]) -> Summary:
    """Add up (state, element type, count) triples.

    Every documented state has a key, zero or not, and so have the two element types that every
    process has; an unknown type is not counted among the types.
    """
    states: Counter[str] = Counter(dict.fromkeys(STATES, 0))
    types: Counter[str] = Counter({"startEvent": 0, "endEvent": 0})
    for state, element_type, count in counts:
        states[state] += count
        if element_type is not None:
            types[element_type] += count
    return Summary(
        total_tokens=states.total(),
        active_tokens=states[ACTIVE],
        completed_tokens=states[COMPLETED],
        cancelled_tokens=states[CANCELLED],
        token_states={s: states[s] for s in STATES} | {s: n for s, n in sorted(states.items()) if s not in STATES},
        element_types=dict(sorted(types.items())),
    )


# --- instances and definitions --------------------------------------------------------------------


class Instance(Struct, frozen=True, kw_only=True):
    """A process instance, as ``GET /api/v1/processes/{id}`` describes it.

    ``status`` is what the source said; None where it said nothing (a store then derives it from
    the tokens).
    """

    instance_id: str
    process_id: str | None = None
    process_key: str | None = None
    version: int | None = None
    status: str | None = None
    tenant_id: str | None = None
    started_at: datetime | None = None
    updated_at: datetime | None = None
    completed_at: datetime | None = None
    cancelled_at: datetime | None = None
    variables: Raw = NULL
    extra: dict[str, Raw] = {}


class Element(Struct, frozen=True, omit_defaults=True):
    """A flow node of a definition, with the sequence flows that enter and leave it."""

    id: str
    type: str
    name: str | None = None
    incoming: tuple[str, ...] = ()
    outgoing: tuple[str, ...] = ()
    default_flow: str | None = None
    attached_to: str | None = None  # a boundary event's activity
    parent: str | None = None  # the sub-process it lies in


class SequenceFlow(Struct, frozen=True, omit_defaults=True):
    """A sequence flow of a definition."""

    id: str
    source: str
    target: str
    name: str | None = None
    condition: str | None = None


class Definition(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A version of a process model: its elements and flows by id, and the BPMN XML if known."""

    process_id: str
    version: int = 1
    name: str | None = None
    elements: dict[str, Element] = {}
    flows: dict[str, SequenceFlow] = {}
    xml: str | None = None
