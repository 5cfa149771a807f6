"""Reads the rows of instances: of one by requests of its own, or of many from the lists of the whole server."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from tokctl.engines.flowable.api import (
    ACTIVITIES,
    EXECUTIONS,
    FINISHED_ACTIVITIES,
    RUNTIME_ACTIVITIES,
    SUBSCRIPTIONS,
    TASK_HISTORY,
    TASKS,
    VARIABLES,
    FlowableApi,
    RowSource,
)
from tokctl.engines.flowable.documents import FlowableExecution, FlowableJob, FlowableRows, JobQueue
from tokctl.engines.flowable.tokens import has_untold_user_tasks
from tokctl.engines.flowable.visits import FlowableModel
from tokctl.model.instances import Instance

FEW_INSTANCES = 3
"""Maximum number of instances that are read by requests of their own."""
ROWS_FOR_A_REQUEST = 800
"""Number of rows of a list that take a server as long as the requests for one instance."""

_ALWAYS = (JobQueue.JOBS, JobQueue.TIMERS, JobQueue.DEAD_LETTERS)
_EXTERNAL_TYPES = frozenset({"externalWorkerServiceTask"})
_EVENT_TYPES = frozenset({"intermediateCatchEvent", "receiveTask", "eventGateway"})


class RowReader:
    """Reads rows, and keeps those of whole lists until they are forgotten."""

    def __init__(self, api: FlowableApi) -> None:
        self._api = api
        self._running: dict[str, FlowableRows] | None = None
        self._ended: dict[str, FlowableRows] | None = None
        self._dead_letters: dict[str, list[FlowableJob]] | None = None
        self._executions: dict[str, list[FlowableExecution]] = {}  # of single instances

    def forget(self) -> None:
        """Forget all rows."""
        self._running = self._ended = self._dead_letters = None
        self._executions.clear()

    # --- one instance ---

    def fetch(self, instance: Instance, load_model: Callable[[], FlowableModel], *, variables: bool) -> FlowableRows:
        """Fetch the rows of one instance: first what is always needed, then what these rows make necessary."""
        instance_id, is_running = instance.instance_id, not _has_ended(instance)
        executions = self._executions.pop(instance_id, None)
        first = [ACTIVITIES, *([EXECUTIONS] if executions is None and is_running else [])]
        rows = self._api.get_rows(
            instance_id, [*first, *([VARIABLES] if variables else [])], _ALWAYS if is_running else ()
        )
        if executions is not None:
            rows.executions = executions
        sources, queues = self._find_missing(rows, load_model())
        if sources or queues:
            more = self._api.get_rows(instance_id, sources, queues)
            rows.jobs += more.jobs
            rows.subscriptions, rows.tasks, rows.task_history = more.subscriptions, more.tasks, more.task_history
        return rows

    def _find_missing(self, rows: FlowableRows, model: FlowableModel) -> tuple[list[RowSource], list[JobQueue]]:
        """Return the lists that may have rows of an instance, by the activities that have not ended."""
        open_rows = [row for row in rows.activities if row.end_time is None]
        types = {row.activity_type for row in open_rows}
        sources, queues = [], []
        if types & _EVENT_TYPES:
            sources.append(SUBSCRIPTIONS)
        if any(row.task_id is not None for row in open_rows):
            sources.append(TASKS)
        if has_untold_user_tasks(rows, model):
            sources.append(TASK_HISTORY)
        if types & _EXTERNAL_TYPES:
            queues.append(JobQueue.EXTERNAL)
        if any(row.suspended for row in rows.executions):
            queues.append(JobQueue.SUSPENDED)
        return sources, queues

    def fetch_executions(self, instance_id: str) -> list[FlowableExecution]:
        """Fetch the executions of one instance, before its other rows; none if it has ended."""
        self._executions[instance_id] = self._api.get_rows(instance_id, [EXECUTIONS], ()).executions
        return self._executions[instance_id]

    # --- many instances ---

    def prepare(self, instances: Sequence[Instance]) -> None:
        """Fetch the lists of the whole server if that is less than to request the rows of each of these instances."""
        running = sum(not _has_ended(one) for one in instances)
        ended = len(instances) - running
        if running > FEW_INSTANCES and self._running is None:
            self._running = self._api.get_rows_of_all(
                (RUNTIME_ACTIVITIES, EXECUTIONS, SUBSCRIPTIONS, TASKS), tuple(JobQueue)
            )
            self._add_task_history(self._running, {"processFinished": "false"})
        if ended > FEW_INSTANCES and self._ended is None and self._api.count(ACTIVITIES) < ended * ROWS_FOR_A_REQUEST:
            self._ended = self._api.get_rows_of_all((ACTIVITIES, TASK_HISTORY), ())

    def _add_task_history(self, rows: dict[str, FlowableRows], params: dict[str, str]) -> None:
        if any(has_untold_user_tasks(one, FlowableModel(None)) for one in rows.values()):
            for instance_id, more in self._api.get_rows_of_all((TASK_HISTORY,), (), params).items():
                if instance_id in rows:
                    rows[instance_id].task_history = more.task_history

    def find(self, instance: Instance) -> FlowableRows | None:
        """Return the rows of an instance from the lists of the whole server; None if they have none."""
        lists = self._ended if _has_ended(instance) else self._running
        return None if lists is None else lists.get(instance.instance_id)

    def dead_letters(self) -> Mapping[str, Sequence[FlowableJob]]:
        """Return the dead letters of the server by instance."""
        if self._dead_letters is None:
            found: dict[str, list[FlowableJob]] = defaultdict(list)
            for job in self._api.get_jobs(JobQueue.DEAD_LETTERS, {}):
                found[job.process_instance_id or ""].append(job)
            self._dead_letters = dict(found)
        return self._dead_letters

    def fetch_finished(self, definition_id: str) -> dict[str, FlowableRows]:
        """Fetch the latest activities that have ended, of the instances of a version: at most a page."""
        return self._api.get_latest_rows(FINISHED_ACTIVITIES, {"processDefinitionId": definition_id})


def _has_ended(instance: Instance) -> bool:
    return instance.completed_at is not None or instance.cancelled_at is not None
