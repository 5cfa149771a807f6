"""A saved answer of the API as an engine: everything in memory, every question asked of all of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby, islice
from operator import attrgetter, gt
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tokctl.engines.base import Reading
from tokctl.errors import InputError, NotFoundError, UsageError
from tokctl.process.engine import AtHand
from tokctl.process.model import COMPLETED, Definition, Instance, Summary, Token, duration_of, summarize
from tokctl.process.query import EVERYTHING, InstanceFilter, Order, TokenFilter, sort_instances, sort_tokens
from tokctl.process.reader import LeanRecord, Record, Reject, read_lean_records, read_records
from tokctl.process.status import InstanceStatus, derive
from tokctl.process.tree import TreeRow
from tokctl.process.visit import Flows, Visit
from tokctl.source import input_name, read_chunks

if TYPE_CHECKING:
    from tokctl.config import Settings
    from tokctl.process.performance import Stays


_FLOWS = {
    Reading.VISITS: Flows.NONE,
    Reading.VISITS_WITH_JOINS: Flows.OF_JOINS,
    Reading.VISITS_WITH_FLOWS: Flows.ALL,
}


def open_engine(settings: Settings, reading: Reading) -> FileEngine:
    """Read the file that the settings name. Raises InputError where it holds anything but tokens."""
    path = settings.file
    if not path:
        raise UsageError("--file names no file.", "Give a path, or - for stdin.")
    stem = "stdin" if path == "-" else Path(path).name.partition(".")[0]
    name, chunks = input_name(path), read_chunks(path)
    if reading is Reading.TOKENS:
        return FileEngine(read_records(chunks, name=name, instance_id=stem), name=name)
    flows = _FLOWS[reading]
    return FileEngine(read_lean_records(chunks, name=name, instance_id=stem, flows=flows), name=name)


class FileEngine(AtHand):
    """Implements ``process.engine.Engine`` over records in memory.

    One that holds visits only (``Reading.VISITS``) answers all but what needs whole tokens. A token
    that comes again replaces the earlier one unless its ``updated_at`` is older. Tokens that name no
    instance belong to one called like the file.
    """

    def __init__(self, records: Iterable[Record | LeanRecord], *, name: str) -> None:
        self.name = name
        self._instances: dict[str, Instance] = {}
        self._tokens: dict[str, list[Any]] = {}  # all of them Token, or all of them Visit
        self._by_id: dict[str, dict[str, Any]] = {}
        self._definitions: dict[tuple[str, int], Definition] = {}
        for record in records:
            if isinstance(record, Token):
                self._add(record.instance_id, [record])
            elif isinstance(record, Sequence):
                if len({visit.instance_id for visit in record}) == 1:
                    self._add(record[0].instance_id, record)
                else:
                    for instance_id, visits in groupby(record, key=attrgetter("instance_id")):
                        self._add(instance_id, list(visits))
            elif isinstance(record, Instance):
                self._instances[record.instance_id] = _merge(self._instances.get(record.instance_id), record)
            elif isinstance(record, Definition):
                self._definitions[record.process_id, record.version] = record
            else:
                raise self._refuse(record)
        for instance_id, tokens in self._tokens.items():
            self._tokens[instance_id] = _newest(tokens)
        self._statuses: dict[str, InstanceStatus] = {}

    def _add(self, instance_id: str, tokens: Sequence[Any]) -> None:
        if instance_id not in self._instances:
            self._instances[instance_id] = Instance(instance_id=instance_id, process_id=tokens[0].process_id)
        self._tokens.setdefault(instance_id, []).extend(tokens)

    def _refuse(self, reject: Reject) -> InputError:
        return InputError(f"{self.name}: {reject}.", "'tokctl store import --rejects FILE' keeps what can be read.")

    def close(self) -> None:
        """Nothing is open."""

    def refresh(self) -> bool:
        """What was read once stays as it is."""
        return False

    def rest(self) -> None:
        """Nothing is held on to."""

    # --- instances ---

    def _matching(self, where: InstanceFilter) -> list[InstanceStatus]:
        return [status for status in map(self.instance, self._instances) if where.matches(status)]

    def instances(
        self, where: InstanceFilter, order: Order, *, limit: int | None = None, offset: int = 0
    ) -> Iterator[InstanceStatus]:
        """Instances in order."""
        return _page(sort_instances(self._matching(where), order), limit, offset)

    def count_instances(self, where: InstanceFilter) -> int:
        """How many instances match."""
        return len(self._matching(where))

    def instance(self, instance_id: str) -> InstanceStatus:
        """One instance."""
        if instance_id not in self._instances:
            raise NotFoundError(f"no process instance '{instance_id}' in {self.name}.")
        if instance_id not in self._statuses:
            self._statuses[instance_id] = derive(self._instances[instance_id], self._all(instance_id))
        return self._statuses[instance_id]

    def instance_ids(self, prefix: str, limit: int) -> list[str]:
        """Ids of instances that begin with a prefix, in order."""
        return sorted(i for i in self._instances if i.startswith(prefix))[:limit]

    def latest_instance_id(self) -> str | None:
        """The id of the instance that started last."""
        everything = map(self.instance, self._instances)
        latest = max(
            everything,
            key=lambda s: (s.started_at is not None, s.started_at, s.instance.instance_id),
            default=None,
        )
        return latest.instance.instance_id if latest else None

    # --- tokens ---

    def _all(self, instance_id: str) -> list[Any]:
        if instance_id not in self._instances:
            raise NotFoundError(f"no process instance '{instance_id}' in {self.name}.")
        return list(self._tokens.get(instance_id, ()))

    def summary(self, instance_id: str) -> Summary:
        """Totals of a whole instance."""
        kinds = Counter(map(attrgetter("state", "element_type"), self._all(instance_id)))
        return summarize((state, kind, count) for (state, kind), count in kinds.items())

    def tokens(
        self, instance_id: str, where: TokenFilter, order: Order, *, limit: int | None = None, offset: int = 0
    ) -> Iterator[Token]:
        """Tokens of an instance in order."""
        matching = (token for token in self._all(instance_id) if where.matches(token))
        return _page(sort_tokens(matching, order), limit, offset)

    def visits(self, instance_id: str, where: TokenFilter = EVERYTHING, *, flows: bool = False) -> Iterator[Visit]:
        """What the analyses read of an instance's tokens, in order of creation."""
        visits = self._all(instance_id)
        if visits and isinstance(visits[0], Token):
            visits = [Visit.of(token, flows=flows) for token in visits]
        if where != EVERYTHING:
            visits = [visit for visit in visits if where.matches(visit)]
        times = [visit.created_at for visit in visits]
        if None in times or any(map(gt, times, islice(times, 1, None))):
            visits.sort(key=lambda v: (v.created_at is not None, v.created_at or 0))
        return iter(visits)

    def all_visits(
        self, instances: InstanceFilter, where: TokenFilter = EVERYTHING, *, flows: bool = False
    ) -> Iterator[tuple[InstanceStatus, Iterator[Visit]]]:
        """The same of every instance that matches, in the order in which they stand in the file."""
        for status in map(self.instance, self._instances):
            if instances.matches(status):
                yield status, self.visits(status.instance.instance_id, where, flows=flows)

    def visit_durations(
        self, process_id: str | None, elements: Collection[str] | None, instances: int
    ) -> Iterator[tuple[str, str, float]]:
        """(instance id, element id, ms) of the COMPLETED visits of elements in the last instances of a process."""
        same = [i for i in reversed(self._instances) if self._instances[i].process_id == process_id]
        for instance_id in same[:instances]:
            for token in self._all(instance_id):
                if token.state == COMPLETED and (elements is None or token.element_id in elements):
                    took = duration_of(token.context.duration_ms, token.created_at, token.finished_at)
                    if took is not None:
                        yield instance_id, token.element_id, took.ms

    def stays(
        self, instances: InstanceFilter | str, where: TokenFilter = EVERYTHING
    ) -> Iterator[tuple[Instance, Iterator[Stays]]]:
        """How long tokens stood where, of every instance that matches or of a single one."""
        if isinstance(instances, str):
            matching = [instances]
        elif instances == InstanceFilter():  # how they stand takes a while to find out
            matching = list(self._instances)
        else:
            matching = [i for i in self._instances if instances.matches(self.instance(i))]
        for instance_id in matching:
            tokens = self._all(instance_id)
            yield self._instances[instance_id], map(partial(_stays, where), _chunks(tokens))

    def count_tokens(self, instance_id: str, where: TokenFilter) -> int:
        """How many tokens of an instance match."""
        return sum(map(where.matches, self._all(instance_id)))

    def token_ids(self, prefix: str, instance_id: str | None, limit: int) -> list[tuple[str, str]]:
        """(instance id, token id) of tokens whose id begins with a prefix, in order."""
        instances = self._instances if instance_id is None else [instance_id]
        found = [(t.token_id, i) for i in instances for t in self._all(i) if t.token_id.startswith(prefix)]
        return [(instance, token) for token, instance in sorted(found)[:limit]]

    def token(self, instance_id: str, token_id: str) -> Token:
        """One token."""
        if instance_id not in self._by_id:
            self._by_id[instance_id] = {token.token_id: token for token in self._all(instance_id)}
        try:
            return cast(Token, self._by_id[instance_id][token_id])
        except KeyError:
            raise NotFoundError(f"no token '{token_id}' in instance '{instance_id}'.") from None

    def children(self, instance_id: str, token_id: str) -> list[str]:
        """Ids of the tokens that name a token as their parent, in order of creation."""
        found = (token for token in self._all(instance_id) if token.parent_token_id == token_id)
        return [token.token_id for token in sort_tokens(found, Order("created"))]

    def tree_rows(self, instance_id: str) -> Iterator[TreeRow]:
        """What a tree needs of each token, in order of creation."""
        return map(TreeRow.from_token, sort_tokens(self._all(instance_id), Order("created")))

    # --- definitions ---

    def definition(self, process_id: str, version: int | None) -> Definition | None:
        """A process model, the newest version unless one is named."""
        versions = [v for p, v in self._definitions if p == process_id and version in {None, v}]
        return self._definitions[process_id, max(versions)] if versions else None


