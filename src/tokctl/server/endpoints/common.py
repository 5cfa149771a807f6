"""Shared by endpoints: JSON in pieces, instances and their tags."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import msgspec

from tokctl.errors import NotFoundError
from tokctl.model.definitions import Definition
from tokctl.model.instance_status import InstanceStatus
from tokctl.server.endpoint import Query
from tokctl.server.http_errors import instance_not_found
from tokctl.store.protocol import Store

BATCH_SIZE = 100  # items per piece
MAX_LOOP_TOKENS = 300  # encoded on the event loop: a few milliseconds

encode = msgspec.json.encode


def encode_array(items: Iterable[Any]) -> Iterator[bytes]:
    """Yield a JSON array in pieces."""
    items = iter(items)
    sign = b"["
    while batch := list(islice(items, BATCH_SIZE)):
        yield sign + encode(batch)[1:-1]
        sign = b","
    yield b"[]" if sign == b"[" else b"]"


def encode_members(fields: dict[str, Any]) -> bytes:
    """Return the members of a JSON object without its braces."""
    return encode(fields)[1:-1]


def get_instance(store: Store, instance_id: str, *, live_elements: bool = False) -> InstanceStatus:
    """Return the status of an instance, with ``live_elements`` only if asked. Raises HTTPError if there is none."""
    try:
        return store.instance(instance_id) if live_elements else store.instance_totals(instance_id)
    except NotFoundError:
        raise instance_not_found(instance_id) from None


def get_definition(store: Store, status: InstanceStatus) -> Definition | None:
    """Return the process model of an instance; None if it is unknown."""
    process = status.instance.process_id
    return None if process is None else store.definition(process, status.instance.version)


def read_instance_tag(store: Store, instance_id: str) -> str:
    """Return the version of an instance with its tokens. Raises HTTPError if there is none."""
    try:
        row, revision = store.revision_of(instance_id)
    except NotFoundError:
        raise instance_not_found(instance_id) from None
    return f"i{row}.{revision}"


def read_store_tag(store: Store, _query: Query) -> str:
    """Return the version of all instances."""
    return f"p{store.revisions().process}"


def is_small_instance(store: Store, query: Query) -> bool:
    """Return whether the instance in the path has few tokens."""
    return get_instance(store, query.id).total_tokens <= MAX_LOOP_TOKENS
