"""What happened on a process model, in one instance or many: visits, live tokens and time of elements, taken flows.

Tokens are counted at the elements that they are at. An element that a token only passed (in engines that move one token
through many elements) counts the tokens that arrived. Times are in milliseconds; live tokens count until now.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

from tokctl.analysis.flow.critical_path import FlowAnalysis
from tokctl.analysis.flow.taken_flows import TakenFlow, count_taken_flows, find_uncertain_flows
from tokctl.bpmn.graph import ProcessGraph


class ModelActivity:
    """The activity on one model, which may be that of another version than an instance's own.

    Attributes:
        instances: the number of instances that were added.
        visits: tokens by element.
        live: live tokens by element and state.
        spent_ms: the time of tokens by element, without sub-processes that contain others and past waits at joins.
        flows: tokens by sequence flow.
        reconstructed: flows that are not recorded for all of their tokens, but follow from times and model.
        uncertain: flows that further tokens may have taken.
        critical_elements, critical_flows: those of the critical path, of an instance that was added with it.
        unknown: tokens by element that the model does not have.
    """

    def __init__(self, graph: ProcessGraph) -> None:
        self.graph = graph
        self.instances = 0
        self.visits: Counter[str] = Counter()
        self.live: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.spent_ms: defaultdict[str, float] = defaultdict(float)
        self.flows: Counter[str] = Counter()
        self.reconstructed: set[str] = set()
        self.uncertain: set[str] = set()
        self.critical_elements: set[str] = set()
        self.critical_flows: set[str] = set()

    def add(self, flow: FlowAnalysis, *, critical_path: bool = False) -> None:
        """Add the tokens of an instance, and its critical path if wanted."""
        visits, graph = flow.visits, self.graph
        self.instances += 1
        self.visits.update(visit.element_id for visit in visits)
        for n in flow.live:
            self.live[visits[n].element_id][visits[n].state] += 1
        for spent in flow.bottlenecks:
            self.spent_ms[spent.key] += spent.total_ms
        counts, reconstructed = count_taken_flows(flow, graph)
        stays = {visit.element_id for visit in visits}
        for taken, tokens in counts.items():
            via = self._find_flow(taken)
            if via is not None:
                self.flows[via] += tokens
                if taken in reconstructed or taken[2] is None:
                    self.reconstructed.add(via)
            if taken[1] not in stays:
                self.visits[taken[1]] += tokens
        sources = {source for source, _, _ in counts} - stays - {target for _, target, _ in counts}
        self.visits.update(sources)
        self.uncertain |= find_uncertain_flows(flow, graph)
        if critical_path:
            self._add_critical_path(flow)

    def _find_flow(self, taken: TakenFlow) -> str | None:
        """Return the sequence flow that tokens took; None if it is unknown."""
        source, target, via = taken
        if via in self.graph.flows:
            return via
        between = self.graph.flows_between(source, target)
        return between[0].id if via is None and len(between) == 1 else None

    def _add_critical_path(self, flow: FlowAnalysis) -> None:
        steps = [flow.visits[step.node].element_id for step in flow.critical_steps]
        self.critical_elements.update(steps)
        for source, target in pairwise(steps):
            between = self.graph.flows_between(source, target)
            self.critical_flows.update(one.id for one in between if len(between) == 1 or one.id in self.flows)

    @property
    def unknown(self) -> Counter[str]:
        """Tokens by element that the model does not have."""
        return Counter({key: tokens for key, tokens in self.visits.items() if key not in self.graph.elements})
