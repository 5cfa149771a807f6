"""Visits of elements in a Flowable instance: which flows led to them, which left them, and how they ended.

Flowable records each sequence flow that is taken as an activity of its own. It does not record whether a visit was
completed or cancelled, and it records boundary events from when they are armed. Tokens are made of visits in
``tokens``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

from tokctl.bpmn.graph import ProcessGraph
from tokctl.engines.flowable.documents import SEQUENCE_FLOW, FlowableActivity, sort_activities
from tokctl.model.definitions import Definition, Element, SequenceFlow
from tokctl.model.element_types import JOIN_TYPES, SUB_PROCESS_TYPES

SAME_CANCELLATION = timedelta(seconds=1)
"""Visits that are cancelled together end one after another, within this time."""

_TYPES = {
    "externalWorkerServiceTask": "serviceTask",
    "eventGateway": "eventBasedGateway",
    "throwEvent": "intermediateThrowEvent",
    "eventSubProcess": "subProcess",
    "adhocSubProcess": "adHocSubProcess",
}
"""Activity types that are not BPMN's names; used if the model is unknown."""


class FlowableModel:
    """A version of a process model, with the details that only Flowable's XML has. It is empty if it is unknown."""

    def __init__(self, definition: Definition | None) -> None:
        self.definition = definition
        self.graph = ProcessGraph(definition)

    @cached_property
    def multi_instance(self) -> frozenset[str]:
        """The multi-instance activities. Flowable records their instances, but not the activity itself."""
        graph = self.graph
        return frozenset(key for key in graph.elements if graph.details(key).loop in {"parallel", "sequential"})

    @cached_property
    def topics(self) -> dict[str, str]:
        """The topics of external worker tasks, by element."""
        if self.definition is None or not self.definition.xml:
            return {}
        from tokctl.bpmn.parser import read_root

        nodes = ((node.get("id"), node) for node in read_root(self.definition.xml).iter())
        topics = ((key, name, value) for key, node in nodes for name, value in node.attrib.items() if key)
        return {key: value for key, name, value in topics if key and name.endswith("}topic")}

    def element(self, element_id: str | None) -> Element | None:
        """Return an element; None if it is unknown."""
        return None if element_id is None else self.graph.elements.get(element_id)

    def element_type(self, row: FlowableActivity) -> str:
        """Return the BPMN type of a visited element."""
        element = self.element(row.activity_id)
        return element.type if element else _TYPES.get(row.activity_type, row.activity_type)

    def is_join(self, visit: FlowableVisit) -> bool:
        """Tell whether a visit is the arrival of a token at a gateway that may wait for others."""
        return visit.element_id in self.graph.joins or (visit.element is None and visit.element_type in JOIN_TYPES)


@dataclass(eq=False, slots=True)
class TakenFlow:
    """A sequence flow that was taken, and the visit that it left; ``flow`` is None if the model does not have it."""

    row: FlowableActivity
    flow: SequenceFlow | None
    source: FlowableVisit | None = None

    @property
    def at(self) -> datetime:
        """When it was taken."""
        return self.row.start_time


@dataclass(eq=False, slots=True)
class FlowableVisit:
    """One visit of an element; ``entered`` is the flow that led to it, ``left_by`` are those that left it."""

    row: FlowableActivity
    element_id: str
    element: Element | None
    element_type: str
    entered: TakenFlow | None = None
    left_by: list[TakenFlow] = field(default_factory=list)

    @property
    def fired_at(self) -> datetime | None:
        """When a boundary event fired: its row begins when it is armed. None if it has not."""
        return self.left_by[0].at if self.left_by else None


