"""Lists that a server hands out page by page, while they change."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tokctl.engines.answers import Part
from tokctl.engines.remote import Found, instance_of

PAGE = 1000
"""Instances that our server tells at once."""
DOCUMENTED = 100
"""Those that another may be asked for."""


def pages(
    fetch: Callable[[int, int], Part], *, offset: int = 0, limit: int | None = None, most: int = PAGE
) -> Iterator[Found]:
    """Yield the instances of a list, each once: ``fetch`` gets how many to ask for, and from where on.

    Pages overlap by an instance. Where none of a page stood in the one before, what stood in front has gone,
    and others have moved up: they are looked for further ahead.
    """
    known: set[str] = set()
    before: set[str] = set()
    size = most if limit is None else min(most, limit)
    while True:
        part = fetch(size, offset)
        ids = {instance_of(found).instance_id for found in part.items}
        if before and ids.isdisjoint(before) and offset:
            offset = max(offset - size + 1, 0)
            continue
        for found in part.items:
            if (one := instance_of(found).instance_id) not in known:
                known.add(one)
                yield found
                if len(known) == limit:
                    return
        if not part.more or ids <= before:
            return  # the last: a server that says otherwise, and brings nothing new, would never end
        before = ids
        offset += max(len(ids) - 1, 1)
        size = most if limit is None else min(most, limit - len(known) + 1)


def documented_pages(fetch: Callable[[int, int], Part]) -> Iterator[Found]:
    """Yield the same of a server that may honour neither: pages end where nothing new comes."""
    known: set[str] = set()
    while True:
        part = fetch(DOCUMENTED, len(known))
        new = [found for found in part.items if instance_of(found).instance_id not in known]
        known.update(instance_of(found).instance_id for found in new)
        yield from new
        if not new or (part.total is not None and len(known) >= part.total):
            return
        if part.total is None and not part.more and len(part.items) != DOCUMENTED:
            return
