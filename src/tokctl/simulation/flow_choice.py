"""Which of its outgoing sequence flows an element takes: as their conditions, the scenario or chance decide."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from tokctl.bpmn.execution_details import Expression
from tokctl.model.definitions import Element, SequenceFlow
from tokctl.simulation.safe_evaluation import CannotEvaluate

ALWAYS, NEVER = "always", "never"
FlowPlan = str | float
"""What a scenario says of a flow: ``always``, ``never``, or its share of the visits (0 to 1, or any weight)."""


@dataclass(frozen=True, slots=True)
class FlowChoice:
    """The outgoing flows of an element that chooses one of them (``exclusive``), or any number."""

    element: Element
    flows: tuple[SequenceFlow, ...]
    conditions: Mapping[str, Expression]
    exclusive: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """The ids of the chosen flows; ``reason`` says why chance decided, if it did. No flows: none could be taken."""

    flows: tuple[str, ...]
    reason: str | None = None


def choose(
    choice: FlowChoice,
    plans: Mapping[str, FlowPlan],
    is_met: Callable[[Expression], bool],
    random: Random,
) -> Choice:
    """Choose the flows that a token takes.

    What the scenario plans takes precedence over the condition of a flow. ``is_met`` evaluates a condition; it raises
    ``CannotEvaluate`` where chance has to decide.
    """
    flows = [flow for flow in choice.flows if plans.get(flow.id) != NEVER]
    if not flows:
        return Choice(())
    return (_choose_one if choice.exclusive else _choose_any)(choice, flows, plans, is_met, random)


def _choose_one(
    choice: FlowChoice,
    flows: list[SequenceFlow],
    plans: Mapping[str, FlowPlan],
    is_met: Callable[[Expression], bool],
    random: Random,
) -> Choice:
    if always := [flow for flow in flows if plans.get(flow.id) == ALWAYS]:
        return Choice((always[0].id,))
    weights = {flow.id: plan for flow in flows if isinstance(plan := plans.get(flow.id), float)}
    if weights:
        return Choice((_draw(_share_out(flows, weights), random),))
    default = choice.element.default_flow
    open_flows: list[SequenceFlow] = []  # those that cannot be ruled out, in the order in which an engine asks
    reasons: list[str] = []
    unconditional = [flow for flow in flows if flow.id not in choice.conditions and flow.id != default]
    for flow in flows:
        if flow.id == default or flow in unconditional:
            continue
        try:
            if is_met(choice.conditions[flow.id]):
                open_flows.append(flow)
                break
        except CannotEvaluate as error:
            open_flows.append(flow)
            reasons.append(str(error))
    else:
        if len(unconditional) > 1:
            reasons.append("its flows have no conditions")
        last = [flow for flow in flows if flow.id == default]
        open_flows.extend(unconditional or last)
    if len(open_flows) > 1:
        return Choice((random.choice(open_flows).id,), "; ".join(dict.fromkeys(reasons)))
    return Choice(tuple(flow.id for flow in open_flows), "; ".join(dict.fromkeys(reasons)) or None)


def _choose_any(
    choice: FlowChoice,
    flows: list[SequenceFlow],
    plans: Mapping[str, FlowPlan],
    is_met: Callable[[Expression], bool],
    random: Random,
) -> Choice:
    default = choice.element.default_flow
    taken: list[str] = []
    possible: dict[str, float] = {}  # flows that chance did not take, with their weights
    reasons: list[str] = []
    for flow in flows:
        plan, condition = plans.get(flow.id), choice.conditions.get(flow.id)
        if flow.id == default and plan is None:
            continue
        try:
            share = plan if isinstance(plan, float) else float(plan == ALWAYS or condition is None or is_met(condition))
        except CannotEvaluate as error:
            reasons.append(str(error))
            share = 0.5
        if random.random() < share:
            taken.append(flow.id)
        elif share:
            possible[flow.id] = share
    if not taken:
        if any(flow.id == default and plans.get(flow.id) != 0.0 for flow in flows):
            taken = [str(default)]
        elif possible:
            taken = [_draw(possible, random)]
    return Choice(tuple(taken), "; ".join(dict.fromkeys(reasons)) or None)


def _share_out(flows: list[SequenceFlow], weights: Mapping[str, float]) -> dict[str, float]:
    """Return the weight of each flow; flows that the scenario does not name share what is missing from 100 %."""
    others = [flow.id for flow in flows if flow.id not in weights]
    missing = max(0.0, 1.0 - sum(weights.values()))
    return {**weights, **{flow_id: missing / len(others) for flow_id in others}}


def _draw(weights: Mapping[str, float], random: Random) -> str:
    if not any(weights.values()):
        return random.choice(list(weights))
    return random.choices(list(weights), list(weights.values()))[0]
