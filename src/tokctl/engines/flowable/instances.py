"""Fetches instances of a Flowable server: lists, those that have failed, single ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from msgspec.structs import replace

from tokctl.engines.connect import display_address
from tokctl.engines.flowable.api import HISTORIC_INSTANCES, RUNTIME_INSTANCES, FlowableApi
from tokctl.engines.flowable.documents import FlowableInstance, FlowableRuntimeInstance, to_instance
from tokctl.engines.flowable.models import FlowableModels
from tokctl.engines.flowable.rows import RowReader
from tokctl.errors import NotFoundError
from tokctl.model.instance_status import MAX_LIVE_ELEMENTS, InstanceStatus, status_without_tokens
from tokctl.model.instances import Instance


class FlowableInstances:
    """Fetches instances. Which of them are suspended is kept until ``forget``."""

    def __init__(self, api: FlowableApi, models: FlowableModels, rows: RowReader) -> None:
        self._api = api
        self._models = models
        self._rows = rows
        self._suspended: frozenset[str] | None = None  # running instances that are suspended

    def forget(self) -> None:
        """Forget which instances are suspended."""
        self._suspended = None

    def fetch_list(self, params: Mapping[str, str]) -> list[Instance]:
        """Fetch all instances that the server finds."""
        rows = self._api.get_all(HISTORIC_INSTANCES, FlowableInstance, params)
        unique = {row.id: row for row in rows}  # one may have moved to another page meanwhile
        return self.to_instances(unique.values(), with_variables="includeProcessVariables" in params)

    def fetch_failed(self, instance_ids: Iterable[str]) -> list[Instance]:
        """Fetch instances that have dead letters, each by a request of its own; some may have ended meanwhile."""
        found = self._api.get_instances(instance_ids)
        return self.to_instances(sorted((row for row in found if row.end_time is None), key=_start))

    def to_instances(self, rows: Iterable[FlowableInstance], *, with_variables: bool = False) -> list[Instance]:
        """Return instances; one more request tells which are suspended."""
        rows = list(rows)
        suspended = self._find_suspended() if any(row.end_time is None for row in rows) else frozenset()
        kept = rows if with_variables else [replace(row, variables=None) for row in rows]
        return [
            to_instance(row, self._models.name(row.process_definition_id), suspended=row.id in suspended)
            for row in kept
        ]

    def _find_suspended(self) -> frozenset[str]:
        if self._suspended is None:
            rows = self._api.get_all(RUNTIME_INSTANCES, FlowableRuntimeInstance, {"suspended": "true"})
            self._suspended = frozenset(row.id for row in rows if row.suspended)
        return self._suspended

    def fetch(self, instance_id: str) -> Instance:
        """Fetch one instance with its variables; at the same time its executions, which tell if it is suspended.

        Raises NotFoundError.
        """
        params = {"processInstanceId": instance_id, "includeProcessVariables": "true"}
        with ThreadPoolExecutor(1, thread_name_prefix="tokctl-read") as pool:
            executions = pool.submit(self._rows.fetch_executions, instance_id)
            rows, _ = self._api.get_page(HISTORIC_INSTANCES, FlowableInstance, params, size=2)
            suspended = any(row.suspended for row in executions.result())
        row = next((row for row in rows if row.id == instance_id), None)
        if row is None:
            where = display_address(self._api.client)
            raise NotFoundError(f"no process instance '{instance_id}' on {where}.", "See 'tokctl instances list'.")
        return to_instance(row, self._models.name(row.process_definition_id), suspended=suspended)

    def status(self, instance: Instance) -> InstanceStatus:
        """Return the status of an instance with its incidents; nothing else is known of its tokens."""
        has_ended = instance.completed_at is not None or instance.cancelled_at is not None
        dead_letters = () if has_ended else self._rows.dead_letters().get(instance.instance_id, ())
        status = status_without_tokens(instance)
        if not dead_letters:
            return replace(status, incidents_known=has_ended or not self._api.hides_jobs)
        elements = dict.fromkeys(name for job in dead_letters if (name := job.element_name or job.element_id))
        return replace(
            status,
            failed_tokens=len({(job.execution_id, job.element_id) for job in dead_letters}),
            first_error=next((job.exception_message for job in dead_letters if job.exception_message), None),
            live_elements=tuple(elements)[:MAX_LIVE_ELEMENTS],
        )


def _start(row: FlowableInstance) -> tuple[bool, datetime | int, str]:
    return row.start_time is not None, row.start_time or 0, row.id
