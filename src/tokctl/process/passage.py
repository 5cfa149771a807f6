"""One token's way, made of successive looks at it: for engines that move a token and send no flow history.

A look tells where a token is now, and when it last changed. That it left an element shows at the next look;
over which flows it went is told only as far as the model leaves no other way. What happened between two looks
may be missing, and is never made up. All hops that one look shows bear the time of the token's last change:
by then they had happened. What an engine sends itself is left as it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from tokctl.process.model import ACTIVE, NULL, Definition, Element, SequenceFlow, StateChange, Token, format_time

_CONTAINERS = frozenset({"subProcess", "transaction", "adHocSubProcess"})
_OUT = "\0out"  # no id has it: where a token is that leaves a sub-process
_list = msgspec.json.Decoder(list[Raw])
_object = msgspec.json.Decoder(dict[str, Raw])


class _Step(Struct, frozen=True, eq=False):
    """A way from one place to another, over a flow or as the model's structure has it."""

    to: str
    flow: SequenceFlow | None = None


class Model:
    """What a definition says of the ways between its elements; without one, nothing."""

    def __init__(self, definition: Definition | None) -> None:
        self._steps: dict[str, list[_Step]] = {}
        self._known: dict[tuple[str, str], tuple[SequenceFlow, ...]] = {}
        if definition is not None:
            self._build(definition)

    def _build(self, definition: Definition) -> None:
        elements = definition.elements
        containers = {key for key, one in elements.items() if one.type in _CONTAINERS}
        containers |= {one.parent for one in elements.values() if one.parent in elements}

        def leaving(element_id: str) -> str:
            return element_id + _OUT if element_id in containers else element_id

        for flow in definition.flows.values():
            self._add(leaving(flow.source), flow.target, flow)
        for container in containers:
            self._add(container, container + _OUT)
        for begin, end in _structure(elements):
            self._add(leaving(begin), end)
        for element_id, one in elements.items():
            if one.parent in elements:
                self._add(leaving(element_id), one.parent + _OUT)

    def _add(self, begin: str, end: str, flow: SequenceFlow | None = None) -> None:
        self._steps.setdefault(begin, []).append(_Step(end, flow))

    def certain(self, source: str, target: str) -> tuple[SequenceFlow, ...]:
        """Return the flows that every way between two elements goes over, in the order in which it does."""
        key = source, target
        if key not in self._known:
            way = self._find(source, target, None)
            steps = (step for step in way or () if step.flow is not None and self._find(source, target, step) is None)
            self._known[key] = tuple(step.flow for step in steps if step.flow is not None)
        return self._known[key]

    def _find(self, source: str, target: str, without: _Step | None) -> list[_Step] | None:
        """Return the steps of a shortest way of at least one step; None where there is none."""
        came: dict[str, tuple[str, _Step]] = {}
        todo = deque([source])
        while todo:
            here = todo.popleft()
            for step in self._steps.get(here, ()):
                if step is without or step.to in came:
                    continue
                came[step.to] = here, step
                if step.to == target:
                    return _back(came, source, target)
                todo.append(step.to)
        return None


def _back(came: dict[str, tuple[str, _Step]], source: str, target: str) -> list[_Step]:
    steps: list[_Step] = []
    here = target
    while not steps or here != source:
        here, step = came[here]
        steps.append(step)
    return steps[::-1]


def _structure(elements: dict[str, Element]) -> Iterator[tuple[str, str]]:
    """Yield the ways that no flow shows: into sub-processes, to boundary events, over links."""
    links = [key for key, one in elements.items() if one.type == "intermediateCatchEvent" and not one.incoming]
    own = [key for key, one in elements.items() if one.type == "subProcess" and not one.incoming]
    for key, one in elements.items():
        if one.attached_to is not None:
            yield one.attached_to, key
        elif one.parent in elements and not one.incoming:
            yield one.parent, key
        if one.type == "intermediateThrowEvent" and not one.outgoing:
            yield from ((key, catch) for catch in links)
        for sub in own:  # one that an event starts, whatever else is under way beside it
            if sub != key and elements[sub].parent == one.parent:
                yield key, sub


def grown(known: Token | None, seen: Token, model: Model) -> Token:
    """Return a token as it was seen, with what was known of its way and what has come to it since.

    Args:
        known: the token as it came out of the look before; None at the first.
        seen: as it looks now. One that is older than what is known is no news.
        model: that of the token's instance.
    """
    if known is None:
        return seen
    if seen.updated_at is not None and known.updated_at is not None and seen.updated_at < known.updated_at:
        return known
    changes: dict[str, Any] = {}
    if seen.flow_history == NULL:
        history = _history(known, seen, model)
        if history != NULL:
            changes["flow_history"] = history
    context = _context(known, seen)
    if context is not None:
        changes["execution_context"] = context
    return replace(seen, **changes) if changes else seen


def _history(known: Token, seen: Token, model: Model) -> Raw:
    if known.element_id == seen.element_id:
        return known.flow_history
    try:
        entries = _list.decode(known.flow_history) if known.flow_history != NULL else []
    except (msgspec.MsgspecError, RecursionError):
        return known.flow_history
    flows = model.certain(known.element_id, seen.element_id)
    hops: list[tuple[str, str | None]] = [(flow.source, flow.id) for flow in flows]
    if not hops or hops[0][0] != known.element_id:
        hops.insert(0, (known.element_id, None))
    time = format_time(seen.updated_at)
    new = [{"from_element": source, "via_flow": flow, "timestamp": time} for source, flow in hops]
    return Raw(msgspec.json.encode([*entries, *new]))


def _context(known: Token, seen: Token) -> Raw | None:
    """Return the context with the live states that the looks have shown; None where it is right as it was seen."""
    try:
        fields: dict[str, Any] = dict(_object.decode(seen.execution_context)) if seen.execution_context != NULL else {}
    except (msgspec.MsgspecError, RecursionError):
        return None
    if "state_history" in fields:
        return None
    states = list(known.context.state_history or ())
    if known.live and (known.state, known.element_id) != (seen.state, seen.element_id):
        if not states and known.state != ACTIVE:  # a token is ACTIVE until something else is told
            states += _change(known.state, known.updated_at)
        if seen.live and known.state != seen.state:
            states += _change(seen.state, seen.updated_at)
    if not states:
        return None
    fields["state_history"] = [{"state": change.state, "at": format_time(change.at)} for change in states]
    return Raw(msgspec.json.encode(fields))


def _change(state: str, at: datetime | None) -> list[StateChange]:
    return [] if at is None else [StateChange(state, at)]
