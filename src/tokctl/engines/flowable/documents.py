"""Rows of Flowable's REST API: what its lists send, as far as tokens need it.

Shapes are those that Flowable 7.2 sends. Lists are
``{"data": [], "total", "start", "sort", "order", "size"}``. Times are RFC 3339 in UTC with milliseconds. Nothing is
requested here, and no token is made here: see ``engine`` and ``tokens``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from tokctl.model.instances import Instance
from tokctl.model.states import ACTIVE, CANCELLED, COMPLETED, SUSPENDED
from tokctl.model.times import to_utc
from tokctl.model.tokens import NULL

Row = TypeVar("Row")

_TIME_UUID = re.compile(
    "(?P<low>[0-9a-f]{8})-(?P<middle>[0-9a-f]{4})-1(?P<high>[0-9a-f]{3})-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE
)
"""A UUID of version 1: its first three parts are its time, the lowest digits first (RFC 9562, section 5.1)."""

SEQUENCE_FLOW = "sequenceFlow"
"""The activity type of the rows that record the sequence flows taken."""


class _FlowableRow(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """A row of a list. Undocumented members are ignored; ``null`` is unknown."""


class FlowableValue(_FlowableRow, frozen=True, kw_only=True):
    """The name and the value of a variable; of an object that the engine serializes the value is not sent."""

    name: str
    type: str | None = None
    value: Raw = NULL

    @property
    def document(self) -> Raw:
        """The value as JSON; ``{"unknown": TYPE}`` if it is not sent. Only the type ``null`` has the value null."""
        is_sent = bytes(self.value) != b"null" or self.type in {None, "null"}
        return Raw(bytes(self.value)) if is_sent else Raw(msgspec.json.encode({"unknown": self.type}))


class FlowableInstance(_FlowableRow, frozen=True, kw_only=True):
    """A process instance, running or ended. It has no status: see ``to_instance``."""

    id: str
    process_definition_id: str
    name: str | None = None
    business_key: str | None = None
    tenant_id: str | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    start_user_id: str | None = None
    delete_reason: str | None = None
    super_process_instance_id: str | None = None
    variables: tuple[FlowableValue, ...] | None = None


class FlowableRuntimeInstance(_FlowableRow, frozen=True, kw_only=True):
    """A running process instance."""

    id: str
    suspended: bool = False


class FlowableActivity(_FlowableRow, frozen=True, kw_only=True):
    """A visit of an element, or (``activity_type`` SEQUENCE_FLOW) a sequence flow that was taken."""

    id: str
    activity_type: str
    process_instance_id: str
    start_time: datetime
    activity_id: str | None = None
    activity_name: str | None = None
    process_definition_id: str | None = None
    execution_id: str | None = None
    task_id: str | None = None
    called_process_instance_id: str | None = None
    assignee: str | None = None
    end_time: datetime | None = None
    duration_in_millis: int | None = None


class FlowableExecution(_FlowableRow, frozen=True, kw_only=True):
    """A path of execution of a running instance, and the element at which it stands."""

    id: str
    process_instance_id: str
    parent_id: str | None = None
    activity_id: str | None = None
    suspended: bool = False


TIMER_START = "timer-start-event"
"""The handler of a job that starts an instance."""


class JobQueue(StrEnum):
    """The lists of jobs. A job moves between them and keeps its id."""

    JOBS = "jobs"
    """Jobs that the engine may execute now."""
    TIMERS = "timer-jobs"
    """Jobs that are due later: timers, and failed jobs that will be tried again."""
    DEAD_LETTERS = "deadletter-jobs"
    """Jobs that are not tried again: the incidents."""
    SUSPENDED = "suspended-jobs"
    """Jobs of suspended instances."""
    EXTERNAL = "external-job-api/jobs"
    """Jobs for external workers; they have an API of their own."""


class FlowableJob(_FlowableRow, frozen=True, kw_only=True):
    """A job of an instance. The topic of an external job is in the model only."""

    id: str
    process_instance_id: str | None = None
    process_definition_id: str | None = None
    execution_id: str | None = None
    element_id: str | None = None
    element_name: str | None = None
    handler_type: str | None = None
    retries: int | None = None
    exception_message: str | None = None
    due_date: datetime | None = None
    create_time: datetime | None = None
    lock_owner: str | None = None
    lock_expiration_time: datetime | None = None
    queue: JobQueue = JobQueue.JOBS


class FlowableSubscription(_FlowableRow, frozen=True, kw_only=True):
    """A message or signal that an execution waits for; ``compensate`` is the offer of a compensation handler."""

    event_type: str
    process_instance_id: str | None = None
    execution_id: str | None = None
    activity_id: str | None = None
    event_name: str | None = None


class FlowableTask(_FlowableRow, frozen=True, kw_only=True):
    """A user task, running or (``end_time``, ``delete_reason``) from the history."""

    id: str
    process_instance_id: str | None = None
    execution_id: str | None = None
    owner: str | None = None
    assignee: str | None = None
    due_date: datetime | None = None
    create_time: datetime | None = None
    claim_time: datetime | None = None
    end_time: datetime | None = None
    delete_reason: str | None = None


class FlowableVariable(_FlowableRow, frozen=True, kw_only=True):
    """A variable; its ``execution_id`` is the instance's id unless it is local to a path of execution."""

    variable: FlowableValue
    process_instance_id: str | None = None
    execution_id: str | None = None
    task_id: str | None = None


