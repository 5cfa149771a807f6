"""Camunda 7, Operaton and CIB seven as an engine.

Lists of instances are filtered, sorted and paged by the server (``instances``). What is read of one instance, and of
many by sweeps whose number does not grow with the number of instances, is in ``reader``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from tokctl.engines.camunda7.api import RestApi
from tokctl.engines.camunda7.documents import ActivityRow, JobRow
from tokctl.engines.camunda7.durations import CamundaDurations
from tokctl.engines.camunda7.instances import InstanceFinder
from tokctl.engines.camunda7.models import ModelLoader
from tokctl.engines.camunda7.places import find_instances_at
from tokctl.engines.camunda7.reader import ACTIVITIES, InstanceReader
from tokctl.engines.camunda7.scopes import encode_variables
from tokctl.engines.camunda7.suspects import find_suspects
from tokctl.engines.camunda7.tokens import TokenBuilder, current_time
from tokctl.engines.camunda7.work import InstanceRows
from tokctl.engines.connect import display_address
from tokctl.engines.etag_cache import FetchResult
from tokctl.engines.failed_starts import describe_failed_starts
from tokctl.engines.instance_tokens import InstanceTokens
from tokctl.engines.projection import Projection
from tokctl.engines.remote import ListedInstance, RemoteEngine, instance_of
from tokctl.errors import NotFoundError, UsageError
from tokctl.model.definitions import Definition
from tokctl.model.filters import (
    ALL_TOKENS,
    ORDERS_BY_TOKENS,
    InstanceFilter,
    SortOrder,
    TokenFilter,
    asks_for_live,
    sort_instances,
    sort_tokens,
)
from tokctl.model.instance_status import InstanceStatus, derive_status
from tokctl.model.instances import Instance
from tokctl.model.json_values import decode_value
from tokctl.model.states import FAILED
from tokctl.model.tokens import Token
from tokctl.model.visits import FlowHistoryMode, Visit

if TYPE_CHECKING:
    from tokctl.client import Client

_CREATED = SortOrder("created")
_UUID_LENGTH = 36
_LIST_KEY = ("list",)


class Camunda7Engine(RemoteEngine):
    """Reads an engine of a Camunda 7 server, or of a fork. ``clock`` tells whether locks of workers have expired."""

    kind = "camunda7"

    def __init__(
        self, client: Client, server: str, reading: Projection, *, clock: Callable[[], datetime] = current_time
    ) -> None:
        super().__init__(client, server, reading)
        self._clock = clock
        self._api = RestApi(client, self.kind)
        self._models = ModelLoader(self._api, display_address(client))
        self._reader = InstanceReader(self._api, self._models)
        self._finder = InstanceFinder(self._api, self._models, self._reader)
        self._durations = CamundaDurations(self._api, self._finder)
        self._limitations: list[str] = []

    def refresh(self) -> bool:
        self._reader.forget()
        self._durations.forget()
        return super().refresh()

    # --- instances ---

    def list_candidates(self, where: InstanceFilter, among: Collection[str] | None = None) -> Iterator[ListedInstance]:
        """Yield every instance that matches, of those ``among`` some. Conditions on tokens are not checked."""
        for instance in self._finder.find(where, among):
            self._remember(instance)
            yield instance

    def _remember(self, instance: Instance) -> None:
        self.cache.get_or_fetch(_LIST_KEY, lambda _: FetchResult(True))
        self.remember_instance(instance, _LIST_KEY)

    def fetch_instance(self, instance_id: str, etag: str | None) -> FetchResult[ListedInstance]:  # noqa: ARG002 - there are none
        """Fetch one instance. Raises NotFoundError."""
        try:
            return FetchResult(self._finder.fetch(instance_id))
        except NotFoundError:
            hidden = " The engine also hides it if the credential may not read it."
            raise NotFoundError(
                f"no process instance '{instance_id}' on {display_address(self.client)}.",
                "See 'tokctl instances list'." + (hidden if self.client.connection.credential() else ""),
            ) from None

    def instance(self, instance_id: str) -> InstanceStatus:
        """Return one instance; with its variables if whole tokens are read."""
        status = super().instance(instance_id)
        if self.reading is not Projection.TOKENS:
            return status
        rows = self._read_rows(instance_of(self.found(instance_id)), variables=True).variables or ()
        own = (row for row in rows if row.activity_instance_id == instance_id)
        return replace(status, instance=replace(status.instance, variables=encode_variables(own)))

    def scan_instances(self, where: InstanceFilter) -> Iterator[InstanceStatus]:
        """Yield every instance that matches; tokens are read only if the filter is about them."""
        if where.stuck is not None:
            return (one.status for one in self.sweep(where, live=True))
        return (self._finder.status(instance_of(found)) for found in self.list_candidates(where))

    def instances(
        self, where: InstanceFilter, order: SortOrder, *, limit: int | None = None, offset: int = 0
    ) -> Iterator[InstanceStatus]:
        """Yield instances in order, sorted and paged by the server if it can; else all that match are read."""
        if limit == 0:
            return
        found = self._finder.page(where, order, limit=limit, offset=offset)
        if found is not None:
            listed = list(found)
            self._reader.check_rights(one for one in listed if one.instance_id not in self._reader.all_incidents())
            for instance in listed:
                self._remember(instance)
                yield self._finder.status(instance)
            return
        by_tokens = order.column in ORDERS_BY_TOKENS
        several = (one.status for one in self.sweep(where)) if by_tokens else self.scan_instances(where)
        end = None if limit is None else offset + limit
        yield from sort_instances(several, order)[offset:end]

    def count_instances(self, where: InstanceFilter) -> int:
        """Count the instances that match."""
        counted = self._finder.count(where)
        return super().count_instances(where) if counted is None else counted

    def instance_ids(self, prefix: str, limit: int) -> list[str]:
        """Return ids of instances that begin with a prefix, in order; a whole id returns this one alone."""
        if not prefix:
            found = self._finder.page(InstanceFilter(), SortOrder("started"), limit=limit, offset=0) or ()
            return sorted(one.instance_id for one in found)
        with suppress(NotFoundError):
            return [instance_of(self.found(prefix)).instance_id][:limit]
        whole = len(prefix) >= _UUID_LENGTH or ":" in prefix
        return [] if whole else super().instance_ids(prefix, limit)

    def latest_instance_id(self) -> str | None:
        """Return the id of the instance that started last; of several, the last id."""
        if (latest := self._finder.latest()) is None:
            return None
        self._remember(latest)
        return latest.instance_id

    # --- tokens of an instance ---

    def fetch_tokens(self, found: ListedInstance, etag: str | None) -> FetchResult[Sequence[Token]]:  # noqa: ARG002 - there are none
        """Fetch all tokens of an instance, with the variables that they see."""
        tokens = self._build(self._read_rows(instance_of(found), variables=True))
        return FetchResult(tokens, len(tokens))

    def fetch_visits(
        self,
        found: ListedInstance,
        flows: FlowHistoryMode,
        etag: str | None,  # noqa: ARG002 - there are none
        *,
        live: bool = False,  # noqa: ARG002 - one list has both
    ) -> FetchResult[Sequence[Visit]]:
        """Fetch the tokens of an instance without variables."""
        with_flows = flows is not FlowHistoryMode.NONE
        tokens = self._build(self._read_rows(instance_of(found), variables=False), flows=with_flows)
        return FetchResult([Visit.from_token(token, flows=with_flows) for token in tokens], len(tokens))

    def _read_rows(self, instance: Instance, *, variables: bool) -> InstanceRows:
        key = ("rows", instance.instance_id, variables)
        return self.cache.get_or_fetch(key, lambda _: FetchResult(self._reader.read_one(instance, variables=variables)))

    def _build(self, rows: InstanceRows, *, flows: bool = True) -> list[Token]:
        models = {row.process_definition_id for row in rows.activities} | {rows.instance.process_key}
        graphs = self._models.graphs({one for one in models if one is not None})
        now = self._clock() + self.client.server_clock.offset
        return TokenBuilder(rows, graphs, self._models.known_job_definitions, now, flows=flows).build()

    def detailed_token(self, instance_id: str, token_id: str) -> Token:
        """Return one token, with the stack trace of its last failed attempt."""
        token = self.token(instance_id, token_id)
        key = token.context.job_key
        if not token.live or token.error is None or key is None:
            return token
        external = (token.context.waiting_for or "").startswith("external_task:")
        trace = self.cache.get_or_fetch(
            ("stack trace", key),
            lambda _: FetchResult(
                self._api.get_text("external-task", key, "errorDetails")
                if external
                else self._api.get_text("job", key, "stacktrace")
            ),
        )
        if not trace:
            return token
        context: dict[str, Any] = decode_value(token.execution_context)
        return replace(token, execution_context=Raw(msgspec.json.encode({**context, "stack_trace": trace})))

    def token_ids(self, prefix: str, instance_id: str | None, limit: int) -> list[tuple[str, str]]:
        """Return (instance id, token id) of tokens by a prefix, in order.

        Of all instances, only a prefix with the element and a colon is looked for: the server finds elements.
        """
        element, colon, rest = prefix.partition(":")
        if instance_id is not None or not prefix:
            return super().token_ids(prefix, instance_id, limit)
        if not colon or not element:
            return []
        with suppress(NotFoundError):
            row = self._api.get_document((*ACTIVITIES.split("/"), prefix), ActivityRow)
            return [(row.process_instance_id, row.id)][:limit]
        with suppress(NotFoundError, UsageError):
            job = self._api.get_document(("job", rest), JobRow)
            return [(job.process_instance_id, prefix)][:limit] if job.process_instance_id is not None else []
        if len(rest) >= _UUID_LENGTH:
            return []
        rows = self._api.get_all_rows(ACTIVITIES, ActivityRow, {"activityId": element})
        found = [(row.process_instance_id, row.id) for row in rows if row.id.startswith(prefix)]
        return sorted(found, key=lambda ids: ids[1])[:limit]

    # --- many instances ---

    def sweep(self, where: InstanceFilter, *, flows: bool = False, live: bool = False) -> Iterator[InstanceTokens]:
        """Yield every instance that matches with its visits, read by sweeps."""
        for rows, tokens in self._sweep_tokens(where, flows=flows, unfinished=live):
            visits = [Visit.from_token(token, flows=flows) for token in tokens]
            status = self._to_status(rows, visits)
            if where.matches_with_tokens(status, visits):
                yield InstanceTokens(status.instance, visits, status=status)

    def _sweep_tokens(
        self,
        where: InstanceFilter,
        among: Collection[str] | None = None,
        *,
        flows: bool,
        unfinished: bool = False,
        variables: bool = False,
    ) -> Iterator[tuple[InstanceRows, list[Token]]]:
        instances = [instance_of(found) for found in self.list_candidates(where, among)]
        several = self._reader.read_many(instances, unfinished=unfinished, variables=variables)
        for done, rows in enumerate(several, start=1):
            yield rows, self._build(rows, flows=flows)
            self._report_progress(done, len(instances))

    def _to_status(self, rows: InstanceRows, tokens: Sequence[Token | Visit]) -> InstanceStatus:
        return replace(derive_status(rows.instance, tokens), tokens_known=rows.whole)

    def _tokens_by_instance(self, where: TokenFilter, projection: Projection) -> Iterator[Token]:
        """Yield the tokens of all instances that match, instance by instance."""
        live = asks_for_live(where)
        instances = InstanceFilter(live=live, failed=where.states == (FAILED,), since=where.since, until=where.until)
        unfinished = live and not instances.failed and projection is not Projection.TOKENS
        among = find_instances_at(self._api, self._models, where.elements) if live and not instances.failed else None
        for _, tokens in self._sweep_tokens(
            instances, among, flows=True, unfinished=unfinished, variables=projection is Projection.TOKENS
        ):
            yield from sort_tokens(filter(where.matches, tokens), _CREATED)

    def count_tokens(self, instance_id: str | None, where: TokenFilter) -> int:
        """Count the tokens of an instance (None: of all) that match."""
        if instance_id is not None:
            return super().count_tokens(instance_id, where)
        return sum(1 for _ in self._tokens_by_instance(where, Projection.VISITS))

    # --- debug ---

    def suspect_visits(
        self, instances: InstanceFilter, where: TokenFilter = ALL_TOKENS, *, flows: bool = False
    ) -> Iterator[tuple[InstanceStatus, Iterator[Visit]]]:
        """Yield instances with their live visits; all visits of those with an incident or a waiting join."""
        self._limitations.clear()
        found = [instance_of(one) for one in self.list_candidates(instances)]
        failed_only = where.states == (FAILED,)
        for rows in find_suspects(self._reader, self._models, found, self._limitations, failed_only=failed_only):
            visits = [Visit.from_token(token, flows=flows) for token in self._build(rows, flows=flows)]
            status = self._to_status(rows, visits)
            yield status, InstanceTokens(status.instance, visits).visits(where, flows=flows)

    @property
    def limitations(self) -> Sequence[str]:
        return [*self._limitations, *describe_failed_starts(self._reader.failed_starts)]

    # --- models and durations ---

    def definition(self, process_id: str, version: int | None) -> Definition | None:
        """Return a process model with its XML, the newest version unless one is named; None where it is unknown."""
        return self._models.find(process_id, version)

    def visit_durations(
        self, process_id: str | None, elements: Collection[str] | None, instances: int
    ) -> Iterator[tuple[str, str, float]]:
        """Yield durations of the last instances of a process; see ``durations``."""
        return self._durations.read(process_id, elements, instances)
