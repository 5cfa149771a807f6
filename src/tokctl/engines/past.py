"""Any engine as of a moment: what ``process.past`` makes of its answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from glob import escape
from itertools import islice
from typing import TYPE_CHECKING, TypeVar, cast

from msgspec import Struct

from tokctl.engines import open_engine
from tokctl.engines.base import Reading
from tokctl.engines.file import FileEngine
from tokctl.errors import NotFoundError
from tokctl.process.engine import Engine, Moved, Unread
from tokctl.process.model import Definition, Instance, Summary, Token, format_time
from tokctl.process.past import Around, Past, existed, past, token_at
from tokctl.process.query import EVERYTHING, InstanceFilter, Order, TokenFilter, sort_instances
from tokctl.process.status import InstanceStatus
from tokctl.process.tree import TreeRow
from tokctl.process.visit import Visit

if TYPE_CHECKING:
    from tokctl.config import Settings
    from tokctl.process.performance import Stays
    from tokctl.process.reader import LeanRecord, Record

T = TypeVar("T", Token, Visit)
Item = TypeVar("Item")
_LASTING = frozenset({"started", "process"})  # orders by what is the same at every moment
_CREATED = Order("created")
REMEMBERED = 20_000
"""Instances of which it is remembered how they stood, so that none of them is read for it again."""


def open_past(settings: Settings, reading: Reading, moment: datetime) -> PastEngine:
    """Open the engine that the settings name, as of a moment."""
    if reading is not Reading.TOKENS:
        reading = Reading.VISITS_WITH_FLOWS  # hops tell when, too
    return PastEngine(open_engine(settings, reading), moment)


class _Then(Struct, frozen=True):
    """An instance as it stood, an engine with it alone, and what was known of its tokens."""

    status: InstanceStatus
    engine: FileEngine
    around: Around

    def stays(self, where: TokenFilter) -> Iterator[Stays]:
        """How long its tokens stood where."""
        ((_, stays),) = self.engine.stays(self.status.instance.instance_id, where)
        return stays


class PastEngine:
    """Implements ``process.engine.Engine`` over another: every answer is that of the moment.

    It answers as a ``FileEngine`` would of the instances and tokens that ``process.past`` returns. What
    had not begun by then does not exist. Which tokens there were shows only when all of an instance are
    read; the last instance that was asked for is kept. An engine that has to decide how much it reads
    has to read flow histories.
    """

    def __init__(self, engine: Engine, moment: datetime) -> None:
        self.engine = engine
        self.moment = moment
        self._definitions: dict[tuple[str, int | None], Definition | None] = {}
        self._visits: dict[str, _Then] = {}
        self._tokens: dict[str, _Then] = {}
        self._stood: dict[InstanceFilter, list[InstanceStatus]] = {}  # what lasts of a filter, and all that fit it

    def close(self) -> None:
        """Close what is below."""
        self.engine.close()

    def refresh(self) -> bool:
        """Read again what is below; the moment stays."""
        self._visits.clear()
        self._tokens.clear()
        self._definitions.clear()
        self._stood.clear()
        return self.engine.refresh()

    def rest(self) -> None:
        """Let what is below rest."""
        self.engine.rest()

    @property
    def unread(self) -> Sequence[Unread]:
        """What could not be read below."""
        return self.engine.unread

    def watch_progress(self, moved: Moved) -> None:
        """Have someone told how far it has come below."""
        self.engine.watch_progress(moved)

    # --- the past of one instance ---

    def _past(self, now: InstanceStatus, tokens: Iterable[T]) -> Past[T] | None:
        if self._later(now):
            return None
        instance = now.instance
        definition = self.definition(instance.process_id, instance.version) if instance.process_id else None
        return past(now, tokens, self.moment, definition=definition)

    def _later(self, now: InstanceStatus) -> bool:
        return now.started_at is not None and now.started_at > self.moment

    def _then(self, instance_id: str, *, whole: bool = False) -> _Then:
        """Return an instance as it stood, with its visits or whole tokens. Raises NotFoundError."""
        kept = self._tokens if whole else self._visits
        if instance_id not in kept:
            now = self.engine.instance(instance_id)
            found: Past[Token] | Past[Visit] | None
            if whole:
                found = self._past(now, self.engine.tokens(instance_id, EVERYTHING, _CREATED))
            else:
                found = self._past(now, self.engine.visits(instance_id, flows=True))
            if found is None:
                raise NotFoundError(
                    f"the process instance '{instance_id}' had not begun at {format_time(self.moment)}."
                )
            kept.clear()
            kept[instance_id] = _alone(found)
        return kept[instance_id]

    def _exists(self, instance_id: str) -> bool:
        now = self.engine.instance(instance_id)
        if now.started_at is not None:
            return now.started_at <= self.moment
        return any(existed(visit, self.moment) for visit in self.engine.visits(instance_id, flows=True))

    # --- instances ---

    def instances(
        self, where: InstanceFilter, order: Order, *, limit: int | None = None, offset: int = 0
    ) -> Iterator[InstanceStatus]:
        """Instances in order."""
        few = limit is not None and order.column in _LASTING
        found = self._one_by_one(where, order) if few else sort_instances(self._matching(where), order)
        return islice(found, offset, None if limit is None else offset + limit)

    def _one_by_one(self, where: InstanceFilter, order: Order) -> Iterator[InstanceStatus]:
        """Yield instances without reading more of them than are taken; one that has gone is left out."""
        for now in self.engine.instances(_lasting(where), order):
            with suppress(NotFoundError):
                then = self._past(now, self._visits_of(now))
                if then is not None and where.matches(then.status):
                    yield then.status

    def _visits_of(self, now: InstanceStatus) -> Iterator[Visit]:
        """The visits of an instance, not asked for before they are read."""
        yield from self.engine.visits(now.instance.instance_id, flows=True)

    def _matching(self, where: InstanceFilter) -> Iterator[InstanceStatus]:
        """Yield the instances that match, as they came to be known."""
        known = self._stood.get(_lasting(where))
        several = (found.status for found in self._all(where)) if known is None else known
        return (status for status in several if where.matches(status))

    def _all(self, where: InstanceFilter) -> Iterator[Past[Visit]]:
        """Yield every instance that may match as it stood; how each did is remembered when all have been read."""
        lasting = _lasting(where)
        several: list[InstanceStatus] = []
        for now, visits in self.engine.all_visits(lasting, flows=True):
            found = self._past(now, visits)
            if found is not None:
                if len(several) < REMEMBERED:
                    several.append(found.status)
                yield found
        if len(several) < REMEMBERED:
            self._stood[lasting] = several

    def count_instances(self, where: InstanceFilter) -> int:
        """How many instances match."""
        return sum(1 for _ in self._matching(where))

    def instance(self, instance_id: str) -> InstanceStatus:
        """One instance."""
        return self._then(instance_id).status

    def instance_ids(self, prefix: str, limit: int) -> list[str]:
        """Ids of instances that begin with a prefix, in order."""
        return _first(lambda count: self.engine.instance_ids(prefix, count), self._exists, limit)

    def latest_instance_id(self) -> str | None:
        """The id of the instance that started last."""
        latest: InstanceStatus | None = None
        for now in self.engine.instances(InstanceFilter(), Order("started", descending=True)):
            if latest is not None and now.started_at != latest.started_at:
                break
            if not self._later(now) and self._exists(now.instance.instance_id):
                latest = now  # of those that started at one moment, the one with the last id
        return latest.instance.instance_id if latest else None

    # --- tokens ---

    def summary(self, instance_id: str) -> Summary:
        """Totals of a whole instance."""
        return self._then(instance_id).engine.summary(instance_id)

    def tokens(
        self, instance_id: str, where: TokenFilter, order: Order, *, limit: int | None = None, offset: int = 0
    ) -> Iterator[Token]:
        """Tokens of an instance in order."""
        engine = self._then(instance_id, whole=True).engine
        return engine.tokens(instance_id, where, order, limit=limit, offset=offset)

    def visits(self, instance_id: str, where: TokenFilter = EVERYTHING, *, flows: bool = False) -> Iterator[Visit]:
        """What the analyses read of an instance's tokens, in order of creation."""
        return self._then(instance_id).engine.visits(instance_id, where, flows=flows)

    def all_visits(
        self, instances: InstanceFilter, where: TokenFilter = EVERYTHING, *, flows: bool = False
    ) -> Iterator[tuple[InstanceStatus, Iterator[Visit]]]:
        """The same of every instance that matches, in the order in which they came to be known."""
        for found in self._all(instances):
            if instances.matches(found.status):
                then = _alone(found)
                yield then.status, then.engine.visits(then.status.instance.instance_id, where, flows=flows)

    def visit_durations(
        self, process_id: str | None, elements: Collection[str] | None, instances: int
    ) -> Iterator[tuple[str, str, float]]:
        """(instance id, element id, ms) of the COMPLETED visits of elements in the last instances of a process."""
        where = InstanceFilter(processes=() if process_id is None else (escape(process_id),))
        same = (now.instance for now, _ in self.engine.all_visits(where))
        ids = (one.instance_id for one in same if one.process_id == process_id)
        last = dict.fromkeys(deque(filter(self._exists, ids), maxlen=instances))
        found: dict[str, list[tuple[str, str, float]]] = {}
        for now, visits in self.engine.all_visits(where, flows=True):  # many at a time, where each costs a request
            instance_id = now.instance.instance_id
            if instance_id in last and (then := self._past(now, visits)) is not None:
                found[instance_id] = list(_alone(then).engine.visit_durations(process_id, elements, 1))
        for instance_id in reversed(last):
            yield from found.get(instance_id, ())

    def stays(
        self, instances: InstanceFilter | str, where: TokenFilter = EVERYTHING
    ) -> Iterator[tuple[Instance, Iterator[Stays]]]:
        """How long tokens stood where, of every instance that matches or of a single one."""
        if isinstance(instances, str):
            yield from self._then(instances).engine.stays(instances, where)
            return
        for found in self._all(instances):
            if instances.matches(found.status):
                yield from _alone(found).engine.stays(found.status.instance.instance_id, where)

    def count_tokens(self, instance_id: str, where: TokenFilter) -> int:
        """How many tokens of an instance match."""
        return self._then(instance_id).engine.count_tokens(instance_id, where)

    def token_ids(self, prefix: str, instance_id: str | None, limit: int) -> list[tuple[str, str]]:
        """(instance id, token id) of tokens whose id begins with a prefix, in order."""
        if instance_id is not None:
            return self._then(instance_id).engine.token_ids(prefix, instance_id, limit)

        def there(ids: tuple[str, str]) -> bool:
            return self._exists(ids[0]) and existed(self.engine.token(*ids), self.moment)

        return _first(lambda count: self.engine.token_ids(prefix, None, count), there, limit)

    def token(self, instance_id: str, token_id: str) -> Token:
        """One token."""
        then = self._then(instance_id)
        then.engine.token(instance_id, token_id)  # is it there?
        return cast(Token, token_at(self.engine.token(instance_id, token_id), self.moment, then.around))

    def children(self, instance_id: str, token_id: str) -> list[str]:
        """Ids of the tokens that name a token as their parent, in order of creation."""
        return self._then(instance_id).engine.children(instance_id, token_id)

    def tree_rows(self, instance_id: str) -> Iterator[TreeRow]:
        """What a tree needs of each token, in order of creation."""
        return self._then(instance_id).engine.tree_rows(instance_id)

    # --- definitions ---

    def definition(self, process_id: str, version: int | None) -> Definition | None:
        """A process model, the newest version unless one is named; nobody says since when it is known."""
        key = process_id, version
        if key not in self._definitions:
            self._definitions[key] = self.engine.definition(process_id, version)
        return self._definitions[key]


def _alone(found: Past[Token] | Past[Visit]) -> _Then:
    records = cast("list[Record | LeanRecord]", [found.status.instance, found.tokens])
    return _Then(found.status, FileEngine(records, name="the past"), found.around)


def _lasting(where: InstanceFilter) -> InstanceFilter:
    """As much of a filter as asks for what is the same at every moment."""
    return InstanceFilter(processes=where.processes, version=where.version, until=where.until)


def _first(ask: Callable[[int], list[Item]], keep: Callable[[Item], bool], limit: int) -> list[Item]:
    """Return the first items of those to keep, asking for as few as will do."""
    count = max(limit, 1)
    while True:
        items = ask(count)
        kept = [item for item in items if keep(item)]
        if len(kept) >= limit or len(items) < count:
            return kept[:limit]
        count *= 4
