"""Common part of the engines over HTTP: instances and tokens are fetched concurrently and cached.

A kind of server lists instances, and fetches one instance and its tokens. A kind whose server supports more overrides
the generic methods of ``engines.protocol``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from tokctl.client.retries import TOO_MANY_REQUESTS
from tokctl.engines.etag_cache import CacheKey, ETagCache, FetchResult
from tokctl.engines.instance_tokens import InstanceTokens
from tokctl.engines.ordered_pool import map_ordered
from tokctl.engines.projection import Projection
from tokctl.engines.protocol import (
    ALL_INSTANCES,
    FLOWS_TO_READ,
    MAX_CONSECUTIVE_FAILURES,
    Engine,
    ProgressCallback,
    UnreadInstance,
    process_filter,
)
from tokctl.errors import NotFoundError, TokctlError, UnreachableError, UsageError
from tokctl.model.filters import InstanceFilter, matches_glob
from tokctl.model.instance_status import InstanceStatus, derive_status, status_without_tokens
from tokctl.model.instances import Instance
from tokctl.model.tokens import NULL, Token
from tokctl.model.visits import FlowHistoryMode, Visit

if TYPE_CHECKING:
    from tokctl.client import Client

ListedInstance = Instance | InstanceStatus
"""An instance as a server sends it: with or without its totals and derived times."""

MAX_SMALL_INSTANCE_TOKENS = 5_000
"""Up to this number of tokens, an instance is read whole if some of its tokens are needed."""
MAX_KNOWN_INSTANCES = 20_000
"""Maximum number of cached instances from lists, so that they are not requested again."""


def instance_of(found: ListedInstance) -> Instance:
    """Return an instance without its tokens."""
    return found.instance if isinstance(found, InstanceStatus) else found


class RemoteEngine(Engine):
    """An engine over HTTP; a kind of server implements the methods under "requests of a kind of server".

    Fetched data is cached until ``refresh``: instances requested by id completely, of others only the status. Responses
    to several requests can be of different moments: tokens are requested after their instance.
    """

    kind: ClassVar[str]
    """The value of ``--engine-kind`` for such a server."""
    lists_without_tokens: ClassVar[bool] = False
    """Whether ``list_candidates`` gives the status of every instance, but nothing about its tokens.

    Tokens are then requested only if a filter is about them.
    """

    def __init__(self, client: Client, server: str, reading: Projection) -> None:
        self.client, self.server_clock = client, client.server_clock
        self.server = server
        self.reading = reading
        self.cache = ETagCache()
        self.known: dict[str, tuple[ListedInstance, CacheKey]] = {}  # with the cache key of its list
        self.listed_total: int | None = None  # total of the list that is being read
        self._unread: list[UnreadInstance] = []
        self._derived_statuses: dict[str, InstanceStatus] = {}  # statuses that had to be derived from tokens
        self._skipped_ids: set[str] = set()  # instances that do not exist or cannot be read: not requested again
        self._report_progress: ProgressCallback = lambda _done, _total: None

    def close(self) -> None:
        self.client.close()

    def refresh(self) -> bool:
        """Show the present from now on; whether it differs is unknown."""
        self.forget_instances()
        self.cache.clear()
        return True

    def forget_instances(self) -> None:
        """Forget the data from lists of instances."""
        self.forget_failures()
        self.known.clear()
        self._derived_statuses.clear()

    def forget_failures(self) -> None:
        """Retry the instances that could not be read."""
        self._unread.clear()
        self._skipped_ids.clear()

    @property
    def unread(self) -> Sequence[UnreadInstance]:
        return self._unread

    def watch_progress(self, on_progress: ProgressCallback) -> None:
        self._report_progress = on_progress

    # --- requests of a kind of server ---

    @abstractmethod
    def list_candidates(self, where: InstanceFilter) -> Iterator[ListedInstance]:
        """Yield every instance that may match, in the order in which they were recorded, if that is known."""

    @abstractmethod
    def fetch_instance(self, instance_id: str, etag: str | None) -> FetchResult[ListedInstance] | None:
        """Fetch one instance. Raises NotFoundError."""

    @abstractmethod
    def fetch_tokens(self, found: ListedInstance, etag: str | None) -> FetchResult[Sequence[Token]] | None:
        """Fetch all tokens of an instance, whole. Raises NotFoundError."""

    def is_at_hand(self, found: ListedInstance) -> bool:  # noqa: ARG002 - as a rule, tokens are requested
        """Tell whether ``fetch_visits`` needs no request for an instance."""
        return False

    @abstractmethod
    def fetch_visits(
        self, found: ListedInstance, flows: FlowHistoryMode, etag: str | None, *, live: bool = False
    ) -> FetchResult[Sequence[Visit]] | None:
        """Fetch the visits of an instance; with ``live`` only live ones are needed. May be called from any thread."""

    # --- one instance ---

    def remember_instance(self, found: ListedInstance, key: CacheKey) -> None:
        """Cache an instance of a list, so that it is not requested again."""
        if len(self.known) >= MAX_KNOWN_INSTANCES:
            self.known.clear()
        self.known[instance_of(found).instance_id] = found, key

    def found(self, instance_id: str) -> ListedInstance:
        """Return an instance as a server sends it. Raises NotFoundError."""
        known = self.known.get(instance_id)
        if known is not None:
            self.cache.get_fresh(known[1])
            return known[0]
        return self.cache.get_or_fetch(("instance", instance_id), lambda etag: self.fetch_instance(instance_id, etag))

    def instance(self, instance_id: str) -> InstanceStatus:
        found = self.found(instance_id)
        return found if isinstance(found, InstanceStatus) else self.load_instance(instance_id, Projection.VISITS).status

    def load_instance(
        self, instance_id: str, projection: Projection = Projection.TOKENS, *, live: bool = False
    ) -> InstanceTokens:
        """Return an instance with at least the needed fields: cached, or fetched with the projection of this engine."""
        cached = self._cached(instance_id, projection)
        if cached is not None:
            return cached
        found = self.found(instance_id)
        if projection is Projection.TOKENS or (self.reading is Projection.TOKENS and self.is_small(instance_id)):
            return self.cache.get_or_fetch(
                ("tokens", instance_id), lambda etag: _to_instance_tokens(found, self.fetch_tokens(found, etag))
            )
        flows = self._flows_to_fetch(projection)
        return self.cache.get_or_fetch(
            ("visits", instance_id, flows, live),
            lambda etag: _to_instance_tokens(found, self.fetch_visits(found, flows, etag, live=live)),
        )

    def _cached(self, instance_id: str, projection: Projection) -> InstanceTokens | None:
        keys: list[CacheKey] = [("tokens", instance_id)]
        if projection is not Projection.TOKENS:
            enough = FLOWS_TO_READ[projection]
            keys += [
                ("visits", instance_id, flows, False)
                for flows in (FlowHistoryMode.ALL, FlowHistoryMode.JOINS, FlowHistoryMode.NONE)
                if enough in {flows, FlowHistoryMode.NONE}
            ]
        return next((one for key in keys if (one := self.cache.get_fresh(key)) is not None), None)

    def _flows_to_fetch(self, projection: Projection) -> FlowHistoryMode:
        """Return the flow histories to fetch: those of the engine's projection, so that later queries can use them."""
        if projection is Projection.VISITS or self.reading is not Projection.VISITS:
            return FLOWS_TO_READ[self.reading]
        return FlowHistoryMode.ALL

    def is_small(self, instance_id: str) -> bool:
        """Tell whether an instance has few enough tokens to read all of them whole."""
        found = self.found(instance_id)
        return not isinstance(found, InstanceStatus) or found.total_tokens <= MAX_SMALL_INSTANCE_TOKENS

    # --- many instances ---

    def all_instance_ids(self) -> Iterator[str]:
        """Yield every instance's id, in order; no status is derived."""
        return iter(sorted(instance_of(found).instance_id for found in self.list_candidates(ALL_INSTANCES)))

    def scan_instances(self, where: InstanceFilter) -> Iterator[InstanceStatus]:
        """Yield every instance that matches; tokens are fetched only if a status must be derived."""
        candidates = self.list_candidates(where)
        stuck = where.stuck is not None
        if self.lists_without_tokens and not (stuck or where.live or where.failed):
            listed = _check_variables(candidates, self.server) if where.variables else candidates
            yield from filter(where.matches, map(status_without_tokens, map(instance_of, listed)))
            return
        for found, visits in self.fetch_each(candidates, where, FlowHistoryMode.NONE, live=stuck, needs_visits=stuck):
            status = self._status(found, visits)
            if where.matches_with_tokens(status, visits):
                yield status

    def sweep(self, where: InstanceFilter, *, flows: bool = False, live: bool = False) -> Iterator[InstanceTokens]:
        """Yield every instance that matches with its visits; several instances are fetched concurrently."""
        wanted = self._flows_to_fetch(Projection.VISITS_WITH_FLOWS) if flows else FlowHistoryMode.NONE
        for found, visits in self.fetch_each(self.list_candidates(where), where, wanted, live=live):
            status = self._status(found, visits)
            if where.matches_with_tokens(status, visits):
                yield InstanceTokens(status.instance, visits, status=status)

    def visit_durations(
        self, process_id: str | None, elements: Collection[str] | None, instances: int
    ) -> Iterator[tuple[str, str, float]]:
        """Yield durations of the last instances of a process; only the tokens of these are fetched."""
        candidates = self.list_candidates(process_filter(process_id))
        same = (found for found in candidates if instance_of(found).process_id == process_id)
        last = reversed(deque(same, maxlen=instances))
        for found, visits in self.fetch_each(last, ALL_INSTANCES, FlowHistoryMode.NONE):
            yield from InstanceTokens(instance_of(found), visits).durations(elements)

    def _status(self, found: ListedInstance, visits: Sequence[Visit]) -> InstanceStatus:
        """Return an instance's status; one that is derived from visits is cached."""
        if isinstance(found, InstanceStatus):
            return found
        status = derive_status(found, visits)
        if len(self._derived_statuses) < MAX_KNOWN_INSTANCES:
            self._derived_statuses[found.instance_id] = status
        return status

    def fetch_each(
        self,
        items: Iterable[ListedInstance],
        where: InstanceFilter,
        flows: FlowHistoryMode,
        *,
        live: bool = False,
        needs_visits: bool = True,
    ) -> Iterator[tuple[ListedInstance, Sequence[Visit]]]:
        """Yield instances that may match with their visits; several instances are fetched concurrently.

        Without ``needs_visits``, visits are fetched only to derive a status. An instance that no longer exists is
        omitted; one that cannot be read is added to ``unread``. Neither is requested again before ``refresh``.

        Raises:
            TokctlError: no instance could be read, or too many consecutive ones failed.
        """

        def read(found: ListedInstance) -> Sequence[Visit]:
            told = isinstance(found, InstanceStatus)
            if told and not needs_visits:
                return ()
            fetched = self.fetch_visits(found, flows, None, live=live and told)
            return fetched.value if fetched else ()

        failures: list[UnreadInstance] = []
        first: TokctlError | None = None
        succeeded = consecutive_failures = 0
        listed = _check_variables(items, self.server) if where.variables else items
        there = (found for found in listed if instance_of(found).instance_id not in self._skipped_ids)
        known = (self._derived_statuses.get(instance_of(found).instance_id, found) for found in there)
        likely = (found for found in known if _may_match(where, found))
        self._report_progress(0, self.listed_total)
        several = map_ordered(likely, read, weight_of=_count_tokens, never_waits=self.is_at_hand)
        for done, (found, result) in enumerate(several, start=1):
            try:
                visits = result()
            except NotFoundError:
                self._skipped_ids.add(instance_of(found).instance_id)
            except TokctlError as error:
                if isinstance(error, UnreachableError) and error.status == TOO_MANY_REQUESTS:
                    raise  # the others would fail, too, and count against the limit
                failures.append(UnreadInstance(instance_of(found).instance_id, str(error)))
                consecutive_failures += 1
                if consecutive_failures >= MAX_CONSECUTIVE_FAILURES:
                    error.message = (
                        f"{MAX_CONSECUTIVE_FAILURES} consecutive instances could not be read. "
                        f"Last error: {error.message}"
                    )
                    raise
                first = first or error
            else:
                succeeded, consecutive_failures = succeeded + 1, 0
                yield found, visits
            self._report_progress(done, self.listed_total)
        if first is not None and not succeeded:
            raise first
        self._unread += failures
        self._skipped_ids.update(one.instance_id for one in failures)


