"""What the endpoints share: JSON in pieces, instances that are not there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import msgspec

from tokctl.errors import NotFoundError
from tokctl.process.status import InstanceStatus
from tokctl.server.refusals import unknown_instance
from tokctl.store.base import Store

BATCH = 100  # items a piece
LONG = 300  # items that are made on the event loop at most: a few milliseconds

encode = msgspec.json.encode


def array(items: Iterable[Any]) -> Iterator[bytes]:
    """A JSON array in pieces, made as it is read."""
    items = iter(items)
    sign = b"["
    while batch := list(islice(items, BATCH)):
        yield sign + encode(batch)[1:-1]
        sign = b","
    yield b"[]" if sign == b"[" else b"]"


def members(fields: dict[str, Any]) -> bytes:
    """The members of a JSON object, without its braces."""
    return encode(fields)[1:-1]


def found(store: Store, instance_id: str) -> InstanceStatus:
    """How an instance stands. Raises Refusal where there is none."""
    try:
        return store.instance(instance_id)
    except NotFoundError:
        raise unknown_instance(instance_id) from None


def instance_tag(store: Store, instance_id: str) -> str:
    """The version of all that is known of an instance. Raises Refusal where there is none."""
    try:
        row, revision = store.revision_of(instance_id)
    except NotFoundError:
        raise unknown_instance(instance_id) from None
    return f"i{row}.{revision}"


def store_tag(store: Store) -> str:
    """The version of all instances."""
    return f"p{store.revisions().process}"


def is_small_instance(store: Store, instance_id: str) -> bool:
    """Tell whether an instance has few tokens."""
    return found(store, instance_id).total_tokens <= LONG
