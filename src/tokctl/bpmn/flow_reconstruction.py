"""Reconstructs a token's flow history from successive observations, for engines that record none.

Such an engine moves one token through the elements. An observation tells where the token is and when it last changed.
The next observation shows that it has left an element; the model tells which flows it took, if only one path is
possible: these hops are ``RECONSTRUCTED``. A hop whose flow is not known for certain is ``AMBIGUOUS``. Hops between two
observations may be missing, but are never invented. All hops added by one observation have the time of the token's last
change: they had happened by then. A flow history from the engine is not changed.

``reconstruction`` is for engines that have a visit for each element.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from tokctl.bpmn.entries import VisitHop, encode_hop
from tokctl.bpmn.graph import ProcessGraph
from tokctl.model.definitions import Element, SequenceFlow
from tokctl.model.states import ACTIVE, COMPLETED
from tokctl.model.times import format_time
from tokctl.model.tokens import NULL, Certainty, StateChange, Token

_PASSED_TYPES = frozenset(
    {"exclusiveGateway", "inclusiveGateway", "parallelGateway", "complexGateway", "intermediateThrowEvent"}
)
"""Where a token does not stay once it can continue."""

_list_decoder = msgspec.json.Decoder(list[Raw] | None)
_object_decoder = msgspec.json.Decoder(dict[str, Raw] | None)


def merge_observation(previous: Token | None, observed: Token, graph: ProcessGraph) -> Token:
    """Return the observed token with the flow history and state history known so far, and what was added since.

    ``previous`` is the result of the previous observation; it is returned if the observed token is older. The graph is
    empty if the definition is unknown.
    """
    if previous is None:
        return observed
    before, now = previous.updated_at, observed.updated_at
    if before is not None and now is not None and now < before:
        return previous
    changes: dict[str, Any] = {}
    if previous.element_id == observed.element_id and observed.created_at in {None, previous.created_at}:
        changes["created_at"] = previous.created_at
        changes["parent_token_id"] = observed.parent_token_id or previous.parent_token_id
    if observed.flow_history == NULL:
        history = _extend_flow_history(previous, observed, graph)
        if history != NULL:
            changes["flow_history"] = history
    context = _extend_context(previous, observed)
    if context is not None:
        changes["execution_context"] = context
    return replace(observed, **changes) if changes else observed


def end_visit(previous: Token, observed: Token, graph: ProcessGraph) -> tuple[Token, Token] | None:
    """Return an earlier visit, which an observation shows to have ended, and the observed visit after it.

    None if both are the same visit. Engines whose tokens are visits never change ``created_at``; where a token moves it
    is the arrival. The earlier visit gets an id of its own: that of its job, if the engine would list it by that, too.
    When it ended is known only if the model has one way to the observed element, on which a token does not stay.
    """
    arrived, before = observed.created_at, previous.created_at
    if arrived is None or before is None or arrived <= before or not previous.live:
        return None
    key = previous.context.job_key or format_time(before)
    ended = replace(previous, token_id=f"{previous.token_id}@{key}", state=COMPLETED, child_tokens=None)
    if observed.parent_token_id is not None:
        return ended, observed
    linked = link_visits(ended, observed, graph)
    if linked is not observed:
        ended = replace(ended, updated_at=arrived, completed_at=arrived)
    return ended, linked


def link_visits(source: Token | str, visit: Token, graph: ProcessGraph) -> Token:
    """Return a visit with its predecessor and the flows in between, if the model has one way between the two.

    ``source`` is the visit before, or the id of an element that has none, such as a start event. Without a way, or if a
    token can stay somewhere on it, the visit is returned as it is: where it came from is unknown. The entries of the
    flow history are marked as reconstructed.
    """
    source_id = source if isinstance(source, str) else source.element_id
    flows = _find_way(source_id, visit.element_id, graph)
    if not flows:
        return visit
    time = format_time(visit.created_at)
    hops = [
        {"from_element": flow.source, "via_flow": flow.id, "timestamp": time, "certainty": "reconstructed"}
        for flow in flows
    ]
    parent = visit.parent_token_id if isinstance(source, str) else source.token_id
    return replace(visit, parent_token_id=parent, flow_history=Raw(msgspec.json.encode(hops)))


def _find_way(source: str, target: str, graph: ProcessGraph) -> tuple[SequenceFlow, ...]:
    """Return the flows of the only way between two elements; empty if there is none, or a token can stay on it."""
    flows = graph.find_certain_flows(source, target)
    ends = [flow.target for flow in flows]
    if not flows or ends[-1] != target or ends[:-1] != [flow.source for flow in flows[1:]]:
        return ()
    first = graph.elements[flows[0].source]
    if source not in {first.id, first.attached_to}:
        return ()
    return flows if all(_is_passed(graph.elements[place]) for place in ends[:-1]) else ()


def _is_passed(element: Element) -> bool:
    """Tell whether a token that can continue at an element does so at once."""
    return element.type in _PASSED_TYPES


def _extend_flow_history(previous: Token, observed: Token, graph: ProcessGraph) -> Raw:
    if previous.element_id == observed.element_id:
        return previous.flow_history
    try:
        entries = _list_decoder.decode(previous.flow_history) or []
    except (msgspec.MsgspecError, RecursionError):
        return previous.flow_history
    flows = graph.find_certain_flows(previous.element_id, observed.element_id)
    hops: list[tuple[str, str | None]] = [(flow.source, flow.id) for flow in flows]
    if not hops or hops[0][0] != previous.element_id:
        hops.insert(0, (previous.element_id, None))
    new = []
    for source, flow_id in hops:
        certainty = Certainty.AMBIGUOUS if flow_id is None else Certainty.RECONSTRUCTED
        new.append(encode_hop(VisitHop(None, source, flow_id, observed.updated_at, certainty)))
    return Raw(msgspec.json.encode([*entries, *new]))


def _extend_context(previous: Token, observed: Token) -> Raw | None:
    """Return the execution context with the live states observed so far; None if it needs no change."""
    try:
        fields: dict[str, Any] = {**(_object_decoder.decode(observed.execution_context) or {})}
    except (msgspec.MsgspecError, RecursionError):
        return None
    if "state_history" in fields:
        return None
    states = list(previous.context.state_history or ())
    if previous.live and (previous.state, previous.element_id) != (observed.state, observed.element_id):
        if not states and previous.state != ACTIVE:  # a token starts ACTIVE unless recorded otherwise
            states += _state_changes(previous.state, previous.updated_at)
        if observed.live and previous.state != observed.state:
            states += _state_changes(observed.state, observed.updated_at)
    if not states:
        return None
    fields["state_history"] = [{"state": change.state, "at": format_time(change.at)} for change in states]
    return Raw(msgspec.json.encode(fields))


def _state_changes(state: str, at: datetime | None) -> list[StateChange]:
    return [] if at is None else [StateChange(state, at)]
