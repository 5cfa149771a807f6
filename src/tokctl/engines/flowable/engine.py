"""Flowable as an engine: instances, tokens and models from its REST API.

Requests: a page of instances takes one; for all pages, one tells which instances are suspended, and one the dead
letters. A running instance takes 8 or 9 as a rule: the instance with its variables, and its executions; then at once
its activities, jobs, timer jobs, dead letters, local variables and model; then those of these lists that it may have
rows in: suspended jobs, external jobs, event subscriptions, user tasks, the history of user tasks. One that has ended
takes 5 or 6. Many instances are read from the lists of the whole server: 9 requests for all that are running, one or
more for the executions of those that may need them, and 3 for the history if many of them have ended. FAILED tokens
take the dead letters, and three requests for each instance that has some, unless these are many. The model of each
version is requested once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from tokctl.engines.connect import display_address
from tokctl.engines.etag_cache import CacheKey, FetchResult
from tokctl.engines.failed_starts import describe_failed_starts
from tokctl.engines.flowable.api import HISTORIC_INSTANCES, FlowableApi
from tokctl.engines.flowable.documents import (
    FlowableInstance,
    FlowableRows,
)
from tokctl.engines.flowable.durations import DurationReader
from tokctl.engines.flowable.filters import count_params, instance_params
from tokctl.engines.flowable.instances import FlowableInstances
from tokctl.engines.flowable.models import FlowableModels
from tokctl.engines.flowable.rows import RowReader
from tokctl.engines.flowable.tokens import build_tokens
from tokctl.engines.ordered_pool import map_ordered
from tokctl.engines.projection import Projection
from tokctl.engines.protocol import instances_with
from tokctl.engines.remote import ListedInstance, RemoteEngine, instance_of
from tokctl.errors import NotFoundError
from tokctl.model.definitions import Definition
from tokctl.model.filters import (
    ALL_TOKENS,
    ORDERS_BY_TOKENS,
    InstanceFilter,
    SortOrder,
    TokenFilter,
    sort_instances,
    sort_tokens,
)
from tokctl.model.instance_status import InstanceStatus, status_without_tokens
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
        self._durations = DurationReader(self.api, self._models, self._rows)
        self._finder = FlowableInstances(self.api, self._models, self._rows)
        self._totals: dict[InstanceFilter, int] = {}  # numbers of instances that match

    def close(self) -> None:
        self.api.close()

    def refresh(self) -> bool:
        self._rows.forget()
        self._finder.forget()
        self._totals.clear()
        self._durations.forget()
        return super().refresh()

    # --- instances ---

    def list_candidates(self, where: InstanceFilter) -> Iterator[ListedInstance]:
        """Yield the instances that may match by when they started; FAILED tokens are those of dead letters."""
        params = {**instance_params(where), "sort": "startTime", "order": "asc"}
        failed = self._rows.dead_letters() if where.failed else None
        if failed is not None and not failed:
            return
        if failed is not None and not where.variables and self._rows.few_failed():
            key: CacheKey = ("failed",)
            found = self.cache.get_or_fetch(key, lambda _: _listed(self._finder.fetch_failed(failed)))
        else:
            key = ("list", *sorted(params.items()))
            found = self.cache.get_or_fetch(key, lambda _: _listed(self._finder.fetch_list(params)))
        kept = replace(where, live=False, open=False, failed=False, stuck=None, statuses=(), since=None, variables=())
        wanted = [
            one
            for one in found
            if kept.matches(status_without_tokens(one)) and (failed is None or one.instance_id in failed)
        ]
        self.listed_total = len(wanted)
        for instance in wanted:
            self.remember_instance(instance, key)
            yield instance

    def instances(
        self, where: InstanceFilter, order: SortOrder, *, limit: int | None = None, offset: int = 0
    ) -> Iterator[InstanceStatus]:
        """Yield instances in order: a page at a time if the server can filter and sort them."""
        params = count_params(where)
        if order.column in ORDERS_BY_TOKENS:
            end = None if limit is None else offset + limit
            return iter(sort_instances((one.status for one in self.sweep(where)), order)[offset:end])
        if limit is None or params is None or order.column != "started":
            return super().instances(where, order, limit=limit, offset=offset)
        if limit == 0:
            return iter(())
        sort = {"sort": "startTime", "order": "desc" if order.descending else "asc"}
        rows, total = self.api.get_page(HISTORIC_INSTANCES, FlowableInstance, params | sort, start=offset, size=limit)
        self._totals[where] = total
        rest = replace(where, live=False)  # a running instance has a live token
        return filter(rest.matches, map(self._finder.status, self._finder.to_instances(rows)))

    def scan_instances(self, where: InstanceFilter) -> Iterator[InstanceStatus]:
        """Yield every instance that matches; when a running one was last updated follows from its tokens."""
        if where.failed and not (where.since or where.stuck or where.variables):
            rest = replace(where, live=False)  # a FAILED token is live
            yield from filter(rest.matches, map(self._finder.status, map(instance_of, self.list_candidates(where))))
            return
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
        """Fetch one instance with its variables. Raises NotFoundError."""
        return FetchResult(self._finder.fetch(instance_id))

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

    def is_at_hand(self, found: ListedInstance) -> bool:
        """Tell whether the rows of an instance are in the lists of the whole server."""
        return self._rows.find(instance_of(found)) is not None

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
        self._rows.prepare([one for one in several if isinstance(one, Instance)], self._models.load)
        return super().fetch_each(several, where, flows, live=live, needs_visits=needs_visits)

    def _tokens_by_instance(self, where: TokenFilter, projection: Projection) -> Iterator[Token]:  # noqa: ARG002
        instances = [instance_of(one) for one in self.list_candidates(instances_with(where))]
        if where.states == (FAILED,):
            failed = self._rows.fetch_failed() if instances else {}
            for one in instances:
                rows = failed.get(one.instance_id, FlowableRows())
                tokens = build_tokens(one, rows, self._models.load(one.process_key or ""))
                yield from sort_tokens(filter(where.matches, tokens), _CREATED)
            return
        self._rows.prepare(instances, self._models.load)
        for _, result in map_ordered(instances, lambda one: self._read_tokens(one, variables=False)):
            with suppress(NotFoundError):
                yield from sort_tokens(filter(where.matches, result()), _CREATED)

    def count_tokens(self, instance_id: str | None, where: TokenFilter) -> int:
        """Count the tokens of an instance (None: of all) that match."""
        if instance_id is not None:
            return super().count_tokens(instance_id, where)
        return sum(1 for _ in self._tokens_by_instance(where, Projection.VISITS))

    def visit_durations(
        self, process_id: str | None, elements: Collection[str] | None, instances: int
    ) -> Iterator[tuple[str, str, float]]:
        """Yield durations of the last instances of a process; see ``durations``."""
        return self._durations.read(process_id, elements, instances)

    # --- debug ---

    def suspect_visits(
        self, instances: InstanceFilter, where: TokenFilter = ALL_TOKENS, *, flows: bool = False
    ) -> Iterator[tuple[InstanceStatus, Iterator[Visit]]]:
        yield from self.all_visits(instances, where, flows=flows)
        if self.api.failed_starts is None:
            self._rows.dead_letters()

    @property
    def limitations(self) -> Sequence[str]:
        return describe_failed_starts(self.api.failed_starts or ())

    # --- process models ---

    def definition(self, process_id: str, version: int | None) -> Definition | None:
        """Return a process model with its XML, the newest version unless one is named; None where it is unknown."""
        return self._models.find(process_id, version).definition


def _listed(instances: list[Instance]) -> FetchResult[list[Instance]]:
    return FetchResult(instances, len(instances))
