"""Requests to Flowable's REST API: whole lists page by page, the rows of one instance, and those of many at once.

The API has two roots: that of processes, and that of jobs for external workers. Only GET requests are sent, because
servers with CSRF protection refuse all others. Unknown parameters are ignored by the server, so rows of other instances
than those asked for are left out here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from msgspec.structs import replace

from tokctl.client.json_responses import decode_json
from tokctl.engines.connect import warn, wrong_kind_error
from tokctl.engines.failed_starts import FailedStart
from tokctl.engines.flowable.documents import (
    TIMER_START,
    FlowableActivity,
    FlowableExecution,
    FlowableInstance,
    FlowableJob,
    FlowablePage,
    FlowableRows,
    FlowableSubscription,
    FlowableTask,
    FlowableVariable,
    JobQueue,
    with_queue,
)
from tokctl.engines.ordered_pool import map_ordered
from tokctl.errors import InputError, NotAllowedError, NotFoundError
from tokctl.server_address import parse_url

if TYPE_CHECKING:
    from tokctl.client import Client, ClientResponse

T = TypeVar("T")
Row = TypeVar("Row")

PAGE_SIZE = 20_000
"""Rows per request (the server's default: 10). A row of an activity has about 0.7 KiB."""
EXTERNAL_ROOT = "external-job-api"
"""The root of the API for external workers, beside that of processes."""

HISTORIC_INSTANCES = ("history", "historic-process-instances")
RUNTIME_INSTANCES = ("runtime", "process-instances")
DEFINITIONS = ("repository", "process-definitions")
MANAGEMENT = "management"

_NOT_THERE = (404, 500)
"""Statuses of a path that the server does not have: Spring's 404, Flowable's 500 ``No endpoint``."""


class RowSource(NamedTuple):
    """A list of rows that belong to instances: its path, the type of its rows, and where they go in FlowableRows."""

    path: tuple[str, ...]
    kind: type[Any]
    member: str
    params: Mapping[str, str] = {}


_HISTORIC_ACTIVITIES = ("history", "historic-activity-instances")
ACTIVITIES = RowSource(_HISTORIC_ACTIVITIES, FlowableActivity, "activities")
FINISHED_ACTIVITIES = RowSource(
    _HISTORIC_ACTIVITIES,
    FlowableActivity,
    "activities",
    {"finished": "true", "sort": "startTime", "order": "desc"},
)
RUNTIME_ACTIVITIES = RowSource(("runtime", "activity-instances"), FlowableActivity, "activities")
"""All activities of running instances, also those that have ended: the same rows as in the history."""
EXECUTIONS = RowSource(("runtime", "executions"), FlowableExecution, "executions")
SUBSCRIPTIONS = RowSource(("runtime", "event-subscriptions"), FlowableSubscription, "subscriptions")
TASKS = RowSource(("runtime", "tasks"), FlowableTask, "tasks")
TASK_HISTORY = RowSource(("history", "historic-task-instances"), FlowableTask, "task_history", {"finished": "true"})
VARIABLES = RowSource(("history", "historic-variable-instances"), FlowableVariable, "variables")


class FlowableApi:
    """Sends requests to one server. May be used from any thread.

    Raises UnreachableError, NotAllowedError, InputError …, as ``Client.get``.
    """

    def __init__(self, client: Client, kind: str) -> None:
        self.client = client
        self._kind = kind
        self._lock = Lock()
        self._external: Client | None = None
        self._has_external = True
        self.hides_jobs = False
        """Whether the credential may not read jobs: whether there are incidents is then unknown."""
        self.failed_starts: list[FailedStart] | None = None
        """The dead letters of no instance, once all dead letters were read."""

    def close(self) -> None:
        """Close all connections."""
        self.client.close()
        if self._external is not None:
            self._external.close()

    # --- lists ---

    def get_page(
        self, path: Sequence[str], kind: type[Row], params: Mapping[str, str], *, start: int = 0, size: int = PAGE_SIZE
    ) -> tuple[list[Row], int]:
        """Fetch a page of a list; return it with the number of rows of the whole list.

        Raises UnreachableError: the server is not Flowable, whose lists are empty rather than missing.
        """
        part = {"size": str(size)} | ({"start": str(start)} if start else {})
        try:
            answer = self.client.get(path, {**params, **part})
        except NotFoundError as error:
            raise wrong_kind_error(self.client, self._kind, error.message) from None
        return self._decode(answer, kind)

    def _decode(self, answer: ClientResponse, kind: type[Row]) -> tuple[list[Row], int]:
        page = decode_json(answer, FlowablePage[kind])  # type: ignore[valid-type]
        return page.data, page.total

    def get_all(self, path: Sequence[str], kind: type[Row], params: Mapping[str, str] | None = None) -> list[Row]:
        """Fetch a whole list."""
        return _read_pages(lambda start: self.get_page(path, kind, params or {}, start=start))

    def get_instances(self, instance_ids: Iterable[str]) -> list[FlowableInstance]:
        """Fetch instances by their ids, several at once; those that are not there are left out."""

        def fetch(instance_id: str) -> list[FlowableInstance]:
            return self.get_page(HISTORIC_INSTANCES, FlowableInstance, {"processInstanceId": instance_id}, size=2)[0]

        return [row for one, result in map_ordered(instance_ids, fetch) for row in result() if row.id == one]

    def get_jobs(self, queue: JobQueue, params: Mapping[str, str]) -> list[FlowableJob]:
        """Fetch a list of jobs; empty, with a warning, if it is not there or not allowed."""
        if queue is JobQueue.EXTERNAL:
            return self._get_external_jobs(params)
        try:
            jobs = self.get_all((MANAGEMENT, queue.value), FlowableJob, params)
        except NotAllowedError as error:
            self.hides_jobs = True
            warn(f"Jobs and incidents are unknown: {error.message}")
            return []
        if queue is JobQueue.DEAD_LETTERS and not params:
            self.failed_starts = [
                FailedStart(
                    job.process_definition_id, job.element_id, job.exception_message, job.handler_type == TIMER_START
                )
                for job in jobs
                if job.process_instance_id is None
            ]
        return with_queue(jobs, queue)

    def _get_external_jobs(self, params: Mapping[str, str]) -> list[FlowableJob]:
        if not self._has_external:
            return []
        client = self._external_client()

        def fetch(start: int) -> tuple[list[FlowableJob], int]:
            part = {"size": str(PAGE_SIZE)} | ({"start": str(start)} if start else {})
            answer = client.get(("jobs",), {**params, **part}, accept=_NOT_THERE)
            if answer.status in _NOT_THERE:
                raise NotFoundError(f"{answer.url}: not found ({answer.status}).")
            return self._decode(answer, FlowableJob)

        try:
            return with_queue(_read_pages(fetch), JobQueue.EXTERNAL)
        except (NotFoundError, NotAllowedError, InputError) as error:
            self._has_external = False
            warn(f"Jobs of external workers are unknown: {error.message}")
            return []

    def _external_client(self) -> Client:
        from tokctl.client import Client

        with self._lock:
            if self._external is None:
                connection = self.client.connection
                self._external = Client(replace(connection, url=derive_external_url(connection.url)), warn=warn)
            return self._external

    # --- rows of instances ---

    def get_rows(self, instance_id: str, sources: Iterable[RowSource], queues: Iterable[JobQueue]) -> FlowableRows:
        """Fetch several lists of one instance at once; rows of other instances are left out."""
        return self.get_rows_of_all(sources, queues, {"processInstanceId": instance_id}).get(
            instance_id, FlowableRows()
        )

    def get_rows_of_all(
        self, sources: Iterable[RowSource], queues: Iterable[JobQueue], params: Mapping[str, str] | None = None
    ) -> dict[str, FlowableRows]:
        """Fetch several lists at once; return the rows of each instance."""
        asked = params or {}
        calls: list[Callable[[], tuple[str, Sequence[Any]]]] = [
            lambda source=source: (source.member, self.get_all(source.path, source.kind, {**asked, **source.params}))  # type: ignore[misc]
            for source in sources
        ]
        calls += [lambda queue=queue: ("jobs", self.get_jobs(queue, asked)) for queue in queues]  # type: ignore[misc]
        return _group_rows(result() for _, result in map_ordered(calls, lambda call: call()))

    def get_rows_of_each(self, instance_ids: Iterable[str], sources: Iterable[RowSource]) -> dict[str, FlowableRows]:
        """Fetch several lists of each of some instances, several at once; return the rows of each instance."""
        wanted, lists = list(instance_ids), list(sources)
        calls = [(source, {"processInstanceId": one, **source.params}) for one in wanted for source in lists]
        several = map_ordered(calls, lambda call: self.get_all(call[0].path, call[0].kind, call[1]))
        found = _group_rows((source.member, result()) for (source, _), result in several)
        return {one: found.get(one, FlowableRows()) for one in wanted}

    def get_latest_rows(self, source: RowSource, params: Mapping[str, str]) -> dict[str, FlowableRows]:
        """Fetch the first page of a list; return the rows of each instance."""
        rows, _ = self.get_page(source.path, source.kind, {**params, **source.params})
        return _group_rows([(source.member, rows)])

    def count(self, source: RowSource) -> int:
        """Return the number of rows of a list."""
        return self.get_page(source.path, source.kind, source.params, size=0)[1]

    # --- single rows ---

    def find_owner_of_activity(self, activity_id: str) -> str | None:
        """Return the id of the instance that has a row of an activity; None if there is none."""
        rows, _ = self.get_page(ACTIVITIES.path, FlowableActivity, {"activityInstanceId": activity_id}, size=2)
        return next((row.process_instance_id for row in rows if row.id == activity_id), None)

    def find_owner_of_job(self, job_id: str) -> str | None:
        """Return the id of the instance that has a job; None if there is none. Jobs of external workers have rows."""
        for queue in (JobQueue.DEAD_LETTERS, JobQueue.JOBS, JobQueue.TIMERS, JobQueue.SUSPENDED):
            with suppress(NotFoundError, NotAllowedError):
                job = decode_json(self.client.get((MANAGEMENT, queue.value, job_id)), FlowableJob)
                return job.process_instance_id
        return None

    def get_stack_trace(self, job: str) -> str | None:
        """Fetch the stack trace of a dead letter; None if there is none."""
        try:
            path = (MANAGEMENT, JobQueue.DEAD_LETTERS.value, job, "exception-stacktrace")
            return self.client.get(path).body.decode("utf-8", "replace") or None
        except (NotFoundError, NotAllowedError):
            return None


def _group_rows(several: Iterable[tuple[str, Sequence[Any]]]) -> dict[str, FlowableRows]:
    """Return the rows of several lists by instance; rows of no instance are left out."""
    found: dict[str, FlowableRows] = {}
    for member, rows in several:
        for row in rows:
            if row.process_instance_id is not None:
                if (own := found.get(row.process_instance_id)) is None:
                    own = found[row.process_instance_id] = FlowableRows()
                getattr(own, member).append(row)
    return found


def _read_pages(fetch: Callable[[int], tuple[list[Row], int]]) -> list[Row]:
    """Read a list from the first page to the last, by the number of rows that the server says it has."""
    rows: list[Row] = []
    while True:
        page, total = fetch(len(rows))
        rows += page
        if not page or len(rows) >= total:
            return rows


def derive_external_url(url: str) -> str:
    """Return the URL of the API for external workers: beside the root of the API of processes.

    It is ``/external-job-api`` for ``/process-api``, and ``/flowable-rest/external-job-api`` for
    ``/flowable-rest/service``.
    """
    parse_url(url)
    return f"{url.rstrip('/').rpartition('/')[0]}/{EXTERNAL_ROOT}"
