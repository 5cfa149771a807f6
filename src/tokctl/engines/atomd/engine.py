"""atomd as an engine: its tokens, split into ``visits`` with the help of its jobs, timers and models.

atomd accepts 100 requests a minute for each key, so requests are few: an instance with its jobs and timers is one, the
jobs of all instances are one, and a definition is fetched once and cached on disk.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from threading import RLock
from typing import TYPE_CHECKING, ClassVar

from msgspec import Raw
from msgspec.structs import replace

from tokctl.engines.atomd.api import AtomdApi
from tokctl.engines.atomd.definitions import DefinitionLoader
from tokctl.engines.atomd.documents import (
    InstanceInfo,
    read_info,
    read_instance,
    read_token,
)
from tokctl.engines.atomd.visits import assign_jobs, split_into_visits, visits_of_jobs
from tokctl.engines.atomd.work import FAILED_JOBS, MAX_UNEXPLAINED_INSTANCES, WorkLists
from tokctl.engines.connect import display_address, wrong_kind_error
from tokctl.engines.etag_cache import FetchResult
from tokctl.engines.instance_tokens import InstanceTokens
from tokctl.engines.projection import Projection
from tokctl.engines.protocol import ALL_INSTANCES, instances_with
from tokctl.engines.query_params import Params
from tokctl.engines.remote import ListedInstance, RemoteEngine, instance_of
from tokctl.errors import NotAllowedError, NotFoundError, UsageError
from tokctl.model.definitions import Definition
from tokctl.model.filters import ALL_TOKENS, InstanceFilter, TokenFilter
from tokctl.model.instance_status import InstanceStatus, derive_status, status_without_tokens
from tokctl.model.instances import Instance
from tokctl.model.states import ACTIVE, FAILED, SUSPENDED, is_final
from tokctl.model.tokens import Token
from tokctl.model.visits import FlowHistoryMode, Visit
from tokctl.text import count

if TYPE_CHECKING:
    from tokctl.client import Client

OPEN_STATUSES = (ACTIVE, SUSPENDED, FAILED)
ID_LENGTH = 23
"""Characters of an id of atomd; fewer are the beginning of one."""
_LIMITATION = (
    "atomd accepts 100 requests a minute, so only tokens that wait for jobs were checked. Use 'tokctl debug INSTANCE' "
    "to check all tokens of an instance."
)
MAX_CALLS_FOLLOWED = 5
"""Maximum number of tokens at call activities whose called instance is requested with an instance."""


class AtomdEngine(RemoteEngine):
    """Reads an atomd server. Jobs and timers are fetched once until the next ``refresh``, definitions once."""

    kind = "atomd"
    lists_without_tokens: ClassVar[bool] = True
    compares_durations: ClassVar[bool] = False

    def __init__(self, client: Client, server: str, reading: Projection) -> None:
        super().__init__(client, server, reading)
        self._lock = RLock()
        self.api = AtomdApi(client)
        self._definitions = DefinitionLoader(self.api, display_address(client))
        self._infos: dict[str, InstanceInfo] = {}
        self._work = WorkLists(self.api)
        self._limitations: list[str] = []

    def refresh(self) -> bool:
        self._infos.clear()
        self._work = WorkLists(self.api)
        self._limitations.clear()
        return super().refresh()

    @property
    def limitations(self) -> Sequence[str]:
        return self._limitations

    # --- instances ---

    def list_candidates(self, where: InstanceFilter) -> Iterator[ListedInstance]:
        """Yield every instance by when it started; only open ones if the filter needs live tokens."""
        statuses: tuple[str, ...] = ()
        if where.open or where.live or where.failed or where.stuck:
            statuses = OPEN_STATUSES
        key = ("list", *statuses)
        found = self.cache.get_or_fetch(key, lambda _: self._fetch_list(statuses))
        for instance in found:
            self.remember_instance(instance, key)
        return iter(self._work.select_failed(found) if where.failed else found)

    def _fetch_list(self, statuses: Sequence[str]) -> FetchResult[list[Instance]]:
        known: dict[str, Instance] = {}
        for status in statuses or (None,):
            for instance in self._iter_instances(status):
                known[instance.instance_id] = instance
            if statuses and any(one.status not in {None, *statuses} for one in known.values()):
                break  # it ignores the filter, so it has sent all
        wanted = [one for one in known.values() if not statuses or one.status is None or not is_final(one.status)]
        self.listed_total = len(wanted)
        wanted.sort(key=lambda one: (one.started_at is not None, one.started_at or 0))
        return FetchResult(wanted, len(wanted))

    def _iter_instances(self, status: str | None, **params: str) -> Iterator[Instance]:
        given: Params = {**params, **({} if status is None else {"status": status})}
        try:
            yield from self.api.iter_typed(("processes", "typed"), "instances", read_instance, params=given)
        except (NotFoundError, UsageError) as error:
            raise wrong_kind_error(self.client, "atomd", error.message) from None

    def fetch_instance(self, instance_id: str, etag: str | None) -> FetchResult[ListedInstance]:  # noqa: ARG002 - there are none
        """Fetch one instance, with its jobs and timers. An id of another form than atomd's is not found."""
        return FetchResult(self._info(instance_id).instance)

    def _info(self, instance_id: str) -> InstanceInfo:
        if instance_id not in self._infos:
            try:
                info = self.api.read_document(read_info, "processes", instance_id, "info")
            except (NotFoundError, UsageError):
                where = display_address(self.client)
                hint = "See 'tokctl instances list'."
                raise NotFoundError(f"no process instance '{instance_id}' on {where}.", hint) from None
            self._infos[instance_id] = info
        return self._infos[instance_id]

    def load_instance(
        self, instance_id: str, projection: Projection = Projection.TOKENS, *, live: bool = False
    ) -> InstanceTokens:
        if self._cached(instance_id, projection) is None:
            self._info(instance_id)  # for the errors of jobs, and timers; a list has neither
        return super().load_instance(instance_id, projection, live=live)

    def instance_ids(self, prefix: str, limit: int) -> list[str]:
        """Return ids of instances that begin with a prefix, in order; a whole id returns this one alone."""
        if len(prefix) >= ID_LENGTH:
            try:
                return [instance_of(self.found(prefix)).instance_id][:limit]
            except NotFoundError:
                return []
        if not prefix and self.cache.get_fresh(("list",)) is None:  # is there only one?
            ids = self.cache.get_or_fetch(
                ("ids", limit), lambda _: FetchResult([*self._iter_instances(None, limit=str(limit))])
            )
            return sorted(one.instance_id for one in ids)[:limit]
        return super().instance_ids(prefix, limit)

    def count_instances(self, where: InstanceFilter) -> int:
        if where != ALL_INSTANCES or self.cache.get_fresh(("list",)) is not None:
            return super().count_instances(where)
        totals: list[int] = []
        listed = self.api.iter_typed(
            ("processes", "typed"), "instances", read_instance, params={"limit": "1"}, on_total=totals.append
        )
        next(listed, None)
        return totals[0] if totals else super().count_instances(where)

    # --- tokens ---

    def token_ids(self, prefix: str, instance_id: str | None, limit: int) -> list[tuple[str, str]]:
        """Return (instance id, token id) of the tokens of an instance by a prefix, or of a whole id alone.

        The beginning of an id without its instance is not found: it would take a request for each instance.
        """
        if instance_id is None:
            with suppress(NotFoundError, UsageError, KeyError):
                if len(prefix) >= ID_LENGTH:
                    return [(self._token_document(prefix.partition("@")[0])["process_instance_id"], prefix)][:limit]
            return []
        return super().token_ids(prefix, instance_id, limit)

    def _token_document(self, token_id: str) -> dict[str, str]:
        """Fetch the texts of a single token, once."""

        def read(fields: Mapping[str, Raw]) -> dict[str, str]:
            names = ("process_instance_id", "waiting_for")
            return {name: bytes(fields[name]).decode().strip('"') for name in names if name in fields}

        key = ("token", token_id)
        return self.cache.get_or_fetch(key, lambda _: FetchResult(self.api.read_document(read, "tokens", token_id)))

    def fetch_tokens(self, found: ListedInstance, etag: str | None) -> FetchResult[Sequence[Token]]:  # noqa: ARG002 - there are none
        """Fetch all tokens of an instance, as visits, with the errors of jobs."""
        return self._fetch_tokens(found, with_errors=True)

    def _fetch_tokens(self, found: ListedInstance, *, with_errors: bool) -> FetchResult[Sequence[Token]]:
        """Fetch all tokens of an instance, as visits. An empty list may mean that it is unknown: that is checked."""
        instance = instance_of(found)
        path = ("processes", instance.instance_id, "tokens", "typed")
        tokens = list(self.api.iter_typed(path, "tokens", partial(read_token, instance=instance)))
        info = self._infos.get(instance.instance_id)
        if not tokens:
            self._info(instance.instance_id)
            return FetchResult((), 1)
        model = self._definitions.load(instance, info.definition_key if info else None)
        if info is None and with_errors:
            jobs_of_all = self._work.jobs_of(instance.instance_id, None)  # these have no errors
            info = self._info(instance.instance_id) if any(one.state in FAILED_JOBS for one in jobs_of_all) else None
        jobs = assign_jobs(info.jobs, tokens, model) if info else None
        visits = split_into_visits(
            tokens,
            self._work.jobs_of(instance.instance_id, info) if jobs is None else jobs,
            model,
            timers=info.timers if info else (),
            waiting_for=self._find_calls(tokens, model.graph.call_activities) if info else {},
        )
        return FetchResult(visits, len(visits))

    def _tokens_by_instance(self, where: TokenFilter, projection: Projection) -> Iterator[Token]:  # noqa: ARG002
        """Yield the tokens of all instances that match, with one request for each instance, two if a job failed."""
        for found in self.list_candidates(instances_with(where)):
            with suppress(NotFoundError):
                yield from filter(where.matches, self.fetch_tokens(found, None).value)

    def _find_calls(self, tokens: Sequence[Token], call_activities: Collection[str]) -> dict[str, str]:
        """Return what the tokens at call activities wait for: only a single token has that."""
        calling = [one for one in tokens if one.element_id in call_activities and one.live and one.can_move]
        found: dict[str, str] = {}
        for token in calling[:MAX_CALLS_FOLLOWED]:
            with suppress(NotFoundError, NotAllowedError):
                found[token.token_id] = self._token_document(token.token_id).get("waiting_for", "")
        return found

    def fetch_visits(
        self,
        found: ListedInstance,
        flows: FlowHistoryMode,
        etag: str | None,  # noqa: ARG002
        *,
        live: bool = False,  # noqa: ARG002
    ) -> FetchResult[Sequence[Visit]]:
        """Fetch the tokens; keep what the analyses read of them."""
        fetched = self._fetch_tokens(found, with_errors=False)
        with_flows = flows is not FlowHistoryMode.NONE
        return FetchResult([Visit.from_token(token, flows=with_flows) for token in fetched.value], fetched.size)

    def visit_durations(
        self,
        process_id: str | None,  # noqa: ARG002
        elements: Collection[str] | None,  # noqa: ARG002
        instances: int,  # noqa: ARG002
    ) -> Iterator[tuple[str, str, float]]:
        """Yield nothing: it would take a request for each instance."""
        return iter(())

    # --- debug ---

    def scan_instances(self, where: InstanceFilter) -> Iterator[InstanceStatus]:
        if where.stuck is not None:
            for status, visits in self.suspect_visits(replace(where, open=True)):
                if where.matches_with_tokens(status, visits):
                    yield status
        elif where.failed:
            for found in self.list_candidates(where):
                with suppress(NotFoundError):
                    status = derive_status(instance_of(found), self.fetch_tokens(found, None).value)
                    if where.matches(status):
                        yield status
        else:
            yield from super().scan_instances(where)

    def suspect_visits(
        self, instances: InstanceFilter, where: TokenFilter = ALL_TOKENS, *, flows: bool = False
    ) -> Iterator[tuple[InstanceStatus, Iterator[Visit]]]:
        """Yield the instances with the tokens that wait for jobs; the tokens of a few others are requested."""
        if not instances.open:
            yield from self.all_visits(instances, where, flows=flows)
            return
        jobs, timed = self._work.all_jobs(), self._work.waiting_for_timers()
        silent: list[ListedInstance] = []
        for found in self.list_candidates(instances):
            instance = instance_of(found)
            waiting = [job for job in jobs.get(instance.instance_id, ()) if job.is_open]
            if not waiting and instance.instance_id not in timed:
                silent.append(found)
                continue
            if any(job.state in FAILED_JOBS for job in waiting):
                with suppress(NotFoundError):
                    waiting = list(self._work.jobs_of(instance.instance_id, self._info(instance.instance_id)))
            tokens = visits_of_jobs(waiting, self._definitions.load(instance), instance.process_id)
            loaded = InstanceTokens(instance, [Visit.from_token(token) for token in tokens])
            yield loaded.status, loaded.visits(where)
        for found, visits in self.fetch_each(silent[:MAX_UNEXPLAINED_INSTANCES], instances, FlowHistoryMode.ALL):
            loaded = InstanceTokens(instance_of(found), visits, status=derive_status(instance_of(found), visits))
            yield loaded.status, loaded.visits(where, flows=flows)
        for found in silent[MAX_UNEXPLAINED_INSTANCES:]:
            yield status_without_tokens(instance_of(found)), iter(())
        self._explain_limits(silent[MAX_UNEXPLAINED_INSTANCES:])

    def _explain_limits(self, skipped: Sequence[ListedInstance]) -> None:
        self._limitations[:] = [_LIMITATION]
        if skipped:
            which = count(len(skipped), "open instance has", "open instances have")
            self._limitations.append(f"{which} neither a job nor a timer; what they wait for was not checked.")

    # --- process models ---

    def definition(self, process_id: str, version: int | None) -> Definition | None:
        """Return a process model with its XML, the newest version unless one is named; None where it is unknown."""
        return self._definitions.find(process_id, version).definition
