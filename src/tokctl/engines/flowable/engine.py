"""Flowable as an engine: instances, tokens and models from its REST API.

Requests: a page of instances takes one; for all pages, one tells which instances are suspended, and one the dead
letters. A running instance takes 8 or 9 as a rule: the instance with its variables, and its executions; then at once
its activities, jobs, timer jobs, dead letters, local variables and model; then those of these lists that it may have
rows in: suspended jobs, external jobs, event subscriptions, user tasks, the history of user tasks. One that has ended
takes 5 or 6. Many instances are read from the lists of the whole server: 10 requests for all that are running, and 3
for the history if many of them have ended. The model of each version is requested once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from tokctl.engines.connect import display_address
from tokctl.engines.etag_cache import FetchResult
from tokctl.engines.flowable.api import HISTORIC_INSTANCES, RUNTIME_INSTANCES, FlowableApi
from tokctl.engines.flowable.documents import (
    FlowableInstance,
    FlowableJob,
    FlowableRows,
    FlowableRuntimeInstance,
    to_instance,
)
from tokctl.engines.flowable.filters import count_params, instance_params
from tokctl.engines.flowable.models import FlowableModels
from tokctl.engines.flowable.rows import RowReader
from tokctl.engines.flowable.tokens import build_tokens
from tokctl.engines.instance_tokens import InstanceTokens
from tokctl.engines.ordered_pool import map_ordered
from tokctl.engines.projection import Projection
from tokctl.engines.protocol import instances_with
from tokctl.engines.remote import ListedInstance, RemoteEngine, instance_of
from tokctl.errors import NotFoundError
from tokctl.model.definitions import Definition
from tokctl.model.filters import InstanceFilter, SortOrder, TokenFilter, sort_tokens
from tokctl.model.instance_status import MAX_LIVE_ELEMENTS, InstanceStatus, status_without_tokens
from tokctl.model.instances import Instance
from tokctl.model.states import FAILED
from tokctl.model.tokens import Token
from tokctl.model.visits import FlowHistoryMode, Visit

if TYPE_CHECKING:
    from tokctl.client import Client

_CREATED = SortOrder("created")


class FlowableEngine(RemoteEngine):
    """Reads a Flowable server."""

    kind = "flowable"
    lists_without_tokens: ClassVar[bool] = True

    def __init__(self, client: Client, server: str, reading: Projection) -> None:
        super().__init__(client, server, reading)
        self.api = FlowableApi(client, self.kind)
        self._models = FlowableModels(self.api, display_address(client))
        self._rows = RowReader(self.api)
        self._suspended: frozenset[str] | None = None  # running instances that are suspended
        self._totals: dict[InstanceFilter, int] = {}  # numbers of instances that match

    def close(self) -> None:
        self.api.close()

    def refresh(self) -> bool:
        self._rows.forget()
        self._suspended = None
        self._totals.clear()
        return super().refresh()

    # --- instances ---

    def list_candidates(self, where: InstanceFilter) -> Iterator[ListedInstance]:
        """Yield the instances that may match by when they started; FAILED tokens are those of dead letters."""
        params = {**instance_params(where), "sort": "startTime", "order": "asc"}
        failed = self._rows.dead_letters() if where.failed else None
        if failed is not None and not failed:
            return
        key = ("list", *sorted(params.items()))
        found = self.cache.get_or_fetch(key, lambda _: self._fetch_list(params))
        kept = InstanceFilter(processes=where.processes, version=where.version, business_keys=where.business_keys)
        wanted = [
            one
            for one in found
            if kept.matches(status_without_tokens(one)) and (failed is None or one.instance_id in failed)
        ]
        self.listed_total = len(wanted)
        for instance in wanted:
            self.remember_instance(instance, key)
            yield instance

    def _fetch_list(self, params: Mapping[str, str]) -> FetchResult[list[Instance]]:
        rows = self.api.get_all(HISTORIC_INSTANCES, FlowableInstance, params)
        unique = {row.id: row for row in rows}  # one may have moved to another page meanwhile
        instances = self._to_instances(unique.values(), with_variables="includeProcessVariables" in params)
        return FetchResult(instances, len(instances))

    def _to_instances(self, rows: Iterable[FlowableInstance], *, with_variables: bool = False) -> list[Instance]:
        rows = list(rows)
        suspended = self._find_suspended() if any(row.end_time is None for row in rows) else frozenset()
        kept = rows if with_variables else [replace(row, variables=None) for row in rows]
        return [
            to_instance(row, self._models.name(row.process_definition_id), suspended=row.id in suspended)
            for row in kept
        ]

    def _find_suspended(self) -> frozenset[str]:
        if self._suspended is None:
            rows = self.api.get_all(RUNTIME_INSTANCES, FlowableRuntimeInstance, {"suspended": "true"})
            self._suspended = frozenset(row.id for row in rows if row.suspended)
        return self._suspended

    def instances(
        self, where: InstanceFilter, order: SortOrder, *, limit: int | None = None, offset: int = 0
    ) -> Iterator[InstanceStatus]:
        """Yield instances in order: a page at a time if the server can filter and sort them."""
        params = count_params(where)
        if limit is None or params is None or order.column != "started":
            return super().instances(where, order, limit=limit, offset=offset)
        if limit == 0:
            return iter(())
        sort = {"sort": "startTime", "order": "desc" if order.descending else "asc"}
        rows, total = self.api.get_page(HISTORIC_INSTANCES, FlowableInstance, params | sort, start=offset, size=limit)
        self._totals[where] = total
        return filter(where.matches, map(self._to_status, self._to_instances(rows)))

    def _to_status(self, instance: Instance) -> InstanceStatus:
        has_ended = instance.completed_at is not None or instance.cancelled_at is not None
        dead_letters = () if has_ended else self._rows.dead_letters().get(instance.instance_id, ())
        return _status_with_incidents(instance, dead_letters)

    def scan_instances(self, where: InstanceFilter) -> Iterator[InstanceStatus]:
        """Yield every instance that matches; when a running one was last updated follows from its tokens."""
        if where.since is None:
            yield from super().scan_instances(where)
            return
        listed = map(instance_of, self.list_candidates(where))
        known = (one if one.updated_at is None else status_without_tokens(one) for one in listed)
        for found, visits in self.fetch_each(known, where, FlowHistoryMode.NONE, needs_visits=where.stuck is not None):
            status = self._status(found, visits)
            if where.matches_with_tokens(status, visits):
                yield status

    def count_instances(self, where: InstanceFilter) -> int:
        params = count_params(where)
        if params is None:
            return super().count_instances(where)
        if where not in self._totals:
            self._totals[where] = self.api.get_page(HISTORIC_INSTANCES, FlowableInstance, params, size=0)[1]
        return self._totals[where]

    def instance_ids(self, prefix: str, limit: int) -> list[str]:
        """Return ids of instances that begin with a prefix, in order; a whole id returns this one alone."""
        if prefix:
            with suppress(NotFoundError):
                return [instance_of(self.found(prefix)).instance_id][:limit]
        else:
            sort = {"sort": "processInstanceId", "order": "asc"}
            rows, _ = self.api.get_page(HISTORIC_INSTANCES, FlowableInstance, sort, size=limit)
            return sorted(row.id for row in rows)[:limit]
        return super().instance_ids(prefix, limit)

    def latest_instance_id(self) -> str | None:
        """Return the id of the instance that started last; of several, the last id."""
        sort = {"sort": "startTime", "order": "desc"}
        rows, _ = self.api.get_page(HISTORIC_INSTANCES, FlowableInstance, sort, size=10)
        return max((row.id for row in rows if row.start_time == rows[0].start_time), default=None)

    def fetch_instance(self, instance_id: str, etag: str | None) -> FetchResult[ListedInstance]:  # noqa: ARG002 - there are none
        """Fetch one instance with its variables; at the same time its executions, which tell if it is suspended."""
        params = {"processInstanceId": instance_id, "includeProcessVariables": "true"}
        with ThreadPoolExecutor(1, thread_name_prefix="tokctl-read") as pool:
            executions = pool.submit(self._rows.fetch_executions, instance_id)
            rows, _ = self.api.get_page(HISTORIC_INSTANCES, FlowableInstance, params, size=2)
            suspended = any(row.suspended for row in executions.result())
        row = next((row for row in rows if row.id == instance_id), None)
        if row is None:
            where = display_address(self.client)
            raise NotFoundError(f"no process instance '{instance_id}' on {where}.", "See 'tokctl instances list'.")
        return FetchResult(to_instance(row, self._models.name(row.process_definition_id), suspended=suspended))

    # --- tokens of an instance ---

    def token_ids(self, prefix: str, instance_id: str | None, limit: int) -> list[tuple[str, str]]:
        """Return (instance id, token id) of tokens by a prefix, in order; of all instances, only by a whole id."""
        if instance_id is not None:
            return super().token_ids(prefix, instance_id, limit)
        _, is_job, job = prefix.rpartition(":")
        owner = self.api.find_owner_of_job(job) if is_job else self.api.find_owner_of_activity(prefix)
        return [] if owner is None else [(owner, prefix)][:limit]

    def fetch_tokens(self, found: ListedInstance, etag: str | None) -> FetchResult[Sequence[Token]]:  # noqa: ARG002 - there are none
        tokens = self._read_tokens(instance_of(found), variables=True)
        return FetchResult(tokens, len(tokens))

    def fetch_visits(
        self,
        found: ListedInstance,
        flows: FlowHistoryMode,
        etag: str | None,  # noqa: ARG002 - there are none
        *,
        live: bool = False,  # noqa: ARG002 - states follow from all activities
    ) -> FetchResult[Sequence[Visit]]:
        tokens = self._read_tokens(instance_of(found), variables=False)
        with_flows = flows is not FlowHistoryMode.NONE
        return FetchResult([Visit.from_token(token, flows=with_flows) for token in tokens], len(tokens))

    def _read_tokens(self, instance: Instance, *, variables: bool) -> list[Token]:
        rows = self._rows.find(instance)
        definition_id = instance.process_key or ""
        if rows is not None:
            return build_tokens(instance, rows, self._models.load(definition_id))
        with ThreadPoolExecutor(1, thread_name_prefix="tokctl-read") as pool:  # the model comes with the first rows
            loading = pool.submit(self._models.load, definition_id)
            rows = self._rows.fetch(instance, loading.result, variables=variables)
            return build_tokens(instance, rows, loading.result())

    def token(self, instance_id: str, token_id: str) -> Token:
        """Return one token; one that FAILED with the stack trace of its job."""
        token = super().token(instance_id, token_id)
        job = token.context.job_key
        trace = self.api.get_stack_trace(job) if token.state == FAILED and job is not None else None
        if trace is None:
            return token
        context = msgspec.json.decode(token.execution_context, type=dict[str, Raw])
        context["stack_trace"] = Raw(msgspec.json.encode(trace))
        return replace(token, execution_context=Raw(msgspec.json.encode(context)))

    # --- many instances ---

    def fetch_each(
        self,
        items: Iterable[ListedInstance],
        where: InstanceFilter,
        flows: FlowHistoryMode,
        *,
        live: bool = False,
        needs_visits: bool = True,
    ) -> Iterator[tuple[ListedInstance, Sequence[Visit]]]:
        """Yield instances with their visits; those of many instances are read from the lists of the whole server."""
        several = list(items)
        self._rows.prepare([one for one in several if isinstance(one, Instance)])
        return super().fetch_each(several, where, flows, live=live, needs_visits=needs_visits)

    def _tokens_by_instance(self, where: TokenFilter, projection: Projection) -> Iterator[Token]:  # noqa: ARG002
        instances = [instance_of(one) for one in self.list_candidates(instances_with(where))]
        self._rows.prepare(instances)
        for _, result in map_ordered(instances, lambda one: self._read_tokens(one, variables=False)):
            with suppress(NotFoundError):
                yield from sort_tokens(filter(where.matches, result()), _CREATED)

    def visit_durations(
        self, process_id: str | None, elements: Collection[str] | None, instances: int
    ) -> Iterator[tuple[str, str, float]]:
        """Yield durations of the last instances of a process: one request for them, one for each of its versions."""
        if process_id is None:
            return
        last = {"processDefinitionKey": process_id, "sort": "startTime", "order": "desc"}
        rows, _ = self.api.get_page(HISTORIC_INSTANCES, FlowableInstance, last, size=instances)
        found: dict[str, FlowableRows] = {}
        for definition_id in dict.fromkeys(row.process_definition_id for row in rows):
            found |= self._rows.fetch_finished(definition_id)
        for row in rows:
            own = found.get(row.id)
            if own is not None:
                model = self._models.load(row.process_definition_id)
                instance = to_instance(row, self._models.name(row.process_definition_id), suspended=False)
                yield from InstanceTokens(instance, build_tokens(instance, own, model)).durations(elements)

    # --- process models ---

    def definition(self, process_id: str, version: int | None) -> Definition | None:
        """Return a process model with its XML, the newest version unless one is named; None where it is unknown."""
        return self._models.find(process_id, version).definition


def _status_with_incidents(instance: Instance, dead_letters: Sequence[FlowableJob]) -> InstanceStatus:
    """Return the status of an instance with its incidents; nothing else is known of its tokens."""
    status = status_without_tokens(instance)
    if not dead_letters:
        return status
    elements = dict.fromkeys(name for job in dead_letters if (name := job.element_name or job.element_id))
    return replace(
        status,
        failed_tokens=len({(job.execution_id, job.element_id) for job in dead_letters}),
        first_error=next((job.exception_message for job in dead_letters if job.exception_message), None),
        live_elements=tuple(elements)[:MAX_LIVE_ELEMENTS],
    )
