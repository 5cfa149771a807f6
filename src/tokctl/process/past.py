"""An instance as it stood at a moment, from what its tokens say today.

What is dated at the moment itself has happened. A token whose last change is not after the moment
stood then as it does today. Of one that has changed since, only what was recorded with a time, and
what never changes, is told; the rest is unknown then, whatever it is today:

- It existed if its ``created_at`` says so; where that is unknown, if any other time of it does. One
  without any such time is left out.
- One that ended later was live. In which state stands in its ``state_history``; where nobody recorded
  that, it is taken to have been ACTIVE, or WAITING at an element at which tokens do nothing else.
- ``updated_at``, variables, retries, the worker and the like are unknown. The job is the same.
- It has those of its children that existed, and the hops of its flow history that had been taken. One
  that moves through elements stood where the last of these had brought it.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any, Generic, TypeVar, cast

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from tokctl.process.model import (
    ACTIVE,
    NO_CONTEXT,
    NULL,
    STATE_DERIVED,
    SUSPENDED,
    WAITING,
    Context,
    Definition,
    FlowHop,
    Instance,
    StateChange,
    Token,
    canonical_state,
    canonical_type,
    format_time,
    is_final,
    utc,
)
from tokctl.process.status import InstanceStatus, derive
from tokctl.process.tree import waits_for_several
from tokctl.process.visit import Visit

T = TypeVar("T", Token, Visit)

_ONLY_WAITS = frozenset({"eventBasedGateway", "intermediateCatchEvent", "boundaryEvent", "receiveTask"})
_LASTING = ("job_key", "job_type")  # of a context: what is the same all through a visit


class Around(Struct, frozen=True):
    """What else is known: the tokens that came after the moment, all elements with tokens, the model."""

    later: AbstractSet[str] = frozenset()
    elements: AbstractSet[str] = frozenset()
    definition: Definition | None = None


class Past(Struct, Generic[T], frozen=True):
    """An instance as it stood, with the tokens that it had, in the order in which they were given."""

    status: InstanceStatus
    tokens: list[T]
    around: Around


_NOTHING = Around()


def past(
    now: InstanceStatus, tokens: Iterable[T], moment: datetime, *, definition: Definition | None = None
) -> Past[T] | None:
    """Return an instance as it stood, from how it stands and all its tokens; None if it had not begun.

    It begins with its ``started_at``, else with its first token.
    """
    if now.started_at is not None and now.started_at > moment:
        return None
    tokens = list(tokens)
    later = {token.token_id for token in tokens if not existed(token, moment)}
    if now.started_at is None and len(later) == len(tokens):
        return None
    around = Around(later, {token.element_id for token in tokens}, definition)
    then = [found for token in tokens if (found := token_at(token, moment, around)) is not None]
    went_on = any((changed := _last(token, token.created_at)) and changed > moment for token in tokens)
    return Past(_instance_at(now.instance, moment, then, went_on=went_on), then, around)


# --- tokens ---------------------------------------------------------------------------------------


def existed(token: Token | Visit, moment: datetime) -> bool:
    """Tell whether it is known that a token existed; flow histories help where ``created_at`` is unknown."""
    if token.created_at is not None:
        return token.created_at <= moment
    times = (token.updated_at, token.completed_at, token.cancelled_at, *(hop.timestamp for hop in token.hops))
    return any(time is not None and time <= moment for time in times)


def token_at(token: T, moment: datetime, around: Around = _NOTHING) -> T | None:
    """Return a token, or a visit with its flow history, as it stood; None if it is not known to have existed."""
    if not existed(token, moment):
        return None
    children = token.child_tokens
    if children and not around.later.isdisjoint(children):
        children = tuple(child for child in children if child not in around.later)
    last = _last(token, None)
    if last is not None and last <= moment:
        return token if children is token.child_tokens else replace(token, child_tokens=children)
    hops, flow_history = token.hops, token.flow_history
    taken = [hop.timestamp is None or hop.timestamp <= moment for hop in hops]
    changes: dict[str, Any] = {}
    if not all(taken):
        entries = msgspec.json.decode(flow_history, type=list[Raw])
        flow_history = Raw(msgspec.json.encode([e for e, was in zip(entries, taken, strict=True) if was]))
        if _moves(token, hops, around):
            changes = _place(hops, taken, around.definition)
    state, derived = _state_at(token, moment, changes.get("element_type", token.element_type))
    changes |= {
        "state": state,
        "updated_at": _by(moment, token.updated_at),
        "completed_at": _by(moment, token.completed_at),
        "cancelled_at": _by(moment, token.cancelled_at),
        "child_tokens": children,
        "flow_history": flow_history,
    }
    if isinstance(token, Visit):
        changes["context"] = _context_at(token.context, moment)
    else:
        changes |= {
            "variables": NULL,
            "execution_context": _raw_context_at(token, moment),
            "extra": {STATE_DERIVED: Raw(b"true")} if derived else {},
        }
    return replace(token, **changes)


def _last(token: Token | Visit | Instance, last: datetime | None) -> datetime | None:
    """Return the last of a given time and those of changes; None where none is known."""
    for time in (token.updated_at, token.completed_at, token.cancelled_at):
        if time is not None and (last is None or time > last):
            last = time
    return last


def _by(moment: datetime, time: datetime | None) -> datetime | None:
    return time if time is not None and time <= moment else None


def _state_at(token: Token | Visit, moment: datetime, element_type: str | None) -> tuple[str, bool]:
    """Return the state of a token that has changed since, and whether that is derived."""
    end = token.finished_at
    if not token.live and (end is None or end <= moment):
        return token.state, end is None
    history = token.context.state_history
    if history is not None:
        states = (canonical_state(change.state) for change in _changes(history, moment))
        entered = [state for state in states if not is_final(state)]
        return entered[-1] if entered else ACTIVE, False
    waits = token.state == WAITING or waits_for_several(element_type)
    return WAITING if waits or canonical_type(element_type or "") in _ONLY_WAITS else ACTIVE, True


def _changes(history: tuple[StateChange, ...], moment: datetime) -> list[StateChange]:
    return [change for change in history if cast(datetime, utc(change.at)) <= moment]


def _context_at(context: Context, moment: datetime) -> Context:
    history = tuple(_changes(context.state_history or (), moment)) or None
    found = Context(job_key=context.job_key, job_type=context.job_type, state_history=history)
    return NO_CONTEXT if found == NO_CONTEXT else found


def _raw_context_at(token: Token, moment: datetime) -> Raw:
    if token.execution_context == NULL:
        return NULL
    try:
        fields = msgspec.json.decode(token.execution_context, type=dict[str, Raw])
    except msgspec.MsgspecError:
        return NULL
    kept: dict[str, Any] = {name: fields[name] for name in _LASTING if name in fields}
    if changes := _changes(token.context.state_history or (), moment):
        kept["state_history"] = [{"state": c.state, "at": format_time(utc(c.at))} for c in changes]
    return Raw(msgspec.json.encode(kept))


def _moves(token: Token | Visit, hops: list[FlowHop], around: Around) -> bool:
    """Tell a token that goes through elements from one that was joined of several, as a history does."""
    if len(hops) < 2:
        return False
    targets = {_target(hop, around.definition) for hop in hops}
    if None not in targets:
        return targets != {token.element_id}
    if waits_for_several(token.element_type):
        return False
    return any(hop.from_element not in around.elements for hop in hops[1:])


def _target(hop: FlowHop, definition: Definition | None) -> str | None:
    flow = None if definition is None or hop.via_flow is None else definition.flows.get(hop.via_flow)
    return None if flow is None else flow.target


def _place(hops: list[FlowHop], taken: list[bool], definition: Definition | None) -> dict[str, Any]:
    """Return the element to which the hops that were taken had brought a token."""
    before = [hop for hop, was in zip(hops, taken, strict=True) if was]
    next_one = min((hop for hop, was in zip(hops, taken, strict=True) if not was), key=lambda hop: hop.timestamp or 0)
    element_id = (before and _target(before[-1], definition)) or next_one.from_element or "?"
    element = None if definition is None else definition.elements.get(element_id)
    return {
        "element_id": element_id,
        "element_type": None if element is None else element.type,
        "element_name": None if element is None else element.name,
    }


# --- instances ------------------------------------------------------------------------------------


def _instance_at(instance: Instance, moment: datetime, tokens: list[T], *, went_on: bool) -> InstanceStatus:
    """Return an instance as it stood with these tokens; ``went_on``: something happened to its tokens later.

    What its source said of its status counts unless it is of later; then it is derived.
    """
    last = _last(instance, None)
    status, derived = _status_at(instance, moment, tokens, went_on=went_on)
    unchanged: dict[str, Any] = {} if last is not None and last <= moment else {"variables": NULL, "extra": {}}
    then = replace(
        instance,
        status=status,
        updated_at=_by(moment, instance.updated_at),
        completed_at=_by(moment, instance.completed_at),
        cancelled_at=_by(moment, instance.cancelled_at),
        **unchanged,
    )
    found = derive(then, tokens)
    return replace(found, status_derived=found.status_derived or derived)


def _status_at(instance: Instance, moment: datetime, tokens: list[T], *, went_on: bool) -> tuple[str | None, bool]:
    said, end, last = instance.status, instance.completed_at or instance.cancelled_at, _last(instance, None)
    live = [token.state for token in tokens if token.live]
    if said is None:
        lasted = went_on or (end is not None and end > moment)
        return (ACTIVE, True) if lasted and not live else (None, False)
    end = end or (None if went_on else last) if is_final(said) else last
    if end is None and not went_on:  # nobody says since when
        return said, True
    if end is not None and end <= moment:
        return said, False
    return SUSPENDED if live and set(live) == {SUSPENDED} else ACTIVE, True
