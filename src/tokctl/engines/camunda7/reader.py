"""Reads the rows of one instance, or of many by sweeps: lists over all instances, grouped here.

One live instance takes four requests at once (visits, jobs, incidents, the model; a fifth for variables), then those of
the following that its visits call for: external tasks, user tasks, subscriptions, job definitions, the log of attempts.
An ended instance takes the visits, the model and the variables.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from threading import RLock
from typing import Any, TypeVar

from msgspec.structs import replace

from tokctl.engines.camunda7.api import RestApi, run_together
from tokctl.engines.camunda7.documents import (
    ActivityRow,
    ExternalTaskLogRow,
    ExternalTaskRow,
    IncidentRow,
    JobLogRow,
    JobRow,
    SubscriptionRow,
    TreeNode,
    UserTaskRow,
    VariableRow,
    format_filter_time,
)
from tokctl.engines.camunda7.models import ModelLoader
from tokctl.engines.camunda7.work import InstanceRows
from tokctl.engines.failed_starts import FailedStart
from tokctl.engines.ordered_pool import map_ordered
from tokctl.errors import InputError, NotFoundError
from tokctl.model.instances import Instance
from tokctl.model.states import is_final

Row = TypeVar("Row")

FEW_INSTANCES = 3
"""Maximum number of instances that are read one by one."""
SINGLE_HISTORIES = 20
"""Maximum number of instances whose visits are requested one by one."""
ROWS_PER_HISTORY = 50
"""Maximum number of visits in a sweep for each instance that is needed; above, each instance is read on its own."""
MAX_SWEPT_ROWS = 300_000
"""Maximum number of visits in a sweep: they are in memory at once."""
NAMED_INSTANCES = 500
"""Maximum number of instances that a list is limited to by their ids."""

_WORK_TYPES = frozenset({"serviceTask", "sendTask", "businessRuleTask"})
_EVENT_TYPES = frozenset({"receiveTask", "eventBasedGateway", "conditionalEventDefinition"})
_OCCURRENCE = {"sortBy": "occurrence", "sortOrder": "asc"}
ACTIVITIES = "history/activity-instance"


def is_ended(instance: Instance) -> bool:
    """Tell whether an instance has ended."""
    return instance.status is not None and is_final(instance.status)


class InstanceReader:
    """Reads instances. What lists over all instances say is kept until ``forget``. May be used from any thread."""

    def __init__(self, api: RestApi, models: ModelLoader) -> None:
        self._api = api
        self._models = models
        self._lock = RLock()
        self._incidents: dict[str, list[IncidentRow]] | None = None
        self._processes_with_incidents: set[str | None] = set()
        self.failed_starts: list[FailedStart] = []
        """The incidents of no instance, once all incidents were read."""
        self._root_causes: dict[str, IncidentRow | None] = {}
        self.without_history: set[str] = set()
        """Live instances of an engine that keeps no history."""

    def forget(self) -> None:
        """Forget what was read."""
        self._incidents = None
        self._root_causes.clear()
        self.without_history.clear()

    # --- incidents ---

    def all_incidents(self) -> dict[str, list[IncidentRow]]:
        """Return the open incidents of the engine by instance."""
        with self._lock:
            if self._incidents is None:
                rows = self._api.get_all_rows("incident", IncidentRow)
                self._root_causes |= {row.id: row for row in rows}
                self._processes_with_incidents = {row.process_definition_id for row in rows}
                self.failed_starts = [
                    FailedStart(
                        row.process_definition_id, row.activity_id, row.incident_message, row.activity_id is not None
                    )
                    for row in rows
                    if row.process_instance_id is None
                ]
                self._incidents = _group([self._with_message(row) for row in rows])
            return self._incidents

    def sees_incidents(self, instance: Instance) -> bool:
        """Tell whether an incident of a live instance would be seen: nothing is hidden, or one of its process is seen.

        The engine hides incidents from users without rights to their process.
        """
        if self._api.client.connection.credential() is None:
            return True
        self.all_incidents()
        return instance.process_key in self._processes_with_incidents

    def _with_message(self, incident: IncidentRow) -> IncidentRow:
        """Add the message of its root cause to an incident that a called instance has raised: it has none itself."""
        if incident.incident_message is not None or not incident.is_repeated:
            return incident
        cause = self._root_cause(incident.root_cause_incident_id or incident.cause_incident_id or "")
        return incident if cause is None else replace(incident, incident_message=cause.incident_message)

    def _root_cause(self, incident_id: str) -> IncidentRow | None:
        if incident_id not in self._root_causes:
            found = self._api.get_rows("incident", IncidentRow, {"incidentId": incident_id}) if incident_id else []
            self._root_causes[incident_id] = next((row for row in found if row.id == incident_id), None)
        return self._root_causes[incident_id]

    def check_rights(self, instances: Iterable[Instance]) -> None:
        """Warn if jobs and incidents of live instances are hidden; one instance of each process is checked.

        Only those matter that no such row was found of.
        """
        live = {one.process_key: one.instance_id for one in instances if not is_ended(one)}
        self._api.check_live_rights(list(live.values()))

    # --- one instance ---

    def read_one(self, instance: Instance, *, variables: bool = False, log: bool = True) -> InstanceRows:
        """Read one instance as a whole."""
        wanted = {"processInstanceId": instance.instance_id}
        live = not is_ended(instance)

        def rows(path: str, shape: type[Row], needed: bool = True, **params: str) -> Callable[[], list[Row]]:
            return lambda: self._checked(path, shape, instance, wanted | params) if needed else []

        models = [instance.process_key] if instance.process_key else []
        first: list[Callable[[], Any]] = [
            lambda: self._read_activities(instance),
            rows("job", JobRow, live),
            rows("incident", IncidentRow, live and self._incidents is None),
            rows("history/variable-instance", VariableRow, variables, deserializeValues="false"),
            lambda: self._models.graphs(models),
        ]
        activities, jobs, incidents, found_variables, _ = run_together(first)
        if live and self._incidents is not None:
            incidents = self._incidents.get(instance.instance_id, [])
        incidents = [self._with_message(row) for row in incidents]
        unfinished = [row for row in activities if row.end_time is None]
        subjects = {incident.configuration for incident in incidents}
        attempts = log and any(job.exception_message is not None for job in jobs)
        second: list[Callable[[], Any]] = [
            rows("external-task", ExternalTaskRow, any(map(may_be_external, unfinished))),
            rows("task", UserTaskRow, any(row.task_id for row in unfinished)),
            rows("event-subscription", SubscriptionRow, any(map(may_wait_for_event, unfinished))),
            rows("history/job-log", JobLogRow, attempts, sortBy="occurrence", sortOrder="asc"),
            lambda: self._models.graphs({row.process_definition_id for row in activities if row.process_definition_id}),
            lambda: self._read_job_definitions(job for job in jobs if job.id not in subjects),
        ]
        external, tasks, subscriptions, job_log, _, _ = run_together(second)
        if not (jobs or incidents or external or subscriptions):
            self.check_rights([instance])
        external_log = []
        if log and any(task.error_message is not None for task in external):
            external_log = rows("history/external-task-log", ExternalTaskLogRow, sortBy="timestamp", sortOrder="asc")()
        return InstanceRows(
            instance=instance,
            activities=activities,
            jobs=jobs,
            external_tasks=external,
            incidents=incidents,
            subscriptions=subscriptions,
            user_tasks=tasks,
            variables=found_variables if variables else None,
            job_log=job_log if attempts else None,
            external_task_log=external_log or None,
        )

    def _checked(self, path: str, shape: type[Row], instance: Instance, params: dict[str, str]) -> list[Row]:
        """Fetch rows of one instance. Raises InputError: the server has ignored the filter."""
        found = self._api.get_rows(path, shape, params)
        for row in found:
            if (owner := getattr(row, "process_instance_id", None)) not in {None, instance.instance_id}:
                raise InputError(f"{path}: a row of instance '{owner}' was not requested: the filter was ignored.")
        return found

    def _read_activities(self, instance: Instance) -> list[ActivityRow]:
        if instance.instance_id in self.without_history:
            return self._read_tree(instance)
        params = {"processInstanceId": instance.instance_id, **_OCCURRENCE}
        return self._checked(ACTIVITIES, ActivityRow, instance, params)

    def _read_tree(self, instance: Instance) -> list[ActivityRow]:
        """Read the live visits of an instance that has no history: they have no times."""
        try:
            root = self._api.get_document(("process-instance", instance.instance_id, "activity-instances"), TreeNode)
        except NotFoundError:
            return []
        return list(_flatten(root))

    def _read_job_definitions(self, jobs: Iterable[JobRow]) -> None:
        self._models.job_definitions({job.process_definition_id for job in jobs if job.process_definition_id})

    # --- many instances ---

    def read_many(
        self, instances: Sequence[Instance], *, unfinished: bool = False, variables: bool = False
    ) -> Iterator[InstanceRows]:
        """Read instances by sweeps, without the log of attempts; in order.

        With ``unfinished``, visits that have ended may be left out: ``InstanceRows.whole`` tells.
        """
        if len(instances) <= FEW_INSTANCES:
            yield from run_together([partial(self.read_one, one, variables=variables, log=False) for one in instances])
            return
        histories = self.read_histories(instances, unfinished=unfinished)
        if histories is None:
            each = map_ordered(instances, lambda one: self.read_one(one, variables=variables, log=False))
            yield from (result() for _, result in each)
            return
        live = [one.instance_id for one in instances if not is_ended(one)]
        incidents = self.all_incidents() if live else {}
        open_rows = [row for rows in histories.values() for row in rows if row.end_time is None]
        sweep = self._sweep
        external_ids = live if any(map(may_be_external, open_rows)) else []
        task_ids = live if any(row.task_id for row in open_rows) else []
        subscription_ids = live if any(map(may_wait_for_event, open_rows)) else []
        variable_ids = [one.instance_id for one in instances] if variables else []
        sweeps: list[Callable[[], dict[str, list[Any]]]] = [
            partial(sweep, "job", JobRow, live, "processInstanceIds"),
            partial(sweep, "external-task", ExternalTaskRow, external_ids, "processInstanceIdIn"),
            partial(sweep, "task", UserTaskRow, task_ids, "processInstanceIdIn"),
            partial(sweep, "event-subscription", SubscriptionRow, subscription_ids, None),
            partial(self._sweep_variables, variable_ids),
        ]
        jobs, external, tasks, subscriptions, found_variables = run_together(sweeps)
        seen = {*jobs, *external, *subscriptions, *incidents}
        self.check_rights(one for one in instances if one.instance_id not in seen)
        subjects = {one.configuration for several in incidents.values() for one in several}
        self._read_job_definitions(job for several in jobs.values() for job in several if job.id not in subjects)
        models = {row.process_definition_id for rows in histories.values() for row in rows}
        models |= {one.process_key for one in instances}
        self._models.graphs([model for model in models if model is not None])
        for one in instances:
            key = one.instance_id
            yield InstanceRows(
                instance=one,
                whole=not unfinished,
                activities=histories.get(key, []),
                jobs=jobs.get(key, []),
                external_tasks=external.get(key, []),
                incidents=[] if is_ended(one) else incidents.get(key, []),
                subscriptions=subscriptions.get(key, []),
                user_tasks=tasks.get(key, []),
                variables=found_variables.get(key, []) if variables else None,
            )

    def _sweep(self, path: str, shape: type[Row], ids: Sequence[str], parameter: str | None) -> dict[str, list[Row]]:
        """Fetch the rows of instances: limited to their ids if they are few, else all there are."""
        if not ids:
            return {}
        if parameter is not None and len(ids) <= NAMED_INSTANCES:
            return _group(self._api.get_rows_of(path, shape, ids, parameter), set(ids))
        return _group(self._api.get_all_rows(path, shape), set(ids))

    def _sweep_variables(self, ids: Sequence[str]) -> dict[str, list[VariableRow]]:
        path, params = "history/variable-instance", {"deserializeValues": "false"}
        return _group(self._api.get_rows_of(path, VariableRow, ids, "processInstanceIdIn", params), set(ids))

    def read_histories(
        self, instances: Sequence[Instance], *, unfinished: bool = False
    ) -> dict[str, list[ActivityRow]] | None:
        """Return the visits of instances, or the unfinished ones; None if each has to be read on its own.

        More than a few are read by one sweep, unless it would send many times as much as is needed.
        """
        lost = [one for one in instances if one.instance_id in self.without_history]
        if lost:
            rest = [one for one in instances if one.instance_id not in self.without_history]
            found = self.read_histories(rest, unfinished=unfinished) if rest else None
            return None if found is None else found | self.read_single_histories(lost)
        wanted = {one.instance_id for one in instances}
        if unfinished:
            return _group(
                self._api.get_all_rows(ACTIVITIES, ActivityRow, {"unfinished": "true", **_OCCURRENCE}), wanted
            )
        if len(instances) <= SINGLE_HISTORIES:
            return self.read_single_histories(instances)
        starts = [one.started_at for one in instances if one.started_at is not None]
        if len(starts) < len(instances):
            return None
        params = {"startedAfter": format_filter_time(min(starts) - timedelta(milliseconds=1))}
        if self._api.count(ACTIVITIES, params) > min(ROWS_PER_HISTORY * len(instances), MAX_SWEPT_ROWS):
            return None
        return _group(self._api.get_all_rows(ACTIVITIES, ActivityRow, params | _OCCURRENCE), wanted)

    def read_single_histories(self, instances: Sequence[Instance]) -> dict[str, list[ActivityRow]]:
        """Return the visits of instances, requested one by one, several at a time."""
        return {one.instance_id: result() for one, result in map_ordered(instances, self._read_activities)}


def may_be_external(row: ActivityRow) -> bool:
    """Tell whether a visit may wait for an external task."""
    kind = row.activity_type or ""
    return kind in _WORK_TYPES or "Throw" in kind or kind.endswith("EndEvent")


def may_wait_for_event(row: ActivityRow) -> bool:
    """Tell whether a visit may wait for a message, a signal or a condition."""
    kind = row.activity_type or ""
    return kind in _EVENT_TYPES or "Catch" in kind or kind.startswith(("intermediateMessage", "intermediateSignal"))


def _group(rows: Iterable[Any], wanted: Collection[str] | None = None) -> dict[str, list[Any]]:
    """Return rows by instance, those of unwanted instances left out."""
    groups: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        key = row.process_instance_id
        if key is not None and (wanted is None or key in wanted):
            groups[key].append(row)
    return groups


def _flatten(node: TreeNode) -> Iterator[ActivityRow]:
    """Yield the visits of a tree, outer ones first. The root is the instance itself."""
    pending = list(node.child_activity_instances)
    while pending:
        one = pending.pop(0)
        pending += one.child_activity_instances
        yield ActivityRow(
            id=one.id,
            process_instance_id=one.process_instance_id,
            activity_id=one.activity_id,
            activity_type=one.activity_type,
            parent_activity_instance_id=one.parent_activity_instance_id,
            process_definition_id=one.process_definition_id,
            execution_id=one.execution_ids[0] if one.execution_ids else None,
        )