def _check_variables(items: Iterable[ListedInstance], server: str) -> Iterator[ListedInstance]:
    """Yield listed instances. Raises UsageError after the last one if none of them has a member ``variables``."""
    listed = told = False
    for found in items:
        listed, told = True, told or instance_of(found).variables is not NULL  # null, if sent
        yield found
    if listed and not told:
        raise UsageError(
            f"cannot search by variables: the list of instances of {server} does not contain them.",
            "Search in a store instead: fill one with 'tokctl snapshot'.",
        )


def _count_tokens(found: ListedInstance) -> int:
    return found.total_tokens if isinstance(found, InstanceStatus) else 1


def _to_instance_tokens(
    found: ListedInstance, fetched: FetchResult[Sequence[Token]] | FetchResult[Sequence[Visit]] | None
) -> FetchResult[InstanceTokens] | None:
    if fetched is None:
        return None
    status = found if isinstance(found, InstanceStatus) else None
    loaded = InstanceTokens(instance_of(found), fetched.value, status=status)
    return FetchResult(loaded, max(fetched.size, 1), fetched.etag)


def _may_match(where: InstanceFilter, found: ListedInstance) -> bool:
    """Tell whether an instance may match, before its tokens are known; unknown times and statuses may."""
    if isinstance(found, InstanceStatus):
        return where.matches(found)
    status, updated, started = found.status, found.updated_at, found.started_at
    process = found.process_id or ""
    return (
        (not where.statuses or not status or status in where.statuses)
        and (not where.processes or any(matches_glob(process, glob) for glob in where.processes))
        and (not where.version or found.version == where.version)
        and (where.since is None or updated is None or updated >= where.since)
        and (where.until is None or started is None or started < where.until)
        and (not where.business_keys or any(matches_glob(found.business_key or "", key) for key in where.business_keys))
        and all(condition.matches(found.variables) for condition in where.variables)
    )