def _chunks(tokens: list[Any]) -> Iterator[list[Any]]:
    from tokctl.process.performance import CHUNK

    return (tokens[start : start + CHUNK] for start in range(0, len(tokens), CHUNK))


def _stays(where: TokenFilter, tokens: list[Any]) -> Stays:
    from tokctl.process.performance import Stays

    def column(name: str, of: list[Any] = tokens) -> list[Any]:
        return list(map(attrgetter(name), of))

    contexts, states = column("context"), column("state")
    return Stays(
        token_id=column("token_id"),
        parent=column("parent_token_id"),
        element_id=column("element_id"),
        element_type=column("element_type"),
        element_name=column("element_name"),
        worker_id=column("worker_id", contexts),
        state=states,
        created=column("created_at"),
        finished=[done if done and state == COMPLETED else token.finished_at
                  for token, state, done in zip(tokens, states, column("completed_at"), strict=True)],
        duration_ms=column("duration_ms", contexts),
        retries_used=column("retries_used", contexts),
        wanted=None if where == EVERYTHING else list(map(where.matches, tokens)),
    )  # fmt: skip


def _newest(tokens: list[Any]) -> list[Any]:
    """Leave of tokens that come more than once the newest of each."""
    if len({token.token_id for token in tokens}) == len(tokens):
        return tokens
    known: dict[str, Any] = {}
    for token in tokens:
        if not _older(token, known.get(token.token_id)):
            known[token.token_id] = token
    return list(known.values())


def _older(new: Token | Visit | Instance, old: Token | Visit | Instance | None) -> bool:
    """Tell whether a record says of itself that it is older than one that is known."""
    return old is not None and None not in {old.updated_at, new.updated_at} and new.updated_at < old.updated_at  # type: ignore[operator]


def _merge(old: Instance | None, new: Instance) -> Instance:
    """What is known of an instance, from two records of it."""
    if old is None:
        return new
    if _older(new, old):
        return old
    import msgspec

    empty = Instance(instance_id="")
    said = {f: v for f in Instance.__struct_fields__ if (v := getattr(new, f)) != getattr(empty, f)}
    return msgspec.structs.replace(old, **said)


def _page(items: list[Any], limit: int | None, offset: int) -> Iterator[Any]:
    return islice(items, offset, None if limit is None else offset + limit)
