"""Copies a store to an empty one of any kind, in batches: a copy that was stopped can be continued."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b

import msgspec
from msgspec import Struct

from tokctl.errors import StoreError
from tokctl.store.protocol import COPIED_PARTS, CopyTable, Record, Store, ignore_step


class CopiedPart(Struct, frozen=True, kw_only=True):
    """A part of a store, the number of its records, and their checksum, which is that of the original, too."""

    part: str
    records: int
    checksum: str


def count_steps(source: Store) -> int:
    """Return the sum of the steps of ``copy_store``: each record is written, then compared."""
    return 2 * sum(map(source.copying.count, COPIED_PARTS))


def copy_store(source: Store, target: Store, step: Callable[[float], None]) -> list[CopiedPart]:
    """Copy everything that a store shows into another one, which has to be opened with ``unfinished``.

    The copy has the identity of the original: to clients, and to those who look for lost changes of API tokens, it is
    the same store.

    Raises:
        StoreError: the target is neither empty nor an unfinished copy of the source; or the copy differs from it.
        InputError: the target cannot hold a value.
    """
    revisions = source.revisions()
    target.copying.begin(source.api_tokens.identity(), revisions.process)
    for part in COPIED_PARTS:
        _copy_part(part, source.copying, target.copying, step)
    copied = [_compare(part, source.copying, target.copying, step) for part in COPIED_PARTS]
    target.copying.finish(revisions, source.audit.head())
    return copied


def _copy_part(part: str, source: CopyTable, target: CopyTable, step: Callable[[float], None]) -> None:
    step(target.count(part))
    after = target.last_key(part)
    while records := source.page(part, after):
        target.add(part, records, after)
        after = source.key(part, records[-1])
        step(len(records))


def _compare(part: str, source: CopyTable, target: CopyTable, step: Callable[[float], None]) -> CopiedPart:
    wanted, found = (_summarize(part, table, move) for table, move in ((source, step), (target, ignore_step)))
    if wanted != found:
        raise StoreError(
            f"the copy differs from the original: {found.records} {part}, checksum {found.checksum}, instead of"
            f" {wanted.records}, checksum {wanted.checksum}.",
            "Copy to an empty store.",
        )
    return found


def _summarize(part: str, table: CopyTable, step: Callable[[float], None]) -> CopiedPart:
    checksum, number = blake2b(digest_size=16), 0
    for records in _pages(part, table):
        for record in records:
            checksum.update(msgspec.msgpack.encode(record))
        number += len(records)
        step(len(records))
    return CopiedPart(part=part, records=number, checksum=checksum.hexdigest())


def _pages(part: str, table: CopyTable) -> Iterator[Sequence[Record]]:
    after = None
    while records := table.page(part, after):
        yield records
        after = table.key(part, records[-1])
