"""Copies instances from an engine into a store: each whole, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import asdict, replace

from tokctl.analysis.redaction import ORIGIN_FIELD, Redactor
from tokctl.bpmn.element_details import read_element_details
from tokctl.bpmn.flow_reconstruction import end_visit, merge_observation
from tokctl.bpmn.graph import ProcessGraph
from tokctl.engines.protocol import Engine
from tokctl.errors import NotFoundError
from tokctl.model.definitions import Definition
from tokctl.model.filters import ALL_TOKENS, SortOrder
from tokctl.model.instance_status import InstanceStatus, derive_status
from tokctl.model.instances import Instance
from tokctl.model.times import format_time
from tokctl.model.tokens import NULL, Certainty, Token
from tokctl.store.protocol import Batch, Store

if TYPE_CHECKING:
    from tokctl.engines.remote import RemoteEngine

MAX_SEQUENTIAL_READS = 8
"""Up to this number of instances of a server are read one by one with ETags, so that unchanged ones are not sent."""
MAX_READ_ATTEMPTS = 3
"""Maximum number of reads of an instance that changes between the response for it and the one for its tokens."""

_CREATED = SortOrder("created")


class Observation(Struct, frozen=True):
    """An instance as an engine showed it: its status, its tokens in order of creation, and the time."""

    status: InstanceStatus
    tokens: Iterable[Token]
    at: datetime


class SnapshotSource(NamedTuple):
    """The source of a snapshot; the kind is ``store``, ``file``, or that of a server (``remote``)."""

    name: str
    kind: str
    remote: bool


def describe_source(engine: Engine) -> SnapshotSource:
    """Describe an engine as the source of a snapshot."""
    from tokctl.engines.file import FileEngine
    from tokctl.engines.remote import RemoteEngine

    if isinstance(engine, RemoteEngine):
        return SnapshotSource(engine.server, engine.kind, remote=True)
    if isinstance(engine, FileEngine):
        return SnapshotSource(engine.name, "file", remote=False)
    return SnapshotSource("store", "store", remote=False)


# --- reading --------------------------------------------------------------------------------------------


def read_observations(
    engine: Engine, ids: list[str], clock: Callable[[], datetime], *, remote: bool
) -> Iterator[tuple[str, Callable[[], Observation]]]:
    """Yield each id with a function that returns the instance, or raises the error of reading it.

    Instances of ``remote`` engines are read concurrently. The result of another engine must be used before the next
    one.
    """
    if remote:
        from tokctl.engines.remote import RemoteEngine

        if len(ids) > MAX_SEQUENTIAL_READS and isinstance(engine, RemoteEngine):
            from tokctl.engines.ordered_pool import map_ordered

            yield from map_ordered(ids, partial(_read_concurrently, engine, clock))
            return
    for instance_id in ids:
        yield instance_id, partial(_read_remote if remote else _read, engine, clock, instance_id)


def _read(engine: Engine, clock: Callable[[], datetime], instance_id: str) -> Observation:
    status = engine.instance(instance_id)
    return Observation(status, engine.tokens(instance_id, ALL_TOKENS, _CREATED), clock())


def _read_remote(engine: Engine, clock: Callable[[], datetime], instance_id: str) -> Observation:
    for attempt in range(MAX_READ_ATTEMPTS):
        if attempt:
            engine.refresh()
        status = engine.instance(instance_id)
        tokens = list(engine.tokens(instance_id, ALL_TOKENS, _CREATED))
        if derive_status(status.instance, tokens) == status:
            break
    return Observation(status, tokens, clock())


def _read_concurrently(engine: RemoteEngine, clock: Callable[[], datetime], instance_id: str) -> Observation:
    """Read an instance, from any thread, without the engine's cache."""
    for _ in range(MAX_READ_ATTEMPTS):
        fetched = engine.fetch_instance(instance_id, None)
        assert fetched is not None  # noqa: S101 - nothing that could still hold was offered
        found = fetched.value
        held = engine.fetch_tokens(found, None)
        tokens = [] if held is None else list(held.value)
        if not isinstance(found, InstanceStatus):
            status = derive_status(found, tokens)
            break
        status = found
        if derive_status(found.instance, tokens) == found:
            break
    return Observation(status, tokens, clock())


# --- models ---------------------------------------------------------------------------------------------


class DefinitionReader:
    """The process models of instances and those that they call; each is read once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int | None], Definition | None] = {}
        self._flow_models: dict[tuple[str | None, int | None], ProcessGraph] = {}

    def load_definitions(self, engine: Engine, instance: Instance) -> list[Definition]:
        """Return the process model of an instance and those that it calls, if the engine has them."""
        found: list[Definition] = []
        todo: list[tuple[str, int | None]] = []
        if instance.process_id is not None:
            todo.append((instance.process_id, instance.version))
        seen = set(todo)
        while todo:
            key = todo.pop()
            if key not in self._known:
                self._known[key] = engine.definition(*key)
            definition = self._known[key]
            if definition is None:
                continue
            found.append(definition)
            called = [(name, None) for name in _called_process_ids(definition) if (name, None) not in seen]
            seen.update(called)
            todo += called
        return found

    def flow_model(self, instance: Instance) -> ProcessGraph:
        """Return the graph of an instance's process model; ``load_definitions`` must be called first."""
        key = instance.process_id, instance.version
        if key not in self._flow_models:
            known = None if instance.process_id is None else self._known.get((instance.process_id, instance.version))
            self._flow_models[key] = ProcessGraph(known)
        return self._flow_models[key]