class FlowableDefinition(_FlowableRow, frozen=True, kw_only=True):
    """A version of a process model."""

    id: str
    key: str
    version: int


class FlowablePage(Struct, Generic[Row], frozen=True):
    """A page of a list, and the number of rows of the whole list."""

    data: list[Row]
    total: int


class FlowableRows(Struct, kw_only=True):
    """The rows of one instance, in any order.

    ``task_history`` has tasks that have ended, of those instances for which it was needed.
    """

    activities: list[FlowableActivity] = []
    executions: list[FlowableExecution] = []
    jobs: list[FlowableJob] = []
    subscriptions: list[FlowableSubscription] = []
    tasks: list[FlowableTask] = []
    task_history: list[FlowableTask] = []
    variables: list[FlowableVariable] = []


# --- instances ------------------------------------------------------------------------------------


_TERMINATED = "terminate end event"
"""How the reason for the deletion of an instance begins that a terminate end event has completed."""


def split_definition_id(definition_id: str) -> tuple[str, int] | None:
    """Return the process id and the version in the id of a definition, such as ``order:2:e7cc773b-…``.

    None if it has no such form: ids that would have more than 64 characters are a UUID alone.
    """
    key, _, version = definition_id.rpartition(":")[0].rpartition(":")
    return (key, int(version)) if key and version.isascii() and version.isdigit() else None


def to_instance(row: FlowableInstance, process: tuple[str, int] | None, *, suspended: bool) -> Instance:
    """Return a process instance.

    It is COMPLETED if it has an end, or CANCELLED if it also has a reason for its deletion, other than a terminate end
    event; one without an end is SUSPENDED or ACTIVE. ``process`` is the process id and the version of its definition.
    """
    ended, reason = row.end_time is not None, row.delete_reason
    cancelled = reason is not None and not reason.startswith(_TERMINATED)
    running = SUSPENDED if suspended else ACTIVE
    status = (CANCELLED if cancelled else COMPLETED) if ended else running
    extra = {
        "name": row.name,
        "calling_instance_id": row.super_process_instance_id,
        "started_by": row.start_user_id,
        "delete_reason": row.delete_reason,
    }
    return Instance(
        instance_id=row.id,
        process_id=process[0] if process else None,
        version=process[1] if process else None,
        process_key=row.process_definition_id,
        status=status,
        business_key=row.business_key or None,
        tenant_id=row.tenant_id or None,
        started_at=to_utc(row.start_time),
        updated_at=to_utc(row.end_time),
        completed_at=to_utc(row.end_time) if ended and not cancelled else None,
        cancelled_at=to_utc(row.end_time) if ended and cancelled else None,
        variables=NULL if row.variables is None else encode_variables(row.variables),
        extra={name: Raw(msgspec.json.encode(value)) for name, value in extra.items() if value},
    )


def encode_variables(variables: Iterable[FlowableValue]) -> Raw:
    """Return variables as a JSON object by name."""
    return Raw(msgspec.json.encode({one.name: one.document for one in variables}))


# --- order of occurrence --------------------------------------------------------------------------


def sort_activities(rows: Iterable[FlowableActivity]) -> list[FlowableActivity]:
    """Return rows in the order in which they were recorded, each once.

    Many rows have the same millisecond, and the server sends those in any order. Their ids tell the order: they are
    UUIDs of version 1, with 100 ns, or rising numbers, as the server is configured. Other ids leave the server's order.
    """
    unique = {row.id: row for row in rows}
    numbers = {row_id: _number_id(row_id) for row_id in unique}
    if None in numbers.values():
        return sorted(unique.values(), key=lambda row: row.start_time)
    return sorted(unique.values(), key=lambda row: numbers[row.id] or 0)


def _number_id(row_id: str) -> int | None:
    """Return the number, or the time of the UUID, that an id consists of; None if it tells no order."""
    if row_id.isascii() and row_id.isdigit():
        return int(row_id)
    parts = _TIME_UUID.fullmatch(row_id)  # uuid.UUID takes five times as long, and there is one for each row
    return None if parts is None else int(parts["high"] + parts["middle"] + parts["low"], 16)


def with_queue(jobs: Iterable[FlowableJob], queue: JobQueue) -> list[FlowableJob]:
    """Return jobs with the list that they were in."""
    return [replace(job, queue=queue) for job in jobs]
