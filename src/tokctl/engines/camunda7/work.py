"""What each token of an instance has to do with: its job, external task, user task, subscriptions and incident.

Runtime rows name executions, and history rows name them, too, but after a modification they may differ; so rows are
matched by activity instance where they name one, then by execution and activity, then by an activity that only one
live visit is at.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from tokctl.bpmn.graph import ProcessGraph
from tokctl.engines.camunda7.documents import (
    BODY_SUFFIX,
    ActivityRow,
    ExternalTaskLogRow,
    ExternalTaskRow,
    IncidentRow,
    JobDefinitionRow,
    JobLogRow,
    JobRow,
    SubscriptionRow,
    UserTaskRow,
    VariableRow,
)
from tokctl.model.instances import Instance

WAITED_FOR_EVENTS = frozenset({"message", "signal", "conditional"})
"""The types of subscriptions that a token waits for; a compensation handler only stands by."""
_ASYNC = "async-continuation"


class InstanceRows(Struct, frozen=True, kw_only=True):
    """Everything that was read of one instance. ``variables`` and the logs are None if they were not read.

    ``whole``: all visits were read, not only the unfinished ones.
    """

    instance: Instance
    whole: bool = True
    activities: Sequence[ActivityRow] = ()
    jobs: Sequence[JobRow] = ()
    external_tasks: Sequence[ExternalTaskRow] = ()
    incidents: Sequence[IncidentRow] = ()
    subscriptions: Sequence[SubscriptionRow] = ()
    user_tasks: Sequence[UserTaskRow] = ()
    variables: Sequence[VariableRow] | None = None
    job_log: Sequence[JobLogRow] | None = None
    external_task_log: Sequence[ExternalTaskLogRow] | None = None


class PendingActivity(Struct, frozen=True, kw_only=True):
    """A job that has to run before its activity begins: a token without a visit in the history.

    ``job`` is None if only an incident tells of it.
    """

    activity_id: str
    job_id: str
    job: JobRow | None
    definition_id: str | None

    @property
    def token_id(self) -> str:
        """The id of the token: it ends when the job has run."""
        return f"{self.activity_id}:{self.job_id}"


class TokenWork(Struct, kw_only=True):
    """What one live token has to do with."""

    job: JobRow | None = None
    is_timer: bool = False
    external_task: ExternalTaskRow | None = None
    user_task: UserTaskRow | None = None
    incident: IncidentRow | None = None
    subscriptions: list[SubscriptionRow] = []


class LiveWork:
    """Assigns the runtime rows of an instance to its live visits, by token id; the rest are pending activities."""

    def __init__(
        self,
        rows: InstanceRows,
        job_definitions: Mapping[str, JobDefinitionRow],
        graphs: Mapping[str, ProcessGraph],
    ) -> None:
        self._rows = rows
        self._job_definitions = job_definitions
        self._graphs = graphs
        self._live = [row for row in rows.activities if row.end_time is None]
        self._by_id = {row.id: row for row in self._live}
        self._by_execution: dict[str | None, list[ActivityRow]] = defaultdict(list)
        self._by_element: dict[str, list[ActivityRow]] = defaultdict(list)
        for row in self._live:
            self._by_execution[row.execution_id].append(row)
            self._by_element[row.element_id].append(row)
        self.pending: list[PendingActivity] = []
        self.work: dict[str, TokenWork] = defaultdict(TokenWork)
        self._job_owners: dict[str, str] = {}
        self._incident_by_subject = {one.configuration: one for one in rows.incidents if one.configuration}
        self._assign_tasks()
        for job in rows.jobs:
            self._assign_job(job)
        for incident in rows.incidents:
            self._assign_incident(incident)

    def _assign_tasks(self) -> None:
        for external in self._rows.external_tasks:
            if external.activity_instance_id in self._by_id:
                self.work[external.activity_instance_id].external_task = external
        tasks = {task.id: task for task in self._rows.user_tasks}
        for row in self._live:
            if row.task_id in tasks:
                self.work[row.id].user_task = tasks[row.task_id]
        for subscription in self._rows.subscriptions:
            if subscription.event_type not in WAITED_FOR_EVENTS:
                continue
            holder = self._find_waiting(subscription.activity_id, subscription.execution_id)
            if holder is not None:
                work = self.work[holder.id]
                work.subscriptions = [*work.subscriptions, subscription]

    # --- jobs ---

    def _assign_job(self, job: JobRow) -> None:
        definition = self._job_definitions.get(job.job_definition_id or "")
        incident = self._incident_by_subject.get(job.id)
        named = (definition.activity_id if definition else None) or (incident.activity_id if incident else None)
        activity_id = named or job.failed_activity_id
        if activity_id is None:
            return
        kind = definition.job_type if definition else None
        waits_before = definition is not None and (definition.job_configuration or "").startswith("async-before")
        holder = None if waits_before else self._find_waiting(activity_id, job.execution_id)
        if holder is not None:
            self.work[holder.id].job = job
            self.work[holder.id].is_timer = _is_timer(kind, holder)
            self._job_owners[job.id] = holder.id
        elif kind in {None, _ASYNC} and not self._is_boundary_event(activity_id, job.process_definition_id):
            self._add_pending(activity_id, job.id, job, job.process_definition_id)

    def _add_pending(self, activity_id: str, job_id: str, job: JobRow | None, definition_id: str | None) -> str:
        found = PendingActivity(
            activity_id=activity_id.removesuffix(BODY_SUFFIX), job_id=job_id, job=job, definition_id=definition_id
        )
        self.pending.append(found)
        self.work[found.token_id].job = job
        self._job_owners[job_id] = found.token_id
        return found.token_id

    def _is_boundary_event(self, activity_id: str, definition_id: str | None) -> bool:
        graph = self._graphs.get(definition_id or "")
        element = graph.elements.get(activity_id) if graph else None
        return element is not None and element.attached_to is not None

    def _find_waiting(self, activity_id: str | None, execution_id: str | None) -> ActivityRow | None:
        """Return the live visit that waits at an activity, or at the event-based gateway before it."""
        if activity_id is None:
            return None
        element_id = activity_id.removesuffix(BODY_SUFFIX)
        places = [row for row in self._by_execution[execution_id] if execution_id is not None]
        for row in places:
            if row.activity_id == activity_id or row.element_id == element_id or self._chooses(row, element_id):
                return row
        elsewhere = self._by_element[element_id]
        return elsewhere[0] if len(elsewhere) == 1 and not places else None

    def _chooses(self, row: ActivityRow, element_id: str) -> bool:
        graph = self._graphs.get(row.process_definition_id or "")
        return row.activity_type == "eventBasedGateway" and (
            graph is None or any(target.id == element_id for target in graph.flow_targets(row.element_id))
        )

    # --- incidents ---

    def _assign_incident(self, incident: IncidentRow) -> None:
        token_id = self._find_failed(incident)
        if token_id is None:
            return
        work = self.work[token_id]
        if work.incident is None or (incident.incident_timestamp or "") < (work.incident.incident_timestamp or ""):
            work.incident = incident

    def _find_failed(self, incident: IncidentRow) -> str | None:
        """Return the token that an incident is about; one that no other row tells of is a pending activity."""
        subject = incident.configuration
        for external in self._rows.external_tasks:
            if external.id == subject and external.activity_instance_id in self._by_id:
                return external.activity_instance_id
        if subject in self._job_owners:
            return self._job_owners[subject]
        if self._is_boundary_event(incident.activity_id or "", incident.process_definition_id):
            return self._add_failed_timer(incident)
        same_execution = self._by_execution[incident.execution_id] if incident.execution_id else []
        for candidates in (
            [row for row in same_execution if row.element_id == incident.activity_id],
            same_execution,
            self._by_element[incident.activity_id or ""],
        ):
            innermost = [row for row in candidates if not self._holds_another(row, candidates)]
            if len(innermost) == 1:
                return innermost[0].id
        activity_id = incident.activity_id or incident.failed_activity_id
        if activity_id is None:
            return None
        return self._add_pending(
            activity_id, subject or incident.id, self._find_job(subject), incident.process_definition_id
        )

    def _add_failed_timer(self, incident: IncidentRow) -> str:
        """Add a token for a boundary event whose timer failed to fire: the activity itself continues to wait."""
        subject, element_id = incident.configuration or incident.id, incident.activity_id or ""
        token_id = self._add_pending(element_id, subject, self._find_job(subject), incident.process_definition_id)
        self.work[token_id].is_timer = True
        return token_id

    def _find_job(self, job_id: str | None) -> JobRow | None:
        return next((one for one in self._rows.jobs if one.id == job_id), None)

    @staticmethod
    def _holds_another(row: ActivityRow, several: Iterable[ActivityRow]) -> bool:
        return any(other.parent_activity_instance_id == row.id for other in several)


def _is_timer(job_type: str | None, holder: ActivityRow) -> bool:
    """Tell whether a job is a timer; if its type was not read, by the activity that it holds."""
    if job_type is not None:
        return job_type.startswith("timer")
    return "Timer" in (holder.activity_type or "") or holder.activity_type == "eventBasedGateway"
