"""Links between the tokens of a Flowable instance: the parents, the flows that led to them, the children.

A sequence flow that was taken is recorded, and with it the visit that it left. How an element was entered without one
(start, boundary event, compensation …) follows from the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from msgspec import Raw

from tokctl.bpmn.entries import UNKNOWN_SCOPE, EngineVisit, VisitHop
from tokctl.bpmn.flowless_entries import explain_only_start
from tokctl.bpmn.reconstruction import reconstruct_entries
from tokctl.engines.flowable.documents import FlowableExecution, FlowableJob
from tokctl.engines.flowable.visits import FlowableVisit, TakenFlow, VisitHistory
from tokctl.model.states import CANCELLED, COMPLETED
from tokctl.model.times import EPOCH
from tokctl.model.tokens import NULL, Certainty


@dataclass(eq=False, slots=True)
class TokenDraft:
    """A token that is being made. ``visit`` is None if there is only a job."""

    token_id: str
    element_id: str
    element_type: str | None
    name: str | None
    state: str
    created_at: datetime | None
    visit: FlowableVisit | None = None
    entered: TakenFlow | None = None
    ended_at: datetime | None = None
    job: FlowableJob | None = None
    parent: str | None = None
    context: dict[str, Any] = field(default_factory=dict)
    hops: tuple[VisitHop, ...] = ()
    children: list[str] = field(default_factory=list)
    variables: Raw = field(default_factory=lambda: NULL)

    @property
    def execution_id(self) -> str | None:
        """The path of execution."""
        if self.visit is not None:
            return self.visit.row.execution_id
        return None if self.job is None else self.job.execution_id


def link_drafts(
    drafts: Mapping[str, TokenDraft], history: VisitHistory, executions: Mapping[str, FlowableExecution]
) -> None:
    """Set the parent, the flow history and the children of all tokens of an instance, which are by id."""
    links = _DraftLinks(drafts, history, executions)
    links.set_parents()
    links.set_children()


class _DraftLinks:
    def __init__(
        self, drafts: Mapping[str, TokenDraft], history: VisitHistory, executions: Mapping[str, FlowableExecution]
    ) -> None:
        self.drafts = drafts
        self.history = history
        self.model = history.model
        self.executions = executions

    def set_parents(self) -> None:
        """Set the parent of each token: the visit that its recorded flow left.

        How an element was entered without a recorded flow follows from the model.
        """
        for draft in self.drafts.values():
            if draft.entered is not None:
                draft.hops = (_recorded_hop(draft.entered),)
                draft.parent = draft.hops[0].from_visit
        flowless = [draft for draft in self.drafts.values() if draft.entered is None]
        if not flowless or self.model.definition is None:
            return
        element = self.model.element(flowless[0].element_id)
        if len(flowless) == 1 and element is not None:
            start = explain_only_start(element, self.model.graph)
            if start is not None:  # as a rule: most instances are spared the reconstruction
                flowless[0].context["entered_by"] = start.value
                return
        entries = reconstruct_entries(self._engine_visits(), self.model.graph)
        for draft in flowless:
            entry = entries.get(draft.token_id)
            if entry is not None:
                draft.context["entered_by"] = entry.entered_by.value
                draft.parent, draft.hops = entry.parent, entry.hops

    def _engine_visits(self) -> list[EngineVisit]:
        """Return the tokens as the reconstruction needs them, in the order in which they started."""
        shared: set[str] = set()  # flows that led to a multi-instance activity
        visits = []
        for draft in sorted(
            (one for one in self.drafts.values() if one.created_at is not None), key=lambda one: one.created_at or 0
        ):
            flow = draft.entered.row if draft.entered else None
            is_first = flow is not None and flow.id not in shared
            shared |= {flow.id} if flow is not None else set()
            visits.append(
                EngineVisit(
                    visit_id=draft.token_id,
                    element_id=draft.element_id,
                    scope_id=self._find_scope(draft),
                    started_at=draft.created_at or EPOCH,
                    ended_at=draft.ended_at,
                    cancelled=draft.state == CANCELLED,
                    entered_flows=(flow.activity_id or "",) if flow is not None and is_first else (),
                )
            )
        return visits

    def _find_scope(self, draft: TokenDraft) -> str | None:
        """Return the sub-process that a token is in: the model has it, and live ones tell which visit of it."""
        element = self.model.element(draft.element_id)
        if element is None or element.parent is None:
            return None
        visits = self.history.by_element.get(element.parent, ())
        execution = self.executions.get(draft.execution_id or "")
        while execution is not None:
            for visit in visits:
                if visit.row.execution_id == execution.parent_id:
                    return visit.row.id
            execution = self.executions.get(execution.parent_id or "")
        return UNKNOWN_SCOPE

    def set_children(self) -> None:
        """List the children of each token. Of a join, those of the last arrival belong to all arrivals."""
        for draft in self.drafts.values():
            parent = self.drafts.get(draft.parent or "")
            if parent is not None:
                parent.children.append(draft.token_id)
            else:
                draft.parent = None  # an armed boundary event
        for draft in self.drafts.values():
            if draft.visit is not None and draft.state == COMPLETED and self.model.is_join(draft.visit):
                firing = self.history.find_firing(draft.visit)
                if firing is not None and firing is not draft.visit:
                    draft.children = list(self.drafts[firing.row.id].children)


def _recorded_hop(entered: TakenFlow) -> VisitHop:
    """Return a flow that was taken; the element that it left is that of the model, or of the last visit."""
    source = entered.source
    element_id = entered.flow.source if entered.flow else source.element_id if source else None
    source_id = None if source is None else source.row.id
    return VisitHop(source_id, element_id, entered.row.activity_id, entered.at, Certainty.RECORDED)
