"""BPMN element types: their names, the families that filters accept, and the sets that analyses distinguish."""

from __future__ import annotations

import re
from typing import Literal, get_args

ElementType = Literal[
    "startEvent",
    "endEvent",
    "intermediateCatchEvent",
    "intermediateThrowEvent",
    "boundaryEvent",
    "task",
    "serviceTask",
    "userTask",
    "scriptTask",
    "sendTask",
    "receiveTask",
    "manualTask",
    "businessRuleTask",
    "exclusiveGateway",
    "parallelGateway",
    "inclusiveGateway",
    "eventBasedGateway",
    "complexGateway",
    "subProcess",
    "transaction",
    "adHocSubProcess",
    "callActivity",
]
ELEMENT_TYPES: tuple[str, ...] = get_args(ElementType)

TYPE_FAMILIES = ("gateway", "task", "event")
"""Names that stand for every element type that ends in them."""

SUB_PROCESS_TYPES = frozenset({"subProcess", "transaction", "adHocSubProcess"})
CONTAINER_TYPES = SUB_PROCESS_TYPES | {"callActivity"}
"""Activities that hold the tokens of other elements."""


def is_activity(element_type: str) -> bool:
    """Tell whether elements of a type do work: tasks, sub-processes and call activities."""
    return element_type in CONTAINER_TYPES or element_type.lower().endswith("task")


JOIN_TYPES = frozenset({"parallelGateway", "inclusiveGateway", "complexGateway"})
"""Gateways that may wait for several tokens."""

_TYPE_NAMES = {name.lower(): name for name in ELEMENT_TYPES}

_type_cache: dict[str, str] = {name: name for name in ELEMENT_TYPES}


def canonical_type(element_type: str) -> str:
    """Return the camelCase BPMN name of a type (``SERVICE_TASK`` is ``serviceTask``); an unknown type as it is."""
    known = _type_cache.get(element_type)
    if known is None:
        known = _TYPE_NAMES.get(re.sub("[_ -]", "", element_type).lower(), element_type)
        if len(_type_cache) < 1000:  # the keys come from data, so the size needs a limit
            _type_cache[element_type] = known
    return known


def type_matches(element_type: str, wanted: str) -> bool:
    """Tell whether a type is the wanted type or a member of the wanted family."""
    if wanted in TYPE_FAMILIES:
        return element_type == wanted or element_type.endswith(wanted.capitalize())
    return element_type == canonical_type(wanted)


def is_joining_gateway(element_type: str | None) -> bool:
    """Tell whether an element of this type is a gateway that may wait for several tokens and continue as one.

    All gateways may, those of unknown kind included, except exclusive and event-based ones, which pass on every token
    by itself.
    """
    if element_type is None:
        return False
    element_type = canonical_type(element_type)
    return type_matches(element_type, "gateway") and element_type not in {"exclusiveGateway", "eventBasedGateway"}
