"""The lifecycle of a token: allows documented transitions only, and records each with its time.

It is independent of engines: a recorder creates tokens here as its engine reaches elements, moves them from state to
state, and passes new and changed tokens to a sink.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec
from msgspec import Raw

from tokctl.errors import TokctlError
from tokctl.model.definitions import Definition
from tokctl.model.instances import Instance
from tokctl.model.states import ACTIVE, CANCELLED, COMPLETED, FAILED, FINAL_STATES, SUSPENDED, TRANSITIONS, WAITING
from tokctl.model.times import format_time
from tokctl.model.tokens import FlowHop, Token

Clock = Callable[[], datetime]
"""Returns the current time as an aware datetime in UTC."""

_LIVE_TOKEN_FIELDS = ("retries_left", "timeout_at")
_MILLISECOND = timedelta(milliseconds=1)
_encode = msgspec.json.Encoder().encode


class Sink(Protocol):
    """Receives recorded instances and tokens. A later record of the same id replaces the earlier one."""

    def put_definition(self, definition: Definition) -> None:
        """Write a process model."""

    def put(self, instance: Instance, tokens: Iterable[Token]) -> None:
        """Write the current state of an instance, and its new or changed tokens."""


class TransitionError(TokctlError):
    """A transition is not part of the documented lifecycle."""


@dataclass(slots=True, eq=False)
class RecordedToken:
    """The current state of a token; only ``Lifecycle`` changes it."""

    token_id: str
    element_id: str
    element_type: str
    element_name: str | None
    state: str
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None = None
    cancelled_at: datetime | None = None
    variables: bytes = b"{}"
    context: dict[str, Any] = field(default_factory=dict)
    parent: RecordedToken | None = None
    children: list[RecordedToken] = field(default_factory=list)
    hops: tuple[FlowHop, ...] = ()

    @property
    def live(self) -> bool:
        """Whether the token has not ended."""
        return self.state not in FINAL_STATES


class Lifecycle:
    """The tokens of one process instance.

    The time of every change is that of the clock, or ``at`` for a past change; the times of a token never decrease,
    even if the clock does.
    """

    def __init__(self, instance_id: str, clock: Clock) -> None:
        self.instance_id = instance_id
        self.clock = clock
        self._tokens: dict[str, RecordedToken] = {}
        self._changed: dict[str, RecordedToken] = {}

    def __iter__(self) -> Iterator[RecordedToken]:
        """All tokens, in the order of their creation."""
        return iter(self._tokens.values())

    def __len__(self) -> int:
        return len(self._tokens)

    def create(
        self,
        token_id: str,
        element_id: str,
        element_type: str,
        *,
        element_name: str | None = None,
        parent: RecordedToken | None = None,
        via: FlowHop | None = None,
        variables: bytes = b"{}",
        at: datetime | None = None,
    ) -> RecordedToken:
        """Create an ACTIVE token, and add it to its parent's children.

        ``via`` is the hop that led here; its time becomes the token's. ``variables`` is JSON.
        Raises ``TransitionError``: the id already exists.
        """
        if token_id in self._tokens:
            raise TransitionError(f"Token '{token_id}' already exists and cannot be created again.")
        now = at or self.clock()
        hops = () if via is None else (msgspec.structs.replace(via, timestamp=now),)
        token = RecordedToken(
            token_id=token_id,
            element_id=element_id,
            element_type=element_type,
            element_name=element_name,
            state=ACTIVE,
            created_at=now,
            updated_at=now,
            variables=variables,
            parent=parent,
            hops=hops,
        )
        self._tokens[token_id] = self._changed[token_id] = token
        if parent is not None:
            self._add_child(parent, token)
        return token

    def change_state(self, token: RecordedToken, state: str, *, at: datetime | None = None) -> None:
        """Move a token into a state, with its time.

        A final state adds ``duration_ms`` to the execution context and removes the fields of live tokens
        (``retries_left``, ``timeout_at``); another live state is added to its ``state_history``. Raises
        ``TransitionError`` for a transition that is not documented; the token is then unchanged.
        """
        if state not in TRANSITIONS[token.state]:
            allowed = ", ".join(sorted(TRANSITIONS[token.state])) or "none, the state is final"
            raise TransitionError(
                f"Token '{token.token_id}' at '{token.element_id}' cannot go from {token.state} to {state}"
                f" (allowed: {allowed})."
            )
        now = self._touch(token, at)
        token.state = state
        if state == COMPLETED:
            token.completed_at = now
        elif state == CANCELLED:
            token.cancelled_at = now
        if state in FINAL_STATES:
            for name in _LIVE_TOKEN_FIELDS:
                token.context.pop(name, None)
            token.context["duration_ms"] = _int_if_whole((now - token.created_at) / _MILLISECOND)
        _update_state_history(token, state, now)

    def annotate(self, token: RecordedToken, fields: Mapping[str, Any], *, at: datetime | None = None) -> None:
        """Set fields of a token's execution context; None removes a field."""
        self._touch(token, at)
        for name, value in fields.items():
            if value is None:
                token.context.pop(name, None)
            else:
                token.context[name] = format_time(value) if isinstance(value, datetime) else value

    def set_variables(self, token: RecordedToken, variables: bytes, *, updates_time: bool = False) -> None:
        """Set the variables (JSON) of a token; its time changes only with ``updates_time``."""
        if variables != token.variables:
            token.variables = variables
            self._changed[token.token_id] = token
            if updates_time:
                self._touch(token, None)

    def add_join_child(self, parent: RecordedToken, child: RecordedToken) -> None:
        """Add a token to the children of a further parent: at a join."""
        if child not in parent.children:
            self._add_child(parent, child)

    def drain(self) -> list[Token]:
        """Return the tokens that are new or changed since the last call, in their current state."""
        changed = [self._to_token(token) for token in self._changed.values()]
        self._changed.clear()
        return changed

    def _add_child(self, parent: RecordedToken, child: RecordedToken) -> None:
        parent.children.append(child)
        self._changed[parent.token_id] = parent

    def _touch(self, token: RecordedToken, at: datetime | None) -> datetime:
        now = max(at or self.clock(), token.updated_at)
        token.updated_at = now
        self._changed[token.token_id] = token
        return now

    def _to_token(self, token: RecordedToken) -> Token:
        return Token(
            token_id=token.token_id,
            instance_id=self.instance_id,
            element_id=token.element_id,
            element_type=token.element_type,
            element_name=token.element_name,
            state=token.state,
            created_at=token.created_at,
            updated_at=token.updated_at,
            completed_at=token.completed_at,
            cancelled_at=token.cancelled_at,
            variables=Raw(token.variables),
            execution_context=Raw(_encode(token.context)),
            parent_token_id=None if token.parent is None else token.parent.token_id,
            child_tokens=tuple(child.token_id for child in token.children),
            flow_history=Raw(_encode([_encode_hop(hop) for hop in token.hops])),
        )


def _update_state_history(token: RecordedToken, state: str, now: datetime) -> None:
    """Record a live state with its time; one with no duration is omitted."""
    history = token.context.pop("state_history", [])
    if not history and state not in {WAITING, SUSPENDED, FAILED}:
        return
    at = format_time(now)
    if history and history[-1]["at"] == at:
        history.pop()
    if state not in FINAL_STATES and state != (history[-1]["state"] if history else ACTIVE):
        history.append({"state": state, "at": at})
    if history:
        token.context["state_history"] = history


def _encode_hop(hop: FlowHop) -> dict[str, str | None]:
    """Write a hop as documented: every field, in the documented spelling of times."""
    return {"from_element": hop.from_element, "via_flow": hop.via_flow, "timestamp": format_time(hop.timestamp)}


def _int_if_whole(number: float) -> float:
    return int(number) if number == int(number) else number
