"""Tokens of an instance from the rows of the API: states, times, execution contexts, parents and flows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Raw

from tokctl.bpmn.entries import UNKNOWN_SCOPE, EngineVisit, EnteredBy, Entry, encode_flow_history
from tokctl.bpmn.graph import ProcessGraph
from tokctl.bpmn.reconstruction import reconstruct_entries
from tokctl.engines.camunda7.contexts import ContextBuilder
from tokctl.engines.camunda7.documents import (
    INSTANCE_STATES,
    ActivityRow,
    HistoricInstanceRow,
    JobDefinitionRow,
    VariableRow,
    to_time,
)
from tokctl.engines.camunda7.scopes import VariableScopes, encode_variables
from tokctl.engines.camunda7.work import InstanceRows, LiveWork, PendingActivity, TokenWork
from tokctl.model.element_types import CONTAINER_TYPES, ELEMENT_TYPES
from tokctl.model.instances import Instance
from tokctl.model.states import ACTIVE, CANCELLED, COMPLETED, FAILED, SUSPENDED, WAITING
from tokctl.model.times import format_time
from tokctl.model.tokens import NULL, Token

_TYPES = set(ELEMENT_TYPES)


def read_instance(row: HistoricInstanceRow, variables: Sequence[VariableRow] | None = None) -> Instance:
    """Return an instance; its ``extra`` has what only this engine tells, such as the calling instance."""
    status = INSTANCE_STATES.get(row.state or "", row.state)
    end = to_time(row.end_time)
    extra = {
        "calling_instance_id": row.super_process_instance_id,
        "root_instance_id": row.root_process_instance_id if row.root_process_instance_id != row.id else None,
        "start_user_id": row.start_user_id,
        "delete_reason": row.delete_reason,
        "removal_time": format_time(to_time(row.removal_time)),
    }
    return Instance(
        instance_id=row.id,
        process_id=row.process_definition_key,
        process_key=row.process_definition_id,
        version=row.process_definition_version,
        status=status,
        business_key=row.business_key,
        tenant_id=row.tenant_id,
        started_at=to_time(row.start_time),
        updated_at=end,
        completed_at=end if status == COMPLETED else None,
        cancelled_at=end if status == CANCELLED else None,
        variables=NULL if variables is None else _instance_variables(row, variables),
        extra={name: Raw(msgspec.json.encode(value)) for name, value in extra.items() if value is not None},
    )


def _instance_variables(row: HistoricInstanceRow, variables: Sequence[VariableRow]) -> Raw:
    found = encode_variables(one for one in variables if one.activity_instance_id == row.id)
    return Raw(b"{}") if found is NULL else found


def guess_element_type(activity_type: str | None) -> str | None:
    """Return the BPMN type for an activity type of the engine, which has its own names for events; None if unknown."""
    if activity_type is None or activity_type in _TYPES:
        return activity_type
    for name, part in (
        ("boundaryEvent", "boundary"),
        ("endEvent", "EndEvent"),
        ("startEvent", "StartEvent"),
        ("intermediateThrowEvent", "Throw"),
        ("intermediateCatchEvent", "intermediate"),
    ):
        if part in activity_type:
            return name
    return None if activity_type == "multiInstanceBody" else activity_type


class TokenBuilder:
    """Builds the tokens of one instance. ``now`` tells whether the lock of an external task has expired."""

    def __init__(
        self,
        rows: InstanceRows,
        graphs: Mapping[str, ProcessGraph],
        job_definitions: Mapping[str, JobDefinitionRow],
        now: datetime,
        *,
        flows: bool = True,
    ) -> None:
        self.rows = rows
        self._graphs = graphs
        self._now = now
        self._flows = flows
        self._live = LiveWork(rows, job_definitions, graphs)
        self._suspended = rows.instance.status == SUSPENDED
        self._contexts = ContextBuilder(rows)
        self._variables = VariableScopes(rows)

    def build(self) -> list[Token]:
        """Return the tokens in the order in which they were created."""
        ordered = self._order()
        visits = [visit for item in ordered if (visit := self._to_visit(item)) is not None]
        entries = reconstruct_entries(visits, self._graphs) if self.rows.whole and len(visits) == len(ordered) else {}
        parents = {entry.parent for entry in entries.values()}
        return [
            self._build_visit(item, entries.get(item.id), left=item.id in parents)
            if isinstance(item, ActivityRow)
            else self._build_pending(item, entries.get(item.token_id))
            for item in ordered
        ]

    # --- order, parents and flows ---

    def _order(self) -> list[ActivityRow | PendingActivity]:
        """Return the visits with the pending activities among them, by time: first of the row, then of its id."""
        ordered: list[ActivityRow | PendingActivity] = list(self.rows.activities)
        for pending in self._live.pending:
            created = to_time(pending.job.create_time) if pending.job else None
            place = len(ordered)
            while place and created is not None and self._is_later(ordered[place - 1], created, pending.job_id):
                place -= 1
            ordered.insert(place, pending)
        return ordered

    @staticmethod
    def _is_later(item: ActivityRow | PendingActivity, created: datetime, job_id: str) -> bool:
        if isinstance(item, PendingActivity):
            return False
        started = to_time(item.start_time)
        if started is None or started != created:
            return started is not None and started > created
        mine, other = _uuid_time(job_id), _uuid_time(item.id.rpartition(":")[2])
        return mine is not None and other is not None and other > mine

    def _to_visit(self, item: ActivityRow | PendingActivity) -> EngineVisit | None:
        """Return an item as the reconstruction needs it; None if its time is unknown."""
        if isinstance(item, PendingActivity):
            created = to_time(item.job.create_time) if item.job else None
            if created is None:
                return None
            return EngineVisit(
                visit_id=item.token_id,
                element_id=item.activity_id,
                scope_id=UNKNOWN_SCOPE,
                started_at=created,
                definition=item.definition_id,
            )
        started, scope = to_time(item.start_time), item.parent_activity_instance_id
        if started is None:
            return None
        return EngineVisit(
            visit_id=item.id,
            element_id=item.element_id,
            scope_id=None if scope == item.process_instance_id else scope,
            started_at=started,
            ended_at=to_time(item.end_time),
            cancelled=bool(item.canceled),
            definition=item.process_definition_id,
        )

    # --- tokens ---

    def _build_visit(self, row: ActivityRow, entry: Entry | None, *, left: bool) -> Token:
        work = self._live.work.get(row.id) or TokenWork()
        graph = self._graphs.get(row.process_definition_id or "")
        element = graph.elements.get(row.element_id) if graph else None
        kind = element.type if element else guess_element_type(row.activity_type)
        state = self._visit_state(row, work, kind, left=left)
        end = to_time(row.end_time)
        context = self._contexts.build(work, state)
        if row.called_process_instance_id:
            context["called_instance_id"] = row.called_process_instance_id
            if row.end_time is None:
                context["waiting_for"] = f"call_activity:{row.called_process_instance_id}"
        if row.end_time is None and (row.is_body or kind in CONTAINER_TYPES):
            context["is_scope"] = True
        if row.end_time is not None:
            context["duration_ms"] = row.duration_in_millis
        if row.assignee and work.user_task is None:
            context["assignee"] = row.assignee
        if (used := self._contexts.failures.get(row.id)) and "retries_used" not in context:
            context["retries_used"] = used
        created = to_time(row.start_time)
        return self._token(
            entry,
            context,
            token_id=row.id,
            element_id=row.element_id,
            element_type=kind,
            element_name=(element.name if element else None) or row.activity_name,
            state=state,
            created_at=created,
            updated_at=None if state == SUSPENDED else self._updated_at(created, end, work),
            completed_at=end if state == COMPLETED else None,
            cancelled_at=end if state == CANCELLED else None,
            variables=self._variables.of_visit(row),
        )

    def _build_pending(self, item: PendingActivity, entry: Entry | None) -> Token:
        work = self._live.work.get(item.token_id) or TokenWork()
        graph = self._graphs.get(item.definition_id or "")
        element = graph.elements.get(item.activity_id) if graph else None
        state = self._pending_state(item, work)
        created = to_time(item.job.create_time) if item.job else None
        context = self._contexts.build(work, state)
        context.setdefault("waiting_for", f"job:{item.job_id}")
        return self._token(
            entry,
            context,
            token_id=item.token_id,
            element_id=item.activity_id,
            element_type=element.type if element else None,
            element_name=element.name if element else None,
            state=state,
            created_at=created,
            updated_at=None if state == SUSPENDED else self._updated_at(created, None, work),
            variables=self._variables.of_instance(),
        )

    def _token(self, entry: Entry | None, context: dict[str, Any], **fields: Any) -> Token:
        if entry is not None and entry.entered_by is not EnteredBy.FLOW:
            context["entered_by"] = entry.entered_by.value
        known = {name: value for name, value in context.items() if value is not None}
        return Token(
            instance_id=self.rows.instance.instance_id,
            process_id=self.rows.instance.process_id,
            parent_token_id=entry.parent if entry else None,
            flow_history=encode_flow_history(entry.hops) if entry is not None and self._flows else NULL,
            execution_context=Raw(msgspec.json.encode(known)),
            **fields,
        )

    # --- states ---

    def _visit_state(self, row: ActivityRow, work: TokenWork, kind: str | None, *, left: bool) -> str:
        if row.end_time is not None:
            fired = left and row.activity_type == "eventBasedGateway"  # the engine calls it cancelled as it goes on
            return CANCELLED if row.canceled and not fired else COMPLETED
        if work.incident is not None:
            return FAILED
        held = (work.external_task, work.user_task, work.job)
        if self._suspended or any(one is not None and one.suspended for one in held):
            return SUSPENDED
        external = work.external_task
        if external is not None:
            return ACTIVE if self._is_locked(work) else WAITING
        if work.job is not None and not work.is_timer:
            return WAITING if self._is_due_later(work) else ACTIVE
        return ACTIVE if row.is_body or kind in CONTAINER_TYPES else WAITING

    def _pending_state(self, item: PendingActivity, work: TokenWork) -> str:
        if work.incident is not None:
            return FAILED
        if self._suspended or (item.job is not None and item.job.suspended):
            return SUSPENDED
        return WAITING if self._is_due_later(work) else ACTIVE

    def _is_locked(self, work: TokenWork) -> bool:
        """Tell whether a worker has the task. After a failure, the lock is how long until the next attempt."""
        task = work.external_task
        if task is None or task.worker_id is None or task.error_message is not None:
            return False
        until = to_time(task.lock_expiration_time)
        return until is not None and until > self._now

    def _is_due_later(self, work: TokenWork) -> bool:
        due = to_time(work.job.due_date) if work.job else None
        return due is not None and due > self._now

    # --- times ---

    def _updated_at(self, created: datetime | None, end: datetime | None, work: TokenWork) -> datetime | None:
        """Return when the engine last tells of a token; not of a SUSPENDED one: it does not tell when that was."""
        incident, task = work.incident, work.user_task
        subjects = (work.job.id if work.job else None, work.external_task.id if work.external_task else None)
        times = (
            created,
            end,
            to_time(incident.incident_timestamp) if incident else None,
            to_time(task.last_updated) if task else None,
            *(self._contexts.logged.get(subject) for subject in subjects),
        )
        return max((time for time in times if time is not None), default=None)


def _uuid_time(text: str) -> int | None:
    """Return the time in an id that is a UUID of version 1; None for other ids."""
    try:
        found = UUID(text)
    except ValueError:
        return None
    return found.time if found.version == 1 else None


def current_time() -> datetime:
    """Return the present, to compare with the locks of workers."""
    return datetime.now(UTC)
