"""Any engine as of a moment: results are those of ``analysis.as_of`` for the data of the engine below."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from tokctl.analysis.as_of import AsOfContext, PointInTime, has_existed, reconstruct_instance, reconstruct_token
from tokctl.bpmn.entries import EnteredBy
from tokctl.engines import open_engine
from tokctl.engines.connect import warn
from tokctl.engines.instance_tokens import InstanceTokens
from tokctl.engines.projection import Projection
from tokctl.engines.protocol import Engine, ProgressCallback, UnreadInstance
from tokctl.errors import NotFoundError, UsageError
from tokctl.model.definitions import Definition
from tokctl.model.filters import ALL_TOKENS, InstanceFilter, SortOrder
from tokctl.model.instance_status import InstanceStatus
from tokctl.model.times import format_time
from tokctl.model.tokens import Token
from tokctl.model.visits import Visit

if TYPE_CHECKING:
    from tokctl.config import Settings

T = TypeVar("T", Token, Visit)
Item = TypeVar("Item")
_TIME_INDEPENDENT_COLUMNS = frozenset({"started", "process"})  # orders by what is the same at every moment
_CREATED = SortOrder("created")
MAX_REMEMBERED_STATUSES = 20_000
"""Maximum number of cached statuses, so that no instance is read again for its status alone."""


def open_as_of(settings: Settings, reading: Projection, moment: datetime) -> AsOfEngine:
    """Open the engine that the settings name, as of a moment."""
    if reading is not Projection.TOKENS:
        reading = Projection.VISITS_WITH_FLOWS  # hops have times, too
    return AsOfEngine(open_engine(settings, reading), moment)


class _InstanceAtMoment(Struct, frozen=True):
    """An instance with its tokens at the moment, and what was known of its tokens."""

    loaded: InstanceTokens
    as_of_context: AsOfContext


class AsOfEngine(Engine):
    """Shows the instances and tokens of another engine as they were at a moment.

    Instances that started later do not exist. To find the tokens of an instance at the moment, all of its tokens are
    read; the last instance is cached. An engine below that reads visits must read flow histories.
    """

    def __init__(self, engine: Engine, moment: datetime) -> None:
        self.engine = engine
        self.server_clock = engine.server_clock
        self.moment = moment
        self._definitions: dict[tuple[str, int | None], Definition | None] = {}
        self._visits: dict[str, _InstanceAtMoment] = {}
        self._tokens: dict[str, _InstanceAtMoment] = {}
        # By the time-independent part of a filter: the statuses of all instances that match it.
        self._statuses_by_filter: dict[InstanceFilter, list[InstanceStatus]] = {}

    def close(self) -> None:
        self.engine.close()

    def refresh(self) -> bool:
        """Read again from the engine below; the moment stays."""
        self._visits.clear()
        self._tokens.clear()
        self._definitions.clear()
        self._statuses_by_filter.clear()
        return self.engine.refresh()

    def release(self) -> None:
        self.engine.release()

    @property
    def unread(self) -> Sequence[UnreadInstance]:
        return self.engine.unread

    def watch_progress(self, on_progress: ProgressCallback) -> None:
        self.engine.watch_progress(on_progress)

    # --- one instance ---

    def instance(self, instance_id: str) -> InstanceStatus:
        return self.load_instance(instance_id, Projection.VISITS).status

    def load_instance(
        self,
        instance_id: str,
        projection: Projection = Projection.TOKENS,
        *,
        live: bool = False,  # noqa: ARG002 - whether one was live shows all
    ) -> InstanceTokens:
        """Return an instance with its visits or whole tokens at the moment. Raises NotFoundError."""
        if projection is Projection.TOKENS:
            return self._load(
                instance_id, self._tokens, lambda: self.engine.tokens(instance_id, ALL_TOKENS, _CREATED)
            ).loaded
        return self._load_visits(instance_id).loaded

    def _load_visits(self, instance_id: str) -> _InstanceAtMoment:
        return self._load(instance_id, self._visits, lambda: self.engine.visits(instance_id, flows=True))

    def _load(
        self, instance_id: str, kept: dict[str, _InstanceAtMoment], read: Callable[[], Iterable[T]]
    ) -> _InstanceAtMoment:
        if instance_id not in kept:
            found = self._at_moment(self.engine.instance(instance_id), read())
            if found is None:
                raise NotFoundError(f"process instance '{instance_id}' had not started at {format_time(self.moment)}.")
            kept.clear()
            kept[instance_id] = _InstanceAtMoment(_to_instance_tokens(found), found.as_of_context)
        return kept[instance_id]

    def _at_moment(self, now: InstanceStatus, tokens: Iterable[T]) -> PointInTime[T] | None:
        if self._started_later(now):
            return None
        instance = now.instance
        definition = self.definition(instance.process_id, instance.version) if instance.process_id else None
        tokens = list(tokens)
        later = (one for one in tokens if one.created_at is not None and one.created_at > self.moment)
        if any(one.context.entered_by == EnteredBy.UNKNOWN for one in later):
            warn("Some tokens are missing: the server does not tell where they were at that time.")
        return reconstruct_instance(now, tokens, self.moment, definition=definition)

    def _started_later(self, now: InstanceStatus) -> bool:
        return now.started_at is not None and now.started_at > self.moment

    def _exists(self, instance_id: str) -> bool:
        now = self.engine.instance(instance_id)
        if now.started_at is not None:
            return now.started_at <= self.moment
        return any(has_existed(visit, self.moment) for visit in self.engine.visits(instance_id, flows=True))

    def token(self, instance_id: str, token_id: str) -> Token:
        """Return one token; the engine below may be able to send it alone."""
        visits = self._load_visits(instance_id)
        visits.loaded.token(token_id)  # raises NotFoundError if it did not exist
        token = reconstruct_token(self.engine.token(instance_id, token_id), self.moment, visits.as_of_context)
        if token is None:
            raise NotFoundError(f"no token '{token_id}' in instance '{instance_id}'.")
        return token

    # --- many instances ---

    def sweep(self, where: InstanceFilter, *, flows: bool = False, live: bool = False) -> Iterator[InstanceTokens]:  # noqa: ARG002 - it takes both to tell the past
        """Yield every instance that matched; the statuses are cached when all have been read."""
        lasting = _time_independent(where)
        statuses: list[InstanceStatus] = []
        for now, visits in self.engine.all_visits(lasting, flows=True):
            found = self._at_moment(now, visits)
            if found is None:
                continue
            if len(statuses) < MAX_REMEMBERED_STATUSES:
                statuses.append(found.status)
            if where.matches_with_tokens(found.status, found.tokens):
                yield _to_instance_tokens(found)
        if len(statuses) < MAX_REMEMBERED_STATUSES:
            self._statuses_by_filter[lasting] = statuses

    def scan_instances(self, where: InstanceFilter) -> Iterator[InstanceStatus]:
        known = self._statuses_by_filter.get(_time_independent(where))
        if known is None or where.stuck is not None:
            return (one.status for one in self.sweep(where))
        return filter(where.matches, known)

    def instances(
        self, where: InstanceFilter, order: SortOrder, *, limit: int | None = None, offset: int = 0
    ) -> Iterator[InstanceStatus]:
        """Yield instances in order. If the order does not depend on time, read only as many as are consumed."""
        if limit is None or order.column not in _TIME_INDEPENDENT_COLUMNS:
            return super().instances(where, order, limit=limit, offset=offset)
        return islice(self._iter_matching(where, order), offset, offset + limit)

    def _iter_matching(self, where: InstanceFilter, order: SortOrder) -> Iterator[InstanceStatus]:
        """Yield instances that matched one by one; one that no longer exists when it is read is omitted."""
        for now in self.engine.instances(_time_independent(where), order):
            with suppress(NotFoundError):
                then = self._at_moment(now, self._read_visits(now))
                if then is not None and where.matches_with_tokens(then.status, then.tokens):
                    yield then.status

    def _read_visits(self, now: InstanceStatus) -> Iterator[Visit]:
        """Yield the visits of an instance; as a generator, it reads nothing until the first is consumed."""
        yield from self.engine.visits(now.instance.instance_id, flows=True)

    def instance_ids(self, prefix: str, limit: int) -> list[str]:
        """Return ids that begin with a prefix; only these instances are read."""
        return _take_first(lambda count: self.engine.instance_ids(prefix, count), self._exists, limit)

    def latest_instance_id(self) -> str | None:
        """Return the id of the instance that started last; only the latest instances are read."""
        latest: InstanceStatus | None = None
        for now in self.engine.instances(InstanceFilter(), SortOrder("started", descending=True)):
            if latest is not None and now.started_at != latest.started_at:
                break
            if not self._started_later(now) and self._exists(now.instance.instance_id):
                latest = now  # of those that started at one moment, the one with the last id
        return latest.instance.instance_id if latest else None

    def token_ids(self, prefix: str, instance_id: str | None, limit: int) -> list[tuple[str, str]]:
        """Return token ids that begin with a prefix; only instances with such tokens are read."""
        if instance_id is not None:
            return super().token_ids(prefix, instance_id, limit)

        def existed_then(ids: tuple[str, str]) -> bool:
            return self._exists(ids[0]) and has_existed(self.engine.token(*ids), self.moment)

        return _take_first(lambda count: self.engine.token_ids(prefix, None, count), existed_then, limit)

    # --- definitions ---

    def definition(self, process_id: str, version: int | None) -> Definition | None:
        """Return the current process model: no source tells when a model was added."""
        key = process_id, version
        if key not in self._definitions:
            self._definitions[key] = self.engine.definition(process_id, version)
        return self._definitions[key]


def _to_instance_tokens(found: PointInTime[Token] | PointInTime[Visit]) -> InstanceTokens:
    return InstanceTokens(found.status.instance, found.tokens, status=found.status)


def _time_independent(where: InstanceFilter) -> InstanceFilter:
    """Return the part of a filter that has the same answer at every moment.

    Raises:
        UsageError: the filter has values of variables; earlier values are not known.
    """
    if where.variables:
        raise UsageError(
            "--var and --at cannot be used together: earlier values of variables are not known.", "Drop --at."
        )
    return InstanceFilter(
        processes=where.processes, version=where.version, until=where.until, business_keys=where.business_keys
    )


def _take_first(fetch: Callable[[int], list[Item]], keep: Callable[[Item], bool], limit: int) -> list[Item]:
    """Return the first items to keep, fetching as few as possible."""
    count = max(limit, 1)
    while True:
        items = fetch(count)
        kept = [item for item in items if keep(item)]
        if len(kept) >= limit or len(items) < count:
            return kept[:limit]
        count *= 4
