"""Copies a store to one of any kind: what is there from an earlier run and has not changed is not copied again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b

import msgspec
from msgspec import Struct

from tokctl.errors import StoreError
from tokctl.store.protocol import COPIED_PARTS, CopyTable, Key, Record, Store, ignore_step

BATCH_RECORDS = 100  # that are written in a transaction, instances with their tokens


class CopiedPart(Struct, frozen=True, kw_only=True):
    """A part of a store: the number of its records, how many of them were written, and the checksum in both stores."""

    part: str
    records: int
    copied: int
    checksum: str


class Copied(Struct, frozen=True, kw_only=True):
    """The parts of a copy. ``is_outdated`` tells whether the original was changed during the copy."""

    parts: list[CopiedPart]
    is_outdated: bool


def count_steps(source: Store) -> int:
    """Return the sum of the steps of ``copy_store``: each record is written, then compared."""
    return 2 * sum(map(source.copying.count, COPIED_PARTS))


def copy_store(source: Store, target: Store, step: Callable[[float], None], *, finish: bool = True) -> Copied:
    """Let another store have everything that a store shows; it has to be opened with ``unfinished``.

    If it is an unfinished copy of the source, only what has changed since then is written. Without ``finish``, it stays
    an unfinished copy. A finished one has the identity of the original: to clients, and to those who look for lost
    changes of API tokens, it is the same store.

    Raises:
        StoreError: the target is neither empty nor an unfinished copy of the source; or the copy differs from it.
        InputError: the target cannot hold a value.
    """
    revisions = source.revisions()
    original, copy = source.copying, target.copying
    copy.begin(source.api_tokens.identity())
    copied: Counter[str] = Counter()
    for part in COPIED_PARTS:
        if part != "tokens":  # they are written with their instances
            _update_part(part, original, copy, copied, step)
    parts = [_compare(part, original, copy, copied[part], step) for part in COPIED_PARTS]
    if finish:
        copy.finish(revisions, source.audit.head())
    source.refresh()
    return Copied(parts=parts, is_outdated=source.revisions() != revisions)


def _update_part(
    part: str, original: CopyTable, copy: CopyTable, copied: Counter[str], step: Callable[[float], None]
) -> None:
    """Remove what the original no longer has or has changed. Then add what is missing, which may have the same id.

    An instance is written with its tokens, so that it is missing or complete, whenever this was interrupted.
    """
    after = copy.last_key(part) if part == "audit" else None  # entries are never changed
    for _, outdated in _find_differences(part, original, copy, after):
        if outdated:
            copy.remove(part, outdated)
    step(sum(map(copy.count, ("instances", "tokens") if part == "instances" else (part,))))
    for missing, _ in _find_differences(part, original, copy, after):
        for start in range(0, len(missing), BATCH_RECORDS):
            batch, before = missing[start : start + BATCH_RECORDS], copied.total()
            if part == "instances":
                tokens = _count_tokens(original.tokens(batch), copied)
                copy.add(part, original.instances(batch), tokens)
            else:
                copy.add(part, batch)
            copied[part] += len(batch)
            step(copied.total() - before)


def _count_tokens(tokens: Iterable[Record], copied: Counter[str]) -> Iterator[Record]:
    for token in tokens:
        copied["tokens"] += 1
        yield token


def _find_differences(
    part: str, original: CopyTable, copy: CopyTable, after: Key | None
) -> Iterator[tuple[Sequence[Record], Sequence[Key]]]:
    """Yield the states of records that the copy lacks, and the keys of those that only the copy has, page by page."""
    while states := original.states(part, after):
        until = original.key(part, states[-1])
        found = set(copy.states(part, after, until))
        missing = [state for state in states if state not in found]
        yield missing, [copy.key(part, state) for state in found.difference(states)]
        after = until
    while rest := copy.states(part, after):
        yield [], [copy.key(part, state) for state in rest]
        after = copy.key(part, rest[-1])


def _compare(part: str, source: CopyTable, target: CopyTable, copied: int, step: Callable[[float], None]) -> CopiedPart:
    wanted, found = (_summarize(part, table, copied, move) for table, move in ((source, step), (target, ignore_step)))
    if wanted != found:
        raise StoreError(
            f"the copy differs from the original: {found.records} {part}, checksum {found.checksum}, instead of"
            f" {wanted.records}, checksum {wanted.checksum}.",
            "Check the original with 'tokctl store check', and copy it to an empty store.",
        )
    return found


def _summarize(part: str, table: CopyTable, copied: int, step: Callable[[float], None]) -> CopiedPart:
    checksum, number = blake2b(digest_size=16), 0
    for records in _pages(part, table):
        for record in records:
            checksum.update(msgspec.msgpack.encode(record))
        number += len(records)
        step(len(records))
    return CopiedPart(part=part, records=number, copied=copied, checksum=checksum.hexdigest())


def _pages(part: str, table: CopyTable) -> Iterator[Sequence[Record]]:
    after = None
    while records := table.page(part, after):
        yield records
        after = table.key(part, records[-1])
