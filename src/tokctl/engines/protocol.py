"""The interface of an engine: a few required methods, and optional ones with a generic implementation.

An engine lists instances, returns one instance, and returns its tokens. Every query of the inspection commands has a
generic implementation on top of these, here. An engine whose source can answer a query itself (a store in SQL, a server
by a filter) overrides the method.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from glob import escape
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar

from msgspec import Struct

from tokctl.engines.projection import Projection
from tokctl.errors import NotFoundError
from tokctl.model.definitions import Definition
from tokctl.model.filters import (
    ALL_TOKENS,
    RECORDED_ORDER,
    InstanceFilter,
    SortOrder,
    TokenFilter,
    asks_for_live,
    sort_instances,
    sort_tokens,
)
from tokctl.model.instance_status import InstanceStatus
from tokctl.model.instances import Instance, Summary, summarize
from tokctl.model.states import FAILED
from tokctl.model.tokens import Token
from tokctl.model.visits import FlowHistoryMode, Visit
from tokctl.server_clock import ServerClock

if TYPE_CHECKING:  # importing an engine loads no analysis
    from tokctl.analysis.performance.visits import VisitBatch
    from tokctl.analysis.tree.forest import TreeRow
    from tokctl.engines.instance_tokens import InstanceTokens


Item = TypeVar("Item")

ProgressCallback = Callable[[int, int | None], None]
"""Receives the number of instances read, and the total; None if that is unknown."""


class ChangeSignal(Protocol):
    """Tells of a change: if ``is_set``, or as soon as the file descriptor is readable."""

    @property
    def is_set(self) -> bool:
        """Whether something has changed already."""

    def fileno(self) -> int:
        """Return the file descriptor."""


ALL_INSTANCES = InstanceFilter()
_CREATED = SortOrder("created")
MAX_CONSECUTIVE_FAILURES = 20
"""Number of consecutive unreadable instances after which reading stops: the cause is probably another."""


FLOWS_TO_READ = {
    Projection.TOKENS: FlowHistoryMode.ALL,
    Projection.VISITS: FlowHistoryMode.NONE,
    Projection.VISITS_WITH_JOINS: FlowHistoryMode.JOINS,
    Projection.VISITS_WITH_FLOWS: FlowHistoryMode.ALL,
}
"""The flow histories that each projection needs."""


class UnreadInstance(Struct, frozen=True):
    """An instance that could not be read, and why, in one line."""

    instance_id: str
    message: str


class Engine(ABC):
    """Reads process instances and their tokens.

    Ids are exact; ``engines.ids`` resolves what people type. Every method raises NotFoundError for an unknown instance.
    All results of one engine object are of the same moment, until ``refresh``.
    """

    # --- required -------------------------------------------------------------------------------------

    @abstractmethod
    def scan_instances(self, where: InstanceFilter) -> Iterator[InstanceStatus]:
        """Yield every instance that matches, in the order in which the instances were recorded."""

    @abstractmethod
    def instance(self, instance_id: str) -> InstanceStatus:
        """Return one instance. Raises NotFoundError."""

    @abstractmethod
    def load_instance(
        self, instance_id: str, projection: Projection = Projection.TOKENS, *, live: bool = False
    ) -> InstanceTokens:
        """Return an instance with its tokens in memory. Raises NotFoundError.

        Args:
            instance_id: which instance.
            projection: the fields needed of each token; the engine may return more.
            live: only live tokens are needed; the engine may return all.
        """

    @abstractmethod
    def definition(self, process_id: str, version: int | None) -> Definition | None:
        """Return a process model, the newest version unless one is named; None if it is unknown."""

    @abstractmethod
    def close(self) -> None:
        """Close files and connections."""

    # --- capability: changes and progress -------------------------------------------------------------

    def refresh(self) -> bool:
        """Show the present moment from now on. False: nothing has changed since the last one.

        True if the engine cannot tell. After a transient error of this or any other method, the engine must be closed
        and opened again.
        """
        return True

    def release(self) -> None:  # noqa: B027 - most engines hold nothing that another process waits for
        """Hold no lock or snapshot until the next ``refresh``, which must come before the next query."""

    def listen(self) -> ChangeSignal | None:
        """Return the signal of changes after the last ``refresh``; None if the engine can only be polled.

        It is called after ``release``, and valid until the next ``refresh``. Changes may be missed.
        """
        return None

    @property
    def unread(self) -> Sequence[UnreadInstance]:
        """Unreadable instances that results have omitted since the last ``refresh``."""
        return ()

    def watch_progress(self, on_progress: ProgressCallback) -> None:  # noqa: B027 - local engines are quick
        """Report the progress of ``all_visits`` and ``visit_batches`` to a callback."""

    server_clock: ServerClock | None = None
    """The clock of the server that is read; None for a local engine."""

    # --- capability: filters, orders and pages of instances -------------------------------------------

    def instances(
        self, where: InstanceFilter, order: SortOrder, *, limit: int | None = None, offset: int = 0
    ) -> Iterator[InstanceStatus]:
        """Yield the instances that match, in order."""
        return _page(sort_instances(self.scan_instances(where), order), limit, offset)

    def count_instances(self, where: InstanceFilter) -> int:
        """Count the instances that match."""
        return sum(1 for _ in self.scan_instances(where))

    def all_instance_ids(self) -> Iterator[str]:
        """Yield every instance's id, in order."""
        return iter(sorted(status.instance.instance_id for status in self.scan_instances(ALL_INSTANCES)))

    def instance_ids(self, prefix: str, limit: int) -> list[str]:
        """Return the first ids of instances that begin with a prefix, in order."""
        return list(islice((one for one in self.all_instance_ids() if one.startswith(prefix)), limit))

    def latest_instance_id(self) -> str | None:
        """Return the id of the instance that started last (of several, the last id); None if there is none."""
        latest = max(
            self.scan_instances(ALL_INSTANCES),
            key=lambda status: (status.started_at is not None, status.started_at, status.instance.instance_id),
            default=None,
        )
        return latest.instance.instance_id if latest else None

    # --- capability: filters, orders and pages of tokens ----------------------------------------------

    def tokens(
        self,
        instance_id: str | None,
        where: TokenFilter,
        order: SortOrder,
        *,
        limit: int | None = None,
        offset: int = 0,
        projection: Projection = Projection.TOKENS,
    ) -> Iterator[Token]:
        """Yield the tokens of an instance (None: of all instances) that match, in order.

        In RECORDED_ORDER the tokens of all instances are read as they are taken. With VISITS, variables and flow
        histories may be left NULL; with the other VISITS_… only variables.
        """
        if instance_id is None:
            found = self._tokens_by_instance(where, projection)
            if order.column != RECORDED_ORDER:
                return _page(sort_tokens(found, order), limit, offset)
            return _page(reversed([*found]) if order.descending else found, limit, offset)
        matching = filter(where.matches, self.load_instance(instance_id).tokens)
        return _page(sort_tokens(matching, order), limit, offset)

    def _tokens_by_instance(self, where: TokenFilter, projection: Projection) -> Iterator[Token]:
        for status in self.scan_instances(instances_with(where)):
            with suppress(NotFoundError):  # it has gone since it was listed
                yield from self.tokens(status.instance.instance_id, where, _CREATED, projection=projection)

    def token(self, instance_id: str, token_id: str) -> Token:
        """Return one token. Raises NotFoundError."""
        return self.load_instance(instance_id).token(token_id)

    def detailed_token(self, instance_id: str, token_id: str) -> Token:
        """Return one token, with what takes a request of its own, such as a stack trace. Raises NotFoundError."""
        return self.token(instance_id, token_id)

    def count_tokens(self, instance_id: str | None, where: TokenFilter) -> int:
        """Count the tokens of an instance (None: of all instances) that match."""
        if instance_id is None:
            instances = instances_with(where)
            return sum(sum(map(where.matches, one.tokens)) for one in self.sweep(instances, live=instances.live))
        return sum(map(where.matches, self.load_instance(instance_id, Projection.VISITS).tokens))

    def summary(self, instance_id: str) -> Summary:
        """Return the totals of a whole instance."""
        tokens = self.load_instance(instance_id, Projection.VISITS).tokens
        kinds = Counter(map(attrgetter("state", "element_type"), tokens))
        return summarize((state, kind, count) for (state, kind), count in kinds.items())

    def children(self, instance_id: str, token_id: str) -> list[str]:
        """Return the ids of the tokens that name a token as their parent, in order of creation."""
        tokens = self.load_instance(instance_id, Projection.VISITS).tokens
        found = (token for token in tokens if token.parent_token_id == token_id)
        return [token.token_id for token in sort_tokens(found, _CREATED)]

    def token_ids(self, prefix: str, instance_id: str | None, limit: int) -> list[tuple[str, str]]:
        """Return the first (instance id, token id) of tokens whose id begins with a prefix, in order of token id."""
        several = (
            self.sweep(ALL_INSTANCES) if instance_id is None else (self.load_instance(instance_id, Projection.VISITS),)
        )
        found = sorted(ids for one in several for ids in one.token_ids(prefix))
        return [(instance, token) for token, instance in found[:limit]]

    def tree_rows(self, instance_id: str) -> Iterator[TreeRow]:
        """Yield the fields of each token that a tree needs, in order of creation."""
        from tokctl.analysis.tree.forest import TreeRow

        tokens = self.load_instance(instance_id, Projection.VISITS_WITH_FLOWS).tokens
        return map(TreeRow.from_token, sort_tokens(tokens, _CREATED))

    def visits(self, instance_id: str, where: TokenFilter = ALL_TOKENS, *, flows: bool = False) -> Iterator[Visit]:
        """Yield the visits of tokens, in order of creation; with ``flows`` also flow histories."""
        projection = Projection.VISITS_WITH_FLOWS if flows else Projection.VISITS
        return self.load_instance(instance_id, projection, live=where.live).visits(where, flows=flows)

    # --- capability: debug over many instances --------------------------------------------------------

    compares_durations: ClassVar[bool] = True
    """Whether ``visit_durations`` returns anything."""

    def suspect_visits(
        self, instances: InstanceFilter, where: TokenFilter = ALL_TOKENS, *, flows: bool = False
    ) -> Iterator[tuple[InstanceStatus, Iterator[Visit]]]:
        """Yield instances as ``all_visits`` does, for debug: visits that have no problem may be left out.

        What could not be checked is in ``limitations``.
        """
        return self.all_visits(instances, where, flows=flows)

    @property
    def limitations(self) -> Sequence[str]:
        """What the last ``suspect_visits`` did not check, and known incidents of no instance, as sentences."""
        return ()

    # --- capability: a sweep over many instances ------------------------------------------------------

    def sweep(self, where: InstanceFilter, *, flows: bool = False, live: bool = False) -> Iterator[InstanceTokens]:
        """Yield every instance that matches with its visits, in the order in which the instances were recorded.

        Args:
            where: which instances.
            flows: flow histories are also needed.
            live: only live tokens are needed; the engine may return all.
        """
        projection = Projection.VISITS_WITH_FLOWS if flows else Projection.VISITS
        for status in self.scan_instances(where):
            yield self.load_instance(status.instance.instance_id, projection, live=live)

    def all_visits(
        self, instances: InstanceFilter, where: TokenFilter = ALL_TOKENS, *, flows: bool = False
    ) -> Iterator[tuple[InstanceStatus, Iterator[Visit]]]:
        """Yield every instance that matches with its visits, in the order in which the instances were recorded.

        Each instance's visits have to be read before the next instance is asked for. ``live_elements`` of the
        instances may be left out.
        """
        for one in self.sweep(instances, flows=flows, live=where.live):
            yield one.status, one.visits(where, flows=flows)

    def visit_batches(
        self, instances: InstanceFilter | str, where: TokenFilter = ALL_TOKENS
    ) -> Iterator[tuple[Instance, Iterator[VisitBatch]]]:
        """Yield how long tokens stayed at which elements, of each instance that matches or of a single one, unordered.

        Each instance's batches must be read before the next instance is requested. Instances without a matching token
        may be omitted. The instances have only id, process and version.
        """
        several = (
            (self.load_instance(instances, Projection.VISITS),) if isinstance(instances, str) else self.sweep(instances)
        )
        for one in several:
            yield one.instance, one.visit_batches(where)

    def visit_durations(
        self, process_id: str | None, elements: Collection[str] | None, instances: int
    ) -> Iterator[tuple[str, str, float]]:
        """Yield (instance id, element id, ms) of the COMPLETED visits of elements (None: of all) that have a duration.

        Only those in the last ``instances`` recorded instances of the process, the last one first.
        """
        same = (one for one in self.sweep(process_filter(process_id)) if one.instance.process_id == process_id)
        last = deque((list(one.durations(elements)) for one in same), maxlen=instances)
        for durations in reversed(last):
            yield from durations


def process_filter(process_id: str | None) -> InstanceFilter:
    """Return a filter that matches all instances of a process, and at most others without a process."""
    return InstanceFilter(processes=() if process_id is None else (escape(process_id),))


def instances_with(where: TokenFilter) -> InstanceFilter:
    """Return a filter that lets through all instances that have a token that matches."""
    return InstanceFilter(live=asks_for_live(where), failed=where.states == (FAILED,))


def _page(items: Iterable[Item], limit: int | None, offset: int) -> Iterator[Item]:
    return islice(items, offset, None if limit is None else offset + limit)
