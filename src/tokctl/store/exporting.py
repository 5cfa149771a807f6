"""Exports a store as documents, in streams of lines. Importing them gives an equal store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from tokctl.documents.instances import encode_export_head, encode_instance
from tokctl.documents.tokens import encode_token
from tokctl.engines.protocol import Engine
from tokctl.model.definitions import Definition
from tokctl.model.filters import ALL_TOKENS, SortOrder
from tokctl.model.instance_status import InstanceStatus

_encode = msgspec.json.encode


class _DefinitionTracker:
    """Writes each definition once, with its first instance."""

    def __init__(self, source: Engine) -> None:
        self.source = source
        self._requested: set[tuple[str, int | None]] = set()
        self._yielded: set[tuple[str, int]] = set()

    def take_for(self, status: InstanceStatus) -> Definition | None:
        process_id, version = status.instance.process_id, status.instance.version
        if process_id is None or (process_id, version) in self._requested:
            return None
        self._requested.add((process_id, version))
        return self.take_new(self.source.definition(process_id, version))

    def take_new(self, definition: Definition | None) -> Definition | None:
        """Return a definition the first time it is requested."""
        if definition is None or (definition.process_id, definition.version) in self._yielded:
            return None
        self._yielded.add((definition.process_id, definition.version))
        return definition


def documented(source: Engine, instance_ids: Iterable[str], models: Iterable[Definition] = ()) -> Iterator[bytes]:
    """Yield one line for each instance, in the format of the documented response.

    The document contains the fields of the instance, its tokens, and, with the first instance of each process model,
    the model as ``definition``. Models of ``models`` without an instance come last.
    """
    definitions = _DefinitionTracker(source)
    for instance_id in instance_ids:
        status = source.instance(instance_id)
        head = encode_export_head(status, definitions.take_for(status))
        yield b'{"success":true,"data":' + _encode(head)[:-1] + b',"tokens":['
        comma = b""
        for token in source.tokens(instance_id, ALL_TOKENS, SortOrder("created")):
            yield comma + _encode(encode_token(token))
            comma = b","
        yield b'],"summary":' + _encode(source.summary(instance_id)) + b"}}\n"
    for model in filter(definitions.take_new, models):
        yield _encode(model) + b"\n"


def ndjson(source: Engine, instance_ids: Iterable[str], models: Iterable[Definition] = ()) -> Iterator[bytes]:
    """Yield a line for each definition, instance and token, and for the models of ``models`` without an instance."""
    definitions = _DefinitionTracker(source)
    for instance_id in instance_ids:
        status = source.instance(instance_id)
        definition = definitions.take_for(status)
        if definition is not None:
            yield _encode(definition) + b"\n"
        yield _encode(encode_instance(status.instance)) + b"\n"
        for token in source.tokens(instance_id, ALL_TOKENS, SortOrder("created")):
            yield _encode(encode_token(token, instance=True)) + b"\n"
    for model in filter(definitions.take_new, models):
        yield _encode(model) + b"\n"
