"""By which sequence flows tokens leave an element: ISO/IEC 19510, 13.3.1 and 13.4."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from support.bpmn_reading import Flow, Node


def wrong_exits(node: Node, taken: Counter[Flow], rounds: int) -> list[str]:
    """Return what is wrong with the flows that the tokens took out of an element."""
    known = node.outgoing
    if not known:
        return []
    rule = _EXITS.get(node.type, _leave_by_conditions)
    wrong = rule(node, taken, rounds)
    return [wrong] if wrong else []


def _leave_by_all(node: Node, taken: Counter[Flow], rounds: int) -> str:
    return _differences(dict.fromkeys(node.outgoing, rounds), taken)


def _leave_by_one(node: Node, taken: Counter[Flow], rounds: int) -> str:
    times = sum(taken.values())
    return "" if times == rounds else f"{times} tokens leave it, not {rounds}"


def _leave_by_some(node: Node, taken: Counter[Flow], rounds: int) -> str:
    if not taken:
        return "no token leaves it"
    doubled = [str(flow) for flow, times in taken.items() if times > rounds]
    if doubled:
        return f"more than one token on flow {', '.join(doubled)}"
    if len(taken) > 1 and any(flow.id == node.default and flow.id for flow in taken):
        return "the default flow was taken beside others"
    return ""


def _leave_by_conditions(node: Node, taken: Counter[Flow], rounds: int) -> str:
    """All flows without a condition, and any of those with one, or else the default flow."""
    default = next((flow for flow in node.outgoing if flow.id is not None and flow.id == node.default), None)
    conditional = [flow for flow in node.outgoing if flow.conditional and flow is not default]
    expected = {flow: rounds for flow in node.outgoing if flow not in conditional and flow is not default}
    if default is not None and not any(taken[flow] for flow in conditional):
        expected[default] = rounds
    if not expected and not taken:
        return "no token leaves it"
    expected |= {flow: taken[flow] for flow in conditional if 0 < taken[flow] <= rounds}
    return _differences(expected, taken)


def _differences(expected: dict[Flow, int], taken: Counter[Flow]) -> str:
    wrong = [
        f"{taken[flow]} tokens on flow {flow}, not {expected.get(flow, 0)}"
        for flow in dict.fromkeys([*expected, *taken])
        if taken[flow] != expected.get(flow, 0)
    ]
    return "; ".join(wrong)


_EXITS: dict[str, Callable[[Node, Counter[Flow], int], str]] = {
    "parallelGateway": _leave_by_all,
    "exclusiveGateway": _leave_by_one,
    "eventBasedGateway": _leave_by_one,
    "inclusiveGateway": _leave_by_some,
    "complexGateway": _leave_by_some,
}