def _called_process_ids(definition: Definition) -> list[str]:
    """Return the ids of the processes that a model calls."""
    if not any(element.type == "callActivity" for element in definition.elements.values()):
        return []
    return [detail.calls for detail in read_element_details(definition).values() if detail.calls]


def _is_reconstructed(token: Token) -> bool:
    """Tell whether the engine has not recorded the flows of a token itself, so that observations may tell more."""
    return any(hop.certainty is not Certainty.RECORDED for hop in token.hops)


def _merge(previous: Token | None, token: Token, graph: ProcessGraph) -> list[Token]:
    """Return the records of an observed token: the earlier visit, if it has moved since, and the present one."""
    if previous is not None and (moved := end_visit(previous, token, graph)) is not None:
        return [*moved]
    return [merge_observation(previous, token, graph)]


# --- writing --------------------------------------------------------------------------------------------


class WriteResult(Struct, frozen=True):
    """The numbers of tokens that an observation changed in the store."""

    tokens: int
    added: int
    updated: int
    unchanged: int
    changed: bool


class SnapshotWriter:
    """Writes observations of instances into a store, redacted before anything is written.

    ``source`` and ``kind`` describe the source. ``exposed`` tells that the store had values that should be redacted.
    """

    def __init__(self, store: Store, *, source: str, kind: str, redaction: Redactor) -> None:
        self.store = store
        self.source = {"source": source, "kind": kind, "redacted": list(redaction.patterns)}
        self.redaction = redaction
        self.models = DefinitionReader()
        self.exposed = False
        self._redacted_ids: set[str] = set()  # instances without unredacted values in the store

    def store_observation(self, engine: Engine, seen: Observation, *, always: bool) -> WriteResult:
        """Write the new data of an instance; with ``always``, record the time of the observation even if there is none.

        Raises:
            StoreError: the store cannot be written; nothing of the instance was written.
            TokctlError: the engine cannot read the process model.
        """
        instance = self.redaction.instance(seen.status.instance)
        definitions = self.models.load_definitions(engine, instance)
        with self.store.write() as batch:
            known = self._known(instance.instance_id)
            exposed = known is not None and self._is_exposed(known)
            for definition in definitions:
                batch.put_definition(definition)
            batch.put_tokens(self._tokens(instance, seen.tokens, known))
            report = replace(batch.report)
            moved = bool(report.added or report.updated)
            changed = moved or known is None or self._differs(known, instance)
            if changed or always or exposed:
                stamp = self.source | {"taken_at": format_time(seen.at)}
                extra = instance.extra | {ORIGIN_FIELD: Raw(msgspec.json.encode(stamp))}
                batch.put(replace(instance, extra=extra), ())
            if exposed:
                self._redact_rest(batch, instance.instance_id)
        self.exposed |= exposed
        self._redacted_ids.add(instance.instance_id)
        total = report.added + report.updated + report.unchanged
        return WriteResult(total, report.added, report.updated, report.unchanged, changed)

    def _known(self, instance_id: str) -> Instance | None:
        try:
            return self.store.instance(instance_id).instance
        except NotFoundError:
            return None

    def _tokens(self, instance: Instance, tokens: Iterable[Token], known: Instance | None) -> Iterator[Token]:
        """Return the tokens to write: merged with earlier observations, and redacted."""
        if known is None:
            yield from map(self.redaction.token, tokens) if self.redaction else tokens
            return
        before: dict[str, Token] | None = None
        graph, written = self.models.flow_model(instance), set()
        for token in tokens:
            several = [token]
            if token.flow_history == NULL or _is_reconstructed(token):
                if before is None:
                    stored = self.store.tokens(instance.instance_id, ALL_TOKENS, _CREATED)
                    before = {one.token_id: one for one in stored}
                several = _merge(before.get(token.token_id), token, graph)
            for new in several:
                if new.token_id not in written:  # the engine's own record of an earlier visit comes first
                    written.add(new.token_id)
                    yield self.redaction.token(new) if self.redaction else new

    def _differs(self, known: Instance, new: Instance) -> bool:
        """Tell whether the instance has new values; absent fields do not count."""
        try:
            stamp = msgspec.json.decode(known.extra.get(ORIGIN_FIELD, b"{}"), type=dict[str, Any])
        except msgspec.MsgspecError:
            return True
        if {name: stamp.get(name) for name in self.source} != self.source:
            return True
        before = {name: raw for name, raw in known.extra.items() if name != ORIGIN_FIELD}
        after = {name: raw for name, raw in new.extra.items() if name != ORIGIN_FIELD}
        said = {n: v for n, v in asdict(new).items() if n != "extra" and v is not None and v != NULL}
        return before != after or any(getattr(known, name) != value for name, value in said.items())

    # --- existing data ---

    def _is_exposed(self, known: Instance) -> bool:
        """Tell whether the store has values of an instance that must be redacted."""
        if not self.redaction or known.instance_id in self._redacted_ids:
            return False
        tokens = self.store.tokens(known.instance_id, ALL_TOKENS, _CREATED)
        return self.redaction.instance(known) != known or any(self.redaction.token(one) != one for one in tokens)

    def _redact_rest(self, batch: Batch, instance_id: str) -> None:
        """Redact the tokens that the source did not replace: deleted ones, and those newer in the store."""
        instance = self.store.instance(instance_id).instance
        if (redacted := self.redaction.instance(instance)) != instance:
            batch.put(redacted, ())
        tokens = self.store.tokens(instance_id, ALL_TOKENS, _CREATED)
        rest = [new for one in tokens if (new := self.redaction.token(one)) != one]
        batch.put_tokens(rest)
