"""A token as the analyses read it: everything but its variables, with the execution context read.

Of an instance with 200,000 tokens, decoding just this takes a quarter of the time that whole tokens
do, and a third of the room.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from functools import lru_cache
from typing import Annotated, Any, Literal, Self, cast

import msgspec
from msgspec import Meta, Raw, Struct
from msgspec.structs import force_setattr

from tokctl.process.model import (
    FINAL_STATES,
    NO_CONTEXT,
    NULL,
    Context,
    Duration,
    FlowHop,
    Int64,
    Token,
    canonical_state,
    duration_of,
    finished_at,
    hops_of,
    utc,
)


class Visit(Struct, frozen=True, kw_only=True, gc=False):
    """One visit of one element by one thread of execution: a ``Token`` without what no analysis reads.

    Unknown is None, as in a token. ``flow_history`` is NULL unless it was asked for.
    """

    token_id: str
    element_id: str
    state: str
    instance_id: str = ""
    process_id: str | None = None
    element_type: str | None = None
    element_name: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    completed_at: datetime | None = None
    cancelled_at: datetime | None = None
    context: Context = msgspec.field(default=NO_CONTEXT, name="execution_context")
    parent_token_id: str | None = None
    child_tokens: tuple[str, ...] | None = None
    flow_history: Raw = NULL

    @classmethod
    def of(cls, token: Token, *, flows: bool = False) -> Self:
        """The same of a whole token, with its flow history if it is wanted."""
        fields = {name: getattr(token, name) for name in cls.__struct_fields__}
        return cls(**fields | {"flow_history": token.flow_history.copy() if flows else NULL})

    @property
    def live(self) -> bool:
        """Whether the token has not come to its end."""
        return self.state not in FINAL_STATES

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

    @property
    def entered_at(self) -> datetime | None:
        """When the token entered the state that it is in; None where nobody recorded that."""
        history = self.context.state_history
        if not history:
            return None
        return next((utc(one.at) for one in reversed(history) if canonical_state(one.state) == self.state), None)

    @property
    def duration(self) -> Duration | None:
        """How long it took, given or derived; None for one that has not ended or lacks its times."""
        return duration_of(self.context.duration_ms, self.created_at, self.finished_at)


# --- straight from documents ------------------------------------------------------------------------

_Id = Annotated[str, Meta(min_length=1)]
_Time = Annotated[datetime, Meta(tz=True)]
_State = Literal["ACTIVE", "WAITING", "SUSPENDED", "COMPLETED", "CANCELLED", "FAILED"]
_Type = Literal[
    "startEvent", "endEvent", "intermediateCatchEvent", "intermediateThrowEvent", "boundaryEvent",
    "task", "serviceTask", "userTask", "scriptTask", "sendTask", "receiveTask", "manualTask",
    "businessRuleTask", "exclusiveGateway", "parallelGateway", "inclusiveGateway",
    "eventBasedGateway", "complexGateway", "subProcess", "transaction", "adHocSubProcess",
    "callActivity",
]  # fmt: skip


class _Context(Context, frozen=True, gc=False):
    retries_left: Int64 | None = None
    timeout_at: _Time | None = None


class _Documented(Visit, frozen=True, kw_only=True, gc=False):
    """A visit that is exactly as documented: whatever is not goes the way of ``wire.decode_token``."""

    token_id: _Id
    element_id: _Id
    state: _State
    process_id: _Id | None = None
    element_type: _Type | None = None
    created_at: _Time | None = None
    updated_at: _Time | None = None
    completed_at: _Time | None = None
    cancelled_at: _Time | None = None
    context: _Context | None = msgspec.field(default=cast("Any", NO_CONTEXT), name="execution_context")  # type: ignore[assignment]
    parent_token_id: _Id | None = None
    flow_history: Raw = msgspec.field(default=NULL, name="(unread)")
    process_instance_id: msgspec.UnsetType = msgspec.UNSET  # another name for one that has a default here


class _WithFlows(_Documented, frozen=True, kw_only=True, gc=False):
    flow_history: Raw = msgspec.field(default=NULL, name="flow_history")  # else it goes by the name above


class Flows(Enum):
    """Which flow histories are kept of the tokens of a document."""

    NONE = "none"
    OF_JOINS = "those of tokens that several flows lead to"
    ALL = "all"


@lru_cache(maxsize=16)
def _decoder(flows: Flows, instance_id: str, process_id: str | None, *, lines: bool) -> msgspec.json.Decoder[Any]:
    """Return a decoder of visits that belong to an instance unless they name one themselves."""
    kind: Any = msgspec.defstruct(
        "_Visit",
        [("instance_id", str, instance_id), ("process_id", _Id | None, process_id)],
        bases=(_Documented if flows is Flows.NONE else _WithFlows,),
        frozen=True,
        kw_only=True,
        gc=False,
    )
    return msgspec.json.Decoder(kind if lines else list[kind])


_JOINS = frozenset({"parallelGateway", "inclusiveGateway", "complexGateway", None})  # None may be any


def decode_visits(
    text: str, *, lines: bool, flows: Flows = Flows.NONE, instance_id: str = "", process_id: str | None = None
) -> Sequence[Visit]:
    """Decode a JSON array of tokens, or tokens a line each, all of them as documented.

    Raises:
        msgspec.MsgspecError, UnicodeError, RecursionError: one is not, and needs a closer look.
    """
    decoder = _decoder(flows, instance_id, process_id, lines=lines)
    visits: Sequence[Visit] = decoder.decode_lines(text) if lines else decoder.decode(text)
    if "\0" in "".join([visit.token_id for visit in visits]):
        raise msgspec.ValidationError("an id that may not be")
    named = {visit.instance_id for visit in visits}
    if "" in named or not (lines or named <= {instance_id}):  # whose process is that of the document is not known
        raise msgspec.ValidationError("another instance")
    if None in [visit.context for visit in visits]:
        for visit in visits:
            if visit.context is None:
                force_setattr(visit, "context", NO_CONTEXT)
    if flows is not Flows.NONE:
        everything = flows is Flows.ALL
        for visit in visits:
            raw = visit.flow_history
            several = everything or visit.element_type in _JOINS or bytes(raw).count(b"{") > 1
            force_setattr(visit, "flow_history", raw.copy() if several else NULL)  # itself, it holds the whole text
    return visits
