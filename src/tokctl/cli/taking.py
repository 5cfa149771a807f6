"""Takes instances, as an engine shows them, into a store: whole, one transaction each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import asdict, replace

from tokctl.errors import NotFoundError
from tokctl.process.engine import Engine
from tokctl.process.events import read_details
from tokctl.process.model import NULL, Definition, Instance, Token, format_time
from tokctl.process.passage import Model, grown
from tokctl.process.query import EVERYTHING, Order
from tokctl.process.redact import KEPT, Redaction
from tokctl.process.status import InstanceStatus, derive
from tokctl.store.base import Batch, Store

if TYPE_CHECKING:
    from tokctl.engines.remote import RemoteEngine

FEW = 8
"""Instances of a server that are asked for one by one, so that what has not changed need not be sent again."""
TRIES = 3
"""How often an instance of a server is read that moves on between its own answer and that of its tokens."""

_CREATED = Order("created")


class Seen(Struct, frozen=True):
    """An instance as an engine showed it: how it stands, its tokens in order of creation, and when that was."""

    status: InstanceStatus
    tokens: Iterable[Token]
    at: datetime


# --- reading --------------------------------------------------------------------------------------------


def read_each(
    engine: Engine, ids: list[str], clock: Callable[[], datetime], *, remote: bool
) -> Iterator[tuple[str, Callable[[], Seen]]]:
    """Yield each id with what returns the instance, or raises why it could not be read.

    Of ``remote`` engines many are read at a time. What another engine returns is to be used before the next.
    """
    if remote:
        from tokctl.engines.remote import RemoteEngine

        if len(ids) > FEW and isinstance(engine, RemoteEngine):
            from tokctl.engines.inorder import in_order

            yield from in_order(ids, partial(_read_apart, engine, clock))
            return
    for instance_id in ids:
        yield instance_id, partial(_read_remote if remote else _read, engine, clock, instance_id)


def _read(engine: Engine, clock: Callable[[], datetime], instance_id: str) -> Seen:
    status = engine.instance(instance_id)
    return Seen(status, engine.tokens(instance_id, EVERYTHING, _CREATED), clock())


def _read_remote(engine: Engine, clock: Callable[[], datetime], instance_id: str) -> Seen:
    for attempt in range(TRIES):
        if attempt:
            engine.refresh()
        status = engine.instance(instance_id)
        tokens = list(engine.tokens(instance_id, EVERYTHING, _CREATED))
        if derive(status.instance, tokens) == status:
            break
    return Seen(status, tokens, clock())


def _read_apart(engine: RemoteEngine, clock: Callable[[], datetime], instance_id: str) -> Seen:
    """Read an instance from any thread, past what the engine holds."""
    for _ in range(TRIES):
        fetched = engine.fetch_instance(instance_id, None)
        assert fetched is not None  # noqa: S101 - nothing that could still hold was offered
        found = fetched.value
        held = engine.fetch_tokens(found, None)
        tokens = [] if held is None else list(held.value)
        if not isinstance(found, InstanceStatus):
            found = derive(found, tokens)
            break
        if derive(found.instance, tokens) == found:
            break
    return Seen(found, tokens, clock())


# --- models ---------------------------------------------------------------------------------------------


class Models:
    """The process models of instances, those among them that they call; each is asked for once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int | None], Definition | None] = {}
        self._ways: dict[tuple[str | None, int | None], Model] = {}

    def of(self, engine: Engine, instance: Instance) -> list[Definition]:
        """Return the definition of an instance and those that it calls, as far as the engine knows them."""
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
            called = [(name, None) for name in _calls(definition) if (name, None) not in seen]
            seen.update(called)
            todo += called
        return found

    def ways(self, instance: Instance) -> Model:
        """Return the ways between the elements of an instance's model, once that has been asked for."""
        key = instance.process_id, instance.version
        if key not in self._ways:
            known = None if instance.process_id is None else self._known.get((instance.process_id, instance.version))
            self._ways[key] = Model(known)
        return self._ways[key]


def _calls(definition: Definition) -> list[str]:
    """Ids of the processes that a model calls."""
    if not any(element.type == "callActivity" for element in definition.elements.values()):
        return []
    return [detail.calls for detail in read_details(definition).values() if detail.calls]


