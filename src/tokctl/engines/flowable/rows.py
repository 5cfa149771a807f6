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
from tokctl.engines.flowable.tokens import has_untold_user_tasks, needs_executions
from tokctl.engines.flowable.visits import FlowableModel
from tokctl.model.instances import Instance

FEW_INSTANCES = 3
"""Maximum number of instances that are read by requests of their own."""
ROWS_FOR_A_REQUEST = 800
"""Number of rows of a list that take a server as long as all requests for one instance."""
ROWS_FOR_A_PART = 100
"""Number of rows of a list that take a server as long as one or two of these requests."""

_ALWAYS = (JobQueue.JOBS, JobQueue.TIMERS, JobQueue.DEAD_LETTERS)
_EXTERNAL_TYPES = frozenset({"externalWorkerServiceTask"})
_EVENT_TYPES = frozenset({"intermediateCatchEvent", "receiveTask", "eventGateway"})


class RowReader:
    """Reads rows, and keeps those of whole lists until they are forgotten."""

    def __init__(self, api: FlowableApi) -> None:
        self._api = api
        self.running: Sequence[Instance] | None = None
        """The running instances whose rows were read from lists of the whole server; None if there were no such."""
        self._running: dict[str, FlowableRows] | None = None
        self._ended: dict[str, FlowableRows] | None = None
        self._dead_letters: dict[str, list[FlowableJob]] | None = None
        self._few_failed: bool | None = None
        self._failed: dict[str, FlowableRows] | None = None
        self._executions: dict[str, list[FlowableExecution]] = {}  # of single instances

    def forget(self) -> None:
        """Forget all rows."""
        self.running = None
        self._running = self._ended = self._dead_letters = self._few_failed = self._failed = None
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

    def prepare(self, instances: Sequence[Instance], load_model: Callable[[str], FlowableModel]) -> None:
        """Fetch the lists of the whole server, unless these instances are so few that each is requested."""
        running = [one for one in instances if not _has_ended(one)]
        ended = len(instances) - len(running)
        if len(running) > FEW_INSTANCES and self._running is None:
            self.running = running
            self._running = self._api.get_rows_of_all((RUNTIME_ACTIVITIES, SUBSCRIPTIONS, TASKS), tuple(JobQueue))
            self._add_executions(self._running, running, load_model)
            self._add_task_history(self._running, {"processFinished": "false"})
        if ended > FEW_INSTANCES and self._ended is None and self._api.count(ACTIVITIES) < ended * ROWS_FOR_A_REQUEST:
            self._ended = self._api.get_rows_of_all((ACTIVITIES, TASK_HISTORY), ())

    def _add_executions(
        self, rows: dict[str, FlowableRows], instances: Sequence[Instance], load_model: Callable[[str], FlowableModel]
    ) -> None:
        """Add executions to the rows of running instances whose tokens may depend on them."""
        needed = [
            one.instance_id
            for one in instances
            if (own := rows.get(one.instance_id)) is not None
            and needs_executions(own, load_model(one.process_key or ""))
        ]
        if not needed:
            return
        few = _are_few(len(needed), sum(len(own.activities) for own in rows.values()))
        found = self._api.get_rows_of_each(needed, [EXECUTIONS]) if few else self._api.get_rows_of_all([EXECUTIONS], ())
        for instance_id in needed:
            if instance_id in found:
                rows[instance_id].executions = found[instance_id].executions

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
                if job.process_instance_id is not None:
                    found[job.process_instance_id].append(job)
            self._dead_letters = dict(found)
        return self._dead_letters

    def few_failed(self) -> bool:
        """Tell whether so few running instances have failed that they are read by requests of their own."""
        if self._few_failed is None:
            number = len(self.dead_letters())
            self._few_failed = number <= FEW_INSTANCES or _are_few(number, self._api.count(RUNTIME_ACTIVITIES))
        return self._few_failed

    def fetch_failed(self) -> Mapping[str, FlowableRows]:
        """Fetch what FAILED tokens are made of, by instance: activities and executions, besides the dead letters."""
        if self._failed is None:
            failed = self.dead_letters()
            self._failed = (
                self._api.get_rows_of_each(failed, (ACTIVITIES, EXECUTIONS))
                if self.few_failed()
                else self._api.get_rows_of_all((RUNTIME_ACTIVITIES, EXECUTIONS), ())
            )
            for instance_id, jobs in failed.items():
                if instance_id in self._failed:
                    self._failed[instance_id].jobs = list(jobs)
        return self._failed

    def fetch_finished(self, definition_id: str) -> dict[str, FlowableRows]:
        """Fetch the latest activities that have ended, of the instances of a version: at most a page."""
        return self._api.get_latest_rows(FINISHED_ACTIVITIES, {"processDefinitionId": definition_id})


def _are_few(instances: int, rows: int) -> bool:
    """Tell whether instances are so few that each is requested, instead of a list with a number of rows."""
    return instances <= FEW_INSTANCES or instances * ROWS_FOR_A_PART <= rows


def _has_ended(instance: Instance) -> bool:
    return instance.completed_at is not None or instance.cancelled_at is not None