class VisitHistory:
    """The visits of one instance in order of occurrence, with the flows between them.

    ``visits`` has all of them, armed boundary events included. ``pending`` are flows whose target has no visit yet: it
    is executed asynchronously.
    """

    def __init__(self, rows: Sequence[FlowableActivity], model: FlowableModel) -> None:
        self.model = model
        self.visits: list[FlowableVisit] = []
        self.pending: list[TakenFlow] = []
        self.by_element: dict[str, list[FlowableVisit]] = defaultdict(list)
        self._entered: dict[str, TakenFlow] = {}  # the flow that led to a multi-instance activity
        for row in sort_activities(rows):
            if row.activity_type == SEQUENCE_FLOW:
                self._take(row)
            elif row.activity_id is not None:
                self._begin(row, row.activity_id)

    def _take(self, row: FlowableActivity) -> None:
        flow = self.model.graph.flows.get(row.activity_id or "")
        source = self._find_source(row, flow)
        taken = TakenFlow(row, flow, source)
        if source is not None:
            source.left_by.append(taken)
        self.pending.append(taken)

    def _find_source(self, row: FlowableActivity, flow: SequenceFlow | None) -> FlowableVisit | None:
        """Return the visit that a flow left: by its path of execution, or else the last one that can have left by it.

        At a fork only one of the branches stays on the path; a multi-instance activity, a sub-process and a boundary
        event that does not interrupt are left by a new path.
        """
        if flow is None:
            return next((one for one in reversed(self.visits) if one.row.execution_id == row.execution_id), None)
        candidates = self.by_element[flow.source]
        for one in reversed(candidates):
            if one.row.execution_id == row.execution_id:
                return one
        unused = [one for one in candidates if all(taken.row.activity_id != flow.id for taken in one.left_by)]
        ended = [one for one in unused if one.row.end_time is not None and one.row.end_time <= row.start_time]
        return next(reversed(ended or unused or candidates), None)

    def _begin(self, row: FlowableActivity, element_id: str) -> None:
        element = self.model.element(element_id)
        visit = FlowableVisit(row, element_id, element, self.model.element_type(row))
        visit.entered = self._find_entry(visit)
        self.visits.append(visit)
        self.by_element[element_id].append(visit)

    def _find_entry(self, visit: FlowableVisit) -> TakenFlow | None:
        """Return the flow that led to a visit: on the same path of execution, or any to a scope, which has its own."""
        repeated = visit.element_id in self.model.multi_instance
        fitting = [
            taken
            for taken in self.pending
            if (taken.flow is None or taken.flow.target == visit.element_id)
            and (taken.flow is not None or taken.row.execution_id == visit.row.execution_id)
        ]
        same = [taken for taken in fitting if taken.row.execution_id == visit.row.execution_id]
        if not same and (repeated or visit.element_type in SUB_PROCESS_TYPES):
            same = fitting
        if same:
            self.pending.remove(same[0])
            self._entered[visit.element_id] = same[0]
            return same[0]
        return self._entered.get(visit.element_id) if repeated else None

    def take_pending(self, element_id: str, execution_id: str | None) -> TakenFlow | None:
        """Return the flow that led to an element that has no visit yet, and remove it from ``pending``."""
        for taken in self.pending:
            target = None if taken.flow is None else taken.flow.target
            if target in {element_id, None} and taken.row.execution_id == execution_id:
                self.pending.remove(taken)
                return taken
        return None

    # --- how visits ended ---

    def find_firing(self, visit: FlowableVisit) -> FlowableVisit | None:
        """Return the arrival with which a join fired that this arrival was waiting at; None if it has not."""
        arrivals = self.by_element[visit.element_id]
        later = arrivals[arrivals.index(visit) :]
        return next((one for one in later if one.left_by), None)

    def was_completed(self, visit: FlowableVisit, *, is_open: bool) -> bool:
        """Tell whether a visit that has ended was completed, and not cancelled: a flow left it, or none can.

        ``is_open``: other instances of its multi-instance activity are still running.
        """
        if visit.left_by:
            return True
        if visit.element is not None and not visit.element.outgoing:
            return visit.element_type not in SUB_PROCESS_TYPES or self._reached_end(visit)
        if visit.element is None:  # unknown: a flow of the same path may have left it, or a new path
            return True
        if visit.element_id in self.model.multi_instance:
            return is_open or self._completed_instance(visit)
        if self.model.is_join(visit):
            return self.find_firing(visit) is not None
        return False

    def _reached_end(self, scope: FlowableVisit) -> bool:
        """Tell whether an end event in a sub-process, which no flow leaves, was reached as the sub-process ended."""
        ended = scope.row.end_time
        return ended is not None and any(
            one.element_type == "endEvent"
            and one.element is not None
            and one.element.parent == scope.element_id
            and one.row.end_time is not None
            and scope.row.start_time <= one.row.end_time <= ended
            and ended - one.row.end_time <= SAME_CANCELLATION
            for one in self.visits
        )

    def _completed_instance(self, visit: FlowableVisit) -> bool:
        """Tell whether an instance of a multi-instance activity was completed.

        A flow left the activity later; or the activity was cancelled, but after this instance had ended.
        """
        ended, siblings = visit.row.end_time, self.by_element[visit.element_id]
        if ended is None:
            return False
        left = [taken.at for one in siblings for taken in one.left_by]
        if any(at >= ended for at in left):
            return True
        begun = max((at for at in left if at < ended), default=None)  # a former pass of a loop
        same = [one.row for one in siblings if begun is None or one.row.start_time >= begun]
        last = max((row.end_time for row in same if row.end_time is not None), default=ended)
        return last - ended > SAME_CANCELLATION
