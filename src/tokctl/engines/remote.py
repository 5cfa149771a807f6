"""What engines over HTTP have in common: every question answered from a few that any server answers.

A kind of server says which instances there are, what one of them is, and which tokens it has; the rest is
worked out here, of one instance at a time. A kind that can ask its server more overrides the answer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from glob import escape
from itertools import islice
from typing import TYPE_CHECKING, ClassVar, cast

from tokctl.engines.base import GIVE_UP, Reading
from tokctl.engines.file import FileEngine
from tokctl.engines.held import Fetched, Shelf
from tokctl.engines.inorder import in_order
from tokctl.errors import NotFoundError, TokctlError
from tokctl.process.engine import Moved, Unread
from tokctl.process.model import Definition, Instance, Summary, Token
from tokctl.process.query import EVERYTHING, InstanceFilter, Order, TokenFilter, sort_instances
from tokctl.process.status import InstanceStatus, derive
from tokctl.process.tree import TreeRow
from tokctl.process.visit import Flows, Visit

if TYPE_CHECKING:
    from tokctl.client import Client
    from tokctl.process.performance import Stays
    from tokctl.process.reader import LeanRecord, Record

Found = Instance | InstanceStatus
"""An instance as a server tells it: with its totals and derived times, or without."""

SMALL = 5_000
"""Tokens of an instance that are read whole and at once where some of them are needed."""
KNOWN = 20_000
"""Instances of lists that are remembered, so that none of them is asked for again."""

_FLOWS = {
    Reading.TOKENS: Flows.ALL,
    Reading.VISITS: Flows.NONE,
    Reading.VISITS_WITH_JOINS: Flows.OF_JOINS,
    Reading.VISITS_WITH_FLOWS: Flows.ALL,
}


def instance_of(found: Found) -> Instance:
    """Return an instance alone."""
    return found.instance if isinstance(found, InstanceStatus) else found


class RemoteEngine(ABC):
    """Implements ``process.engine.Engine``; a kind of server implements the methods under "what a server says".

    What was fetched stays until ``refresh``: of instances that were asked for by id all they have, of others
    only how they stand. Answers to several requests can be of several moments: tokens are asked for after the
    instance that they are of.
    """

    kind: ClassVar[str]
    """What ``--engine-kind`` calls such a server."""

    def __init__(self, client: Client, server: str, reading: Reading) -> None:
        self.client = client
        self.server = server
        self.reading = reading
        self.unread: list[Unread] = []
        self.shelf = Shelf()
        self.known: dict[str, tuple[Found, tuple[object, ...]]] = {}  # with what it was told by
        self._derived: dict[str, InstanceStatus] = {}  # what their tokens have told of instances
        self._lost: set[str] = set()  # instances that had gone, or could not be read: they are not asked for again
        self.listed_total: int | None = None  # how many instances the list has that is being read
        self._moved: Moved = lambda _done, _total: None

    def close(self) -> None:
        """Let go of the connection."""
        self.client.close()

    def refresh(self) -> bool:
        """Show the present from now on; nobody knows whether it differs."""
        self.forget()
        self.shelf.clear()
        return True

    def forget(self) -> None:
        """Forget what was told of many instances."""
        self.unread.clear()
        self.known.clear()
        self._derived.clear()
        self._lost.clear()

    def rest(self) -> None:  # noqa: B027 - what a kind without pauses does
        """Nothing is held on to that anybody waits for."""

    def watch_progress(self, moved: Moved) -> None:
        """Have someone told how far ``all_visits`` and ``stays`` have come."""
        self._moved = moved

    # --- what a server says ---

    @abstractmethod
    def listed(self, where: InstanceFilter) -> Iterator[Found]:
        """Every instance that may match, in the order in which they came to be known, as far as that can be told."""

    @abstractmethod
    def fetch_instance(self, instance_id: str, etag: str | None) -> Fetched | None:
        """One instance (Found). Raises NotFoundError."""

    @abstractmethod
    def fetch_tokens(self, found: Found, etag: str | None) -> Fetched | None:
        """All tokens of an instance, whole (a list). Raises NotFoundError."""

    @abstractmethod
    def fetch_visits(self, found: Found, flows: Flows, etag: str | None, *, live: bool = False) -> Fetched | None:
        """What the analyses read of them; with ``live`` those that have ended may be left out. From any thread."""

    @abstractmethod
    def definition(self, process_id: str, version: int | None) -> Definition | None:
        """A process model, the newest version unless one is named; None where it is unknown."""

    # --- one instance ---

    def note(self, found: Found, key: tuple[object, ...]) -> None:
        """Remember an instance of a list, so that it is not asked for again."""
        if len(self.known) >= KNOWN:
            self.known.clear()
        self.known[instance_of(found).instance_id] = found, key

    def found(self, instance_id: str) -> Found:
        """Return what a server says of an instance. Raises NotFoundError."""
        known = self.known.get(instance_id)
        if known is not None:
            self.shelf.peek(known[1])
            return known[0]
        found: Found = self.shelf.take(("instance", instance_id), lambda etag: self.fetch_instance(instance_id, etag))
        return found

    def whole(self, instance_id: str) -> FileEngine:
        """Return an engine with all tokens of an instance. Raises NotFoundError."""
        found = self.found(instance_id)

        def fetch(etag: str | None) -> Fetched | None:
            return self._alone(instance_of(found), self.fetch_tokens(found, etag))

        return cast(FileEngine, self.shelf.take(("tokens", instance_id), fetch))

    def lean(self, instance_id: str, flows: Flows, *, live: bool = False) -> FileEngine:
        """Return an engine with the visits of an instance. Raises NotFoundError."""
        found = self.found(instance_id)

        def fetch(etag: str | None) -> Fetched | None:
            return self._alone(instance_of(found), self.fetch_visits(found, flows, etag, live=live))

        return cast(FileEngine, self.shelf.take(("visits", instance_id, flows, live), fetch))

    def _alone(self, instance: Instance, fetched: Fetched | None) -> Fetched | None:
        if fetched is None:
            return None
        records = cast("list[Record | LeanRecord]", [instance, *([fetched.value] if fetched.value else [])])
        return Fetched(FileEngine(records, name=self.server), max(fetched.size, 1), fetched.etag)

    def any(self, instance_id: str, flows: Flows = Flows.NONE) -> FileEngine:
        """Return an engine with at least the visits of an instance: what is there, or what this reading asks for."""
        there: FileEngine | None = self.shelf.peek(("tokens", instance_id))
        several = [kind for kind in (Flows.ALL, Flows.OF_JOINS, Flows.NONE) if flows in {kind, Flows.NONE}]
        for kind in several:
            there = there or self.shelf.peek(("visits", instance_id, kind, False))
        if there is not None:
            return there
        if self.reading is Reading.TOKENS and flows is Flows.NONE and self.small(instance_id):
            return self.whole(instance_id)
        return self.lean(instance_id, flows if flows is not Flows.NONE else _FLOWS[self.reading])

    def small(self, instance_id: str) -> bool:
        """Tell whether an instance has so few tokens that all of them may as well be read whole."""
        found = self.found(instance_id)
        return not isinstance(found, InstanceStatus) or found.total_tokens <= SMALL

    def instance(self, instance_id: str) -> InstanceStatus:
        """One instance."""
        found = self.found(instance_id)
        return found if isinstance(found, InstanceStatus) else self.any(instance_id).instance(instance_id)

    def summary(self, instance_id: str) -> Summary:
        """Totals of a whole instance."""
        return self.any(instance_id).summary(instance_id)

    def tokens(
        self, instance_id: str, where: TokenFilter, order: Order, *, limit: int | None = None, offset: int = 0
    ) -> Iterator[Token]:
        """Tokens of an instance in order."""
        return self.whole(instance_id).tokens(instance_id, where, order, limit=limit, offset=offset)

    def visits(self, instance_id: str, where: TokenFilter = EVERYTHING, *, flows: bool = False) -> Iterator[Visit]:
        """What the analyses read of an instance's tokens, in order of creation."""
        there: FileEngine | None = self.shelf.peek(("tokens", instance_id))
        if there is None and self.reading is Reading.TOKENS and self.small(instance_id):
            there = self.whole(instance_id)
        if there is None:
            there = self.lean(instance_id, self._kept(flows), live=where.live)
        return there.visits(instance_id, where, flows=flows)

    def _kept(self, flows: bool) -> Flows:
        return (_FLOWS[self.reading] if self.reading is not Reading.VISITS else Flows.ALL) if flows else Flows.NONE

    def count_tokens(self, instance_id: str, where: TokenFilter) -> int:
        """How many tokens of an instance match."""
        return self.any(instance_id).count_tokens(instance_id, where)

    def token(self, instance_id: str, token_id: str) -> Token:
        """One token."""
        return self.whole(instance_id).token(instance_id, token_id)

    def children(self, instance_id: str, token_id: str) -> list[str]:
        """Ids of the tokens that name a token as their parent, in order of creation."""
        return self.any(instance_id).children(instance_id, token_id)

    def tree_rows(self, instance_id: str) -> Iterator[TreeRow]:
        """What a tree needs of each token, in order of creation."""
        return self.any(instance_id, Flows.ALL).tree_rows(instance_id)

    # --- many instances ---

    def instances(
        self, where: InstanceFilter, order: Order, *, limit: int | None = None, offset: int = 0
    ) -> Iterator[InstanceStatus]:
        """Instances in order."""
        found = sort_instances(self._statuses(where), order)
        return islice(found, offset, None if limit is None else offset + limit)

    def _statuses(self, where: InstanceFilter) -> Iterator[InstanceStatus]:
        for found, visits in self.each(self.listed(where), where, Flows.NONE, reads=False):
            status = self._status(found, visits)
            if where.matches(status):
                yield status

    def _status(self, found: Found, visits: Sequence[Visit]) -> InstanceStatus:
        """Return how an instance stands; where its visits have to tell that, they are not read for it twice."""
        if isinstance(found, InstanceStatus):
            return found
        status = derive(found, visits)
        if len(self._derived) < KNOWN:
            self._derived[found.instance_id] = status
        return status

    def count_instances(self, where: InstanceFilter) -> int:
        """How many instances match."""
        return sum(1 for _ in self._statuses(where))

    def instance_ids(self, prefix: str, limit: int) -> list[str]:
        """Ids of instances that begin with a prefix, in order."""
        ids = (instance_of(found).instance_id for found in self.listed(InstanceFilter()))
        return sorted(one for one in ids if one.startswith(prefix))[:limit]

    def latest_instance_id(self) -> str | None:
        """The id of the instance that started last."""
        latest = max(
            self._statuses(InstanceFilter()),
            key=lambda s: (s.started_at is not None, s.started_at, s.instance.instance_id),
            default=None,
        )
        return latest.instance.instance_id if latest else None

    def all_visits(
        self, instances: InstanceFilter, where: TokenFilter = EVERYTHING, *, flows: bool = False
    ) -> Iterator[tuple[InstanceStatus, Iterator[Visit]]]:
        """The visits of every instance that matches, in the order in which they came to be known."""
        for status, engine in self._engines(instances, self._kept(flows), live=where.live):
            yield status, engine.visits(status.instance.instance_id, where, flows=flows)

    def stays(
        self, instances: InstanceFilter | str, where: TokenFilter = EVERYTHING
    ) -> Iterator[tuple[Instance, Iterator[Stays]]]:
        """How long tokens stood where, of every instance that matches or of a single one."""
        if isinstance(instances, str):
            yield from self.any(instances).stays(instances, where)
            return
        for status, engine in self._engines(instances, Flows.NONE):
            yield from engine.stays(status.instance.instance_id, where)

    def _engines(
        self, where: InstanceFilter, flows: Flows, *, live: bool = False
    ) -> Iterator[tuple[InstanceStatus, FileEngine]]:
        """Each instance that matches, with an engine that has its visits."""
        for found, visits in self.each(self.listed(where), where, flows, live=live):
            status = self._status(found, visits)
            if where.matches(status):
                engine = self._alone(status.instance, Fetched(visits))
                yield status, cast(Fetched, engine).value

    def each(
        self, items: Iterable[Found], where: InstanceFilter, flows: Flows, *, live: bool = False, reads: bool = True
    ) -> Iterator[tuple[Found, Sequence[Visit]]]:
        """Yield instances that may match, with their visits, which are read several instances at a time.

        Without ``reads`` no visits are needed but to derive how an instance stands. An instance that has gone
        is left out; one that cannot be read is noted in ``unread``. Neither comes again before ``refresh``.

        Raises:
            TokctlError: none could be read, or very many in a row.
        """

        def read(found: Found) -> Sequence[Visit]:
            told = isinstance(found, InstanceStatus)
            if told and not reads:
                return ()
            fetched = self.fetch_visits(found, flows, None, live=live and told)
            return fetched.value if fetched else ()

        failures: list[Unread] = []
        first: TokctlError | None = None
        worked = row = 0
        there = (found for found in items if instance_of(found).instance_id not in self._lost)
        known = (self._derived.get(instance_of(found).instance_id, found) for found in there)
        likely = (found for found in known if _may_match(where, found))
        for done, (found, result) in enumerate(in_order(likely, read, weigh=_weight), start=1):
            try:
                visits = result()
            except NotFoundError:
                self._lost.add(instance_of(found).instance_id)
            except TokctlError as error:
                failures.append(Unread(instance_of(found).instance_id, str(error)))
                row += 1
                if row >= GIVE_UP:
                    error.message = f"{GIVE_UP} instances in a row could not be read, the last: {error.message}"
                    raise
                first = first or error
            else:
                worked, row = worked + 1, 0
                yield found, visits
            self._moved(done, self.listed_total)
        if first is not None and not worked:
            raise first
        self.unread += failures
        self._lost.update(one.instance_id for one in failures)

    def visit_durations(
        self, process_id: str | None, elements: Collection[str] | None, instances: int
    ) -> Iterator[tuple[str, str, float]]:
        """(instance id, element id, ms) of the COMPLETED visits of elements in the last instances of a process."""
        where = InstanceFilter(processes=() if process_id is None else (escape(process_id),))
        same = (found for found in self.listed(where) if instance_of(found).process_id == process_id)
        last = reversed(deque(same, maxlen=instances))
        for found, visits in self.each(last, InstanceFilter(), Flows.NONE):
            engine = cast(Fetched, self._alone(instance_of(found), Fetched(visits))).value
            yield from engine.visit_durations(process_id, elements, 1)

    def token_ids(self, prefix: str, instance_id: str | None, limit: int) -> list[tuple[str, str]]:
        """(instance id, token id) of tokens whose id begins with a prefix, in order."""
        if instance_id is not None:
            return self.any(instance_id).token_ids(prefix, instance_id, limit)
        everything = self.each(self.listed(InstanceFilter()), InstanceFilter(), Flows.NONE)
        found = [
            (visit.token_id, instance_of(one).instance_id)
            for one, visits in everything
            for visit in visits
            if visit.token_id.startswith(prefix)
        ]
        return [(instance, token) for token, instance in sorted(found)[:limit]]


def _weight(found: Found) -> int:
    return found.total_tokens if isinstance(found, InstanceStatus) else 1


def _may_match(where: InstanceFilter, found: Found) -> bool:
    """Tell whether an instance may match, before its tokens are known."""
    if isinstance(found, InstanceStatus):
        return where.matches(found)
    checks: tuple[tuple[object, Callable[[], bool]], ...] = (
        (where.statuses and found.status, lambda: found.status in where.statuses),
        (where.processes, lambda: any(fnmatchcase(found.process_id or "", glob) for glob in where.processes)),
        (where.version, lambda: found.version == where.version),
        (where.since and found.updated_at, lambda: cast(bool, found.updated_at >= where.since)),  # type: ignore[operator]
        (where.until and found.started_at, lambda: cast(bool, found.started_at < where.until)),  # type: ignore[operator]
    )
    return all(not asked or holds() for asked, holds in checks)
