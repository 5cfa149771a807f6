"""Reconstructs an instance at a past moment from its current tokens.

Events dated at the moment itself have happened. A token whose last change is not after the moment was then as it is
now. Of a token that has changed since, only data that was recorded with a time, or that never changes, is known; the
rest is unknown, even if its current value is known:

- It existed if its ``created_at`` is not after the moment or, if that is unknown, any other of its times is not. A
  token without any time is left out.
- A token that ended later was live. Its state is that of its ``state_history``; if none was recorded, it is assumed to
  have been ACTIVE, or WAITING at an element where tokens only wait.
- ``updated_at``, variables, retries, the worker and so on are unknown. The job is the same.
- It has the children that existed, and the hops that had happened. A token that moves through elements was where the
  last of these hops led.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from tokctl.analysis.history import flow_target, moves_between_elements
from tokctl.model.definitions import Definition
from tokctl.model.element_types import canonical_type, is_joining_gateway
from tokctl.model.instance_status import InstanceStatus, derive_status
from tokctl.model.instances import Instance
from tokctl.model.states import ACTIVE, STATE_DERIVED, SUSPENDED, WAITING, canonical_state, is_final
from tokctl.model.times import format_time, to_utc
from tokctl.model.tokens import NO_CONTEXT, NULL, ExecutionContext, FlowHop, StateChange, Token
from tokctl.model.visits import Visit

T = TypeVar("T", Token, Visit)

_WAITING_TYPES = frozenset({"eventBasedGateway", "intermediateCatchEvent", "boundaryEvent", "receiveTask"})
_CONSTANT_FIELDS = ("job_key", "job_type")  # fields of a context that do not change during a visit


class AsOfContext(Struct, frozen=True):
    """Data for the reconstruction: ids of tokens created after the moment, ids of elements with tokens, the model."""

    later: AbstractSet[str] = frozenset()
    elements: AbstractSet[str] = frozenset()
    definition: Definition | None = None


class PointInTime(Struct, Generic[T], frozen=True):
    """An instance at a past moment, with the tokens that it had, in the given order."""

    status: InstanceStatus
    tokens: list[T]
    as_of_context: AsOfContext


_NOTHING = AsOfContext()


def reconstruct_instance(
    now: InstanceStatus, tokens: Iterable[T], moment: datetime, *, definition: Definition | None = None
) -> PointInTime[T] | None:
    """Return an instance at a past moment; None if it had not started.

    It starts at its ``started_at``, or else with its first token. ``tokens`` are all its tokens; visits need their flow
    histories.
    """
    if now.started_at is not None and now.started_at > moment:
        return None
    tokens = list(tokens)
    later = {token.token_id for token in tokens if not has_existed(token, moment)}
    if now.started_at is None and len(later) == len(tokens):
        return None
    as_of_context = AsOfContext(later, {token.element_id for token in tokens}, definition)
    then = [found for token in tokens if (found := reconstruct_token(token, moment, as_of_context)) is not None]
    changed_later = any((changed := _last_change(token, token.created_at)) and changed > moment for token in tokens)
    return PointInTime(_instance_at(now.instance, moment, then, changed_later=changed_later), then, as_of_context)


# --- tokens ---------------------------------------------------------------------------------------


def has_existed(token: Token | Visit, moment: datetime) -> bool:
    """Tell whether a token is known to have existed; the flow history counts if ``created_at`` is unknown."""
    if token.created_at is not None:
        return token.created_at <= moment
    times = (token.updated_at, token.completed_at, token.cancelled_at, *(hop.timestamp for hop in token.hops))
    return any(time is not None and time <= moment for time in times)


def reconstruct_token(token: T, moment: datetime, as_of_context: AsOfContext = _NOTHING) -> T | None:
    """Return a token, or a visit with its flow history, at a past moment; None if it is not known to have existed."""
    if not has_existed(token, moment):
        return None
    children = token.child_tokens
    if children and not as_of_context.later.isdisjoint(children):
        children = tuple(child for child in children if child not in as_of_context.later)
    last = _last_change(token, None)
    if last is not None and last <= moment:
        return token if children is token.child_tokens else replace(token, child_tokens=children)
    hops, flow_history = token.hops, token.flow_history
    taken = [hop.timestamp is None or hop.timestamp <= moment for hop in hops]
    changes: dict[str, Any] = {}
    if not all(taken):
        entries = msgspec.json.decode(flow_history, type=list[Raw])
        flow_history = Raw(msgspec.json.encode([e for e, was in zip(entries, taken, strict=True) if was]))
        flows = [(hop.from_element, hop.via_flow) for hop in hops]
        elements, definition = as_of_context.elements, as_of_context.definition
        if moves_between_elements(token.element_id, token.element_type, flows, elements, definition):
            changes = _find_last_element(hops, taken, definition)
    state, derived = _state_at(token, moment, changes.get("element_type", token.element_type))
    changes |= {"state": state, "child_tokens": children, "flow_history": flow_history} | _times_at(token, moment)
    if isinstance(token, Visit):
        changes["context"] = _context_at(token.context, moment)
    else:
        changes |= {
            "variables": NULL,
            "execution_context": _raw_context_at(token, moment),
            "extra": {STATE_DERIVED: Raw(b"true")} if derived else {},
        }
    return replace(token, **changes)


def _last_change(token: Token | Visit | Instance, last: datetime | None) -> datetime | None:
    """Return the latest of a given time and the times of changes; None if none is known."""
    times = (last, token.updated_at, token.completed_at, token.cancelled_at)
    return max((time for time in times if time is not None), default=None)


def _times_at(one: Token | Visit | Instance, moment: datetime) -> dict[str, Any]:
    """Return the times of changes, without those that are later."""
    times = {name: getattr(one, name) for name in ("updated_at", "completed_at", "cancelled_at")}
    return {name: time if time is not None and time <= moment else None for name, time in times.items()}


def _state_at(token: Token | Visit, moment: datetime, element_type: str | None) -> tuple[str, bool]:
    """Return the past state of a token that has changed since, and whether that is derived."""
    end = token.finished_at
    if not token.can_move and (end is None or end <= moment):
        return token.state, end is None
    history = token.context.state_history
    if history is not None:
        states = (canonical_state(change.state) for change in _changes(history, moment))
        entered = [state for state in states if not is_final(state)]
        return entered[-1] if entered else ACTIVE, False
    waits = token.state == WAITING or is_joining_gateway(element_type)
    return WAITING if waits or canonical_type(element_type or "") in _WAITING_TYPES else ACTIVE, True


def _changes(history: tuple[StateChange, ...], moment: datetime) -> list[StateChange]:
    return [change for change in history if to_utc(change.at) <= moment]


def _context_at(context: ExecutionContext, moment: datetime) -> ExecutionContext:
    history = tuple(_changes(context.state_history or (), moment)) or None
    found = ExecutionContext(job_key=context.job_key, job_type=context.job_type, state_history=history)
    return NO_CONTEXT if found == NO_CONTEXT else found


def _raw_context_at(token: Token, moment: datetime) -> Raw:
    if token.execution_context == NULL:
        return NULL
    try:
        fields = msgspec.json.decode(token.execution_context, type=dict[str, Raw])
    except msgspec.MsgspecError:
        return NULL
    kept: dict[str, Any] = {name: fields[name] for name in _CONSTANT_FIELDS if name in fields}
    if changes := _changes(token.context.state_history or (), moment):
        kept["state_history"] = [{"state": c.state, "at": format_time(to_utc(c.at))} for c in changes]
    return Raw(msgspec.json.encode(kept))


def _find_last_element(hops: list[FlowHop], taken: list[bool], definition: Definition | None) -> dict[str, Any]:
    """Return the element that the hops up to the moment had led a token to, as fields of a token."""
    before = [hop for hop, was in zip(hops, taken, strict=True) if was]
    next_one = min((hop for hop, was in zip(hops, taken, strict=True) if not was), key=lambda hop: hop.timestamp or 0)
    element_id = (before and flow_target(before[-1].via_flow, definition)) or next_one.from_element or "?"
    element = None if definition is None else definition.elements.get(element_id)
    kind, name = (None, None) if element is None else (element.type, element.name)
    return {"element_id": element_id, "element_type": kind, "element_name": name}


# --- instances ------------------------------------------------------------------------------------


def _instance_at(instance: Instance, moment: datetime, tokens: list[T], *, changed_later: bool) -> InstanceStatus:
    """Return the status of an instance with its past tokens; ``changed_later`` tells that tokens changed since.

    The status of the source counts unless it is from later; then the status is derived.
    """
    last = _last_change(instance, None)
    status, derived = _status_at(instance, moment, tokens, changed_later=changed_later)
    unchanged: dict[str, Any] = {} if last is not None and last <= moment else {"variables": NULL, "extra": {}}
    then = replace(instance, status=status, **_times_at(instance, moment), **unchanged)
    found = derive_status(then, tokens)
    return replace(found, status_derived=found.status_derived or derived)


def _status_at(
    instance: Instance, moment: datetime, tokens: list[T], *, changed_later: bool
) -> tuple[str | None, bool]:
    said, end, last = instance.status, instance.completed_at or instance.cancelled_at, _last_change(instance, None)
    live = [token.state for token in tokens if token.live]
    if said is None:
        lasted = changed_later or (end is not None and end > moment)
        return (ACTIVE, True) if lasted and not live else (None, False)
    end = end or (None if changed_later else last) if is_final(said) else last
    if end is None and not changed_later:  # it is unknown since when
        return said, True
    if end is not None and end <= moment:
        return said, False
    return SUSPENDED if live and set(live) == {SUSPENDED} else ACTIVE, True
