"""From a store into documents, as streams of lines: importing them gives an equal store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from tokctl.process.engine import Engine
from tokctl.process.model import Definition
from tokctl.process.query import EVERYTHING, Order
from tokctl.process.status import InstanceStatus
from tokctl.process.wire import instance_document, summary_document, token_document

_encode = msgspec.json.encode


class _Definitions:
    """Tells a definition once, with the first instance of it."""

    def __init__(self, source: Engine) -> None:
        self.source = source
        self.asked: set[tuple[str, int | None]] = set()
        self.told: set[tuple[str, int]] = set()

    def of(self, status: InstanceStatus) -> Definition | None:
        process_id, version = status.instance.process_id, status.instance.version
        if process_id is None or (process_id, version) in self.asked:
            return None
        self.asked.add((process_id, version))
        return self.untold(self.source.definition(process_id, version))

    def untold(self, definition: Definition | None) -> Definition | None:
        """Return a definition the first time that it is to be told."""
        if definition is None or (definition.process_id, definition.version) in self.told:
            return None
        self.told.add((definition.process_id, definition.version))
        return definition


def documented(source: Engine, instance_ids: Iterable[str], models: Iterable[Definition] = ()) -> Iterator[bytes]:
    """Yield the pieces of one documented answer a line for each instance.

    The fields of the instance stand around its tokens, and so does ``definition``, the process
    model, with the first instance of each. Of ``models`` those that no instance has follow.
    """
    definitions = _Definitions(source)
    for instance_id in instance_ids:
        status = source.instance(instance_id)
        head: dict[str, Any] = instance_document(status.instance)
        if status.status_derived:
            head |= {"status": status.status, "status_derived": True}
        definition = definitions.of(status)
        if definition is not None:
            head["definition"] = definition
        yield b'{"success":true,"data":' + _encode(head)[:-1] + b',"tokens":['
        comma = b""
        for token in source.tokens(instance_id, EVERYTHING, Order("created")):
            yield comma + _encode(token_document(token))
            comma = b","
        yield b'],"summary":' + _encode(summary_document(source.summary(instance_id))) + b"}}\n"
    for model in filter(definitions.untold, models):
        yield _encode(model) + b"\n"


def ndjson(source: Engine, instance_ids: Iterable[str], models: Iterable[Definition] = ()) -> Iterator[bytes]:
    """Yield a line for each definition, instance and token, and those of ``models`` that no instance has."""
    definitions = _Definitions(source)
    for instance_id in instance_ids:
        status = source.instance(instance_id)
        definition = definitions.of(status)
        if definition is not None:
            yield _encode(definition) + b"\n"
        yield _encode(instance_document(status.instance)) + b"\n"
        for token in source.tokens(instance_id, EVERYTHING, Order("created")):
            yield _encode(token_document(token, instance=True)) + b"\n"
    for model in filter(definitions.untold, models):
        yield _encode(model) + b"\n"