# --- writing --------------------------------------------------------------------------------------------


class Kept(Struct, frozen=True):
    """What a look at an instance has changed in the store: tokens by what became of them."""

    tokens: int
    added: int
    updated: int
    unchanged: int
    changed: bool


class Taker:
    """Keeps what is seen of instances in a store, redacted before anything is written.

    ``source`` and ``kind`` say where it comes from. ``exposed`` tells that the store held some of what was
    to be redacted.
    """

    def __init__(self, store: Store, *, source: str, kind: str, redaction: Redaction) -> None:
        self.store = store
        self.source = {"source": source, "kind": kind, "redacted": list(redaction.patterns)}
        self.redaction = redaction
        self.models = Models()
        self.exposed = False
        self._clean: set[str] = set()  # of these instances nothing is left in the store that is to be redacted

    def keep(self, engine: Engine, seen: Seen, *, always: bool) -> Kept:
        """Write what is new of an instance; with ``always`` also that it was looked at where nothing is.

        Raises:
            StoreError: the store cannot be written; nothing of the instance has been.
            TokctlError: the engine cannot say which model it is of.
        """
        instance = self.redaction.instance(seen.status.instance)
        definitions = self.models.of(engine, instance)
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
                extra = instance.extra | {KEPT: Raw(msgspec.json.encode(stamp))}
                batch.put(replace(instance, extra=extra), ())
            if exposed:
                self._redact_rest(batch, instance.instance_id)
        self.exposed |= exposed
        self._clean.add(instance.instance_id)
        total = report.added + report.updated + report.unchanged
        return Kept(total, report.added, report.updated, report.unchanged, changed)

    def _known(self, instance_id: str) -> Instance | None:
        try:
            return self.store.instance(instance_id).instance
        except NotFoundError:
            return None

    def _tokens(self, instance: Instance, tokens: Iterable[Token], known: Instance | None) -> Iterator[Token]:
        """The tokens as they are to be kept: with what earlier looks have shown, and without what is redacted."""
        before: dict[str, Token] | None = None if known is not None else {}
        for token in tokens:
            new = token
            if token.flow_history == NULL and before != {}:
                if before is None:
                    before = {
                        one.token_id: one for one in self.store.tokens(instance.instance_id, EVERYTHING, _CREATED)
                    }
                new = grown(before.get(token.token_id), token, self.models.ways(instance))
            yield self.redaction.token(new) if self.redaction else new

    def _differs(self, known: Instance, new: Instance) -> bool:
        """Whether the store would know something new; what an instance leaves out stays as it was."""
        try:
            stamp = msgspec.json.decode(known.extra.get(KEPT, b"{}"), type=dict[str, Any])
        except msgspec.MsgspecError:
            return True
        if {name: stamp.get(name) for name in self.source} != self.source:
            return True
        before = {name: raw for name, raw in known.extra.items() if name != KEPT}
        after = {name: raw for name, raw in new.extra.items() if name != KEPT}
        said = {n: v for n, v in asdict(new).items() if n != "extra" and v is not None and v != NULL}
        return before != after or any(getattr(known, name) != value for name, value in said.items())

    # --- what was there before ---

    def _is_exposed(self, known: Instance) -> bool:
        """Whether the store holds of an instance what is to be redacted."""
        if not self.redaction or known.instance_id in self._clean:
            return False
        tokens = self.store.tokens(known.instance_id, EVERYTHING, _CREATED)
        return self.redaction.instance(known) != known or any(self.redaction.token(one) != one for one in tokens)

    def _redact_rest(self, batch: Batch, instance_id: str) -> None:
        """Redact what the source did not replace: tokens that it has no more, and what is newer in the store."""
        instance = self.store.instance(instance_id).instance
        if (redacted := self.redaction.instance(instance)) != instance:
            batch.put(redacted, ())
        tokens = self.store.tokens(instance_id, EVERYTHING, _CREATED)
        rest = [new for one in tokens if (new := self.redaction.token(one)) != one]
        batch.put_tokens(rest)
