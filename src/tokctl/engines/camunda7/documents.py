"""The documents of the REST API of Camunda 7, as far as tokctl reads them: one type for each kind of row.

Times are texts such as ``2026-11-28T16:41:34.128+0000`` in the zone of the server; ``to_time`` converts them,
``format_filter_time`` writes them as filters need them. A field that a product or a version does not send is None.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Raw, Struct

from tokctl.errors import InputError
from tokctl.model.states import ACTIVE, CANCELLED, COMPLETED, SUSPENDED
from tokctl.model.times import to_known_utc
from tokctl.model.tokens import NULL
from tokctl.text import shorten

BODY_SUFFIX = "#multiInstanceBody"
"""Ends the activity id of the scope around the instances of a multi-instance activity."""

INSTANCE_STATES = {
    "ACTIVE": ACTIVE,
    "SUSPENDED": SUSPENDED,
    "COMPLETED": COMPLETED,
    "EXTERNALLY_TERMINATED": CANCELLED,
    "INTERNALLY_TERMINATED": CANCELLED,
}
"""State of an instance in the engine → status."""


def to_time(text: str | None) -> datetime | None:
    """Return a time in UTC. Raises InputError: the text is not a time."""
    if text is None:
        return None
    try:
        return to_known_utc(datetime.fromisoformat(text))
    except ValueError:
        raise InputError(f"'{shorten(text)}' is not a time of Camunda 7.") from None


def format_filter_time(time: datetime) -> str:
    """Return a time in the only form that filters accept, rounded up to a millisecond."""
    rounded = time.astimezone(UTC) + timedelta(microseconds=-time.microsecond % 1000)
    return f"{rounded:%Y-%m-%dT%H:%M:%S}.{rounded.microsecond // 1000:03}+0000"


class _Row(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """A row of a list; fields that tokctl does not read are ignored."""


class HistoricInstanceRow(_Row, frozen=True, kw_only=True, gc=False):
    """``/history/process-instance``: live and ended instances."""

    id: str
    business_key: str | None = None
    process_definition_id: str | None = None
    process_definition_key: str | None = None
    process_definition_version: int | None = None
    start_time: str | None = None
    end_time: str | None = None
    removal_time: str | None = None
    start_user_id: str | None = None
    delete_reason: str | None = None
    root_process_instance_id: str | None = None
    super_process_instance_id: str | None = None
    tenant_id: str | None = None
    state: str | None = None


class RuntimeInstanceRow(_Row, frozen=True, kw_only=True, gc=False):
    """``/process-instance``: live instances; all there is if the engine keeps no history."""

    id: str
    definition_id: str | None = None
    business_key: str | None = None
    suspended: bool = False
    tenant_id: str | None = None

    def to_historic(self) -> HistoricInstanceRow:
        """Return the row of the history that this instance would have, without its times."""
        key, version, _ = split_definition_id(self.definition_id or "")
        return HistoricInstanceRow(
            id=self.id,
            business_key=self.business_key,
            process_definition_id=self.definition_id,
            process_definition_key=key,
            process_definition_version=version,
            tenant_id=self.tenant_id,
            state="SUSPENDED" if self.suspended else "ACTIVE",
        )


def split_definition_id(definition_id: str) -> tuple[str | None, int | None, str]:
    """Return process id, version and the rest of the id of a definition; (None, None, id) if it has another form."""
    key, _, rest = definition_id.partition(":")
    version, _, rest = rest.partition(":")
    return (key, int(version), rest) if key and version.isdecimal() else (None, None, definition_id)


class ActivityRow(_Row, frozen=True, kw_only=True, gc=False):
    """``/history/activity-instance``: one visit of an activity."""

    id: str
    process_instance_id: str
    activity_id: str
    activity_type: str | None = None
    activity_name: str | None = None
    parent_activity_instance_id: str | None = None
    process_definition_id: str | None = None
    execution_id: str | None = None
    task_id: str | None = None
    called_process_instance_id: str | None = None
    assignee: str | None = None
    start_time: str | None = None
    end_time: str | None = None
    duration_in_millis: int | None = None
    canceled: bool | None = None

    @property
    def element_id(self) -> str:
        """The id of the element in the model."""
        return self.activity_id.removesuffix(BODY_SUFFIX)

    @property
    def is_body(self) -> bool:
        """Whether this is the scope around the instances of a multi-instance activity."""
        return self.activity_id.endswith(BODY_SUFFIX)


class TreeNode(_Row, frozen=True, kw_only=True):
    """``/process-instance/{id}/activity-instances``: a live visit with those inside it."""

    id: str
    process_instance_id: str
    activity_id: str
    activity_type: str | None = None
    parent_activity_instance_id: str | None = None
    process_definition_id: str | None = None
    execution_ids: tuple[str, ...] = ()
    child_activity_instances: tuple[TreeNode, ...] = ()


class JobRow(_Row, frozen=True, kw_only=True, gc=False):
    """``/job``: work of the job executor, and timers."""

    id: str
    process_instance_id: str | None = None
    process_definition_id: str | None = None
    job_definition_id: str | None = None
    execution_id: str | None = None
    retries: int | None = None
    exception_message: str | None = None
    failed_activity_id: str | None = None
    due_date: str | None = None
    create_time: str | None = None
    suspended: bool = False


class JobDefinitionRow(_Row, frozen=True, kw_only=True, gc=False):
    """``/job-definition``: the activity of a job, and whether it is a timer or an asynchronous continuation."""

    id: str
    activity_id: str | None = None
    job_type: str | None = None
    job_configuration: str | None = None


class ExternalTaskRow(_Row, frozen=True, kw_only=True, gc=False):
    """``/external-task``: work for an external worker."""

    id: str
    process_instance_id: str | None = None
    activity_instance_id: str | None = None
    topic_name: str | None = None
    worker_id: str | None = None
    lock_expiration_time: str | None = None
    retries: int | None = None
    error_message: str | None = None
    suspended: bool = False


class IncidentRow(_Row, frozen=True, kw_only=True, gc=False):
    """``/incident``: an open incident. ``configuration`` is the id of its job or external task."""

    id: str
    process_instance_id: str | None = None
    process_definition_id: str | None = None
    execution_id: str | None = None
    incident_timestamp: str | None = None
    incident_type: str | None = None
    activity_id: str | None = None
    failed_activity_id: str | None = None
    cause_incident_id: str | None = None
    root_cause_incident_id: str | None = None
    configuration: str | None = None
    incident_message: str | None = None
    annotation: str | None = None

    @property
    def is_repeated(self) -> bool:
        """Whether this is the incident of a called instance, repeated on the call activity."""
        return self.cause_incident_id not in {None, self.id}


class SubscriptionRow(_Row, frozen=True, kw_only=True, gc=False):
    """``/event-subscription``: a message or signal that an execution waits for."""

    id: str
    process_instance_id: str | None = None
    event_type: str | None = None
    event_name: str | None = None
    activity_id: str | None = None
    execution_id: str | None = None


class UserTaskRow(_Row, frozen=True, kw_only=True, gc=False):
    """``/task``: an open user task."""

    id: str
    process_instance_id: str | None = None
    assignee: str | None = None
    due: str | None = None
    follow_up: str | None = None
    last_updated: str | None = None
    suspended: bool = False


class VariableRow(_Row, frozen=True, kw_only=True, gc=False):
    """``/history/variable-instance``: the last value of a variable; ``activity_instance_id`` is its scope."""

    name: str
    process_instance_id: str | None = None
    activity_instance_id: str | None = None
    execution_id: str | None = None
    type: str | None = None
    value: Raw = NULL
    value_info: dict[str, Any] | None = None

    def decode_value(self) -> Raw:
        """Return the value as JSON. A value that was serialized as JSON is decoded; any other one stays as it is."""
        form = (self.value_info or {}).get("serializationDataFormat")
        if self.type == "Json" or form == "application/json":
            try:
                text = msgspec.json.decode(self.value, type=str)
                msgspec.json.decode(text, type=Raw)
            except (msgspec.MsgspecError, UnicodeError, RecursionError):
                return self.value
            return Raw(text.encode())
        return self.value


class JobLogRow(_Row, frozen=True, kw_only=True, gc=False):
    """``/history/job-log``: an attempt of a job."""

    job_id: str | None = None
    process_instance_id: str | None = None
    timestamp: str | None = None
    failure_log: bool = False


class ExternalTaskLogRow(_Row, frozen=True, kw_only=True, gc=False):
    """``/history/external-task-log``: an attempt of an external task."""

    external_task_id: str | None = None
    activity_instance_id: str | None = None
    process_instance_id: str | None = None
    timestamp: str | None = None
    failure_log: bool = False


class DefinitionRow(_Row, frozen=True, kw_only=True, gc=False):
    """``/process-definition``: a version of a process model."""

    id: str
    key: str
    version: int = 1


class DefinitionXml(_Row, frozen=True, kw_only=True, gc=False):
    """``/process-definition/{id}/xml``."""

    bpmn20_xml: str = msgspec.field(name="bpmn20Xml")


class CountDocument(_Row, frozen=True, kw_only=True, gc=False):
    """``…/count``."""

    count: int


class StatisticsRow(_Row, frozen=True, kw_only=True, gc=False):
    """``/process-definition/statistics``: how many live instances a version of a process has."""

    id: str
    instances: int


class EngineRow(_Row, frozen=True, kw_only=True, gc=False):
    """``/engine``: an engine of the server."""

    name: str
